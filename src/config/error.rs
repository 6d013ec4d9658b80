//! What can be wrong with a pipeline, and with what the command line says in its place.

use std::path::PathBuf;

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
        expected: String,
    },
    /// Two sources that contradict each other about a network's inputs.
    #[error("{place}: `dataset.{key}` is {found}; {said}\n  {remedy}")]
    Preprocessing {
        /// The one that says it later.
        place: String,
        /// The key, in `[dataset]`.
        key: &'static str,
        /// Its value there.
        found: String,
        /// Who says what of it.
        said: String,
        /// What to do.
        remedy: String,
    },
    /// A file for `--preprocessing` that cannot be taken.
    #[error("{}: {message}", file.display())]
    Timm {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what is expected.
        message: String,
    },
    /// A variant that does not exist, or is not made of settings.
    #[error("{}: {found}; expected {expected}", file.display())]
    Variant {
        /// The pipeline.
        file: PathBuf,
        /// What is wrong.
        found: String,
        /// What may be there.
        expected: String,
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
