//! Training of a linear classifier on pooled vectors: SGD with momentum, everything else frozen.

mod class_part;
mod simd;

use faer::MatRef;
use rayon::prelude::*;

use crate::classifier::{in_pool, length};
use crate::config::{FinetuneConfig, RateSchedule};
use crate::domain::{ClassCounts, LinearHead};
use crate::methods::Settings;

pub use crate::methods::{Form, Objective};
use class_part::{BatchRows, ClassPart, RowGradients};

/// Constants of SGD.
#[derive(Debug, Clone, Copy)]
pub struct SgdOptions {
    /// At the start.
    pub learning_rate: f32,
    /// PyTorch's form: v ← m v + g, w ← w − lr v.
    pub momentum: f32,
    /// g ← g + decay · w, for weight and bias.
    pub weight_decay: f32,
}

/// Learning rate of weights beside learnt factors, relative to theirs (MiSLAS's `lr_factor`).
const SCALED_WEIGHT_RATE: f32 = 0.5;

/// All that decides how a classifier is trained on given batches.
#[derive(Debug, Clone)]
pub struct TrainerOptions {
    /// How logits are made.
    pub form: Form,
    /// What is minimised.
    pub objective: Objective,
    /// Constants of SGD.
    pub sgd: SgdOptions,
    /// How the learning rate runs.
    pub schedule: RateSchedule,
    /// Steps of the run, for the schedule.
    pub iterations: usize,
    /// Bound of the norm of each class's weights, as a place between the smallest (0) and the largest
    /// (1) at the start (Alshammari et al., CVPR 2022: projected gradient descent); 0 for none.
    pub max_norm: f32,
}

impl TrainerOptions {
    /// The options that settings stand for.
    pub fn new(config: &FinetuneConfig, counts: &ClassCounts) -> Self {
        let form = match config.method.trained() {
            _ if config.loss.cosine => Form::Cosine { scale: config.cosine_scale },
            Some(trained) => trained.form,
            None => Form::Linear,
        };
        Self {
            form,
            objective: (config.loss.objective)(counts, &Settings::of(config)),
            sgd: SgdOptions {
                learning_rate: config.learning_rate,
                momentum: config.momentum,
                weight_decay: config.weight_decay,
            },
            schedule: config.schedule,
            iterations: config.iterations,
            max_norm: config.max_norm,
        }
    }
}

/// Some samples to train on.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// [n, K].
    pub vectors: &'a [f32],
    /// `[n]`.
    pub labels: &'a [u32],
    /// `[n]`, what each row's loss counts; empty for 1 each.
    pub weights: &'a [f32],
}

/// What a step saw, before its update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Weighted mean loss.
    pub loss: f32,
    /// Rows whose largest training logit is that of their class.
    pub correct: usize,
}

/// A classifier in training.
///
/// Its classes are divided into parts that several threads work on; how many parts there are
/// depends on the sizes alone, never on the threads.
pub struct HeadTrainer {
    channels: usize,
    options: TrainerOptions,
    norm_bound: Option<f32>,
    iteration: usize,
    parts: Vec<ClassPart>,
    rows: RowGradients,
    losses: Vec<f32>,
    row_weights: Vec<f32>,
}

/// Multiply-adds of one matrix product that are worth a task of their own.
const TASK_MULTIPLY_ADDS: usize = 5 << 19;
/// More parts than this would each pack the batch's vectors again for too little work.
const MOST_TASKS: usize = 128;
/// Rows of a batch for which the number of parts is chosen; the paper's batch.
const USUAL_BATCH: usize = 128;

impl HeadTrainer {
    /// Starts from `head`.
    pub fn new(head: &LinearHead, options: TrainerOptions) -> Self {
        let (classes, channels) = (head.classes(), head.channels());
        let tasks = USUAL_BATCH * classes * channels / TASK_MULTIPLY_ADDS;
        let tasks = tasks.clamp(1, MOST_TASKS.min(classes));
        let size = classes.div_ceil(1 << tasks.ilog2());
        let parts = head.weight.chunks(size * channels).zip(head.bias.chunks(size));
        let parts = parts.enumerate().map(|(part, (weight, bias))| {
            ClassPart::new(part * size, weight, bias, options.form, options.sgd.weight_decay)
        });
        let norms = head.weight.chunks(channels).map(length);
        let (min, max) = norms.fold((f32::INFINITY, 0f32), |(a, b), n| (a.min(n), b.max(n)));
        let norm_bound = (options.max_norm > 0.0).then_some(min + options.max_norm * (max - min));
        Self {
            channels,
            norm_bound,
            parts: parts.collect(),
            options,
            iteration: 0,
            rows: RowGradients::default(),
            losses: vec![],
            row_weights: vec![],
        }
    }

    /// One step on a batch.
    ///
    /// # Determinism
    /// The result does not depend on the number of threads: the parts are fixed, and sums over
    /// them and over rows are taken in order.
    pub fn step(&mut self, batch: Batch<'_>) -> Step {
        self.start(batch);
        self.finish(batch, None)
    }

    /// The first half of a step: the logits of a batch.
    pub fn start(&mut self, batch: Batch<'_>) {
        let rows = self.rows_of(batch);
        let (form, objective) = (self.options.form, &self.options.objective);
        for_each(&mut self.parts, |_, part| part.forward(rows, form, objective));
    }

    /// The second half of the step on the batch that was started last, and the first half of the
    /// next: a part's weights are updated and used again while they are in the processor's cache,
    /// and threads wait for each other once a step.
    pub fn finish(&mut self, batch: Batch<'_>, next: Option<Batch<'_>>) -> Step {
        let step = self.combine(batch);
        let rows = self.rows_of(batch);
        let next = next.map(|next| self.rows_of(next));
        let (form, objective) = (self.options.form, &self.options.objective);
        let sgd = SgdOptions { learning_rate: self.learning_rate(), ..self.options.sgd };
        let (gradients, norm_bound) = (&self.rows, self.norm_bound);
        for_each(&mut self.parts, |index, part| {
            part.backward(rows, form, index, gradients);
            part.update(form, sgd, norm_bound);
            if let Some(next) = next {
                part.forward(next, form, objective);
            }
        });
        self.iteration += 1;
        step
    }

    fn rows_of<'b>(&self, batch: Batch<'b>) -> BatchRows<'b> {
        let labels = batch.labels;
        let vectors = MatRef::from_row_major_slice(batch.vectors, labels.len(), self.channels);
        BatchRows { vectors, labels }
    }

    /// The learning rate of the next step.
    fn learning_rate(&self) -> f32 {
        let start = self.options.sgd.learning_rate;
        match self.options.schedule {
            RateSchedule::Fixed => start,
            RateSchedule::Cosine => {
                let done = self.iteration as f64 / self.options.iterations.max(1) as f64;
                (f64::from(start) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())) as f32
            }
        }
    }

    /// Joins the parts' softmax: from each part's largest logits and sums to the factors that make
    /// exponentials the gradient of the mean loss.
    fn combine(&mut self, batch: Batch<'_>) -> Step {
        let (labels, rows) = (batch.labels, batch.labels.len());
        let objective = &self.options.objective;
        let row_weight = |row: usize| {
            let of_row = batch.weights.get(row).copied().unwrap_or(1.0);
            of_row * objective.weight(labels[row], self.iteration)
        };
        self.row_weights.clear();
        self.row_weights.extend((0..rows).map(row_weight));
        let share = 1.0 / self.row_weights.iter().sum::<f32>();
        let classes: usize = self.parts.iter().map(|part| part.bias.len()).sum();
        self.rows.scales.resize(rows * self.parts.len(), 0.0);
        self.rows.label_share.resize(rows, 0.0);
        self.rows.uniform.resize(rows, 0.0);
        self.losses.resize(rows, 0.0);
        let mut correct = 0;
        for (row, &class) in labels.iter().enumerate() {
            let max = self.parts.iter().map(|p| p.row_max[row]).fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 =
                self.parts.iter().map(|p| p.row_sum[row] * (p.row_max[row] - max).exp()).sum();
            let label: f32 = self.parts.iter().map(|p| p.label_logit[row]).sum();
            let total: f32 = self.parts.iter().map(|p| p.row_total[row]).sum();
            let log_sum = sum.ln() + max;
            let terms = objective.row(class, label - log_sum, log_sum - total / classes as f32);
            let factor = terms.factor * self.row_weights[row] * share;
            for (index, part) in self.parts.iter().enumerate() {
                self.rows.scales[index * rows + row] =
                    (part.row_max[row] - max).exp() * factor / sum;
            }
            self.rows.label_share[row] = factor * (1.0 - terms.smoothing);
            self.rows.uniform[row] = factor * terms.smoothing / classes as f32;
            self.losses[row] = terms.loss * self.row_weights[row];
            correct += usize::from(label >= max);
        }
        Step { loss: self.losses.iter().sum::<f32>() * share, correct }
    }

    /// The classifier as it is now.
    pub fn head(&self) -> LinearHead {
        let values = |of: &dyn Fn(&ClassPart) -> usize| self.parts.iter().map(of).sum();
        let mut weight = Vec::with_capacity(values(&|part| part.weight.len()));
        let mut bias = Vec::with_capacity(values(&|part| part.bias.len()));
        for part in &self.parts {
            part.append_to(self.options.form, &mut weight, &mut bias);
        }
        LinearHead::new(weight, bias).expect("the parts make up the classifier they were made of")
    }
}

/// Applies `work` to every part, in parallel where there are several.
fn for_each(parts: &mut [ClassPart], work: impl Fn(usize, &mut ClassPart) + Sync) {
    match parts {
        [one] => in_pool(|| work(0, one)),
        [first, second] => {
            rayon::join(|| work(0, first), || work(1, second));
        }
        many => many.par_iter_mut().enumerate().for_each(|(index, part)| work(index, part)),
    }
}

#[cfg(test)]
mod tests;
