//! Room on a disk.

use std::path::{Path, PathBuf};

/// Bytes that this user may still write where `path` is, or will be. `None` where the file system does
/// not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(nearest_folder(path)).ok()?;
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// `path`, or the nearest folder above it that exists.
pub fn nearest_folder(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|folder| folder.is_dir());
    // The last ancestor of a relative path is empty.
    there.unwrap_or(Path::new(".")).into()
}

/// Bytes of the files in a folder and below it, as far as they can be read.
pub fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_that_of_the_nearest_folder_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let bank = dir.path().join("runs/birds/shards");
        assert_eq!(nearest_folder(&bank), dir.path());
        std::fs::create_dir(dir.path().join("runs")).unwrap();
        assert_eq!(nearest_folder(&bank), dir.path().join("runs"));
        assert_eq!(nearest_folder(Path::new("no-such-folder/shards")), Path::new("."));
        assert!(free_bytes(&bank).is_some());
        std::fs::write(dir.path().join("runs/a"), [1; 7]).unwrap();
        std::fs::write(dir.path().join("b"), [1; 4]).unwrap();
        assert_eq!((bytes_below(dir.path()), bytes_below(&bank)), (11, 0));
    }
}
