//! Methods side by side on one bank: every method with several seeds, one table.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::bank::Bank;
use crate::config::{FinetuneConfig, Method, ShotRule};
use crate::domain::Split;
use crate::eval::Score;
use crate::finetune::{FinetuneError, Job, JobOptions, Selection, SplitVectors, Workbench};
use crate::progress::Watch;

/// A comparison to run.
pub struct CompareRequest<'a> {
    /// The bank's folder.
    pub bank: &'a Path,
    /// The methods with their settings, in the order of the table.
    pub configs: Vec<FinetuneConfig>,
    /// Methods that draw are run with seeds 0 up to this.
    pub seeds: u64,
    /// Where the iteration and τ are chosen; `None`: on the validation split where there is one.
    pub selection: Option<Selection>,
    /// Folder of the result; `None`: `compare` beside the bank.
    pub out: Option<PathBuf>,
    /// Memory that the process may take, in bytes.
    pub memory_bytes: u64,
}

/// Methods side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// sha256 of the bank's manifest.
    pub bank: String,
    /// Name of the bank.
    pub name: String,
    /// Version of fsa-bank.
    pub version: String,
    /// Where the iteration and τ were chosen.
    pub selection: Selection,
    /// Images that chose.
    pub selection_images: usize,
    /// Test images; each classifier was scored on them once.
    pub test_images: usize,
    /// Rule of many, medium and few.
    pub shot_rule: ShotRule,
    /// Seconds of everything.
    pub secs: f64,
    /// One row a method.
    pub rows: Vec<Row>,
}

/// One method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name, with its loss where that is not its own.
    pub name: String,
    /// Where its formulas are from.
    pub source: String,
    /// The settings.
    pub config: FinetuneConfig,
    /// Its runs, in order of the seed.
    pub runs: Vec<Run>,
    /// Why it has none, or fewer than asked for.
    pub failed: Option<String>,
    /// Each figure of the table over the runs.
    pub figures: Figures,
}

/// One run of a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Seed of every draw.
    pub seed: u64,
    /// Iterations after which the classifier was taken.
    pub iteration: usize,
    /// τ, of methods that have one.
    pub tau: Option<f32>,
    /// On the test images.
    pub score: Score,
    /// Seconds of the run.
    pub secs: f64,
}

/// Mean and standard deviation (n − 1) over runs; `None` for a group without classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation; `None` of one run.
    pub std: Option<f64>,
}

/// The figures of one row of the table, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Share classified right.
    pub top1: Option<Spread>,
    /// Mean recall of many-shot classes.
    pub many: Option<Spread>,
    /// Of medium-shot classes.
    pub medium: Option<Spread>,
    /// Of few-shot classes.
    pub few: Option<Spread>,
    /// Mean recall of all classes.
    pub balanced: Option<Spread>,
    /// Mean F1 of all classes.
    pub macro_f1: Option<Spread>,
    /// Lowest recall.
    pub worst_class: Option<Spread>,
    /// Expected calibration error.
    pub ece: Option<Spread>,
    /// Seconds of a run.
    pub secs: Option<Spread>,
}

impl Spread {
    /// Over some values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let std = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, std })
    }
}

impl Figures {
    /// Over some scores with their seconds.
    pub fn of<'a>(runs: impl Iterator<Item = (&'a Score, f64)>) -> Self {
        let runs: Vec<(&Score, f64)> = runs.collect();
        let over = |of: &dyn Fn(&Score) -> Option<f64>| {
            Spread::of(&runs.iter().filter_map(|(score, _)| of(score)).collect::<Vec<f64>>())
        };
        Self {
            top1: over(&|s| Some(s.accuracy.top1)),
            many: over(&|s| s.groups.many.accuracy),
            medium: over(&|s| s.groups.medium.accuracy),
            few: over(&|s| s.groups.few.accuracy),
            balanced: over(&|s| Some(s.accuracy.acc_macro)),
            macro_f1: over(&|s| Some(s.accuracy.f1_macro)),
            worst_class: over(&|s| Some(s.accuracy.worst_class)),
            ece: over(&|s| s.accuracy.ece),
            secs: Spread::of(&runs.iter().map(|(_, secs)| *secs).collect::<Vec<f64>>()),
        }
    }
}

/// What a comparison left behind.
pub struct CompareOutcome {
    /// Folder of `compare.json`.
    pub folder: PathBuf,
    /// The table.
    pub comparison: Comparison,
}

/// Every method once: the default of a comparison.
pub fn all_methods() -> Vec<String> {
    Method::all().map(|method| method.name().into()).collect()
}

/// Runs the methods, scores each classifier once on the test images and writes the table.
///
/// # Errors
/// See [`FinetuneError`]. A method that fails alone has a row that says so; where all fail, the first
/// error is returned.
pub fn run(
    request: &CompareRequest<'_>,
    watch: Watch<'_>,
) -> Result<CompareOutcome, FinetuneError> {
    let begin = std::time::Instant::now();
    let bank = Bank::open(request.bank)?;
    let selection = request.selection.unwrap_or(match bank.has(Split::Val) {
        true => Selection::Val,
        false => Selection::None,
    });
    let judge = selection.split(&bank)?;
    let judge = judge.map(|split| SplitVectors::open(&bank, split)).transpose()?;
    let test = SplitVectors::open(&bank, Split::Test)?;
    let options = JobOptions { memory_bytes: request.memory_bytes, judge: judge.as_ref() };
    let jobs: Vec<Job> = request
        .configs
        .iter()
        .flat_map(|config| {
            let seeds = if config.method.trains() { request.seeds } else { 1 };
            (0..seeds).map(|seed| Job { config: config.clone(), seed })
        })
        .collect();
    let bench = Workbench::open(&bank, &jobs, &options)?;
    let steps =
        |job: &Job| if job.config.method.trains() { job.config.iterations as u64 } else { 0 };
    watch.progress.start("comparing", jobs.iter().map(steps).sum(), "iteration");
    let runs: Mutex<Vec<Option<Result<Run, FinetuneError>>>> =
        Mutex::new(jobs.iter().map(|_| None).collect());
    bench.run(&jobs, &options, watch, &|place, result| {
        let Job { config, seed } = &jobs[place];
        let run = result.and_then(|result| {
            let split = bank.class_counts.split(config.head_ratio);
            let scores = test.scores(&[&result.classifier], &split, config.shot_rule)?;
            let score = scores.into_iter().next().ok_or(FinetuneError::SharedJobFailed)?;
            let (seed, iteration, tau) = (*seed, result.iteration, result.tau);
            Ok(Run { seed, iteration, tau, score, secs: result.prepare_secs + result.secs })
        });
        runs.lock().expect("no panic while held")[place] = Some(run);
    });
    watch.progress.finish();
    let runs = runs.into_inner().expect("no panic while held");
    let rows = rows(&request.configs, &jobs, runs)?;
    let comparison = Comparison {
        bank: bank.id.clone(),
        name: bank.manifest.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        selection,
        selection_images: judge.as_ref().map_or(0, SplitVectors::len),
        test_images: test.len(),
        shot_rule: request.configs.first().map_or(ShotRule::Standard, |config| config.shot_rule),
        secs: begin.elapsed().as_secs_f64(),
        rows,
    };
    let folder = request.out.clone().unwrap_or_else(|| beside(&bank, "compare"));
    atomic_file::create_dir(&folder)?;
    let text = serde_json::to_string_pretty(&comparison).expect("a table is JSON") + "\n";
    atomic_file::write(&folder.join("compare.json"), text.as_bytes())?;
    Ok(CompareOutcome { folder, comparison })
}

/// A folder beside the bank's.
pub(crate) fn beside(bank: &Bank, name: &str) -> PathBuf {
    let dir = bank.dir().canonicalize().unwrap_or_else(|_| bank.dir().into());
    crate::finetune::shortened(dir.parent().unwrap_or(&dir).join(name))
}

/// The runs by method; fails where the user stopped them, or where there is none.
fn rows(
    configs: &[FinetuneConfig],
    jobs: &[Job],
    runs: Vec<Option<Result<Run, FinetuneError>>>,
) -> Result<Vec<Row>, FinetuneError> {
    let mut rows: Vec<Row> = configs
        .iter()
        .map(|config| Row {
            name: config.title(),
            source: config.method.source.into(),
            config: config.clone(),
            runs: vec![],
            failed: None,
            figures: Figures::default(),
        })
        .collect();
    let mut first_error = None;
    for (job, run) in jobs.iter().zip(runs) {
        let place = configs.iter().position(|config| *config == job.config).unwrap_or(0);
        match run.unwrap_or(Err(FinetuneError::SharedJobFailed)) {
            Ok(run) => rows[place].runs.push(run),
            Err(error @ FinetuneError::Interrupted { .. }) => return Err(error),
            Err(error) => {
                let message = error.to_string().lines().next().unwrap_or_default().to_string();
                rows[place].failed.get_or_insert(message);
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if rows.iter().all(|row| row.runs.is_empty()) => return Err(error),
        _ => {}
    }
    for row in &mut rows {
        row.figures = Figures::of(row.runs.iter().map(|run| (&run.score, run.secs)));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_by_hand() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[2.0]), Some(Spread { mean: 2.0, std: None }));
        let spread = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.mean, spread.std), (2.0, Some(1.0)));
    }
}
