//! SGD with momentum on the FC layer: softmax cross-entropy, everything else frozen.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::domain::LinearHead;

/// Constants of SGD.
#[derive(Debug, Clone, Copy)]
pub struct SgdOptions {
    /// Fixed.
    pub learning_rate: f32,
    /// PyTorch's form: v ← m v + g, w ← w − lr v.
    pub momentum: f32,
    /// g ← g + decay · w, for weight and bias.
    pub weight_decay: f32,
}

/// A classifier in training.
pub struct HeadTrainer {
    head: LinearHead,
    options: SgdOptions,
    weight_momentum: Vec<f32>,
    bias_momentum: Vec<f32>,
    weight_gradient: Vec<f32>,
    bias_gradient: Vec<f32>,
    /// Logits, then the loss's gradient with respect to them: [batch, C].
    scores: Vec<f32>,
    losses: Vec<f32>,
}

/// Multiply-adds of one matrix product from which several threads are worth their start.
const PARALLEL_MULTIPLY_ADDS: usize = 1 << 25;
/// Values of one task in element-wise passes.
const TASK_VALUES: usize = 1 << 16;

impl HeadTrainer {
    /// Starts from `head`.
    pub fn new(head: LinearHead, options: SgdOptions) -> Self {
        Self {
            options,
            weight_momentum: vec![0.0; head.weight.len()],
            bias_momentum: vec![0.0; head.bias.len()],
            weight_gradient: vec![0.0; head.weight.len()],
            bias_gradient: vec![0.0; head.bias.len()],
            scores: vec![],
            losses: vec![],
            head,
        }
    }

    /// One step on a batch: `vectors` [n, K] with their classes. Returns the mean cross-entropy
    /// before the update.
    ///
    /// # Determinism
    /// The result does not depend on the number of threads: products are split along their rows
    /// and columns only, sums are taken in order.
    pub fn step(&mut self, vectors: &[f32], labels: &[u32]) -> f32 {
        let (classes, channels, rows) = (self.head.classes(), self.head.channels(), labels.len());
        let parallel = rows * classes * channels >= PARALLEL_MULTIPLY_ADDS;
        let par = if parallel { Par::rayon(0) } else { Par::Seq };
        let vectors = MatRef::from_row_major_slice(vectors, rows, channels);
        self.scores.clear();
        (0..rows).for_each(|_| self.scores.extend_from_slice(&self.head.bias));
        matmul(
            MatMut::from_row_major_slice_mut(&mut self.scores, rows, classes),
            Accum::Add,
            vectors,
            MatRef::from_row_major_slice(&self.head.weight, classes, channels).transpose(),
            1.0,
            par,
        );
        let loss = self.scores_to_gradient(labels, parallel);
        matmul(
            MatMut::from_row_major_slice_mut(&mut self.weight_gradient, classes, channels),
            Accum::Replace,
            MatRef::from_row_major_slice(&self.scores, rows, classes).transpose(),
            vectors,
            1.0,
            par,
        );
        self.bias_gradient.fill(0.0);
        for row in self.scores.chunks_exact(classes) {
            self.bias_gradient.iter_mut().zip(row).for_each(|(sum, d)| *sum += d);
        }
        self.update(parallel);
        loss
    }

    /// Turns logits into ∂loss/∂logits = (softmax − one-hot) / n and returns the mean loss.
    fn scores_to_gradient(&mut self, labels: &[u32], parallel: bool) -> f32 {
        let classes = self.head.classes();
        let share = 1.0 / labels.len() as f32;
        self.losses.resize(labels.len(), 0.0);
        let rows = || self.scores.len() / classes;
        debug_assert_eq!(rows(), labels.len());
        let of_row = |((row, &label), loss): ((&mut [f32], &u32), &mut f32)| {
            *loss = cross_entropy_gradient(row, label as usize, share);
        };
        if parallel {
            let rows = self.scores.par_chunks_exact_mut(classes).zip(labels);
            rows.zip(&mut self.losses).for_each(of_row);
        } else {
            let rows = self.scores.chunks_exact_mut(classes).zip(labels);
            rows.zip(&mut self.losses).for_each(of_row);
        }
        self.losses.iter().sum::<f32>() * share
    }

    fn update(&mut self, parallel: bool) {
        let options = self.options;
        if parallel {
            self.head
                .weight
                .par_chunks_mut(TASK_VALUES)
                .zip(self.weight_momentum.par_chunks_mut(TASK_VALUES))
                .zip(self.weight_gradient.par_chunks(TASK_VALUES))
                .for_each(|((w, v), g)| sgd(w, v, g, options));
        } else {
            sgd(&mut self.head.weight, &mut self.weight_momentum, &self.weight_gradient, options);
        }
        sgd(&mut self.head.bias, &mut self.bias_momentum, &self.bias_gradient, options);
    }

    /// The classifier as it is now.
    pub fn into_head(self) -> LinearHead {
        self.head
    }
}

fn sgd(weights: &mut [f32], momentum: &mut [f32], gradient: &[f32], options: SgdOptions) {
    struct Update<'a>(&'a mut [f32], &'a mut [f32], &'a [f32], SgdOptions);
    impl pulp::WithSimd for Update<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) {
            let Self(weights, momentum, gradient, options) = self;
            for ((w, v), g) in weights.iter_mut().zip(momentum).zip(gradient) {
                *v = options.momentum * *v + (*g + options.weight_decay * *w);
                *w -= options.learning_rate * *v;
            }
        }
    }
    pulp::Arch::new().dispatch(Update(weights, momentum, gradient, options));
}

/// Replaces a row of logits by `share` · (softmax − one-hot) and returns its cross-entropy.
fn cross_entropy_gradient(row: &mut [f32], label: usize, share: f32) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let of_label = row[label] - max;
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - max).exp();
        sum += *value;
    }
    let scale = share / sum;
    row.iter_mut().for_each(|value| *value *= scale);
    row[label] -= share;
    sum.ln() - of_label
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SgdOptions = SgdOptions { learning_rate: 0.5, momentum: 0.9, weight_decay: 0.0 };

    #[test]
    fn a_2_by_2_step_by_hand() {
        // Zero weights: both classes have probability 1/2, so D = ±1/2 and g_w = D ⊗ x.
        let head = LinearHead::new(vec![0.0; 4], vec![0.0; 2]).unwrap();
        let mut trainer = HeadTrainer::new(head, OPTIONS);
        let loss = trainer.step(&[1.0, 2.0], &[0]);
        assert!((loss - 2f32.ln()).abs() < 1e-6);
        let head = trainer.into_head();
        assert_eq!(head.weight, [0.25, 0.5, -0.25, -0.5]);
        assert_eq!(head.bias, [0.25, -0.25]);
    }

    #[test]
    fn momentum_and_decay_are_pytorchs() {
        let options = SgdOptions { weight_decay: 0.1, ..OPTIONS };
        let (mut w, mut v) = ([2.0], [0.0]);
        sgd(&mut w, &mut v, &[1.0], options);
        // v = 1 + 0.1 * 2 = 1.2, w = 2 - 0.5 * 1.2 = 1.4
        assert!((v[0] - 1.2f32).abs() < 1e-6 && (w[0] - 1.4f32).abs() < 1e-6);
        sgd(&mut w, &mut v, &[1.0], options);
        // v = 0.9 * 1.2 + 1 + 0.14 = 2.22, w = 1.4 - 1.11 = 0.29
        assert!((v[0] - 2.22f32).abs() < 1e-6 && (w[0] - 0.29f32).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let logits = [0.3f32, -1.2, 2.0];
        let loss = |logits: [f32; 3]| cross_entropy_gradient(&mut logits.clone(), 1, 1.0);
        let mut gradient = logits;
        cross_entropy_gradient(&mut gradient, 1, 1.0);
        for i in 0..3 {
            let h = 1e-2;
            let (mut up, mut down) = (logits, logits);
            up[i] += h;
            down[i] -= h;
            let numeric = (loss(up) - loss(down)) / (2.0 * h);
            assert!((gradient[i] - numeric).abs() < 1e-3, "{i}: {} {numeric}", gradient[i]);
        }
    }

    #[test]
    fn a_large_step_is_the_same_at_any_thread_count() {
        use crate::rng::{KeyedRng, Stage};
        let (rows, channels, classes) = (64, 512, 1100);
        let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
        let mut values = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
        let (vectors, weight) = (values(rows * channels), values(classes * channels));
        assert!(rows * channels * classes >= PARALLEL_MULTIPLY_ADDS);
        let labels: Vec<u32> = (0..rows as u32).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let head = LinearHead::new(weight.clone(), vec![0.0; classes]).unwrap();
                let mut trainer = HeadTrainer::new(head, OPTIONS);
                for _ in 0..3 {
                    trainer.step(&vectors, &labels);
                }
                trainer.into_head()
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(4));
    }
}
