//! From TOML text to checked settings.

use std::path::Path;

use toml::{Table, Value};

use super::settings::{check, value_of};
use super::{ConfigError, FinetuneConfig, Pipeline};
use crate::text::nearest;

/// A pipeline's text, checked.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) pipeline: Pipeline,
    /// The keys of `[finetune]` with their values.
    pub(super) finetune_keys: Table,
    /// The keys of `[dataset]`.
    pub(super) dataset_keys: Vec<String>,
}

fn dataset_keys(table: &Table) -> Vec<String> {
    let section = table.get("dataset").and_then(Value::as_table);
    section.map_or(vec![], |section| section.keys().cloned().collect())
}

/// The keys of `[dataset]` that overrides have.
pub(super) fn dataset_keys_of(overrides: &[String]) -> Result<Vec<String>, ConfigError> {
    let mut table = Table::new();
    overrides.iter().try_for_each(|assignment| apply_override(&mut table, assignment))?;
    Ok(dataset_keys(&table))
}

/// Parses `text`, applies the overrides and checks keys, types and ranges.
pub(super) fn parse(
    file: &Path,
    text: &str,
    variants: &str,
    overrides: &[String],
) -> Result<Parsed, ConfigError> {
    let syntax = |e: toml::de::Error| ConfigError::Syntax {
        file: file.into(),
        message: e.to_string().trim_end().into(),
    };
    let mut table: Table = toml::from_str(text).map_err(syntax)?;
    let has_variants = table.contains_key(super::variants::SECTION);
    super::variants::apply(file, &mut table, variants)?;
    refuse_unknown(file, text, &table)?;
    if !has_variants {
        // Types are checked on the text itself, so that the message shows the line.
        toml::from_str::<Pipeline>(text).map_err(syntax)?;
    }
    for assignment in overrides {
        apply_override(&mut table, assignment)?;
    }
    refuse_unknown(file, text, &table)?;
    let mut pipeline: Pipeline = table.clone().try_into().map_err(syntax)?;
    let keys = table.get("finetune").and_then(Value::as_table).cloned().unwrap_or_default();
    pipeline.finetune = super::finetune::resolve(&keys, &Table::new()).map_err(syntax)?;
    ranges(file, &pipeline)?;
    Ok(Parsed { pipeline, finetune_keys: keys, dataset_keys: dataset_keys(&table) })
}

/// Checks every section.
fn ranges(file: &Path, p: &Pipeline) -> Result<(), ConfigError> {
    check(file, &p.dataset)?;
    check(file, &p.network)?;
    check(file, &p.train)?;
    let (padding, side) = (p.train.crop_padding, p.dataset.image_size);
    if padding > side {
        return Err(ConfigError::OutOfRange {
            file: file.into(),
            key: "train.crop_padding",
            found: padding.to_string(),
            expected: "at most dataset.image_size".into(),
        });
    }
    check(file, &p.features)?;
    check(file, &p.finetune)
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
    check(place, &config)?;
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
    let nearest = nearest(key, known.keys().map(String::as_str)).map(String::from);
    let full = if section.is_empty() { key.into() } else { format!("{section}.{key}") };
    ConfigError::UnknownKey {
        file: file.into(),
        line: line_of(text, section, key),
        key: full,
        nearest,
        known: known.keys().cloned().collect(),
    }
}

/// The line, from 1, of `key` in `[section]`; 0 without one.
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

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "seed = 3\n[dataset]\nkind = \"cifar10\"\npath = \"x\"\n";

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        parse(Path::new("p.toml"), text, "", &overrides).unwrap_err().to_string()
    }

    #[test]
    fn absent_keys_take_their_defaults() {
        let p = parse(Path::new("p.toml"), VALID, "", &[]).unwrap().pipeline;
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
        assert!(error(VALID, &["train.crop_scale=[0.5, 0.2]"]).contains("train.crop_scale"));
        assert!(error(VALID, &["train.color_jitter=-0.1"]).contains("train.color_jitter"));
        assert!(error(VALID, &["train.crop=random"]).contains("padded"));
        assert!(error("seed = 1", &[]).contains("dataset.path"));
    }

    #[test]
    fn overrides_take_toml_values_and_bare_words() {
        let overrides =
            ["train.epochs=7", "network.arch=resnet34", "finetune.gamma_range=[0.2, 0.8]"];
        let overrides = overrides.map(String::from);
        let p = parse(Path::new("p.toml"), VALID, "", &overrides).unwrap().pipeline;
        assert_eq!(p.train.epochs, 7);
        assert_eq!(p.network.arch, super::super::Arch::Resnet34);
        assert_eq!(p.finetune.gamma_range, [0.2, 0.8]);
        assert!(error(VALID, &["train.epoch=7"]).contains("with --set: unknown key `train.epoch`"));
        assert!(error(VALID, &["epochs"]).contains("section.key=value"));
    }
}
