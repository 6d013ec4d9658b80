//! An archive into a folder: written aside, renamed when it is complete. A member that would be
//! written outside the folder, or is anything but a file or a folder, ends it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;

use super::FetchError;
use crate::dataset::known::Archive;
use crate::progress::{Progress, Watch};

/// Unpacks `path` and puts what it makes into `folder`; what exists already stays as it is.
pub(super) fn unpack(
    path: &Path,
    archive: &Archive,
    folder: &Path,
    watch: Watch<'_>,
) -> Result<(), FetchError> {
    let aside = Aside::new(folder.join(format!(".{}.unpacking", archive.file)))?;
    let file = File::open(path).map_err(FetchError::file(path))?;
    let bytes = file.metadata().map_err(FetchError::file(path))?.len();
    watch.progress.start(&format!("unpacking {}", archive.file), bytes, "byte");
    let mut unpacking = Unpacking { path, aside: &aside.0, last_folder: PathBuf::new(), watch };
    let unpacked = match archive.file.ends_with(".zip") {
        true => unpacking.zip(file),
        false => unpacking.tar_gz(Counted { file, progress: watch.progress }),
    };
    watch.progress.finish();
    unpacked?;
    let file = File::open(&aside.0).map_err(FetchError::file(&aside.0))?;
    // What is renamed below must be on the disk, or a crash could leave a folder of empty files.
    rustix::fs::syncfs(&file)
        .map_err(|e| FetchError::File { path: aside.0.clone(), source: e.into() })?;
    for made in archive.makes {
        let place = folder.join(made);
        if !place.exists() {
            let from = aside.find(made).ok_or_else(|| FetchError::Unpack {
                path: path.into(),
                message: format!("no `{made}` in it"),
            })?;
            fs::rename(from, &place).map_err(FetchError::file(&place))?;
        }
    }
    Ok(())
}

/// A folder that is gone when this is.
struct Aside(PathBuf);

impl Aside {
    fn new(path: PathBuf) -> Result<Self, FetchError> {
        if path.symlink_metadata().is_ok() {
            fs::remove_dir_all(&path).map_err(FetchError::file(&path))?;
        }
        fs::create_dir(&path).map_err(FetchError::file(&path))?;
        Ok(Self(path))
    }

    /// `name` at the top, or within one of the folders there.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let at_top = self.0.join(name);
        if at_top.exists() {
            return Some(at_top);
        }
        let within = |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.path().join(name));
        fs::read_dir(&self.0).ok()?.filter_map(within).find(|path| path.exists())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // The next call removes what could not be removed now.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file that reports how far it was read.
struct Counted<'a> {
    file: File,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

struct Unpacking<'a> {
    path: &'a Path,
    aside: &'a Path,
    /// The folder that was made last: members come sorted by folder.
    last_folder: PathBuf,
    watch: Watch<'a>,
}

impl Unpacking<'_> {
    fn tar_gz(&mut self, file: Counted) -> Result<(), FetchError> {
        let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
        for entry in tar.entries().map_err(|e| self.broken(e.to_string()))? {
            let mut entry = entry.map_err(|e| self.broken(e.to_string()))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if kind.is_pax_global_extensions() {
                continue;
            }
            if kind.is_dir() {
                self.folder(&name)?;
            } else if kind.is_file() {
                self.file(&name, &mut entry)?;
            } else {
                return Err(self.refused(&name, "is neither a file nor a folder"));
            }
        }
        Ok(())
    }

    fn zip(&mut self, file: File) -> Result<(), FetchError> {
        let mut zip = ZipArchive::new(file).map_err(|e| self.broken(e.to_string()))?;
        for i in 0..zip.len() {
            let mut member = zip.by_index(i).map_err(|e| self.broken(e.to_string()))?;
            let name = member.name().map_err(|e| self.broken(e.to_string()))?.into_owned();
            let compressed = member.compressed_size();
            if member.is_symlink() {
                return Err(self.refused(&name, "is neither a file nor a folder"));
            }
            if member.is_dir() {
                self.folder(&name)?;
            } else {
                self.file(&name, &mut member)?;
            }
            self.watch.progress.advance(compressed);
        }
        Ok(())
    }

    /// Where a member is written: a path of plain names, below the folder aside.
    fn place(&self, name: &str) -> Result<PathBuf, FetchError> {
        let relative = Path::new(name);
        let inside = |c| matches!(c, Component::Normal(_) | Component::CurDir);
        if !relative.components().all(inside) {
            return Err(self.refused(name, "leads out of the folder"));
        }
        Ok(self.aside.join(relative))
    }

    fn folder(&mut self, name: &str) -> Result<(), FetchError> {
        let place = self.place(name)?;
        fs::create_dir_all(&place).map_err(FetchError::file(&place))
    }

    fn file(&mut self, name: &str, content: &mut impl Read) -> Result<(), FetchError> {
        if self.watch.interrupted() {
            let path = self.path.parent().unwrap_or(self.path).into();
            return Err(FetchError::Interrupted { path });
        }
        let place = self.place(name)?;
        let parent = place.parent().unwrap_or(self.aside);
        if parent != self.last_folder {
            fs::create_dir_all(parent).map_err(FetchError::file(parent))?;
            self.last_folder = parent.into();
        }
        // Links are refused, so the file is where its path says.
        let mut file = File::create(&place).map_err(FetchError::file(&place))?;
        io::copy(content, &mut file).map_err(|e| self.broken(format!("{name}: {e}")))?;
        Ok(())
    }

    fn broken(&self, message: String) -> FetchError {
        FetchError::Unpack { path: self.path.into(), message }
    }

    fn refused(&self, member: &str, found: &'static str) -> FetchError {
        FetchError::Member { path: self.path.into(), member: member.into(), found }
    }
}
