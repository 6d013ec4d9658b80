//! The lists of a dataset together: their classes, and the images of each split.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::classes::{Classes, respelled_note};
use super::list::List;
use crate::config::ClassOrder;
use crate::dataset::error::DatasetError;
use crate::domain::Split;
use crate::text::counted;

/// The lists of a dataset, split by split: train, val and test.
#[derive(Default)]
pub(in crate::dataset) struct Lists {
    pub(in crate::dataset) splits: [Vec<List>; 3],
    notes: Vec<String>,
    /// Their files.
    pub(in crate::dataset) files: HashSet<PathBuf>,
}

impl Lists {
    /// Adds a list, whose images are of `role` where it names no splits.
    pub(in crate::dataset) fn add(&mut self, mut list: List, role: Split) {
        self.take_notes(&mut list);
        for (lists, part) in self.splits.iter_mut().zip(list.divided(role)) {
            lists.extend(part);
        }
    }

    /// Takes over the notes of a list.
    pub(in crate::dataset) fn take_notes(&mut self, list: &mut List) {
        self.files.insert(list.file.clone());
        self.note(std::mem::take(&mut list.notes));
        self.note(Split::taken(list.split_words.iter().map(|(w, s)| (w.as_str(), *s))));
        let respelled = std::mem::take(&mut list.respelled);
        self.note(respelled.iter().map(|name| respelled_note(name)));
    }

    pub(in crate::dataset) fn note(&mut self, notes: impl IntoIterator<Item = String>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// The classes of the training lists, and the labels of every split; notes go to `notes`.
    pub(in crate::dataset) fn classes(
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

/// The images of one split, in their list's order.
pub struct ListedSplit {
    /// The list, or the first of them.
    pub file: PathBuf,
    /// Of each image, relative to the root, after `path_rewrites`.
    pub paths: Vec<String>,
    /// Of each image, its class.
    pub labels: Vec<u32>,
}

/// Lists of one split as one; `None` where there are none.
pub(in crate::dataset) fn joined(
    lists: Vec<List>,
    classes: &Classes,
) -> Result<Option<ListedSplit>, DatasetError> {
    let Some(first) = lists.first() else { return Ok(None) };
    let mut split = ListedSplit { file: first.file.clone(), paths: vec![], labels: vec![] };
    for list in lists {
        split.labels.extend(classes.labels(&list)?);
        split.paths.extend(list.paths);
    }
    Ok(Some(split))
}

/// The note on listed images that have more than one class.
pub(in crate::dataset) fn twice_labelled(
    splits: &[&ListedSplit],
    names: &[String],
) -> Option<String> {
    let mut class_of: HashMap<&str, u32> = HashMap::new();
    let mut twice: HashSet<&str> = HashSet::new();
    let mut example = None;
    for (path, &label) in splits.iter().flat_map(|split| split.paths.iter().zip(&split.labels)) {
        let path = path.trim_start_matches("./");
        let first = *class_of.entry(path).or_insert(label);
        if first != label {
            twice.insert(path);
            example.get_or_insert((path, [first, label]));
        }
    }
    let (path, classes) = example?;
    let [one, two] = classes.map(|class| &names[class as usize]);
    let images = counted(twice.len(), "image");
    let are = if twice.len() == 1 { "is" } else { "are" };
    Some(format!(
        "{images} {are} listed with more than one class, such as {path} (`{one}` and `{two}`): each time it counts as another image"
    ))
}
