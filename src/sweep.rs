//! A grid of settings on one bank: every run is a row that stays, so that an interrupted sweep goes on.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::atomic_file::{self, WriteError};
use crate::bank::Bank;
use crate::compare::{Figures, beside};
use crate::config::{self, ConfigError, FinetuneConfig};
use crate::domain::Split;
use crate::eval::Score;
use crate::finetune::{FinetuneError, Job, JobOptions, Selection, SplitVectors, Workbench};
use crate::progress::{Interrupt, Silent, Watch};

/// The rows of a sweep.
pub const ROWS_FILE: &str = "sweep.jsonl";

/// A combination of grid values with the settings it makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The grid's keys with their values.
    pub grid: Table,
    /// All settings.
    pub config: FinetuneConfig,
}

/// A sweep to run.
pub struct SweepRequest<'a> {
    /// The bank's folder.
    pub bank: &'a Path,
    /// The combinations.
    pub points: Vec<Point>,
    /// Each is run with seeds 0 up to this.
    pub seeds: u64,
    /// What chooses the best.
    pub selection: Selection,
    /// Score every run on the test images too; nothing is chosen by it.
    pub with_test: bool,
    /// Folder of the rows; `None`: `sweep` beside the bank.
    pub out: Option<PathBuf>,
    /// Memory that the process may take, in bytes.
    pub memory_bytes: u64,
}

/// One run of a sweep: a line of [`ROWS_FILE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepRow {
    /// sha256 of the bank's manifest.
    pub bank: String,
    /// The combination.
    #[serde(flatten)]
    pub point: Point,
    /// Seed of every draw.
    pub seed: u64,
    /// What chooses.
    pub selection: Selection,
    /// On the images that choose.
    pub chooser: Option<Score>,
    /// On the test images, where that was asked for.
    pub test: Option<Score>,
    /// Seconds of the run.
    pub secs: f64,
}

/// A combination over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepLine {
    /// The grid's keys with their values.
    pub grid: Table,
    /// Runs that have a row.
    pub runs: usize,
    /// On the images that choose.
    pub chooser: Figures,
    /// On the test images.
    pub test: Figures,
    /// Why a run failed.
    pub failed: Option<String>,
}

/// A finished sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// Name of the bank.
    pub name: String,
    /// What chose.
    pub selection: Selection,
    /// Runs that exist from an earlier call.
    pub reused: usize,
    /// One line a combination, in the order of the grid.
    pub lines: Vec<SweepLine>,
    /// The best by balanced accuracy on the images that choose, with its only score on the test
    /// images.
    pub best: Option<Best>,
}

/// The combination that was chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Best {
    /// The grid's keys with their values.
    pub grid: Table,
    /// Balanced accuracy on the images that chose, in percent.
    pub chooser_balanced: f64,
    /// On the test images.
    pub test: Figures,
}

/// What a sweep left behind.
pub struct SweepOutcome {
    /// Folder of [`ROWS_FILE`].
    pub folder: PathBuf,
    /// The lines.
    pub sweep: Sweep,
}

/// All combinations of `grid` (texts such as `tau=0,0.5,1`) over the settings of `file` and `flags`.
///
/// # Errors
/// A grid that is not `key=v1,v2,...`, an unknown key, a value of the wrong type or out of range.
pub fn points(grid: &[String], file: &Table, flags: &Table) -> Result<Vec<Point>, ConfigError> {
    let mut combinations = vec![Table::new()];
    for text in grid {
        let wrong = || ConfigError::Grid { text: text.clone() };
        let (key, values) = text.split_once('=').ok_or_else(wrong)?;
        let key = key.trim().trim_start_matches("finetune.").to_string();
        let values: Vec<Value> =
            split_values(values).map(|text| config::value_of(text.trim())).collect();
        if values.is_empty() || key.is_empty() {
            return Err(wrong());
        }
        let mut longer = vec![];
        for (combination, value) in
            combinations.iter().flat_map(|c| values.iter().map(move |value| (c, value)))
        {
            let mut combination = combination.clone();
            combination.insert(key.clone(), value.clone());
            longer.push(combination);
        }
        combinations = longer;
    }
    let point = |grid: Table| {
        let mut keys = flags.clone();
        keys.extend(grid.clone());
        Ok(Point { config: config::resolve_finetune(file, &keys)?, grid })
    };
    combinations.into_iter().map(point).collect()
}

/// Splits at commas that are not within brackets.
fn split_values(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    text.split(move |c: char| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    })
    .filter(|value| !value.trim().is_empty())
}

/// Runs what of the grid has no row yet, names the best and scores it on the test images.
///
/// # Errors
/// See [`FinetuneError`]. A run that fails has no row and is reported; an interrupt loses nothing that has
/// a row.
pub fn run(request: &SweepRequest<'_>, watch: Watch<'_>) -> Result<SweepOutcome, FinetuneError> {
    let bank = Bank::open(request.bank)?;
    let chooser = request.selection.split(&bank)?;
    let chooser = chooser.map(|split| SplitVectors::open(&bank, split)).transpose()?;
    let test = SplitVectors::open(&bank, Split::Test)?;
    let folder = request.out.clone().unwrap_or_else(|| beside(&bank, "sweep"));
    atomic_file::create_dir(&folder)?;
    let rows = RowsFile::open(&folder.join(ROWS_FILE), &bank)?;
    let wanted: Vec<(&Point, Job)> = request
        .points
        .iter()
        .flat_map(|point| {
            let seeds = if point.config.method.trains() { request.seeds } else { 1 };
            (0..seeds).map(move |seed| (point, Job { config: point.config.clone(), seed }))
        })
        .collect();
    let missing: Vec<&(&Point, Job)> =
        wanted.iter().filter(|(_, job)| rows.find(job, request).is_none()).collect();
    let jobs: Vec<Job> = missing.iter().map(|(_, job)| job.clone()).collect();
    let reused = wanted.len() - missing.len();
    if reused > 0 {
        watch.progress.line(&format!("{reused} of {} runs have their row already", wanted.len()));
    }
    let failures: Mutex<Vec<(usize, FinetuneError)>> = Mutex::new(vec![]);
    // Each run is taken at its end with τ as set: both may be keys of the grid.
    let options = JobOptions { memory_bytes: request.memory_bytes, judge: None };
    if !jobs.is_empty() {
        let bench = Workbench::open(&bank, &jobs, &options)?;
        let steps =
            |job: &Job| if job.config.method.trains() { job.config.iterations as u64 } else { 0 };
        watch.progress.start("sweeping", jobs.iter().map(steps).sum(), "iteration");
        bench.run(&jobs, &options, watch, &|place, result| {
            let (point, job) = missing[place];
            let row = result.and_then(|result| {
                let split = bank.class_counts.split(job.config.head_ratio);
                let rule = job.config.shot_rule;
                let score = |on: &SplitVectors<'_>| -> Result<Option<Score>, FinetuneError> {
                    Ok(on.scores(&[&result.classifier], &split, rule)?.pop())
                };
                let row = SweepRow {
                    bank: bank.id.clone(),
                    point: (*point).clone(),
                    seed: job.seed,
                    selection: request.selection,
                    chooser: chooser.as_ref().map(score).transpose()?.flatten(),
                    test: if request.with_test { score(&test)? } else { None },
                    secs: result.prepare_secs + result.secs,
                };
                rows.append(row)
            });
            if let Err(error) = row {
                failures.lock().expect("no panic while held").push((place, error));
            }
        });
        watch.progress.finish();
    }
    let failures = failures.into_inner().expect("no panic while held");
    let mut failed: Vec<(&Point, String)> = vec![];
    for (place, error) in failures {
        match error {
            FinetuneError::Write(e) => return Err(FinetuneError::Stopped(e)),
            FinetuneError::Interrupted { .. } => return Err(error),
            error => {
                let message = error.to_string();
                failed.push((missing[place].0, message.lines().next().unwrap_or_default().into()));
            }
        }
    }
    let lines: Vec<SweepLine> =
        request.points.iter().map(|point| line(point, &wanted, &rows, request, &failed)).collect();
    let best = best(request, &bank, &lines, &test, &options, watch.interrupt)?;
    let selection = request.selection;
    let sweep = Sweep { name: bank.manifest.name.clone(), selection, reused, lines, best };
    Ok(SweepOutcome { folder, sweep })
}

fn line(
    point: &Point,
    wanted: &[(&Point, Job)],
    rows: &RowsFile,
    request: &SweepRequest<'_>,
    failed: &[(&Point, String)],
) -> SweepLine {
    let own = wanted.iter().filter(|(of, _)| *of == point);
    let runs: Vec<SweepRow> = own.filter_map(|(_, job)| rows.find(job, request)).collect();
    let of = |score: &dyn Fn(&SweepRow) -> Option<&Score>| {
        Figures::of(runs.iter().filter_map(|run| Some((score(run)?, run.secs))))
    };
    let failed = failed.iter().find(|(of, _)| *of == point).map(|(_, message)| message.clone());
    SweepLine {
        grid: point.grid.clone(),
        runs: runs.len(),
        chooser: of(&|run| run.chooser.as_ref()),
        test: of(&|run| run.test.as_ref()),
        failed,
    }
}

/// The line with the highest balanced accuracy on the images that choose; its classifiers are made
/// again and scored once on the test images, unless they have been.
fn best(
    request: &SweepRequest<'_>,
    bank: &Bank,
    lines: &[SweepLine],
    test: &SplitVectors<'_>,
    options: &JobOptions<'_>,
    interrupt: &Interrupt,
) -> Result<Option<Best>, FinetuneError> {
    let scored = lines.iter().zip(&request.points);
    let scored =
        scored.filter_map(|(line, point)| Some((line.chooser.balanced?.mean, line, point)));
    // The first of equal ones.
    let found = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    let Some((chooser_balanced, line, point)) = found else {
        return Ok(None);
    };
    let mut figures = line.test;
    if figures.top1.is_none() {
        let mut scores = vec![];
        for seed in 0..line.runs as u64 {
            let job = Job { config: point.config.clone(), seed };
            let bench = Workbench::open(bank, std::slice::from_ref(&job), options)?;
            let result = bench.run_one(&job, options, Watch::new(&Silent, interrupt))?;
            let split = bank.class_counts.split(point.config.head_ratio);
            scores.extend(test.scores(&[&result.classifier], &split, point.config.shot_rule)?);
        }
        figures = Figures { secs: None, ..Figures::of(scores.iter().map(|score| (score, 0.0))) };
    }
    Ok(Some(Best { grid: point.grid.clone(), chooser_balanced, test: figures }))
}

/// The existing rows, and where the next ones go.
struct RowsFile {
    path: PathBuf,
    rows: Mutex<Vec<SweepRow>>,
}

impl RowsFile {
    /// Reads the rows of this bank. A last line that was cut off is dropped, from the file too.
    fn open(path: &Path, bank: &Bank) -> Result<Self, FinetuneError> {
        let other = |line: usize, found: String| FinetuneError::OtherResult {
            path: path.into(),
            found: format!("line {line}: {found}"),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(WriteError::at(path)(e).into()),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            atomic_file::write(path, &text.as_bytes()[..whole])?;
        }
        let mut rows = vec![];
        for (number, line) in text[..whole].lines().enumerate() {
            let row: SweepRow =
                serde_json::from_str(line).map_err(|e| other(number + 1, e.to_string()))?;
            if row.bank == bank.id {
                rows.push(row);
            }
        }
        Ok(Self { path: path.into(), rows: Mutex::new(rows) })
    }

    /// The row of a job, if it has the scores that are asked for.
    fn find(&self, job: &Job, request: &SweepRequest<'_>) -> Option<SweepRow> {
        let rows = self.rows.lock().expect("no panic while held");
        let fits = |row: &&SweepRow| {
            row.point.config == job.config
                && row.seed == job.seed
                && (row.selection == request.selection || request.selection == Selection::None)
                && (row.test.is_some() || !request.with_test)
        };
        rows.iter().rev().find(fits).cloned()
    }

    /// Adds a row: one write of one line, which is on disk before the next run is counted.
    fn append(&self, row: SweepRow) -> Result<(), FinetuneError> {
        let line = serde_json::to_string(&row).expect("a row is JSON") + "\n";
        let mut rows = self.rows.lock().expect("no panic while held");
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        };
        write().map_err(WriteError::at(&self.path))?;
        rows.push(row);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(grid: &[&str]) -> Vec<String> {
        grid.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn a_grid_has_all_combinations_in_order() {
        let grid = texts(&["head_ratio=0.5,0.9", "loss=focal,cross-entropy"]);
        let points = points(&grid, &Table::new(), &Table::new()).unwrap();
        let found: Vec<(f64, String)> =
            points.iter().map(|p| (p.config.head_ratio, p.config.title())).collect();
        let title = |s: &str| s.to_string();
        assert_eq!(
            found,
            [
                (0.5, title("fsa+focal")),
                (0.5, title("fsa")),
                (0.9, title("fsa+focal")),
                (0.9, title("fsa"))
            ]
        );
    }

    #[test]
    fn brackets_hold_values_together_and_bad_grids_are_refused() {
        let grid = texts(&["gamma_range=[0, 1],[0.5, 0.5]"]);
        let found = points(&grid, &Table::new(), &Table::new()).unwrap();
        assert_eq!((found.len(), found[1].config.gamma_range), (2, [0.5, 0.5]));
        let error = |text: &str| {
            points(&texts(&[text]), &Table::new(), &Table::new()).unwrap_err().to_string()
        };
        assert!(error("head_ratio").contains("key=v1,v2"));
        assert!(error("head_rato=0.5").contains("did you mean `head_ratio`?"));
        assert!(error("head_ratio=0.5,1.5").contains("between 0 and 1"));
        assert!(error("loss=focl").contains("focl"));
    }
}
