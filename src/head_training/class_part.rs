//! Some neighbouring classes of a classifier in training: their weights and their share of every
//! matrix.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::simd::{descend, exponentials};
use super::{Form, Objective, SgdOptions};
use crate::classifier::{SHORTEST, length};

/// What the rows of a batch have in common for all parts.
#[derive(Clone, Copy)]
pub(super) struct BatchRows<'a> {
    pub(super) vectors: MatRef<'a, f32>,
    pub(super) labels: &'a [u32],
}

/// What the joined softmax says of each row.
#[derive(Default)]
pub(super) struct RowGradients {
    /// What a row's exponentials are multiplied by, part after part.
    pub(super) scales: Vec<f32>,
    /// What is taken off at the true class.
    pub(super) label_share: Vec<f32>,
    /// What is taken off at every class.
    pub(super) uniform: Vec<f32>,
}

pub(super) struct ClassPart {
    pub(super) first_class: usize,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    /// One factor a class, for [`Form::Scaled`].
    pub(super) factors: Vec<f32>,
    /// What the next gradient is added to: momentum · v + decay · w (see [`descend`]).
    weight_momentum: Vec<f32>,
    bias_momentum: Vec<f32>,
    factor_momentum: Vec<f32>,
    /// For [`Form::Cosine`]: the gradient with respect to the directions.
    direction_gradient: Vec<f32>,
    /// For [`Form::Cosine`]: the weights at the length of the scale.
    directions: Vec<f32>,
    /// For [`Form::Scaled`]: logits before the factors.
    unscaled: Vec<f32>,
    /// [batch, classes of the part]: logits, then their exponentials, then the loss's gradient.
    scores: Vec<f32>,
    /// Of each row: the largest logit, the sum of the exponentials and the sum of the logits.
    pub(super) row_max: Vec<f32>,
    pub(super) row_sum: Vec<f32>,
    pub(super) row_total: Vec<f32>,
    /// Of each row whose class is in this part: the logit of that class.
    pub(super) label_logit: Vec<f32>,
}

impl ClassPart {
    pub(super) fn new(
        first_class: usize,
        weight: &[f32],
        bias: &[f32],
        form: Form,
        weight_decay: f32,
    ) -> Self {
        let factors = if matches!(form, Form::Scaled { .. }) { bias.len() } else { 0 };
        let cosine = if matches!(form, Form::Cosine { .. }) { weight.len() } else { 0 };
        let decayed = |values: &[f32]| values.iter().map(|v| weight_decay * v).collect();
        Self {
            first_class,
            weight_momentum: decayed(weight),
            bias_momentum: decayed(bias),
            factor_momentum: vec![weight_decay; factors],
            direction_gradient: vec![0.0; cosine],
            weight: weight.to_vec(),
            bias: bias.to_vec(),
            factors: vec![1.0; factors],
            directions: vec![],
            unscaled: vec![],
            scores: vec![],
            row_max: vec![],
            row_sum: vec![],
            row_total: vec![],
            label_logit: vec![],
        }
    }

    fn classes(&self) -> usize {
        self.bias.len()
    }

    /// The label as a class of this part, if it is one.
    fn own(&self, label: u32) -> Option<usize> {
        (label as usize).checked_sub(self.first_class).filter(|&class| class < self.classes())
    }

    /// Logits of the part's classes, and their exponentials relative to the largest of a row.
    pub(super) fn forward(&mut self, batch: BatchRows<'_>, form: Form, objective: &Objective) {
        let (rows, classes) = (batch.labels.len(), self.classes());
        let offsets = objective.offsets.get(self.first_class..self.first_class + classes);
        self.scores.clear();
        if matches!(form, Form::Linear) && offsets.is_none() {
            (0..rows).for_each(|_| self.scores.extend_from_slice(&self.bias));
        } else {
            let start: Vec<f32> = match (form, offsets) {
                (Form::Cosine { .. }, offsets) => offsets.map_or(vec![0.0; classes], Vec::from),
                (Form::Linear, Some(offsets)) => {
                    self.bias.iter().zip(offsets).map(|(b, o)| b + o).collect()
                }
                _ => self.bias.clone(),
            };
            (0..rows).for_each(|_| self.scores.extend_from_slice(&start));
        }
        if let Form::Cosine { scale } = form {
            self.point(batch.vectors.ncols(), scale);
        }
        let weight = if self.directions.is_empty() { &self.weight } else { &self.directions };
        matmul(
            MatMut::from_row_major_slice_mut(&mut self.scores, rows, classes),
            Accum::Add,
            batch.vectors,
            MatRef::from_row_major_slice(weight, classes, batch.vectors.ncols()).transpose(),
            1.0,
            Par::Seq,
        );
        if matches!(form, Form::Scaled { .. }) {
            self.unscaled.clone_from(&self.scores);
            for scores in self.scores.chunks_exact_mut(classes) {
                scores.iter_mut().zip(&self.factors).for_each(|(score, factor)| *score *= factor);
                for (score, offset) in scores.iter_mut().zip(offsets.unwrap_or_default()) {
                    *score += offset;
                }
            }
        }
        self.softmax(batch.labels, objective);
    }

    fn softmax(&mut self, labels: &[u32], objective: &Objective) {
        let (rows, classes) = (labels.len(), self.classes());
        for sums in
            [&mut self.row_max, &mut self.row_sum, &mut self.row_total, &mut self.label_logit]
        {
            sums.resize(rows, 0.0);
        }
        for (row, &label) in labels.iter().enumerate() {
            let own = self.own(label);
            let scores = &mut self.scores[row * classes..][..classes];
            if let (Some(class), Some(margin)) = (own, objective.margins.get(label as usize)) {
                scores[class] -= margin;
            }
            if objective.is_smoothed() {
                self.row_total[row] = scores.iter().sum();
            }
            self.label_logit[row] = own.map_or(0.0, |class| scores[class]);
            (self.row_max[row], self.row_sum[row]) = exponentials(scores);
        }
    }

    /// Adds the gradient of the part's parameters to their momentum.
    pub(super) fn backward(
        &mut self,
        batch: BatchRows<'_>,
        form: Form,
        part: usize,
        rows: &RowGradients,
    ) {
        let classes = self.classes();
        let scales = &rows.scales[part * batch.labels.len()..];
        for (row, &label) in batch.labels.iter().enumerate() {
            let own = self.own(label);
            let scores = &mut self.scores[row * classes..][..classes];
            let (scale, uniform) = (scales[row], rows.uniform[row]);
            if uniform == 0.0 {
                scores.iter_mut().for_each(|score| *score *= scale);
            } else {
                scores.iter_mut().for_each(|score| *score = *score * scale - uniform);
            }
            if let Some(class) = own {
                scores[class] -= rows.label_share[row];
            }
            if form == Form::Linear {
                self.bias_momentum.iter_mut().zip(&*scores).for_each(|(sum, d)| *sum += d);
            }
        }
        if let Form::Scaled { learn_weight } = form {
            self.factor_backward(classes);
            if !learn_weight {
                return;
            }
        }
        let (gradient, accumulate) = match form {
            Form::Cosine { .. } => (&mut self.direction_gradient, Accum::Replace),
            _ => (&mut self.weight_momentum, Accum::Add),
        };
        matmul(
            MatMut::from_row_major_slice_mut(gradient, classes, batch.vectors.ncols()),
            accumulate,
            MatRef::from_row_major_slice(&self.scores, batch.labels.len(), classes).transpose(),
            batch.vectors,
            1.0,
            Par::Seq,
        );
        if let Form::Cosine { scale } = form {
            self.turn(batch.vectors.ncols(), scale);
        }
    }

    /// Gradients of the factors; the scores become the gradient with respect to unscaled logits.
    fn factor_backward(&mut self, classes: usize) {
        let rows = self.scores.chunks_exact_mut(classes).zip(self.unscaled.chunks_exact(classes));
        for (scores, unscaled) in rows {
            for class in 0..classes {
                self.factor_momentum[class] += scores[class] * unscaled[class];
                scores[class] *= self.factors[class];
                self.bias_momentum[class] += scores[class];
            }
        }
    }

    /// The rest of a step of SGD; classes whose weights are longer than `norm_bound` are then shortened to it.
    pub(super) fn update(&mut self, form: Form, options: SgdOptions, norm_bound: Option<f32>) {
        let mut of_weights = options;
        if let Form::Scaled { learn_weight } = form {
            descend(&mut self.factors, &mut self.factor_momentum, options);
            if !learn_weight {
                return;
            }
            of_weights.learning_rate *= super::SCALED_WEIGHT_RATE;
        }
        if !matches!(form, Form::Cosine { .. }) {
            descend(&mut self.bias, &mut self.bias_momentum, of_weights);
        }
        let Some(bound) = norm_bound else {
            return descend(&mut self.weight, &mut self.weight_momentum, of_weights);
        };
        let channels = self.weight.len() / self.bias.len();
        let rows = self.weight.chunks_exact_mut(channels);
        for (weight, momentum) in rows.zip(self.weight_momentum.chunks_exact_mut(channels)) {
            // Decay is of the bounded weights, so it comes after the bound.
            descend(weight, momentum, SgdOptions { weight_decay: 0.0, ..of_weights });
            let norm = length(weight);
            if norm > bound {
                weight.iter_mut().for_each(|w| *w *= bound / norm);
            }
            momentum.iter_mut().zip(&*weight).for_each(|(v, w)| *v += of_weights.weight_decay * w);
        }
    }

    /// Sets the directions: weights at length `scale`.
    fn point(&mut self, channels: usize, scale: f32) {
        self.directions.resize(self.weight.len(), 0.0);
        let rows = self.weight.chunks_exact(channels);
        for (weight, direction) in rows.zip(self.directions.chunks_exact_mut(channels)) {
            let factor = scale / length(weight).max(SHORTEST);
            direction.iter_mut().zip(weight).for_each(|(d, w)| *d = w * factor);
        }
    }

    /// Adds to the momentum the gradient of the weights, from that of the directions:
    /// (g − (g · ŵ) ŵ) scale / ‖w‖.
    fn turn(&mut self, channels: usize, scale: f32) {
        let weights = self.weight.chunks_exact(channels);
        let gradients = self.direction_gradient.chunks_exact(channels);
        let momenta = self.weight_momentum.chunks_exact_mut(channels);
        for ((weight, gradient), momentum) in weights.zip(gradients).zip(momenta) {
            let norm = length(weight).max(SHORTEST);
            let along: f32 = weight.iter().zip(gradient).map(|(w, g)| w * g).sum();
            let along = along / (norm * norm);
            for ((v, g), w) in momentum.iter_mut().zip(gradient).zip(weight) {
                *v += (g - along * w) * (scale / norm);
            }
        }
    }

    /// Appends the weights and biases of the classifier that the part stands for.
    pub(super) fn append_to(&self, form: Form, weight: &mut Vec<f32>, bias: &mut Vec<f32>) {
        let channels = self.weight.len() / self.bias.len();
        let rows = self.weight.chunks_exact(channels);
        match form {
            Form::Linear => {
                weight.extend_from_slice(&self.weight);
                bias.extend_from_slice(&self.bias);
            }
            Form::Cosine { scale } => {
                for row in rows {
                    let factor = scale / length(row).max(SHORTEST);
                    weight.extend(row.iter().map(|w| w * factor));
                }
                bias.resize(bias.len() + self.bias.len(), 0.0);
            }
            Form::Scaled { .. } => {
                for (row, factor) in rows.zip(&self.factors) {
                    weight.extend(row.iter().map(|w| w * factor));
                }
                bias.extend(self.bias.iter().zip(&self.factors).map(|(b, f)| b * f));
            }
        }
    }
}
