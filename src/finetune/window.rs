//! The batches of some iterations: their rows, and the sums of vectors their fused samples drew.

use std::ops::Range;

use crate::bank::Rows;
use crate::sampler::BatchPlan;

/// A part of a fused sample that is not drawn.
pub(super) const NOT_DRAWN: u32 = u32::MAX;

/// The batches of some iterations with their fused vectors.
pub(super) struct Window {
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

impl Window {
    /// Writes batch `index` of the window: `vectors` [n, K] and `labels` [n], real tail samples
    /// first, then fused ones, then real head samples.
    pub(super) fn assemble(
        &self,
        index: usize,
        rows: &Rows,
        vectors: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) {
        let plan = &self.plans[index];
        vectors.clear();
        labels.clear();
        let real = |row: &u32, vectors: &mut Vec<f32>, labels: &mut Vec<u32>| {
            vectors.extend_from_slice(rows.pooled_of(*row as usize));
            labels.push(rows.labels[*row as usize]);
        };
        plan.tail.iter().for_each(|row| real(row, vectors, labels));
        let draws = self.locations as f32;
        for (slot, sample) in plan.fused.iter().enumerate() {
            let parts = self.parts[index * self.fused_per_batch + slot];
            match parts.map(|part| self.sum(part, rows)) {
                [Some(specific), Some(generic)] => {
                    vectors.extend(specific.iter().zip(generic).map(|(s, g)| (s + g) / draws));
                }
                [Some(sum), None] | [None, Some(sum)] => {
                    vectors.extend(sum.iter().map(|s| s / draws));
                }
                [None, None] => vectors.extend_from_slice(rows.pooled_of(sample.tail_row as usize)),
            }
            labels.push(rows.labels[sample.tail_row as usize]);
        }
        plan.head.iter().for_each(|row| real(row, vectors, labels));
    }

    fn sum(&self, part: u32, rows: &Rows) -> Option<&[f32]> {
        let channels = rows.pooled.len() / rows.len();
        (part != NOT_DRAWN).then(|| &self.sums[part as usize * channels..][..channels])
    }
}
