//! ONNX graphs as other programs leave them: initialisers among the inputs, pixels that the graph normalises
//! itself, integers for images or weights; and what an export makes of each.

use std::path::{Path, PathBuf};
use std::process::Command;

use fsa_bank::backbone::Backbone;
use fsa_bank::backbone::onnx::{
    Element, InputRange, OnnxBackbone, OnnxFile, OnnxOptions, with_head,
};
use fsa_bank::domain::LinearHead;
use fsa_bank::rng::{KeyedRng, Stage};

use crate::fixtures::{image_folder, python};
use crate::support::program::{call, json, text};

const SIDE: usize = 16;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx")
}

fn network(name: &str) -> PathBuf {
    folder().join(format!("{name}.onnx"))
}

fn open(path: &Path) -> OnnxBackbone {
    let options = OnnxOptions { device: "cpu".into(), threads: Some(1), side: SIDE };
    OnnxBackbone::open(&OnnxFile::load(path).unwrap(), &options, true).unwrap()
}

/// A classifier of three classes.
fn head() -> LinearHead {
    let weight = (0..3 * 8).map(|i| (i % 7) as f32 * 0.25 - 0.5).collect();
    LinearHead::new(weight, vec![0.5, 0.0, -0.5]).unwrap()
}

#[test]
fn every_network_with_another_classifier_passes_onnxs_checker_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checked, mut skipped) = (vec![], 0);
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if !name.ends_with(".onnx") || name.starts_with("refused") {
            skipped += 1;
            continue;
        }
        let file = OnnxFile::load(&path).unwrap();
        let once = with_head(&file, &file.find_map().unwrap(), &head(), &[]);
        let file = OnnxFile::from_bytes(&once, &path).unwrap();
        let twice = with_head(&file, &file.find().unwrap(), &head(), &[]);
        // Nothing of the first time is left over.
        assert_eq!(once.len(), twice.len(), "{name}");
        for (place, bytes) in [("once", once), ("twice", twice)] {
            std::fs::create_dir_all(dir.path().join(place)).unwrap();
            checked.push(dir.path().join(place).join(&name));
            std::fs::write(checked.last().unwrap(), bytes).unwrap();
        }
        let mut changed = open(checked.last().unwrap());
        assert_eq!(changed.head().unwrap().classes(), 3, "{name}");
        changed.feature_maps(&vec![0.5; 3 * SIDE * SIDE], 1).unwrap();
    }
    assert!(checked.len() >= 2 * 40 && skipped > 10, "{} {skipped}", checked.len());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_onnx.py");
    let output = Command::new(python()).arg(script).arg("3").args(&checked).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn what_else_the_old_classifier_was_for_stays() {
    let constants = |name: &str| {
        let file = OnnxFile::load(&network(name)).unwrap();
        with_head(&file, &file.find().unwrap(), &head(), &[])
    };
    let has = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|w| w == name.as_bytes());
    // Taken by another operation, and by a branch of an If.
    assert!(has(&constants("shared-weight"), "fc.weight"));
    let changed = constants("sub-graph");
    assert!(has(&changed, "fc.bias") && !has(&changed, "\u{9}fc.weight"));
    // Another constant has the name that a new classifier would have.
    let path = network("our-names");
    let (file, dir) = (OnnxFile::load(&path).unwrap(), tempfile::tempdir().unwrap());
    let changed = dir.path().join("changed.onnx");
    std::fs::write(&changed, with_head(&file, &file.find().unwrap(), &head(), &[])).unwrap();
    let images = vec![0.25; 3 * SIDE * SIDE];
    let maps = [open(&path), open(&changed)].map(|mut m| m.feature_maps(&images, 1).unwrap());
    assert_eq!(maps[0], maps[1]);
    assert_eq!(open(&changed).head(), Some(&head()));
}

#[test]
fn every_command_takes_networks_that_list_their_initialisers_among_the_inputs() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("photos"), &[9, 6, 5, 4]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (photos, out, exported) = (path("photos"), path("run"), path("exported.onnx"));
    let pipeline = path("p.toml");
    std::fs::write(
        &pipeline,
        format!("[dataset]\nkind = \"folder\"\npath = {photos:?}\nimage_size = 16\ncrop_fraction = 0.875\n\
                 mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n"),
    )
    .unwrap();
    for name in ["inputs-ir3", "inputs-ir8", "inputs-some"] {
        let model = network(name);
        let model = model.to_str().unwrap();
        let args = ["features", "--onnx", model, "--images", &photos, "--out", &out];
        let made = json(&[&args[..], &["--overwrite"]].concat());
        let top1 = made["top1"]["test"].as_f64().unwrap();
        json(&["export", model, "--onnx", &exported]);
        let test = path("photos/test");
        let predicted = json(&["predict", model, &test]);
        assert_eq!(predicted, json(&["predict", &exported, &test]), "{name}");
        for model in [model, &exported] {
            let score = json(&["eval", model, &pipeline]);
            let found = score["accuracy"]["top1"].as_f64().unwrap();
            assert!((found - top1).abs() < 1e-9, "{name}: {score} {made}");
        }
    }
}

#[test]
fn the_values_that_a_graph_wants_are_known_from_its_first_operations() {
    let range = |name: &str| OnnxFile::load(&network(name)).unwrap().input().unwrap().range;
    let is_bytes = |range: InputRange| matches!(range, InputRange::Bytes(_));
    for name in [
        "bytes-attributes",
        "bytes-imagenet",
        "bytes-rescaling",
        "bytes-mean",
        "uint8",
        "uint8-channels-last",
    ] {
        assert!(is_bytes(range(name)), "{name}");
    }
    assert!(matches!(range("unit-imagenet"), InputRange::Unit(_)));
    for name in ["adaptive-dynamo", "mean-torchscript", "inputs-ir3", "half-dynamo", "qdq"] {
        assert_eq!(range(name), InputRange::Unknown, "{name}");
    }
    let file = OnnxFile::load(&network("uint8-channels-last")).unwrap();
    let input = file.input().unwrap();
    assert!(input.element == Element::Byte && input.channels_last);
    let refused = OnnxFile::load(&network("refused-int8-images")).unwrap().find();
    assert!(refused.unwrap_err().to_string().contains("int8 [n, 3, 16, 16]"));
}

/// All of these have the same weights and differ in where pixels are normalised.
#[test]
fn networks_that_normalise_pixels_themselves_get_them_plain() {
    let mut rng = KeyedRng::new(3, Stage::InitialWeights, (0, 0));
    let bytes: Vec<f32> = (0..2 * 3 * SIDE * SIDE).map(|_| rng.below(256) as f32).collect();
    let mean = [0.485, 0.456, 0.406];
    let maps = |name: &str, values: &dyn Fn(f32, usize) -> f32| {
        let plane = SIDE * SIDE;
        let inputs = bytes.iter().enumerate().map(|(i, &v)| values(v, i / plane % 3));
        open(&network(name)).feature_maps(&inputs.collect::<Vec<f32>>(), 2).unwrap()
    };
    let plain = |value: f32, _| value;
    let same = |name: &str, by_hand: &dyn Fn(f32, usize) -> f32| {
        let pairs = maps(name, &plain).into_iter().zip(maps("inputs-ir8", by_hand));
        let far = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max);
        assert!(far < 1e-4, "{name}: {far}");
    };
    same("bytes-rescaling", &|v, _| v / 127.5 - 1.0);
    same("bytes-mean", &|v, channel| v - 255.0 * mean[channel]);
    same("bytes-attributes", &|v, _| v / 255.0);
    same("uint8-channels-last", &|v, _| v / 255.0);

    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("photos"), &[6, 5, 4, 4]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (test, exported) = (path("photos/test"), path("exported.onnx"));
    let predicted = |model: &str| -> Vec<(u64, f64)> {
        let top = |image: &serde_json::Value| image["top"][0].clone();
        let found = json(&["predict", model, &test]);
        let found = found.as_array().unwrap().iter().map(top);
        found.map(|t| (t["class"].as_u64().unwrap(), t["probability"].as_f64().unwrap())).collect()
    };
    let expected = predicted(network("inputs-ir8").to_str().unwrap());
    for name in ["bytes-imagenet", "unit-imagenet", "uint8"] {
        let model = network(name);
        let model = model.to_str().unwrap();
        json(&["export", model, "--onnx", &exported]);
        // Bytes as integers are rounded after scaling and cutting.
        let tolerance = if name == "uint8" { 0.02 } else { 1e-4 };
        for found in [predicted(model), predicted(&exported)] {
            let pairs = found.iter().zip(&expected);
            let far = pairs.map(|(a, b)| (a.1 - b.1).abs()).fold(0.0, f64::max);
            assert!(found.len() == expected.len() && far < tolerance, "{name}: {far}");
        }
    }
}

#[test]
fn what_a_network_wants_of_pixels_is_said_and_other_values_are_refused_or_doubted() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("photos"), &[6, 5, 4, 4]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (photos, out) = (path("photos"), path("run"));
    let told = |name: &str, extra: &[&str]| {
        let model = network(name);
        let args = ["features", "--onnx", model.to_str().unwrap(), "--images", &photos];
        let place = ["--out", &out, "--overwrite"];
        let output = call(&[&args[..], &place[..], extra].concat());
        (output.status.code(), text(&output.stderr))
    };
    let (code, message) = told("bytes-imagenet", &[]);
    assert!(code == Some(0) && message.contains("takes pixels of 0 to 255 (Div"), "{message}");
    let (code, message) = told("unit-imagenet", &[]);
    assert!(code == Some(0) && message.contains("takes pixels of 0 to 1"), "{message}");
    let twice = ["--set", "dataset.mean=[0.5, 0.5, 0.5]", "--set", "dataset.std=[0.5, 0.5, 0.5]"];
    let (code, message) = told("bytes-imagenet", &twice);
    assert!(code == Some(0) && message.contains("warning: "), "{message}");
    assert!(message.contains("it gets other values"), "{message}");
    let (code, message) = told("uint8", &twice);
    assert!(code == Some(2) && message.contains("(uint8)"), "{message}");
    // The remedy works.
    let line = message.lines().find(|line| line.contains("Set dataset.mean")).unwrap();
    let (_, settings) = line.split_once("Set ").unwrap();
    let (mean, others) = settings.trim_end_matches('.').split_once(", dataset").unwrap();
    let (std, range) = others.split_once(" and ").unwrap();
    let std = format!("dataset{std}");
    let (code, message) = told("uint8", &["--set", mean, "--set", &std, "--set", range]);
    assert_eq!(code, Some(0), "{message}");
}

#[test]
fn weights_of_8_bits_are_taken_with_their_scale() {
    let float = open(&network("inputs-ir8"));
    let float = float.head().unwrap();
    for name in ["qdq", "qdq-per-channel", "qlinear-convolutions"] {
        let model = open(&network(name));
        let head = model.head().unwrap();
        let far =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Half a step of 1/127 of the largest weight.
        let largest = float.weight.iter().fold(0f32, |max, w| max.max(w.abs()));
        assert!(far(&head.weight, &float.weight) <= largest / 250.0, "{name}");
        assert!(far(&head.bias, &float.bias) <= 0.01, "{name}");
    }
}
