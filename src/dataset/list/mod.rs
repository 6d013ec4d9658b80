//! Lists of image files: each is read by the format that its extension names, all of them share one
//! numbering of the classes, and their paths lead to files below one folder.

mod classes;
mod coco;
mod columns;
mod delimited;
mod error;
mod layout;
mod one_hot;
mod search;
mod sought;
mod text;
mod unlisted;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::class_name::nfc;
use super::decode::Framing;
use super::{DatasetError, Parts, Split, folder, table};
use crate::config::{ClassOrder, DatasetConfig};
use crate::domain::ClassCounts;

pub(super) use super::split_name::SplitName;
pub(super) use classes::Classes;
pub(super) use columns::{Columns, Labels, find, no_path};
pub use error::{ListError, Place};
pub(super) use one_hot::class_of;
pub(super) use sought::Sought;

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
    /// Words that stand for splits, where they are not their names.
    split_words: BTreeMap<String, SplitName>,
    /// Of each image, its bytes; empty where images are files.
    pub(super) encoded: Vec<Bytes>,
    pub(super) numbering: Numbering,
    /// What was taken for what, in sentences.
    pub(super) notes: Vec<String>,
    /// Labels that are there in two spellings, which are one in Unicode's normal form C.
    respelled: BTreeSet<String>,
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
            split_words: BTreeMap::new(),
            encoded: vec![],
            numbering,
            notes: vec![],
            respelled: BTreeSet::new(),
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

    /// A list of no image yet, whose labels are these classes.
    pub(super) fn of_classes(file: &Path, classes: &[&str], unit: fn(u64) -> Place) -> Self {
        let mut list = Self::new(file, Numbering::Declared(classes.len()), unit);
        classes.iter().for_each(|class| {
            list.id_of(class);
        });
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
            if word != name.name() && !self.split_words.contains_key(word) {
                self.split_words.insert(word.into(), name);
            }
            self.splits.push(name);
        }
        let id = self.id_of(label);
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let known = self.names[id as usize].get_or_insert_with(|| name.into());
            if nfc(known) != nfc(name) {
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
        let key = nfc(label);
        if let Some(&id) = self.known.get(key.as_ref()) {
            if self.labels[id as usize] != label {
                self.respelled.insert(key.into_owned());
            }
            return id;
        }
        let id = self.labels.len() as u32;
        self.labels.push(label.into());
        self.names.push(None);
        self.known.insert(key.into_owned(), id);
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

/// The lists of a dataset, split by split: train, val and test.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) splits: [Vec<List>; 3],
    notes: Vec<String>,
    /// Their files.
    files: HashSet<PathBuf>,
}

impl Lists {
    /// Adds a list, whose images are of `role` where it names no splits.
    pub(super) fn add(&mut self, mut list: List, role: SplitName) {
        self.take_notes(&mut list);
        for (lists, part) in self.splits.iter_mut().zip(list.divided(role)) {
            lists.extend(part);
        }
    }

    fn take_notes(&mut self, list: &mut List) {
        self.files.insert(list.file.clone());
        self.note(std::mem::take(&mut list.notes));
        self.note(SplitName::taken(list.split_words.iter().map(|(w, s)| (w.as_str(), *s))));
        let respelled = std::mem::take(&mut list.respelled);
        self.note(respelled.iter().map(|name| classes::respelled_note(name)));
    }

    pub(super) fn note(&mut self, notes: impl IntoIterator<Item = String>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// The classes of the training lists, and the labels of every split; notes go to `notes`.
    pub(super) fn classes(
        &self,
        order: ClassOrder,
        notes: &mut Vec<String>,
    ) -> Result<Classes, DatasetError> {
        let classes = Classes::of(&self.splits[0], order)?;
        notes.extend(self.notes.iter().cloned());
        notes.extend(classes.notes(self.splits.iter().flatten()));
        Ok(classes)
    }
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
    /// What was taken for what, in sentences.
    pub notes: Vec<String>,
    /// The lists.
    files: HashSet<PathBuf>,
}

/// The images of one split, in their list's order.
pub struct ListedSplit {
    /// The list, or the first of them.
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

    /// What lists say of images below `root`.
    pub(super) fn of(
        root: &Path,
        mut lists: Lists,
        config: &DatasetConfig,
    ) -> Result<Self, DatasetError> {
        let mut taken = layout::Taken::default();
        for list in lists.splits.iter_mut().flatten() {
            layout::rewrite(list, root, &config.path_rewrites, &mut taken)?;
        }
        lists.note(taken.notes());
        let mut notes = vec![];
        let classes = lists.classes(config.class_order, &mut notes)?;
        let [train, val, test] = lists.splits.map(|lists| joined(lists, &classes));
        let train = train?.ok_or_else(|| no_image_of(&config.path, SplitName::Train))?;
        let (root, class_names, files) = (root.into(), classes.names, lists.files);
        Ok(Self { root, class_names, train, val: val?, test: test?, notes, files })
    }

    /// The images, found.
    pub(super) fn parts(mut self, framing: Framing) -> Result<Parts, DatasetError> {
        let folders = layout::class_folders(&self.train, self.class_names.len());
        let mut search = layout::Search {
            root: &self.root,
            folders: &folders,
            files: OnceCell::new(),
            in_common: !layout::in_two_splits(&self.named()).is_empty(),
            taken: layout::Taken::default(),
        };
        let splits = [Some(&mut self.train), self.val.as_mut(), self.test.as_mut()];
        for (name, split) in SplitName::ALL.into_iter().zip(splits) {
            split.map_or(Ok(()), |split| layout::locate(split, name, &mut search))?;
        }
        self.notes.extend(search.taken.notes());
        let named = self.named();
        let warnings = layout::in_two_splits(&named);
        let splits: Vec<&ListedSplit> = named.into_iter().map(|(_, split)| split).collect();
        let left_out = unlisted::files(&self.root, &splits, &self.files)?;
        let twice_labelled = classes::twice_labelled(&splits, &self.class_names);
        let files =
            |split: ListedSplit| Split::files(framing, &self.root, split.labels, split.paths);
        let (train, val) = (files(self.train), self.val.map(files));
        let mut parts = Parts::whole(self.class_names, train, val, self.test.map(files));
        (parts.account.notes, parts.account.left_out) = (self.notes, left_out);
        parts.account.warnings = warnings;
        parts.account.warnings.extend(twice_labelled);
        Ok(parts)
    }

    fn named(&self) -> Vec<(SplitName, &ListedSplit)> {
        let splits = [Some(&self.train), self.val.as_ref(), self.test.as_ref()];
        SplitName::ALL.into_iter().zip(splits).filter_map(|(name, of)| Some((name, of?))).collect()
    }
}

/// Lists of one split as one; `None` where there are none.
fn joined(lists: Vec<List>, classes: &Classes) -> Result<Option<ListedSplit>, DatasetError> {
    let Some(first) = lists.first() else { return Ok(None) };
    let mut split = ListedSplit { file: first.file.clone(), paths: vec![], labels: vec![] };
    for list in lists {
        split.labels.extend(classes.labels(&list)?);
        split.paths.extend(list.paths);
    }
    Ok(Some(split))
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
    let mut lists = Lists::default();
    lists.add(read_file(&train_file, &root, config)?, SplitName::Train);
    if lists.splits[0].is_empty() {
        return Err(no_image_of(&train_file, SplitName::Train));
    }
    for (file, name) in [(&config.val_list, SplitName::Val), (&config.test_list, SplitName::Test)] {
        if !file.as_os_str().is_empty() {
            let mut list = read_file(&root.join(file), &root, config)?;
            lists.take_notes(&mut list);
            lists.splits[name as usize] = vec![list.only(name)?];
        }
    }
    Listed::of(&root, lists, config)
}

/// Reads the lists and finds their images.
pub(super) fn open(config: &DatasetConfig, framing: Framing) -> Result<Parts, DatasetError> {
    read(config)?.parts(framing)
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

/// Reads one list by its extension; its paths begin in `root`.
fn read_file(file: &Path, root: &Path, config: &DatasetConfig) -> Result<List, DatasetError> {
    if !file.is_file() {
        let expected = "a list of images: beside the pipeline file, or inside dataset.path";
        return Err(missing(file, expected));
    }
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let list = match extension.as_str() {
        "" | "txt" | "lst" | "list" => text::read(file, root)?,
        "csv" => delimited::read(file, root, config, [b',', b';', b'\t'])?,
        "tsv" => delimited::read(file, root, config, [b'\t', b',', b';'])?,
        "json" => coco::read(file)?,
        "parquet" => table::read_list(file, config, None)?,
        _ => {
            let wrong = match folder::is_image(file) {
                true => ListError::IsImage,
                false => ListError::UnknownFormat { extension },
            };
            return Err(in_list(file, Place::Whole, wrong));
        }
    };
    if list.paths.is_empty() {
        return Err(list.wrong(Place::Whole, ListError::Empty));
    }
    Ok(list)
}

/// A list's text, its lines ended by `\n` whatever system wrote them.
fn text_of<'a>(file: &Path, bytes: &'a [u8]) -> Result<Cow<'a, str>, DatasetError> {
    let not_text = |before: &[u8]| {
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        in_list(file, Place::Line(line), ListError::NotUtf8)
    };
    let text: Cow<str> = match bytes {
        // Spreadsheets put a byte order mark before the first line.
        [0xff, 0xfe, units @ ..] => {
            utf16(units, u16::from_le_bytes).ok_or_else(|| not_text(&[]))?
        }
        [0xfe, 0xff, units @ ..] => {
            utf16(units, u16::from_be_bytes).ok_or_else(|| not_text(&[]))?
        }
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes);
            text.map_err(|e| not_text(&bytes[..e.valid_up_to()]))?.into()
        }
    };
    // UTF-16 without its mark.
    if let Some(at) = text.find('\0') {
        return Err(not_text(&text.as_bytes()[..at]));
    }
    match text.contains('\r') {
        true => Ok(text.replace("\r\n", "\n").replace('\r', "\n").into()),
        false => Ok(text),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Cow<'static, str>> {
    let units: Vec<u16> =
        bytes.chunks(2).map(|pair| Some(unit(pair.try_into().ok()?))).collect::<Option<_>>()?;
    String::from_utf16(&units).ok().map(Cow::Owned)
}
