//! What a bank is, in figures: read from its manifest and its rows, never from its maps.

use serde::Serialize;

use crate::augment::{ConfusingClasses, Mask, confusing_classes};
use crate::bank::{Bank, BankError, Manifest, Rows, SplitName};
use crate::config::FinetuneConfig;
use crate::domain::{ClassId, HeadTail};
use crate::eval::{Accuracy, predict};

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
    /// Its training rows: images times views.
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

/// Looks through a bank; `settings` gives thresholds, head ratio and number of confusing classes.
///
/// # Errors
/// The bank is damaged.
pub fn summarise(bank: &Bank, settings: &FinetuneConfig) -> Result<Summary, BankError> {
    let split = bank.class_counts.split(settings.head_ratio);
    let train = bank.rows(SplitName::Train)?;
    let mut top1 = vec![];
    for name in [SplitName::Train, SplitName::Val, SplitName::Test] {
        if bank.has(name) {
            let (labels, pooled) =
                if name == SplitName::Train { train.clean() } else { bank.rows(name)?.clean() };
            let predicted = predict(&pooled, &bank.head);
            let accuracy = Accuracy::of(&predicted, &labels, bank.class_names.len());
            top1.push((name.name().to_string(), accuracy.top1));
        }
    }
    let class = |(id, name): (usize, &String)| {
        let train_rows = train.index.labels.iter().filter(|&&l| l as usize == id).count() as u64;
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
    let is_tail = |row: usize| split.tail.iter().any(|c| c.0 == train.index.labels[row]);
    let mut manifest = bank.manifest.clone();
    manifest.splits.values_mut().for_each(|s| s.shards.clear());
    Ok(Summary {
        id: bank.id.clone(),
        manifest,
        bytes: bank.manifest.total_bytes(),
        map_rows,
        map_bytes: map_rows * 4 * bank.manifest.feature_shape.values() as u64,
        classes,
        confusing: confusing_of_tail(bank, &train, &split, settings.num_confusing),
        masks: [
            masks("head", &train, settings, |row| !is_tail(row)),
            masks("tail", &train, settings, is_tail),
        ],
        split,
        head_ratio: settings.head_ratio,
        top1,
    })
}

fn masks(
    group: &'static str,
    rows: &Rows,
    settings: &FinetuneConfig,
    of_group: impl Fn(usize) -> bool,
) -> MaskSummary {
    let chosen: Vec<usize> = (0..rows.len()).filter(|&row| of_group(row)).collect();
    let locations = (rows.cam.len() / rows.len().max(1)).max(1) as f64;
    let mean = |of: &dyn Fn(usize) -> f64| {
        chosen.iter().map(|&row| of(row)).sum::<f64>() / chosen.len().max(1) as f64
    };
    let specific =
        |row| Mask::specific(rows.cam_of(row), rows.nonzero_of(row), settings.tau_specific).len();
    let generic =
        |row| Mask::generic(rows.cam_of(row), rows.nonzero_of(row), settings.tau_generic).len();
    let empty =
        |of: &dyn Fn(usize) -> usize| chosen.iter().filter(|&&row| of(row) == 0).count() as u64;
    let share = |n: usize| n as f64 / locations;
    MaskSummary {
        group,
        rows: chosen.len() as u64,
        cam_mean: mean(&|row| {
            rows.cam_of(row).iter().map(|&m| f64::from(m)).sum::<f64>() / locations
        }),
        zero_locations: mean(&|row| share(rows.nonzero_of(row).iter().filter(|nz| !**nz).count())),
        specific: mean(&|row| share(specific(row))),
        specific_empty: empty(&specific),
        generic: mean(&|row| share(generic(row))),
        generic_empty: empty(&generic),
    }
}

/// The confusing classes of every tail class, from the clean views of its samples.
fn confusing_of_tail(
    bank: &Bank,
    rows: &Rows,
    split: &HeadTail,
    count: usize,
) -> Vec<ConfusingClasses> {
    let index = &rows.index;
    let clean = |class: ClassId| -> Vec<f32> {
        let of_class =
            (0..rows.len()).filter(|&r| index.labels[r] == class.0 && index.views[r] == 0);
        of_class.flat_map(|r| rows.pooled_of(r)).copied().collect()
    };
    let of_class = |&class| confusing_classes(class, &clean(class), &bank.head, count);
    split.tail.iter().map(of_class).collect()
}
