//! Data sets of a list or table, opened.

use std::path::{Path, PathBuf};

use fsa_bank::config::{DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Dataset, SplitImages};

pub fn config_of(kind: DatasetKind, path: &Path) -> DatasetConfig {
    DatasetConfig { kind, path: path.into(), image_size: 8, ..Default::default() }
}

pub fn opened(config: &DatasetConfig) -> Dataset {
    Dataset::open(config).unwrap_or_else(|e| panic!("{e}"))
}

pub fn error(config: &DatasetConfig) -> String {
    Dataset::open(config).err().expect("an error").to_string()
}

pub fn save(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Path, class and colour of each image, which is of one colour.
pub fn content(split: &SplitImages) -> Vec<(String, u32, u8)> {
    (0..split.len())
        .map(|i| {
            let image = split.image(i).unwrap();
            assert!(image.iter().all(|&v| v == image[0]), "{}", split.path(i));
            (split.path(i).to_string(), split.labels()[i], image[0])
        })
        .collect()
}

/// Classes and colours alone.
pub fn colours(split: &SplitImages) -> Vec<(u32, u8)> {
    content(split).into_iter().map(|(_, label, colour)| (label, colour)).collect()
}

/// That one of a data set's notes has this part.
pub fn noted(dataset: &Dataset, part: &str) {
    let notes = &dataset.account.notes;
    assert!(notes.iter().any(|note| note.contains(part)), "{part} / {notes:?}");
}
