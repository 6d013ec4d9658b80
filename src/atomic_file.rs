//! Files that are whole or absent: written aside, synced, renamed; and files that the user names, which may
//! be anything.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A write that failed: nothing was left at the path.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be written: {source}\n  {remedy}", path.display())]
pub struct WriteError {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
    /// What to do.
    remedy: &'static str,
}

impl WriteError {
    /// For `map_err`, of what is in a folder that `--out` names.
    pub fn at(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        let remedy = "Check permissions and free space, or choose another place with --out.";
        move |source| Self { path: path.into(), source, remedy }
    }

    /// Of a file that the user names, where a folder is.
    pub fn folder(path: &Path) -> Self {
        Self::at_named(path)(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"))
    }

    /// For `map_err`, of a file that the user names.
    fn at_named(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| {
            let remedy = match source.kind() {
                io::ErrorKind::IsADirectory => "Give the path of a file.",
                io::ErrorKind::NotFound => "Make the folder first, or give another path.",
                _ => "Check permissions and free space, or give another path.",
            };
            Self { path: path.into(), source, remedy }
        }
    }
}

/// Creates a directory and its parents.
///
/// # Errors
/// The directory cannot be made.
pub fn create_dir(path: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(path).map_err(|error| {
        // For such a link, or for one above, the system says that something exists.
        let mut dangling = path.ancestors().filter(|part| part.is_symlink() && !part.exists());
        WriteError::at(path)(match dangling.next() {
            Some(link) => {
                let found = format!("{}: a broken link", link.display());
                io::Error::new(io::ErrorKind::NotFound, found)
            }
            None => error,
        })
    })
}

/// A file under way: [`AtomicFile::commit`] gives it its name, dropping it removes it.
pub struct AtomicFile {
    target: PathBuf,
    aside: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begins a file that will be at `target`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        Self::create_in(target.parent().unwrap_or(Path::new("")), target)
    }

    /// Begins a file that will be at `target` and until then grows in the folder `aside`, which is on
    /// the same file system.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create_in(aside: &Path, target: &Path) -> Result<Self, WriteError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // Several processes, on several machines, may be writing the same file.
        let attempt = RandomState::new().build_hasher().finish();
        let aside = aside.join(format!(".{name}.{attempt:016x}.tmp"));
        let open = File::options().read(true).write(true).create_new(true).open(&aside);
        let file = open.map_err(WriteError::at(target))?;
        // While it is written; see `remove_stale`.
        let _ = file.try_lock();
        Ok(Self { target: target.into(), aside, writer: Some(BufWriter::new(file)) })
    }

    /// Begins a file that never gets a name: it is in the folder `dir`, takes its room there, and is gone
    /// once it is dropped or the process ends, however it ends.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn nameless(dir: &Path) -> Result<Self, WriteError> {
        let file = Self::create(&dir.join("nameless"))?;
        fs::remove_file(&file.aside).map_err(WriteError::at(dir))?;
        Ok(file)
    }

    /// What was written so far, to be read again.
    ///
    /// # Errors
    /// It cannot be written out.
    pub fn written(&mut self) -> io::Result<&File> {
        let writer = self.writer.as_mut().expect("not committed");
        writer.flush()?;
        Ok(writer.get_ref())
    }

    /// Syncs the content to disk and renames the file to its name.
    ///
    /// # Errors
    /// The content cannot be written out.
    pub fn commit(mut self) -> Result<(), WriteError> {
        let writer = self.writer.take().expect("a file is committed once");
        let finish = || -> io::Result<()> {
            let file = writer.into_inner().map_err(|e| e.into_error())?;
            file.sync_all()?;
            fs::rename(&self.aside, &self.target)?;
            let folder = self.target.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(WriteError::at(&self.target))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().expect("not committed").write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().expect("not committed").flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit nothing is there to remove; before one, a failure leaves only a hidden file.
        let _ = fs::remove_file(&self.aside);
    }
}

/// Removes files of a folder that were under way when their process was killed: no one holds their locks any
/// more. Where the file system has no locks, none is removed.
pub fn remove_stale(dir: &Path) {
    /// A file that was made just now may be about to be locked.
    const NEW: Duration = Duration::from_secs(60);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with('.') && name.ends_with(".tmp")) {
            continue;
        }
        let age = entry.metadata().and_then(|data| data.modified()).map(|time| time.elapsed());
        let old = age.is_ok_and(|age| age.is_ok_and(|age| age > NEW));
        let file = File::options().read(true).write(true).open(entry.path());
        if old && file.is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes a whole file.
///
/// # Errors
/// The file cannot be written; what was at `path` before is untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_in(path.parent().unwrap_or(Path::new("")), path, bytes)
}

/// Writes a whole file that until it is whole grows in the folder `aside`.
///
/// # Errors
/// As [`write()`].
pub fn write_in(aside: &Path, path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create_in(aside, path)?;
    file.write_all(bytes).map_err(WriteError::at(path))?;
    file.commit()
}

/// Writes a whole file that the user names, such as `--parquet FILE`: nothing there but a regular file is
/// ever replaced.
///
/// A link stays, and the file that it leads to is written, there or not. What is not a regular file takes the
/// bytes as they come: a pipe, a device, and standard output under any of its names. A folder is an error.
///
/// # Errors
/// The file cannot be written; an existing regular file is untouched.
pub fn write_named(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let at = WriteError::at_named(path);
    let target = match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(WriteError::folder(path)),
        Ok(there) if is_standard_output(&there) => {
            let mut output = io::stdout().lock();
            return output.write_all(bytes).and_then(|()| output.flush()).map_err(at);
        }
        Ok(there) if there.is_file() => fs::canonicalize(path).map_err(&at)?,
        Ok(_) => {
            let open = File::options().write(true).open(path);
            return open.and_then(|mut file| file.write_all(bytes)).map_err(at);
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => end_of_links(path).map_err(&at)?,
        Err(e) => return Err(at(e)),
    };
    write(&target, bytes).map_err(|e| at(e.source))
}

/// Whether the user names standard output, under any of its names.
pub fn names_standard_output(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| is_standard_output(&there))
}

/// Whether a file is the one that standard output goes to: writing to it by another way would overwrite what
/// is printed, and be overwritten.
fn is_standard_output(there: &fs::Metadata) -> bool {
    let output = rustix::fs::fstat(io::stdout());
    output.is_ok_and(|output| (output.st_dev, output.st_ino) == (there.dev(), there.ino()))
}

/// Where the links at a path lead to, of which the last leads to nothing.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    /// As many as Linux follows.
    const MOST: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..MOST {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt;

    use super::*;

    #[test]
    fn a_file_appears_only_when_committed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        write(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_of_killed_processes_are_removed_and_those_under_way_stay() {
        let dir = tempfile::tempdir().unwrap();
        let under_way = AtomicFile::create(&dir.path().join("a")).unwrap();
        let [killed, new, other] = [".b.1.tmp", ".c.2.tmp", "d.tmp"].map(|n| dir.path().join(n));
        for path in [&killed, &new, &other] {
            fs::write(path, b"half").unwrap();
        }
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        for path in [&under_way.aside, &killed, &other] {
            File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
        }
        remove_stale(dir.path());
        let there = [&under_way.aside, &killed, &new, &other].map(|path| path.exists());
        assert_eq!(there, [true, false, true, true]);
    }

    #[test]
    fn a_nameless_file_is_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::nameless(dir.path()).unwrap();
        file.write_all(b"something").unwrap();
        assert_eq!(file.written().unwrap().metadata().unwrap().len(), 9);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("far")).unwrap();
        for (link, target) in
            [("a", "far/file"), ("b", "a"), ("c", "far/new"), ("d", "e"), ("e", "d")]
        {
            std::os::unix::fs::symlink(target, path(link)).unwrap();
        }
        std::os::unix::fs::symlink("nowhere/file", path("f")).unwrap();
        fs::write(path("far/file"), "before").unwrap();
        for (link, end) in [("b", "far/file"), ("c", "far/new"), ("c", "far/new")] {
            write_named(&path(link), link.as_bytes()).unwrap();
            assert!(path(link).is_symlink(), "{link}");
            assert!(!path(end).is_symlink() && fs::read(path(end)).unwrap() == link.as_bytes());
        }
        // Nothing is left beside them.
        assert_eq!(fs::read_dir(path("far")).unwrap().count(), 2);
        for (wrong, found) in [("d", "links"), ("f", "No such file"), ("far", "it is a folder")] {
            let message = write_named(&path(wrong), b"x").unwrap_err().to_string();
            assert!(message.contains(found) && message.contains(wrong), "{message}");
        }
    }

    #[test]
    fn a_pipe_and_a_device_take_the_bytes_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read(pipe).unwrap())
        };
        let bytes = vec![7; 200_000];
        write_named(&pipe, &bytes).unwrap();
        assert!(reader.join().unwrap() == bytes);
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        write_named(Path::new("/dev/null"), &bytes).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(write_named(Path::new("/dev/full"), &bytes).is_err());
    }

    #[test]
    fn an_error_names_the_path() {
        let message = write(Path::new("/nonexistent-folder/x"), b"").unwrap_err().to_string();
        assert!(message.starts_with("/nonexistent-folder/x: cannot be written"), "{message}");
    }
}
