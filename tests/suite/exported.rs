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

    // Other programs read what was written, and compute the same logits.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_export.py");
    let output = Command::new(python()).arg(script).args([&onnx, &npz, &classifier]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // The whole model is one that this program trains on from.
    let again = format!("network.weights={whole}");
    run(&["train", pipeline, "--out", &path("again"), "--device", "cpu", "--set", &again]);
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
