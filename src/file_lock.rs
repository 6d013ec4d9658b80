//! Locks on files that end when they are dropped, not later.
//!
//! A lock taken with `flock` belongs to the open file, and a child that another thread has forked shares
//! it until it calls exec: closing the file frees the lock only then. Unlocking frees it at once.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};

use rustix::io::Errno;

/// A file that this process holds the lock of, until it is dropped.
pub struct LockedFile(File);

impl LockedFile {
    /// Takes the lock if no one has it.
    ///
    /// # Errors
    /// Another process has it, or the file system has no locks.
    pub fn try_new(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }

    /// Waits for the lock. On a file system without locks everyone has it.
    ///
    /// # Errors
    /// The file cannot be locked for another reason.
    pub fn wait(file: File) -> io::Result<Self> {
        loop {
            match file.lock() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if is_unsupported(e.raw_os_error()) => {}
                locked => locked?,
            }
            return Ok(Self(file));
        }
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for LockedFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Where there are no locks there is none to free.
        let _ = self.0.unlock();
    }
}

/// Whether an error says that the file system does not have what was asked for.
pub(crate) fn is_unsupported(error: Option<i32>) -> bool {
    let errors = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOLCK];
    errors.iter().any(|no| error == Some(no.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_although_a_forked_child_still_shares_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || File::options().write(true).create(true).truncate(false).open(&path).unwrap();
        let held = LockedFile::try_new(open()).unwrap();
        // What a child has from fork to exec: another descriptor of the same open file.
        let of_child = held.try_clone().unwrap();
        let refused = LockedFile::try_new(open());
        assert!(matches!(refused, Err(TryLockError::WouldBlock)));
        drop(held);
        drop(LockedFile::try_new(open()).unwrap());
        drop(LockedFile::wait(open()).unwrap());
        drop(of_child);
    }
}
