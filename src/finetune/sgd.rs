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
///
/// Its classes are divided into parts that several threads work on; how many parts there are
/// depends on the sizes alone, never on the threads.
pub struct HeadTrainer {
    channels: usize,
    options: SgdOptions,
    parts: Vec<ClassPart>,
    /// Of each row of a batch: the largest logit of each part, then what its exponentials are
    /// multiplied by.
    scales: Vec<f32>,
    losses: Vec<f32>,
}

/// Some neighbouring classes: their weights and their share of every matrix.
struct ClassPart {
    first_class: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    weight_momentum: Vec<f32>,
    bias_momentum: Vec<f32>,
    weight_gradient: Vec<f32>,
    bias_gradient: Vec<f32>,
    /// [batch, classes of the part]: logits, then their exponentials, then the loss's gradient.
    scores: Vec<f32>,
    /// Of each row: the largest logit and the sum of the exponentials.
    row_max: Vec<f32>,
    row_sum: Vec<f32>,
    /// Of each row whose class is in this part: the logit of that class.
    label_logit: Vec<f32>,
}

/// Multiply-adds of one matrix product that are worth a task of their own.
const TASK_MULTIPLY_ADDS: usize = 5 << 19;
/// Rows of a batch for which the number of parts is chosen; the paper's batch.
const USUAL_BATCH: usize = 128;

impl HeadTrainer {
    /// Starts from `head`.
    pub fn new(head: LinearHead, options: SgdOptions) -> Self {
        let (classes, channels) = (head.classes(), head.channels());
        let tasks = (USUAL_BATCH * classes * channels / TASK_MULTIPLY_ADDS).clamp(1, classes);
        let size = classes.div_ceil(1 << tasks.ilog2());
        let parts = head.weight.chunks(size * channels).zip(head.bias.chunks(size));
        let parts = parts.enumerate().map(|(part, (weight, bias))| ClassPart {
            first_class: part * size,
            weight_momentum: vec![0.0; weight.len()],
            bias_momentum: vec![0.0; bias.len()],
            weight_gradient: vec![0.0; weight.len()],
            bias_gradient: vec![0.0; bias.len()],
            weight: weight.to_vec(),
            bias: bias.to_vec(),
            scores: vec![],
            row_max: vec![],
            row_sum: vec![],
            label_logit: vec![],
        });
        Self { channels, options, parts: parts.collect(), scales: vec![], losses: vec![] }
    }

    /// One step on a batch: `vectors` [n, K] with their classes. Returns the mean cross-entropy
    /// before the update.
    ///
    /// # Determinism
    /// The result does not depend on the number of threads: the parts are fixed, and sums over
    /// them and over rows are taken in order.
    pub fn step(&mut self, vectors: &[f32], labels: &[u32]) -> f32 {
        let vectors = MatRef::from_row_major_slice(vectors, labels.len(), self.channels);
        let options = self.options;
        for_each(&mut self.parts, |_, part| part.forward(vectors, labels));
        let loss = self.combine(labels.len());
        let scales = &self.scales;
        let rows = labels.len();
        for_each(&mut self.parts, |index, part| {
            part.backward(vectors, labels, &scales[index * rows..][..rows]);
            part.update(options);
        });
        loss
    }

    /// Joins the parts' softmax: from each part's largest logits and sums to the factor of its
    /// exponentials in (softmax / n). Returns the mean loss.
    fn combine(&mut self, rows: usize) -> f32 {
        let share = 1.0 / rows as f32;
        self.scales.resize(rows * self.parts.len(), 0.0);
        self.losses.resize(rows, 0.0);
        for row in 0..rows {
            let max = self.parts.iter().map(|p| p.row_max[row]).fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 =
                self.parts.iter().map(|p| p.row_sum[row] * (p.row_max[row] - max).exp()).sum();
            for (index, part) in self.parts.iter().enumerate() {
                self.scales[index * rows + row] = (part.row_max[row] - max).exp() * share / sum;
            }
            let label: f32 = self.parts.iter().map(|p| p.label_logit[row]).sum();
            self.losses[row] = sum.ln() + max - label;
        }
        self.losses.iter().sum::<f32>() * share
    }

    /// The classifier as it is now.
    pub fn into_head(self) -> LinearHead {
        let weight = self.parts.iter().flat_map(|p| &p.weight).copied().collect();
        let bias = self.parts.iter().flat_map(|p| &p.bias).copied().collect();
        LinearHead::new(weight, bias).expect("the parts make up the classifier they were made of")
    }
}

/// Applies `work` to every part, in parallel where there are several.
fn for_each(parts: &mut [ClassPart], work: impl Fn(usize, &mut ClassPart) + Sync) {
    match parts {
        [one] => work(0, one),
        [first, second] => {
            rayon::join(|| work(0, first), || work(1, second));
        }
        many => many.par_iter_mut().enumerate().for_each(|(index, part)| work(index, part)),
    }
}

impl ClassPart {
    fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Logits of the part's classes, and their exponentials relative to the largest of a row.
    fn forward(&mut self, vectors: MatRef<'_, f32>, labels: &[u32]) {
        let (rows, classes) = (labels.len(), self.classes());
        self.scores.clear();
        (0..rows).for_each(|_| self.scores.extend_from_slice(&self.bias));
        matmul(
            MatMut::from_row_major_slice_mut(&mut self.scores, rows, classes),
            Accum::Add,
            vectors,
            MatRef::from_row_major_slice(&self.weight, classes, vectors.ncols()).transpose(),
            1.0,
            Par::Seq,
        );
        for sums in [&mut self.row_max, &mut self.row_sum, &mut self.label_logit] {
            sums.resize(rows, 0.0);
        }
        for (row, (scores, &label)) in self.scores.chunks_exact_mut(classes).zip(labels).enumerate()
        {
            let own = (label as usize).checked_sub(self.first_class).filter(|&c| c < classes);
            self.label_logit[row] = own.map_or(0.0, |class| scores[class]);
            (self.row_max[row], self.row_sum[row]) = exponentials(scores);
        }
    }

    /// The gradient of the part's weights; `scales` turn exponentials into softmax / n.
    fn backward(&mut self, vectors: MatRef<'_, f32>, labels: &[u32], scales: &[f32]) {
        let (rows, classes) = (labels.len(), self.classes());
        let share = 1.0 / rows as f32;
        self.bias_gradient.fill(0.0);
        let scores = self.scores.chunks_exact_mut(classes);
        for ((scores, &label), scale) in scores.zip(labels).zip(scales) {
            scores.iter_mut().for_each(|score| *score *= scale);
            if let Some(class) = (label as usize).checked_sub(self.first_class)
                && class < classes
            {
                scores[class] -= share;
            }
            self.bias_gradient.iter_mut().zip(&*scores).for_each(|(sum, d)| *sum += d);
        }
        matmul(
            MatMut::from_row_major_slice_mut(&mut self.weight_gradient, classes, vectors.ncols()),
            Accum::Replace,
            MatRef::from_row_major_slice(&self.scores, rows, classes).transpose(),
            vectors,
            1.0,
            Par::Seq,
        );
    }

    fn update(&mut self, options: SgdOptions) {
        sgd(&mut self.weight, &mut self.weight_momentum, &self.weight_gradient, options);
        sgd(&mut self.bias, &mut self.bias_momentum, &self.bias_gradient, options);
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

/// Replaces a row of logits by their exponentials relative to the largest; returns that and
/// their sum.
fn exponentials(row: &mut [f32]) -> (f32, f32) {
    struct Exponentials<'a>(&'a mut [f32]);
    impl pulp::WithSimd for Exponentials<'_> {
        type Output = (f32, f32);

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> (f32, f32) {
            let max = self.0.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            self.0.iter_mut().for_each(|value| *value = exp(*value - max));
            (max, self.0.iter().sum())
        }
    }
    pulp::Arch::new().dispatch(Exponentials(row))
}

/// e^x for x ≤ 0 within 2 units in the last place; 0 below the smallest normal number, NaN of NaN.
///
/// The usual reduction x = n ln 2 + r and a polynomial in r, without a branch, so that it runs on
/// vectors of numbers; the library's `exp` took a fifth of a step.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LARGEST_SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const SMALLEST: f32 = -87.0;
    let clamped = if x < SMALLEST { SMALLEST } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + LARGEST_SHIFT;
    let n = shifted - LARGEST_SHIFT;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    // Taylor's polynomial of e^r, |r| ≤ ln 2 / 2.
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + coefficient;
    }
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < SMALLEST { 0.0 } else { scaled }
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
    fn the_update_follows_the_gradient_of_the_loss() {
        // One class part and several must both step along the numeric gradient.
        let (classes, channels) = (3, 2);
        let weight = vec![0.3, -0.2, 0.1, 0.5, -0.4, 0.2];
        let (vectors, labels) = ([1.0, 2.0, -0.5, 0.25], [1, 2]);
        let loss = |weight: &[f32]| {
            let head = LinearHead::new(weight.to_vec(), vec![0.1, 0.0, -0.1]).unwrap();
            HeadTrainer::new(head, OPTIONS).step(&vectors, &labels)
        };
        let head = LinearHead::new(weight.clone(), vec![0.1, 0.0, -0.1]).unwrap();
        let mut trainer = HeadTrainer::new(head, OPTIONS);
        trainer.step(&vectors, &labels);
        let after = trainer.into_head().weight;
        for i in 0..classes * channels {
            let h = 1e-2;
            let (mut up, mut down) = (weight.clone(), weight.clone());
            up[i] += h;
            down[i] -= h;
            let gradient = (loss(&up) - loss(&down)) / (2.0 * h);
            let step = (weight[i] - after[i]) / OPTIONS.learning_rate;
            assert!((gradient - step).abs() < 1e-3, "{i}: {gradient} {step}");
        }
    }

    #[test]
    fn class_parts_change_nothing_but_rounding() {
        use crate::rng::{KeyedRng, Stage};
        let (rows, channels, classes) = (128, 512, 100);
        let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
        let mut values = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
        let (vectors, weight) = (values(rows * channels), values(classes * channels));
        let labels: Vec<u32> = (0..rows as u32).map(|i| i % classes as u32).collect();
        let head = LinearHead::new(weight, vec![0.0; classes]).unwrap();
        let mut trainer = HeadTrainer::new(head.clone(), OPTIONS);
        assert!(trainer.parts.len() > 1);
        let loss = trainer.step(&vectors, &labels);

        // The same step in f64, written out.
        let (mut wanted_loss, mut gradient) = (0.0f64, vec![0.0f64; classes * channels]);
        for (x, &label) in vectors.chunks(channels).zip(&labels) {
            let dot = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            let logits: Vec<f64> = head.weight.chunks(channels).map(dot).collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
            wanted_loss += (sum.ln() + max - logits[label as usize]) / rows as f64;
            for (c, l) in logits.iter().enumerate() {
                let d = (l - max).exp() / sum - f64::from(u8::from(c == label as usize));
                for (k, x) in x.iter().enumerate() {
                    gradient[c * channels + k] += d * f64::from(*x) / rows as f64;
                }
            }
        }
        assert!((f64::from(loss) - wanted_loss).abs() < 1e-3, "{loss} {wanted_loss}");
        let after = trainer.into_head().weight;
        for ((before, after), g) in head.weight.iter().zip(&after).zip(&gradient) {
            let wanted = f64::from(*before) - f64::from(OPTIONS.learning_rate) * g;
            assert!((f64::from(*after) - wanted).abs() < 1e-5, "{after} {wanted}");
        }
    }

    #[test]
    fn the_exponential_is_close_and_defined_everywhere() {
        for i in 0..100_000 {
            let x = -(i as f32) * 0.00087;
            let (found, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found - wanted).abs() <= 3e-7 * wanted, "{x}: {found} {wanted}");
        }
        assert_eq!((exp(0.0), exp(-200.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn a_large_step_is_the_same_at_any_thread_count() {
        use crate::rng::{KeyedRng, Stage};
        let (rows, channels, classes) = (64, 512, 1100);
        let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
        let mut values = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
        let (vectors, weight) = (values(rows * channels), values(classes * channels));
        let labels: Vec<u32> = (0..rows as u32).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let head = LinearHead::new(weight.clone(), vec![0.0; classes]).unwrap();
                let mut trainer = HeadTrainer::new(head, OPTIONS);
                assert!(trainer.parts.len() > 4);
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
