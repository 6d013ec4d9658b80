//! Samples that a method makes out of pooled vectors.

use std::sync::Arc;

use super::Settings;
use crate::classifier::Input;
use crate::rng::KeyedRng;

/// How a method makes samples of class-balanced draws.
pub struct Making {
    /// The method, which tells two ways apart.
    pub name: &'static str,
    /// What a batch consists of, as docs/method.md says it.
    pub batches: &'static str,
    /// The keys of `[finetune]` that its batches depend on.
    pub keys: &'static [&'static str],
    /// Pooled vectors that a sample is made of, at most.
    pub vectors: usize,
    /// What it takes in memory, of rows that are all held; `None` where it needs none of them beforehand.
    pub held: Option<Held>,
    /// What is done to vectors before the classifier; `None`: what the loss asks for.
    pub input: Option<fn(&Settings) -> Input>,
    /// Prepares it for a run with this seed.
    pub maker: fn(&TrainingRows<'_>, &Settings, u64) -> Arc<dyn Maker>,
}

/// Bytes of memory for classes with these numbers of rows and vectors of this many channels.
type Held = fn(&[usize], usize) -> usize;

impl PartialEq for Making {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The training rows of a bank.
pub struct TrainingRows<'a> {
    /// Class of each row.
    pub labels: &'a [u32],
    /// [n, K]; empty unless [`Making::held`] asks for them.
    pub pooled: &'a [f32],
    /// K.
    pub channels: usize,
    /// Of each class its rows, or its images where images have unequal numbers of rows.
    pub class_sizes: &'a [u64],
}

/// A sample to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Made {
    /// The rows that it is made of; the first twice where one is enough.
    pub rows: [u32; 2],
    /// A number of the maker's own, such as a share.
    pub share: f32,
}

/// A sample to be made, with what it is made of.
pub struct Drawn<'a> {
    /// The plan.
    pub made: Made,
    /// `[K]` of each row.
    pub vectors: [&'a [f32]; 2],
    /// Class of each row.
    pub labels: [u32; 2],
    /// (iteration, place in the batch): the key of random numbers.
    pub key: (u64, u64),
}

/// Makes samples in a run. The result is a function of the plan and the key alone.
pub trait Maker: Send + Sync {
    /// What the draw of `row` becomes; `None` for the row's own vector. `draw` draws another row likewise.
    fn plan(
        &self,
        row: u32,
        draw: &dyn Fn(&mut KeyedRng) -> u32,
        rng: &mut KeyedRng,
    ) -> Option<Made>;

    /// Appends the sample: one vector, or several with weights that add up to 1.
    fn make(&self, drawn: &Drawn<'_>, into: &mut Samples);
}

/// A batch as it is trained on; the memory is used again for the next.
#[derive(Debug, Default)]
pub struct Samples {
    /// [n, K].
    pub vectors: Vec<f32>,
    /// `[n]`.
    pub labels: Vec<u32>,
    /// `[n]`, or empty for 1 each.
    pub weights: Vec<f32>,
    /// `[n]`, whether each was made rather than taken from the bank.
    pub made: Vec<bool>,
}

impl Samples {
    /// Forgets all samples.
    pub fn clear(&mut self) {
        self.vectors.clear();
        self.labels.clear();
        self.weights.clear();
        self.made.clear();
    }

    /// Appends the point that lies `way` of the way from `x` to `y`.
    pub fn push_between(&mut self, [x, y]: [&[f32]; 2], way: f32, label: u32) {
        self.vectors.extend(x.iter().zip(y).map(|(x, y)| x + way * (y - x)));
        self.labels.push(label);
    }

    /// Says what the last sample counts; those without a word count 1.
    pub fn weigh_last(&mut self, weight: f32) {
        self.weights.resize(self.labels.len(), 1.0);
        self.weights[self.labels.len() - 1] = weight;
    }
}

/// Classes that are filled up to the size of the largest with made samples.
pub(super) struct Filling {
    labels: Vec<u32>,
    class_sizes: Vec<u64>,
    largest: u64,
}

impl Filling {
    pub(super) fn new(rows: &TrainingRows<'_>) -> Self {
        Self {
            labels: rows.labels.to_vec(),
            class_sizes: rows.class_sizes.to_vec(),
            largest: rows.class_sizes.iter().copied().max().unwrap_or(0),
        }
    }

    /// Whether a draw of this row's class is one of its own samples.
    pub(super) fn is_real(&self, row: u32, rng: &mut KeyedRng) -> bool {
        let own = self.class_sizes[self.labels[row as usize] as usize];
        u64::from(rng.below(self.largest as u32)) < own
    }
}
