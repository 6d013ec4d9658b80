//! What `plan` says of a bank, against the bank that is made afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fsa_bank::backbone::{Backbone, BackboneError};
use fsa_bank::bank::{Bank, Manifest, ModelRef, Partition};
use fsa_bank::config::{KeepMaps, LoadedPipeline, load};
use fsa_bank::dataset::Dataset;
use fsa_bank::disk;
use fsa_bank::domain::{FeatureShape, FitOptions, LinearHead};
use fsa_bank::features::{
    self, FeaturesError, FeaturesOutcome, FeaturesRequest, Forecast, FrozenModel, HeadSource,
    MapsKnown, SampleFigures,
};
use fsa_bank::progress::{Interrupt, Progress, Silent, Watch};
use fsa_bank::rng::{KeyedRng, Stage};

use crate::fixtures::{folder_pipeline, image_folder};
use crate::support::progress::Watcher;

/// Maps of noise that depends on the image: the redder it is, the more of them is 0, so that classes
/// compress very differently.
struct Noise {
    shape: FeatureShape,
    /// Of a row.
    pause: Duration,
}

impl Backbone for Noise {
    fn shape(&self) -> FeatureShape {
        self.shape
    }

    fn feature_maps(&mut self, inputs: &[f32], images: usize) -> Result<Vec<f32>, BackboneError> {
        std::thread::sleep(self.pause * images as u32);
        let mut maps = Vec::with_capacity(images * self.shape.values());
        for image in inputs.chunks_exact(inputs.len() / images) {
            let plane = image.len() / 3;
            let mean = |c: usize| image[c * plane..][..plane].iter().sum::<f32>() / plane as f32;
            let zeros = if mean(0) > mean(1) {
                0.95
            } else if mean(1) > mean(2) {
                0.4
            } else {
                0.05
            };
            let key = image.iter().fold(0u64, |key, v| key.rotate_left(7) ^ u64::from(v.to_bits()));
            let mut rng = KeyedRng::new(key, Stage::InitialWeights, (0, 0));
            maps.extend((0..self.shape.values()).map(|_| {
                let value = rng.unit();
                if rng.unit() < zeros { 0.0 } else { value as f32 }
            }));
        }
        Ok(maps)
    }
}

struct Case {
    dir: tempfile::TempDir,
    /// Where the run is; of its own in [`Case::dir`] unless a test says otherwise.
    out: PathBuf,
    loaded: LoadedPipeline,
    dataset: Dataset,
    shape: FeatureShape,
    pause: Duration,
    fitted: bool,
    partition: Option<Partition>,
    overwrite: bool,
    free: Option<u64>,
}

impl Case {
    fn new(counts: &[usize], shape: [usize; 3], overrides: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        image_folder(&dir.path().join("images"), counts);
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        let loaded = load(&folder_pipeline(dir.path()), &overrides).unwrap();
        let dataset = Dataset::open(&loaded.pipeline.dataset).unwrap();
        let [channels, height, width] = shape;
        Self {
            out: dir.path().join("runs/tiny/shards"),
            dir,
            loaded,
            dataset,
            shape: FeatureShape { channels, height, width },
            pause: Duration::ZERO,
            fitted: false,
            partition: None,
            overwrite: false,
            free: Some(1 << 40),
        }
    }

    fn with<T>(&self, what: impl FnOnce(&FeaturesRequest, FrozenModel) -> T) -> T {
        let (classes, channels) = (self.dataset.class_names.len(), self.shape.channels);
        let mut rng = KeyedRng::new(1, Stage::NewClassifier, (0, 0));
        let weight = (0..classes * channels).map(|_| rng.normal() as f32).collect();
        let head = match self.fitted {
            true => HeadSource::Fitted(FitOptions { epochs: 1, weight_decay: 1e-4, seed: 0 }),
            false => HeadSource::Given(LinearHead::new(weight, vec![0.0; classes]).unwrap()),
        };
        let (shape, pause) = (self.shape, self.pause);
        let model = FrozenModel {
            shape,
            head,
            reference: ModelRef {
                arch: "noise".into(),
                image_size: 16,
                weights_sha256: "none".into(),
                arithmetic: "f32".into(),
            },
            identity: "none".into(),
            device: "nothing at all".into(),
            start: Box::new(move || Ok(Box::new(Noise { shape, pause }))),
        };
        let free_bytes = |_: &Path| self.free;
        let request = FeaturesRequest {
            loaded: &self.loaded,
            dataset: &self.dataset,
            out: &self.out,
            overwrite: self.overwrite,
            partition: self.partition,
            make_in_processes: None,
            measure_forward: false,
            free_bytes: &free_bytes,
        };
        what(&request, model)
    }

    fn plan(&self) -> Result<Forecast, FeaturesError> {
        self.with(|request, model| {
            features::plan(request, model, Watch::new(&Silent, &Interrupt::default()))
        })
    }

    fn make(&self) -> Result<FeaturesOutcome, FeaturesError> {
        self.make_telling(&Silent)
    }

    fn make_telling(&self, progress: &dyn Progress) -> Result<FeaturesOutcome, FeaturesError> {
        self.with(|request, model| {
            features::run(request, model, Watch::new(progress, &Interrupt::default()))
        })
    }

    /// All files and folders of the case.
    fn files(&self) -> BTreeSet<PathBuf> {
        let (mut found, mut folders) = (BTreeSet::new(), vec![self.dir.path().to_path_buf()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path);
            }
        }
        found
    }
}

fn off(expected: f64, found: f64) -> f64 {
    (expected / found - 1.0).abs()
}

/// Plans a bank with a network so slow that a sample is a part of it, makes it, and compares.
#[track_caller]
fn check(mut case: Case, milliseconds_a_row: u64) -> Case {
    let before = case.files();
    case.pause = Duration::from_millis(milliseconds_a_row);
    let plan = case.plan().unwrap();
    case.pause = Duration::ZERO;
    assert_eq!(case.files(), before, "something stayed");
    assert!(!plan.already_done && plan.state.shards_done == 0);
    let sample = plan.sample.unwrap();
    let made = case.make().unwrap();
    let (manifest, _) = Manifest::load(&case.out).unwrap();
    for (name, split) in &manifest.splits {
        let expected = &plan.splits[name];
        assert_eq!((expected.images, expected.rows), (split.images, split.rows), "{name}");
        assert_eq!(expected.shards, split.shards.len(), "{name}");
        let has_map = |label: &&u32| name == "train" && manifest.maps.of_class(**label);
        let images = case.dataset.train.labels().iter().filter(has_map).count() as u64;
        assert_eq!(expected.rows_with_maps, images * expected.views, "{name}");
        let most = split.shards.iter().map(|shard| shard.rows).max().unwrap();
        assert!(most == plan.shard_rows || split.shards.len() == 1 && most < plan.shard_rows);
        let bytes: u64 = split.shards.iter().map(|shard| shard.bytes).sum();
        println!(
            "{} {} {name}: {} expected, {bytes} found; sample of {} of {} rows",
            plan.map,
            plan.precision.name(),
            expected.bytes,
            sample.rows,
            plan.state.items
        );
    }
    let train: u64 = manifest.splits["train"].shards.iter().map(|shard| shard.bytes).sum();
    let error = off(plan.splits["train"].bytes as f64, train as f64);
    assert!(error < 0.1, "{} expected, {train} found", plan.splits["train"].bytes);
    assert!(off(plan.bytes as f64, made.bytes as f64) < 0.1, "{} {}", plan.bytes, made.bytes);
    assert_eq!((plan.to_do.rows, plan.to_do.shards), (made.rows, plan.state.shards));
    assert!(plan.disk.needed > plan.bytes && plan.disk.fits == Some(true));

    let after = case.plan().unwrap();
    assert!(after.already_done && after.sample.is_none());
    assert_eq!((after.bytes, after.state.items), (made.bytes, made.rows));
    assert_eq!(Bank::open(&made.bank).unwrap().manifest.total_bytes(), made.bytes);
    case
}

#[test]
fn a_bank_is_as_large_as_planned_pages_of_16_rows() {
    let settings = ["features.views=3", "features.shard_bytes=4000000"];
    check(Case::new(&[150, 90, 60, 10], [64, 8, 8], &settings), 4);
}

#[test]
fn a_bank_is_as_large_as_planned_f32() {
    let settings = [
        "features.views=2",
        "features.precision=\"f32\"",
        "features.compression_level=3",
        "features.shard_bytes=1000000",
        "dataset.val_fraction=0.2",
    ];
    check(Case::new(&[400, 160, 110, 80], [128, 2, 2], &settings), 2);
}

#[test]
fn a_bank_is_as_large_as_planned_maps_of_many_pages() {
    let settings = ["features.views=1", "features.precision=\"bf16\"", "features.batch_size=16"];
    check(Case::new(&[20, 12, 9, 3], [512, 14, 14], &settings), 0);
}

#[test]
fn rows_without_a_map_take_little() {
    let settings = ["features.maps=\"needed\"", "features.views=2", "finetune.num_confusing=1"];
    let case = Case::new(&[150, 80, 20, 10], [64, 8, 8], &settings);
    let plan = case.plan().unwrap();
    assert_eq!(plan.maps_known, MapsKnown::Known);
    assert!(plan.splits["train"].rows_with_maps < 520, "{:?}", plan.splits);
    let mut case = check(case, 4);
    case.overwrite = true;
    case.loaded.pipeline.features.maps = KeepMaps::None;
    let none = case.plan().unwrap();
    assert_eq!((none.raw_bytes.maps, none.maps_known), (0, MapsKnown::Known));
    let made = case.make().unwrap();
    assert!(off(none.bytes as f64, made.bytes as f64) < 0.1, "{} {}", none.bytes, made.bytes);
    assert!(none.bytes < plan.bytes / 2);
    case.fitted = true;
    let fitted = case.plan().unwrap();
    assert_eq!(fitted.maps_known, MapsKnown::AtMost);
    let all = fitted.splits["train"].bytes;
    assert!((all + none.bytes..2 * all).contains(&fitted.disk.needed), "{:?}", fitted.disk);
}

#[test]
fn rows_of_other_classes_may_be_fewer() {
    let settings = [
        "features.maps=\"needed\"",
        "features.views=3",
        "features.other_views=1",
        "features.shard_bytes=1000000",
        "finetune.num_confusing=1",
    ];
    let case = check(Case::new(&[150, 80, 20, 10], [64, 8, 8], &settings), 4);
    let split = case.plan().unwrap().splits["train"];
    assert_eq!((split.images, split.views, split.other_views), (260, 3, Some(1)));
    assert_eq!(split.rows, split.rows_with_maps + (260 - split.rows_with_maps / 3));
}

#[test]
fn time_is_as_planned() {
    let settings = ["features.views=8", "features.batch_size=32"];
    let mut case = Case::new(&[50, 20, 10], [64, 8, 8], &settings);
    case.pause = Duration::from_millis(5);
    case.overwrite = true;
    // Other tests take the processors as they like: one quiet moment is enough, and it is waited for.
    let mut found = vec![];
    let quiet = (0..20).any(|_| {
        let plan = case.plan().unwrap();
        let made = case.make().unwrap();
        let (expected, sample) = (plan.to_do.secs.unwrap(), plan.sample.unwrap());
        assert!(sample.rows < made.rows, "{}", sample.rows);
        let SampleFigures { decode_per_sec, forward_per_sec, encode_per_sec, .. } = sample;
        // However busy the machine is, nobody sleeps for less than was asked.
        assert!(forward_per_sec <= 200.0 && expected >= plan.to_do.rows as f64 / 200.0);
        assert!(made.secs >= made.rows as f64 / 200.0);
        found.push((expected, made.secs, forward_per_sec));
        // The network is the slowest of the three.
        forward_per_sec < decode_per_sec.min(encode_per_sec)
            && off(forward_per_sec, 200.0) < 0.2
            && off(expected, made.secs) < 0.3
    });
    assert!(quiet, "seconds expected and found, rows a second: {found:?}");
}

#[test]
fn what_is_done_is_not_planned_again() {
    let settings = ["features.views=2", "features.shard_bytes=200000"];
    let mut case = Case::new(&[60, 20, 10], [32, 4, 4], &settings);
    let whole = case.plan().unwrap();
    let part: Partition = "1/3".parse().unwrap();
    case.partition = Some(part);
    let share = case.plan().unwrap();
    assert_eq!(share.bytes, share.splits.values().map(|s| s.bytes).sum::<u64>() + rest(&share));
    assert!(
        share.to_do.shards * 3 >= whole.state.shards && share.to_do.shards < whole.state.shards
    );
    assert!(share.disk.needed < whole.disk.needed / 2);
    let made = case.make().unwrap();
    assert_eq!(made.rows, share.to_do.rows);

    let before = case.files();
    assert_eq!(case.plan().unwrap().to_do.rows, 0);
    case.partition = None;
    let left = case.plan().unwrap();
    assert_eq!(left.state, made.state.unwrap());
    assert_eq!(left.to_do.rows, whole.to_do.rows - made.rows);
    assert!(left.disk.needed < whole.disk.needed - made.bytes / 2);
    assert_eq!(case.files(), before);

    // Another bank was begun there.
    case.loaded.pipeline.features.compression_level = 5;
    let refused = case.plan().unwrap_err().to_string();
    assert!(refused.contains("features.compression_level is 1, not 5"), "{refused}");
    case.overwrite = true;
    assert_eq!(case.plan().unwrap().state.shards_done, 0);
}

/// Bytes beside the shards.
fn rest(plan: &Forecast) -> u64 {
    plan.bytes - plan.splits.values().map(|split| split.bytes).sum::<u64>()
}

#[test]
fn what_cannot_fit_is_refused_before_it_is_begun() {
    let mut case = Case::new(&[100, 60, 40], [64, 8, 8], &["features.views=2"]);
    let before = case.files();
    let plan = case.plan().unwrap();
    case.free = Some(plan.disk.needed / 2);
    let refused = case.make().unwrap_err();
    assert!(matches!(refused, FeaturesError::Space(_)), "{refused}");
    let message = refused.to_string();
    assert!(message.starts_with(&case.dir.path().display().to_string()), "{message}");
    for part in [" are free\n", "--out", "--maps needed", "features.views is 2"] {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
    assert_eq!(case.files(), before);
    let told = case.plan().unwrap();
    assert_eq!(told.disk.fits, Some(false));
    assert!(told.disk.require().is_err());

    // Maps of noise at f16 take less than the bound, so that a sample must tell.
    case.free = Some(plan.disk.needed * 3 / 2);
    let lines = Watcher::default();
    let made = case.make_telling(&lines).unwrap();
    assert!(lines.has_line("measuring a sample") && !made.already_done);

    // Both banks are there for a while; with much room nothing is measured.
    case.overwrite = true;
    let again = case.plan().unwrap();
    assert_eq!(again.disk.replaced, Some(made.bytes));
    assert!(off(again.disk.needed as f64, plan.disk.needed as f64) < 0.1);
    case.free = Some(1 << 30);
    let lines = Watcher::default();
    case.make_telling(&lines).unwrap();
    assert!(!lines.has_line("measuring a sample"));
    case.free = None;
    assert_eq!(case.plan().unwrap().disk.fits, None);
}

#[test]
fn a_classifier_that_is_fitted_needs_room_twice() {
    let mut case = Case::new(&[60, 40, 20], [64, 8, 8], &["features.views=2"]);
    let once = case.plan().unwrap().disk.needed;
    case.fitted = true;
    let twice = case.plan().unwrap().disk.needed;
    assert!(off(twice as f64, 2.0 * once as f64) < 0.1, "{once} {twice}");
    case.free = Some(once * 5 / 4);
    assert!(matches!(case.make().unwrap_err(), FeaturesError::Space(_)));
    // A partition ends with the maps.
    case.partition = Some("1/1".parse().unwrap());
    let part = case.make().unwrap();
    assert_eq!(part.rows, 120 * 2 + 18);
    // They stay while the bank is made of them. A sample takes half of what is free at most, and one of a
    // few rows tells less.
    case.partition = None;
    case.free = Some(once * 4);
    let second = case.plan().unwrap();
    assert_eq!(second.to_do.rows, 0);
    assert!(off(second.disk.needed as f64, once as f64) < 0.1, "{once} {}", second.disk.needed);
    case.free = Some(once * 2);
    let stop = Interrupt::default();
    let stopping = Watcher::stopping_at("fitting", &stop);
    let stopped =
        case.with(|request, model| features::run(request, model, Watch::new(&stopping, &stop)));
    assert!(matches!(stopped, Err(FeaturesError::InterruptedFit)));
    let third = case.plan().unwrap();
    assert!(off(third.disk.needed as f64, once as f64) < 0.1, "{once} {}", third.disk.needed);
    assert_eq!((third.to_do.rows, third.to_do.secs), (258, None));
    case.free = Some(once / 2);
    assert!(matches!(case.make().unwrap_err(), FeaturesError::Space(_)));
}

#[test]
fn a_plan_is_json_with_these_keys() {
    let case = Case::new(&[30, 20, 10], [32, 4, 4], &["features.views=2"]);
    let json = serde_json::to_value(case.plan().unwrap()).unwrap();
    for key in [
        "/bank",
        "/already_done",
        "/device",
        "/splits/train/images",
        "/splits/train/rows_with_maps",
        "/splits/test/bytes",
        "/map/channels",
        "/locations",
        "/precision",
        "/compression_level",
        "/raw_bytes/maps_f32",
        "/raw_bytes/maps",
        "/raw_bytes/pooled",
        "/raw_bytes/cams",
        "/bytes",
        "/state/shards_done",
        "/state/shards",
        "/shard_rows",
        "/to_do/rows",
        "/to_do/bytes",
        "/to_do/secs",
        "/sample/rows_per_sec",
        "/sample/decode_per_sec",
        "/sample/forward_per_sec",
        "/sample/encode_per_sec",
        "/disk/place",
        "/disk/free",
        "/disk/needed",
        "/disk/fits",
    ] {
        assert!(json.pointer(key).is_some_and(|value| !value.is_null()), "{key}: {json}");
    }
    // 120 maps of 32 x 4 x 4, 120 + 18 vectors, 120 activation maps with two bytes of flags.
    let raw = &json["raw_bytes"];
    assert_eq!(raw["maps_f32"], 120 * 512 * 4);
    assert_eq!(raw["maps"], 120 * 512 * 2);
    assert_eq!(raw["pooled"], 138 * 32 * 4);
    assert_eq!(raw["cams"], 120 * (16 * 4 + 2));
}

/// The small file system that the next test mounts for this one. Without it, a disk is said to be as small.
const SMALL_DISK: &str = "FSA_BANK_TEST_SMALL_DISK";

#[test]
fn on_a_small_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::env::var_os(SMALL_DISK).map(PathBuf::from);
    let free =
        |out: &Path, said| if mounted.is_some() { disk::free_bytes(out) } else { Some(said) };
    let disk = mounted.as_deref().unwrap_or(folder.path());
    let mut case = Case::new(&[100, 60, 40], [64, 8, 8], &["features.views=2"]);
    case.out = disk.join("runs/tiny/shards");
    case.free = free(&case.out, 1 << 20);
    let left = || std::fs::read_dir(disk).unwrap().count();
    let refused = case.make().unwrap_err();
    assert!(matches!(refused, FeaturesError::Space(_)), "{refused}");
    println!("{refused}");
    assert_eq!(left(), 0);
    // Not even the sample fits.
    std::fs::write(disk.join("something"), vec![1; case.free.unwrap() as usize - 8192]).unwrap();
    case.free = free(&case.out, 8192);
    let refused = case.make().unwrap_err();
    assert!(matches!(refused, FeaturesError::Space(_)), "{refused}");
    println!("{refused}");
    assert_eq!(left(), 1);
}

#[test]
fn a_small_disk_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$DISK\" || exit 77\nexec \"$@\"";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["plan::on_a_small_disk", "--exact", "--nocapture"])
        .env("DISK", dir.path())
        .env(SMALL_DISK, dir.path())
        .output()
        .unwrap_or_else(|e| panic!("unshare (util-linux): {e}"));
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let denied = "this test mounts a file system in a user namespace, which is not allowed here";
    assert!(text.contains("running 1 test"), "{denied}: {errors}");
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(text.matches("the bank needs").count(), 2, "{text}");
}
