//! The files of a finished bank, wherever they lie: whatever can tell a file's length, give ranges of its bytes
//! and list names can hold a bank. What they give is believed nowhere: the reader compares it with checksums.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::regular_file;

/// The files of one bank.
pub trait BankFiles: Send + Sync {
    /// Opens a file for reading; it stays the same file until it is dropped, whatever takes its name.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    fn open(&self, name: &str) -> io::Result<Box<dyn BankFile>>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// They cannot be listed.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Where the bank lies, for messages.
    fn place(&self) -> &Path;

    /// Where a file lies, for messages.
    fn location(&self, name: &str) -> PathBuf {
        self.place().join(name)
    }
}

/// One open file of a bank.
pub trait BankFile: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> u64;

    /// The bytes `start..start + length`; all of them or an error.
    ///
    /// # Errors
    /// It ends before, or cannot be read.
    fn read(&self, start: u64, length: u64) -> io::Result<Vec<u8>>;
}

/// The files of a bank in a folder of a file system.
pub struct FolderFiles {
    dir: PathBuf,
}

impl FolderFiles {
    /// Those in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }
}

impl BankFiles for FolderFiles {
    fn open(&self, name: &str) -> io::Result<Box<dyn BankFile>> {
        let (file, length) = regular_file::open(&self.location(name))?;
        Ok(Box::new(OpenFile { file, length }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        fs::read_dir(&self.dir)?.map(name).collect()
    }

    fn place(&self) -> &Path {
        &self.dir
    }
}

struct OpenFile {
    file: File,
    length: u64,
}

impl BankFile for OpenFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }
}

/// The content of a file of at most `most` bytes.
///
/// # Errors
/// It cannot be read, or is larger.
pub(super) fn read_at_most(files: &dyn BankFiles, name: &str, most: u64) -> io::Result<Vec<u8>> {
    /// A length may promise more than there is.
    const AT_ONCE: u64 = 1 << 24;
    let file = files.open(name)?;
    let length = file.length();
    if length > most {
        let message = format!("{length} bytes; expected at most {most}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut content = vec![];
    for start in (0..length).step_by(AT_ONCE as usize) {
        content.extend(file.read(start, AT_ONCE.min(length - start))?);
    }
    Ok(content)
}
