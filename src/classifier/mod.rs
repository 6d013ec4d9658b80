//! A classifier on pooled vectors: what is done to a vector, then a linear layer.

mod logits;

use std::borrow::Cow;

use crate::domain::LinearHead;

pub use logits::{LogitChunks, logits, logits_into, predict, softmax};
pub(crate) use logits::{argmax, in_pool, reserve};

/// What is done to a pooled vector before the linear layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Input {
    /// Nothing.
    #[default]
    Plain,
    /// Scaled to length 1.
    Direction,
    /// A centre taken off, then scaled to length 1: `[K]`.
    CentredDirection(Vec<f32>),
    /// Scaled to length 1, each value raised to a power with its sign kept (Tukey's transformation),
    /// scaled to length 1 again.
    Tukey(f32),
}

/// Vectors shorter than this are taken to be this long; PyTorch's `normalize` does the same.
pub(crate) const SHORTEST: f32 = 1e-12;

/// The Euclidean length, summed in f64.
pub(crate) fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32
}

/// Scales a vector to length 1.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = length(vector).max(SHORTEST);
    vector.iter_mut().for_each(|v| *v /= length);
}

impl Input {
    /// Applies it to vectors of `channels` values, in place.
    pub fn apply(&self, vectors: &mut [f32], channels: usize) {
        match self {
            Self::Plain => {}
            Self::Direction => vectors.chunks_exact_mut(channels).for_each(normalise),
            Self::CentredDirection(centre) => {
                for vector in vectors.chunks_exact_mut(channels) {
                    vector.iter_mut().zip(centre).for_each(|(v, c)| *v -= c);
                    normalise(vector);
                }
            }
            Self::Tukey(power) => {
                for vector in vectors.chunks_exact_mut(channels) {
                    normalise(vector);
                    vector.iter_mut().for_each(|v| *v = v.signum() * v.abs().powf(*power));
                    normalise(vector);
                }
            }
        }
    }

    /// The transformed vectors; borrowed where nothing is done.
    pub fn applied<'a>(&self, vectors: &'a [f32], channels: usize) -> Cow<'a, [f32]> {
        if *self == Self::Plain {
            return Cow::Borrowed(vectors);
        }
        let mut vectors = vectors.to_vec();
        self.apply(&mut vectors, channels);
        Cow::Owned(vectors)
    }
}

/// What Phase-II results in.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// What is done to vectors first.
    pub input: Input,
    /// The linear layer.
    pub head: LinearHead,
}

/// The class of the highest score, and its softmax probability.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prediction {
    /// The first of equal scores.
    pub class: u32,
    /// In 0 to 1.
    pub confidence: f32,
}

impl Classifier {
    /// A linear layer on vectors as they are.
    pub fn plain(head: LinearHead) -> Self {
        Self { input: Input::Plain, head }
    }

    /// Predictions for vectors [n, K], in their order; each depends on its vector alone.
    pub fn predict(&self, pooled: &[f32]) -> Vec<Prediction> {
        self.input.applied(pooled, self.head.channels()).map_logits(&self.head, |row| {
            let class = argmax(row);
            let max = row[class];
            let sum: f32 = row.iter().map(|logit| (logit - max).exp()).sum();
            Prediction { class: class as u32, confidence: 1.0 / sum }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_two_values_by_hand() {
        let apply = |input: Input, vector: [f32; 2]| {
            let found = input.applied(&vector, 2).into_owned();
            [found[0], found[1]]
        };
        assert_eq!(apply(Input::Plain, [3.0, 4.0]), [3.0, 4.0]);
        assert_eq!(apply(Input::Direction, [3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(apply(Input::Direction, [0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(apply(Input::CentredDirection(vec![1.0, 4.0]), [3.0, 4.0]), [1.0, 0.0]);
        let [a, b] = apply(Input::Tukey(2.0), [1.0, -1.0]);
        assert!((a - 0.5f32.sqrt()).abs() < 1e-6 && (b + 0.5f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn confidence_is_the_softmax_of_the_predicted_class() {
        let head = LinearHead::new(vec![1.0, 0.0], vec![0.0, 0.0]).unwrap();
        let found = Classifier::plain(head).predict(&[2.0, -1.0]);
        let wanted = 2f32.exp() / (2f32.exp() + 1.0);
        assert!(found[0].class == 0 && (found[0].confidence - wanted).abs() < 1e-6);
        assert_eq!(found[1].class, 1);
    }
}
