//! The project's own rules: which crate may appear where, files of a readable size, docs that
//! agree with the code.

use std::fs;
use std::path::{Path, PathBuf};

use fsa_bank::config::{self, FinetuneConfig, Pipeline};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Paths below src/ with their text, comments and strings included.
pub fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(path).unwrap())
    };
    files_below(&src, "rs").into_iter().map(read).collect()
}

fn uses(text: &str, krate: &str) -> bool {
    let word = format!("{krate}::");
    text.match_indices(&word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[test]
fn crates_stay_where_they_belong() {
    let rules: [(&[&str], &[&str]); 7] = [
        (&["tch", "torch_sys"], &["torch/"]),
        (&["ort"], &["backbone/onnx/session.rs"]),
        (&["prost"], &["backbone/onnx/", "train/event_file.rs"]),
        (
            &["arrow", "parquet"],
            &["bank/", "dataset/table", "report/predictions.rs", "untrusted_parquet/"],
        ),
        (&["clap", "indicatif", "anyhow", "ctrlc"], &["cli/"]),
        (&["ureq", "md5"], &["fetch/download.rs"]),
        (&["image", "fast_image_resize"], &["dataset/decode.rs", "dataset/overlay.rs"]),
    ];
    let sources = sources();
    for (crates, places) in rules {
        for krate in crates {
            for (name, text) in &sources {
                let allowed = places.iter().any(|place| name.starts_with(place));
                assert!(
                    allowed || !uses(text, krate),
                    "{name} uses {krate}, which belongs in {places:?}"
                );
            }
        }
        // The rule is about something.
        assert!(
            sources.iter().any(|(_, text)| crates.iter().any(|krate| uses(text, krate))),
            "{crates:?}"
        );
    }
}

#[test]
fn stages_do_not_reach_up_or_sideways() {
    let lower = ["bank/", "augment/", "sampler/", "dataset/", "backbone/"];
    let upper = [
        "train",
        "features",
        "finetune",
        "inspect",
        "check",
        "statistics",
        "fetch",
        "report",
        "verify",
        "cli",
    ];
    for (name, text) in sources() {
        if lower.iter().any(|place| name.starts_with(place)) {
            for module in upper {
                assert!(!text.contains(&format!("crate::{module}")), "{name} uses crate::{module}");
            }
        }
        if name.starts_with("sampler/") || name.starts_with("augment/") {
            assert!(
                !text.contains("crate::bank") && !text.contains("std::fs"),
                "{name} reads the bank"
            );
        }
    }
}

#[test]
fn every_file_begins_with_its_place_and_is_short_enough_to_read() {
    for (name, text) in sources() {
        assert!(
            text.starts_with("//!") || text.starts_with("#![doc"),
            "{name} does not say what it is"
        );
        let lines = text.lines().count();
        assert!(lines <= 600, "{name} has {lines} lines");
    }
}

#[test]
fn every_pipeline_is_valid() {
    let pipelines = files_below(&root().join("pipelines"), "toml");
    assert!(pipelines.len() >= 11);
    for file in pipelines {
        config::load(&file, &[]).unwrap_or_else(|e| panic!("{e}"));
        let stem = file.file_stem().unwrap().to_str().unwrap();
        for variant in config::variants_of(&file).unwrap() {
            let variant = file.with_file_name(format!("{stem}-{variant}.toml"));
            config::load(&variant, &[]).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

#[test]
fn the_symbol_table_has_every_setting() {
    let docs = fs::read_to_string(root().join("docs/method.md")).unwrap();
    for key in toml::Table::try_from(FinetuneConfig::default()).unwrap().keys() {
        let flag = format!("`--{}`", key.replace('_', "-"));
        let row =
            docs.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{key}`")));
        assert!(
            row.is_some_and(|row| row.contains(&flag)),
            "docs/method.md has no row with `{key}` and {flag}"
        );
    }
}

/// Every key outside `[finetune]` has a row in docs/pipeline.md, with its default where it is a value.
#[test]
fn every_setting_is_documented_with_its_default() {
    let docs = fs::read_to_string(root().join("docs/pipeline.md")).unwrap();
    let defaults = toml::Table::try_from(Pipeline::default()).unwrap();
    let mut seen = 0;
    for (section, keys) in defaults.iter().filter(|(name, _)| *name != "finetune") {
        let heading = format!("## `[{section}]`");
        let part = docs.split(&heading).nth(1).unwrap_or_default().split("\n## ").next().unwrap();
        for (key, default) in keys.as_table().into_iter().flatten() {
            let row = part.lines().find(|line| {
                let cell = line.split('|').nth(1).unwrap_or_default();
                cell.contains(&format!("`{key}`"))
            });
            let row = row.unwrap_or_else(|| panic!("docs/pipeline.md: no row for {section}.{key}"));
            let cell = row.split('|').nth(2).unwrap().trim().trim_matches('`');
            let Ok(shown) = toml::from_str::<toml::Table>(&format!("v = {cell}")) else {
                continue;
            };
            let number = |v: &toml::Value| v.as_float().or(v.as_integer().map(|i| i as f64));
            // A default in f32 is the nearest to what the document says.
            let close = number(&shown["v"])
                .zip(number(default))
                .is_some_and(|(a, b)| (a - b).abs() <= 1e-6 * a.abs());
            assert!(close || shown["v"] == *default, "{section}.{key}: {cell}, {default}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}
