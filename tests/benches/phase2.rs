//! Phase-II on a bank of any shape: `cargo bench --bench phase2 -- DIR K H W C ROWS [ITERATIONS]`.
//!
//! Makes a bank of random ReLU-like maps in DIR with a long tail of classes (imbalance ratio 100; with
//! 8,142 classes the profile of iNaturalist 2018), unless one is there, and runs FSA on it three times
//! (0 iterations: not at all). Prints a line of JSON for each; the bank stays, so that
//! `phase2_pytorch.py` and `large_bank.py` can use the same rows.

use std::path::{Path, PathBuf};

use fsa_bank::augment;
use fsa_bank::bank::{
    Bank, BankError, BankWriter, ClassRow, DatasetCard, FORMAT_VERSION, Layout, Manifest, ModelRef,
    RowHead, TrainRow, ViewSettings, Written,
};
use fsa_bank::config::{FinetuneConfig, Precision};
use fsa_bank::domain::{ClassId, FeatureShape, LinearHead};
use fsa_bank::finetune::{self, FinetuneRequest};
use fsa_bank::progress::{Interrupt, Silent};
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::Weights;
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
        let outcome = finetune::run(&request, &Silent, &Interrupt::default());
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
    let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
    let scale = 1.0 / (shape.channels as f64).sqrt();
    let weight = (0..classes * shape.channels).map(|_| (scale * rng.normal()) as f32).collect();
    let head = LinearHead::new(weight, vec![0.0; classes]).expect("whole");
    let names: Vec<String> = (0..classes).map(|c| format!("class {c}")).collect();
    let mut writer = BankWriter::new(dir, shape, Layout::default(), names.clone())?;
    let labels: Vec<u32> = counts
        .iter()
        .enumerate()
        .flat_map(|(c, &n)| std::iter::repeat_n(c as u32, n as usize))
        .collect();
    const CHUNK: usize = 256;
    for (chunk, labels) in labels.chunks(CHUNK).enumerate() {
        let rows: Vec<TrainRow> = labels
            .par_iter()
            .enumerate()
            .map(|(i, &label)| row(&head, shape, (chunk * CHUNK + i) as u32, label))
            .collect();
        writer.append_train(&rows, rows.len() as u64)?;
    }
    let test: Vec<RowHead> =
        (0..classes as u32).map(|c| row(&head, shape, 1 << 24 | c, c).head).collect();
    writer.append_pooled("test", &test)?;
    let class = |(name, &n): (&String, &u64)| ClassRow { name: name.clone(), train_images: n };
    let classes_table: Vec<ClassRow> = names.iter().zip(&counts).map(class).collect();
    let Written { splits, files } = writer.finish(&classes_table, &head, &Default::default())?;
    let manifest = Manifest {
        format: Manifest::format_name(),
        version: FORMAT_VERSION,
        needs: Manifest::needs(),
        writer: "phase2 bench".into(),
        name: format!("synthetic {shape}, {classes} classes"),
        dataset: DatasetCard { fingerprint: "synthetic".into(), classes },
        model: ModelRef {
            arch: "synthetic".into(),
            image_size: 0,
            weights_sha256: "synthetic 00".into(),
            arithmetic: "f32".into(),
        },
        feature_shape: shape,
        precision: Precision::F16,
        views: ViewSettings { count: 1, ..Default::default() },
        classifier_sha256: Weights::of_head(&head).sha256(),
        fitted_head: None,
        maps: Default::default(),
        files,
        splits,
        manifest_xxh3: Default::default(),
    };
    Ok(manifest.save(dir)?)
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

fn row(head: &LinearHead, shape: FeatureShape, sample_id: u32, label: u32) -> TrainRow {
    let mut rng = KeyedRng::new(2, Stage::InitialWeights, (sample_id.into(), 0));
    let weight = head.class_weight(ClassId(label));
    let value = |k: usize, rng: &mut KeyedRng| {
        // A sum of uniform numbers is near enough to a normal one, and quick.
        let noise = rng.unit() + rng.unit() + rng.unit() - 1.5;
        half::f16::from_f32((noise as f32 + 2.0 * weight[k]).max(0.0)).to_f32()
    };
    let feature_map: Vec<f32> =
        (0..shape.values()).map(|i| value(i % shape.channels, &mut rng)).collect();
    TrainRow {
        head: RowHead {
            sample_id,
            view: 0,
            path: String::new(),
            label,
            predicted: label,
            confidence: 1.0,
            pooled: augment::pooled(&feature_map, shape.channels),
        },
        cam: augment::normalise(&augment::activation(&feature_map, weight)),
        nonzero: augment::nonzero(&feature_map, shape.channels),
        feature_map,
    }
}
