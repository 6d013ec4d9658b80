//! The batches of some iterations: their rows, and the sums of vectors their fused samples drew.

use std::ops::Range;

use super::source::PooledRows;
use crate::methods::{Drawn, Maker, Samples};
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
    pub(super) maker: Option<&'a dyn Maker>,
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

impl Window<'_> {
    /// Writes batch `index` of the window, in the order of its plan.
    pub(super) fn assemble(&self, index: usize, labels: &[u32], batch: &mut Samples) {
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
                Sample::Made(made) => {
                    let vectors = made.rows.map(|row| self.pooled.of(row));
                    let key = ((self.iterations.start + index) as u64, place as u64);
                    let drawn = Drawn { made, vectors, labels: made.rows.map(label), key };
                    if let Some(maker) = self.maker {
                        maker.make(&drawn, batch);
                    }
                }
            }
            let made = !matches!(sample, Sample::Real(_));
            batch.made.resize(batch.labels.len(), made);
        }
        if !batch.weights.is_empty() {
            batch.weights.resize(batch.labels.len(), 1.0);
        }
    }

    /// Fused sample `at` of the window: the mean of its draws, or the real sample without any.
    fn fused(&self, at: usize, tail_row: u32, batch: &mut Samples) {
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
