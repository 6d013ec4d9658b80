//! What training minimises, as the numbers of a loss for each class.
//!
//! Every loss here has the gradient A (softmax − target) with respect to the logits it sees, so a loss
//! is what it adds to logits before the softmax, the row's factor A and the row's target.

/// A loss with its constants for each class: for a sample of class y with logits z and log p = log softmax(z +
/// offsets − margin of y), the mean over the batch, weighted by `weights`, of
/// (1 − p_y)^γ · ((1 − s) · −log p_y + s · the mean over all classes of −log p).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Objective {
    /// `[C]`, added to the logits; empty for none.
    pub offsets: Vec<f32>,
    /// `[C]`, taken off the logit of the true class; empty for none. Phase-I has none.
    pub margins: Vec<f32>,
    /// `[C]`, weight of a sample of the class; empty for 1.
    pub weights: Vec<f32>,
    /// Iteration from which samples are weighted; 0 in Phase-I.
    pub weights_from: usize,
    /// γ of the focal loss; 0 for none.
    pub focal_gamma: f64,
    /// s, the share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// `[C]`, s of each class in place of `label_smoothing`; empty for none. Phase-I has none.
    pub smoothing: Vec<f32>,
}

/// The loss of a row of logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowTerms {
    /// The loss.
    pub loss: f32,
    /// A, what the gradient is multiplied by.
    pub factor: f32,
    /// Share of the target spread over all classes.
    pub smoothing: f32,
}

impl Objective {
    /// Weight of a sample of `class` in iteration `iteration`.
    pub fn weight(&self, class: u32, iteration: usize) -> f32 {
        match self.weights.get(class as usize) {
            Some(&weight) if iteration >= self.weights_from => weight,
            _ => 1.0,
        }
    }

    /// Whether the target is spread over all classes, so that rows need the sum of their logits.
    pub fn is_smoothed(&self) -> bool {
        self.label_smoothing > 0.0 || !self.smoothing.is_empty()
    }

    /// Loss and factor of a row whose true class has the log-probability `log_p`; `mean_gap` is
    /// the mean over all classes of −log p, and is used by smoothing only. No loss of Phase-II is both
    /// focal and smoothed.
    pub fn row(&self, class: u32, log_p: f32, mean_gap: f32) -> RowTerms {
        if self.focal_gamma > 0.0 {
            let gamma = self.focal_gamma as f32;
            let (p, rest) = (log_p.exp(), -log_p.exp_m1());
            if rest <= 0.0 {
                return RowTerms { loss: 0.0, factor: 0.0, smoothing: 0.0 };
            }
            let power = rest.powf(gamma);
            let factor = power - gamma * p * log_p * rest.powf(gamma - 1.0);
            return RowTerms { loss: -power * log_p, factor, smoothing: 0.0 };
        }
        let of_class = self.smoothing.get(class as usize).copied();
        let smoothing = of_class.unwrap_or(self.label_smoothing as f32);
        let loss = -log_p * (1.0 - smoothing) + smoothing * mean_gap;
        RowTerms { loss, factor: 1.0, smoothing }
    }
}
