//! Losses: what is known of each, and which of them Phase-I has.

use serde::{Deserialize, Deserializer, Serialize};

use super::choice::unknown;
use super::{Choice, Objective, Settings};
use crate::domain::ClassCounts;

/// What is fixed about a loss.
pub struct LossFacts {
    /// The word in a pipeline.
    pub name: &'static str,
    /// Its formula, as docs/method.md prints it.
    pub formula: &'static str,
    /// Whether Phase-I has it too. Its settings are keys of `[train]` then, and its objective has nothing
    /// that only Phase-II knows.
    pub phase1: bool,
    /// Whether logits are `cosine_scale` times cosines: vectors and weights of length 1.
    pub cosine: bool,
    /// Its constants for classes with these training images.
    pub objective: fn(&ClassCounts, &Settings) -> Objective,
}

impl LossFacts {
    /// A loss of both phases on plain logits; the rest is said after it.
    pub(super) const BOTH_PHASES: Self = Self {
        name: "",
        formula: "",
        phase1: true,
        cosine: false,
        objective: |_, _| Objective::default(),
    };
    /// The same of Phase-II alone.
    pub(super) const PHASE2: Self = Self { phase1: false, ..Self::BOTH_PHASES };
}

/// What training minimises in Phase-II.
pub type Loss = Choice<LossFacts>;

impl Default for Loss {
    /// Softmax cross-entropy.
    fn default() -> Self {
        Self::named("cross-entropy")
    }
}

/// What Phase-I minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct TrainLoss(Loss);

impl TrainLoss {
    /// Every loss of Phase-I, in the order of tables.
    pub fn all() -> impl Iterator<Item = Self> {
        Loss::all().filter(|loss| loss.phase1).map(Self)
    }

    /// The loss of this name, which must be one of Phase-I.
    ///
    /// # Panics
    /// It is not.
    pub fn named(name: &str) -> Self {
        Self::all().find(|known| known.name() == name).expect("a loss of Phase-I")
    }

    /// The word in a pipeline.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Its constants for classes with these training images and the settings of `[train]`.
    pub fn objective(self, counts: &ClassCounts, settings: &Settings) -> Objective {
        (self.0.objective)(counts, settings)
    }
}

impl<'de> Deserialize<'de> for TrainLoss {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let found = Self::all().find(|known| known.name() == word);
        found.ok_or_else(|| unknown(&word, Self::all().map(Self::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(loss: &str, counts: &[u64]) -> Objective {
        let settings = Settings::from_text(
            "tau = 1.0\nfocal_gamma = 2.0\nclass_balance_beta = 0.9999\nldam_margin = 0.5\n\
            cosine_scale = 30.0\ndrw_start = 0.8\niterations = 6400\nsmoothing = [0.3, 0.0]",
        );
        (Loss::named(loss).objective)(&ClassCounts(counts.to_vec()), &settings)
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
        close(&objective("balanced-softmax", &[3, 1]).offsets, &[3f32.ln(), 0.0]);
        close(&objective("logit-adjusted", &[3, 1]).offsets, &[0.75f32.ln(), 0.25f32.ln()]);
        // 16 times the images: half the margin; the smallest class has 0.5 of a cosine, times 30.
        close(&objective("ldam", &[16, 1]).margins, &[7.5, 15.0]);
        close(&objective("label-aware-smoothing", &[100, 20]).smoothing, &[0.3, 0.0]);
        close(&objective("label-aware-smoothing", &[7, 7]).smoothing, &[0.0, 0.0]);
    }

    #[test]
    fn drw_weights_come_late() {
        let late = objective("ldam-drw", &[100, 1]);
        assert_eq!(late.weight(1, 5119), 1.0);
        assert!(late.weight(1, 5120) > 1.9);
        assert_eq!(objective("ldam", &[100, 1]).weight(1, 6000), 1.0);
    }

    #[test]
    fn focal_factor_is_the_slope_of_its_loss() {
        let focal = objective("focal", &[1, 1]);
        // p = 1/2: loss (1/2)^2 ln 2; factor 1/4 + 2 * 1/2 * ln 2 * 1/2.
        let row = focal.row(0, 0.5f32.ln(), 0.0);
        close(&[row.loss, row.factor], &[0.25 * 2f32.ln(), 0.25 + 0.5 * 2f32.ln()]);
        let sure = focal.row(0, 0.0, 0.0);
        assert_eq!((sure.loss, sure.factor), (0.0, 0.0));
    }
}
