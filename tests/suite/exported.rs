//! From a trained model to files that other programs load: the exported network classifies images as
//! the bank said it would.

use std::path::Path;
use std::process::Command;

use fsa_bank::classifier_file::ClassifierCard;
use serde_json::Value;

use crate::fixtures::{folder_pipeline, image_folder, python};
use crate::support::program::{call, json, text};

fn run(args: &[&str]) -> Vec<u8> {
    let output = call(&[&["-q", "--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output.stdout
}

/// The one row of a query in DuckDB, its values separated by spaces.
fn sql(query: &str) -> String {
    let script = format!("import duckdb; print(*duckdb.sql({query:?}).fetchall()[0])");
    let output = Command::new(python()).args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Share of test images whose folder has the name of the likeliest class.
fn accuracy(predicted: &Value) -> f64 {
    let images = predicted.as_array().unwrap();
    let right = images.iter().filter(|image| {
        let path = Path::new(image["path"].as_str().unwrap());
        path.parent().unwrap().file_name().unwrap().to_str() == image["top"][0]["name"].as_str()
    });
    100.0 * right.count() as f64 / images.len() as f64
}

#[test]
fn an_exported_model_predicts_what_phase_two_measured() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("images"), &[24, 12, 5, 2]);
    let pipeline = folder_pipeline(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (pipeline, out, shards) = (pipeline.to_str().unwrap(), path("run"), path("run/shards"));
    run(&["train", pipeline, "--out", &out, "--device", "cpu"]);
    // Not rounded, so that images and bank give the same numbers.
    let exact = ["--set", "features.precision=f32"];
    run(&[&["features", pipeline, "--out", &out, "--device", "cpu"], &exact[..]].concat());
    let tuned = json(&["finetune", &shards, "--out", &path("tuned"), "--iterations", "200"]);
    let classifier = path("tuned/classifier.safetensors");
    let (onnx, npz, whole) = (path("m.onnx"), path("c.npz"), path("m.safetensors"));
    let files = ["--onnx", &onnx, "--head", &npz, "--safetensors", &whole];
    run(&[&["export", &out, "--classifier", &classifier], &files[..]].concat());
    let head = path("c.safetensors");
    run(&["export", &onnx, "--head", &head]);
    let tensors = |path: &str| fsa_bank::weights::Weights::load(Path::new(path)).unwrap().tensors;
    assert_eq!(tensors(&head), tensors(&classifier));
    let refused = call(&["-q", "export", &onnx, "--head", &path("c.txt")]);
    assert_eq!(refused.status.code(), Some(2));

    let test = path("images/test");
    let after = json(&["predict", &onnx, &test, "--top", "3"]);
    assert_eq!(after.as_array().unwrap().len(), 24);
    assert_eq!(after[0]["top"].as_array().unwrap().len(), 3);
    let top1 = |state: &str| tuned[state]["accuracy"]["top1"].as_f64().unwrap();
    assert!((accuracy(&after) - top1("after")).abs() < 1e-9, "{} {tuned}", accuracy(&after));
    // The run's folder is the model with Phase-I's classifier; --classifier puts in the other.
    let before = json(&["predict", &out, &test, "--top", "3"]);
    assert!((accuracy(&before) - top1("before")).abs() < 1e-9, "{}", accuracy(&before));
    let same = json(&["predict", &out, &test, "--classifier", &classifier, "--top", "3"]);
    assert_eq!(same, after);
    assert_ne!(before, after);

    // From the images: the metrics that Phase-II gave from the bank.
    let measured = json(&["eval", &onnx, pipeline]);
    let metric = |score: &Value, name: &str| score["accuracy"][name].as_f64().unwrap();
    for name in ["top1", "acc_macro", "f1_macro", "worst_class"] {
        let (images, bank) = (metric(&measured, name), metric(&tuned["after"], name));
        assert!((images - bank).abs() < 1e-9, "{name}: {images} {bank}");
    }
    assert_eq!(metric(&measured, "top1"), accuracy(&after));
    assert_eq!(measured["groups"]["tail"]["classes"], tuned["after"]["groups"]["tail"]["classes"]);

    // As a table for DuckDB and pandas, and as pictures; a file that is no image stops nothing.
    let broken = dir.path().join("images/test/colour-0/broken.jpg");
    std::fs::write(&broken, "no image").unwrap();
    let (table, pictures) = (path("p.parquet"), path("pictures"));
    let told = call(&[
        "-q",
        "predict",
        &onnx,
        &test,
        "--top",
        "3",
        "--parquet",
        &table,
        "--cam",
        &pictures,
    ]);
    std::fs::remove_file(&broken).unwrap();
    assert_eq!(told.status.code(), Some(3));
    let message = text(&told.stderr);
    assert!(message.contains("broken.jpg: not a readable"), "{message}");
    assert!(message.contains("1 of 25 images cannot be decoded"), "{message}");
    let query = format!(
        "SELECT count(*), count(DISTINCT path), round(sum(probability) FILTER (rank = 1), 3) FROM '{table}'"
    );
    let first =
        after.as_array().unwrap().iter().map(|i| i["top"][0]["probability"].as_f64().unwrap());
    let counted = sql(&query);
    assert!(counted.starts_with("72 24 "), "{counted}");
    let sum: f64 = counted.rsplit(' ').next().unwrap().trim().parse().unwrap();
    assert!((sum - first.sum::<f64>()).abs() < 2e-3, "{counted}");
    let picture = dir
        .path()
        .join("pictures")
        .join(after[0]["path"].as_str().unwrap().trim_start_matches('/'));
    let picture = std::fs::read(format!("{}.cam.jpg", picture.display())).unwrap();
    assert!(picture.starts_with(&[0xff, 0xd8]) && picture.len() > 1000);

    // Other programs read what was written, and compute the same logits.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_export.py");
    let output = Command::new(python()).arg(script).args([&onnx, &npz, &classifier]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // The whole model is one that this program trains on from.
    let again = format!("network.weights={whole}");
    run(&["train", pipeline, "--out", &path("again"), "--device", "cpu", "--set", &again]);
}

fn rows(shards: &str) -> fsa_bank::bank::Rows {
    let bank = fsa_bank::bank::Bank::open(Path::new(shards)).unwrap();
    bank.rows(fsa_bank::domain::Split::Train).unwrap()
}

#[test]
fn libtorch_and_onnxruntime_make_the_same_bank() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("images"), &[24, 12, 5, 2]);
    let pipeline = folder_pipeline(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (pipeline, out, ort) = (pipeline.to_str().unwrap(), path("run"), path("ort"));
    run(&["train", pipeline, "--out", &out, "--device", "cpu"]);
    run(&["features", pipeline, "--out", &out, "--device", "cpu"]);
    let model = path("model.onnx");
    run(&["export", &out, "--onnx", &model]);
    run(&["features", pipeline, "--onnx", &model, "--out", &ort, "--device", "cpu"]);
    let shards = [path("run/shards"), path("ort/shards")];
    let [torch, onnx] = [rows(&shards[0]), rows(&shards[1])];
    assert_eq!(torch.index.labels, onnx.index.labels);
    let largest = |a: &[f32], b: &[f32]| {
        assert!(a.len() == b.len() && !a.is_empty());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(largest(&torch.cam, &onnx.cam) < 1e-3, "{}", largest(&torch.cam, &onnx.cam));
    assert!(
        largest(&torch.pooled, &onnx.pooled)
            < 1e-3 * largest(&torch.pooled, &[0.0].repeat(torch.pooled.len()))
    );
    let confusing = |shards: &str| -> Vec<(Value, Vec<Value>)> {
        let found = json(&["inspect", shards]);
        let tail = found["confusing"].as_array().unwrap().iter();
        let ids =
            |ranked: &Value| ranked.as_array().unwrap().iter().map(|r| r[0].clone()).collect();
        tail.map(|t| (t["class"].clone(), ids(&t["ranked"]))).collect()
    };
    assert!(!confusing(&shards[0]).is_empty());
    assert_eq!(confusing(&shards[0]), confusing(&shards[1]));

    // Pretrained weights and images are enough: no Phase-I. The run's model is what the bank is of.
    let whole = path("whole.safetensors");
    run(&["export", &out, "--safetensors", &whole]);
    let weights = format!("network.weights={whole}");
    let fitted = path("fitted");
    let exact = ["--set", &weights, "--set", "features.precision=f32", "--head", "fit"];
    let features = [&["features", pipeline, "--out", &fitted], &exact[..]].concat();
    let made = json(&features);
    assert!(made["top1"]["train"].as_f64().unwrap() > 60.0, "{made}");
    assert_eq!(json(&features)["already_done"], true);
    let measured = json(&["eval", &fitted, pipeline]);
    assert_eq!(measured["accuracy"]["top1"], made["top1"]["test"]);
    // Phase-I does not take it for its own.
    let output = call(&["-q", "train", pipeline, "--out", &fitted]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));

    // Batch statistics of class-balanced batches: another network, kept beside the first.
    let recalibrated = path("recalibrated");
    std::fs::create_dir(&recalibrated).unwrap();
    std::fs::copy(path("run/model.safetensors"), path("recalibrated/model.safetensors")).unwrap();
    let set = ["--set", "features.recalibrate_batches=4", "--set", "features.precision=f32"];
    let features = [&["features", pipeline, "--out", &recalibrated], &set[..]].concat();
    let made = json(&features);
    assert_eq!(json(&features)["already_done"], true);
    let kept = path("recalibrated/model-recalibrated.safetensors");
    let measured = json(&["eval", &kept, pipeline]);
    assert_eq!(measured["accuracy"]["top1"], made["top1"]["test"]);
    assert!(rows(&path("recalibrated/shards")).pooled != torch.pooled);

    // The same network with a classifier given from a file.
    let head = path("run/shards/classifier.safetensors");
    let given = path("given");
    run(&["features", pipeline, "--onnx", &model, "--head", &head, "--out", &given]);
    assert!(rows(&path("given/shards")).cam == onnx.cam);
}

/// A classifier says of which classes and which network it is: names go into the exported model, and
/// another network is doubted.
#[test]
fn a_classifier_brings_its_names_and_knows_its_network() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("photos"), &[30, 5, 2]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let corpus = |name: &str| format!("{}/tests/data/onnx/{name}", env!("CARGO_MANIFEST_DIR"));
    let (own, other) = (corpus("mean-dynamo.onnx"), corpus("no-bias-dynamo.onnx"));
    let fit = ["--images", &path("photos"), "--out", &path("run"), "--head", "fit"];
    run(&[&["features", "--onnx", &own], &fit[..]].concat());
    run(&["finetune", &path("run/shards"), "--out", &path("tuned"), "--iterations", "20"]);
    let classifier = path("tuned/classifier.safetensors");
    let export = |network: &str, out: &str| {
        let output = call(&["-q", "export", network, "--classifier", &classifier, "--onnx", out]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let better = path("better.onnx");
    assert_eq!(export(&own, &better), "");
    let predicted = json(&["predict", &better, &path("photos/test")]);
    assert!(predicted[0]["top"][0]["name"].as_str().unwrap().starts_with("colour-"));
    // The exported file is still the same network, whatever classifier is in it.
    assert_eq!(export(&better, &path("again.onnx")), "");
    let doubt = export(&other, &path("wrong.onnx"));
    assert!(doubt.contains("this classifier is of another network"), "{doubt}");
}

#[test]
fn a_classifier_that_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/mean-dynamo.onnx");
    let refused = |classifier: &fsa_bank::weights::Weights, code| {
        let path = dir.path().join("c.safetensors");
        classifier.save(&path).unwrap();
        let out = dir.path().join("m.onnx");
        let [model, path, out] = [&model, &path, &out].map(|p| p.to_str().unwrap());
        let output = call(&["-q", "export", model, "--classifier", path, "--onnx", out]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let head =
        |k: usize| fsa_bank::domain::LinearHead::new(vec![0.5; 4 * k], vec![0.0; 4]).unwrap();
    let message = refused(&fsa_bank::weights::Weights::of_head(&head(5)), 3);
    assert!(message.contains("takes 5 channels; the network gives 8"), "{message}");
    let card = ClassifierCard { input: Some("l2-normalise".into()), ..Default::default() };
    let message = refused(&card.weights(&head(8), []), 3);
    assert!(message.contains("changed by `l2-normalise`"), "{message}");
    // A network's name that is not a hash is doubted all the same, and shown in part.
    let card = ClassifierCard { network_sha256: "\u{e4}".repeat(20), ..Default::default() };
    let doubt = refused(&card.weights(&head(8), []), 0);
    assert!(doubt.contains(&format!("({}, not ", "\u{e4}".repeat(12))), "{doubt}");
}
