//! The loss of a recipe as numbers for each class.

use crate::backbone::Objective;
use crate::config::TrainConfig;
use crate::domain::ClassCounts;
use crate::methods::Settings;

/// The loss of `config` for classes with `counts` training images; the formulas are those of Phase-II
/// (docs/method.md). `label_smoothing` is of losses that do not spread the target by themselves.
pub(super) fn objective(config: &TrainConfig, counts: &ClassCounts) -> Objective {
    let of_loss = config.loss.objective(counts, &Settings::of(config));
    if of_loss.is_smoothed() {
        of_loss
    } else {
        Objective { label_smoothing: config.label_smoothing, ..of_loss }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainLoss;

    #[test]
    fn each_loss_by_hand() {
        let of = |loss| {
            let loss = TrainLoss::named(loss);
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
        assert_eq!(of("cross-entropy"), plain);
        assert_eq!(of("focal"), Objective { focal_gamma: 1.5, ..plain.clone() });
        let offsets = vec![2f32.ln(), 0.0];
        assert_eq!(of("balanced-softmax"), Objective { offsets, ..plain.clone() });
        // It spreads the target by itself: 0.98, not the recipe's share.
        let spread = Objective { label_smoothing: 0.98, ..Objective::default() };
        assert_eq!(of("label-over-smoothing"), spread);
        let weights = of("class-balanced").weights;
        let focal = of("class-balanced-focal");
        assert_eq!((&focal.weights, focal.focal_gamma), (&weights, 1.5));
        assert!((weights[0] - 0.8).abs() < 1e-6 && (weights[1] - 1.2).abs() < 1e-6);
    }
}
