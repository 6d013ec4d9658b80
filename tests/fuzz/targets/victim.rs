//! A small bank to put hostile files into.

use std::fs;
use std::path::{Path, PathBuf};

use fsa_bank::bank::{Bank, BankError, Column, FORMAT_VERSION, Manifest};
use fsa_bank::domain::Split;
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::verify::{self, VerifyOptions};

#[path = "../../suite/support/parquet_file.rs"]
#[allow(dead_code)]
pub mod parquet_file;

/// A copy of the bank that the tests keep, for this process alone.
pub struct Victim {
    pub dir: PathBuf,
    /// Its manifest when it was whole.
    pub manifest: Manifest,
    _keep: tempfile::TempDir,
}

impl Victim {
    pub fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("bank");
        fs::create_dir(&dir).unwrap();
        for entry in fs::read_dir(seed_bank()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
        let (mut manifest, _) = Manifest::load(&dir).unwrap();
        (manifest.version, manifest.needs) = (FORMAT_VERSION, Manifest::needs());
        Self { dir, manifest, _keep: keep }
    }

    /// Writes a manifest with the checksum that it should have.
    pub fn put(&self, manifest: &Manifest) {
        fs::write(self.dir.join("manifest.json"), parquet_file::sealed(manifest)).unwrap();
    }
}

fn seed_bank() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/banks/v1")
}

/// Everything that Phase-II reads, or all that `verify` looks at.
pub fn look_at(dir: &Path, verifying: bool) {
    if verifying {
        let _ = verify::run(dir, &VerifyOptions::default(), Watch::new(&Silent, &Interrupt::default()));
    } else {
        let _ = read(dir);
    }
}

fn read(dir: &Path) -> Result<(), BankError> {
    let bank = Bank::open(dir)?;
    for split in [Split::Test, Split::Val, Split::Train] {
        if bank.has(split) {
            bank.rows(split)?;
        }
    }
    let index = bank.index(Split::Train)?;
    let reader = bank.row_reader(Split::Train)?;
    let every_third: Vec<usize> = (0..index.len()).step_by(3).collect();
    for request in index.plan(&every_third) {
        let columns = [Column::Pooled, Column::Cam, Column::FeatureMap];
        reader.read(&request, &columns, |_, _| {})?;
    }
    Ok(())
}
