//! Lists of image files: each is read by the format that its extension names, all of them share one
//! numbering of the classes, and their paths lead to files below one folder.

mod classes;
mod coco;
mod columns;
mod delimited;
mod error;
mod layout;
mod text;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::decode::Framing;
use super::{DatasetError, Parts, Split, table};
use crate::config::DatasetConfig;
use crate::domain::ClassCounts;

pub(super) use super::split_name::SplitName;
pub(super) use classes::Classes;
pub(super) use columns::{Columns, find, no_path};
pub use error::{ListError, Place};

/// What labels that are numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbering {
    /// Classes 0 to C - 1, all of which training has.
    Dense,
    /// Any numbers; classes are in their order.
    Ids,
    /// The file declares its classes: this many of the list's labels, in their order.
    Declared(usize),
}

/// The images of one list, in its order.
pub(super) struct List {
    pub(super) file: PathBuf,
    pub(super) paths: Vec<String>,
    /// Of each image, which of `labels` it has.
    pub(super) label_of: Vec<u32>,
    /// The different labels.
    pub(super) labels: Vec<String>,
    /// Of each label, the class's name, where the list has one besides.
    pub(super) names: Vec<Option<String>>,
    /// Of each image, the split that it says; empty where the list says none.
    pub(super) splits: Vec<SplitName>,
    /// Of each image, its bytes; empty where images are files.
    pub(super) encoded: Vec<Bytes>,
    pub(super) numbering: Numbering,
    unit: fn(u64) -> Place,
    places: Vec<u32>,
    known: HashMap<String, u32>,
}

/// What a list says of one image.
pub(super) struct Entry<'a> {
    pub(super) path: &'a str,
    pub(super) label: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) split: Option<&'a str>,
    /// Line or row.
    pub(super) number: u64,
}

impl List {
    /// A list of no image; `unit` is what its entries are called.
    pub(super) fn new(file: &Path, numbering: Numbering, unit: fn(u64) -> Place) -> Self {
        Self {
            file: file.into(),
            paths: vec![],
            label_of: vec![],
            labels: vec![],
            names: vec![],
            splits: vec![],
            encoded: vec![],
            numbering,
            unit,
            places: vec![],
            known: HashMap::new(),
        }
    }

    /// A list of no image yet, with labels 0 to C - 1 for classes of these names.
    pub(super) fn declared(file: &Path, classes: Vec<String>, unit: fn(u64) -> Place) -> Self {
        let mut list = Self::new(file, Numbering::Declared(classes.len()), unit);
        (0..classes.len()).for_each(|class| {
            list.id_of(&class.to_string());
        });
        list.names = classes.into_iter().map(Some).collect();
        list
    }

    /// Adds an image.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), DatasetError> {
        let Entry { path, label, name, split, number } = *entry;
        let wrong = |list: &Self, wrong| Err(list.wrong((list.unit)(number), wrong));
        for (field, value) in [("path", path), ("label", label)] {
            if value.is_empty() {
                return wrong(self, ListError::EmptyField { field });
            }
        }
        if let Some(word) = split {
            let Some(name) = SplitName::of(word) else {
                return wrong(self, ListError::UnknownSplit { split: word.into() });
            };
            self.splits.push(name);
        }
        let id = self.id_of(label);
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let known = self.names[id as usize].get_or_insert_with(|| name.into());
            if known != name {
                let (label, first, second) = (label.into(), known.clone(), name.into());
                return wrong(self, ListError::TwoNames { label, first, second });
            }
        }
        self.label_of.push(id);
        self.paths.push(path.into());
        // No list has 2^32 lines; the message would be wrong, not the data.
        self.places.push(number as u32);
        Ok(())
    }

    fn id_of(&mut self, label: &str) -> u32 {
        if let Some(&id) = self.known.get(label) {
            return id;
        }
        let id = self.labels.len() as u32;
        self.labels.push(label.into());
        self.names.push(None);
        self.known.insert(label.into(), id);
        id
    }

    /// Where image `i` stands.
    pub(super) fn place(&self, i: usize) -> Place {
        (self.unit)(self.places.get(i).map_or(i as u64, |&number| number.into()))
    }

    /// An error of this list.
    pub(super) fn wrong(&self, place: Place, wrong: ListError) -> DatasetError {
        in_list(&self.file, place, wrong)
    }

    /// The images of each split, train, val and test; all are of `role` where the list names none.
    pub(super) fn divided(mut self, role: SplitName) -> [Option<Self>; 3] {
        if self.splits.is_empty() {
            let mut whole = Some(self);
            return SplitName::ALL.map(|name| if name == role { whole.take() } else { None });
        }
        SplitName::ALL.map(|name| {
            let mut part = Self::new(&self.file, self.numbering, self.unit);
            (part.labels, part.names) = (self.labels.clone(), self.names.clone());
            for i in (0..self.splits.len()).filter(|&i| self.splits[i] == name) {
                part.paths.push(std::mem::take(&mut self.paths[i]));
                part.label_of.push(self.label_of[i]);
                part.places.extend(self.places.get(i));
                part.encoded.extend(self.encoded.get(i).cloned());
            }
            (!part.paths.is_empty()).then_some(part)
        })
    }

    /// The images of one split.
    fn only(self, name: SplitName) -> Result<Self, DatasetError> {
        let file = self.file.clone();
        let [train, val, test] = self.divided(name);
        let wanted = match name {
            SplitName::Train => train,
            SplitName::Val => val,
            SplitName::Test => test,
        };
        wanted.ok_or_else(|| no_image_of(&file, name))
    }
}

/// An error of the list `file`.
pub(super) fn in_list(file: &Path, place: Place, wrong: ListError) -> DatasetError {
    DatasetError::List { path: file.into(), place, wrong: Box::new(wrong) }
}

fn no_image_of(file: &Path, split: SplitName) -> DatasetError {
    in_list(file, Place::Whole, ListError::EmptySplit { split: split.name() })
}

/// What the lists of a dataset say, before any image is looked for.
pub struct Listed {
    /// The folder that paths are relative to.
    pub root: PathBuf,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Images to train on.
    pub train: ListedSplit,
    /// Held-out images, where a list has them.
    pub val: Option<ListedSplit>,
    /// Images to test on, where a list has them.
    pub test: Option<ListedSplit>,
}

/// The images of one split, in their list's order.
pub struct ListedSplit {
    /// The list.
    pub file: PathBuf,
    /// Of each image, relative to the root, after `path_rewrites`.
    pub paths: Vec<String>,
    /// Of each image, its class.
    pub labels: Vec<u32>,
}

impl Listed {
    /// Training images of each class.
    pub fn class_counts(&self) -> ClassCounts {
        ClassCounts::from_labels(&self.train.labels, self.class_names.len())
    }
}

/// Reads the lists of a dataset of the kind `list`; its images need not be there.
///
/// # Errors
/// A list that is not there, cannot be read or says what cannot be: each names the file and, where there
/// is one, the line.
///
/// # Cost
/// Memory for the paths; a JSON file is read as a stream.
pub fn read(config: &DatasetConfig) -> Result<Listed, DatasetError> {
    let (root, train_file) = root_and_list(config)?;
    let given = |list: &Path| (!list.as_os_str().is_empty()).then(|| root.join(list));
    let read = |file: &Path| read_file(file, config);
    let whole = read(&train_file)?;
    let [train, mut val, mut test] = whole.divided(SplitName::Train);
    let mut train = train.ok_or_else(|| no_image_of(&train_file, SplitName::Train))?;
    if let Some(file) = given(&config.val_list) {
        val = Some(read(&file)?.only(SplitName::Val)?);
    }
    if let Some(file) = given(&config.test_list) {
        test = Some(read(&file)?.only(SplitName::Test)?);
    }
    layout::rewrite(&mut train, &config.path_rewrites)?;
    let classes = Classes::of(std::slice::from_ref(&train))?;
    let listed = |mut list: List| {
        layout::rewrite(&mut list, &config.path_rewrites)?;
        split(list, &classes)
    };
    let (val, test) = (val.map(listed).transpose()?, test.map(listed).transpose()?);
    let train = split(train, &classes)?;
    Ok(Listed { root, train, val, test, class_names: classes.names })
}

fn split(list: List, classes: &Classes) -> Result<ListedSplit, DatasetError> {
    let labels = classes.labels(&list)?;
    Ok(ListedSplit { file: list.file, paths: list.paths, labels })
}

/// Reads the lists and finds their images.
pub(super) fn open(config: &DatasetConfig, framing: Framing) -> Result<Parts, DatasetError> {
    let mut listed = read(config)?;
    let folders = layout::class_folders(&listed.train, listed.class_names.len());
    let splits = [Some(&mut listed.train), listed.val.as_mut(), listed.test.as_mut()];
    for split in splits.into_iter().flatten() {
        layout::locate(split, &listed.root, &folders)?;
    }
    let files = |split: ListedSplit| Split::files(framing, &listed.root, split.labels, split.paths);
    let (train, val) = (files(listed.train), listed.val.map(files));
    Ok(Parts::whole(listed.class_names, train, val, listed.test.map(files)))
}

/// The folder of the images, and the list of those to train on.
fn root_and_list(config: &DatasetConfig) -> Result<(PathBuf, PathBuf), DatasetError> {
    let path = &config.path;
    let wrong = |wrong| Err(in_list(path, Place::Whole, wrong));
    let given = !config.train_list.as_os_str().is_empty();
    match (path.is_file(), path.is_dir()) {
        (true, _) if given => wrong(ListError::RootIsFile),
        (true, _) => Ok((path.parent().unwrap_or(Path::new("")).into(), path.clone())),
        (_, true) if given => Ok((path.clone(), path.join(&config.train_list))),
        (_, true) => wrong(ListError::NoTrainList),
        _ if given => Err(missing(path, "the folder of the images")),
        _ => Err(missing(path, "a list of images (.txt, .csv, .tsv, .json or .parquet)")),
    }
}

fn missing(path: &Path, expected: &str) -> DatasetError {
    DatasetError::Missing { path: path.into(), expected: expected.into() }
}

/// Reads one list by its extension.
fn read_file(file: &Path, config: &DatasetConfig) -> Result<List, DatasetError> {
    if !file.is_file() {
        let expected = "a list of images: beside the pipeline file, or inside dataset.path";
        return Err(missing(file, expected));
    }
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let list = match extension.as_str() {
        "" | "txt" | "lst" | "list" => text::read(file)?,
        "csv" => delimited::read(file, config, None)?,
        "tsv" => delimited::read(file, config, Some(b'\t'))?,
        "json" => coco::read(file)?,
        "parquet" => table::read_list(file, config)?,
        _ => {
            return Err(in_list(file, Place::Whole, ListError::UnknownFormat { extension }));
        }
    };
    if list.paths.is_empty() {
        return Err(list.wrong(Place::Whole, ListError::Empty));
    }
    Ok(list)
}

/// A list's text.
fn utf8<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str, DatasetError> {
    // Spreadsheets put a byte order mark before the first line.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| {
        let before = &bytes[..e.valid_up_to()];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        in_list(file, Place::Line(line), ListError::NotUtf8)
    })
}
