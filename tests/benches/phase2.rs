//! Phase-II on a bank of any shape: `cargo bench --bench phase2 -- DIR K H W C ROWS [ITERATIONS]`.
//!
//! Makes a bank of random ReLU-like maps in DIR with a long tail of classes (imbalance ratio 100; with
//! 8,142 classes the profile of iNaturalist 2018), unless one is there, and runs FSA on it three times
//! (0 iterations: not at all). Prints a line of JSON for each; the bank stays, so that
//! `phase2_pytorch.py` and `large_bank.py` can use the same rows.

#[path = "synthetic.rs"]
mod synthetic;

use std::path::{Path, PathBuf};

use fsa_bank::bank::{Bank, BankError, Layout, TrainRow};
use fsa_bank::config::FinetuneConfig;
use fsa_bank::domain::{FeatureShape, Split};
use fsa_bank::finetune::{self, FinetuneRequest};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use rayon::prelude::*;

/// What real programs run with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IMBALANCE_RATIO: f64 = 100.0;
const REPEATS: usize = 3;
/// Enough to hold every bank here: PyTorch holds them too.
const MEMORY_BYTES: u64 = 16 << 30;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<usize>().ok());
    let sizes = [1, 2, 3, 4, 5].map(number);
    let (Some(dir), [Some(channels), Some(height), Some(width), Some(classes), Some(rows)]) =
        (args.first().map(PathBuf::from), sizes)
    else {
        eprintln!("usage: cargo bench --bench phase2 -- DIR K H W C ROWS [ITERATIONS]");
        return;
    };
    let shards = dir.join("shards");
    if Bank::open(&shards).is_err() {
        let shape = FeatureShape { channels, height, width };
        make(&shards, shape, classes, rows).unwrap_or_else(|e| panic!("{e}"));
    }
    let iterations = number(6).unwrap_or(FinetuneConfig::default().iterations);
    let mut rates = vec![];
    for _ in 0..if iterations > 0 { REPEATS } else { 0 } {
        let request = FinetuneRequest {
            bank: &shards,
            config: FinetuneConfig { iterations, ..Default::default() },
            seed: 0,
            selection: finetune::Selection::None,
            out: None,
            overwrite: true,
            memory_bytes: MEMORY_BYTES,
        };
        let outcome = finetune::run(&request, Watch::new(&Silent, &Interrupt::default()));
        let timing = outcome.unwrap_or_else(|e| panic!("{e}")).report.timing;
        rates.push(timing.iterations_per_sec);
        println!("{}", serde_json::to_string(&timing).expect("numbers are JSON"));
    }
    rates.sort_by(f64::total_cmp);
    if let Some(median) = rates.get(rates.len() / 2) {
        println!("median {median:.0} iterations a second");
    }
}

fn make(dir: &Path, shape: FeatureShape, classes: usize, rows: usize) -> Result<(), BankError> {
    let counts = class_counts(classes, rows);
    let head = synthetic::head(shape, classes);
    let labels: Vec<u32> = counts
        .iter()
        .enumerate()
        .flat_map(|(c, &n)| std::iter::repeat_n(c as u32, n as usize))
        .collect();
    const CHUNK: usize = 256;
    let bank = synthetic::new_bank(shape, Layout::default(), &head, labels.len(), classes);
    synthetic::write_bank(dir, bank, |shard, open| {
        let training = shard.split == Split::Train;
        let row = |i: u64| match training {
            true => synthetic::row(&head, shape, i as u32, labels[i as usize]),
            false => synthetic::row(&head, shape, 1 << 24 | i as u32, i as u32),
        };
        let places: Vec<u64> = (shard.items[0]..shard.items[1]).collect();
        places.chunks(CHUNK).try_for_each(|some| {
            open.append(&some.par_iter().map(|&i| row(i)).collect::<Vec<TrainRow>>())
        })
    })
    .map(drop)
}

/// Sizes that add up to about `rows`, each class with at least one row: an exponential tail, or
/// iNaturalist 2018's profile.
fn class_counts(classes: usize, rows: usize) -> Vec<u64> {
    let place = |c: usize| c as f64 / (classes - 1).max(1) as f64;
    let share: Vec<f64> = if classes == INAT_CLASSES {
        (0..classes).map(|c| inat_size(place(c))).collect()
    } else {
        (0..classes).map(|c| IMBALANCE_RATIO.powf(-place(c))).collect()
    };
    let total: f64 = share.iter().sum();
    share.iter().map(|share| ((rows as f64 * share / total).round() as u64).max(1)).collect()
}

const INAT_CLASSES: usize = 8142;

/// A class of iNaturalist 2018 by its place from the largest (0) to the smallest (1): 1,000 down to 2
/// images, falling so that 8,142 classes have 437,513 (its published figures).
fn inat_size(place: f64) -> f64 {
    const BEND: f64 = 3.5765;
    2.0 * 500f64.powf((1.0 - place).powf(BEND))
}
