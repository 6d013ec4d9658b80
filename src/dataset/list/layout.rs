//! From the paths of a list to existing files: prefixes that the user replaces, separators and
//! roots of other systems, the two ways in which Places365 is stored, names without a folder.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::search::{self, Files};
use crate::dataset::error::DatasetError;
use crate::dataset::image_kind::has_picture_extension;
use crate::dataset::labelled::{LAYOUTS, List, ListError, ListedSplit, Place, in_list, photograph};
use crate::domain::Split;

/// Images that are looked for before a list is taken to be of another layout.
const PROBES: usize = 16;

/// Of each class, the folder that Places365 has it in, as `arena/hockey`, where the training list says it.
pub(super) fn class_folders(train: &ListedSplit, classes: usize) -> Vec<Option<String>> {
    let mut folders = vec![None; classes];
    for (path, &label) in train.paths.iter().zip(&train.labels) {
        let folder = &mut folders[label as usize];
        if folder.is_none() {
            *folder = photograph(path).and_then(|p| p.class).map(Cow::into_owned);
        }
    }
    folders
}

/// Makes the paths of a list relative to the folder of the images: the first prefix that a path has is
/// replaced, backslashes are slashes unless a file is called so, and paths from the root of the disk lose
/// the folder's own.
pub(super) fn rewrite(
    list: &mut List,
    root: &Path,
    rewrites: &[[String; 2]],
    taken: &mut Taken,
) -> Result<(), DatasetError> {
    let roots = [std::path::absolute(root).ok(), canonical(root)];
    for i in 0..list.paths.len() {
        if let Some(path) = replaced(&list.paths[i], rewrites) {
            list.paths[i] = path;
        }
        let is_there = |path: &str| root.join(path).is_file();
        if list.paths[i].contains('\\') && !is_there(&list.paths[i]) {
            let path = slashes(&list.paths[i]).into_owned();
            taken.backslashes.add(std::mem::replace(&mut list.paths[i], path.clone()), path);
        }
        if is_absolute(&list.paths[i]) {
            if let Some(path) = below(&list.paths[i], &roots) {
                taken.absolute.add(std::mem::replace(&mut list.paths[i], path.clone()), path);
            } else if list.paths[i].starts_with('/') || !is_there(&list.paths[i]) {
                return Err(outside(list, i, root));
            }
        }
        if !stays_inside(&list.paths[i]) {
            return Err(outside(list, i, root));
        }
    }
    Ok(())
}

/// What paths were taken for.
#[derive(Default)]
pub(super) struct Taken {
    backslashes: Paths,
    absolute: Paths,
    found: Paths,
    preferred: Paths,
    respelled: Paths,
}

impl Taken {
    /// In sentences.
    pub(super) fn notes(self) -> impl Iterator<Item = String> {
        let notes = [
            self.backslashes.note("with backslashes are read with slashes"),
            self.absolute.note("from the root of the disk lead below the folder of the images"),
            self.found.note("are names of files, and were found below the folder of the images"),
            self.preferred.note(
                "are names of several files, of which that in the folder named as the split or as the list is taken",
            ),
            self.respelled.note("are written in another form of Unicode than the names of the files"),
        ];
        notes.into_iter().flatten()
    }
}

/// Paths that were read as others.
#[derive(Default)]
struct Paths {
    paths: usize,
    first: Option<(String, String)>,
}

impl Paths {
    fn add(&mut self, from: String, to: String) {
        self.paths += 1;
        self.first.get_or_insert((from, to));
    }

    fn note(self, what: &str) -> Option<String> {
        let (from, to) = self.first?;
        Some(format!("{} paths {what}: `{from}` as `{to}`", self.paths))
    }
}

/// As Windows writes paths, with slashes.
fn slashes(path: &str) -> Cow<'_, str> {
    match path.contains('\\') {
        true => path.replace('\\', "/").into(),
        false => path.into(),
    }
}

/// From the root of a disk, of Windows too.
fn is_absolute(path: &str) -> bool {
    let drive = |bytes: &[u8]| bytes[0].is_ascii_alphabetic() && bytes[1..] == *b":/";
    path.starts_with('/') || path.as_bytes().get(..3).is_some_and(drive)
}

fn canonical(path: &Path) -> Option<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.canonicalize().ok()
}

/// An absolute path relative to one of the roots.
fn below(path: &str, roots: &[Option<PathBuf>]) -> Option<String> {
    let within = |path: &Path| {
        let rest = roots.iter().flatten().find_map(|root| path.strip_prefix(root).ok())?;
        Some(rest.to_str()?.to_string()).filter(|rest| !rest.is_empty())
    };
    within(Path::new(path)).or_else(|| within(&canonical(Path::new(path))?))
}

fn stays_inside(path: &str) -> bool {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    Path::new(path).components().all(inside)
}

fn replaced(path: &str, rewrites: &[[String; 2]]) -> Option<String> {
    let replaced = |[from, to]: &[String; 2]| {
        let plain = path.strip_prefix(from.as_str()).map(Into::into);
        let rest: String =
            plain.or_else(|| Some(slashes(path).strip_prefix(&*slashes(from))?.to_string()))?;
        // A folder may be written with or without its last slash.
        let cut = to.is_empty() && !from.is_empty();
        Some(format!("{to}{}", if cut { rest.trim_start_matches(['/', '\\']) } else { &rest }))
    };
    rewrites.iter().find_map(replaced)
}

/// The error of a path that leaves the folder, with the way to use it.
fn outside(list: &List, i: usize, root: &Path) -> DatasetError {
    let image = list.paths[i].clone();
    let root = &canonical(root).unwrap_or(root.into());
    let steps = image.split('/').take_while(|part| *part == "..").count();
    let remedy = match () {
        _ if is_absolute(&image) => absolute_remedy(list, &image, root),
        _ if steps > 0 && stays_inside(&image[3 * steps..]) => {
            let up = "../".repeat(steps);
            let folder = canonical(&root.join(&up)).unwrap_or(root.join(&up));
            format!(
                "Set dataset.kind = \"list\", dataset.path = {}, dataset.train_list = {} and {}.",
                toml_text(&folder.to_string_lossy()),
                toml_text(&canonical(&list.file).unwrap_or(list.file.clone()).to_string_lossy()),
                rewrites_text(&[up, String::new()])
            )
        }
        _ => "Write the path without `..`.".into(),
    };
    list.wrong(list.place(i), ListError::OutsideRoot { image, root: root.into(), remedy })
}

fn absolute_remedy(list: &List, image: &str, root: &Path) -> String {
    if let Some(rewrite) = Files::below(root).rewrite_for(image) {
        return format!("Set {}.", rewrites_text(&rewrite));
    }
    let shared = list.paths.iter().map(|path| slashes(path)).filter(|path| is_absolute(path));
    let shared = shared.reduce(|a, b| common_folder(&a, &b).to_string().into());
    let shared = shared.as_deref().map_or("", |path| &path[..path.rfind('/').unwrap_or(0)]);
    if shared.starts_with('/') && Path::new(shared).is_dir() {
        let list = canonical(&list.file).unwrap_or(list.file.clone());
        return format!(
            "Set dataset.kind = \"list\", dataset.path = {} and dataset.train_list = {}.",
            toml_text(shared),
            toml_text(&list.to_string_lossy())
        );
    }
    let rewrite = [format!("{shared}/"), String::new()];
    format!("Put the images below that folder and set {}.", rewrites_text(&rewrite))
}

/// What two paths begin with, to a slash.
fn common_folder<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    &a[..a.as_bytes()[..same].iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1)]
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

fn rewrites_text([from, to]: &[String; 2]) -> String {
    format!("dataset.path_rewrites = [[{}, {}]]", toml_text(from), toml_text(to))
}

/// What paths are looked for with.
pub(super) struct Search<'a> {
    pub(super) root: &'a Path,
    /// Of each class, the folder that Places365 has it in.
    pub(super) folders: &'a [Option<String>],
    pub(super) files: OnceCell<Files>,
    /// Whether two splits have a path in common, as they are written: one prefix of both leads to the same
    /// files.
    pub(super) in_common: bool,
    pub(super) taken: Taken,
}

/// Where none of the first images is there, looks for them in the other layouts of Places365, and then by
/// their names alone below the folder; names without an extension are looked for in any case. The split's
/// paths are then those of the files that were found.
pub(super) fn locate(
    split: &mut ListedSplit,
    name: Split,
    search: &mut Search,
) -> Result<(), DatasetError> {
    let Search { root, folders, files, in_common, taken } = search;
    let is_there = |path: &String| root.join(path).is_file();
    let probes = split.paths.len().min(PROBES);
    let some_are_there = split.paths[..probes].iter().any(is_there);
    let mut tried: Vec<String> = split.paths.first().cloned().into_iter().collect();
    if !some_are_there {
        for layout in &LAYOUTS {
            let moved = |i: usize| {
                let folder = folders.get(split.labels[i] as usize)?.as_deref();
                layout.path(&photograph(&split.paths[i])?, folder)
            };
            if (0..probes).filter_map(moved).any(|path| is_there(&path)) {
                let paths: Option<Vec<String>> = (0..split.paths.len()).map(moved).collect();
                if let Some(paths) = paths {
                    split.paths = paths;
                    return Ok(());
                }
            }
            tried.extend(moved(0).filter(|path| !tried.contains(path)));
        }
    }
    let mut any = false;
    for path in &mut split.paths {
        let only_respelled = some_are_there && has_picture_extension(Path::new(path.as_str()));
        if (only_respelled && path.is_ascii()) || is_there(path) {
            continue;
        }
        let files = files.get_or_init(|| Files::below(root));
        let (found, kind) = match (files.respelled(path), files.find(path).as_slice()) {
            (Some(file), _) => (file, &mut taken.respelled),
            _ if only_respelled => continue,
            (None, []) => continue,
            // The image is missing, and another split has one of its name.
            (None, [only]) if *in_common && files.is_of_another(only, name) => continue,
            (None, [only]) => (*only, &mut taken.found),
            (None, several) => match search::preferred(several, name, &split.file) {
                Some(file) => (file, &mut taken.preferred),
                None => {
                    let folder = search::folder_for(several, name).filter(|_| !*in_common);
                    let wrong = ListError::Ambiguous {
                        image: path.clone(),
                        remedy: several_remedy(folder),
                        files: several.iter().map(|&file| file.into()).collect(),
                    };
                    return Err(in_list(&split.file, Place::Whole, wrong));
                }
            },
        };
        any = true;
        kind.add(std::mem::replace(path, found.into()), found.into());
    }
    if !some_are_there && !any {
        let rewrite = files.get().zip(split.paths.first()).filter(|_| !*in_common);
        let remedy = match rewrite.and_then(|(files, path)| files.rewrite_for(path)) {
            Some(rewrite) => format!("Set {}.", rewrites_text(&rewrite)),
            None => "Check dataset.path, or set dataset.path_rewrites = [[\"from prefix\", \"to prefix\"]].".into(),
        };
        let tried = tried.iter().map(|path| root.join(path).display().to_string()).collect();
        return Err(in_list(&split.file, Place::Whole, ListError::NotFound { tried, remedy }));
    }
    Ok(())
}

fn several_remedy(folder: Option<&str>) -> String {
    let write = "Write the path with its folder in the list";
    match folder {
        Some(folder) => {
            let rewrite = rewrites_text(&[String::new(), folder.into()]);
            format!("{write} or, where all images are in one folder, name it as in {rewrite}.")
        }
        None => format!("{write}, as the names alone do not say which is meant."),
    }
}

/// Files that two splits have, how many they are, in a sentence.
pub(super) fn in_two_splits(splits: &[(Split, &ListedSplit)]) -> Vec<String> {
    let files = |split: &ListedSplit| -> HashSet<PathBuf> {
        split.paths.iter().map(|path| PathBuf::from(path.trim_start_matches("./"))).collect()
    };
    let mut sentences = vec![];
    for (i, (first, split)) in splits.iter().enumerate() {
        let of_first = files(split);
        for (second, other) in &splits[i + 1..] {
            let both: HashSet<PathBuf> =
                files(other).into_iter().filter(|f| of_first.contains(f)).collect();
            let Some(path) = both.iter().min() else { continue };
            sentences.push(format!(
                "{} files are in both the {} and the {} split, such as {}: what is measured on them is too good",
                both.len(),
                first.name(),
                second.name(),
                path.display()
            ));
        }
    }
    sentences
}
