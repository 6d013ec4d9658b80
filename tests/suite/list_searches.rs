//! Lists whose names, columns or words do not say all by themselves: which of several files is meant, and
//! which column holds what.

use std::fs;
use std::path::{Path, PathBuf};

use fsa_bank::config::{DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Dataset, Split};

use crate::fixtures::photograph;

fn config(path: &Path) -> DatasetConfig {
    DatasetConfig {
        kind: DatasetKind::List,
        path: path.into(),
        image_size: 8,
        ..Default::default()
    }
}

fn with_lists(root: &Path) -> DatasetConfig {
    let (train_list, test_list) = ("train.csv".into(), "test.csv".into());
    DatasetConfig { train_list, test_list, ..config(root) }
}

fn opened(config: &DatasetConfig) -> Dataset {
    Dataset::open(config).unwrap_or_else(|e| panic!("{e}"))
}

fn error(config: &DatasetConfig) -> String {
    Dataset::open(config).err().expect("an error").to_string()
}

fn save(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Class and colour of each image.
fn content(split: &Split) -> Vec<(u32, u8)> {
    (0..split.len()).map(|i| (split.labels()[i], split.image(i).unwrap()[0])).collect()
}

fn says(sentences: &[String], part: &str) {
    assert!(sentences.iter().any(|sentence| sentence.contains(part)), "{part} / {sentences:?}");
}

/// Four images of the same names in each of two folders, of other colours, and a list for each split.
fn same_names_in(folders: [&str; 2]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (folder, first) in folders.iter().zip([10, 60]) {
        (0..4).for_each(|i| {
            photograph(&dir.path().join(format!("{folder}/{i}.png")), first + 10 * i)
        });
    }
    save(dir.path(), "train.csv", "file,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n");
    save(dir.path(), "test.csv", "file,label\n0.png,b\n1.png,a\n2.png,b\n3.png,a\n");
    dir
}

#[test]
fn a_name_in_folders_of_splits_is_the_file_of_its_own_split() {
    let dir = same_names_in(["Training", "test"]);
    let dataset = opened(&with_lists(dir.path()));
    assert_eq!(content(&dataset.train), [(0, 10), (1, 20), (0, 30), (1, 40)]);
    assert_eq!(content(&dataset.test), [(1, 60), (0, 70), (1, 80), (0, 90)]);
    says(
        &dataset.account.notes,
        "8 paths are names of several files, of which that in the folder named as the split or as the list is taken: `0.png` as `Training/0.png`",
    );
    assert_eq!(dataset.account.warnings, [""; 0]);
    // A folder named as the list.
    let dir = same_names_in(["x/old", "x/new"]);
    for (from, to) in [("train.csv", "old.csv"), ("test.csv", "new.csv")] {
        fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
    }
    let (train_list, test_list) = ("old.csv".into(), "new.csv".into());
    let dataset = opened(&DatasetConfig { train_list, test_list, ..config(dir.path()) });
    assert_eq!(content(&dataset.test), [(1, 60), (0, 70), (1, 80), (0, 90)]);
}

#[test]
fn no_remedy_leads_two_lists_to_the_same_files() {
    let dir = same_names_in(["first", "second"]);
    let message = error(&with_lists(dir.path()));
    assert!(message.contains("could be meant: `first/0.png`, `second/0.png`"), "{message}");
    assert!(message.contains("Write the path with its folder in the list, as"), "{message}");
    assert!(!message.contains("path_rewrites"), "{message}");
    for list in ["train.csv", "test.csv"] {
        let rows = fs::read_to_string(dir.path().join(list)).unwrap();
        save(dir.path(), list, rows.replace("\n", "\nold/").trim_end_matches("old/"));
    }
    fs::remove_dir_all(dir.path().join("first")).unwrap();
    let mut settings = with_lists(dir.path());
    let message = error(&settings);
    assert!(message.contains("the first images are not there: no "), "{message}");
    assert!(!message.contains("[[\"old/\", \"second/\"]]"), "{message}");
    // One who writes it all the same is told what it does.
    settings.path_rewrites = vec![["old/".into(), "second/".into()]];
    let warnings = opened(&settings).account.warnings;
    says(&warnings, "4 files are in both the train and the test split, such as second/0.png");
}
