//! Banks made in this process or in one of its own, which tests kill and disturb.
//!
//! The process is this test program itself, which runs `interrupted_banks::child` alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fsa_bank::bank::{Bank, BankError};
use fsa_bank::config::load;
use fsa_bank::dataset::{Dataset, Skipped};
use fsa_bank::features::{self, FeaturesError, FeaturesOutcome, FeaturesRequest, FrozenModel};
use fsa_bank::progress::{Interrupt, Progress, Silent, Watch};

use super::fake_engine::FakeEngine;
use super::files::files;
use super::run::{Run, choose, engine_options};

/// Settings of every run, which has smaller shards than a pipeline may ask for.
const SETTINGS: [&str; 1] = ["features.batch_size=5"];
const SHARD_BYTES: u64 = 1024;
const RUN: &str = "FSA_BANK_TEST_RUN";
const OUT: &str = "FSA_BANK_TEST_OUT";
pub const PARTITION: &str = "FSA_BANK_TEST_PARTITION";
/// More settings, one a line.
pub const MORE: &str = "FSA_BANK_TEST_SETTINGS";

/// Makes the bank of the run in `run` at `out`.
pub fn make(
    run: &Path,
    out: &Path,
    more: &[&str],
    change: impl FnOnce(&mut FeaturesRequest),
    progress: &dyn Progress,
    stop: &Interrupt,
) -> Result<FeaturesOutcome, FeaturesError> {
    prepared(run, out, more, change, |request, model| {
        features::run(request, model, Watch::new(progress, stop))
    })
}

/// Does something with the network and the images of a run.
pub fn prepared<T>(
    run: &Path,
    out: &Path,
    more: &[&str],
    change: impl FnOnce(&mut FeaturesRequest),
    with: impl FnOnce(&FeaturesRequest, FrozenModel) -> Result<T, FeaturesError>,
) -> Result<T, FeaturesError> {
    let (progress, stop) = (&Silent, &Interrupt::default());
    let overrides: Vec<String> = SETTINGS.iter().chain(more).map(|s| s.to_string()).collect();
    let mut loaded = load(&run.join("tiny.toml"), &overrides).unwrap();
    loaded.pipeline.dataset.path = run.join("images");
    loaded.pipeline.features.shard_bytes = SHARD_BYTES;
    let mut dataset = Dataset::open(&loaded.pipeline.dataset).unwrap();
    dataset.skipped = Skipped::at_most(0.1);
    let network = choose(&loaded, &dataset, run, false, progress, stop)?;
    let model =
        FrozenModel::torch(&network, &loaded, &dataset, None, &FakeEngine, engine_options())?;
    let mut request = FeaturesRequest {
        loaded: &loaded,
        dataset: &dataset,
        out,
        overwrite: false,
        partition: None,
        make_in_processes: None,
        measure_forward: false,
        free_bytes: &fsa_bank::disk::free_bytes,
    };
    change(&mut request);
    with(&request, model)
}

/// Makes the bank of the run that the environment names, if it names one.
pub fn made_as_asked_by_the_environment() -> Option<Result<FeaturesOutcome, FeaturesError>> {
    let run = std::env::var_os(RUN)?;
    let out = PathBuf::from(std::env::var_os(OUT).unwrap());
    let partition = std::env::var(PARTITION).ok().map(|text| text.parse().unwrap());
    let more = std::env::var(MORE).unwrap_or_default();
    let change = |request: &mut FeaturesRequest| {
        request.partition = partition;
        // What cannot fit is tried nevertheless.
        request.free_bytes = &|_| None;
    };
    let (more, go) = (more.lines().collect::<Vec<_>>(), Interrupt::default());
    Some(make(Path::new(&run), &out, &more, change, &Silent, &go))
}

pub fn command(run: &Path, out: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "interrupted_banks::child", "--nocapture", "--test-threads=1"]);
    command.env(RUN, run).env(OUT, out).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

pub fn trained() -> Run {
    let run = Run::new(&[]);
    run.train(false, &Silent, &Interrupt::default()).unwrap();
    run
}

/// The bank of a run that nothing disturbed.
pub fn undisturbed(run: &Run) -> BTreeMap<String, Vec<u8>> {
    let out = run.path().join("undisturbed/shards");
    let made = make(run.path(), &out, &[], |_| {}, &Silent, &Interrupt::default()).unwrap();
    assert!(!made.already_done);
    let bank = files(&out);
    assert!(bank.len() > 15, "{} files", bank.len());
    bank
}

pub fn assert_whole(out: &Path, whole: &BTreeMap<String, Vec<u8>>) {
    let there = files(out);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&there), names(whole));
    for (name, content) in whole {
        assert!(there[name] == *content, "{name} differs");
    }
    assert_eq!(std::fs::read_dir(out.parent().unwrap()).unwrap().count(), 1, "left over");
}

/// What a reader finds while the bank may be under way: nothing, or all of it.
pub fn assert_nothing_or_whole(out: &Path, whole: &BTreeMap<String, Vec<u8>>) {
    match Bank::open(out) {
        Err(BankError::Unfinished { .. } | BankError::NoManifest { .. }) => {
            assert!(!out.exists());
        }
        Err(e) => panic!("{e}"),
        Ok(_) => assert!(files(out) == *whole),
    }
}
