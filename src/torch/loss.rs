//! The loss of a training step on libtorch tensors.

use fsa_bank::backbone::{Mixed, Objective};
use tch::{Device, Kind, Reduction, TchError, Tensor};

/// An objective with its constants on a device.
pub struct Loss {
    offsets: Option<Tensor>,
    weights: Option<Tensor>,
    focal_gamma: f64,
    label_smoothing: f64,
}

/// 1 − p is kept above this, for its power has no finite slope at 0.
const SMALLEST_REST: f64 = 1e-12;

impl Loss {
    /// The objective on `device`.
    pub fn new(objective: &Objective, device: Device) -> Result<Self, TchError> {
        let constants = |values: &[f32]| match values.is_empty() {
            true => Ok(None),
            false => Tensor::f_from_slice(values)?.f_to_device(device).map(Some),
        };
        Ok(Self {
            offsets: constants(&objective.offsets)?,
            weights: constants(&objective.weights)?,
            focal_gamma: objective.focal_gamma,
            label_smoothing: objective.label_smoothing,
        })
    }

    /// The mean loss of a batch: `logits` (n, C), `labels` (n).
    pub fn of(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        mixed: Option<&Mixed>,
    ) -> Result<Tensor, TchError> {
        let shifted = match &self.offsets {
            None => logits.shallow_clone(),
            Some(offsets) => logits.f_add(offsets)?,
        };
        let Some(mixed) = mixed else {
            return self.mean(&shifted, labels);
        };
        let others = Tensor::f_from_slice(&mixed.labels)?.f_to_device(labels.device())?;
        let (own, other) = (self.mean(&shifted, labels)?, self.mean(&shifted, &others)?);
        own.f_mul_scalar(mixed.share)?.f_add(&other.f_mul_scalar(1.0 - mixed.share)?)
    }

    /// The mean over the batch, weighted by the classes' weights.
    fn mean(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        if self.focal_gamma == 0.0 && (self.label_smoothing == 0.0 || self.weights.is_none()) {
            let (weights, smoothing) = (self.weights.as_ref(), self.label_smoothing);
            return logits.f_cross_entropy_loss(labels, weights, Reduction::Mean, -100, smoothing);
        }
        let log_p = logits.f_log_softmax(-1, Kind::Float)?;
        let own = log_p.f_gather(1, &labels.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?;
        let all = log_p.f_mean_dim([1i64].as_slice(), false, Kind::Float)?;
        let spread = all.f_mul_scalar(self.label_smoothing)?;
        let mut losses = own.f_mul_scalar(1.0 - self.label_smoothing)?.f_add(&spread)?.f_neg()?;
        if self.focal_gamma > 0.0 {
            let rest = own.f_expm1()?.f_neg()?.f_clamp_min(SMALLEST_REST)?;
            losses = losses.f_mul(&rest.f_pow_tensor_scalar(self.focal_gamma)?)?;
        }
        let Some(weights) = &self.weights else {
            return losses.f_mean(Kind::Float);
        };
        let weights = weights.f_index_select(0, labels)?;
        losses.f_mul(&weights)?.f_sum(Kind::Float)?.f_div(&weights.f_sum(Kind::Float)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [[f64; 3]; 2] = [[0.3, -1.2, 2.0], [1.5, 0.2, -0.4]];

    /// The definition of [`Objective`] in f64.
    fn by_definition(objective: &Objective, labels: [usize; 2]) -> f64 {
        let or = |values: &[f32], class: usize, usual: f64| {
            values.get(class).map_or(usual, |&v| f64::from(v))
        };
        let (mut sum, mut weights) = (0.0, 0.0);
        for (row, label) in LOGITS.iter().zip(labels) {
            let shifted: Vec<f64> =
                (0..3).map(|c| row[c] + or(&objective.offsets, c, 0.0)).collect();
            let log_sum = shifted.iter().map(|v| v.exp()).sum::<f64>().ln();
            let gap = |c: usize| log_sum - shifted[c];
            let s = objective.label_smoothing;
            let smoothed = (1.0 - s) * gap(label) + s * (gap(0) + gap(1) + gap(2)) / 3.0;
            let focal = (1.0 - (-gap(label)).exp()).powf(objective.focal_gamma);
            let weight = or(&objective.weights, label, 1.0);
            sum += weight * focal * smoothed;
            weights += weight;
        }
        sum / weights
    }

    #[test]
    fn losses_are_those_of_the_definition() {
        let (offsets, weights) = (vec![1.0, 0.5, -0.2], vec![0.2, 1.0, 1.8]);
        let (focal_gamma, label_smoothing) = (1.5, 0.1);
        let plain = Objective::default();
        let cases = [
            plain.clone(),
            Objective { label_smoothing, ..plain.clone() },
            Objective { offsets: offsets.clone(), ..plain.clone() },
            Objective { weights: weights.clone(), ..plain.clone() },
            Objective { focal_gamma, ..plain.clone() },
            // Class weights and smoothing: PyTorch weights the spread part by the other classes.
            Objective { weights: weights.clone(), label_smoothing, ..plain },
            Objective { offsets, weights, focal_gamma, label_smoothing, ..Objective::default() },
        ];
        let logits = Tensor::from_slice2(&LOGITS).to_kind(Kind::Float);
        for objective in cases {
            let loss = Loss::new(&objective, Device::Cpu).unwrap();
            let of = |labels: [i64; 2], mixed: Option<&Mixed>| {
                loss.of(&logits, &Tensor::from_slice(&labels), mixed).unwrap().double_value(&[])
            };
            let (own, other) =
                (by_definition(&objective, [2, 1]), by_definition(&objective, [0, 2]));
            assert!((of([2, 1], None) - own).abs() < 1e-5, "{objective:?}");
            let mixed = Mixed { partners: vec![1, 0], labels: vec![0, 2], share: 0.3 };
            let wanted = 0.3 * own + 0.7 * other;
            assert!((of([2, 1], Some(&mixed)) - wanted).abs() < 1e-5, "{objective:?}");
        }
    }

    #[test]
    fn a_certain_image_has_a_finite_gradient() {
        let objective = Objective { focal_gamma: 0.5, ..Objective::default() };
        let logits = Tensor::from_slice(&[200f32, 0.0]).view([1, 2]).set_requires_grad(true);
        let loss = Loss::new(&objective, Device::Cpu).unwrap();
        loss.of(&logits, &Tensor::from_slice(&[0i64]), None).unwrap().backward();
        assert!(logits.grad().isfinite().all().int64_value(&[]) == 1);
    }
}
