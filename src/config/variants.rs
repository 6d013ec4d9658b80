//! Variants of a pipeline: `[variants.NAME]` of `x.toml` is asked for as `x-NAME.toml`, a file that need
//! not exist, and several in a row as `x-NAME-OTHER.toml`.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::ConfigError;

/// Section of a pipeline that holds its variants.
pub(super) const SECTION: &str = "variants";

/// The file that `asked` stands for and what follows its stem: `x.toml` and `small` for
/// `x-small.toml` where only `x.toml` exists.
///
/// The longest stem wins; a file that exists stands for itself, and so does one without any such file.
pub(super) fn file_of(asked: &Path) -> (PathBuf, String) {
    let itself = (asked.to_path_buf(), String::new());
    let Some(stem) = asked.file_stem().and_then(|s| s.to_str()).filter(|_| !asked.exists()) else {
        return itself;
    };
    let shorter = stem.rmatch_indices('-').find_map(|(at, _)| {
        let file = asked.with_file_name(format!("{}.toml", &stem[..at]));
        file.is_file().then(|| (file, stem[at + 1..].to_string()))
    });
    shorter.unwrap_or(itself)
}

/// Takes the variants out of `table` and puts the settings of those that `asked` names in their places;
/// every variant must be a table of sections.
pub(super) fn apply(file: &Path, table: &mut Table, asked: &str) -> Result<(), ConfigError> {
    let variants = match table.remove(SECTION) {
        None => Table::new(),
        Some(Value::Table(variants)) => variants,
        Some(other) => return Err(not_a_table(file, SECTION.into(), &other)),
    };
    for (name, settings) in &variants {
        for (key, value) in settings.as_table().into_iter().flatten() {
            if !value.is_table() && key != "seed" {
                return Err(not_a_table(file, format!("{SECTION}.{name}.{key}"), value));
            }
        }
        if !settings.is_table() {
            return Err(not_a_table(file, format!("{SECTION}.{name}"), settings));
        }
    }
    for name in names(asked, &variants).ok_or_else(|| unknown(file, asked, &variants))? {
        for (section, value) in variants[&name].as_table().into_iter().flatten() {
            merge(table, section, value);
        }
    }
    Ok(())
}

/// The variants of a pipeline, in order of name.
///
/// # Errors
/// The file cannot be read, or is not TOML.
pub fn of(file: &Path) -> Result<Vec<String>, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Read { file: file.into(), source })?;
    let table: Table = toml::from_str(&text).map_err(|e| ConfigError::Syntax {
        file: file.into(),
        message: e.to_string().trim_end().into(),
    })?;
    let variants = table.get(SECTION).and_then(Value::as_table);
    Ok(variants.into_iter().flatten().map(|(name, _)| name.clone()).collect())
}

/// `a-b-c` as a row of names, of which some contain hyphens; `None` where it is not a row of names.
fn names(asked: &str, variants: &Table) -> Option<Vec<String>> {
    if asked.is_empty() {
        return Some(vec![]);
    }
    let ends = asked.match_indices('-').map(|(at, _)| at).chain([asked.len()]);
    let ends: Vec<usize> = ends.collect();
    ends.into_iter().rev().find_map(|end| {
        let name = &asked[..end];
        let rest = names(asked.get(end + 1..).unwrap_or_default(), variants);
        let rest = rest.filter(|_| variants.contains_key(name))?;
        Some([vec![name.to_string()], rest].concat())
    })
}

fn merge(table: &mut Table, section: &str, value: &Value) {
    match (table.get_mut(section), value) {
        (Some(Value::Table(old)), Value::Table(new)) => {
            old.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        _ => {
            table.insert(section.into(), value.clone());
        }
    }
}

fn not_a_table(file: &Path, key: String, found: &Value) -> ConfigError {
    ConfigError::Variant {
        file: file.into(),
        found: format!("`{key}` is {found}"),
        expected: "sections such as `train.epochs = 40` below [variants.NAME]".into(),
    }
}

fn unknown(file: &Path, asked: &str, variants: &Table) -> ConfigError {
    let known: Vec<&str> = variants.keys().map(String::as_str).collect();
    ConfigError::Variant {
        file: file.into(),
        found: format!("no variant `{asked}`"),
        expected: match known.is_empty() {
            true => "a file of that name, for this pipeline has no variants".into(),
            false => format!("one of {}, or some of them in a row", known.join(", ")),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    const TEXT: &str = "[dataset]\npath = 'images'\n[train]\nepochs = 7\nflip = false\n\
        [variants.small]\ntrain.epochs = 2\nnetwork.width = 16\n\
        [variants.'cb-0.9']\ntrain.loss = 'class-balanced'\ntrain.class_balance_beta = 0.9\n";

    fn folder(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x-y.toml"), text).unwrap();
        dir
    }

    #[test]
    fn variants_change_what_they_name_and_add_up() {
        let dir = folder(TEXT);
        let of = |name: &str| load(&dir.path().join(name), &[]).unwrap();
        assert_eq!(of("x-y.toml").pipeline.train.epochs, 7);
        let small = of("x-y-small.toml");
        assert_eq!(small.name, "x-y-small");
        assert_eq!((small.pipeline.train.epochs, small.pipeline.network.width), (2, 16));
        assert!(!small.pipeline.train.flip);
        let both = of("x-y-cb-0.9-small.toml").pipeline;
        assert_eq!((both.train.class_balance_beta, both.train.epochs), (0.9, 2));
        assert_eq!(super::of(&dir.path().join("x-y.toml")).unwrap(), ["cb-0.9", "small"]);
        let set = load(&dir.path().join("x-y-small.toml"), &["train.epochs=3".into()]).unwrap();
        assert_eq!(set.pipeline.train.epochs, 3);
    }

    #[test]
    fn what_is_no_variant_is_said() {
        let message = |text: &str, name: &str| {
            let dir = folder(text);
            load(&dir.path().join(name), &[]).unwrap_err().to_string()
        };
        let found = message(TEXT, "x-y-large.toml");
        assert!(found.contains("no variant `large`") && found.contains("cb-0.9, small"), "{found}");
        assert!(message(TEXT, "z.toml").contains("cannot be read"));
        let found = message(&TEXT.replace("train.epochs = 2", "epochs = 2"), "x-y.toml");
        assert!(found.contains("`variants.small.epochs` is 2"), "{found}");
        // A variant's keys and values are checked like the pipeline's, when it is asked for.
        let found = message(&TEXT.replace("train.epochs = 2", "train.epoch = 2"), "x-y-small.toml");
        assert!(found.contains("did you mean `epochs`"), "{found}");
        let found =
            message(&TEXT.replace("train.epochs = 2", "train.epochs = 0"), "x-y-small.toml");
        assert!(found.contains("`train.epochs` is 0"), "{found}");
    }
}
