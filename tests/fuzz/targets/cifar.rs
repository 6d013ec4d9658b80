//! CIFAR-10 and CIFAR-100: one file of an archive, or a whole archive, of which the first byte says
//! which.

#![no_main]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use fsa_bank::config::{DatasetConfig, DatasetKind};
use fsa_bank::dataset::Dataset;
use libfuzzer_sys::fuzz_target;

struct Folders {
    /// Folders with all files of a set in a version, and its kind.
    sets: Vec<(DatasetKind, PathBuf)>,
    keep: tempfile::TempDir,
}

impl Folders {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
        for name in ["cifar-10-python.tar.gz", "cifar-100-python.tar.gz"] {
            let file = File::open(data.join(name)).unwrap();
            tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(keep.path()).unwrap();
        }
        let set = |kind, name: &str, files: &[&str], record: usize, names: usize| {
            let folder = keep.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            let (texts, records) = files.split_last().unwrap();
            for file in records {
                fs::write(folder.join(file), vec![1; record]).unwrap();
            }
            let names: String = (0..names).map(|class| format!("name{class}\n")).collect();
            fs::write(folder.join(texts), names).unwrap();
            (kind, folder)
        };
        let ten = [
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
            "test_batch.bin",
            "batches.meta.txt",
        ];
        let hundred = ["train.bin", "test.bin", "fine_label_names.txt"];
        let sets = vec![
            (DatasetKind::Cifar10, keep.path().join("cifar-10-batches-py")),
            (DatasetKind::Cifar100, keep.path().join("cifar-100-python")),
            set(DatasetKind::Cifar10, "cifar-10-batches-bin", &ten, 3073, 10),
            set(DatasetKind::Cifar100, "cifar-100-binary", &hundred, 3074, 100),
        ];
        Self { sets, keep }
    }
}

thread_local! {
    static FOLDERS: RefCell<Folders> = RefCell::new(Folders::new());
}

fn open(kind: DatasetKind, path: &Path) {
    let config = DatasetConfig { kind, path: path.into(), ..Default::default() };
    let _ = Dataset::open(&config);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    FOLDERS.with_borrow(|folders| {
        let (of, folder) = &folders.sets[usize::from(kind) % 4];
        let archive = folders.keep.path().join("archive.tar.gz");
        match kind / 4 % 4 {
            // A tar file, compressed here.
            0 => {
                let file = File::create(&archive).unwrap();
                let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::none());
                gz.write_all(bytes).unwrap();
                gz.finish().unwrap();
                open(*of, &archive);
            }
            1 => {
                fs::write(&archive, bytes).unwrap();
                open(*of, &archive);
            }
            which => {
                let mut names: Vec<PathBuf> =
                    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
                names.sort();
                let at = usize::from(kind / 16) + usize::from(which);
                let path = &names[at % names.len()];
                let whole = fs::read(path).unwrap();
                fs::write(path, bytes).unwrap();
                open(*of, folder);
                fs::write(path, whole).unwrap();
            }
        }
    });
});
