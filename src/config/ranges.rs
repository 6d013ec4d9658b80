//! What values settings may have.

use std::path::Path;

use super::{
    ConfigError, DatasetConfig, FeaturesConfig, FinetuneConfig, InputSpec, KeepMaps, NetworkConfig,
    Pipeline, Schedule, Selection, Stem, TrainConfig,
};

/// Checks every section.
pub(super) fn ranges(file: &Path, p: &Pipeline) -> Result<(), ConfigError> {
    check_all(file, &super::lists::rules(&p.dataset))?;
    dataset_ranges(file, &p.dataset)?;
    network_ranges(file, &p.network)?;
    train_ranges(file, &p.train, p.dataset.image_size)?;
    features_ranges(file, &p.features)?;
    finetune_ranges(file, &p.finetune)
}

fn dataset_ranges(file: &Path, d: &DatasetConfig) -> Result<(), ConfigError> {
    let triple = |v: &[f32]| v.is_empty() || v.len() == 3;
    check_all(
        file,
        &[
            (
                d.path.as_os_str().is_empty(),
                "dataset.path",
                format!("{:?}", d.path),
                "a file or directory",
            ),
            (
                !(d.imbalance_ratio >= 1.0 && d.imbalance_ratio.is_finite()),
                "dataset.imbalance_ratio",
                d.imbalance_ratio.to_string(),
                "a number of at least 1",
            ),
            (
                d.selection_seed != 0 && d.selection != Selection::Random,
                "dataset.selection_seed",
                d.selection_seed.to_string(),
                "0, unless dataset.selection is \"random\"",
            ),
            (
                d.max_classes == 1,
                "dataset.max_classes",
                d.max_classes.to_string(),
                "0 (all), or at least 2",
            ),
            (
                !(0.0..1.0).contains(&d.val_fraction),
                "dataset.val_fraction",
                d.val_fraction.to_string(),
                "0 up to, not including, 1",
            ),
            (!triple(&d.mean), "dataset.mean", format!("{:?}", d.mean), "three numbers (R, G, B)"),
            (
                !triple(&d.std),
                "dataset.std",
                format!("{:?}", d.std),
                "three positive numbers (R, G, B)",
            ),
        ],
    )?;
    check_all(file, &InputSpec::of(d).rules())?;
    check_all(file, &InputSpec::of(d).scale_rules())
}

fn network_ranges(file: &Path, n: &NetworkConfig) -> Result<(), ConfigError> {
    check_all(
        file,
        &[
            (
                n.width > if n.arch.is_resnet() { 1024 } else { 0 },
                "network.width",
                n.width.to_string(),
                "1 to 1024 channels of a ResNet, or 0 for the published width",
            ),
            (
                (n.stem == Stem::Cifar && !n.arch.is_resnet())
                    || (n.stem == Stem::Imagenet && n.arch.is_cifar_resnet()),
                "network.stem",
                format!("{:?}", n.stem).to_lowercase(),
                "auto; only resnet10 to resnet152 (but resnet20 to resnet56) have two stems",
            ),
        ],
    )
}

fn train_ranges(file: &Path, t: &TrainConfig, image_size: usize) -> Result<(), ConfigError> {
    check_all(
        file,
        &[
            (
                !(1..=100_000).contains(&t.epochs),
                "train.epochs",
                t.epochs.to_string(),
                "1 to 100000",
            ),
            (
                !(2..=65_536).contains(&t.batch_size),
                "train.batch_size",
                t.batch_size.to_string(),
                "2 to 65536 images",
            ),
            (
                !(t.learning_rate > 0.0 && t.learning_rate.is_finite()),
                "train.learning_rate",
                t.learning_rate.to_string(),
                "a positive number",
            ),
            (
                !(0.0..1.0).contains(&t.momentum),
                "train.momentum",
                t.momentum.to_string(),
                "0 up to, not including, 1",
            ),
            (
                !(t.weight_decay >= 0.0 && t.weight_decay.is_finite()),
                "train.weight_decay",
                t.weight_decay.to_string(),
                "0 or more",
            ),
            (
                t.warmup_epochs > t.epochs,
                "train.warmup_epochs",
                t.warmup_epochs.to_string(),
                "at most train.epochs",
            ),
            (t.step_epochs == 0, "train.step_epochs", t.step_epochs.to_string(), "at least 1"),
            (
                !(t.step_factor > 0.0 && t.step_factor <= 1.0),
                "train.step_factor",
                t.step_factor.to_string(),
                "above 0, at most 1",
            ),
            (
                t.milestones.is_empty() == (t.schedule == Schedule::Multistep)
                    || !t.milestones.is_sorted_by(|a, b| a < b)
                    || t.milestones.iter().any(|&m| m == 0 || m >= t.epochs),
                "train.milestones",
                format!("{:?}", t.milestones),
                "rising epochs below train.epochs with schedule = \"multistep\", none without",
            ),
            (
                !(0.0..=100.0).contains(&t.focal_gamma),
                "train.focal_gamma",
                t.focal_gamma.to_string(),
                "0 to 100",
            ),
            (
                !(0.0..1.0).contains(&t.class_balance_beta),
                "train.class_balance_beta",
                t.class_balance_beta.to_string(),
                "0 up to, not including, 1",
            ),
            (
                !(0.0..1.0).contains(&t.label_smoothing),
                "train.label_smoothing",
                t.label_smoothing.to_string(),
                "0 up to, not including, 1",
            ),
            (
                !(0.0..=100.0).contains(&t.mixup_alpha),
                "train.mixup_alpha",
                t.mixup_alpha.to_string(),
                "0 to 100",
            ),
            (
                !(0.0..1.0).contains(&t.ema_decay),
                "train.ema_decay",
                t.ema_decay.to_string(),
                "0 up to, not including, 1",
            ),
            (
                t.crop_padding > image_size,
                "train.crop_padding",
                t.crop_padding.to_string(),
                "at most dataset.image_size",
            ),
            (
                !(t.crop_scale[0] > 0.0
                    && t.crop_scale[0] <= t.crop_scale[1]
                    && t.crop_scale[1] <= 1.0),
                "train.crop_scale",
                format!("{:?}", t.crop_scale),
                "[least, most] with 0 < least <= most <= 1",
            ),
            (
                !(0.0..=1.0).contains(&t.color_jitter),
                "train.color_jitter",
                t.color_jitter.to_string(),
                "0 to 1",
            ),
            (
                t.checkpoint_every == 0,
                "train.checkpoint_every",
                t.checkpoint_every.to_string(),
                "at least 1",
            ),
        ],
    )
}

fn features_ranges(file: &Path, f: &FeaturesConfig) -> Result<(), ConfigError> {
    check_all(
        file,
        &[
            (!(1..=1024).contains(&f.views), "features.views", f.views.to_string(), "1 to 1024"),
            (
                f.other_views > f.views,
                "features.other_views",
                f.other_views.to_string(),
                "at most features.views",
            ),
            (
                f.other_views > 0 && f.maps != KeepMaps::Needed,
                "features.other_views",
                f.other_views.to_string(),
                "0, as features.maps is not \"needed\"",
            ),
            (
                !(1..=65_536).contains(&f.batch_size),
                "features.batch_size",
                f.batch_size.to_string(),
                "1 to 65536 images",
            ),
            (
                !(1..=22).contains(&f.compression_level),
                "features.compression_level",
                f.compression_level.to_string(),
                "a zstd level, 1 to 22",
            ),
            (
                f.shard_bytes < 1 << 16,
                "features.shard_bytes",
                f.shard_bytes.to_string(),
                "at least 65536",
            ),
            (
                f.recalibrate_batches > 1_000_000,
                "features.recalibrate_batches",
                f.recalibrate_batches.to_string(),
                "at most 1000000",
            ),
            (
                !(1..=100_000).contains(&f.fit_epochs),
                "features.fit_epochs",
                f.fit_epochs.to_string(),
                "1 to 100000",
            ),
            (
                !(f.fit_weight_decay >= 0.0 && f.fit_weight_decay.is_finite()),
                "features.fit_weight_decay",
                f.fit_weight_decay.to_string(),
                "0 or more",
            ),
        ],
    )
}

pub(super) fn finetune_ranges(file: &Path, c: &FinetuneConfig) -> Result<(), ConfigError> {
    let open_unit = |v: f32| v > 0.0 && v < 1.0;
    let [low, high] = c.gamma_range;
    check_all(
        file,
        &[
            (
                !open_unit(c.tau_specific),
                "finetune.tau_specific",
                c.tau_specific.to_string(),
                "between 0 and 1, both excluded",
            ),
            (
                !open_unit(c.tau_generic),
                "finetune.tau_generic",
                c.tau_generic.to_string(),
                "between 0 and 1, both excluded",
            ),
            (
                !(c.head_ratio > 0.0 && c.head_ratio < 1.0),
                "finetune.head_ratio",
                c.head_ratio.to_string(),
                "between 0 and 1, both excluded",
            ),
            (
                c.num_confusing == 0,
                "finetune.num_confusing",
                c.num_confusing.to_string(),
                "at least 1",
            ),
            (
                c.num_augmented > 1024,
                "finetune.num_augmented",
                c.num_augmented.to_string(),
                "at most 1024",
            ),
            (
                !(1..=65_536).contains(&c.tail_per_batch),
                "finetune.tail_per_batch",
                c.tail_per_batch.to_string(),
                "1 to 65536",
            ),
            (
                !(0.0 <= low && low <= high && high <= 1.0),
                "finetune.gamma_range",
                format!("{:?}", c.gamma_range),
                "[low, high] with 0 <= low <= high <= 1",
            ),
            (
                !(1..=10_000_000).contains(&c.iterations),
                "finetune.iterations",
                c.iterations.to_string(),
                "1 to 10000000",
            ),
            (
                !(c.learning_rate > 0.0 && c.learning_rate.is_finite()),
                "finetune.learning_rate",
                c.learning_rate.to_string(),
                "a positive number",
            ),
            (
                !(0.0..1.0).contains(&c.momentum),
                "finetune.momentum",
                c.momentum.to_string(),
                "0 up to, not including, 1",
            ),
            (
                !(c.weight_decay >= 0.0 && c.weight_decay.is_finite()),
                "finetune.weight_decay",
                c.weight_decay.to_string(),
                "0 or more",
            ),
            (
                !(0.0..=1.0).contains(&c.max_norm),
                "finetune.max_norm",
                c.max_norm.to_string(),
                "0 (none) to 1",
            ),
            (
                !(0.0..=100.0).contains(&c.tau),
                "finetune.tau",
                c.tau.to_string(),
                "0 to 100; 0 to 2 is usual",
            ),
            (
                !(0.0..=100.0).contains(&c.focal_gamma),
                "finetune.focal_gamma",
                c.focal_gamma.to_string(),
                "0 to 100",
            ),
            (
                !(0.0..1.0).contains(&c.class_balance_beta),
                "finetune.class_balance_beta",
                c.class_balance_beta.to_string(),
                "0 up to, not including, 1",
            ),
            (
                !(0.0..=2.0).contains(&c.ldam_margin),
                "finetune.ldam_margin",
                c.ldam_margin.to_string(),
                "0 to 2, a difference of cosines",
            ),
            (
                !(c.cosine_scale > 0.0 && c.cosine_scale.is_finite()),
                "finetune.cosine_scale",
                c.cosine_scale.to_string(),
                "a positive number",
            ),
            (
                !(0.0..=1.0).contains(&c.drw_start),
                "finetune.drw_start",
                c.drw_start.to_string(),
                "0 to 1",
            ),
            (
                !c.smoothing.iter().all(|s| (0.0..1.0).contains(s)),
                "finetune.smoothing",
                format!("{:?}", c.smoothing),
                "[head, tail], each 0 up to, not including, 1",
            ),
            (
                !(c.mixup_alpha > 0.0 && c.mixup_alpha.is_finite()),
                "finetune.mixup_alpha",
                c.mixup_alpha.to_string(),
                "a positive number",
            ),
            (
                !(1..=1024).contains(&c.num_neighbours),
                "finetune.num_neighbours",
                c.num_neighbours.to_string(),
                "1 to 1024",
            ),
            (
                !(c.tukey_power > 0.0 && c.tukey_power <= 2.0),
                "finetune.tukey_power",
                c.tukey_power.to_string(),
                "above 0, at most 2",
            ),
            (
                !(0.0..=1e6).contains(&c.calibration_spread),
                "finetune.calibration_spread",
                c.calibration_spread.to_string(),
                "0 or more",
            ),
        ],
    )
}

/// (violated, key, value, what it may be)
pub(super) type Rule = (bool, &'static str, String, &'static str);

pub(super) fn check_all(file: &Path, rules: &[Rule]) -> Result<(), ConfigError> {
    match rules.iter().find(|(violated, ..)| *violated) {
        None => Ok(()),
        Some((_, key, found, expected)) => {
            Err(ConfigError::OutOfRange { file: file.into(), key, found: found.clone(), expected })
        }
    }
}
