//! Phase-II: the FC layer is fine-tuned on batches drawn from the bank; no backbone is needed.
//!
//! Paper, Sec. 4.3. Batches come in windows (see `fuser`), made by one thread while another
//! trains on the window before.

mod fuser;
mod held_maps;
mod run_folder;
mod sgd;
mod window;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::atomic_file::WriteError;
use crate::augment::{ConfusingClasses, confusing_classes};
use crate::bank::{Bank, BankError, Rows, SplitName};
use crate::config::{FinetuneConfig, Method};
use crate::domain::{ClassId, HeadTail, LinearHead};
use crate::eval::{Accuracy, Groups, predict};
use crate::progress::{Interrupt, Progress};
use crate::sampler::BatchSampler;

pub use run_folder::{CONFIG_FILE, METRICS_FILE, PICTURE_FILE, RunFolder};
pub use sgd::{HeadTrainer, SgdOptions};
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
    /// A result that is there already cannot be read.
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
    /// Folder of the result; `None`: `finetune/METHOD-CONFIGHASH-SEED` beside the bank.
    pub out: Option<PathBuf>,
    /// Make the result again where it is there already.
    pub overwrite: bool,
    /// Memory for maps and fused vectors, in bytes; it changes nothing in the result.
    pub memory_bytes: usize,
}

/// Memory for maps and fused vectors; pooled vectors come on top.
pub const DEFAULT_MEMORY_BYTES: usize = 1 << 30;

/// Accuracy of one classifier on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Overall and by class.
    pub accuracy: Accuracy,
    /// By group of classes.
    pub groups: Groups,
}

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
    /// The fine-tuned classifier on the test images.
    pub after: Score,
    /// Fused samples whose masks were empty.
    pub fallbacks: Fallbacks,
    /// Mean loss of each twentieth of the run.
    pub loss_curve: Vec<f32>,
    /// Where the time went.
    pub timing: Timing,
}

/// Seconds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Reading the rows, confusing classes, and reading maps where they are held in memory.
    pub load_secs: f64,
    /// Fusing and training, which overlap, and reading maps where they are not held.
    pub train_secs: f64,
    /// Of `train_secs`, waiting for fused vectors.
    pub waiting_secs: f64,
    /// Iterations over `train_secs`.
    pub iterations_per_sec: f64,
}

/// What a run left behind.
pub struct FinetuneOutcome {
    /// The result's folder.
    pub folder: PathBuf,
    /// Whether it was there already.
    pub already_done: bool,
    /// The result.
    pub report: Report,
}

/// Fine-tunes the bank's classifier, evaluates it on the test rows and writes the result.
///
/// # Errors
/// See [`FinetuneError`]; nothing is left behind that looks like a result.
///
/// # Determinism
/// The classifier's bytes depend on the bank's values, the settings and the seed only: not on
/// threads, shards, the order of rows or `memory_bytes`.
pub fn run(
    request: &FinetuneRequest,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<FinetuneOutcome, FinetuneError> {
    let bank = Bank::open(request.bank)?;
    let folder = RunFolder::of(request, &bank);
    if !request.overwrite
        && let Some(report) = folder.finished(&bank, request)?
    {
        return Ok(FinetuneOutcome { folder: folder.path, already_done: true, report });
    }
    folder.prepare()?;
    let (head, mut report) = fine_tune(request, &bank, progress, interrupt)?;
    let test = bank.rows(SplitName::Test)?;
    report.after = score(&bank, &test, &head, &report.split, request.config.shot_rule);
    report.before = score(&bank, &test, &bank.head, &report.split, request.config.shot_rule);
    folder.write(&head, &report)?;
    Ok(FinetuneOutcome { folder: folder.path, already_done: false, report })
}

/// Accuracy of `head` on pooled rows.
pub fn score(
    bank: &Bank,
    rows: &Rows,
    head: &LinearHead,
    split: &HeadTail,
    rule: crate::config::ShotRule,
) -> Score {
    let predicted = predict(&rows.pooled, head);
    let accuracy = Accuracy::of(&predicted, &rows.labels, bank.class_names.len());
    let groups = Groups::of(&accuracy, &bank.class_counts, split, rule);
    Score { accuracy, groups }
}

/// The confusing classes of every tail class, from the clean views of its samples.
pub fn confusing_of_tail(
    bank: &Bank,
    rows: &Rows,
    split: &HeadTail,
    count: usize,
) -> Vec<ConfusingClasses> {
    let clean = |class: ClassId| -> Vec<f32> {
        let of_class = (0..rows.len()).filter(|&r| rows.labels[r] == class.0 && rows.views[r] == 0);
        of_class.flat_map(|r| rows.pooled_of(r)).copied().collect()
    };
    split
        .tail
        .iter()
        .map(|&class| confusing_classes(class, &clean(class), &bank.head, count))
        .collect()
}

fn fine_tune(
    request: &FinetuneRequest,
    bank: &Bank,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(LinearHead, Report), FinetuneError> {
    let config = &request.config;
    let begin = Instant::now();
    let classes = bank.class_names.len();
    let split = bank.class_counts.split(config.head_ratio);
    if split.tail.is_empty() {
        return Err(FinetuneError::NoTail { head_ratio: config.head_ratio, classes });
    }
    let rows = bank.rows(SplitName::Train)?;
    let confusing = confusing_of_tail(bank, &rows, &split, config.num_confusing);
    let mut confusing_ids = vec![vec![]; classes];
    for of_class in &confusing {
        confusing_ids[of_class.class.index()] = of_class.ranked.iter().map(|(c, _)| *c).collect();
    }
    if config.num_confusing >= classes && config.method == Method::Fsa {
        progress.line(&format!(
            "num_confusing is {}: all {} other classes are used",
            config.num_confusing,
            classes - 1
        ));
    }
    let sampler = BatchSampler::new(config, request.seed, &rows.labels, &split, &confusing_ids);
    let memory_bytes = request.memory_bytes;
    let fuser = fuser::Fuser::new(bank, &rows, &sampler, config, request.seed, memory_bytes)?;
    let load_secs = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    let sgd = SgdOptions {
        learning_rate: config.learning_rate,
        momentum: config.momentum,
        weight_decay: config.weight_decay,
    };
    let trainer = HeadTrainer::new(bank.head.clone(), sgd);
    let trained = train(request, &rows, &sampler, &fuser, trainer, progress, interrupt)?;
    let train_secs = begin.elapsed().as_secs_f64();
    let timing = Timing {
        load_secs,
        train_secs,
        waiting_secs: trained.waiting_secs,
        iterations_per_sec: config.iterations as f64 / train_secs,
    };
    let nothing = Score {
        accuracy: Accuracy::of(&[], &[], classes),
        groups: Groups::of(
            &Accuracy::of(&[], &[], classes),
            &bank.class_counts,
            &split,
            config.shot_rule,
        ),
    };
    let report = Report {
        bank: bank.id.clone(),
        name: bank.manifest.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        config: config.clone(),
        seed: request.seed,
        class_names: bank.class_names.clone(),
        train_images: bank.class_counts.0.clone(),
        split,
        confusing,
        before: nothing.clone(),
        after: nothing,
        fallbacks: trained.fallbacks,
        loss_curve: trained.loss_curve,
        timing,
    };
    Ok((trained.head, report))
}

struct Trained {
    head: LinearHead,
    fallbacks: Fallbacks,
    loss_curve: Vec<f32>,
    waiting_secs: f64,
}

/// Points of the loss curve.
const CURVE_POINTS: usize = 20;

/// Trains on window after window while the next one is made.
fn train(
    request: &FinetuneRequest,
    rows: &Rows,
    sampler: &BatchSampler,
    fuser: &fuser::Fuser,
    mut trainer: HeadTrainer,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Trained, FinetuneError> {
    let iterations = request.config.iterations;
    let size = fuser.window_iterations(&request.config, request.memory_bytes);
    let starts: Vec<usize> = (0..iterations).step_by(size).collect();
    let mut loss_sums = vec![(0.0f64, 0u32); CURVE_POINTS.min(iterations)];
    let mut fallbacks = Fallbacks::default();
    let mut waiting_secs = 0.0;
    progress.start("fine-tuning", iterations as u64, "iteration");
    std::thread::scope(|scope| -> Result<(), FinetuneError> {
        let (send, receive) = crossbeam_channel::bounded(0);
        let (give_back, given_back) = crossbeam_channel::unbounded();
        scope.spawn(move || {
            for start in starts {
                let memory = given_back.try_recv().unwrap_or_default();
                let window = fuser.window(sampler, start..iterations.min(start + size), memory);
                let failed = window.is_err();
                if send.send(window).is_err() || failed {
                    return;
                }
            }
        });
        let (mut vectors, mut labels) = (vec![], vec![]);
        loop {
            let wait = Instant::now();
            let Ok(window) = receive.recv() else {
                return Ok(());
            };
            let window = window?;
            waiting_secs += wait.elapsed().as_secs_f64();
            fallbacks.add(window.fallbacks);
            // As a task of the pool, so that the parts of a step are its other threads' to take.
            rayon::scope(|_| -> Result<(), FinetuneError> {
                for (index, iteration) in window.iterations.clone().enumerate() {
                    if interrupt.requested() {
                        return Err(FinetuneError::Interrupted { done: iteration, iterations });
                    }
                    window.assemble(index, rows, &mut vectors, &mut labels);
                    let loss = trainer.step(&vectors, &labels);
                    if !loss.is_finite() {
                        return Err(FinetuneError::Diverged { iterations: iteration + 1 });
                    }
                    let point = iteration * loss_sums.len() / iterations;
                    loss_sums[point].0 += f64::from(loss);
                    loss_sums[point].1 += 1;
                    progress.advance(1);
                }
                Ok(())
            })?;
            // Nobody takes it after the last window.
            let _ = give_back.send(window.sums);
        }
    })?;
    progress.finish();
    let head = trainer.into_head();
    if head.weight.iter().chain(&head.bias).any(|w| !w.is_finite()) {
        return Err(FinetuneError::Diverged { iterations });
    }
    let loss_curve = loss_sums.iter().map(|(sum, n)| (sum / f64::from(*n)) as f32).collect();
    Ok(Trained { head, fallbacks, loss_curve, waiting_secs })
}
