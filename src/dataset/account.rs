//! What became of every file that a dataset was opened with: used, or left out and why.

use std::collections::BTreeMap;

use serde::Serialize;

/// Every file or entry, accounted for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Account {
    /// Files and entries that are images of a split.
    pub used: usize,
    /// The others, in the order in which they were met.
    pub left_out: Vec<LeftOut>,
    /// What was taken for what, where that is not plain from the settings; each a sentence.
    pub notes: Vec<String>,
}

/// A file or entry that is no image of any split.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    /// As its source names it, such as `train/heron/notes.txt`.
    pub path: String,
    /// Why.
    pub reason: Reason,
}

/// Why a file is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Hidden, or a file of an operating system.
    Hidden,
    /// Its content is not that of an image.
    NotAnImage,
    /// It cannot be read.
    Unreadable,
    /// It lies beside the class folders.
    OutsideClasses,
    /// It lies in a folder that is no split.
    NoSplit,
    /// No list names it.
    NotListed,
}

impl Account {
    /// An account of `used` images and nothing else.
    pub(super) fn of_used(used: usize) -> Self {
        Self { used, ..Self::default() }
    }

    /// How many were left out for each reason.
    pub fn counts(&self) -> BTreeMap<Reason, usize> {
        let mut counts = BTreeMap::new();
        self.left_out.iter().for_each(|file| *counts.entry(file.reason).or_default() += 1);
        counts
    }
}
