//! Looks at every image of a dataset before anything is computed from it: what is missing, what cannot
//! be decoded, and which images are duplicates.

use rayon::prelude::*;
use serde::Serialize;

use crate::config::DatasetConfig;
use crate::dataset::{Account, DatasetError, Gallery, ImagePlace, Reason};
use crate::domain::Split;
use crate::progress::Watch;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Name of the pipeline.
    pub name: String,
    /// Images of each split.
    pub splits: Vec<SplitSize>,
    /// Classes.
    pub classes: usize,
    /// What became of every file that was met.
    pub account: Account,
    /// Images that cannot be used, in the order of the dataset.
    pub faults: Vec<Fault>,
    /// Images with the same content in more than one split.
    pub leaks: Vec<Vec<ImagePlace>>,
    /// Images with the same content and different classes within one split.
    pub conflicts: Vec<Vec<ImagePlace>>,
    /// Images with the same content and class within one split.
    pub repeats: Vec<Vec<ImagePlace>>,
}

/// Images of one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitSize {
    /// Its name.
    pub split: Split,
    /// Images.
    pub images: usize,
}

/// An image that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it is, or should be.
    #[serde(flatten)]
    pub place: ImagePlace,
    /// What is wrong with it.
    pub kind: FaultKind,
    /// What reading or decoding it said.
    pub message: String,
}

/// What can be wrong with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// There is no such file.
    Missing,
    /// The file exists and cannot be read.
    Unreadable,
    /// The file is not an image, or is a damaged one.
    Undecodable,
}

/// Why a check did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The dataset cannot be listed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The user stopped it.
    #[error(
        "stopped after {done} of {total} images; nothing was written\n  Run the same command to begin again."
    )]
    Interrupted {
        /// Images examined.
        done: usize,
        /// All.
        total: usize,
    },
    /// It ended, and found images to replace or remove.
    #[error(
        "{name}: {faults} images missing or not usable, {leaks} in more than one split\n  Replace or remove the images listed."
    )]
    Faulty {
        /// Name of the pipeline.
        name: String,
        /// Images that cannot be used.
        faults: usize,
        /// Contents that are in more than one split.
        leaks: usize,
    },
}

impl Fault {
    fn in_account(&self) -> (&str, Reason) {
        let reason = match self.kind {
            FaultKind::Missing => Reason::Missing,
            FaultKind::Unreadable | FaultKind::Undecodable => Reason::Unreadable,
        };
        (&self.place.path, reason)
    }
}

impl CheckReport {
    /// Whether the images can be used as they are.
    ///
    /// # Errors
    /// [`CheckError::Faulty`] with an image missing, not usable or in more than one split.
    pub fn verdict(&self) -> Result<(), CheckError> {
        let (faults, leaks) = (self.faults.len(), self.leaks.len());
        if faults + leaks == 0 {
            return Ok(());
        }
        Err(CheckError::Faulty { name: self.name.clone(), faults, leaks })
    }
}

/// Reads and decodes every image, on all threads.
///
/// # Errors
/// The dataset cannot be listed, or the user stops it; whatever is wrong with an image is in the report.
///
/// # Determinism
/// The report is in the order of the dataset, for any number of threads.
pub fn run(
    name: &str,
    config: &DatasetConfig,
    watch: Watch<'_>,
) -> Result<CheckReport, CheckError> {
    let gallery = Gallery::open(config)?;
    let (mut known, mut faults) = (vec![], vec![]);
    for (i, digest) in digests(&gallery, watch)?.into_iter().enumerate() {
        match digest {
            Ok(digest) => known.push((digest, i)),
            Err(fault) => faults.push(fault),
        }
    }
    let size = |(split, images)| SplitSize { split, images };
    let mut report = CheckReport {
        name: name.into(),
        splits: gallery.splits().into_iter().map(size).collect(),
        classes: gallery.classes(),
        account: gallery.account().once_decoded(faults.iter().map(Fault::in_account)),
        faults,
        leaks: vec![],
        conflicts: vec![],
        repeats: vec![],
    };
    sort_repeated(&gallery, known, &mut report);
    Ok(report)
}

type Digest = Result<[u8; 32], Fault>;

/// What each image's content is, or what is wrong with it.
fn digests(gallery: &Gallery, watch: Watch<'_>) -> Result<Vec<Digest>, CheckError> {
    let total = gallery.len();
    watch.progress.start("images", total as u64, "image");
    let look = |i| {
        if watch.interrupted() {
            return None;
        }
        let digest = gallery.digest(i).map_err(|e| fault(gallery.place(i), e));
        watch.progress.advance(1);
        Some(digest)
    };
    let digests: Vec<Option<Digest>> = (0..total).into_par_iter().map(look).collect();
    watch.progress.finish();
    let digests: Vec<Digest> = digests.into_iter().flatten().collect();
    match digests.len() {
        done if done < total => Err(CheckError::Interrupted { done, total }),
        _ => Ok(digests),
    }
}

fn fault(place: ImagePlace, error: DatasetError) -> Fault {
    let missing = error.is_missing_file();
    match error {
        DatasetError::Read { source, .. } => {
            let kind = if missing { FaultKind::Missing } else { FaultKind::Unreadable };
            Fault { place, kind, message: source.to_string() }
        }
        DatasetError::Image { message, .. } => {
            Fault { place, kind: FaultKind::Undecodable, message }
        }
        other => Fault { place, kind: FaultKind::Undecodable, message: other.to_string() },
    }
}

/// Sorts the images whose content occurs more than once into the lists of the report.
fn sort_repeated(gallery: &Gallery, mut known: Vec<([u8; 32], usize)>, report: &mut CheckReport) {
    known.sort_unstable();
    let same = known.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1);
    let mut groups: Vec<Vec<usize>> =
        same.map(|same| same.iter().map(|(_, i)| *i).collect()).collect();
    // In the order of the dataset, not of the checksums.
    groups.sort_unstable();
    for group in groups {
        let places: Vec<ImagePlace> = group.into_iter().map(|i| gallery.place(i)).collect();
        if places.iter().any(|place| place.split != places[0].split) {
            report.leaks.push(places.clone());
        }
        for within in places.chunk_by(|a, b| a.split == b.split).filter(|within| within.len() > 1) {
            let one_class = within.iter().all(|place| place.class == within[0].class);
            let list = if one_class { &mut report.repeats } else { &mut report.conflicts };
            list.push(within.to_vec());
        }
    }
}
