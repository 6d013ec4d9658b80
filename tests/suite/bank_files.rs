//! Banks that lie elsewhere than in a folder: everything of a bank is read through its files.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fsa_bank::bank::{Bank, BankError, BankFile, BankFiles, Column, MANIFEST_FILE};
use fsa_bank::domain::Split;
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::verify::{self, VerifyOptions};

use crate::fixtures::BankSpec;
use crate::support::files::files;

/// Files in memory, under a place that no file system has.
struct InMemory {
    files: BTreeMap<String, Arc<[u8]>>,
    opened: AtomicUsize,
}

struct Content(Arc<[u8]>);

const PLACE: &str = "/no/such/place";

impl InMemory {
    fn of_folder(dir: &Path) -> Self {
        let files = files(dir).into_iter().map(|(name, content)| (name, content.into())).collect();
        Self { files, opened: AtomicUsize::new(0) }
    }
}

impl BankFiles for InMemory {
    fn open(&self, name: &str) -> io::Result<Box<dyn BankFile>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let content = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Content(content.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn place(&self) -> &Path {
        Path::new(PLACE)
    }
}

impl BankFile for Content {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        let range = start as usize..(start + length) as usize;
        Ok(self.0.get(range).ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
    }
}

/// All rows of all splits, the maps included, with every bit of their values.
fn everything(bank: &Bank) -> Vec<String> {
    let mut told = vec![format!("{} {:?} {:?}", bank.id, bank.class_names, bank.head)];
    for split in [Split::Train, Split::Test] {
        let rows = bank.rows(split).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        told.push(format!("{:?} {:?}", rows.index, rows.nonzero));
        told.push(format!("{:?} {:?}", bits(&rows.pooled), bits(&rows.cam)));
    }
    let (index, reader) =
        (bank.index(Split::Train).unwrap(), bank.row_reader(Split::Train).unwrap());
    let all: Vec<usize> = (0..index.len()).collect();
    for request in index.plan(&all) {
        let columns = [Column::Pooled, Column::FeatureMap];
        let tell = |row, values: fsa_bank::bank::RowValues| told.push(format!("{row} {values:?}"));
        reader.read(&request, &columns, tell).unwrap();
    }
    told
}

#[test]
fn a_bank_in_memory_is_read_and_verified_as_one_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let written = BankSpec::default().write(dir.path());
    let (expected, report) = (everything(&written), {
        let verified =
            verify::run(dir.path(), &VerifyOptions::default(), Watch::new(&Silent, &go()));
        verified.unwrap()
    });
    let files = Arc::new(InMemory::of_folder(dir.path()));
    // Whoever reads around the files finds nothing.
    dir.close().unwrap();
    let bank = Bank::read(files.clone()).unwrap();
    assert_eq!(bank.dir(), Path::new(PLACE));
    assert_eq!(everything(&bank), expected);
    let found =
        verify::run_on(&*files, &VerifyOptions::default(), Watch::new(&Silent, &go())).unwrap();
    assert!(found.findings.is_empty() && found.notes.is_empty(), "{found:?}");
    assert_eq!(verify::VerifyReport { bank: report.bank.clone(), ..found }, report);
    assert!(files.opened.load(Ordering::Relaxed) > files.files.len());
}

#[test]
fn what_is_wrong_with_a_file_in_memory_names_its_place() {
    let dir = tempfile::tempdir().unwrap();
    BankSpec::default().write(dir.path());
    let whole = InMemory::of_folder(dir.path());
    for name in whole.files.keys() {
        let mut files = whole.files.clone();
        files.remove(name);
        let lacking = InMemory { files, opened: AtomicUsize::new(0) };
        let error = Bank::read(Arc::new(lacking)).and_then(|bank| {
            bank.rows(Split::Train)?;
            bank.rows(Split::Test).map(drop)
        });
        let Err(BankError::Read { path, source }) = error else { panic!("{name}: {error:?}") };
        assert_eq!((path, source.kind()), (Path::new(PLACE).join(name), io::ErrorKind::NotFound));
    }
    let mut files = whole.files.clone();
    let cut: Arc<[u8]> = files[MANIFEST_FILE][..100].into();
    files.insert(MANIFEST_FILE.into(), cut);
    let cut = InMemory { files, opened: AtomicUsize::new(0) };
    assert!(matches!(Bank::read(Arc::new(cut)), Err(BankError::Manifest { .. })));
}

fn go() -> Interrupt {
    Interrupt::default()
}
