//! The loss of a recipe as numbers for each class.

use crate::backbone::Objective;
use crate::config::{TrainConfig, TrainLoss};
use crate::domain::ClassCounts;

/// The loss of `config` for classes with `counts` training images; the formulas are those of Phase-II
/// (docs/method.md).
pub(super) fn objective(config: &TrainConfig, counts: &ClassCounts) -> Objective {
    let TrainConfig { label_smoothing, focal_gamma, .. } = *config;
    let weights = || counts.effective_weights(config.class_balance_beta);
    let plain = Objective { label_smoothing, ..Objective::default() };
    match config.loss {
        TrainLoss::CrossEntropy => plain,
        TrainLoss::Focal => Objective { focal_gamma, ..plain },
        TrainLoss::ClassBalanced => Objective { weights: weights(), ..plain },
        TrainLoss::ClassBalancedFocal => Objective { weights: weights(), focal_gamma, ..plain },
        TrainLoss::BalancedSoftmax => {
            let offset = |&n: &u64| (n.max(1) as f64).ln() as f32;
            Objective { offsets: counts.0.iter().map(offset).collect(), ..plain }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_by_hand() {
        let of = |loss| {
            let config = TrainConfig {
                loss,
                focal_gamma: 1.5,
                class_balance_beta: 0.5,
                label_smoothing: 0.1,
                ..Default::default()
            };
            objective(&config, &ClassCounts(vec![2, 1]))
        };
        let plain = Objective { label_smoothing: 0.1, ..Objective::default() };
        assert_eq!(of(TrainLoss::CrossEntropy), plain);
        assert_eq!(of(TrainLoss::Focal), Objective { focal_gamma: 1.5, ..plain.clone() });
        let offsets = vec![2f32.ln(), 0.0];
        assert_eq!(of(TrainLoss::BalancedSoftmax), Objective { offsets, ..plain.clone() });
        let weights = of(TrainLoss::ClassBalanced).weights;
        let focal = of(TrainLoss::ClassBalancedFocal);
        assert_eq!((&focal.weights, focal.focal_gamma), (&weights, 1.5));
        assert!((weights[0] - 0.8).abs() < 1e-6 && (weights[1] - 1.2).abs() < 1e-6);
    }
}
