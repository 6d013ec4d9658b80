//! What can go wrong while a bank is made.

use std::path::PathBuf;

use super::forecast::DiskForecast;
use crate::atomic_file::WriteError;
use crate::backbone::BackboneError;
use crate::bank::{BankError, BuildState};
use crate::dataset::DatasetError;
use crate::text::bytes_text;
use crate::train::TrainError;
use crate::weights::WeightsError;

/// What can go wrong while a bank is made.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// An image cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The engine failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// A bank that is to be repaired was made with other settings, images or weights.
    #[error("{}: made with different settings: {what}\n  Give the pipeline, the images and, with --set, the settings that this bank was made with, and --labels FILE where it was made with one; where these are no more, make the bank again with the same `fsa-bank features` and --overwrite.", bank.display())]
    OtherSettings {
        /// The bank.
        bank: PathBuf,
        /// What differs.
        what: String,
    },
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] TrainError),
    /// The classifier cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The bank cannot be written.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A file cannot be removed or written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file cannot be written in the middle of a bank.
    #[error("{0}\n  What is done of the bank is kept; the same command goes on from there.")]
    Stopped(WriteError),
    /// A classifier of other classes than the images.
    #[error(
        "the classifier has {found} classes; the images have {expected}\n  Give the images of the classes it was trained on; or the names of its outputs, one a line in their order, with --labels FILE: of more classes than the images' the rows of these are taken; or fit a classifier for these: --head fit."
    )]
    Classes {
        /// The classifier's.
        found: usize,
        /// The images'.
        expected: usize,
    },
    /// The fitted classifier is not finite.
    #[error(
        "fitting the classifier has diverged: its weights are no longer finite\n  The network's pooled vectors are far too large; do these weights belong to this network?"
    )]
    Diverged,
    /// The disk has no room for the bank.
    #[error("{}", no_room(.0))]
    Space(DiskForecast),
    /// The user stopped the run while a sample was measured.
    #[error("interrupted while a sample was measured; nothing was written")]
    InterruptedSample,
    /// The user stopped the run while batch statistics were estimated.
    #[error("interrupted while batch statistics were estimated\n  The same command starts again.")]
    InterruptedRecalibration,
    /// A process that made a part of the bank has failed.
    #[error(
        "a worker process failed: {message}\n  Its output is shown above; the same command goes on from what is done."
    )]
    Jobs {
        /// Which, and how.
        message: String,
    },
    /// The user stopped the run while finished shards were compared with their checksums.
    #[error("interrupted while finished shards were checked\n  The same command starts again.")]
    InterruptedCheck,
    /// The user stopped a repair.
    #[error(
        "interrupted after {done} of {of} files; the bank is as it was\n  The same command starts again."
    )]
    InterruptedRepair {
        /// Files made.
        done: usize,
        /// Files wanted.
        of: usize,
    },
    /// The user stopped the run while it chose the classes whose maps are kept.
    #[error(
        "interrupted while choosing the classes whose maps are kept\n  The same command starts again."
    )]
    InterruptedNeeded,
    /// The user stopped the run while the classifier was fitted.
    #[error(
        "interrupted while the classifier was fitted; the maps are kept\n  The same command goes on from them."
    )]
    InterruptedFit,
    /// The user stopped the run.
    #[error("interrupted; {state}\n  The same command goes on from there.")]
    Interrupted {
        /// How far the bank is.
        state: BuildState,
    },
}

impl FeaturesError {
    /// The same, where a part of the bank exists.
    pub(super) fn with_a_bank_begun(self) -> Self {
        match self {
            Self::Write(e) | Self::Bank(BankError::Write(e)) => Self::Stopped(e),
            other => other,
        }
    }
}

/// What is needed and what is free, and what can be done where that is too little.
fn no_room(disk: &DiskForecast) -> String {
    let needed = bytes_text(disk.needed);
    let free = disk.free.map_or("an unknown part".into(), bytes_text);
    let smaller = match disk.smaller.as_slice() {
        [] => String::new(),
        ways => format!(", or make the bank smaller: {}", ways.join(", ")),
    };
    format!(
        "{}: the bank needs {needed} and {free} are free\n  Make room, choose another place with --out{smaller}.",
        disk.place.display(),
    )
}
