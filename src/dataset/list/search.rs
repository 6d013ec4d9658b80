//! The files below a folder by their names: what a listed name without a folder or an extension means.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use crate::dataset::class_name::nfc;
use crate::dataset::image_kind::has_picture_extension;
use crate::domain::Split;

/// Entries that are examined: a list may lie in the root of a disk.
const MOST_ENTRIES: usize = 4_000_000;

/// All files below a folder, hidden ones left out.
pub(super) struct Files {
    /// Relative to the folder, sorted.
    paths: Vec<String>,
    /// By name, and by name without the extension, in Unicode's normal form C.
    places: HashMap<String, Vec<u32>>,
    /// Splits that folders are named as.
    splits: HashSet<Split>,
}

impl Files {
    /// Looks through the folder once; what cannot be read counts as missing.
    pub(super) fn below(root: &Path) -> Self {
        let mut paths = paths_below(root);
        paths.sort_unstable();
        let mut places: HashMap<String, Vec<u32>> = HashMap::new();
        for (path, place) in paths.iter().zip(0..) {
            let (_, name) = divided(path);
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            for key in HashSet::from([name, stem]) {
                places.entry(nfc(key).into_owned()).or_default().push(place);
            }
        }
        let splits = paths.iter().flat_map(|path| splits_of(path)).collect();
        Self { paths, places, splits }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &str> {
        let places = self.places.get(&*nfc(name)).map(Vec::as_slice).unwrap_or_default();
        places.iter().map(|&place| self.paths[place as usize].as_str())
    }

    /// The files that a listed path may mean: of its name, with any extension where it has none, in its
    /// folder or below; images where there are other files too.
    pub(super) fn find(&self, path: &str) -> Vec<&str> {
        let path = nfc(path.trim_start_matches("./"));
        let (folder, name) = divided(&path);
        let fits = |file: &&str| nfc(file).starts_with(folder);
        let mut files: Vec<&str> = self.named(name).filter(fits).collect();
        let is_image = |file: &&str| has_picture_extension(Path::new(file));
        if files.iter().any(is_image) {
            files.retain(is_image);
        }
        files
    }

    /// Whether a file is in a folder of another split than this one, which has a folder too.
    pub(super) fn is_of_another(&self, file: &str, split: Split) -> bool {
        let mut of_file = splits_of(file).peekable();
        self.splits.contains(&split) && of_file.peek().is_some() && of_file.all(|of| of != split)
    }

    /// The file at a path that is written in another form of Unicode.
    pub(super) fn respelled(&self, path: &str) -> Option<&str> {
        let path = nfc(path.trim_start_matches("./"));
        self.named(divided(&path).1).find(|file| nfc(file) == path)
    }

    /// A prefix of the path and what to put there, so that it leads to a file of its name: to the one that
    /// shares most folders with it.
    pub(super) fn rewrite_for(&self, path: &str) -> Option<[String; 2]> {
        let (_, name) = divided(path);
        let shared = |file: &str| {
            let parts = |path| str::rsplit(path, '/');
            let same = parts(path).zip(parts(file)).skip(1).take_while(|(a, b)| a == b);
            same.map(|(part, _)| part.len() + 1).sum::<usize>()
        };
        let mut found: Vec<(usize, &str)> =
            self.named(name).map(|file| (shared(file), file)).collect();
        found.sort_unstable();
        let (most, file) = found.pop()?;
        if found.last().is_some_and(|(second, _)| *second == most) {
            return None;
        }
        let before = |path: &str| divided(path).0[..divided(path).0.len() - most].to_string();
        Some([before(path), before(file)])
    }
}

/// Of several files, the only one in a folder that is named as the split, or else as the list.
pub(super) fn preferred<'a>(files: &[&'a str], split: Split, list: &Path) -> Option<&'a str> {
    let only = |is: &dyn Fn(&str) -> bool| {
        let mut fit = files.iter().filter(|file| divided(file).0.split_terminator('/').any(is));
        fit.next().filter(|_| fit.next().is_none()).copied()
    };
    let stem = list.file_stem();
    only(&|folder| Split::of(folder) == Some(split))
        .or_else(|| only(&|folder| stem.is_some_and(|stem| stem == folder)))
}

/// A folder that all images may be in, with its slash: that of the first file that is not named as
/// another split.
pub(super) fn folder_for<'a>(files: &[&'a str], split: Split) -> Option<&'a str> {
    let other = |folder: &str| Split::of(folder).is_some_and(|of| of != split);
    let folders = files.iter().map(|file| divided(file).0);
    folders.into_iter().find(|folder| !folder.is_empty() && !folder.split('/').any(other))
}

/// The folder, with its slash, and the name.
fn divided(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |at| at + 1))
}

/// The splits that a file's folders are named as.
fn splits_of(file: &str) -> impl Iterator<Item = Split> {
    divided(file).0.split_terminator('/').filter_map(Split::of)
}

fn paths_below(root: &Path) -> Vec<String> {
    let mut paths = vec![];
    let mut entries_seen = 0;
    // Links may lead in a circle.
    let mut seen = HashSet::new();
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let mut folders = vec![(root.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        if !folder.canonicalize().is_ok_and(|folder| seen.insert(folder)) {
            continue;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            entries_seen += 1;
            if entries_seen > MOST_ENTRIES {
                return paths;
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let is_folder = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => folder.join(&name).is_dir(),
                Ok(kind) => kind.is_dir(),
                Err(_) => continue,
            };
            match is_folder {
                true => folders.push((folder.join(&name), format!("{prefix}{name}/"))),
                false => paths.push(format!("{prefix}{name}")),
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        let files = Files::below(dir.path());
        (dir, files)
    }

    #[test]
    fn a_name_leads_to_the_only_file_that_fits() {
        let (_dir, files) = files(&["a/1.jpg", "a/x/2.png", "a/2.txt", "b/2.jpg", "3.v1.jpg"]);
        assert_eq!(files.find("1"), ["a/1.jpg"]);
        assert_eq!(files.find("1.jpg"), ["a/1.jpg"]);
        assert_eq!(files.find("./a/2"), ["a/x/2.png"]);
        assert_eq!(files.find("3.v1"), ["3.v1.jpg"]);
        assert_eq!(files.find("b/1"), [""; 0]);
        assert_eq!(files.find("2"), ["a/x/2.png", "b/2.jpg"]);
    }

    #[test]
    fn of_several_files_that_of_the_split_or_of_the_list_is_preferred() {
        let of = |files: &[&str], list: &str| {
            preferred(files, Split::Train, Path::new(list)).map(String::from)
        };
        assert_eq!(of(&["Training/1.png", "test/1.png"], "x.csv").unwrap(), "Training/1.png");
        assert_eq!(of(&["a/birds/1.png", "b/1.png"], "birds.csv").unwrap(), "a/birds/1.png");
        assert_eq!(of(&["a/train/1.png", "b/train/1.png"], "x.csv"), None);
        assert_eq!(of(&["a/1.png", "train.png"], "x.csv"), None);
        let folder = |files: &[&str]| folder_for(files, Split::Train).map(String::from);
        assert_eq!(folder(&["test/1.png", "x/1.png"]).unwrap(), "x/");
        assert_eq!(folder(&["1.png", "test/1.png"]), None);
    }

    #[test]
    fn a_rewrite_leads_to_the_file_that_shares_most_folders() {
        let (_dir, files) = files(&["photos/heron/1.jpg", "photos/gull/1.jpg", "photos/x/2.jpg"]);
        let rewrite = |path| files.rewrite_for(path);
        let pair = |from: &str, to: &str| Some([from.to_string(), to.to_string()]);
        assert_eq!(rewrite("/old/heron/1.jpg"), pair("/old/", "photos/"));
        assert_eq!(rewrite("gull/1.jpg"), pair("", "photos/"));
        assert_eq!(rewrite("C:/me/photos/x/2.jpg"), pair("C:/me/", ""));
        assert_eq!(rewrite("swan/1.jpg"), None);
        assert_eq!(rewrite("3.jpg"), None);
    }
}
