//! The files among listed images that no list names.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::dataset::account::{LeftOut, Reason};
use crate::dataset::error::DatasetError;
use crate::dataset::labelled::ListedSplit;
use crate::dataset::walk::{self, Found, What};

/// The files that are neither listed images nor lists, in order of their names: at any depth in the
/// folders directly below `root` that have listed images, and beside them where images lie in `root` itself.
///
/// # Cost
/// The folders are walked through; no file is opened.
pub(super) fn files(
    root: &Path,
    splits: &[&ListedSplit],
    lists: &HashSet<PathBuf>,
) -> Result<Vec<LeftOut>, DatasetError> {
    let plain = |path: &'_ String| -> PathBuf { path.trim_start_matches("./").into() };
    let listed: HashSet<PathBuf> =
        splits.iter().flat_map(|split| &split.paths).map(plain).collect();
    let folder = |path: &PathBuf| match path.parent()?.components().next() {
        Some(Component::Normal(first)) => Some(PathBuf::from(first)),
        Some(_) => None,
        None => Some(PathBuf::new()),
    };
    let mut folders: Vec<PathBuf> = listed.iter().filter_map(folder).collect();
    folders.sort_unstable();
    folders.dedup();
    // A list may be named from another folder.
    let same = |a: &Path, b: &Path| a == b || a.canonicalize().ok() == b.canonicalize().ok();
    let is_list = |path: &Path| {
        lists.iter().any(|list| list.file_name() == path.file_name() && same(list, path))
    };
    let is_other =
        |found: &Found| !listed.contains(&found.path) && !is_list(&root.join(&found.path));
    let left_out = |found: Found| LeftOut {
        path: found.path.to_string_lossy().into_owned(),
        reason: match found.what {
            What::Hidden => Reason::Hidden,
            What::Loop => Reason::LinkLoop,
            What::File(_) => Reason::NotListed,
        },
        picture: None,
    };
    let mut found: Vec<LeftOut> =
        walk::unopened(root, &folders)?.into_iter().filter(is_other).map(left_out).collect();
    found.sort_unstable();
    Ok(found)
}
