//! The learning rate of every step.

use crate::config::{Schedule, TrainConfig};

/// Learning rate of step `step` (0-based) of `epoch` (0-based).
///
/// A linear warm-up over whole epochs, then the schedule: `step` multiplies by `step_factor` every
/// `step_epochs` epochs, counted from the first; `multistep` after each of `milestones`; `cosine` falls from the learning rate to 0 over the
/// epochs after warm-up.
pub fn learning_rate(
    config: &TrainConfig,
    epoch: usize,
    step: usize,
    steps_an_epoch: usize,
) -> f64 {
    let done = (epoch * steps_an_epoch + step) as f64;
    let warmup = (config.warmup_epochs * steps_an_epoch) as f64;
    if done < warmup {
        return config.learning_rate * (done + 1.0) / warmup;
    }
    match config.schedule {
        Schedule::Step => {
            let drops = epoch / config.step_epochs;
            config.learning_rate * config.step_factor.powi(drops as i32)
        }
        Schedule::Multistep => {
            let drops = config.milestones.iter().filter(|&&m| epoch >= m).count();
            config.learning_rate * config.step_factor.powi(drops as i32)
        }
        Schedule::Cosine => {
            let total = (config.epochs * steps_an_epoch) as f64;
            let share = (done - warmup) / (total - warmup).max(1.0);
            config.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
        }
    }
}

/// What the running average keeps of itself after `steps_done` steps: `ema_decay`, and less in the
/// first steps, (1 + t) / (10 + t), so that the initial weights are soon forgotten.
pub(super) fn average_decay(config: &TrainConfig, steps_done: usize) -> f64 {
    let done = steps_done as f64;
    config.ema_decay.min((1.0 + done) / (10.0 + done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multistep_falls_after_each_milestone() {
        let (schedule, milestones) = (Schedule::Multistep, vec![160, 180]);
        let config = TrainConfig { epochs: 200, schedule, milestones, ..Default::default() };
        let drops = |epoch| (0.1 / learning_rate(&config, epoch, 0, 10)).log10().round();
        assert_eq!([0, 159, 160, 179, 180, 199].map(drops), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn the_average_forgets_its_first_steps() {
        let config = TrainConfig { ema_decay: 0.99, ..Default::default() };
        let at = |steps| average_decay(&config, steps);
        assert_eq!([at(0), at(8), at(100_000)], [0.1, 0.5, 0.99]);
    }

    #[test]
    fn step_falls_every_step_epochs() {
        let config = TrainConfig { epochs: 300, ..Default::default() };
        let at = |epoch| learning_rate(&config, epoch, 0, 10);
        assert_eq!((at(0), at(149)), (0.1, 0.1));
        assert!((at(150) - 0.01).abs() < 1e-12 && (at(299) - 0.01).abs() < 1e-12);
    }

    #[test]
    fn warm_up_rises_and_cosine_falls_to_zero() {
        let config = TrainConfig {
            epochs: 12,
            warmup_epochs: 2,
            schedule: Schedule::Cosine,
            ..Default::default()
        };
        let at = |epoch, step| learning_rate(&config, epoch, step, 10);
        assert!((at(0, 0) - 0.005).abs() < 1e-12);
        assert!((at(1, 9) - 0.1).abs() < 1e-12);
        assert_eq!(at(2, 0), 0.1);
        assert!((at(7, 0) - 0.05).abs() < 1e-12);
        assert!(at(11, 9) < 1e-4);
    }
}
