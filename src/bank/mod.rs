//! The bank on disk: Parquet shards, the Phase-I classifier, and a manifest that is written last.
//!
//! The contract (files, columns, encodings, versions) is `schemas/bank-v2.md`, which a test
//! compares with the code. Every byte that a reader hands on has been checked against the
//! manifest's checksums first. Those say nothing of a bank that was made to do harm: `footer` and
//! `pages` compare every number with the contract before the Parquet decoder sees it.

mod build;
mod classes;
mod classes_table;
mod columns;
mod entry;
mod examine;
mod files;
mod index;
mod manifest;
mod map_pages;
mod map_reader;
mod map_spec;
mod maps;
mod open_shard;
mod place;
mod plan;
mod reader;
mod rounding;
mod schema;
mod shard;
mod verified;

use std::path::{Path, PathBuf};

use crate::atomic_file::WriteError;
use crate::text::shell_path;
use crate::weights::WeightsError;

pub use build::{Build, BuildState, Committed, ShardResult};
pub use columns::{Column, RowValues};
pub use examine::{
    ClassTable, DamagedRange, Decoded, ExaminedGroup, ExaminedShard, Lists, read_file,
};
pub use files::{BankFile, BankFiles, FolderFiles};
pub use index::{RowIndex, RowRequest, Rows};
pub use manifest::{
    CLASSES_FILE, CLASSIFIER_FILE, Checksum, DatasetCard, FORMAT_VERSION, FileEntry, MANIFEST_FILE,
    Manifest, ModelRef, RowGroupEntry, ShardEntry, SplitEntry, ViewSettings,
};
pub use map_spec::{LAST_LAYER, Locations, MapSpec};
pub use maps::MapsKept;
pub use open_shard::OpenShard;
pub use place::behind_links;
pub use plan::{BuildPlan, Partition, PlannedShard};
pub use reader::{Bank, RowReader};
pub(crate) use rounding::round;
pub use schema::{classes_schema, describe_columns, pooled_schema, train_schema};
pub use shard::{Layout, RowHead, ShardFormat, ShardWriter, TrainRow};

/// Where damage to the manifest itself is.
const MANIFEST_PLACE: &str = "the manifest";

/// What can be wrong with a bank. Each message says where, what was expected, what was found and
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// Not a bank, or one whose writing did not finish.
    #[error("{}: {found}\n  {remedy}", dir.display())]
    NoManifest {
        /// The folder.
        dir: PathBuf,
        /// What was found.
        found: &'static str,
        /// What to do.
        remedy: String,
    },
    /// A bank that is under way.
    #[error("{}: not finished; the part that is done is in {}\n  Run the same `fsa-bank features` again to make what is missing.", dir.display(), partial.display())]
    Unfinished {
        /// The bank's place.
        dir: PathBuf,
        /// Where it grows.
        partial: PathBuf,
    },
    /// The manifest is not what this version reads.
    #[error("{}: {found}\n  Restore it from a copy, or make the bank again: the same `fsa-bank features` with --overwrite.", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// A manifest of a newer format.
    #[error("{}: bank format {found}; this fsa-bank ({}) reads up to {known}\n  Install fsa-bank{needs}.", path.display(), env!("CARGO_PKG_VERSION"))]
    NewerFormat {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is read.
        known: u32,
        /// The first version of the program that reads it, where the manifest says so.
        needs: String,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}\n  Restore the file, or make it again: `fsa-bank verify SHARDS --repair PIPELINE`, or --repair --onnx NETWORK --images IMAGES.", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is shorter or longer than the manifest says.
    #[error("{}: {found} bytes; the manifest says {expected}\n  The file was cut off or replaced; restore it, or make it again: `fsa-bank verify SHARDS --repair PIPELINE`, or --repair --onnx NETWORK --images IMAGES.", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length it should have.
        expected: u64,
    },
    /// Bytes that are not those that were written.
    #[error("{}: {place} is damaged: checksum {found}, the manifest says {expected}\n  The file was altered; restore it, or make {}.", path.display(), how_to_repair(place))]
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
    #[error("{}: {found}; expected {expected}\n  Make the bank again: the same `fsa-bank features` with --overwrite.", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What the contract requires.
        expected: String,
    },
    /// A map was asked for that the bank does not keep.
    #[error("{}: a row of class {class} has no map to read; this bank keeps {kept}\n  Make the bank again with `fsa-bank features --maps all --overwrite`.", path.display())]
    NoMap {
        /// The shard.
        path: PathBuf,
        /// Class of the row.
        class: u32,
        /// What the bank keeps.
        kept: String,
    },
    /// The classifier is not the one that the bank's CAMs were made with.
    #[error("{}: not the classifier that this bank was made with: sha256 {found}, expected {expected}\n  It was replaced or altered; restore it, or make it again: `fsa-bank verify SHARDS --repair PIPELINE`, or --repair --onnx NETWORK --images IMAGES.", path.display())]
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
    /// A file where a bank is to be.
    #[error("{}: a file; a bank is a folder\n  Move it away, or choose another folder with --out.", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// A bank made from something else is in the way.
    #[error("{}: another bank exists here: {what}\n  Choose another folder with --out, or replace it with --overwrite.", dir.display())]
    OtherBank {
        /// The folder.
        dir: PathBuf,
        /// What differs.
        what: String,
    },
    /// A bank of something else was begun there.
    #[error("{}: another bank was begun here: {what}\n  Finish it with its own settings, choose another folder with --out, or replace what differs with --overwrite.", dir.display())]
    OtherBuild {
        /// The folder or marker.
        dir: PathBuf,
        /// What differs.
        what: String,
    },
    /// No bank was begun.
    #[error("{}: no unfinished bank here (plan.json is missing or unreadable)\n  Make the shards with `fsa-bank features`; a finished bank needs no commit.", dir.display())]
    NoBuild {
        /// The folder.
        dir: PathBuf,
    },
    /// An image that changed while its views were made.
    #[error(
        "{image}: this image was readable at the first pass but not when {shard} was written\n  That shard is not kept. Run the same command again once the image is readable."
    )]
    ImageChanged {
        /// The image.
        image: String,
        /// The shard's file.
        shard: String,
    },
    /// A bank that another process finished while this one was about to begin it.
    #[error("{}: another process has just finished this bank\n  Run the command again: it finds the finished bank.", dir.display())]
    Finished {
        /// The folder.
        dir: PathBuf,
    },
    /// A bank with missing shards.
    #[error("{}: {state}; missing: {}\n  Make them with `fsa-bank features`, in one go or with --partition.", dir.display(), some_of(missing))]
    MissingShards {
        /// Where it grows.
        dir: PathBuf,
        /// How far it is.
        state: BuildState,
        /// Files that are missing.
        missing: Vec<String>,
    },
    /// Shards without an image of a class.
    #[error("{}: no training image of class `{class}` has rows\n  None of its training images could be decoded; replace them, or leave the class out.", dir.display())]
    EmptyClass {
        /// Where the bank grows.
        dir: PathBuf,
        /// Its name.
        class: String,
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

/// The first of many names.
fn some_of(names: &[String]) -> String {
    const TOLD: usize = 5;
    let told = names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// What replaces a damaged file.
fn how_to_repair(place: &str) -> &'static str {
    match place {
        MANIFEST_PLACE => "the bank again: the same `fsa-bank features` with --overwrite",
        _ => {
            "it again: `fsa-bank verify SHARDS --repair PIPELINE`, or --repair --onnx NETWORK --images IMAGES"
        }
    }
}

impl BankError {
    /// Of a place without a manifest.
    fn no_bank(dir: PathBuf) -> Self {
        let inner = dir.join(BANK_FOLDER);
        let again = "or run `fsa-bank features` again.";
        let (found, remedy) = match () {
            () if dir.exists() && !dir.is_dir() => (
                "a file; expected the folder of a bank",
                "Give the shards/ folder of a run; `fsa-bank features` makes one of a network and images."
                    .into(),
            ),
            () if !dir.exists() => (
                "no such folder; expected that of a bank",
                "Give the shards/ folder of a run, or make it with `fsa-bank features`.".into(),
            ),
            () if inner.join(MANIFEST_FILE).is_file() => (
                "no manifest.json; the bank is in the folder `shards/` below it",
                format!("Give {}.", shell_path(&inner)),
            ),
            () => (
                "no manifest.json; this is not a bank, or `fsa-bank features` did not finish it",
                format!("Give the shards/ folder of a run, {again}"),
            ),
        };
        Self::NoManifest { dir, found, remedy }
    }
}

/// Name of a bank's folder in that of its run.
const BANK_FOLDER: &str = "shards";

/// The folder beside a bank whose name is the bank's and `suffix`.
fn beside(bank: &Path, suffix: &str) -> PathBuf {
    let mut name = bank.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    bank.with_file_name(name)
}

/// Where the bank `bank` grows until it is whole.
fn unfinished(bank: &Path) -> PathBuf {
    beside(bank, ".partial")
}
