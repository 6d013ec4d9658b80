//! Lists of image files: each is read by the format that its extension names, all of them share one
//! numbering of the classes, and their paths lead to files below one folder.

pub(super) mod formats;
mod layout;
mod search;
mod unlisted;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::decode::Framing;
use super::error::DatasetError;
use super::labelled::{
    ListError, ListedSplit, Lists, Place, in_list, joined, no_image_of, twice_labelled,
};
use super::parts::Parts;
use super::split_images::SplitImages;
use crate::config::DatasetConfig;
use crate::domain::{ClassCounts, Split};

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
        let train = train?.ok_or_else(|| no_image_of(&config.path, Split::Train))?;
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
        for (name, split) in Split::ALL.into_iter().zip(splits) {
            split.map_or(Ok(()), |split| layout::locate(split, name, &mut search))?;
        }
        self.notes.extend(search.taken.notes());
        let named = self.named();
        let warnings = layout::in_two_splits(&named);
        let splits: Vec<&ListedSplit> = named.into_iter().map(|(_, split)| split).collect();
        let left_out = unlisted::files(&self.root, &splits, &self.files)?;
        let twice_labelled = twice_labelled(&splits, &self.class_names);
        let files =
            |split: ListedSplit| SplitImages::files(framing, &self.root, split.labels, split.paths);
        let (train, val) = (files(self.train), self.val.map(files));
        let mut parts = Parts::whole(self.class_names, train, val, self.test.map(files));
        (parts.account.notes, parts.account.left_out) = (self.notes, left_out);
        parts.account.warnings = warnings;
        parts.account.warnings.extend(twice_labelled);
        Ok(parts)
    }

    fn named(&self) -> Vec<(Split, &ListedSplit)> {
        let splits = [Some(&self.train), self.val.as_ref(), self.test.as_ref()];
        Split::ALL.into_iter().zip(splits).filter_map(|(name, of)| Some((name, of?))).collect()
    }
}

/// Reads the lists of a dataset of the kind `list`; its images need not exist.
///
/// # Errors
/// A list that is missing, cannot be read or contradicts itself: each names the file and, where there
/// is one, the line.
///
/// # Cost
/// Memory for the paths; a JSON file is read as a stream.
pub fn read(config: &DatasetConfig) -> Result<Listed, DatasetError> {
    let (root, train_file) = root_and_list(config)?;
    let mut lists = Lists::default();
    lists.add(formats::read(&train_file, &root, config)?, Split::Train);
    if lists.splits[0].is_empty() {
        return Err(no_image_of(&train_file, Split::Train));
    }
    for (file, name) in [(&config.val_list, Split::Val), (&config.test_list, Split::Test)] {
        if !file.as_os_str().is_empty() {
            let mut list = formats::read(&root.join(file), &root, config)?;
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
        _ => Err(missing(path, &format!("a list of images ({})", formats::extensions()))),
    }
}

fn missing(path: &Path, expected: &str) -> DatasetError {
    DatasetError::Missing { path: path.into(), expected: expected.into() }
}
