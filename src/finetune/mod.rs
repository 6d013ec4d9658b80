//! Phase-II: a better classifier from the bank alone; no backbone is needed.
//!
//! FSA (paper, Sec. 4.3) and the methods it is compared with. Which samples a run draws is known before
//! it begins (`sampler`), so batches come in windows (`fuser`), made by one thread while another
//! trains on the window before.

mod computed;
mod diagnostics;
mod engine;
mod fuser;
mod held_maps;
mod jobs;
mod kept_maps;
mod memory;
mod run_folder;
mod scoring;
mod source;
mod window;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file::WriteError;
use crate::augment::ConfusingClasses;
use crate::bank::{Bank, BankError};
use crate::classifier::Classifier;
use crate::config::{FinetuneConfig, Method};
use crate::domain::{HeadTail, Split};
use crate::eval::Score;
use crate::progress::Watch;
use crate::text::{memory_text, need_text};

pub use computed::TAU_GRID;
pub use diagnostics::{BatchStatistics, Lengths};
pub use engine::CurvePoint;
pub use jobs::{Job, JobOptions, JobResult, Workbench};
pub use kept_maps::{MapNeed, MissingMaps};
pub use memory::least_memory_bytes;
pub(crate) use run_folder::shortened;
pub use run_folder::{CONFIG_FILE, METRICS_FILE, RunFolder};
pub use scoring::{Selection, SplitVectors};
pub use window::Fallbacks;

/// What can go wrong in Phase-II.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// The bank cannot be used.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A row of a sweep cannot be written.
    #[error("{0}\n  Every run that has its row is kept; the same command goes on with the others.")]
    Stopped(WriteError),
    /// All classes are head classes.
    #[error(
        "no tail class: at head_ratio {head_ratio} all {classes} classes belong to the head\n  Lower --head-ratio; classes of equal size have no tail."
    )]
    NoTail {
        /// h_r.
        head_ratio: f64,
        /// C.
        classes: usize,
    },
    /// The weights are no longer finite.
    #[error(
        "training has diverged: the classifier is no longer finite after {iterations} iterations\n  Lower --learning-rate."
    )]
    Diverged {
        /// Iterations done.
        iterations: usize,
    },
    /// The user stopped the run.
    #[error(
        "interrupted after {done} of {iterations} iterations; nothing was written\n  The same command starts again from the bank."
    )]
    Interrupted {
        /// Iterations done.
        done: usize,
        /// Iterations wanted.
        iterations: usize,
    },
    /// Not enough memory for any way to run.
    #[error(
        "--memory {}: too little for this bank; at least {} are needed\n  The index of the rows, the classifiers in training and one batch must fit.",
        memory_text(*limit), need_text(*least)
    )]
    Memory {
        /// Bytes allowed.
        limit: u64,
        /// Bytes needed at least.
        least: u64,
    },
    /// A method that needs all pooled vectors at once.
    #[error(
        "{}: this method needs the pooled vectors of all training rows in memory, and they do not fit\n  Raise --memory.",
        method.name()
    )]
    NeedsRows {
        /// The method.
        method: Method,
    },
    /// The bank does not keep the maps that the settings need.
    #[error(transparent)]
    MissingMaps(Box<MissingMaps>),
    /// A choice without images to make it on.
    #[error(
        "{}: this bank has no validation split, so nothing can be chosen honestly\n  {remedy}, or ask for a biased choice with --select train.",
        bank.display()
    )]
    NoValidation {
        /// The bank.
        bank: PathBuf,
        /// How it gets one.
        remedy: &'static str,
    },
    /// A run that shared its batches with one that failed.
    #[error("not finished: a run that shares its batches failed")]
    SharedJobFailed,
    /// An existing result cannot be read.
    #[error("{}: not a result of this program ({found})\n  Choose another folder with --out, or replace it with --overwrite.", path.display())]
    OtherResult {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
}

/// A Phase-II run.
pub struct FinetuneRequest<'a> {
    /// The bank's folder.
    pub bank: &'a Path,
    /// The settings.
    pub config: FinetuneConfig,
    /// Seed of every draw.
    pub seed: u64,
    /// Where the iteration and τ are chosen.
    pub selection: Selection,
    /// Folder of the result; `None`: `finetune/METHOD-CONFIGHASH-SEED` beside the bank.
    pub out: Option<PathBuf>,
    /// Make an existing result again.
    pub overwrite: bool,
    /// Memory that the process may take, in bytes; it changes nothing in the result.
    pub memory_bytes: u64,
}

/// Memory of a run without a limit of its own.
pub const DEFAULT_MEMORY_BYTES: u64 = 1 << 30;

/// The result of a run: what `metrics.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// sha256 of the bank's manifest.
    pub bank: String,
    /// Name of the bank.
    pub name: String,
    /// Version of fsa-bank.
    pub version: String,
    /// The settings.
    pub config: FinetuneConfig,
    /// Seed of every draw.
    pub seed: u64,
    /// Where the iteration and τ were chosen.
    pub selection: Selection,
    /// Iterations after which the classifier was taken; 0 for one that is computed.
    pub chosen_iteration: usize,
    /// τ, of methods that have one.
    pub chosen_tau: Option<f32>,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Training images of each class.
    pub train_images: Vec<u64>,
    /// The split into head and tail.
    pub split: HeadTail,
    /// Confusing classes of each tail class.
    pub confusing: Vec<ConfusingClasses>,
    /// The Phase-I classifier on the test images.
    pub before: Score,
    /// The new classifier on the test images.
    pub after: Score,
    /// Fused samples whose masks were empty.
    pub fallbacks: Fallbacks,
    /// Loss and accuracy over the iterations.
    pub curve: Vec<CurvePoint>,
    /// Where the time went.
    pub timing: Timing,
}

/// Seconds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Opening the bank, confusing classes, and reading what is held in memory.
    pub load_secs: f64,
    /// Fusing and training, which overlap, and reading maps where they are not held.
    pub train_secs: f64,
    /// Of `train_secs`, waiting for fused vectors.
    pub waiting_secs: f64,
    /// Iterations over `train_secs`.
    pub iterations_per_sec: f64,
    /// Bytes of the training shards that were read and checked.
    pub bytes_read: u64,
}

/// What a run left behind.
pub struct FinetuneOutcome {
    /// The result's folder.
    pub folder: PathBuf,
    /// Whether it existed already.
    pub already_done: bool,
    /// The result.
    pub report: Report,
}

/// Makes a new classifier for the bank, scores it on the test rows and writes the result.
///
/// # Errors
/// See [`FinetuneError`]; nothing is left behind that looks like a result.
///
/// # Determinism
/// The classifier's bytes depend on the bank's values, the settings, the selection and the seed
/// only: not on threads, shards, the order of rows or `memory_bytes`.
pub fn run(request: &FinetuneRequest, watch: Watch<'_>) -> Result<FinetuneOutcome, FinetuneError> {
    let bank = Bank::open(request.bank)?;
    let folder = RunFolder::of(request, &bank);
    if !request.overwrite
        && let Some(report) = folder.finished(&bank, request)?
    {
        return Ok(FinetuneOutcome { folder: folder.path, already_done: true, report });
    }
    let chooser = request.selection.split(&bank)?;
    let chooser = chooser.map(|split| SplitVectors::open(&bank, split)).transpose()?;
    let options = JobOptions { memory_bytes: request.memory_bytes, judge: chooser.as_ref() };
    let job = Job { config: request.config.clone(), seed: request.seed };
    let config = &job.config;
    let classes = bank.class_names.len();
    if config.method.fuses() && config.num_confusing >= classes {
        watch.progress.line(&format!(
            "num_confusing is {}: all {} other classes are used",
            config.num_confusing,
            classes - 1
        ));
    }
    if config.method.fuses() {
        kept_maps::must_have_tail(&bank, config, &bank.class_counts.split(config.head_ratio))?;
    }
    let bench = Workbench::open(&bank, std::slice::from_ref(&job), &options)?;
    folder.prepare()?;
    let iterations = if config.method.trains() { config.iterations } else { 0 };
    watch.progress.start("fine-tuning", iterations as u64, "iteration");
    let result = bench.run_one(&job, &options, watch)?;
    watch.progress.finish();

    let split = bank.class_counts.split(config.head_ratio);
    let phase1 = Classifier::plain(bank.head.clone());
    let test = SplitVectors::open(&bank, Split::Test)?;
    let mut scores = test.scores(&[&phase1, &result.classifier], &split, config.shot_rule)?;
    let (Some(after), Some(before)) = (scores.pop(), scores.pop()) else {
        return Err(FinetuneError::SharedJobFailed);
    };
    let is_tail = jobs::tail_flags(&split, classes);
    let masks = diagnostics::class_masks(&bench.source, config, &is_tail)?;
    let report = Report {
        bank: bank.id.clone(),
        name: bank.manifest.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        config: config.clone(),
        seed: request.seed,
        selection: request.selection,
        chosen_iteration: result.iteration,
        chosen_tau: result.tau,
        class_names: bank.class_names.clone(),
        train_images: bank.class_counts.0.clone(),
        split,
        confusing: result.confusing,
        before,
        after,
        fallbacks: result.fallbacks,
        curve: result.curve,
        timing: Timing {
            load_secs: bench.load_secs + result.prepare_secs,
            train_secs: result.secs,
            waiting_secs: result.waiting_secs,
            iterations_per_sec: iterations as f64 / result.secs.max(1e-9),
            bytes_read: bench.bytes_read(),
        },
    };
    folder.write(&result.classifier, &bank.card, &report, &result.statistics, &masks)?;
    Ok(FinetuneOutcome { folder: folder.path, already_done: false, report })
}
