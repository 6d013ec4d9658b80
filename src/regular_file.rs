//! Regular files: what is read from disk is one, so that no pipe, device or folder of its name can hold
//! the program, and its length bounds what is taken into memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file; links are followed.
///
/// # Errors
/// It cannot be opened, or it is not a regular file.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    // A pipe without a writer would wait for one.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// The content of a file of at most `most` bytes.
///
/// # Errors
/// It cannot be read, is not a regular file, or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, length) = open(path)?;
    if length > most {
        let message = format!("{length} bytes; expected at most {most}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut content = vec![];
    // It may grow while it is read.
    file.take(length).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_the_length_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"abc");
        let error = read(&path, 2).unwrap_err().to_string();
        assert!(error.contains("3 bytes") && error.contains("at most 2"), "{error}");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 3).unwrap(), b"abc");
        for other in [dir.path(), Path::new("/dev/zero")] {
            let error = read(other, 10).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
        // One that no one writes to: this returns at all.
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&pipe, 10).is_err());
    }
}
