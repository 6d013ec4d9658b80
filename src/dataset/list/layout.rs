//! From the paths of a list to the files that are there: prefixes that the user replaces, and the two
//! ways in which Places365 is stored.

use std::borrow::Cow;
use std::path::{Component, Path};

use super::{List, ListError, ListedSplit, Place, in_list};
use crate::dataset::DatasetError;

/// Images that are looked for before a list is taken to be of another layout.
const PROBES: usize = 16;

/// Folders of Places365's training and validation images.
enum Layout {
    /// `train/arena-hockey/00001.jpg`, `val/arena-hockey/Places365_val_00000001.jpg`.
    ByClass { train: &'static str, val: &'static str },
    /// `data_256/a/arena/hockey/00001.jpg`, `val_256/Places365_val_00000001.jpg`.
    ByLetter { train: &'static str, val: &'static str },
}

/// As published, and as torchvision unpacks them.
const LAYOUTS: [Layout; 5] = [
    Layout::ByClass { train: "train", val: "val" },
    Layout::ByLetter { train: "data_256", val: "val_256" },
    Layout::ByLetter { train: "data_large", val: "val_large" },
    Layout::ByLetter { train: "data_256_standard", val: "val_256" },
    Layout::ByLetter { train: "data_large_standard", val: "val_large" },
];

/// What a path says of an image of Places365.
struct Photograph<'a> {
    training: bool,
    /// As `arena/hockey`; the folder of validation images by letter does not say it.
    class: Option<Cow<'a, str>>,
    file: &'a str,
}

impl Layout {
    fn parse<'a>(&self, path: &'a str) -> Option<Photograph<'a>> {
        let (folder, file) = path.rsplit_once('/')?;
        match self {
            Self::ByClass { train, val } => {
                let (set, class) = folder.split_once('/')?;
                let known = (set == *train || set == *val) && !class.contains('/');
                let class = Some(class.replace('-', "/").into());
                known.then_some(Photograph { training: set == *train, class, file })
            }
            Self::ByLetter { val, .. } if folder == *val => {
                Some(Photograph { training: false, class: None, file })
            }
            Self::ByLetter { train, .. } => {
                let class = by_letter(folder, train)?;
                Some(Photograph { training: true, class: Some(class.into()), file })
            }
        }
    }

    /// The path here; `None` where the class is needed and not known.
    fn path(&self, photograph: &Photograph, class: Option<&str>) -> Option<String> {
        let file = photograph.file;
        let class = photograph.class.as_deref().or(class);
        match self {
            Self::ByClass { train, val } => {
                let set = if photograph.training { train } else { val };
                Some(format!("{set}/{}/{file}", class?.replace('/', "-")))
            }
            Self::ByLetter { val, .. } if !photograph.training => Some(format!("{val}/{file}")),
            Self::ByLetter { train, .. } => {
                let letter = class?.chars().next()?;
                Some(format!("{train}/{letter}/{}/{file}", class?))
            }
        }
    }
}

/// `arena/hockey` of `data_256/a/arena/hockey`.
fn by_letter<'a>(folder: &'a str, train: &str) -> Option<&'a str> {
    let (letter, class) = folder.strip_prefix(train)?.strip_prefix('/')?.split_once('/')?;
    (letter.chars().count() == 1 && class.starts_with(letter)).then_some(class)
}

/// The class that a folder of training images by letter is of.
pub(super) fn class_of_folder(folder: &str) -> Option<&str> {
    LAYOUTS.iter().find_map(|layout| match layout {
        Layout::ByLetter { train, .. } => by_letter(folder, train),
        Layout::ByClass { .. } => None,
    })
}

fn photograph(path: &str) -> Option<Photograph<'_>> {
    LAYOUTS.iter().find_map(|layout| layout.parse(path))
}

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

/// Replaces the first prefix that a path has, and refuses paths that leave the folder of the images.
pub(super) fn rewrite(list: &mut List, rewrites: &[[String; 2]]) -> Result<(), DatasetError> {
    for i in 0..list.paths.len() {
        if let Some(path) = replaced(&list.paths[i], rewrites) {
            list.paths[i] = path;
        }
        let path = &list.paths[i];
        if !stays_inside(path) {
            let wrong = ListError::OutsideRoot { image: path.clone() };
            return Err(list.wrong(list.place(i), wrong));
        }
    }
    Ok(())
}

fn stays_inside(path: &str) -> bool {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    Path::new(path).components().all(inside)
}

fn replaced(path: &str, rewrites: &[[String; 2]]) -> Option<String> {
    let replaced =
        |[from, to]: &[String; 2]| Some(format!("{to}{}", path.strip_prefix(from.as_str())?));
    rewrites.iter().find_map(replaced)
}

/// Where none of the first images is there, looks for them in the other layouts of Places365 and takes the
/// one that has some: the split's paths are then those of that layout.
pub(super) fn locate(
    split: &mut ListedSplit,
    root: &Path,
    folders: &[Option<String>],
) -> Result<(), DatasetError> {
    let is_there = |path: &String| root.join(path).is_file();
    let probes = split.paths.len().min(PROBES);
    if split.paths[..probes].iter().any(is_there) {
        return Ok(());
    }
    let mut tried: Vec<String> = split.paths.first().cloned().into_iter().collect();
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
    let tried = tried.iter().map(|path| root.join(path).display().to_string()).collect();
    Err(in_list(&split.file, Place::Whole, ListError::NotFound { tried }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_either_layout_lead_to_the_other() {
        let [by_class, by_letter] = [&LAYOUTS[0], &LAYOUTS[1]];
        let pairs = [
            ("train/airfield/1.jpg", "data_256/a/airfield/1.jpg"),
            ("train/arena-hockey/1.jpg", "data_256/a/arena/hockey/1.jpg"),
            ("val/arena-hockey/v_1.jpg", "val_256/v_1.jpg"),
        ];
        for (first, second) in pairs {
            let class = Some("arena/hockey");
            assert_eq!(by_letter.path(&photograph(first).unwrap(), None).unwrap(), second);
            assert_eq!(by_class.path(&photograph(second).unwrap(), class).unwrap(), first);
        }
        assert!(by_class.path(&photograph("val_256/v_1.jpg").unwrap(), None).is_none());
    }

    #[test]
    fn other_paths_are_not_of_places() {
        for path in
            ["1.jpg", "train/1.jpg", "train/a/b/1.jpg", "data_256/b/airfield/1.jpg", "x/a/1.jpg"]
        {
            assert!(photograph(path).is_none(), "{path}");
        }
        assert_eq!(class_of_folder("data_256/f/field/wild"), Some("field/wild"));
        assert_eq!(class_of_folder("train/field-wild"), None);
    }
}
