//! What training minimises, as the numbers of a loss for a row of logits.
//!
//! Every loss here has the gradient A (softmax − target) with respect to the logits it sees, so a loss
//! is what it adds to logits before the softmax, the row's factor A and the row's target.

use crate::config::{FinetuneConfig, Loss};
use crate::domain::ClassCounts;

/// A loss with its constants for each class.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// [C], added to the logits in training; empty for none.
    pub(super) offsets: Vec<f32>,
    /// [C], taken off the logit of the true class; empty for none.
    pub(super) margins: Vec<f32>,
    /// [C], weight of a sample of the class; empty for 1.
    weights: Vec<f32>,
    /// Iteration from which samples are weighted.
    weights_from: usize,
    /// γ of the focal loss; 0 for none.
    focal_gamma: f32,
    /// [C], the share of the target that is spread over all classes; empty for none.
    pub(super) smoothing: Vec<f32>,
}

/// What a row of logits comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RowTerms {
    pub(super) loss: f32,
    /// A, what the gradient is multiplied by.
    pub(super) factor: f32,
    /// Share of the target spread over all classes.
    pub(super) smoothing: f32,
}

impl Objective {
    /// Softmax cross-entropy.
    pub fn cross_entropy() -> Self {
        Self {
            offsets: vec![],
            margins: vec![],
            weights: vec![],
            weights_from: 0,
            focal_gamma: 0.0,
            smoothing: vec![],
        }
    }

    /// The loss of `config` for classes with `counts` training images.
    ///
    /// With n the images of a class and π its share of all:
    /// - balanced softmax: cross-entropy of logits + ln n (Ren et al., Eq. 4);
    /// - logit-adjusted: cross-entropy of logits + τ ln π (Menon et al., Eq. 10);
    /// - focal: (1 − p)^γ times cross-entropy, p the softmax of the true class (Lin et al., Eq. 4);
    /// - class-balanced: cross-entropy weighted by (1 − β) / (1 − β^n), the weights scaled to sum to C
    ///   (Cui et al., Eq. 9), a batch's mean being weighted too, as `torch.nn.functional.cross_entropy`
    ///   does;
    /// - LDAM: the true class's cosine less a margin proportional to n^(−1/4), the largest being
    ///   `ldam_margin`, times `cosine_scale` (Cao et al., Eq. 13); DRW adds class-balanced weights from
    ///   `drw_start` on (Alg. 1);
    /// - label-aware smoothing: the target gives up a share that rises from the smallest to the
    ///   largest class as a quarter of a sine wave (Zhong et al., Eq. 3 to 5, the concave form).
    pub fn new(config: &FinetuneConfig, counts: &ClassCounts) -> Self {
        let images: Vec<f64> = counts.0.iter().map(|&n| n.max(1) as f64).collect();
        let total: f64 = images.iter().sum();
        let each = |of: &dyn Fn(f64) -> f64| images.iter().map(|&n| of(n) as f32).collect();
        let plain = Self::cross_entropy();
        match config.loss {
            Loss::CrossEntropy => plain,
            Loss::BalancedSoftmax => Self { offsets: each(&|n| n.ln()), ..plain },
            Loss::LogitAdjusted => {
                let tau = f64::from(config.tau);
                Self { offsets: each(&|n| tau * (n / total).ln()), ..plain }
            }
            Loss::Focal => Self { focal_gamma: config.focal_gamma, ..plain },
            Loss::ClassBalanced => {
                Self { weights: counts.effective_weights(config.class_balance_beta), ..plain }
            }
            Loss::Ldam | Loss::LdamDrw => {
                let smallest = images.iter().copied().fold(f64::INFINITY, f64::min);
                let largest = f64::from(config.ldam_margin * config.cosine_scale);
                let margins = each(&|n| largest * (smallest / n).powf(0.25));
                let weights = match config.loss {
                    Loss::LdamDrw => counts.effective_weights(config.class_balance_beta),
                    _ => vec![],
                };
                let weights_from = (config.drw_start * config.iterations as f64).round() as usize;
                Self { margins, weights, weights_from, ..plain }
            }
            Loss::LabelAwareSmoothing => {
                let (min, max) = images
                    .iter()
                    .fold((f64::INFINITY, 0f64), |(low, high), &n| (low.min(n), high.max(n)));
                let [head, tail] = config.smoothing.map(f64::from);
                let place = |n: f64| if max > min { (n - min) / (max - min) } else { 0.0 };
                let share =
                    |n: f64| tail + (head - tail) * (place(n) * std::f64::consts::FRAC_PI_2).sin();
                Self { smoothing: each(&share), ..plain }
            }
        }
    }

    /// Weight of a sample of `class` in iteration `iteration`.
    pub(super) fn weight(&self, class: u32, iteration: usize) -> f32 {
        match self.weights.get(class as usize) {
            Some(&weight) if iteration >= self.weights_from => weight,
            _ => 1.0,
        }
    }

    /// Loss and factor of a row whose true class has the log-probability `log_p`; `mean_gap` is
    /// the mean over all classes of −log p, and is used by smoothing only.
    pub(super) fn row(&self, class: u32, log_p: f32, mean_gap: f32) -> RowTerms {
        if self.focal_gamma > 0.0 {
            let gamma = self.focal_gamma;
            let (p, rest) = (log_p.exp(), -log_p.exp_m1());
            if rest <= 0.0 {
                return RowTerms { loss: 0.0, factor: 0.0, smoothing: 0.0 };
            }
            let power = rest.powf(gamma);
            let factor = power - gamma * p * log_p * rest.powf(gamma - 1.0);
            return RowTerms { loss: -power * log_p, factor, smoothing: 0.0 };
        }
        let smoothing = self.smoothing.get(class as usize).copied().unwrap_or(0.0);
        let loss = -log_p * (1.0 - smoothing) + smoothing * mean_gap;
        RowTerms { loss, factor: 1.0, smoothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Method;

    fn objective(loss: Loss, counts: &[u64]) -> Objective {
        let config = FinetuneConfig { loss, ..FinetuneConfig::for_method(Method::Fsa) };
        Objective::new(&config, &ClassCounts(counts.to_vec()))
    }

    fn close(found: &[f32], wanted: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(
            found.len() == wanted.len() && found.iter().zip(wanted).all(near),
            "{found:?} {wanted:?}"
        );
    }

    #[test]
    fn two_classes_by_hand() {
        close(&objective(Loss::BalancedSoftmax, &[3, 1]).offsets, &[3f32.ln(), 0.0]);
        close(&objective(Loss::LogitAdjusted, &[3, 1]).offsets, &[0.75f32.ln(), 0.25f32.ln()]);
        // 16 times the images: half the margin; the smallest class has 0.5 of a cosine, times 30.
        close(&objective(Loss::Ldam, &[16, 1]).margins, &[7.5, 15.0]);
        close(&objective(Loss::LabelAwareSmoothing, &[100, 20]).smoothing, &[0.3, 0.0]);
        close(&objective(Loss::LabelAwareSmoothing, &[7, 7]).smoothing, &[0.0, 0.0]);
    }

    #[test]
    fn drw_weights_come_late() {
        let late = objective(Loss::LdamDrw, &[100, 1]);
        assert_eq!(late.weight(1, 5119), 1.0);
        assert!(late.weight(1, 5120) > 1.9);
        assert_eq!(objective(Loss::Ldam, &[100, 1]).weight(1, 6000), 1.0);
    }

    #[test]
    fn focal_factor_is_the_slope_of_its_loss() {
        let focal = objective(Loss::Focal, &[1, 1]);
        // p = 1/2: loss (1/2)^2 ln 2; factor 1/4 + 2 * 1/2 * ln 2 * 1/2.
        let row = focal.row(0, 0.5f32.ln(), 0.0);
        close(&[row.loss, row.factor], &[0.25 * 2f32.ln(), 0.25 + 0.5 * 2f32.ln()]);
        let sure = focal.row(0, 0.0, 0.0);
        assert_eq!((sure.loss, sure.factor), (0.0, 0.0));
    }
}
