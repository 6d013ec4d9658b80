//! The stages in a row, on real image files, with the fake engine.

use std::path::Path;

use fsa_bank::backbone::Engine;
use fsa_bank::bank::{Bank, BankError};
use fsa_bank::dataset::Dataset;
use fsa_bank::domain::{FitOptions, Split};
use fsa_bank::features::{self, FeaturesError, HeadSource};
use fsa_bank::finetune::{self, FinetuneRequest};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::train::{self, EpochMetrics, TrainError, TrainRequest};

use crate::fake_engine::{FakeEngine, HoldingEngine};
use crate::fixtures::python;
use crate::support::files::shards;
use crate::support::progress::Watcher;
use crate::support::run::{Run, engine_options};

#[test]
fn images_become_a_model_a_bank_and_a_better_classifier() {
    let run = Run::new(&["train.epochs=12"]);
    let go = Interrupt::default();
    let trained = run.train(false, &Silent, &go).unwrap();
    assert_eq!(trained.epochs.len(), 12);
    assert!(trained.epochs[11].train_loss < trained.epochs[0].train_loss);
    assert!(run.train(false, &Silent, &go).unwrap().already_done);

    let made = run.features(&go).unwrap();
    // 43 training images in 3 views, 24 test images.
    assert_eq!((made.already_done, made.rows), (false, 43 * 3 + 24));
    assert!(run.features(&go).unwrap().already_done);

    let bank = Bank::open(&made.bank).unwrap();
    assert_eq!(bank.class_counts.0, [24, 12, 5, 2]);
    let rows = bank.rows(Split::Train).unwrap();
    assert_eq!(
        rows.index.labels,
        run.dataset.train.labels().iter().flat_map(|&l| [l; 3]).collect::<Vec<_>>()
    );
    // View 0 is the clean image, the others differ from it and from each other.
    assert_ne!(rows.pooled_of(0), rows.pooled_of(1));
    assert_ne!(rows.pooled_of(1), rows.pooled_of(2));

    let mut config = run.loaded.pipeline.finetune.clone();
    (config.iterations, config.learning_rate) = (400, 0.05);
    let request = FinetuneRequest {
        bank: &made.bank,
        config,
        seed: 0,
        selection: fsa_bank::finetune::Selection::None,
        out: None,
        overwrite: false,
        memory_bytes: 1 << 30,
    };
    let tuned = finetune::run(&request, Watch::new(&Silent, &go)).unwrap();
    fsa_bank::report::write_finetune(&tuned).unwrap();
    let (before, after) = (&tuned.report.before.groups, &tuned.report.after.groups);
    assert!(after.tail.accuracy > before.tail.accuracy, "{before:?} {after:?}");
    assert_eq!(tuned.folder.parent().unwrap().file_name().unwrap(), "finetune");
    assert!(tuned.folder.parent().unwrap().parent() == run.path().canonicalize().ok().as_deref());
    for file in ["classifier.safetensors", "config.toml", "accuracy.svg", "metrics.json"] {
        assert!(tuned.folder.join(file).is_file(), "{file}");
    }
}

#[test]
fn a_val_split_gets_pooled_rows_of_its_own() {
    let mut run = Run::new(&["train.epochs=1"]);
    let images = run.path().join("images");
    let val = images.join("val/colour-1");
    std::fs::create_dir_all(&val).unwrap();
    for name in ["000.png", "001.png"] {
        std::fs::copy(images.join("test/colour-1").join(name), val.join(name)).unwrap();
    }
    run.dataset = Dataset::open(&run.loaded.pipeline.dataset).unwrap();
    let go = Interrupt::default();
    run.train(false, &Silent, &go).unwrap();
    let bank = Bank::open(&run.features(&go).unwrap().bank).unwrap();
    let (val, test) = (bank.rows(Split::Val).unwrap(), bank.rows(Split::Test).unwrap());
    assert_eq!(val.index.labels, [1, 1]);
    // The same images as the first two of class 1 in the test split.
    let first = test.index.labels.iter().position(|&l| l == 1).unwrap();
    assert_eq!(val.pooled_of(0), test.pooled_of(first));
    assert_eq!(val.pooled_of(1), test.pooled_of(first + 1));
    assert!(val.cam.is_empty() && bank.manifest.splits["val"].images == 2);
}

#[test]
fn images_held_out_of_training_become_the_val_split() {
    // Classes of 24, 12, 5 and 2 images: a fifth is 5, 2, 1 and none.
    let run = Run::new(&["train.epochs=1", "dataset.val_fraction=0.2"]);
    let held_out = run.dataset.held_out.unwrap();
    assert_eq!((held_out.images, held_out.classes_without), (8, 1));
    let val = run.dataset.val.as_ref().unwrap();
    let paths = |split: &fsa_bank::dataset::SplitImages| -> std::collections::BTreeSet<String> {
        (0..split.len()).map(|i| split.path(i).to_string()).collect()
    };
    let (train, val_paths) = (paths(&run.dataset.train), paths(val));
    assert!(train.is_disjoint(&val_paths) && val_paths.iter().all(|p| p.starts_with("train/")));
    assert_eq!((train.len(), val_paths.len()), (35, 8));
    // Another division is another dataset: its model does not go with this one's bank.
    let whole = Run::new(&[]).dataset;
    assert_ne!(whole.fingerprint, run.dataset.fingerprint);
    assert!(whole.held_out.is_none() && whole.val.is_none());

    let go = Interrupt::default();
    run.train(false, &Silent, &go).unwrap();
    let bank = Bank::open(&run.features(&go).unwrap().bank).unwrap();
    assert_eq!(bank.class_counts.0, [19, 10, 4, 2]);
    let rows = bank.rows(Split::Val).unwrap();
    assert_eq!(rows.index.labels, [0, 0, 0, 0, 0, 1, 1, 2]);
}

#[test]
fn a_val_split_of_its_own_and_val_fraction_exclude_each_other() {
    let run = Run::new(&["dataset.val_fraction=0.2"]);
    let images = run.path().join("images");
    let val = images.join("val/colour-1");
    std::fs::create_dir_all(&val).unwrap();
    std::fs::copy(images.join("test/colour-1/000.png"), val.join("000.png")).unwrap();
    let error = Dataset::open(&run.loaded.pipeline.dataset).err().unwrap().to_string();
    assert!(error.contains("val_fraction") && error.contains("Remove"), "{error}");
    // The largest class has 24 images: a hundredth of it is none.
    let mut config = run.loaded.pipeline.dataset.clone();
    std::fs::remove_dir_all(images.join("val")).unwrap();
    config.val_fraction = 0.01;
    let error = Dataset::open(&config).err().unwrap().to_string();
    assert!(error.contains("no class large enough to give 0.01"), "{error}");
}

/// A reader of its own finds every epoch in the event file, once.
fn check_events(run: &Path, epochs: usize) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_events.py");
    let output = std::process::Command::new(python()).arg(script).arg(run).output().unwrap();
    let (said, wrong) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{wrong}");
    assert_eq!(String::from_utf8(said).unwrap(), format!("{epochs} epochs agree\n"));
}

#[test]
fn a_resumed_training_ends_with_the_same_weights() {
    resumes_to_the_same_weights(&[]);
    resumes_to_the_same_weights(&["train.sampling=class", "train.checkpoint_every=2"]);
}

fn resumes_to_the_same_weights(settings: &[&str]) {
    let straight = Run::new(settings);
    let go = Interrupt::default();
    let outcome = straight.train(false, &Silent, &go).unwrap();
    let wanted = std::fs::read(&outcome.model).unwrap();
    let losses = |rows: &[EpochMetrics]| rows.iter().map(|r| r.train_loss).collect::<Vec<_>>();

    // 43 images an epoch: stop before, in the middle of, and at the end of an epoch.
    for after in [8, 50, 86] {
        let run = Run::new(settings);
        let stop = Interrupt::default();
        let progress = Watcher::stopping_after(after, &stop);
        let error = run.train(false, &progress, &stop).unwrap_err();
        assert!(matches!(error, TrainError::Interrupted { .. }), "{error}");
        assert!(!run.path().join(train::MODEL_FILE).exists());
        let error = run.train(false, &Silent, &go).unwrap_err();
        assert!(error.to_string().contains("--resume"), "{error}");
        let resumed = run.train(true, &Silent, &go).unwrap();
        assert_eq!(losses(&resumed.epochs), losses(&outcome.epochs));
        assert!(std::fs::read(&resumed.model).unwrap() == wanted, "stopped after {after} images");
        check_events(run.path(), 3);
    }
}

/// An engine that holds the images is told squares of them, and sees the same inputs.
#[test]
fn images_on_the_device_train_the_same_weights() {
    let trained = |engine: &dyn Engine, settings: &[&str]| {
        let run = Run::new(&[&["train.sampling=square-root"], settings].concat());
        let request = TrainRequest {
            pipeline: &run.loaded.pipeline,
            dataset: &run.dataset,
            out: run.path(),
            resume: false,
            overwrite: false,
            engine: engine_options(),
        };
        let lines = Watcher::default();
        let outcome =
            train::run(&request, engine, Watch::new(&lines, &Interrupt::default())).unwrap();
        let told = lines.has_line("are on the device");
        (std::fs::read(outcome.model).unwrap(), told)
    };
    let (given, held) = (trained(&FakeEngine, &[]), trained(&HoldingEngine, &[]));
    assert!(given.0 == held.0);
    assert_eq!((given.1, held.1), (false, true));
    // Other transforms are made on the host.
    for setting in ["train.crop=resized", "train.color_jitter=0.4"] {
        assert!(!trained(&HoldingEngine, &[setting]).1, "{setting}");
    }
}

#[test]
fn an_interrupted_bank_is_no_bank_and_is_made_again() {
    let run = Run::new(&[]);
    let go = Interrupt::default();
    run.train(false, &Silent, &go).unwrap();
    let stop = Interrupt::default();
    stop.request();
    let error = run.features(&stop).unwrap_err();
    assert!(matches!(error, FeaturesError::Interrupted { .. }), "{error}");
    let shards = run.path().join("shards");
    let error = Bank::open(&shards).err().unwrap().to_string();
    assert!(error.contains("not finished") && error.contains("shards.partial"), "{error}");
    run.features(&go).unwrap();
    assert!(Bank::open(&shards).is_ok());
    assert!(!run.path().join("shards.partial").exists());
}

#[test]
fn the_same_run_gives_the_same_bank_bytes() {
    let go = Interrupt::default();
    let bytes = [0, 1].map(|_| {
        let run = Run::new(&[]);
        run.train(false, &Silent, &go).unwrap();
        let made = run.features(&go).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(made.bank).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.iter().map(|f| std::fs::read(f).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(bytes[0].len(), 5);
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn another_model_or_setting_does_not_silently_reuse_what_is_there() {
    let run = Run::new(&[]);
    let go = Interrupt::default();
    let error = run.features(&go).unwrap_err().to_string();
    assert!(error.contains("no trained model") && error.contains("fsa-bank train"), "{error}");
    run.train(false, &Silent, &go).unwrap();
    run.features(&go).unwrap();

    let mut other = Run::new(&["features.views=2"]);
    other.dir = run.dir;
    let error = other.features(&go).unwrap_err().to_string();
    assert!(
        error.contains("features.views is 3, not 2") && error.contains("--overwrite"),
        "{error}"
    );
    other.loaded.pipeline.train.learning_rate = 0.2;
    let error = other.train(false, &Silent, &go).unwrap_err().to_string();
    assert!(error.contains("other training settings"), "{error}");
    other.loaded.pipeline.network.width = 4;
    let error = other.features(&go).unwrap_err().to_string();
    assert!(error.contains("another network"), "{error}");
}

#[test]
fn a_fitted_classifier_makes_the_bank_that_it_makes_when_it_is_given() {
    let run = Run::new(&["train.epochs=1"]);
    let go = Interrupt::default();
    run.train(false, &Silent, &go).unwrap();
    let options = FitOptions { epochs: 30, weight_decay: 1e-4, seed: 0 };
    let fit = || Some(HeadSource::Fitted(options));
    let made = run.features_with(fit(), &Silent, &go).unwrap();
    assert_eq!(made.rows, 43 * 3 + 24);
    assert!(run.features_with(fit(), &Silent, &go).unwrap().already_done);
    let bank = Bank::open(&made.bank).unwrap();
    assert_eq!(bank.manifest.fitted_head, Some(options));
    // Colours are easy: the classifier finds nearly all, where one epoch of Phase-I does not.
    assert!(made.top1["train"] > 95.0 && made.top1["test"] > 70.0, "{:?}", made.top1);

    // Interrupted while fitting or while activation maps are made, it goes on from the maps.
    for label in ["fitting", "activation maps"] {
        let other = Run::new(&["train.epochs=1"]);
        other.train(false, &Silent, &go).unwrap();
        let stop = Interrupt::default();
        let stopped = other.features_with(fit(), &Watcher::stopping_at(label, &stop), &stop);
        match label {
            "fitting" => assert!(matches!(stopped, Err(FeaturesError::InterruptedFit))),
            _ => assert!(matches!(stopped, Err(FeaturesError::Interrupted { .. }))),
        }
        assert!(!other.path().join("shards/manifest.json").exists());
        assert!(other.path().join("shards.unfitted/manifest.json").exists());
        std::fs::remove_dir_all(other.path().join("images/train")).unwrap();
        let again = other.features_with(fit(), &Silent, &go).unwrap();
        assert!(!other.path().join("shards.unfitted").exists());
        assert!(shards(&again.bank) == shards(&made.bank), "{label}");
    }

    // The same classifier from a file: the same shards, and another bank.
    let given = || Some(HeadSource::Given(bank.head.clone()));
    let refused = run.features_with(given(), &Silent, &go);
    let Err(FeaturesError::Bank(BankError::OtherBank { what, .. })) = refused else { panic!() };
    assert!(what.starts_with("fitted_head is {") && what.ends_with("not none"), "{what}");
    let fitted = shards(&made.bank);
    std::fs::remove_dir_all(&made.bank).unwrap();
    let again = run.features_with(given(), &Silent, &go).unwrap();
    assert!(shards(&again.bank) == fitted);
    assert_eq!(again.top1, made.top1);
}

#[test]
fn a_classifier_of_other_classes_is_refused() {
    let run = Run::new(&["train.epochs=1"]);
    let go = Interrupt::default();
    run.train(false, &Silent, &go).unwrap();
    let head = fsa_bank::domain::LinearHead::new(vec![0.0; 3 * 4], vec![0.0; 3]).unwrap();
    let refused = run.features_with(Some(HeadSource::Given(head)), &Silent, &go);
    assert!(matches!(refused, Err(FeaturesError::Classes { found: 3, expected: 4 })));
}

#[test]
fn batch_statistics_are_estimated_once_and_kept() {
    let run = Run::new(&["train.epochs=1", "features.recalibrate_batches=3"]);
    let go = Interrupt::default();
    run.train(false, &Silent, &go).unwrap();
    let stop = Interrupt::default();
    let stopped = run.features_with(None, &Watcher::stopping_at("batch statistics", &stop), &stop);
    assert!(matches!(stopped, Err(FeaturesError::InterruptedRecalibration)));
    assert!(!run.features(&go).unwrap().already_done);
    let kept = run.path().join(features::RECALIBRATED_FILE);
    let (_, card) = train::read_model(&kept).unwrap();
    assert_eq!(card.recalibration.unwrap().batches, 3);
    let written = std::fs::metadata(&kept).unwrap().modified().unwrap();
    assert!(run.features(&go).unwrap().already_done);
    assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), written);
}
