//! Lists of images, JSON and others, and the JSON that this program leaves behind: the first byte says
//! which.

#![no_main]

use std::cell::RefCell;
use std::fs;

use fsa_bank::classifier_file::ClassifierCard;
use fsa_bank::config::{DatasetConfig, DatasetKind};
use fsa_bank::dataset::read_lists;
use fsa_bank::export::Description;
use fsa_bank::finetune::Report;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().unwrap());
}

const LISTS: [&str; 5] = ["list.json", "list.csv", "list.tsv", "list.txt", "list.parquet"];

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind % 8 {
        5 => drop(serde_json::from_slice::<ClassifierCard>(bytes)),
        6 => drop(serde_json::from_slice::<Description>(bytes)),
        7 => drop(serde_json::from_slice::<Report>(bytes)),
        which => FOLDER.with_borrow(|folder| {
            let path = folder.path().join(LISTS[usize::from(which)]);
            fs::write(&path, bytes).unwrap();
            let config = DatasetConfig { kind: DatasetKind::List, path, ..Default::default() };
            if let Ok(listed) = read_lists(&config) {
                listed.class_counts();
            }
        }),
    }
});
