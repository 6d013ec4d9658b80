//! ONNX files in and out, in the real onnxruntime: PyTorch's exports (tests/data/onnx), and those of
//! this crate.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fsa_bank::backbone::Backbone;
use fsa_bank::backbone::onnx::{
    ModelInfo, OnnxBackbone, OnnxError, OnnxFile, OnnxOptions, export, with_head,
};
use fsa_bank::domain::{FeatureShape, LinearHead};
use fsa_bank::rng::{KeyedRng, Stage};

use crate::fixtures::image_folder;
use crate::references::{IMAGES, references};
use crate::support::program::{PROGRAM, call, json, text};

/// Of the networks in tests/data/onnx.
const SIDE: usize = 16;
const SHAPE: FeatureShape = FeatureShape { channels: 8, height: 4, width: 4 };

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx");
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    files.sort();
    assert!(files.len() >= 35);
    files
}

fn corpus_file(name: &str) -> PathBuf {
    corpus().into_iter().find(|p| p.file_name().unwrap() == name).unwrap()
}

fn is_refused(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with("refused")
}

fn is_headless(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with("headless")
}

/// Networks that end in pooling and one FC layer.
fn classifiers() -> Vec<PathBuf> {
    corpus().into_iter().filter(|p| !is_refused(p) && !is_headless(p)).collect()
}

fn options(side: usize) -> OnnxOptions {
    OnnxOptions { device: "cpu".into(), threads: Some(1), side }
}

fn open(path: &Path) -> Result<OnnxBackbone, OnnxError> {
    OnnxBackbone::open(&OnnxFile::load(path)?, &options(SIDE), false)
}

/// Also networks without a classifier.
fn open_any(path: &Path, side: usize) -> OnnxBackbone {
    OnnxBackbone::open(&OnnxFile::load(path).unwrap(), &options(side), true).unwrap()
}

fn noise(images: usize, side: usize) -> Vec<f32> {
    let mut rng = KeyedRng::new(3, Stage::InitialWeights, (0, 0));
    (0..images * 3 * side * side).map(|_| rng.normal() as f32).collect()
}

#[test]
fn pytorchs_exports_open_unedited() {
    for path in &classifiers() {
        let mut model = open(path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(model.shape(), SHAPE, "{}", path.display());
        assert_eq!((model.head().unwrap().classes(), model.side()), (4, SIDE));
        // Also a number of images that is no multiple of a fixed batch, each by itself.
        let inputs = noise(5, SIDE);
        let maps = model.feature_maps(&inputs, 5).unwrap();
        assert_eq!(maps.len(), 5 * SHAPE.values());
        let last = model.feature_maps(&inputs[4 * 3 * SIDE * SIDE..], 1).unwrap();
        let same = maps[4 * SHAPE.values()..].iter().zip(&last).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(same, "{}", path.display());
        // A map after ReLU, and not what comes before or after it.
        assert!(maps.iter().all(|v| *v >= 0.0) && maps.contains(&0.0));
    }
}

#[test]
fn networks_of_another_kind_are_refused_with_what_they_end_in() {
    let expected = [
        ("part-window", "its average pooling covers 2 x 2 of a map of 4 x 4"),
        ("two-layers", "comes Relu"),
        ("tanh", "comes Tanh"),
        ("max-pool", "comes ReduceMax"),
        ("transformer", "must end in global average pooling and one FC layer"),
        ("detector", "it has 2 outputs, none of them the logits"),
        ("qlinear", "this network is int8-quantised: QGemm"),
        ("dynamic-int8", "this network is int8-quantised: MatMulInteger"),
        ("int8-images", "`images` int8 [n, 3, 16, 16]; expected one of images"),
    ];
    for path in corpus().iter().filter(|p| is_refused(p)) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let error = open(path).err().unwrap_or_else(|| panic!("{name} is taken"));
        let (_, part) = expected.iter().find(|(kind, _)| name.contains(kind)).unwrap();
        let message = error.to_string();
        assert!(message.contains(part) && message.contains("\n  "), "{message}");
    }
}

fn info(shape: FeatureShape, side: usize) -> ModelInfo {
    ModelInfo { side, shape, metadata: vec![] }
}

#[test]
fn every_network_is_exported_as_pytorch_computes_it() {
    let dir = tempfile::tempdir().unwrap();
    for r in references() {
        let (network, shape, weights) = r.network();
        let info = info(shape, r.side);
        let bytes = export(&network, &weights, Path::new("formula"), &info).unwrap();
        let path = dir.path().join("model.onnx");
        std::fs::write(&path, bytes).unwrap();
        let mut model = open_any(&path, 32);
        assert_eq!((model.shape(), model.side()), (shape, r.side), "{}", r.name());
        let maps = model.feature_maps(&r.images(), IMAGES).unwrap();
        r.check(&maps, &network, &weights);
    }
}

#[test]
fn another_classifier_is_put_in_place_of_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let weight: Vec<f32> = (0..3 * 8).map(|i| (i % 7) as f32 * 0.25 - 0.5).collect();
    let head = LinearHead::new(weight, vec![0.5, 0.0, -0.5]).unwrap();
    for path in &classifiers() {
        let file = OnnxFile::load(path).unwrap();
        let changed = dir.path().join("changed.onnx");
        std::fs::write(&changed, with_head(&file, &file.find().unwrap(), &head, &[])).unwrap();
        // Opening it compares its logits with those of map and classifier.
        let (mut old, mut new) = (open(path).unwrap(), open(&changed).unwrap());
        assert_eq!(new.head(), Some(&head), "{}", path.display());
        let inputs = noise(3, SIDE);
        let (old, new) =
            (old.feature_maps(&inputs, 3).unwrap(), new.feature_maps(&inputs, 3).unwrap());
        assert!(old == new, "{}", path.display());
    }
}

#[test]
fn networks_without_a_classifier_get_one() {
    let dir = tempfile::tempdir().unwrap();
    let weight: Vec<f32> = (0..3 * 8).map(|i| (i % 7) as f32 * 0.25 - 0.5).collect();
    let head = LinearHead::new(weight, vec![0.5, 0.0, -0.5]).unwrap();
    for path in corpus().iter().filter(|p| is_headless(p)) {
        let name = path.display();
        let error = open(path).err().unwrap_or_else(|| panic!("{name} is taken")).to_string();
        assert!(error.contains("must end in global average pooling and one FC layer"), "{error}");
        let mut old = open_any(path, SIDE);
        assert!(old.head().is_none() && old.shape() == SHAPE, "{name}");
        let file = OnnxFile::load(path).unwrap();
        let changed = dir.path().join("changed.onnx");
        std::fs::write(&changed, with_head(&file, &file.find_map().unwrap(), &head, &[])).unwrap();
        let mut new = open(&changed).unwrap();
        assert_eq!(new.head(), Some(&head), "{name}");
        let inputs = noise(3, SIDE);
        let maps = old.feature_maps(&inputs, 3).unwrap();
        assert!(maps == new.feature_maps(&inputs, 3).unwrap(), "{name}");
    }
    // What is refused for another reason than its classifier stays refused.
    for path in corpus().iter().filter(|p| is_refused(p)) {
        let opened = OnnxBackbone::open(&OnnxFile::load(path).unwrap(), &options(SIDE), true);
        assert!(opened.is_err(), "{}", path.display());
    }
}

/// Every network of the corpus with images of other classes: a classifier is fitted, goes into the
/// network, and `predict` and the bank agree.
#[test]
fn a_pretrained_network_and_images_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("photos"), &[24, 12, 5]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (photos, out, better) = (path("photos"), path("run"), path("better.onnx"));
    for model in [
        "mean-dynamo",
        "conv-head-torchscript",
        "headless-pooled-dynamo",
        "headless-map-torchscript",
    ] {
        let model = corpus_file(&format!("{model}.onnx"));
        let model = model.to_str().unwrap();
        let made = json(&[
            "features",
            "--onnx",
            model,
            "--images",
            &photos,
            "--out",
            &out,
            "--overwrite",
            "--head",
            "fit",
            "--set",
            "features.precision=f32",
        ]);
        let top1 = |split: &str| made["top1"][split].as_f64().unwrap();
        assert!(top1("train") > 80.0, "{model}: {made}");
        let head = path("run/shards/classifier.safetensors");
        json(&["export", model, "--classifier", &head, "--onnx", &better]);
        let test = path("photos/test");
        let predicted = json(&["predict", &better, &test]);
        let classes = ["colour-0", "colour-1", "colour-2"];
        let right = predicted.as_array().unwrap().iter().filter(|image| {
            let class = image["top"][0]["class"].as_u64().unwrap() as usize;
            image["path"].as_str().unwrap().contains(classes[class])
        });
        let right = 100.0 * right.count() as f64 / predicted.as_array().unwrap().len() as f64;
        assert!((right - top1("test")).abs() < 1e-9, "{model}: {right} {made}");
    }
    // Without a classifier there is nothing to predict.
    let model = corpus_file("headless-map-dynamo.onnx");
    let output = call(&["-q", "predict", model.to_str().unwrap(), &photos]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("without a classifier") && message.contains("--classifier"),
        "{message}"
    );
}

#[test]
fn images_of_other_classes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("photos"), &[6, 5, 4, 3]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let named = path("named.onnx");
    let file = OnnxFile::load(&corpus_file("mean-dynamo.onnx")).unwrap();
    let found = file.find().unwrap();
    let names = ["colour-0", "colour-2", "colour-9", "colour-3"];
    let about = serde_json::json!({
        "class_names": names, "image_size": SIDE, "crop_fraction": 1.0, "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
    });
    let metadata = [("fsa-bank".to_string(), about.to_string())];
    std::fs::write(&named, with_head(&file, &found, found.head().unwrap(), &metadata)).unwrap();
    let (photos, out) = (path("photos"), path("run"));
    let args = ["-q", "features", "--onnx", &named, "--images", &photos, "--out", &out];
    let output = call(&args);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("`colour-1`, class 1 of the images, is not among the network's 4 classes"),
        "{message}"
    );
    // With a classifier of their own the classes of the old one do not matter.
    assert!(call(&[&args[..], &["--head", "fit"]].concat()).status.success());
}

#[test]
fn an_onnx_file_and_a_folder_of_images_are_enough_for_a_bank() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[24, 12, 5, 2]);
    // Classes without splits, and the same images as a list.
    let flat = dir.path().join("train");
    let mut list = String::new();
    for class in std::fs::read_dir(&flat).unwrap() {
        for image in std::fs::read_dir(class.unwrap().path()).unwrap() {
            let path = image.unwrap().path();
            let class = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_string();
            list += &format!("{}\t{class}\n", path.strip_prefix(&flat).unwrap().display());
        }
    }
    std::fs::write(flat.join("images.txt"), list).unwrap();
    let model = corpus_file("external.onnx");
    let (model, out) = (model.to_str().unwrap(), dir.path().join("run"));
    for (images, rows) in
        [(dir.path().to_path_buf(), 43 + 24), (flat.clone(), 43), (flat.join("images.txt"), 43)]
    {
        let args = ["-q", "--json", "features", "--onnx", model, "--overwrite", "--device", "cpu"];
        let (images, out) = (images.to_str().unwrap(), out.to_str().unwrap());
        let place = ["--images", images, "--out", out];
        let dry = json(&[&args[2..], &place[..], &["--dry-run"]].concat());
        let plan = json(&[&["plan"], &args[3..], &place[..]].concat());
        for told in [&plan, &dry] {
            assert_eq!(
                (&told["to_do"]["rows"], &told["disk"]["fits"]),
                (&rows.into(), &true.into())
            );
        }
        let output = call(&[&args[..], &place[..]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(made["rows"], rows);
    }
    let images = dir.path().to_str().unwrap();
    let again = ["plan", "--onnx", model, "--images", images, "--out", out.to_str().unwrap()];
    let refused = call(&again);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("another bank exists here"));
    let output = call(&[&again[..], &["--overwrite", "--jobs", "2"]].concat());
    let screen = text(&output.stdout);
    for part in ["  train      43", "(the slowest)", "it fits\n", "stays until this one", "--jobs"]
    {
        assert!(screen.contains(part), "no `{part}` in {screen}");
    }
    let shards = out.join("shards");
    let output = call(&["-q", "finetune", shards.to_str().unwrap(), "--iterations", "10"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What `--jobs` starts stops with the process that started it, however that ends.
#[test]
fn one_of_several_processes_stops_with_the_one_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[24, 12, 5, 2]);
    let worker = |stdin: Stdio| {
        let mut command = Command::new(PROGRAM);
        command.args(["features", "--worker", "--partition", "1/2", "--device", "cpu"]);
        command.arg("--onnx").arg(corpus_file("external.onnx")).arg("--images").arg(dir.path());
        command.arg("--out").arg(dir.path().join("run")).stdin(stdin);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let stopped = worker(Stdio::null()).wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(130), "{}", text(&stopped.stderr));
    let mut child = worker(Stdio::piped());
    let lifeline = child.stdin.take();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    drop(lifeline);
}

#[test]
fn a_network_of_other_classes_and_a_device_that_is_not_there_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[6, 5, 4]);
    let model = corpus_file("adaptive-dynamo.onnx");
    let (model, images) = (model.to_str().unwrap(), dir.path().to_str().unwrap());
    let args = ["-q", "features", "--onnx", model, "--images", images, "--out", images];
    let refused = |code: i32, extra: &[&str]| {
        let output = call(&[&args[..], extra].concat());
        assert_eq!(output.status.code(), Some(code), "{extra:?}");
        text(&output.stderr)
    };
    let message = refused(2, &[]);
    assert!(message.contains("has 4 classes; the images have 3"), "{message}");
    let message = refused(2, &["--device", "gpu"]);
    assert!(message.contains("expected auto, cpu, cuda or cuda:N"), "{message}");
    let message = refused(1, &["--device", "cuda"]);
    assert!(message.contains("loading the CUDA provider"), "{message}");
    let message = refused(2, &["--set", "dataset.image_size=32"]);
    assert!(message.contains("takes images of 16 pixels only"), "{message}");
}

#[test]
fn damaged_and_hostile_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let bytes = std::fs::read(corpus_file("adaptive-torchscript.onnx")).unwrap();
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        OnnxFile::load(&path).and_then(|file| file.find())
    };
    let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
    let mut errors = 0;
    for _ in 0..2000 {
        let mut bytes = bytes.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u32) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        if rng.below(4) == 0 {
            bytes.truncate(rng.below(bytes.len() as u32) as usize);
        }
        errors += usize::from(load(&bytes).is_err());
    }
    assert!(errors > 300, "{errors}");
    for bytes in [&b""[..], b"not a model", &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x3a; 4096]] {
        assert!(matches!(load(bytes), Err(OnnxError::Damaged { .. })));
    }
}

#[test]
fn weights_outside_the_models_folder_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("model")).unwrap();
    let (model, data) = (corpus_file("external.onnx"), corpus_file("external.onnx"));
    let data = data.with_file_name("external.onnx.data");
    let copy = dir.path().join("model/m.onnx");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&copy, &bytes).unwrap();
    let refused = |what: &str| {
        let message = OnnxFile::load(&copy).err().unwrap().to_string();
        assert!(message.contains("is stored outside") && message.contains(what), "{message}");
    };
    refused("No such file");
    std::fs::write(dir.path().join("model/external.onnx.data"), [0; 8]).unwrap();
    refused("it has 8 bytes");
    std::fs::remove_file(dir.path().join("model/external.onnx.data")).unwrap();
    let outside = dir.path().join("outside");
    std::fs::copy(&data, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, dir.path().join("model/external.onnx.data")).unwrap();
    refused("leads out of the model's folder");
    let name = b"external.onnx.data";
    let hostile = b"../../../../passwd";
    let at: Vec<usize> =
        (0..bytes.len() - name.len()).filter(|&i| bytes[i..].starts_with(name)).collect();
    let mut bytes = bytes;
    at.iter().for_each(|&i| bytes[i..i + name.len()].copy_from_slice(hostile));
    std::fs::write(&copy, &bytes).unwrap();
    refused("not a file of the model's folder");
}
