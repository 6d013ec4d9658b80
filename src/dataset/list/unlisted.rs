//! The files beside listed images that no list names.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::ListedSplit;
use crate::dataset::{LeftOut, Reason};

/// Files that operating systems put into folders.
const SYSTEM_FILES: [&str; 2] = ["Thumbs.db", "desktop.ini"];

/// The files in folders of listed images that are none of them and no list, in order of their names.
pub(super) fn files(
    root: &Path,
    splits: &[&ListedSplit],
    lists: &HashSet<PathBuf>,
) -> Vec<LeftOut> {
    let paths = || splits.iter().flat_map(|split| &split.paths);
    let plain = |path: &'_ String| -> String { path.trim_start_matches("./").into() };
    let listed: HashSet<String> = paths().map(plain).collect();
    let folders: BTreeSet<&str> =
        listed.iter().map(|path| &path[..path.rfind('/').map_or(0, |at| at + 1)]).collect();
    let mut found = vec![];
    for folder in folders {
        let here =
            root.join(if folder.is_empty() && root.as_os_str().is_empty() { "." } else { folder });
        for entry in std::fs::read_dir(&here).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{folder}{name}");
            let is_folder = || match entry.file_type() {
                Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
                kind => kind.is_ok_and(|kind| kind.is_dir()),
            };
            if listed.contains(&path) || is_folder() || lists.contains(&root.join(&path)) {
                continue;
            }
            let hidden = name.starts_with('.') || SYSTEM_FILES.contains(&name.as_str());
            let reason = if hidden { Reason::Hidden } else { Reason::NotListed };
            found.push(LeftOut { path, reason, picture: None });
        }
    }
    found.sort_unstable();
    found
}
