//! The bank on disk: Parquet shards, the Phase-I classifier, and a manifest that is written last.
//!
//! The contract (files, columns, encodings, versions) is `schemas/bank-v1.md`, which a test
//! compares with the code. Every byte that a reader hands on has been checked against the
//! manifest's checksums first.

mod columns;
mod index;
mod manifest;
mod reader;
mod schema;
mod verified;
mod writer;

use std::path::PathBuf;

use crate::atomic_file::WriteError;
use crate::weights::WeightsError;

pub use columns::{Column, RowValues};
pub use index::{RowIndex, RowRequest, Rows};
pub use manifest::{
    CLASSES_FILE, CLASSIFIER_FILE, Checksum, DatasetCard, FORMAT_VERSION, FileEntry, MANIFEST_FILE,
    Manifest, ModelRef, RowGroupEntry, ShardEntry, SplitEntry, ViewSettings,
};
pub use reader::{Bank, RowReader, SplitName};
pub use schema::{classes_schema, describe_columns, pooled_schema, train_schema};
pub use writer::{BankWriter, ClassRow, Layout, RowHead, TrainRow, Written};

/// What can be wrong with a bank. Each message says where, what was expected, what was found and
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// Not a bank, or one whose writing did not finish.
    #[error("{}: no manifest.json; this is not a bank, or `fsa-bank features` did not finish it\n  Give the shards/ folder of a run, or run `fsa-bank features` again.", dir.display())]
    NoManifest {
        /// The folder.
        dir: PathBuf,
    },
    /// The manifest is not what this version reads.
    #[error("{}: {found}\n  Make the bank again with `fsa-bank features --overwrite`.", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// A manifest of a newer format.
    #[error("{}: bank format {found}; this fsa-bank reads up to {known}\n  Install a newer fsa-bank.", path.display())]
    NewerFormat {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is read.
        known: u32,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}\n  The bank is incomplete; run `fsa-bank features --overwrite`.", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is shorter or longer than the manifest says.
    #[error("{}: {found} bytes; the manifest says {expected}\n  The file was cut off or replaced; run `fsa-bank features --overwrite`.", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length it should have.
        expected: u64,
    },
    /// Bytes that are not those that were written.
    #[error("{}: {place} is damaged: checksum {found}, the manifest says {expected}\n  The file was altered; restore it, or run `fsa-bank features --overwrite`.", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        place: String,
        /// Checksum of the bytes.
        found: Checksum,
        /// Checksum in the manifest.
        expected: Checksum,
    },
    /// A shard whose bytes are whole but whose content breaks the contract.
    #[error("{}: {found}; expected {expected}\n  Run `fsa-bank features --overwrite`.", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What the contract says.
        expected: String,
    },
    /// The classifier is not the one that the bank's CAMs were made with.
    #[error("{}: not the classifier that this bank was made with: sha256 {found}, expected {expected}\n  It was replaced or altered; restore it, or run `fsa-bank features --overwrite`.", path.display())]
    OtherClassifier {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash in the manifest.
        expected: String,
    },
    /// The classifier cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A value that the bank cannot hold.
    #[error(
        "{sample}, view {view}: the feature map holds {value}, which {precision} cannot hold\n  {remedy}"
    )]
    Value {
        /// Path of the image.
        sample: String,
        /// Its view.
        view: u32,
        /// The value.
        value: f32,
        /// The bank's precision.
        precision: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The Parquet library refused to write.
    #[error("{}: Parquet: {message}", path.display())]
    Encode {
        /// The shard.
        path: PathBuf,
        /// Its message.
        message: String,
    },
}
