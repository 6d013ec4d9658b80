//! `[finetune]`: the settings of Phase-II, and how a file, a method and flags make them up.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::range::{POSITIVE, above, at_least, at_most, below, closed, open};
use super::settings::{keep_what_decides_batches, settings, words};
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
    /// Classes drawn at random for each fused sample: the paper's naive control (Fig. 9).
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

words!(Sampling GenericClasses MaskValues RateSchedule ShotRule);

settings! {
/// `[finetune]`: Phase-II. Symbols and sources are in `docs/method.md`.
FinetuneConfig = "finetune" {
    /// The method; it brings settings of its own, which keys and flags override.
    method: Method = Method::default(), flag("METHOD"), note(": see [Methods](#methods)");
    /// What training minimises.
    loss: Loss = Loss::default(), flag("LOSS"), by_method(), same_batches(),
        note(": see [Losses](#losses)");
    /// A location is class-specific where the normalised CAM is above it.
    tau_specific: f32 = 0.5, range(open(0.0, 1.0)), flag("0..1"), symbol("τ_s"), note(" (Alg. 1, line 7)");
    /// A location is class-generic where the normalised CAM is below it.
    tau_generic: f32 = 0.5, range(open(0.0, 1.0)), flag("0..1"), symbol("τ_g"), note(" (line 12)");
    /// The head is the fewest largest classes that hold this share of the images.
    head_ratio: f64 = 0.9, range(open(0.0, 1.0)), flag("0..1"), symbol("h_r"), note(" (Sec. 5.4)");
    /// Confusing classes of each tail class.
    num_confusing: usize = 3, range(at_least(1.0)), flag("N"), symbol("N_f"), note(" (Sec. 4.2)");
    /// Fused samples for each real tail sample.
    num_augmented: usize = 3, range(at_most(1024.0)), flag("N"), symbol("N_a"), note(" (Sec. 4.2)");
    /// Real tail samples a batch; a batch has 2 N_t (1 + N_a) samples, with any method.
    tail_per_batch: usize = 16, range(closed(1.0, 65_536.0)), flag("N"), symbol("N_t"),
        note(" (Sec. 4.3)");
    /// Share of class-specific vectors in a fused sample, uniform in this range.
    gamma_range: [f64; 2] = [0.0, 1.0], flag("LOW HIGH"), symbol("γ"),
        valid(|c| is_share_range(c.gamma_range), "[low, high] with 0 <= low <= high <= 1"),
        note(" (line 14); a fixed γ is a range of one value");
    /// How tail samples are drawn: a class, then an image of it, or an image.
    tail_sampling: Sampling = Sampling::Class, flag("HOW");
    /// How head samples are drawn; `instance` is the paper's.
    head_sampling: Sampling = Sampling::Class, flag("HOW");
    /// Classes of class-generic vectors: those confused most, the head classes among them, or random ones.
    generic_classes: GenericClasses = GenericClasses::Confusing, flag("WHICH"),
        note(", drawn for each fused sample: the paper's naive control");
    /// What drawn vectors are multiplied by: 1, or the CAM there.
    mask_values: MaskValues = MaskValues::Binary, flag("HOW"), symbol("M"),
        note(" (Alg. 1 has `binary`, Eq. 2 and 3 as printed `cam`)");
    /// Steps of SGD.
    iterations: usize = 6400, range(closed(1.0, 10_000_000.0)), flag("N"),
        note(" (Sec. 5: 6,400 for CIFAR, 200 for iNaturalist)");
    /// Learning rate at the start.
    learning_rate: f32 = 0.001, range(POSITIVE), flag("RATE"), by_method(), same_batches(),
        note(" (Sec. 5.1: 0.001)");
    /// How the learning rate runs: it stays, or falls to 0 as half a cosine.
    schedule: RateSchedule = RateSchedule::Fixed, flag("HOW"), by_method(), same_batches();
    /// Momentum of SGD.
    momentum: f32 = 0.9, range(below(0.0, 1.0)), flag("0..1"), same_batches();
    /// L2 penalty on the classifier.
    weight_decay: f32 = 0.0, range(at_least(0.0)), flag("DECAY"), by_method(), same_batches();
    /// Bound of each class's weight norm, as a position between the smallest (0) and the largest (1) norm
    /// of Phase-I; 0 for none.
    max_norm: f32 = 0.0, range(closed(0.0, 1.0)), expected("0 (none) to 1"), flag("0..1"), by_method(),
        same_batches();
    /// Strength of tau-norm and of logit adjustment.
    tau: f32 = 1.0, range(closed(0.0, 100.0)), expected("0 to 100; 0 to 2 is usual"), flag("TAU"),
        symbol("τ"), same_batches();
    /// Exponent of the focal loss.
    focal_gamma: f32 = 2.0, range(closed(0.0, 100.0)), flag("GAMMA"), symbol("γ"), same_batches();
    /// Parameter of class-balanced weights, (1 - β) / (1 - β^n).
    class_balance_beta: f64 = 0.9999, range(below(0.0, 1.0)), flag("0..1"), symbol("β"), same_batches();
    /// Largest margin of LDAM.
    ldam_margin: f32 = 0.5, range(closed(0.0, 2.0)), expected("0 to 2, a difference of cosines"),
        flag("MARGIN"), same_batches();
    /// What cosines are multiplied by in LDAM.
    cosine_scale: f32 = 30.0, range(POSITIVE), flag("SCALE"), symbol("s"), same_batches();
    /// Share of the iterations after which LDAM-DRW weights classes.
    drw_start: f64 = 0.8, range(closed(0.0, 1.0)), flag("0..1"), same_batches();
    /// Label-aware smoothing of the largest and of the smallest class.
    smoothing: [f32; 2] = [0.3, 0.0], flag("HEAD TAIL"), symbol("ε"), same_batches(),
        valid(|c| c.smoothing.iter().all(|s| (0.0..1.0).contains(s)),
            "[head, tail], each 0 up to, not including, 1");
    /// Mixup's shares are drawn from Beta(α, α).
    mixup_alpha: f64 = 1.0, range(POSITIVE), flag("ALPHA"), symbol("α");
    /// Neighbours: samples for SMOTE, classes for TailCalib.
    num_neighbours: usize = 5, range(closed(1.0, 1024.0)), flag("N"), symbol("k"), by_method(),
        note("; TailCalib begins with 1");
    /// Exponent of TailCalib's Tukey transformation.
    tukey_power: f32 = 0.9, range(above(0.0, 2.0)), flag("POWER"), symbol("λ");
    /// What TailCalib adds to every entry of a calibrated covariance.
    calibration_spread: f32 = 0.0, range(closed(0.0, 1e6)), flag("ALPHA"), symbol("α");
    /// Rule of many, medium and few in reports.
    shot_rule: ShotRule = ShotRule::Standard, flag("RULE"), same_batches();
}
}

fn is_share_range([low, high]: [f64; 2]) -> bool {
    0.0 <= low && low <= high && high <= 1.0
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

    /// These settings with those that decide no batches at their defaults.
    pub fn of_batches(&self) -> Self {
        let mut config = self.clone();
        keep_what_decides_batches(&mut config);
        config
    }

    /// The settings a method starts from.
    pub fn for_method(method: Method) -> Self {
        let table = Table::from_iter([("method".into(), Value::String(method.name().into()))]);
        resolve(&Table::new(), &table).expect("presets are settings")
    }
}

/// Settings from the keys of a file and those of the command line.
///
/// The keys of the command line override everything. A method's own settings override the file's
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
    use crate::config::Section;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_fsa() {
        assert_eq!(FinetuneConfig::for_method(Method::named("fsa")), FinetuneConfig::default());
    }

    #[test]
    fn the_table_says_which_defaults_methods_change() {
        let table = |config: &FinetuneConfig| Table::try_from(config).unwrap();
        let plain = table(&FinetuneConfig::default());
        for setting in FinetuneConfig::SETTINGS.iter().filter(|setting| setting.key != "method") {
            let of = |method| table(&FinetuneConfig::for_method(method))[setting.key].clone();
            let changes = Method::all().any(|method| of(method) != plain[setting.key]);
            assert_eq!(changes, setting.is_by_method, "{}", setting.key);
        }
    }

    #[test]
    fn batches_depend_on_draws_alone() {
        let given =
            "loss = 'focal'\nlearning_rate = 0.5\nshot_rule = 'paper'\nsmoothing = [0.1, 0.1]";
        let config = resolve(&table(given), &Table::new()).unwrap();
        assert_eq!(config.of_batches(), FinetuneConfig::default());
        let config = resolve(&table("num_confusing = 2\nmomentum = 0.1"), &Table::new()).unwrap();
        let drawn = FinetuneConfig { num_confusing: 2, ..FinetuneConfig::default() };
        assert_eq!(config.of_batches(), drawn);
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
