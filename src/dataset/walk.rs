//! Every file below a folder, with its kind: what a folder of images has and what `predict`
//! finds in one follow from the same walk.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::account::{Account, LeftOut, Reason};
use super::error::DatasetError;
use super::image_kind::{self, FileKind};

/// Times that one folder is entered through links: links among a few folders lead through them in more
/// orders than could be walked.
const MOST_VISITS: usize = 100;

/// What is below a folder.
#[derive(Default)]
pub(super) struct Walk {
    /// Its files, folder by folder, each in order of names.
    pub(super) files: Vec<Found>,
    /// Its folders but for hidden ones, relative to it.
    pub(super) folders: Vec<PathBuf>,
    /// What each of these is, whatever leads to it.
    pub(super) identities: Vec<Identity>,
}

/// A file.
pub(super) struct Found {
    /// Relative to the folder.
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A file of its user's.
    File(FileKind),
    /// Hidden or of an operating system, or in a folder that is.
    Hidden,
    /// A link to a folder that it is in, which is not followed.
    Loop,
}

impl Found {
    /// As left out for what it is itself, or else for `reason`.
    pub(super) fn left_out(&self, reason: Reason) -> LeftOut {
        let (reason, picture) = match self.what {
            What::Hidden => (Reason::Hidden, None),
            What::Loop => (Reason::LinkLoop, None),
            What::File(FileKind::NotAnImage) => (Reason::NotAnImage, None),
            What::File(FileKind::Unreadable) => (Reason::Unreadable, None),
            What::File(FileKind::Undecodable(picture)) => (reason, picture),
            What::File(FileKind::Image) => (reason, None),
        };
        LeftOut { path: self.path.to_string_lossy().into_owned(), reason, picture }
    }

    /// Whether it is an image, or has the name or the content of a picture that cannot be decoded.
    pub(super) fn is_picture(&self) -> bool {
        matches!(self.what, What::File(FileKind::Image | FileKind::Undecodable(_)))
    }
}

/// Whether a file or folder is hidden, or one that an operating system makes.
fn is_hidden(name: &OsStr) -> bool {
    const OF_SYSTEMS: [&str; 8] = [
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "@eadir",
        "$recycle.bin",
        "system volume information",
    ];
    let name = name.to_string_lossy();
    name.starts_with('.') || OF_SYSTEMS.iter().any(|of| name.eq_ignore_ascii_case(of))
}

/// Goes through a folder and all below it; links are followed, but not into a folder that they are in.
///
/// # Errors
/// A folder that cannot be read, unless it is hidden.
///
/// # Cost
/// Each file that is not hidden is opened for its first bytes, more than one at a time.
pub(super) fn below(root: &Path) -> Result<Walk, DatasetError> {
    let mut walker = Walker::new(root);
    walker.folder(Path::new(""), false)?;
    let mut walk = walker.walk;
    walk.files.par_iter_mut().for_each(|found| {
        if let What::File(kind) = &mut found.what {
            *kind = image_kind::of_file(&root.join(&found.path));
        }
    });
    Ok(walk)
}

/// The files in some folders of `root`, of the root itself (named by an empty path) those directly in it; none
/// is opened to see what it is.
///
/// # Errors
/// A folder that cannot be read.
pub(super) fn unopened(root: &Path, folders: &[PathBuf]) -> Result<Vec<Found>, DatasetError> {
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let mut walker = Walker::new(root);
    walker.within.extend(fs::metadata(root).ok().as_ref().map(identity));
    for folder in folders {
        walker.only_files = folder.as_os_str().is_empty();
        if root.join(folder).is_dir() {
            walker.folder(folder, false)?;
        }
    }
    Ok(walker.walk.files)
}

/// Images in a folder at any depth, each folder in order of names, and what becomes of its other files.
///
/// # Errors
/// A folder that cannot be read.
pub fn images_below(folder: &Path) -> Result<(Vec<PathBuf>, Account), DatasetError> {
    let mut files = below(folder)?.files;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (mut images, mut account) = (vec![], Account::default());
    for found in files {
        if found.what == What::File(FileKind::Image) {
            account.used += 1;
        } else {
            account.left_out.push(found.left_out(Reason::Unreadable));
        }
        if found.is_picture() {
            images.push(folder.join(found.path));
        }
    }
    Ok((images, account))
}

/// Device and number: a folder, whatever leads to it.
pub(super) type Identity = (u64, u64);

struct Walker<'a> {
    root: &'a Path,
    /// The folders that the current one is in, and itself.
    within: Vec<Identity>,
    visits: HashMap<Identity, usize>,
    /// Whether folders in the current one are passed by.
    only_files: bool,
    walk: Walk,
}

impl<'a> Walker<'a> {
    fn new(root: &'a Path) -> Self {
        let (within, visits, walk) = (vec![], HashMap::new(), Walk::default());
        Self { root, within, visits, only_files: false, walk }
    }

    fn folder(&mut self, relative: &Path, hidden: bool) -> Result<(), DatasetError> {
        let folder = match relative.as_os_str().is_empty() {
            true => self.root.to_path_buf(),
            false => self.root.join(relative),
        };
        let read = |source| DatasetError::Read { path: folder.clone(), source };
        let listed = fs::metadata(&folder).and_then(|of| {
            let entries = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
            Ok((identity(&of), entries))
        });
        let (this, mut entries) = match listed {
            Ok(listed) => listed,
            Err(_) if hidden => {
                self.walk.files.push(Found { path: relative.into(), what: What::Hidden });
                return Ok(());
            }
            Err(source) => return Err(read(source)),
        };
        self.within.push(this);
        entries.sort_unstable_by_key(|entry| entry.file_name());
        for entry in entries {
            let name = entry.file_name();
            let (path, hidden) = (relative.join(&name), hidden || is_hidden(&name));
            let kind = entry.file_type().map_err(read)?;
            // What is not a folder is opened later, and what is wrong with it is seen then.
            let target = match kind.is_dir() || kind.is_symlink() {
                true => fs::metadata(entry.path()).ok().filter(Metadata::is_dir),
                false => None,
            };
            let what = match target.as_ref().map(identity) {
                Some(target) if self.may_enter(target, kind.is_symlink()) => {
                    self.enter(path, target, hidden)?;
                    continue;
                }
                _ if hidden => What::Hidden,
                Some(_) => What::Loop,
                None => What::File(FileKind::NotAnImage),
            };
            self.walk.files.push(Found { path, what });
        }
        self.within.pop();
        Ok(())
    }

    fn enter(&mut self, path: PathBuf, target: Identity, hidden: bool) -> Result<(), DatasetError> {
        if self.only_files {
            return Ok(());
        }
        self.folder(&path, hidden)?;
        if !hidden {
            self.walk.folders.push(path);
            self.walk.identities.push(target);
        }
        Ok(())
    }

    /// Whether a folder may be entered: not inside itself, and not too often through links.
    fn may_enter(&mut self, target: Identity, is_link: bool) -> bool {
        if self.within.contains(&target) {
            return false;
        }
        let visits = self.visits.entry(target).or_default();
        *visits += usize::from(is_link);
        !is_link || *visits <= MOST_VISITS
    }
}

fn identity(folder: &Metadata) -> Identity {
    (folder.dev(), folder.ino())
}
/// Names in a folder, sorted; hidden ones are left out.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, DatasetError> {
    let read = |source| DatasetError::Read { path: folder.into(), source };
    let mut names = vec![];
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let not_utf8 = |name| DatasetError::NotUtf8 { path: folder.join(PathBuf::from(name)) };
        let name = name.into_string().map_err(not_utf8)?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
