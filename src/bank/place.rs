//! A bank's place: the folder beside it where the bank grows, and how the finished bank is moved to its place.
//!
//! Any number of processes may make shards of one bank at once. One at a time may begin it, end it or remove what
//! is left of it: the one that holds the lock on the folder's `lock`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::manifest::MANIFEST_FILE;
use super::{CLASSES_FILE, CLASSIFIER_FILE};
use crate::atomic_file::{self, WriteError};
use crate::domain::Split;
use crate::file_lock::{self, LockedFile};

/// What the bank will be.
pub(super) const PLAN_FILE: &str = "plan.json";
/// The bank's finished files.
pub(super) const FILES: &str = "bank";
/// The manifest once more, from when the bank begins to take its place.
const COMMITTED_FILE: &str = "committed.json";
/// What was in the bank's place, where the file system knows no exchange.
const REPLACED: &str = "replaced";
const LOCK_FILE: &str = "lock";

/// The lock of a folder in which a bank grows, until it is dropped: who holds it may begin, end or remove the bank.
///
/// On a file system without locks everyone holds it; there, the user sees to it that one process ends a bank.
pub(super) struct BuildLock {
    dir: PathBuf,
    _lock: LockedFile,
}

impl BuildLock {
    /// Waits for the lock of `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn begin(dir: &Path) -> Result<Self, WriteError> {
        loop {
            atomic_file::create_dir(dir)?;
            if let Some(lock) = Self::wait(dir)? {
                return Ok(lock);
            }
        }
    }

    /// Waits for the lock of `dir`; `None` where there is no such folder, or none any more.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn wait(dir: &Path) -> Result<Option<Self>, WriteError> {
        let path = dir.join(LOCK_FILE);
        loop {
            let options = File::options().read(true).write(true).create(true).clone();
            let lock = match options.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened.map_err(WriteError::at(&path))?,
            };
            let lock = LockedFile::wait(lock).map_err(WriteError::at(&path))?;
            // Who held it before may have removed the file.
            let mine = lock.metadata().map_err(WriteError::at(&path))?;
            let there = fs::metadata(&path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (mine.dev(), mine.ino())) {
                return Ok(Some(Self { dir: dir.into(), _lock: lock }));
            }
        }
    }

    /// Whether a bank was begun and is not ended.
    pub(super) fn is_begun(&self) -> bool {
        self.dir.join(PLAN_FILE).exists()
    }

    /// Goes on where a commit of `bank` was killed: removes what it left, if the bank has its place; whether
    /// it did.
    ///
    /// # Errors
    /// A file cannot be read, moved or removed.
    pub(super) fn recover(&self, bank: &Path) -> Result<bool, WriteError> {
        let path = self.dir.join(COMMITTED_FILE);
        let committed = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            read => read.map_err(WriteError::at(&path))?,
        };
        let done = fs::read(bank.join(MANIFEST_FILE)).is_ok_and(|there| there == committed);
        if done {
            self.remove(bank)?;
        } else {
            fs::remove_file(&path).map_err(WriteError::at(&path))?;
        }
        Ok(done)
    }

    /// Renames the finished files to the bank's place, and removes what was there and what is left.
    ///
    /// # Errors
    /// A file is missing, or cannot be written, moved or removed.
    pub(super) fn take_place(&self, bank: &Path) -> Result<(), WriteError> {
        let at = WriteError::at(bank);
        let files = self.dir.join(FILES);
        let manifest = fs::read(files.join(MANIFEST_FILE)).map_err(&at)?;
        atomic_file::write(&self.dir.join(COMMITTED_FILE), &manifest)?;
        let exchanged = match bank.exists() {
            true => renameat_with(CWD, &files, CWD, bank, RenameFlags::EXCHANGE),
            false => fs::rename(&files, bank).map(Ok).map_err(&at)?,
        };
        match exchanged {
            Err(e) if file_lock::is_unsupported(Some(e.raw_os_error())) => {
                fs::rename(bank, self.dir.join(REPLACED)).map_err(&at)?;
                fs::rename(&files, bank).map_err(&at)?;
            }
            exchanged => exchanged.map_err(io::Error::from).map_err(&at)?,
        }
        let parent = bank.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(&at)?;
        self.remove(bank)
    }

    /// Removes what was begun.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub(super) fn clear(&self) -> Result<(), WriteError> {
        let at = WriteError::at(&self.dir);
        remove_all(&self.dir.join(PLAN_FILE))?;
        for entry in fs::read_dir(&self.dir).map_err(&at)? {
            let entry = entry.map_err(&at)?;
            if entry.file_name() != LOCK_FILE {
                remove_all(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the folder; what no bank writes, such as a note in the folder of a bank that was replaced, goes
    /// to `bank`.
    ///
    /// # Errors
    /// A file cannot be moved or removed.
    pub(super) fn remove(&self, bank: &Path) -> Result<(), WriteError> {
        let at = WriteError::at(&self.dir);
        for replaced in [FILES, REPLACED].map(|name| self.dir.join(name)) {
            if replaced.is_dir() {
                keep_foreign(&replaced, bank).map_err(&at)?;
            }
        }
        for entry in fs::read_dir(&self.dir).map_err(&at)? {
            let entry = entry.map_err(&at)?;
            if entry.file_name() != COMMITTED_FILE && entry.file_name() != LOCK_FILE {
                remove_all(&entry.path())?;
            }
        }
        for name in [COMMITTED_FILE, LOCK_FILE] {
            remove_all(&self.dir.join(name))?;
        }
        // Another process may have put a file there: it sees that the bank is done, and removes the folder.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }
}

/// Where a bank is: where its place is a link, that stays, and leads to the bank.
pub fn behind_links(bank: &Path) -> PathBuf {
    match fs::read_link(bank) {
        Ok(target) => {
            let parent = bank.parent().unwrap_or(Path::new(""));
            fs::canonicalize(bank).unwrap_or_else(|_| parent.join(target))
        }
        Err(_) => bank.into(),
    }
}

/// Removes a file or folder, which other processes may be removing, or writing to, as well.
pub(super) fn remove_all(path: &Path) -> Result<(), WriteError> {
    const TRIES: usize = 100;
    for attempt in 1.. {
        let removed = match path.symlink_metadata() {
            Ok(data) if data.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(e) => Err(e),
        };
        match removed {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.exists() => break,
            Err(e) if attempt == TRIES => return Err(WriteError::at(path)(e)),
            Err(_) => {}
            Ok(()) => break,
        }
    }
    Ok(())
}

/// Moves what no bank writes from the folder of a replaced bank to that of the new one.
fn keep_foreign(replaced: &Path, bank: &Path) -> io::Result<()> {
    for entry in fs::read_dir(replaced)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let shard = Split::ALL.iter().any(|split| text.starts_with(&format!("{split}-")))
            && text.ends_with(".parquet");
        let ours = shard
            || [MANIFEST_FILE, CLASSES_FILE, CLASSIFIER_FILE].contains(&text.as_ref())
            || (text.starts_with('.') && text.ends_with(".tmp"));
        if !ours {
            fs::rename(replaced.join(&name), bank.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bank under way with one file, and what is in its place.
    fn begun(in_place: Option<&str>) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (bank, dir) = (folder.path().join("shards"), folder.path().join("shards.partial"));
        atomic_file::create_dir(&dir.join(FILES)).unwrap();
        fs::write(dir.join(PLAN_FILE), "plan").unwrap();
        fs::write(dir.join(FILES).join(MANIFEST_FILE), "new").unwrap();
        if let Some(text) = in_place {
            fs::create_dir(&bank).unwrap();
            fs::write(bank.join(MANIFEST_FILE), text).unwrap();
            fs::write(bank.join("notes.txt"), "mine").unwrap();
        }
        (folder, bank, dir)
    }

    fn text(path: PathBuf) -> String {
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    #[test]
    fn a_bank_takes_its_place_and_foreign_files_stay() {
        for in_place in [None, Some("old")] {
            let (_folder, bank, dir) = begun(in_place);
            BuildLock::wait(&dir).unwrap().unwrap().take_place(&bank).unwrap();
            assert_eq!(text(bank.join(MANIFEST_FILE)), "new");
            assert_eq!(bank.join("notes.txt").exists(), in_place.is_some());
            assert!(!dir.exists());
            assert!(BuildLock::wait(&dir).unwrap().is_none());
        }
    }

    #[test]
    fn links_lead_to_the_banks_own_place() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let link = root.join("shards");
        assert_eq!(behind_links(&link), link);
        std::os::unix::fs::symlink("large/shards", &link).unwrap();
        assert_eq!(behind_links(&link), root.join("large/shards"));
        fs::create_dir_all(root.join("large/shards")).unwrap();
        assert_eq!(behind_links(&link), root.join("large/shards"));
    }

    #[test]
    fn files_that_are_gone_leave_the_bank_alone() {
        let (_folder, bank, dir) = begun(Some("old"));
        fs::remove_dir_all(dir.join(FILES)).unwrap();
        assert!(BuildLock::wait(&dir).unwrap().unwrap().take_place(&bank).is_err());
        assert_eq!(text(bank.join(MANIFEST_FILE)), "old");
    }

    #[test]
    fn a_killed_commit_is_ended_or_taken_back() {
        // Killed before the renaming: the bank is still under way.
        let (_folder, bank, dir) = begun(Some("old"));
        fs::write(dir.join(COMMITTED_FILE), "new").unwrap();
        let lock = BuildLock::wait(&dir).unwrap().unwrap();
        assert!(!lock.recover(&bank).unwrap() && lock.is_begun());
        assert!(!dir.join(COMMITTED_FILE).exists());
        // After it: what was replaced goes, but for what no bank writes.
        fs::write(dir.join(COMMITTED_FILE), "new").unwrap();
        fs::rename(&bank, dir.join(REPLACED)).unwrap();
        fs::rename(dir.join(FILES), &bank).unwrap();
        assert!(lock.recover(&bank).unwrap());
        assert_eq!(text(bank.join(MANIFEST_FILE)) + &text(bank.join("notes.txt")), "newmine");
        assert!(!dir.exists());
    }

    #[test]
    fn one_holds_the_lock_at_a_time_and_none_in_a_folder_that_went() {
        let (_folder, bank, dir) = begun(None);
        let first = BuildLock::begin(&dir).unwrap();
        let second = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| BuildLock::wait(&dir).unwrap().is_some());
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!waiting.is_finished());
            first.take_place(&bank).unwrap();
            drop(first);
            waiting.join().unwrap()
        });
        assert!(!second);
        assert!(!BuildLock::begin(&dir).unwrap().is_begun());
    }
}
