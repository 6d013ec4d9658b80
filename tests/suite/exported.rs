//! From a trained model to files that other programs load: the exported network classifies images as
//! the bank said it would.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command_line::{call, text};
use crate::fixtures::{folder_pipeline, image_folder, python};

fn run(args: &[&str]) -> Vec<u8> {
    let output = call(&[&["-q", "--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output.stdout
}

fn json(args: &[&str]) -> Value {
    serde_json::from_slice(&run(args)).unwrap()
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
    run(&["features", pipeline, "--out", &out, "--device", "cpu"]);
    let tuned = json(&["finetune", &shards, "--out", &path("tuned"), "--iterations", "200"]);
    let classifier = path("tuned/classifier.safetensors");
    let (onnx, npz, whole) = (path("m.onnx"), path("c.npz"), path("m.safetensors"));
    let files = ["--onnx", &onnx, "--npz", &npz, "--safetensors", &whole];
    run(&[&["export", &out, "--classifier", &classifier], &files[..]].concat());

    let test = path("images/test");
    let after = json(&["predict", &onnx, &test, "--top", "3"]);
    assert_eq!(after.as_array().unwrap().len(), 24);
    assert_eq!(after[0]["top"].as_array().unwrap().len(), 3);
    let top1 = |state: &str| tuned[state]["accuracy"]["top1"].as_f64().unwrap();
    // The bank's maps are rounded to f16, so one image on an edge may differ.
    assert!((accuracy(&after) - top1("after")).abs() < 4.2, "{} {tuned}", accuracy(&after));
    // The run's folder is the model with Phase-I's classifier; --classifier puts in the other.
    let before = json(&["predict", &out, &test, "--top", "3"]);
    assert!((accuracy(&before) - top1("before")).abs() < 4.2, "{}", accuracy(&before));
    let same = json(&["predict", &out, &test, "--classifier", &classifier, "--top", "3"]);
    assert_eq!(same, after);
    assert_ne!(before, after);

    // From the images: the metrics that Phase-II gave from the bank.
    let measured = json(&["eval", &onnx, pipeline]);
    let metric = |score: &Value, name: &str| score["accuracy"][name].as_f64().unwrap();
    for name in ["top1", "acc_macro", "f1_macro", "worst_class"] {
        let (images, bank) = (metric(&measured, name), metric(&tuned["after"], name));
        assert!((images - bank).abs() < 4.2 * 4.0, "{name}: {images} {bank}");
    }
    assert_eq!(metric(&measured, "top1"), accuracy(&after));
    assert_eq!(measured["groups"]["tail"]["classes"], tuned["after"]["groups"]["tail"]["classes"]);

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
    bank.rows(fsa_bank::bank::SplitName::Train).unwrap()
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

    // The same network with a classifier given from a file.
    let head = path("run/shards/classifier.safetensors");
    let given = path("given");
    run(&["features", pipeline, "--onnx", &model, "--head", &head, "--out", &given]);
    assert!(rows(&path("given/shards")).cam == onnx.cam);
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
    let mut changed = fsa_bank::weights::Weights::of_head(&head(8));
    changed.metadata.insert("input".into(), "l2-normalise".into());
    let message = refused(&changed, 3);
    assert!(message.contains("changed by `l2-normalise`"), "{message}");
}
