//! The settings of Phase-II as flags, one for each key of `[finetune]`.

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::{GenericClasses, Loss, MaskValues, Method, RateSchedule, Sampling, ShotRule};
use crate::methods::one_of;

/// A word of a setting, as it stands in a pipeline.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    Value::String(text.into()).try_into().map_err(|e| {
        let message = e.to_string();
        let message = message.lines().next().unwrap_or_default();
        // The word, then those that there are.
        let known = message.split('`').skip(1).step_by(2).skip(1);
        match crate::config::nearest(text, known) {
            Some(known) => format!("{message}; did you mean `{known}`?"),
            None => message.into(),
        }
    })
}

/// Bytes with a unit: `512MiB`, `4GiB`, `1.5GB`, `1000000`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("TiB", 1099511627776.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("B", 1.0),
    ];
    let upper = text.trim();
    let ends =
        |unit: &str| upper.to_lowercase().strip_suffix(&unit.to_lowercase()).map(String::from);
    let found = UNITS.iter().find_map(|(unit, scale)| Some((ends(unit)?, *scale)));
    let (number, scale) = found.unwrap_or((upper.to_string(), 1.0));
    match number.trim().parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok((value * scale) as u64),
        _ => Err("expected a number of bytes, such as 512MiB or 4GiB".into()),
    }
}

/// A share of a whole: `0.005` or `0.5%`.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>().map(|value| value / whole) {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1, such as 0.005 or 0.5%".into()),
    }
}

/// One flag for each key of `[finetune]`; absent ones keep the pipeline's value, the method's or the
/// default.
#[derive(Debug, Args, Default, Serialize)]
#[command(next_help_heading = "Settings of Phase-II (symbols as in the paper; docs/method.md)")]
pub struct SettingArgs {
    #[arg(
        long,
        value_name = "METHOD",
        value_parser = word::<Method>,
        help = format!(
            "{} [default: {}]",
            one_of(Method::all().map(Method::name)),
            Method::default().name()
        )
    )]
    method: Option<Method>,
    #[arg(
        long,
        value_name = "LOSS",
        value_parser = word::<Loss>,
        help = format!(
            "What training minimises: {} [default: the method's]",
            one_of(Loss::all().map(Loss::name))
        )
    )]
    loss: Option<Loss>,
    /// tau_s: class-specific where the normalised CAM is above it [default: 0.5]
    #[arg(long, value_name = "0..1")]
    tau_specific: Option<f32>,
    /// tau_g: class-generic where the normalised CAM is below it [default: 0.5]
    #[arg(long, value_name = "0..1")]
    tau_generic: Option<f32>,
    /// h_r: the head is the fewest largest classes with this share of the images [default: 0.9]
    #[arg(long, value_name = "0..1")]
    head_ratio: Option<f64>,
    /// N_f: confusing classes of each tail class [default: 3]
    #[arg(long, value_name = "N")]
    num_confusing: Option<usize>,
    /// N_a: fused samples for each real tail sample [default: 3]
    #[arg(long, value_name = "N")]
    num_augmented: Option<usize>,
    /// N_t: real tail samples a batch; a batch has 2 N_t (1 + N_a) samples [default: 16]
    #[arg(long, value_name = "N")]
    tail_per_batch: Option<usize>,
    /// Range of gamma, the share of class-specific vectors in a fused sample [default: 0 1]
    #[arg(long, num_args = 2, value_names = ["LOW", "HIGH"])]
    gamma_range: Option<Vec<f64>>,
    /// Tail draws: class (a class, then an image) or instance (an image) [default: class]
    #[arg(long, value_name = "HOW", value_parser = word::<Sampling>)]
    tail_sampling: Option<Sampling>,
    /// Head draws: class, or instance as in the paper [default: class]
    #[arg(long, value_name = "HOW", value_parser = word::<Sampling>)]
    head_sampling: Option<Sampling>,
    /// Classes of class-generic vectors: confusing, head (confusing head classes) or random
    /// [default: confusing]
    #[arg(long, value_name = "WHICH", value_parser = word::<GenericClasses>)]
    generic_classes: Option<GenericClasses>,
    /// Drawn vectors are taken as they are (binary) or times the CAM (cam) [default: binary]
    #[arg(long, value_name = "HOW", value_parser = word::<MaskValues>)]
    mask_values: Option<MaskValues>,
    /// Steps of SGD [default: 6400]
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Learning rate at the start [default: 0.001, or the method's]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,
    /// How the learning rate runs: fixed or cosine [default: fixed, or the method's]
    #[arg(long, value_name = "HOW", value_parser = word::<RateSchedule>)]
    schedule: Option<RateSchedule>,
    /// Momentum of SGD [default: 0.9]
    #[arg(long, value_name = "0..1")]
    momentum: Option<f32>,
    /// L2 penalty on the classifier [default: 0, or the method's]
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f32>,
    /// Bound of weight norms, from the smallest (0) to the largest (1) of Phase-I; 0 for none
    /// [default: 0, or the method's]
    #[arg(long, value_name = "0..1")]
    max_norm: Option<f32>,
    /// Strength of tau-norm and of logit adjustment [default: 1]
    #[arg(long, value_name = "TAU")]
    tau: Option<f32>,
    /// gamma of the focal loss [default: 2]
    #[arg(long, value_name = "GAMMA")]
    focal_gamma: Option<f32>,
    /// beta of class-balanced weights [default: 0.9999]
    #[arg(long, value_name = "0..1")]
    class_balance_beta: Option<f64>,
    /// Largest margin of LDAM [default: 0.5]
    #[arg(long, value_name = "MARGIN")]
    ldam_margin: Option<f32>,
    /// What cosines are multiplied by in LDAM [default: 30]
    #[arg(long, value_name = "SCALE")]
    cosine_scale: Option<f32>,
    /// Share of the iterations after which LDAM-DRW weights classes [default: 0.8]
    #[arg(long, value_name = "0..1")]
    drw_start: Option<f64>,
    /// Label-aware smoothing of the largest and of the smallest class [default: 0.3 0]
    #[arg(long, num_args = 2, value_names = ["HEAD", "TAIL"])]
    smoothing: Option<Vec<f32>>,
    /// alpha of mixup's Beta distribution [default: 1]
    #[arg(long, value_name = "ALPHA")]
    mixup_alpha: Option<f64>,
    /// Neighbours of SMOTE (samples) and TailCalib (classes) [default: 5 and 1]
    #[arg(long, value_name = "N")]
    num_neighbours: Option<usize>,
    /// Exponent of TailCalib's Tukey transformation [default: 0.9]
    #[arg(long, value_name = "POWER")]
    tukey_power: Option<f32>,
    /// What TailCalib adds to every entry of a covariance [default: 0]
    #[arg(long, value_name = "ALPHA")]
    calibration_spread: Option<f32>,
    /// Rule of many, medium and few in the report: standard, oltr or paper [default: standard]
    #[arg(long, value_name = "RULE", value_parser = word::<ShotRule>)]
    shot_rule: Option<ShotRule>,
}

impl SettingArgs {
    /// The keys that were given.
    pub fn keys(&self) -> Table {
        Table::try_from(self).expect("flags are settings")
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use crate::config::{self, FinetuneConfig};
    use clap::{CommandFactory, Parser};

    #[test]
    fn every_finetune_key_has_its_flag_and_the_flags_reach_it() {
        let keys = Table::try_from(FinetuneConfig::default()).unwrap();
        let command = Cli::command();
        let finetune = command.find_subcommand("finetune").unwrap();
        for key in keys.keys() {
            let flag = key.replace('_', "-");
            assert!(finetune.get_arguments().any(|a| a.get_long() == Some(&flag)), "--{flag}");
        }
        let given = "fsa-bank finetune b --method no-aug --loss focal --tau-specific 0.1 \
            --tau-generic 0.2 --head-ratio 0.3 --num-confusing 4 --num-augmented 5 \
            --tail-per-batch 6 --gamma-range 0.7 0.8 --tail-sampling instance \
            --head-sampling instance --generic-classes head --mask-values cam --iterations 9 \
            --learning-rate 0.01 --schedule cosine --momentum 0.11 --weight-decay 0.12 \
            --max-norm 0.13 --tau 1.4 --focal-gamma 1.5 --class-balance-beta 0.16 \
            --ldam-margin 0.17 --cosine-scale 18 --drw-start 0.19 --smoothing 0.2 0.1 \
            --mixup-alpha 0.21 --num-neighbours 22 --tukey-power 0.23 \
            --calibration-spread 0.24 --shot-rule paper";
        let Command::Finetune(args) = Cli::parse_from(given.split_whitespace()).command else {
            panic!("finetune");
        };
        let config = config::resolve_finetune(&Table::new(), &args.settings.keys()).unwrap();
        let config = Table::try_from(config).unwrap();
        for (key, default) in &keys {
            assert_ne!(&config[key], default, "--{} has no effect", key.replace('_', "-"));
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        assert_eq!(parse_bytes("512 mib"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5GB"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert!(parse_bytes("much").is_err() && parse_bytes("-1GiB").is_err());
    }

    #[test]
    fn shares_are_fractions_or_percent() {
        assert_eq!(parse_share("0.005"), Ok(0.005));
        assert_eq!(parse_share("0.5%"), Ok(0.005));
        assert_eq!(parse_share("0.1%"), Ok(crate::dataset::Skipped::USUAL_SHARE));
        assert_eq!((parse_share("0"), parse_share(" 100 % ")), (Ok(0.0), Ok(1.0)));
        for wrong in ["5", "101%", "-1%", "few", "", "%", "nan"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
