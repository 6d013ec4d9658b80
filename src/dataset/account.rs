//! What became of every file that a dataset was opened with: used, or left out and why.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::image_kind::OtherPicture;
use crate::atomic_file::{self, WriteError};
use crate::domain::SkippedImage;
use crate::text::counted;

/// Every file or entry, accounted for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Account {
    /// Files and entries that are images of a class and a split, before any cut that the settings ask for; as
    /// far as they were decoded, without those that cannot be.
    pub used: usize,
    /// The others, in the order in which they were met.
    pub left_out: Vec<LeftOut>,
    /// What was taken for what, where that is not plain from the settings; each a sentence.
    pub notes: Vec<String>,
    /// What is probably different from what the user expects; each a sentence.
    pub warnings: Vec<String>,
}

/// A file or entry that is not an image of any split, or that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    /// As its source names it, such as `train/heron/notes.txt`.
    pub path: String,
    /// Why.
    pub reason: Reason,
    /// What it is, where it is a picture of a kind that is not decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<OtherPicture>,
}

/// Why a file is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It cannot be read or decoded: in a class, it counts towards `--max-skipped`.
    Unreadable,
    /// A list names it, or it existed when the dataset was listed: it counts as an unreadable one.
    Missing,
    /// It lies beside the class folders.
    OutsideClasses,
    /// It lies in a folder that is not a split.
    NoSplit,
    /// No list names it.
    NotListed,
    /// It is a link to a folder that it lies in.
    LinkLoop,
    /// Its content is not that of an image.
    NotAnImage,
    /// Hidden, or a file of an operating system.
    Hidden,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "not decodable, which count towards --max-skipped in a class",
            Self::Missing => "missing, which count towards --max-skipped",
            Self::OutsideClasses => "beside the folders of classes",
            Self::NoSplit => "in a folder that is not a split",
            Self::NotListed => "in no list",
            Self::LinkLoop => "a link to a folder that it lies in, not followed",
            Self::NotAnImage => "not an image",
            Self::Hidden => "hidden, or of an operating system",
        })
    }
}

impl Account {
    /// An account of `used` images and nothing else.
    pub(super) fn of_used(used: usize) -> Self {
        Self { used, ..Self::default() }
    }

    /// What was left out, by reason and in one line, with the first name of each.
    pub fn left_out_in_words(&self) -> String {
        let files = counted(self.left_out.len(), "file");
        let reasons = self.counts().into_iter().filter_map(|(reason, count)| {
            let first = self.left_out.iter().find(|left| left.reason == reason)?;
            Some(format!("{count} {reason}, such as {}", first.path.escape_debug()))
        });
        format!("{files}: {}", reasons.collect::<Vec<_>>().join("; "))
    }

    /// The account once images were asked for, of which these, each with its reason, were left out.
    pub fn once_decoded<'i>(&self, images: impl IntoIterator<Item = (&'i str, Reason)>) -> Self {
        let mut account = self.clone();
        let known = self.left_out.iter().filter(|left| left.reason == Reason::Unreadable);
        let known: HashSet<&str> = known.map(|left| left.path.as_str()).collect();
        for (path, reason) in images.into_iter().filter(|(path, _)| !known.contains(path)) {
            account.used = account.used.saturating_sub(1);
            account.left_out.push(LeftOut { path: path.into(), reason, picture: None });
        }
        account
    }

    /// How many were left out for each reason.
    pub fn counts(&self) -> BTreeMap<Reason, usize> {
        let mut counts = BTreeMap::new();
        self.left_out.iter().for_each(|file| *counts.entry(file.reason).or_default() += 1);
        counts
    }

    /// Whether pictures are left out that their user may have meant to be used.
    pub fn loses_pictures(&self) -> bool {
        use Reason::{Missing, NoSplit, OutsideClasses, Unreadable};
        self.left_out
            .iter()
            .any(|file| [Unreadable, Missing, OutsideClasses, NoSplit].contains(&file.reason))
    }

    /// Writes what was left out, one file a line; where there is nothing, removes what an earlier run has left.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub fn save(&self, file: &Path) -> Result<(), WriteError> {
        if self.left_out.is_empty() {
            return match std::fs::remove_file(file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(WriteError::at(file)(e)),
                _ => Ok(()),
            };
        }
        let line = |left| serde_json::to_string(left).expect("text is JSON") + "\n";
        let text: String = self.left_out.iter().map(line).collect();
        atomic_file::write(file, text.as_bytes())
    }
}

/// Adds images that were left out to the list that [`Account::save`] has left, where they are not in it.
///
/// # Errors
/// The file cannot be written.
pub fn add_skipped(file: &Path, images: &[SkippedImage]) -> Result<(), WriteError> {
    let mut text = std::fs::read_to_string(file).unwrap_or_default();
    let left_out = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let listed: HashSet<String> = text
        .lines()
        .filter_map(|line| Some(left_out(line)?.get("path")?.as_str()?.to_string()))
        .collect();
    for (path, reason) in images.iter().map(SkippedImage::in_account) {
        if !listed.contains(path) {
            let left = LeftOut { path: path.into(), reason, picture: None };
            text += &(serde_json::to_string(&left).expect("text is JSON") + "\n");
        }
    }
    match text.is_empty() {
        true => Ok(()),
        false => atomic_file::write(file, text.as_bytes()),
    }
}

impl SkippedImage {
    /// It as an account has it.
    pub fn in_account(&self) -> (&str, Reason) {
        (&self.path, if self.missing { Reason::Missing } else { Reason::Unreadable })
    }
}
