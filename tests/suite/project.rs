//! The project's own rules: which crate may appear where, files of a readable size, docs that
//! agree with the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fsa_bank::config::{self, Section, Setting};
use fsa_bank::config::{
    DatasetConfig, FeaturesConfig, FinetuneConfig, NetworkConfig, Pipeline, TrainConfig,
};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
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

/// Which module may use which is in the table of floors (`floors.rs`).
#[test]
fn arithmetic_reads_no_files() {
    for (name, text) in sources() {
        let is_pure =
            ["sampler/", "augment/", "methods/"].iter().any(|room| name.starts_with(room));
        assert!(!is_pure || !text.contains("std::fs"), "{name} reads files");
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

type Column<S> = (&'static str, fn(&Setting<S>) -> String);

/// A table of a section's settings, as the documents have it.
fn table_of<S: Section>(columns: &[Column<S>]) -> String {
    let row = |cells: Vec<String>| {
        let cells = cells
            .iter()
            .map(|cell| if cell.is_empty() { " |".into() } else { format!(" {cell} |") });
        format!("|{}\n", cells.collect::<String>())
    };
    let head = row(columns.iter().map(|(name, _)| name.to_string()).collect());
    let rows = S::SETTINGS.iter().map(|s| row(columns.iter().map(|(_, cell)| cell(s)).collect()));
    format!("{head}|{}\n{}", "---|".repeat(columns.len()), rows.collect::<String>())
}

/// A table of a section of docs/pipeline.md.
fn plain_table<S: Section + Default>() -> String {
    table_of::<S>(&[
        ("key", |s| format!("`{}`", s.key)),
        ("default", Setting::default_text),
        ("values", Setting::expected_text),
        ("meaning", Setting::meaning),
    ])
}

/// The table of docs/method.md.
fn symbol_table() -> String {
    table_of::<FinetuneConfig>(&[
        ("paper", |s| s.symbol.into()),
        ("meaning", Setting::meaning),
        ("key in `[finetune]`", |s| format!("`{}`", s.key)),
        ("flag", |s| s.value_names.map_or(String::new(), |_| format!("`--{}`", s.flag_name()))),
        ("default", Setting::default_text),
        ("values", Setting::expected_text),
    ])
}

/// The first table below `heading`.
fn table_below<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, part) = text.split_once(&format!("\n## {heading}\n")).expect(heading);
    let begin = part.find("\n|").expect(heading) + 1;
    let end = part[begin..].find("\n\n").map_or(part.len(), |at| begin + at + 1);
    &part[begin..end]
}

/// `FSA_BANK_WRITE_DOCS=1` puts the tables of the settings into the documents.
#[test]
fn the_documents_have_the_tables_of_the_settings() {
    let tables = [
        ("docs/pipeline.md", "`[dataset]`", plain_table::<DatasetConfig>()),
        ("docs/pipeline.md", "`[network]`", plain_table::<NetworkConfig>()),
        ("docs/pipeline.md", "`[train]` (Phase-I)", plain_table::<TrainConfig>()),
        ("docs/pipeline.md", "`[features]`", plain_table::<FeaturesConfig>()),
        ("docs/method.md", "Symbols", symbol_table()),
    ];
    for (document, heading, expected) in tables {
        let file = root().join(document);
        let text = fs::read_to_string(&file).unwrap();
        let found = table_below(&text, heading);
        if std::env::var_os("FSA_BANK_WRITE_DOCS").is_some() {
            fs::write(&file, text.replacen(found, &expected, 1)).unwrap();
        } else {
            assert_eq!(found, expected, "{document}, {heading}: `make docs` writes its table");
        }
    }
}

/// No key is outside a table.
#[test]
fn every_key_of_a_pipeline_is_a_setting() {
    fn keys<S: Section>() -> BTreeSet<&'static str> {
        S::SETTINGS.iter().map(|setting| setting.key).collect()
    }
    let sections = [
        ("dataset", keys::<DatasetConfig>()),
        ("network", keys::<NetworkConfig>()),
        ("train", keys::<TrainConfig>()),
        ("features", keys::<FeaturesConfig>()),
        ("finetune", keys::<FinetuneConfig>()),
    ];
    let mut pipeline = toml::Table::try_from(Pipeline::default()).unwrap();
    for (section, keys) in sections {
        let section = pipeline.remove(section).unwrap();
        let written: BTreeSet<&str> =
            section.as_table().unwrap().keys().map(String::as_str).collect();
        assert_eq!(written, keys);
    }
    assert_eq!(pipeline.keys().collect::<Vec<_>>(), ["seed"]);
}
