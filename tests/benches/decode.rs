//! Photographs to network inputs of 224 x 224: `cargo bench --bench decode -- PHOTOS eval|train [THREADS]`.
//!
//! PHOTOS is a folder with one folder of images a class. `eval` scales and takes the middle; `train` takes
//! random rectangles, flips and changes colours. Prints one line of JSON.

use std::path::PathBuf;
use std::time::Instant;

use fsa_bank::config::{DatasetConfig, DatasetKind, RandomCrop, TrainConfig};
use fsa_bank::dataset::{Augmentation, Dataset, Loader, Transform};
use fsa_bank::domain::Split;
use fsa_bank::rng::{KeyedRng, Stage};

const BATCH: usize = 64;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (Some(photos), Some("eval" | "train")) = (args.first(), args.get(1).map(String::as_str))
    else {
        eprintln!("usage: cargo bench --bench decode -- PHOTOS eval|train [THREADS]");
        return;
    };
    let threads = args.get(2).and_then(|text| text.parse().ok()).unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.expect("the threads start");
    let config = DatasetConfig {
        kind: DatasetKind::Folder,
        path: PathBuf::from(photos),
        image_size: 224,
        crop_fraction: 0.875,
        ..Default::default()
    };
    let dataset = Dataset::open(&config).expect("photographs");
    let settings = TrainConfig {
        crop: if args[1] == "train" { RandomCrop::Resized } else { RandomCrop::Padded },
        color_jitter: 0.4,
        ..Default::default()
    };
    let augmentation = Augmentation::new(&settings);
    let transform = |sample: usize| match args[1].as_str() {
        "eval" => Transform::NONE,
        _ => {
            let key = (0, sample as u64);
            augmentation.draw(&mut KeyedRng::new(0, Stage::TrainTransform, key))
        }
    };
    let images: Vec<(usize, Transform)> =
        (0..dataset.train.len()).map(|i| (i, transform(i))).collect();
    let loader = Loader::new(&dataset, Split::Train, &dataset.train);
    let begin = Instant::now();
    let (mut made, mut sum) = (0, 0.0);
    for batch in images.chunks(BATCH) {
        let inputs = loader.inputs(batch).expect("photographs that can be decoded");
        made += inputs.kept.len();
        sum += f64::from(inputs.values[inputs.values.len() / 2]);
    }
    let secs = begin.elapsed().as_secs_f64();
    println!(
        "{{\"images\":{made},\"secs\":{secs:.4},\"images_per_sec\":{:.1},\"sum\":{sum:.3}}}",
        made as f64 / secs
    );
}
