//! The form that every list is read into: paths or encoded images, and their labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::{ListError, Place};
use crate::dataset::class_name::nfc;
use crate::dataset::error::DatasetError;
use crate::domain::Split;

/// What labels that are numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dataset) enum Numbering {
    /// Classes 0 to C - 1, all of which training has.
    Dense,
    /// Any numbers; classes are in their order.
    Ids,
    /// The file declares its classes: this many of the list's labels, in their order.
    Declared(usize),
}

/// The images of one list, in its order.
pub(in crate::dataset) struct List {
    pub(in crate::dataset) file: PathBuf,
    pub(in crate::dataset) paths: Vec<String>,
    /// Of each image, which of `labels` it has.
    pub(in crate::dataset) label_of: Vec<u32>,
    /// The different labels.
    pub(in crate::dataset) labels: Vec<String>,
    /// The class's name of each label, where the list has names too.
    pub(in crate::dataset) names: Vec<Option<String>>,
    /// Of each image, the split that it says; empty where the list says none.
    pub(in crate::dataset) splits: Vec<Split>,
    /// Words that stand for splits, where they are not their names.
    pub(in crate::dataset) split_words: BTreeMap<String, Split>,
    /// Of each image, its bytes; empty where images are files.
    pub(in crate::dataset) encoded: Vec<Bytes>,
    pub(in crate::dataset) numbering: Numbering,
    /// What was taken for what, in sentences.
    pub(in crate::dataset) notes: Vec<String>,
    /// Labels that exist in two spellings, which are one in Unicode's normal form C.
    pub(in crate::dataset) respelled: BTreeSet<String>,
    unit: fn(u64) -> Place,
    places: Vec<u32>,
    known: HashMap<String, u32>,
}

/// What a list says of one image.
pub(in crate::dataset) struct Entry<'a> {
    pub(in crate::dataset) path: &'a str,
    pub(in crate::dataset) label: &'a str,
    pub(in crate::dataset) name: Option<&'a str>,
    pub(in crate::dataset) split: Option<&'a str>,
    /// Line or row.
    pub(in crate::dataset) number: u64,
}

impl List {
    /// A list of no image; `unit` is what its entries are called.
    pub(in crate::dataset) fn new(
        file: &Path,
        numbering: Numbering,
        unit: fn(u64) -> Place,
    ) -> Self {
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
    pub(in crate::dataset) fn declared(
        file: &Path,
        classes: Vec<String>,
        unit: fn(u64) -> Place,
    ) -> Self {
        let mut list = Self::new(file, Numbering::Declared(classes.len()), unit);
        (0..classes.len()).for_each(|class| {
            list.id_of(&class.to_string());
        });
        list.names = classes.into_iter().map(Some).collect();
        list
    }

    /// A list of no image yet, whose labels are these classes.
    pub(in crate::dataset) fn of_classes(
        file: &Path,
        classes: &[&str],
        unit: fn(u64) -> Place,
    ) -> Self {
        let mut list = Self::new(file, Numbering::Declared(classes.len()), unit);
        classes.iter().for_each(|class| {
            list.id_of(class);
        });
        list
    }

    /// Adds an image.
    pub(in crate::dataset) fn push(&mut self, entry: &Entry) -> Result<(), DatasetError> {
        let Entry { path, label, name, split, number } = *entry;
        let wrong = |list: &Self, wrong| Err(list.wrong((list.unit)(number), wrong));
        for (field, value) in [("path", path), ("label", label)] {
            if value.is_empty() {
                return wrong(self, ListError::EmptyField { field });
            }
        }
        if let Some(word) = split {
            let Some(name) = Split::of(word) else {
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
    pub(in crate::dataset) fn place(&self, i: usize) -> Place {
        (self.unit)(self.places.get(i).map_or(i as u64, |&number| number.into()))
    }

    /// An error of this list.
    pub(in crate::dataset) fn wrong(&self, place: Place, wrong: ListError) -> DatasetError {
        in_list(&self.file, place, wrong)
    }

    /// The images of each split, train, val and test; all are of `role` where the list names none.
    pub(in crate::dataset) fn divided(mut self, role: Split) -> [Option<Self>; 3] {
        if self.splits.is_empty() {
            let mut whole = Some(self);
            return Split::ALL.map(|name| if name == role { whole.take() } else { None });
        }
        Split::ALL.map(|name| {
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
    pub(in crate::dataset) fn only(self, name: Split) -> Result<Self, DatasetError> {
        let file = self.file.clone();
        let [train, val, test] = self.divided(name);
        let wanted = match name {
            Split::Train => train,
            Split::Val => val,
            Split::Test => test,
        };
        wanted.ok_or_else(|| no_image_of(&file, name))
    }
}

/// An error of the list `file`.
pub(in crate::dataset) fn in_list(file: &Path, place: Place, wrong: ListError) -> DatasetError {
    DatasetError::List { path: file.into(), place, wrong: Box::new(wrong) }
}

/// The error of a list without an image of a split.
pub(in crate::dataset) fn no_image_of(file: &Path, split: Split) -> DatasetError {
    in_list(file, Place::Whole, ListError::EmptySplit { split })
}
