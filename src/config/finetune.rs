//! `[finetune]`: the settings of Phase-II, and how a file, a method and flags make them up.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Loss, Method};

/// How an image is drawn from a set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// A class uniformly, then one of its images.
    Class,
    /// An image uniformly, so that large classes are drawn more often.
    Instance,
}

/// Which classes give the class-generic vectors of a fused sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenericClasses {
    /// The classes that the tail class is confused with most (Sec. 4.2).
    Confusing,
    /// The head classes that it is confused with most.
    Head,
    /// Classes drawn at random for each tail class: the paper's naive control (Fig. 9).
    Random,
}

/// What a drawn vector is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskValues {
    /// 1: masks choose locations only (text of Sec. 4.2, and Alg. 1).
    Binary,
    /// The normalised CAM there, as Eq. 2 and 3 print.
    Cam,
}

/// How the learning rate of Phase-II runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateSchedule {
    /// The same throughout.
    Fixed,
    /// Half a cosine, from the learning rate to 0 after the last iteration.
    Cosine,
}

/// Which classes are many, medium and few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShotRule {
    /// many > 100, medium 20..=100, few < 20 training images.
    Standard,
    /// many >= 100, medium between, few <= 20.
    Oltr,
    /// many > 100, medium 21..=100, few < 20: the paper's; a class of exactly 20 is in no group.
    Paper,
}

impl ShotRule {
    /// The rule in words, for tables.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Standard => "standard: many > 100, medium 20-100, few < 20 training images",
            Self::Oltr => "oltr: many >= 100, medium 21-99, few <= 20 training images",
            Self::Paper => "paper: many > 100, medium 21-100, few < 20 training images",
        }
    }
}

/// `[finetune]`: Phase-II. Symbols and sources are in `docs/method.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneConfig {
    /// What is done; it brings settings of its own, which keys and flags go over.
    pub method: Method,
    /// What training minimises.
    pub loss: Loss,
    /// tau_s: a location is class-specific where the normalised CAM is above it.
    pub tau_specific: f32,
    /// tau_g: a location is class-generic where the normalised CAM is below it.
    pub tau_generic: f32,
    /// h_r: the head is the fewest largest classes that hold this share of the images.
    pub head_ratio: f64,
    /// N_f: confusing classes kept for each tail class.
    pub num_confusing: usize,
    /// N_a: fused samples for each real tail sample.
    pub num_augmented: usize,
    /// N_t: real tail samples a batch; a batch has 2 N_t (1 + N_a) samples.
    pub tail_per_batch: usize,
    /// Range of gamma, the share of class-specific vectors in a fused sample.
    pub gamma_range: [f64; 2],
    /// How tail samples are drawn.
    pub tail_sampling: Sampling,
    /// How head samples are drawn; `instance` is the paper's.
    pub head_sampling: Sampling,
    /// Which classes give class-generic vectors.
    pub generic_classes: GenericClasses,
    /// What drawn vectors are multiplied by.
    pub mask_values: MaskValues,
    /// Steps of SGD.
    pub iterations: usize,
    /// Learning rate at the start.
    pub learning_rate: f32,
    /// How the learning rate runs.
    pub schedule: RateSchedule,
    /// Momentum of SGD.
    pub momentum: f32,
    /// L2 penalty on the classifier's weight and bias.
    pub weight_decay: f32,
    /// Bound of each class's weight norm, as the place between the smallest (0) and the largest (1)
    /// norm of Phase-I; 0 for none.
    pub max_norm: f32,
    /// tau: strength of tau-norm and of logit adjustment.
    pub tau: f32,
    /// gamma of the focal loss.
    pub focal_gamma: f32,
    /// beta of class-balanced weights.
    pub class_balance_beta: f64,
    /// Largest margin of LDAM.
    pub ldam_margin: f32,
    /// What cosines are multiplied by.
    pub cosine_scale: f32,
    /// Share of the iterations after which LDAM-DRW weights classes.
    pub drw_start: f64,
    /// Label-aware smoothing of the largest and of the smallest class.
    pub smoothing: [f32; 2],
    /// alpha of mixup: shares are drawn from Beta(alpha, alpha).
    pub mixup_alpha: f64,
    /// Neighbours: samples for SMOTE, classes for TailCalib.
    pub num_neighbours: usize,
    /// Exponent of TailCalib's Tukey transformation.
    pub tukey_power: f32,
    /// What TailCalib adds to every entry of a calibrated covariance.
    pub calibration_spread: f32,
    /// Rule of the many, medium and few groups in the report.
    pub shot_rule: ShotRule,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            method: Method::default(),
            loss: Loss::default(),
            tau_specific: 0.5,
            tau_generic: 0.5,
            head_ratio: 0.9,
            num_confusing: 3,
            num_augmented: 3,
            tail_per_batch: 16,
            gamma_range: [0.0, 1.0],
            tail_sampling: Sampling::Class,
            head_sampling: Sampling::Class,
            generic_classes: GenericClasses::Confusing,
            mask_values: MaskValues::Binary,
            iterations: 6400,
            learning_rate: 0.001,
            schedule: RateSchedule::Fixed,
            momentum: 0.9,
            weight_decay: 0.0,
            max_norm: 0.0,
            tau: 1.0,
            focal_gamma: 2.0,
            class_balance_beta: 0.9999,
            ldam_margin: 0.5,
            cosine_scale: 30.0,
            drw_start: 0.8,
            smoothing: [0.3, 0.0],
            mixup_alpha: 1.0,
            num_neighbours: 5,
            tukey_power: 0.9,
            calibration_spread: 0.0,
            shot_rule: ShotRule::Standard,
        }
    }
}

impl FinetuneConfig {
    /// Samples a batch: 2 N_t (1 + N_a).
    pub fn batch_size(&self) -> usize {
        2 * self.tail_per_batch * (1 + self.num_augmented)
    }

    /// The method with its loss where that is not its own: `fsa+balanced-softmax`.
    pub fn title(&self) -> String {
        let own = Self::for_method(self.method).loss;
        if self.loss == own {
            return self.method.name().into();
        }
        format!("{}+{}", self.method.name(), self.loss.name())
    }

    /// The settings a method starts from.
    pub fn for_method(method: Method) -> Self {
        let table = Table::from_iter([("method".into(), Value::String(method.name().into()))]);
        resolve(&Table::new(), &table).expect("presets are settings")
    }
}

/// Settings from the keys of a file and those of the command line.
///
/// The keys of the command line go before everything. A method's own settings go before the file's
/// where the command line asks for a method other than the file's: those were written for that one.
pub(super) fn resolve(file: &Table, flags: &Table) -> Result<FinetuneConfig, toml::de::Error> {
    let method_of = |table: &Table| -> Result<Option<Method>, toml::de::Error> {
        table.get("method").cloned().map(Value::try_into).transpose()
    };
    let of_file = method_of(file)?.unwrap_or(FinetuneConfig::default().method);
    let method = method_of(flags)?.unwrap_or(of_file);
    let mut table = Table::new();
    if method == of_file {
        table.extend(method.settings());
        table.extend(file.clone());
    } else {
        table.extend(file.clone());
        table.extend(method.settings());
        table.insert("method".into(), Value::String(method.name().into()));
    }
    table.extend(flags.clone());
    table.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_fsa() {
        assert_eq!(FinetuneConfig::for_method(Method::named("fsa")), FinetuneConfig::default());
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_method_it_names() {
        let file = table("method = 'crt'\nlearning_rate = 0.3\niterations = 50");
        let config = resolve(&file, &table("iterations = 60")).unwrap();
        assert_eq!((config.learning_rate, config.iterations), (0.3, 60));
        assert_eq!(config.schedule, RateSchedule::Cosine);
    }

    #[test]
    fn a_file_written_for_one_method_does_not_set_the_rate_of_another() {
        let file = table("learning_rate = 0.3\niterations = 50");
        let config = resolve(&file, &table("method = 'focal'")).unwrap();
        assert_eq!((config.learning_rate, config.iterations), (0.1, 50));
        assert_eq!((config.loss, config.title()), (Loss::named("focal"), "focal".into()));
        let back = resolve(&table("method = 'crt'"), &table("method = 'fsa'\nloss = 'focal'"));
        let back = back.unwrap();
        assert_eq!((back.learning_rate, back.title()), (0.001, "fsa+focal".into()));
    }

    #[test]
    fn methods_and_losses_read_keys_that_there_are() {
        use crate::config::{TrainConfig, TrainLoss};
        use crate::domain::ClassCounts;
        use crate::methods::{Batches, Settings};

        let counts = ClassCounts(vec![60, 9, 1]);
        let settings = Settings::of(&FinetuneConfig::default());
        for loss in Loss::all() {
            let objective = (loss.objective)(&counts, &settings);
            assert!(objective.focal_gamma == 0.0 || !objective.is_smoothed(), "{loss:?}");
        }
        let settings = Settings::of(&TrainConfig::default());
        for loss in TrainLoss::all() {
            let o = loss.objective(&counts, &settings);
            let of_phase2_alone = (o.margins.len(), o.smoothing.len(), o.weights_from);
            assert_eq!(of_phase2_alone, (0, 0, 0), "{loss:?}");
        }
        let known = Table::try_from(FinetuneConfig::default()).unwrap();
        for method in Method::all() {
            assert_eq!(FinetuneConfig::for_method(method).method, method);
            let making = method.batches().and_then(Batches::making);
            for key in making.map_or(&[][..], |making| making.keys) {
                assert!(known.contains_key(*key), "{method:?}: {key}");
            }
        }
    }

    #[test]
    fn an_unknown_word_names_those_that_there_are() {
        let error = |text: &str| resolve(&table(text), &Table::new()).unwrap_err().to_string();
        let found = error("method = 'fsaa'");
        assert!(
            found.contains("unknown variant `fsaa`, expected one of `phase1`, `no-aug`"),
            "{found}"
        );
        let found = error("loss = 'focl'");
        assert!(
            found.contains("unknown variant `focl`, expected one of `cross-entropy`"),
            "{found}"
        );
    }
}
