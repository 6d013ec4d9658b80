//! From the labels of training lists to classes: their order and their names, and the class of each
//! label of any list.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::error::{ListError, Place};
use super::list::{List, Numbering};
use super::places365::class_of_folder;
use crate::config::ClassOrder;
use crate::dataset::class_name::{natural_key, nfc};
use crate::dataset::error::DatasetError;
use crate::text::backticked;

/// The classes of the training lists.
pub(in crate::dataset) struct Classes {
    pub(in crate::dataset) names: Vec<String>,
    /// What the lists call each class, where they have names in addition to labels.
    listed_names: Vec<Option<String>>,
    ids: HashMap<Key, u32>,
    /// The label of each class, where labels are not numbers.
    texts: Vec<String>,
    /// Names of declared classes that have no image.
    dropped: Vec<String>,
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Number(i64),
    Text(String),
}

/// A label of the training lists, and where it is first.
struct Label<'a> {
    list: &'a List,
    text: &'a str,
    name: Option<&'a String>,
    place: Place,
}

impl Classes {
    /// Numbers the labels of all training lists: in order of the numbers where all are numbers, else of
    /// the names.
    pub(in crate::dataset) fn of(train: &[List], order: ClassOrder) -> Result<Self, DatasetError> {
        if let Some(first) = train.first()
            && let Numbering::Declared(classes) = first.numbering
        {
            return Self::declared(train, classes);
        }
        let labels: Vec<Label> = train.iter().flat_map(used).collect();
        let numbers: Option<Vec<i64>> = labels.iter().map(|label| number(label.text)).collect();
        match numbers {
            Some(numbers) => Self::numbered(train, labels, numbers),
            None => Self::named(labels, order),
        }
    }

    /// Classes that the first list declares, without those that no list has an image of.
    fn declared(train: &[List], classes: usize) -> Result<Self, DatasetError> {
        let list = &train[0];
        let mut declared: HashMap<Cow<str>, usize> = HashMap::new();
        for (class, label) in list.labels[..classes].iter().enumerate() {
            if declared.insert(nfc(label), class).is_some() {
                let wrong = ListError::TwoIds { what: "categories", id: label.clone() };
                return Err(list.wrong(Place::Whole, wrong));
            }
        }
        let mut has_images = vec![false; classes];
        for Label { list, text, place, .. } in train.iter().flat_map(used) {
            let unknown = || ListError::UnknownLabel { label: text.into(), classes };
            let class = *declared.get(&nfc(text)).ok_or_else(|| list.wrong(place, unknown()))?;
            has_images[class] = true;
        }
        let name = |class: usize| list.names[class].as_ref().unwrap_or(&list.labels[class]).clone();
        let of = |images: bool| (0..classes).filter(move |&class| has_images[class] == images);
        let (kept, dropped): (Vec<usize>, Vec<usize>) =
            (of.clone()(true).collect(), of(false).collect());
        let key = |&class: &usize| Key::Text(nfc(&list.labels[class]).into());
        let dropped: Vec<String> = dropped.into_iter().map(name).collect();
        Ok(Self {
            names: kept.iter().map(|&class| name(class)).collect(),
            listed_names: kept.iter().map(|&class| list.names[class].clone()).collect(),
            ids: kept.iter().map(key).zip(0..).collect(),
            texts: kept.iter().map(|&class| list.labels[class].clone()).collect(),
            dropped,
        })
    }

    fn named(mut labels: Vec<Label>, order: ClassOrder) -> Result<Self, DatasetError> {
        // Numbers among them are in their order, not that of their digits; two spellings of a name are at
        // the place of the first.
        let mut spelling: HashMap<Cow<str>, &str> = HashMap::new();
        for label in &labels {
            let first = spelling.entry(nfc(label.text)).or_insert(label.text);
            *first = label.text.min(first);
        }
        labels.iter_mut().for_each(|label| label.text = spelling[&nfc(label.text)]);
        labels.sort_by_key(|label| (label.text.parse::<u64>().ok(), label.text));
        if order == ClassOrder::Natural {
            labels.sort_by_cached_key(|label| natural_key(label.text));
        }
        let same = |a: &Label, b: &Label| a.text == b.text;
        let listed_names = names_of_groups(&labels, same)?;
        labels.dedup_by(|a, b| same(b, a));
        let key = |label: &Label| Key::Text(nfc(label.text).into());
        let ids = labels.iter().map(key).zip(0..).collect();
        let named = |(label, name): (&Label, &Option<String>)| {
            name.as_deref().unwrap_or(label.text).to_string()
        };
        let names = labels.iter().zip(&listed_names).map(named).collect();
        let texts = labels.iter().map(|label| label.text.into()).collect();
        Ok(Self { names, listed_names, ids, texts, dropped: vec![] })
    }

    /// What was taken for what: classes without images, and names that a list spells in another way.
    pub(super) fn notes<'a>(&self, lists: impl Iterator<Item = &'a List>) -> Vec<String> {
        let mut notes = vec![];
        if !self.dropped.is_empty() {
            const SHOWN: usize = 5;
            let shown = backticked(&self.dropped[..self.dropped.len().min(SHOWN)]);
            let more = if self.dropped.len() > SHOWN { ", ..." } else { "" };
            let (n, all) = (self.dropped.len(), self.dropped.len() + self.names.len());
            notes.push(format!(
                "{n} of {all} classes have no training image and are left out: {shown}{more}"
            ));
        }
        let known: HashSet<&str> = self.texts.iter().map(String::as_str).collect();
        let keys: HashSet<Cow<str>> = self.texts.iter().map(|text| nfc(text)).collect();
        let labels = lists.flat_map(|list| &list.labels);
        let other = labels.filter(|label| !known.contains(label.as_str())).map(|label| nfc(label));
        let respelled: BTreeSet<Cow<str>> = other.filter(|label| keys.contains(label)).collect();
        notes.extend(respelled.iter().map(|name| respelled_note(name)));
        notes
    }

    fn numbered(
        train: &[List],
        labels: Vec<Label>,
        numbers: Vec<i64>,
    ) -> Result<Self, DatasetError> {
        let dense = train.iter().any(|list| list.numbering == Numbering::Dense);
        let mut numbered: Vec<(i64, Label)> = numbers.into_iter().zip(labels).collect();
        numbered.sort_by_key(|(number, _)| *number);
        if let Some((_, label)) = numbered.first().filter(|(number, _)| *number < 0) {
            let wrong = ListError::NegativeLabel { label: label.text.into() };
            return Err(label.list.wrong(label.place, wrong));
        }
        let (numbers, labels): (Vec<i64>, Vec<Label>) = numbered.into_iter().unzip();
        let same = |a: &Label, b: &Label| number(a.text) == number(b.text);
        let listed_names = names_of_groups(&labels, same)?;
        let mut ids = HashMap::new();
        for (&number, label) in numbers.iter().zip(&labels) {
            let next = ids.len() as u32;
            let class = *ids.entry(Key::Number(number)).or_insert(next);
            if dense && i64::from(class) != number {
                let wrong = ListError::LabelGap { missing: class.into(), next: number };
                return Err(label.list.wrong(label.place, wrong));
            }
        }
        let (names, texts, dropped) = (vec![], vec![], vec![]);
        let mut classes = Self { names, listed_names, ids, texts, dropped };
        classes.names = classes.names_of_numbers(train)?;
        Ok(classes)
    }

    /// Names that the lists have, else those of the folders of the images, else the numbers.
    fn names_of_numbers(&self, train: &[List]) -> Result<Vec<String>, DatasetError> {
        if let Some(names) = self.listed_names.iter().cloned().collect() {
            return Ok(names);
        }
        let labels: Vec<Vec<u32>> =
            train.iter().map(|list| self.labels(list)).collect::<Result<_, _>>()?;
        if let Some(names) = folder_names(train, &labels, self.ids.len()) {
            return Ok(names);
        }
        let mut names = vec![String::new(); self.ids.len()];
        for (key, &class) in &self.ids {
            if let Key::Number(number) = key {
                names[class as usize] = number.to_string();
            }
        }
        Ok(names)
    }

    /// The class of each image of a list.
    pub(in crate::dataset) fn labels(&self, list: &List) -> Result<Vec<u32>, DatasetError> {
        let mut class_of = vec![0; list.labels.len()];
        for (label, image) in first_images(list) {
            class_of[label] =
                self.class(list, label).map_err(|e| list.wrong(list.place(image), e))?;
        }
        Ok(list.label_of.iter().map(|&label| class_of[label as usize]).collect())
    }

    fn class(&self, list: &List, label: usize) -> Result<u32, ListError> {
        let text = &list.labels[label];
        let key = match number(text).filter(|_| self.texts.is_empty()) {
            Some(number) => Key::Number(number),
            None => Key::Text(nfc(text).into()),
        };
        let unknown = || ListError::UnknownLabel { label: text.clone(), classes: self.names.len() };
        let class = *self.ids.get(&key).ok_or_else(unknown)?;
        match (&list.names[label], &self.listed_names[class as usize]) {
            (Some(name), Some(train)) if nfc(name) != nfc(train) => Err(ListError::OtherName {
                label: text.clone(),
                name: name.clone(),
                train: train.clone(),
            }),
            _ => Ok(class),
        }
    }
}

/// That two spellings are one class.
pub(super) fn respelled_note(name: &str) -> String {
    format!("`{name}` is written in two forms of Unicode, which are one class")
}

/// The labels that images of a list have, and the first image of each.
fn first_images(list: &List) -> Vec<(usize, usize)> {
    let mut seen = vec![false; list.labels.len()];
    let mut first = vec![];
    for (image, &label) in list.label_of.iter().enumerate() {
        if !std::mem::replace(&mut seen[label as usize], true) {
            first.push((label as usize, image));
        }
    }
    first
}

fn used(list: &List) -> impl Iterator<Item = Label<'_>> {
    first_images(list).into_iter().map(|(label, image)| Label {
        list,
        text: &list.labels[label],
        name: list.names[label].as_ref(),
        place: list.place(image),
    })
}

/// The name of each run of labels that are the `same`.
fn names_of_groups(
    labels: &[Label],
    same: impl Fn(&Label, &Label) -> bool,
) -> Result<Vec<Option<String>>, DatasetError> {
    let mut names = vec![];
    for group in labels.chunk_by(same) {
        let mut named = group.iter().filter_map(|label| Some((label, label.name?)));
        let first = named.next();
        if let Some((label, first, second)) = first.and_then(|(_, first)| {
            named
                .find(|(_, name)| nfc(name) != nfc(first))
                .map(|(label, second)| (label, first, second))
        }) {
            let (first, second) = (first.clone(), second.clone());
            let wrong = ListError::TwoNames { label: label.text.into(), first, second };
            return Err(label.list.wrong(label.place, wrong));
        }
        names.push(first.map(|(_, name)| name.clone()));
    }
    Ok(names)
}

/// An integer; statistics programs write those of a column with gaps as 3.0.
fn number(label: &str) -> Option<i64> {
    label.strip_suffix(".0").unwrap_or(label).parse().ok()
}

/// The folder of each class's images, as far as it takes to tell the classes apart; `None` where a class
/// has several folders, or a folder several classes.
fn folder_names(train: &[List], labels: &[Vec<u32>], classes: usize) -> Option<Vec<String>> {
    let mut folders: Vec<Option<&str>> = vec![None; classes];
    for (list, labels) in train.iter().zip(labels) {
        for (path, &label) in list.paths.iter().zip(labels) {
            let folder = path.rsplit_once('/')?.0;
            if *folders[label as usize].get_or_insert(folder) != folder {
                return None;
            }
        }
    }
    let folders: Vec<&str> = folders.into_iter().collect::<Option<_>>()?;
    if folders.iter().collect::<HashSet<_>>().len() < classes {
        return None;
    }
    let places: Option<Vec<&str>> = folders.iter().map(|f| class_of_folder(f)).collect();
    Some(places.unwrap_or_else(|| shortest_endings(&folders)).into_iter().map(Into::into).collect())
}

/// Of each of these different folders, the last components that no other ends in.
fn shortest_endings<'a>(folders: &[&'a str]) -> Vec<&'a str> {
    let mut endings: Vec<Option<&str>> = vec![None; folders.len()];
    for components in 1.. {
        let mut shared: HashMap<&str, usize> = HashMap::new();
        folders.iter().for_each(|f| *shared.entry(ending(f, components)).or_default() += 1);
        for (chosen, folder) in endings.iter_mut().zip(folders) {
            let ending = ending(folder, components);
            if chosen.is_none() && (shared[ending] == 1 || ending.len() == folder.len()) {
                *chosen = Some(ending);
            }
        }
        if endings.iter().all(Option::is_some) {
            break;
        }
    }
    endings.into_iter().flatten().collect()
}

/// The last components of a path, or all of it.
fn ending(path: &str, components: usize) -> &str {
    path.rmatch_indices('/').nth(components - 1).map_or(path, |(at, _)| &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_as_little_as_tells_them_apart() {
        let folders = ["a/church/outdoor", "a/church/indoor", "b/inn/outdoor", "outdoor", "c/lake"];
        assert_eq!(
            shortest_endings(&folders),
            ["church/outdoor", "indoor", "inn/outdoor", "outdoor", "lake"]
        );
    }

    fn list(numbering: Numbering, entries: &[(&str, &str)]) -> List {
        let mut list = List::new("list".as_ref(), numbering, Place::Line);
        for ((path, label), number) in entries.iter().zip(1..) {
            list.push(&super::super::Entry { path, label, name: None, split: None, number })
                .unwrap();
        }
        list
    }

    fn names(numbering: Numbering, entries: &[(&str, &str)]) -> Result<Vec<String>, String> {
        Classes::of(&[list(numbering, entries)], ClassOrder::Name)
            .map(|c| c.names)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_are_in_their_order_and_named_by_folders_that_are_theirs_alone() {
        let own = [("x/b/1", "10"), ("x/a/2", "9"), ("x/b/3", "10.0")];
        assert_eq!(names(Numbering::Ids, &own).unwrap(), ["a", "b"]);
        let shared = [("x/b/1", "10"), ("x/b/2", "9")];
        assert_eq!(names(Numbering::Ids, &shared).unwrap(), ["9", "10"]);
        let scattered = [("x/b/1", "10"), ("x/c/2", "9"), ("x/d/3", "9")];
        assert_eq!(names(Numbering::Ids, &scattered).unwrap(), ["9", "10"]);
        let text = [("1", "10"), ("2", "9"), ("3", "heron")];
        assert_eq!(names(Numbering::Dense, &text).unwrap(), ["heron", "9", "10"]);
    }

    #[test]
    fn a_gap_is_named_with_its_line() {
        let message = names(Numbering::Dense, &[("1", "0"), ("2", "3"), ("3", "2")]).unwrap_err();
        assert!(
            message.starts_with("list, line 3: label 2, but no training image has label 1"),
            "{message}"
        );
        let message = names(Numbering::Dense, &[("1", "0"), ("2", "-1")]).unwrap_err();
        assert!(message.starts_with("list, line 2: label -1; expected 0 or more"), "{message}");
    }
}
