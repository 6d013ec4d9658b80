//! What a run's batches were like, as data: JSON lines beside the result, one file for each subject.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Report;
use super::source::Source;
use crate::atomic_file::{self, WriteError};
use crate::augment::Mask;
use crate::bank::{BankError, Column};
use crate::classifier::length;
use crate::config::FinetuneConfig;
use crate::methods::Samples;
use crate::sampler::BatchPlan;

/// Bins of γ.
const GAMMA_BINS: usize = 10;

/// Counts over the batches that were examined.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BatchStatistics {
    /// Batches examined.
    pub batches: u64,
    /// Fused samples by γ, in ten bins from 0 to 1.
    pub gamma: [u64; GAMMA_BINS],
    /// Lengths of pooled vectors by what they are.
    pub lengths: [Lengths; 4],
}

/// What kind of vectors [`BatchStatistics::lengths`] has, in order.
const KINDS: [&str; 4] = ["real head", "real tail", "made head", "made tail"];

/// Mean and spread of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Lengths {
    /// Vectors.
    pub vectors: u64,
    /// Sum of their lengths.
    pub sum: f64,
    /// Sum of the squares.
    pub squares: f64,
}

impl BatchStatistics {
    /// Looks at one batch; `is_tail` says so of each class.
    pub(super) fn add(
        &mut self,
        plan: &BatchPlan,
        batch: &Samples,
        channels: usize,
        is_tail: &[bool],
    ) {
        self.batches += 1;
        for fused in plan.fused() {
            let bin = (fused.gamma * GAMMA_BINS as f64) as usize;
            self.gamma[bin.min(GAMMA_BINS - 1)] += 1;
        }
        let rows = batch.vectors.chunks_exact(channels).zip(&batch.labels).zip(&batch.made);
        for ((vector, &label), &made) in rows {
            let kind = 2 * usize::from(made) + usize::from(is_tail[label as usize]);
            let length = f64::from(length(vector));
            let lengths = &mut self.lengths[kind];
            lengths.vectors += 1;
            lengths.sum += length;
            lengths.squares += length * length;
        }
    }
}

/// A line of `masks.jsonl`: masks of the rows of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ClassMasks {
    class: u32,
    class_name: String,
    tail: bool,
    rows: u64,
    /// Mean number of locations in the mask.
    specific_mean: f64,
    specific_empty: u64,
    generic_mean: f64,
    generic_empty: u64,
}

/// Masks of all training rows, by class.
pub(super) fn class_masks(
    source: &Source<'_>,
    config: &FinetuneConfig,
    is_tail: &[bool],
) -> Result<Vec<ClassMasks>, BankError> {
    let names = &source.bank.class_names;
    let mut masks: Vec<ClassMasks> = (0..names.len())
        .map(|class| ClassMasks {
            class: class as u32,
            class_name: names[class].clone(),
            tail: is_tail[class],
            rows: 0,
            specific_mean: 0.0,
            specific_empty: 0,
            generic_mean: 0.0,
            generic_empty: 0,
        })
        .collect();
    let index = source.index();
    let mut add = |row: usize, cam: &[f32], nonzero: &[bool]| {
        let specific = Mask::specific(cam, nonzero, config.tau_specific);
        let generic = Mask::generic(cam, nonzero, config.tau_generic);
        let class = &mut masks[index.labels[row] as usize];
        class.rows += 1;
        class.specific_mean += specific.len() as f64;
        class.specific_empty += u64::from(specific.is_empty());
        class.generic_mean += generic.len() as f64;
        class.generic_empty += u64::from(generic.is_empty());
    };
    match source.held() {
        Some(rows) => {
            (0..rows.len()).for_each(|row| add(row, rows.cam_of(row), rows.nonzero_of(row)));
        }
        None => {
            let all: Vec<usize> = (0..index.len()).collect();
            for request in index.plan(&all) {
                source.reader().read(&request, &[Column::Cam], |row, values| {
                    add(row, values.cam, values.nonzero);
                })?;
            }
        }
    }
    for class in &mut masks {
        let rows = class.rows.max(1) as f64;
        class.specific_mean /= rows;
        class.generic_mean /= rows;
    }
    Ok(masks)
}

/// Writes `diagnostics/{curve,confusing,gamma,lengths,masks}.jsonl` into `folder`.
pub(super) fn write(
    folder: &Path,
    report: &Report,
    statistics: &BatchStatistics,
    masks: &[ClassMasks],
) -> Result<(), WriteError> {
    let folder = folder.join("diagnostics");
    atomic_file::create_dir(&folder)?;
    let name = |class: crate::domain::ClassId| report.class_names[class.index()].clone();
    let confusing = report.confusing.iter().flat_map(|of_class| {
        of_class.ranked.iter().enumerate().map(move |(rank, (other, score))| Confused {
            class: of_class.class.0,
            class_name: name(of_class.class),
            rank: rank + 1,
            confused_with: other.0,
            confused_with_name: name(*other),
            mean_score: *score,
        })
    });
    let gamma = statistics.gamma.iter().enumerate().map(|(bin, &fused_samples)| GammaBin {
        from: bin as f64 / GAMMA_BINS as f64,
        to: (bin + 1) as f64 / GAMMA_BINS as f64,
        fused_samples,
    });
    let lengths = KINDS.iter().zip(&statistics.lengths).filter(|(_, l)| l.vectors > 0);
    let lengths = lengths.map(|(kind, l)| {
        let mean = l.sum / l.vectors as f64;
        let variance = (l.squares / l.vectors as f64 - mean * mean).max(0.0);
        LengthLine { kind, vectors: l.vectors, mean, std: variance.sqrt() }
    });
    lines(&folder.join("curve.jsonl"), &report.curve)?;
    lines(&folder.join("confusing.jsonl"), &confusing.collect::<Vec<_>>())?;
    lines(&folder.join("gamma.jsonl"), &gamma.collect::<Vec<_>>())?;
    lines(&folder.join("lengths.jsonl"), &lengths.collect::<Vec<_>>())?;
    lines(&folder.join("masks.jsonl"), masks)
}

#[derive(Serialize)]
struct Confused {
    class: u32,
    class_name: String,
    rank: usize,
    confused_with: u32,
    confused_with_name: String,
    mean_score: f32,
}

#[derive(Serialize)]
struct GammaBin {
    from: f64,
    to: f64,
    fused_samples: u64,
}

#[derive(Serialize)]
struct LengthLine {
    kind: &'static str,
    vectors: u64,
    mean: f64,
    std: f64,
}

/// One JSON object a line.
fn lines<T: Serialize>(path: &Path, values: &[T]) -> Result<(), WriteError> {
    let mut text = String::new();
    for value in values {
        text += &serde_json::to_string(value).expect("diagnostics are JSON");
        text.push('\n');
    }
    atomic_file::write(path, text.as_bytes())
}
