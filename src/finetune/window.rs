//! The batches of some iterations: their rows, and the sums of vectors their fused samples drew.

use std::ops::Range;

use super::source::PooledRows;
use super::tailcalib::Calibrator;
use crate::sampler::{BatchPlan, Sample};

/// A part of a fused sample that is not drawn.
pub(super) const NOT_DRAWN: u32 = u32::MAX;

/// The batches of some iterations with their fused vectors.
pub(super) struct Window<'a> {
    /// The iterations.
    pub(super) iterations: Range<usize>,
    pub(super) plans: Vec<BatchPlan>,
    /// Sums of drawn vectors: [n, K].
    pub(super) sums: Vec<f32>,
    /// For each fused sample, where its sums are: one or two that add up to its L draws, or none.
    pub(super) parts: Vec<[u32; 2]>,
    pub(super) fused_per_batch: usize,
    /// L, the draws of a fused sample.
    pub(super) locations: usize,
    pub(super) channels: usize,
    pub(super) pooled: PooledRows<'a>,
    pub(super) calibrator: Option<&'a Calibrator>,
    /// Fused samples that could not be drawn as planned.
    pub(super) fallbacks: Fallbacks,
}

/// Fused samples whose masks were empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fallbacks {
    /// Fused samples in all.
    pub fused: u64,
    /// No class-specific location: all vectors were class-generic.
    pub no_specific: u64,
    /// No class-generic location: all vectors were class-specific.
    pub no_generic: u64,
    /// Neither: the real pooled sample was used.
    pub neither: u64,
}

impl Fallbacks {
    /// Adds the counts of another window.
    pub(super) fn add(&mut self, other: Self) {
        self.fused += other.fused;
        self.no_specific += other.no_specific;
        self.no_generic += other.no_generic;
        self.neither += other.neither;
    }
}

/// A batch as it is trained on; the memory is used again for the next.
#[derive(Default)]
pub(super) struct Assembled {
    /// [n, K].
    pub(super) vectors: Vec<f32>,
    /// [n].
    pub(super) labels: Vec<u32>,
    /// [n], or empty for 1 each.
    pub(super) weights: Vec<f32>,
}

impl Assembled {
    fn clear(&mut self) {
        self.vectors.clear();
        self.labels.clear();
        self.weights.clear();
    }
}

impl Window<'_> {
    /// Writes batch `index` of the window, in the order of its plan. A mixed sample is two rows of
    /// the same vector, one for each label, weighted by their shares: any loss of the mixture is the
    /// weighted sum of theirs.
    pub(super) fn assemble(&self, index: usize, labels: &[u32], batch: &mut Assembled) {
        batch.clear();
        let label = |row: u32| labels[row as usize];
        let mut slot = 0;
        for (place, sample) in self.plans[index].samples.iter().enumerate() {
            match *sample {
                Sample::Real(row) => {
                    batch.vectors.extend_from_slice(self.pooled.of(row));
                    batch.labels.push(label(row));
                }
                Sample::Fused(fused) => {
                    self.fused(index * self.fused_per_batch + slot, fused.tail_row, batch);
                    batch.labels.push(label(fused.tail_row));
                    slot += 1;
                }
                Sample::Mixed { row, other, share } => {
                    batch.weights.resize(batch.labels.len(), 1.0);
                    for (row_of_label, weight) in [(row, share), (other, 1.0 - share)] {
                        self.mix(row, other, 1.0 - share, batch);
                        batch.labels.push(label(row_of_label));
                        batch.weights.push(weight);
                    }
                }
                Sample::Between { row, neighbour, way } => {
                    self.mix(row, neighbour, way, batch);
                    batch.labels.push(label(row));
                }
                Sample::Calibrated(row) => {
                    let key = (self.iterations.start + index, place);
                    if let Some(calibrator) = self.calibrator {
                        calibrator.draw(row, self.pooled.of(row), key, &mut batch.vectors);
                    }
                    batch.labels.push(label(row));
                }
            }
        }
        if !batch.weights.is_empty() {
            batch.weights.resize(batch.labels.len(), 1.0);
        }
    }

    /// x + way (y − x).
    fn mix(&self, row: u32, other: u32, way: f32, batch: &mut Assembled) {
        let (x, y) = (self.pooled.of(row), self.pooled.of(other));
        batch.vectors.extend(x.iter().zip(y).map(|(x, y)| x + way * (y - x)));
    }

    /// Fused sample `at` of the window: the mean of its draws, or the real sample without any.
    fn fused(&self, at: usize, tail_row: u32, batch: &mut Assembled) {
        let draws = self.locations as f32;
        match self.parts[at].map(|part| self.sum(part)) {
            [Some(specific), Some(generic)] => {
                batch.vectors.extend(specific.iter().zip(generic).map(|(s, g)| (s + g) / draws));
            }
            [Some(sum), None] | [None, Some(sum)] => {
                batch.vectors.extend(sum.iter().map(|s| s / draws));
            }
            [None, None] => batch.vectors.extend_from_slice(self.pooled.of(tail_row)),
        }
    }

    fn sum(&self, part: u32) -> Option<&[f32]> {
        (part != NOT_DRAWN).then(|| &self.sums[part as usize * self.channels..][..self.channels])
    }
}
