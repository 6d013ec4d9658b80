//! `compare` and `sweep` on small banks: what they choose by, what they leave behind, and going on
//! after an interrupt.

use std::path::Path;

use fsa_bank::bank::Bank;
use fsa_bank::compare::{self, CompareOutcome, CompareRequest};
use fsa_bank::config::{FinetuneConfig, Loss, Method};
use fsa_bank::finetune::{self, FinetuneError, FinetuneRequest, Selection};
use fsa_bank::progress::{Interrupt, Progress, Silent, Watch};
use fsa_bank::report;
use fsa_bank::sweep::{self, ROWS_FILE, SweepOutcome, SweepRequest};
use toml::Table;

use crate::fixtures::BankSpec;
use crate::support::progress::Watcher;

fn bank(dir: &Path, val: bool) -> Bank {
    BankSpec { val, ..Default::default() }.write(&dir.join("shards"))
}

fn small(method: Method) -> FinetuneConfig {
    FinetuneConfig { iterations: 15, tail_per_batch: 3, ..FinetuneConfig::for_method(method) }
}

fn compare(
    bank: &Bank,
    configs: Vec<FinetuneConfig>,
    selection: Option<Selection>,
) -> Result<CompareOutcome, FinetuneError> {
    let (seeds, out, memory_bytes) = (2, None, 1 << 30);
    let bank = bank.dir();
    let request = CompareRequest { bank, configs, seeds, selection, out, memory_bytes };
    compare::run(&request, Watch::new(&Silent, &Interrupt::default()))
}

#[test]
fn a_comparison_has_a_row_for_every_method_and_agrees_with_finetune() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(dir.path(), false);
    let mut configs: Vec<FinetuneConfig> = Method::all().map(small).collect();
    configs.push(FinetuneConfig {
        loss: Loss::named("balanced-softmax"),
        ..small(Method::named("fsa"))
    });
    let outcome = compare(&bank, configs.clone(), None).unwrap();
    report::write_compare(&outcome).unwrap();
    let table = &outcome.comparison;
    assert_eq!((table.rows.len(), table.selection), (configs.len(), Selection::None));
    assert_eq!(table.rows.last().unwrap().name, "fsa+balanced-softmax");
    for (row, config) in table.rows.iter().zip(&configs) {
        assert_eq!(row.failed, None);
        assert_eq!(row.runs.len(), if config.method.trains() { 2 } else { 1 });
        // Runs that share their batches with others give what they give alone.
        for run in &row.runs {
            let request = FinetuneRequest {
                bank: bank.dir(),
                config: config.clone(),
                seed: run.seed,
                selection: Selection::None,
                out: None,
                overwrite: true,
                memory_bytes: 1 << 30,
            };
            let alone =
                finetune::run(&request, Watch::new(&Silent, &Interrupt::default())).unwrap();
            assert_eq!(alone.report.after, run.score, "{}", row.name);
        }
    }
    let read = |name: &str| std::fs::read_to_string(outcome.folder.join(name)).unwrap();
    let json: compare::Comparison = serde_json::from_str(&read("compare.json")).unwrap();
    assert_eq!(json.rows.len(), table.rows.len());
    assert_eq!(read("compare.csv").lines().count(), 1 + configs.len());
    let markdown = read("compare.md");
    assert!(markdown.contains("| fsa |") && markdown.contains("standard: many > 100"));
    let text = report::compare_text(table);
    assert!(text.contains("nothing was chosen") && text.contains(" ± "), "{text}");
}

#[test]
fn a_comparison_chooses_on_validation_images_where_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let with = bank(&dir.path().join("with"), true);
    let configs = vec![small(Method::named("tau-norm")), small(Method::named("fsa"))];
    let table = compare(&with, configs.clone(), None).unwrap().comparison;
    assert_eq!((table.selection, table.selection_images), (Selection::Val, 16));
    assert!(table.rows[0].runs[0].tau.is_some() && table.rows[1].runs[0].iteration > 0);

    let without = bank(&dir.path().join("without"), false);
    let refused = compare(&without, configs.clone(), Some(Selection::Val)).err().unwrap();
    assert!(matches!(refused, FinetuneError::NoValidation { .. }));
    let biased = compare(&without, configs, Some(Selection::Train)).unwrap().comparison;
    assert!(report::compare_text(&biased).contains("BIASED"));
    assert!(report::compare_markdown(&biased).contains("BIASED"));
}

#[test]
fn a_method_that_fails_has_a_row_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let spec = BankSpec { counts: vec![6, 6], ..Default::default() };
    let bank = spec.write(&dir.path().join("shards"));
    let wild = FinetuneConfig { learning_rate: 1e38, ..small(Method::named("crt")) };
    let configs = vec![small(Method::named("fsa")), wild, small(Method::named("lws"))];
    let table = compare(&bank, configs, None).unwrap().comparison;
    let failed = |row: usize| table.rows[row].failed.clone().unwrap_or_default();
    assert!(failed(0).contains("no tail class") && failed(1).contains("diverged"));
    assert_eq!((failed(2).as_str(), table.rows[2].runs.len()), ("", 2));
    assert!(report::compare_text(&table).contains("fsa: no tail class"));
    let alone = compare(&bank, vec![small(Method::named("fsa"))], None);
    assert!(matches!(alone, Err(FinetuneError::NoTail { .. })));
}

fn sweep(
    bank: &Bank,
    grid: &[&str],
    selection: Selection,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<SweepOutcome, FinetuneError> {
    let grid: Vec<String> = grid.iter().map(|text| text.to_string()).collect();
    let flags: Table = toml::from_str("iterations = 15\ntail_per_batch = 3").unwrap();
    let points = sweep::points(&grid, &Table::new(), &flags).unwrap();
    let request = SweepRequest {
        bank: bank.dir(),
        points,
        seeds: 2,
        selection,
        with_test: selection == Selection::None,
        out: None,
        memory_bytes: 1 << 30,
    };
    sweep::run(&request, Watch::new(progress, interrupt))
}

const GRID: [&str; 2] = ["head_ratio=0.6,0.9", "learning_rate=0.001,0.1"];

#[test]
fn a_sweep_names_the_best_by_validation_and_scores_it_on_test_once() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(dir.path(), true);
    let go = Interrupt::default();
    let outcome = sweep(&bank, &GRID, Selection::Val, &Silent, &go).unwrap();
    report::write_sweep(&outcome).unwrap();
    let SweepOutcome { folder, sweep: found } = outcome;
    assert_eq!((found.lines.len(), found.reused), (4, 0));
    assert!(found.lines.iter().all(|line| line.runs == 2 && line.test.top1.is_none()));
    let best = found.best.as_ref().unwrap();
    let balanced = |line: &sweep::SweepLine| line.chooser.balanced.unwrap().mean;
    let highest = found.lines.iter().map(balanced).fold(f64::MIN, f64::max);
    assert_eq!(best.chooser_balanced, highest);
    assert!(best.test.top1.unwrap().std.is_some());
    let text = report::sweep_text(&found);
    assert!(text.contains("best by validation: head_ratio="), "{text}");
    let rows = std::fs::read_to_string(folder.join(ROWS_FILE)).unwrap();
    assert_eq!(rows.lines().count(), 8);
    assert!(rows.lines().all(|line| line.contains("\"test\":null")));
    assert_eq!(std::fs::read_to_string(folder.join("sweep.csv")).unwrap().lines().count(), 5);

    // Every run has its row: nothing is run again, also after a line that was cut off.
    std::fs::write(folder.join(ROWS_FILE), format!("{rows}{{\"bank\": \"cut")).unwrap();
    let again = sweep(&bank, &GRID, Selection::Val, &Silent, &go).unwrap().sweep;
    assert_eq!((again.reused, &again.lines), (8, &found.lines));
    assert_eq!(std::fs::read_to_string(folder.join(ROWS_FILE)).unwrap(), rows);
    let more = sweep(&bank, &["head_ratio=0.6,0.8"], Selection::Val, &Silent, &go).unwrap().sweep;
    assert_eq!(more.reused, 2);
}

#[test]
fn a_sweep_without_validation_is_refused_or_chooses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(dir.path(), false);
    let go = Interrupt::default();
    let refused = sweep(&bank, &GRID, Selection::Val, &Silent, &go).err().unwrap();
    assert!(matches!(refused, FinetuneError::NoValidation { .. }));
    let shown = sweep(&bank, &GRID, Selection::None, &Silent, &go).unwrap().sweep;
    assert!(shown.best.is_none() && shown.lines.iter().all(|line| line.test.top1.is_some()));
    assert!(report::sweep_text(&shown).contains("--with-test"));
    let best = sweep(&bank, &GRID, Selection::Test, &Silent, &go).unwrap().sweep;
    assert!(report::sweep_text(&best).contains("BEST ON TEST"));
}

#[test]
fn an_interrupted_sweep_loses_no_row_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(dir.path(), true);
    let interrupt = Interrupt::default();
    let stop = Watcher::stopping_after(70, &interrupt);
    // One thread: runs follow each other, so some are done when the stop comes.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let stopped = pool.install(|| sweep(&bank, &GRID, Selection::Val, &stop, &interrupt));
    assert!(matches!(stopped, Err(FinetuneError::Interrupted { .. })));
    let rows = std::fs::read_to_string(dir.path().join("sweep").join(ROWS_FILE)).unwrap();
    let kept = rows.lines().count();
    assert!((1..8).contains(&kept), "{kept}");
    let whole = sweep(&bank, &GRID, Selection::Val, &Silent, &Interrupt::default()).unwrap().sweep;
    assert_eq!(whole.reused, kept);

    let other = tempfile::tempdir().unwrap();
    let fresh = self::bank(other.path(), true);
    let once = sweep(&fresh, &GRID, Selection::Val, &Silent, &Interrupt::default()).unwrap().sweep;
    let figures = |sweep: &sweep::Sweep| -> Vec<Option<compare::Spread>> {
        sweep.lines.iter().map(|line| line.chooser.balanced).collect()
    };
    assert_eq!(figures(&whole), figures(&once));
}
