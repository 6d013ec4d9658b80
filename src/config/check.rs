//! From TOML text to checked settings.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{FinetuneConfig, Pipeline, Stem};

/// What can be wrong with a pipeline.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}\n  Give the path of a pipeline, such as pipelines/demo.toml.", file.display())]
    Read {
        /// The pipeline.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{}: {message}", file.display())]
    Syntax {
        /// The pipeline.
        file: PathBuf,
        /// Position, expected and found.
        message: String,
    },
    /// A key that no setting has.
    #[error("{}{}: unknown key `{key}`{}", file.display(), line_suffix(*line), suggestion(nearest, known))]
    UnknownKey {
        /// The pipeline.
        file: PathBuf,
        /// Its line, from 1; 0 for an override.
        line: usize,
        /// The key with its section.
        key: String,
        /// The known key that is closest to it.
        nearest: Option<String>,
        /// All keys known there.
        known: Vec<String>,
    },
    /// A value out of its range.
    #[error("{}: `{key}` is {found}; expected {expected}", file.display())]
    OutOfRange {
        /// The pipeline.
        file: PathBuf,
        /// The key with its section.
        key: &'static str,
        /// The value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A grid that is not `key=v1,v2,...`.
    #[error("--grid {text}: expected key=v1,v2,..., such as head_ratio=0.7,0.8,0.9")]
    Grid {
        /// What was given.
        text: String,
    },
    /// An override that is not `section.key=value`.
    #[error("--set {text}: expected section.key=value, such as train.epochs=40")]
    Override {
        /// What was given.
        text: String,
    },
}

fn line_suffix(line: usize) -> String {
    if line > 0 { format!(", line {line}") } else { " with --set".into() }
}

fn suggestion(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(key) => format!("; did you mean `{key}`?"),
        None => format!("; known here: {}", known.join(", ")),
    }
}

/// Parses `text`, applies the overrides and checks keys, types and ranges.
pub(super) fn parse(
    file: &Path,
    text: &str,
    overrides: &[String],
) -> Result<(Pipeline, Table), ConfigError> {
    let syntax = |e: toml::de::Error| ConfigError::Syntax {
        file: file.into(),
        message: e.to_string().trim_end().into(),
    };
    let mut table: Table = toml::from_str(text).map_err(syntax)?;
    refuse_unknown(file, text, &table)?;
    // Types are checked on the text itself, so that the message shows the line.
    let mut pipeline: Pipeline = toml::from_str(text).map_err(syntax)?;
    if !overrides.is_empty() {
        for assignment in overrides {
            apply_override(&mut table, assignment)?;
        }
        refuse_unknown(file, text, &table)?;
        pipeline = table.clone().try_into().map_err(syntax)?;
    }
    let keys = table.get("finetune").and_then(Value::as_table).cloned().unwrap_or_default();
    pipeline.finetune = super::finetune::resolve(&keys, &Table::new()).map_err(syntax)?;
    ranges(file, &pipeline)?;
    Ok((pipeline, keys))
}

/// The settings of Phase-II from two tables of keys, checked.
pub(super) fn finetune(
    place: &Path,
    file: &Table,
    flags: &Table,
) -> Result<FinetuneConfig, ConfigError> {
    let section = Table::from_iter([("finetune".into(), Value::Table(flags.clone()))]);
    refuse_unknown(place, "", &section)?;
    let config = super::finetune::resolve(file, flags).map_err(|e| ConfigError::Syntax {
        file: place.into(),
        message: e.to_string().trim_end().into(),
    })?;
    finetune_ranges(place, &config)?;
    Ok(config)
}

fn apply_override(table: &mut Table, assignment: &str) -> Result<(), ConfigError> {
    let wrong = || ConfigError::Override { text: assignment.into() };
    let (key, text) = assignment.split_once('=').ok_or_else(wrong)?;
    let value = value_of(text);
    match key.trim().split_once('.') {
        None => table.insert(key.trim().into(), value),
        Some((section, key)) => table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(wrong)?
            .insert(key.into(), value),
    };
    Ok(())
}

/// A value in TOML syntax; a bare word is a string.
pub(super) fn value_of(text: &str) -> Value {
    toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(text.into()))
}

/// Compares the keys of `table` with those of the defaults.
fn refuse_unknown(file: &Path, text: &str, table: &Table) -> Result<(), ConfigError> {
    let known = Table::try_from(Pipeline::default()).expect("the defaults are TOML");
    for (key, value) in table {
        let Some(default) = known.get(key) else {
            return Err(unknown(file, text, "", key, &known));
        };
        if let (Value::Table(section), Value::Table(known)) = (value, default)
            && let Some(stray) = section.keys().find(|k| !known.contains_key(*k))
        {
            return Err(unknown(file, text, key, stray, known));
        }
    }
    Ok(())
}

fn unknown(file: &Path, text: &str, section: &str, key: &str, known: &Table) -> ConfigError {
    const CLOSE_ENOUGH: f64 = 0.75;
    let nearest = known
        .keys()
        .map(|k| (strsim::jaro_winkler(k, key), k))
        .filter(|(similarity, _)| *similarity > CLOSE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.clone());
    let full = if section.is_empty() { key.into() } else { format!("{section}.{key}") };
    ConfigError::UnknownKey {
        file: file.into(),
        line: line_of(text, section, key),
        key: full,
        nearest,
        known: known.keys().cloned().collect(),
    }
}

/// The line, from 1, on which `key` stands in `[section]`; 0 where it does not.
fn line_of(text: &str, section: &str, key: &str) -> usize {
    let mut current = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            current = name.trim().into();
            if section.is_empty() && current == key {
                return number + 1;
            }
        }
        let stands = line.split('=').next().is_some_and(|k| k.trim().trim_matches('"') == key);
        if current == section && stands {
            return number + 1;
        }
    }
    0
}

fn ranges(file: &Path, p: &Pipeline) -> Result<(), ConfigError> {
    let (d, n, t, f) = (&p.dataset, &p.network, &p.train, &p.features);
    let triple = |v: &[f32]| v.is_empty() || v.len() == 3;
    check_all(file, &super::lists::rules(d))?;
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
                !(0.0..1.0).contains(&d.val_fraction),
                "dataset.val_fraction",
                d.val_fraction.to_string(),
                "0 up to, not including, 1",
            ),
            (
                !(8..=1024).contains(&d.image_size),
                "dataset.image_size",
                d.image_size.to_string(),
                "8 to 1024 pixels",
            ),
            (
                !(d.crop_fraction > 0.0 && d.crop_fraction <= 1.0),
                "dataset.crop_fraction",
                d.crop_fraction.to_string(),
                "above 0, at most 1",
            ),
            (
                !triple(&d.mean) || d.mean.iter().any(|v| !v.is_finite()),
                "dataset.mean",
                format!("{:?}", d.mean),
                "three numbers (R, G, B)",
            ),
            (
                !triple(&d.std) || d.std.iter().any(|v| !(*v > 0.0 && v.is_finite())),
                "dataset.std",
                format!("{:?}", d.std),
                "three positive numbers (R, G, B)",
            ),
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
                t.crop_padding > d.image_size,
                "train.crop_padding",
                t.crop_padding.to_string(),
                "at most dataset.image_size",
            ),
            (
                t.checkpoint_every == 0,
                "train.checkpoint_every",
                t.checkpoint_every.to_string(),
                "at least 1",
            ),
            (!(1..=1024).contains(&f.views), "features.views", f.views.to_string(), "1 to 1024"),
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
    )?;
    finetune_ranges(file, &p.finetune)
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

fn check_all(file: &Path, rules: &[Rule]) -> Result<(), ConfigError> {
    match rules.iter().find(|(violated, ..)| *violated) {
        None => Ok(()),
        Some((_, key, found, expected)) => {
            Err(ConfigError::OutOfRange { file: file.into(), key, found: found.clone(), expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "seed = 3\n[dataset]\nkind = \"cifar10\"\npath = \"x\"\n";

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        parse(Path::new("p.toml"), text, &overrides).unwrap_err().to_string()
    }

    #[test]
    fn absent_keys_take_their_defaults() {
        let p = parse(Path::new("p.toml"), VALID, &[]).unwrap().0;
        assert_eq!((p.seed, p.train, p.finetune), (3, Default::default(), Default::default()));
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_known_one() {
        let text = format!("{VALID}[train]\n# comment\nlearning_rat = 0.1\n");
        assert_eq!(
            error(&text, &[]),
            "p.toml, line 7: unknown key `train.learning_rat`; did you mean `learning_rate`?"
        );
        let text = format!("{VALID}[trian]\nepochs = 1\n");
        assert_eq!(error(&text, &[]), "p.toml, line 5: unknown key `trian`; did you mean `train`?");
        let text = format!("{VALID}[network]\nzzz = 1\n");
        assert_eq!(
            error(&text, &[]),
            "p.toml, line 6: unknown key `network.zzz`; known here: arch, freeze, stem, weights, width"
        );
    }

    #[test]
    fn wrong_types_and_ranges_are_refused() {
        let message = error(&format!("{VALID}[train]\nepochs = \"ten\"\n"), &[]);
        assert!(message.contains("line 6") && message.contains("epochs = \"ten\""), "{message}");
        let message = error(&format!("{VALID}[finetune]\ntau_specific = 1.0\n"), &[]);
        assert_eq!(
            message,
            "p.toml: `finetune.tau_specific` is 1; expected between 0 and 1, both excluded"
        );
        assert!(error(VALID, &["train.momentum=nan"]).contains("train.momentum"));
        assert!(error("seed = 1", &[]).contains("dataset.path"));
    }

    #[test]
    fn overrides_take_toml_values_and_bare_words() {
        let overrides =
            ["train.epochs=7", "network.arch=resnet34", "finetune.gamma_range=[0.2, 0.8]"];
        let overrides = overrides.map(String::from);
        let p = parse(Path::new("p.toml"), VALID, &overrides).unwrap().0;
        assert_eq!(p.train.epochs, 7);
        assert_eq!(p.network.arch, super::super::Arch::Resnet34);
        assert_eq!(p.finetune.gamma_range, [0.2, 0.8]);
        assert!(error(VALID, &["train.epoch=7"]).contains("with --set: unknown key `train.epoch`"));
        assert!(error(VALID, &["epochs"]).contains("section.key=value"));
    }
}
