//! Time and memory of reading a list of iNaturalist 2018's size: `cargo bench --bench lists`.
//!
//! Writes a JSON file of 437,513 images and 8,142 categories into a temporary folder and reads it, then,
//! with `-- --files`, makes as many empty files and opens them as a dataset, which looks at each of them.

#[path = "../suite/inaturalist.rs"]
mod inaturalist;

use std::path::Path;
use std::time::Instant;

use fsa_bank::config::{DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Dataset, Listed, read_lists};

const IMAGES: usize = 437_513;
const CLASSES: usize = 8_142;
/// What a user would notice.
const MOST_SECS: f64 = 3.0;
const MOST_MB: f64 = 500.0;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = inaturalist::write(dir.path(), IMAGES, CLASSES);
    let file_mb = std::fs::metadata(&path).expect("the list").len() as f64 / 1e6;
    let config = DatasetConfig { kind: DatasetKind::List, path, ..Default::default() };
    let before_mb = peak_mb();
    let begin = Instant::now();
    let listed = read_lists(&config).unwrap_or_else(|e| panic!("{e}"));
    let secs = begin.elapsed().as_secs_f64();
    let peak_mb = peak_mb();
    assert_eq!((listed.train.paths.len(), listed.class_names.len()), (IMAGES, CLASSES));
    println!("{file_mb:.0} MB of JSON, {IMAGES} images of {CLASSES} classes: {secs:.2} s");
    println!("peak of the process {peak_mb:.0} MB, {before_mb:.0} MB before");
    if std::env::args().any(|argument| argument == "--files") {
        open(&config, &listed);
    }
    if !cfg!(debug_assertions) {
        assert!(secs < MOST_SECS && peak_mb < MOST_MB, "expected {MOST_SECS} s and {MOST_MB} MB");
    }
}

/// Makes the images, empty, and opens the dataset.
fn open(config: &DatasetConfig, listed: &Listed) {
    let mut folder = Path::new("");
    for path in listed.train.paths.iter().map(Path::new) {
        if path.parent() != Some(folder) {
            folder = path.parent().expect("a folder a class");
            std::fs::create_dir_all(listed.root.join(folder)).expect("a folder");
        }
        std::fs::write(listed.root.join(path), "").expect("a file");
    }
    let begin = Instant::now();
    let dataset = Dataset::open(config).unwrap_or_else(|e| panic!("{e}"));
    let opened = begin.elapsed().as_secs_f64();
    dataset.train_fingerprint().unwrap_or_else(|e| panic!("{e}"));
    let both = begin.elapsed().as_secs_f64();
    println!(
        "opened with all files in {opened:.2} s, fingerprint of training {:.2} s",
        both - opened
    );
}

/// Peak resident memory so far; 0 where the system does not say.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(0.0, |kib| kib * 1024.0 / 1e6)
}
