//! A run of the stage: what it is asked for, where its files lie, and what it leaves behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::FeaturesError;
use crate::bank::{BuildState, Manifest, Partition};
use crate::config::LoadedPipeline;
use crate::dataset::{Dataset, SkippedList};
use crate::eval::Reordering;

/// A run of the stage.
pub struct FeaturesRequest<'a> {
    /// The settings and their name.
    pub loaded: &'a LoadedPipeline,
    /// The images.
    pub dataset: &'a Dataset,
    /// Folder of the bank.
    pub out: &'a Path,
    /// Replace an existing bank that differs; a complete one is made again.
    pub overwrite: bool,
    /// Make only these shards, and no bank of them; `None`: all that are missing, and the bank.
    pub partition: Option<Partition>,
    /// Has the missing shards made by other processes, in place of this one; it gets the
    /// number of their rows.
    pub make_in_processes: Option<&'a (dyn Fn(u64) -> Result<(), FeaturesError> + Sync)>,
    /// Time the bare forward pass over the same batches first.
    pub measure_forward: bool,
    /// Bytes that are free in a folder; `None` where the file system does not say. Usually
    /// [`crate::disk::free_bytes`].
    pub free_bytes: &'a (dyn Fn(&Path) -> Option<u64> + Sync),
}

/// What a run left behind.
#[derive(Debug, Clone, Serialize)]
pub struct FeaturesOutcome {
    /// The bank's folder.
    pub bank: PathBuf,
    /// Whether it existed already.
    pub already_done: bool,
    /// How far the bank is, where it is not committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BuildState>,
    /// Rows of all splits; of a bank that is not committed, those made now.
    pub rows: u64,
    /// Rows made now.
    pub rows_made: u64,
    /// Bytes of all files but the manifest; of a bank that is not committed, of the shards made now.
    pub bytes: u64,
    /// Share of the rows of each split whose class the classifier finds, in percent: of clean views,
    /// and of the training split the images that Phase-I was fitted to. Empty for an existing bank.
    pub top1: BTreeMap<String, f64>,
    /// Whether the classifier is right about the classes and wrong about their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordering: Option<Reordering>,
    /// Seconds of the pass, once the network is ready.
    pub secs: f64,
    /// `rows_made` over `secs`: views, not images.
    pub rows_per_sec: f64,
    /// Views a second of the bare forward pass over the same inputs, where it was measured.
    pub forward_rows_per_sec: Option<f64>,
    /// Images that have no rows because they cannot be decoded.
    pub skipped: SkippedList,
}

impl FeaturesOutcome {
    /// Of the bank in `out`, where no row was made in this run.
    pub(super) fn of_bank(out: &Path, manifest: &Manifest, already_done: bool) -> Self {
        Self {
            bank: out.into(),
            already_done,
            state: None,
            rows: manifest.splits.values().map(|s| s.rows).sum(),
            rows_made: 0,
            bytes: manifest.total_bytes(),
            secs: 0.0,
            rows_per_sec: 0.0,
            forward_rows_per_sec: None,
            skipped: SkippedList::of_earlier_run(&skipped_file(out)),
            top1: BTreeMap::new(),
            reordering: None,
        }
    }
}

/// Name of the list of images that have no rows, beside the bank.
pub const SKIPPED_FILE: &str = "features-skipped.jsonl";

/// The list that belongs to a bank.
pub(super) fn skipped_file(bank: &Path) -> PathBuf {
    bank.with_file_name(SKIPPED_FILE)
}

/// Where maps wait for their classifier.
pub(super) fn unfitted_folder(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".unfitted");
    out.with_file_name(name)
}
