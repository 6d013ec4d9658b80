//! What was found where a folder of classes is expected, and what can be given in its place.

use std::path::{Path, PathBuf};

use super::error::DatasetError;
use super::image_kind::has_picture_extension;
use super::{list, walk};
use crate::config::{DatasetConfig, DatasetKind};
use crate::domain::Split;

/// Folders inside one another that are looked through.
const MOST_FOLDERS: usize = 4;

/// The error of a dataset whose folder of training images, its root or in it, has `classes` folders.
pub(super) fn error(root: &Path, training: &Path, classes: usize) -> DatasetError {
    let images =
        names(training).iter().filter(|name| has_picture_extension(Path::new(name))).count();
    let found = match (classes, images) {
        (0, 0) => "no folder of a class".into(),
        (0, images) => format!("{images} images and no folder of a class"),
        (classes, _) => format!("{classes} class"),
    };
    let whole = root == training;
    let remedy = match (inner(root).filter(|_| whole), listed(training).or_else(|| listed(root))) {
        (Some(folder), _) => format!("Give {}, which has them.", folder.display()),
        (None, Some(file)) => {
            format!("Give the list {} (dataset.kind = \"list\").", file.display())
        }
        (None, None) if !whole && classes == 0 => {
            "If this folder is a class itself, put it and all others into a folder train.".into()
        }
        (None, None) => {
            "Put the images of each class into a folder of its own there, or give a list of images and classes.".into()
        }
    };
    DatasetError::TooFewClasses { path: training.into(), found, remedy }
}

fn names(folder: &Path) -> Vec<String> {
    if folder.is_dir() { walk::names(folder).unwrap_or_default() } else { vec![] }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let below = names(folder).into_iter().map(|name| folder.join(name));
    below.filter(|path| path.is_dir()).collect()
}

/// The folder with splits or classes that a way of single folders leads to.
fn inner(path: &Path) -> Option<PathBuf> {
    let mut at = path.to_path_buf();
    for _ in 0..MOST_FOLDERS {
        let [only] = folders(&at).try_into().ok()?;
        at = only;
        if has_classes(&at) {
            return Some(at);
        }
    }
    None
}

fn has_classes(path: &Path) -> bool {
    let is_train = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.and_then(Split::of) == Some(Split::Train)
    };
    let has_images =
        |class: &PathBuf| names(class).iter().any(|n| has_picture_extension(Path::new(n)));
    let inside = folders(path);
    let classes = inside.iter().find(|folder| is_train(folder)).map(|train| folders(train));
    classes.unwrap_or(inside).iter().filter(|class| has_images(class)).count() > 1
}

/// A list in the folder that can be read: of training images where there are several.
fn listed(path: &Path) -> Option<PathBuf> {
    let is_list = |file: &PathBuf| {
        let config =
            DatasetConfig { kind: DatasetKind::List, path: file.clone(), ..Default::default() };
        file.is_file() && list::formats::is_table(file) && list::read(&config).is_ok()
    };
    let mut files: Vec<PathBuf> = names(path).into_iter().map(|name| path.join(name)).collect();
    let is_train = |file: &PathBuf| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        stem.split(['_', '-', '.']).any(|word| Split::of(word) == Some(Split::Train))
    };
    files.sort_by_key(|file| !is_train(file));
    files.into_iter().find(is_list)
}
