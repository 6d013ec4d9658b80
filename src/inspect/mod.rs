//! What a bank is, in figures: read from its manifest and its rows, never from its maps.

mod pass;

use serde::Serialize;

use crate::augment::ConfusingClasses;
use crate::bank::{Bank, BankError, Manifest};
use crate::config::FinetuneConfig;
use crate::domain::{ClassCounts, HeadTail, Split};
use crate::text::{counted, memory_text, need_text};

use pass::{Pass, TrainFigures};

/// A bank in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// sha256 of the manifest.
    pub id: String,
    /// What the bank says of itself, but for its files.
    pub manifest: Manifest,
    /// Bytes of all files but the manifest.
    pub bytes: u64,
    /// Training rows that have a map.
    pub map_rows: u64,
    /// Bytes of their maps before rounding and compression, as f32.
    pub map_bytes: u64,
    /// Name and size of each class, in order of its id.
    pub classes: Vec<ClassSummary>,
    /// Head and tail at `head_ratio`.
    pub split: HeadTail,
    /// The ratio that makes head and tail.
    pub head_ratio: f64,
    /// Confusing classes of each tail class.
    pub confusing: Vec<ConfusingClasses>,
    /// Masks of head and of tail rows.
    pub masks: [MaskSummary; 2],
    /// Top-1 of the Phase-I classifier on each split, in percent.
    pub top1: Vec<(String, f64)>,
}

/// One class.
#[derive(Debug, Clone, Serialize)]
pub struct ClassSummary {
    /// Its name.
    pub name: String,
    /// Its training images.
    pub train_images: u64,
    /// Its training rows: (image, view) pairs.
    pub train_rows: u64,
    /// Those of them that have a map.
    pub map_rows: u64,
}

/// CAMs and masks of some rows.
#[derive(Debug, Clone, Serialize)]
pub struct MaskSummary {
    /// `head` or `tail`.
    pub group: &'static str,
    /// Rows.
    pub rows: u64,
    /// Mean of the normalised CAM.
    pub cam_mean: f64,
    /// Share of locations whose vector is all zeros.
    pub zero_locations: f64,
    /// Mean share of locations in the class-specific mask.
    pub specific: f64,
    /// Rows with an empty class-specific mask.
    pub specific_empty: u64,
    /// Mean share of locations in the class-generic mask.
    pub generic: f64,
    /// Rows with an empty class-generic mask.
    pub generic_empty: u64,
}

/// What can go wrong when a bank is looked through.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The bank cannot be used.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// Not enough memory for the index of the rows and what the threads have in hand.
    #[error("--memory {}: too little for this bank on {}\n  Give --memory {} or more{}.", memory_text(*limit), counted(*threads, "thread"), need_text(*least), alone_text(*limit, *alone))]
    Memory {
        /// Bytes allowed.
        limit: u64,
        /// Threads that were to do it.
        threads: usize,
        /// Bytes that they need at least.
        least: u64,
        /// Bytes that one of them would need.
        alone: u64,
    },
}

fn alone_text(limit: u64, alone: u64) -> &'static str {
    if alone <= limit { ", or --threads 1" } else { "" }
}

/// Looks through a bank within `memory_bytes`; `settings` gives thresholds, head ratio and number of
/// confusing classes.
///
/// # Errors
/// The bank is damaged, or the memory too little for its index.
///
/// # Determinism
/// The same figures for any memory, threads, shards and order of rows.
///
/// # Cost
/// Reads pooled vectors and CAMs once; pooled vectors of the tail again where they do not fit in memory.
pub fn summarise(
    bank: &Bank,
    settings: &FinetuneConfig,
    memory_bytes: u64,
) -> Result<Summary, InspectError> {
    let threads = rayon::current_num_threads();
    let least = pass::least_bytes(bank, threads);
    let Some(spare) = memory_bytes.checked_sub(least) else {
        let (limit, alone) = (memory_bytes, pass::least_bytes(bank, 1));
        return Err(InspectError::Memory { limit, threads, least, alone });
    };
    let split = bank.class_counts.split(settings.head_ratio);
    let train = Pass::open(bank, Split::Train)?;
    let TrainFigures { top1, masks, confusing } = train.train(&split, settings, spare)?;
    let mut top1 = vec![(Split::Train.name().to_string(), top1)];
    let train_rows = ClassCounts::from_labels(&train.index.labels, bank.class_names.len());
    drop(train);
    for name in [Split::Val, Split::Test] {
        if bank.has(name) {
            top1.push((name.name().into(), Pass::open(bank, name)?.top1()?));
        }
    }
    let class = |(id, name): (usize, &String)| {
        let train_rows = train_rows.0[id];
        let kept = bank.manifest.maps.of_class(id as u32);
        ClassSummary {
            name: name.clone(),
            train_images: bank.class_counts.0[id],
            train_rows,
            map_rows: if kept { train_rows } else { 0 },
        }
    };
    let classes: Vec<ClassSummary> = bank.class_names.iter().enumerate().map(class).collect();
    let map_rows = classes.iter().map(|class| class.map_rows).sum::<u64>();
    let mut manifest = bank.manifest.clone();
    manifest.splits.values_mut().for_each(|s| s.shards.clear());
    Ok(Summary {
        id: bank.id.clone(),
        manifest,
        bytes: bank.manifest.total_bytes(),
        map_rows,
        map_bytes: map_rows * 4 * bank.manifest.feature_shape.values() as u64,
        classes,
        confusing,
        masks,
        split,
        head_ratio: settings.head_ratio,
        top1,
    })
}
