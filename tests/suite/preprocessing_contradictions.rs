//! What a network, its classifier, a pipeline and the command line say of preprocessing: it is told where nothing
//! says, and refused where two say otherwise, with a remedy that helps.

use std::path::Path;

use fsa_bank::backbone::onnx::{OnnxFile, with_head};
use fsa_bank::bank::Manifest;
use fsa_bank::classifier_file::{self, ClassifierCard};
use fsa_bank::config::InputSpec;
use serde_json::json;

use crate::preprocessing_round_trip::{PLAIN, SIDE, json_of, run};
use crate::support::program::{call, text};

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// The plain network, its images and a bank that was made as it wants.
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::write(files.path("net.onnx"), PLAIN.onnx()).unwrap();
        PLAIN.write_images(&files.dir.path().join("photos"));
        files.timm("plain.json", json!({"mean": [0, 0, 0], "std": [1, 1, 1], "crop_pct": 1}));
        files.timm("half.json", json!({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}));
        run(&files.features("run", &["--preprocessing", &files.path("plain.json")]));
        files
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    fn timm(&self, name: &str, config: serde_json::Value) {
        std::fs::write(self.path(name), config.to_string()).unwrap();
    }

    fn pipeline(&self, settings: &str) -> String {
        let text = format!("[dataset]\nkind = \"folder\"\npath = \"photos\"\n{settings}");
        std::fs::write(self.path("p.toml"), text).unwrap();
        self.path("p.toml")
    }

    fn features<'a>(&self, out: &str, more: &[&'a str]) -> Vec<&'a str> {
        let own = ["net.onnx", "photos", out].map(|name| &*self.path(name).leak());
        let [net, photos, out] = own;
        [&["features", "--onnx", net, "--images", photos, "--out", out], more].concat()
    }
}

/// Exit code 2, and these parts in the message.
fn refused(args: &[&str], parts: &[&str]) {
    let output = call(&[&["-q"], args].concat());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: no `{part}` in {message}");
    }
}

/// Standard error of a command that ends well.
fn told(args: &[&str]) -> String {
    let output = call(&[&["-q"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn two_that_say_otherwise_are_refused_with_a_remedy_that_helps() {
    let files = Files::new();
    let (net, test, better) =
        (files.path("net.onnx"), files.path("photos/test"), files.path("b.onnx"));
    let classifier = files.path("run/shards/classifier.safetensors");
    let (plain, half) = (files.path("plain.json"), files.path("half.json"));
    run(&["export", &net, "--classifier", &classifier, "--onnx", &better]);

    // A pipeline and the network: the key is left out, or says the same.
    let pipeline = files.pipeline("mean = [0.5, 0.5, 0.5]\n");
    let values =
        ["`dataset.mean` is [0.5, 0.5, 0.5]", "says [0.0, 0.0, 0.0]", "Leave dataset.mean out"];
    refused(&["eval", &better, &pipeline], &values);
    refused(&["eval", &net, &pipeline, "--classifier", &classifier], &values);
    let out = files.path("other");
    refused(&["features", &pipeline, "--onnx", &better, "--out", &out], &values);
    let pipeline = files.pipeline("mean = [0.0, 0.0, 0.0]\n");
    assert_eq!(json_of(&["eval", &better, &pipeline])["accuracy"]["top1"], 100.0);
    let set = ["--set", "dataset.interpolation=bicubic"];
    let values = ["--set: `dataset.interpolation` is bicubic", "says bilinear"];
    refused(&[&["eval", &better, &pipeline], &set[..]].concat(), &values);
    let pipeline = files.pipeline("");
    assert_eq!(json_of(&["eval", &better, &pipeline])["accuracy"]["top1"], 100.0);
    run(&["features", &pipeline, "--onnx", &better, "--out", &out]);

    // --preprocessing, a network and a classifier.
    let values = ["half.json: `dataset.crop_fraction` is 0.875", "Leave out --preprocessing"];
    for command in ["predict", "eval"] {
        let images = if command == "predict" { &test } else { &pipeline };
        refused(&[command, &better, images, "--preprocessing", &half], &values);
        let with = ["--classifier", &classifier, "--preprocessing"];
        refused(&[&[command, &net, images], &with[..], &[&half]].concat(), &values);
        run(&[&[command, &net, images], &with[..], &[&plain]].concat());
    }
    let from = ["export", &net, "--classifier", &classifier, "--onnx", &out];
    refused(&[&from[..], &["--preprocessing", &half]].concat(), &values);

    // Metadata that is wrong: what the message says mends it.
    let wrong = files.path("wrong.onnx");
    run(&["export", &net, "--preprocessing", &half, "--onnx", &wrong]);
    let values =
        ["wrong.onnx: `dataset.crop_fraction` is 0.875", "classifier.safetensors says 1\n"];
    for command in [["predict", &test], ["eval", &pipeline]] {
        refused(&[command[0], &wrong, command[1], "--classifier", &classifier], &values);
    }
    let mended = files.path("mended.onnx");
    let export = ["export", &wrong, "--classifier", &classifier, "--onnx", &mended];
    refused(&export, &["fsa-bank export", "--preprocessing FILE --onnx NEW.onnx"]);
    run(&["export", &wrong, "--preprocessing", &plain, "--onnx", &mended]);
    assert_eq!(
        json_of(&["eval", &mended, &pipeline, "--classifier", &classifier])["accuracy"]["top1"],
        100.0
    );

    // A size that the graph fixes, and a classifier of images that were prepared otherwise.
    files.timm(
        "large.json",
        json!({"mean": [0, 0, 0], "std": [1, 1, 1], "input_size": [3, 64, 64]}),
    );
    let large = ["--preprocessing", &files.path("large.json")].map(String::from);
    let large = [large[0].as_str(), &large[1]];
    refused(
        &files.features("other", &large),
        &["`dataset.image_size` is 64", "takes images of 16 pixels only"],
    );
    refused(&[&["predict", &net, &test], &large[..]].concat(), &["takes images of 16 pixels only"]);
    let with_head = ["--head", classifier.as_str(), "--preprocessing", &half];
    refused(
        &files.features("other", &with_head),
        &["half.json: `dataset.crop_fraction`", "classifier.safetensors says"],
    );
}

#[test]
fn what_nothing_says_is_told() {
    let files = Files::new();
    let (net, test) = (files.path("net.onnx"), files.path("photos/test"));
    let classifier = files.path("run/shards/classifier.safetensors");
    // A classifier of an earlier version, which did not write it down.
    let (head, card) = classifier_file::read(Path::new(&classifier)).unwrap();
    let old = files.path("old.safetensors");
    let card = ClassifierCard { preprocessing: None, ..card };
    card.weights(&head, []).save(Path::new(&old)).unwrap();
    let nothing = "neither the network nor its classifier says how images are prepared";
    let usual = format!(
        "the usual preprocessing of ImageNet networks is assumed: {}",
        InputSpec::imagenet(SIDE)
    );
    for more in [&[][..], &["--classifier", &old]] {
        let message = told(&[&["predict", &net, &test], more].concat());
        assert!(message.contains(nothing) && message.contains(&usual), "{message}");
        let pipeline = files.pipeline("mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n");
        let output = call(&[&["-q", "--json", "eval", &net, &pipeline], more].concat());
        let message = text(&output.stderr);
        assert!(message.contains(nothing) && message.contains("p.toml: 16 px"), "{message}");
        let score: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(score["accuracy"]["top1"], 100.0);
    }
    assert_eq!(told(&["predict", &net, &test, "--classifier", &classifier]), "");
    let message = told(&files.features("usual", &[]));
    let usual = format!("the usual preprocessing is assumed: {}", InputSpec::imagenet(SIDE));
    assert!(message.contains("nothing says how") && message.contains(&usual), "{message}");
    let mean = ["--set", "dataset.mean=[0.0, 0.0, 0.0]", "--set", "dataset.std=[1.0, 1.0, 1.0]"];
    assert_eq!(told(&files.features("set", &mean)), "");

    // What was assumed once is not taken for known afterwards.
    let assumed = files.path("assumed.onnx");
    let message = told(&["export", &net, "--onnx", &assumed]);
    assert!(message.contains(nothing), "{message}");
    assert!(told(&["predict", &assumed, &test]).contains(nothing));
    assert_eq!(told(&["predict", &assumed, &test, "--classifier", &classifier]), "");
}

#[test]
fn a_bank_of_other_preprocessing_is_another_and_an_older_one_is_the_same() {
    let files = Files::new();
    let plain = files.path("plain.json");
    let again = files.features("run", &["--preprocessing", &plain]);
    assert_eq!(json_of(&again)["already_done"], true);
    let other = [&again[..], &["--set", "dataset.channel_order=bgr"]].concat();
    refused(&other, &["--set: `dataset.channel_order` is bgr", "plain.json says rgb"]);
    let half = json!({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 1});
    files.timm("whole.json", half);
    let whole = ["--preprocessing", &files.path("whole.json")].map(String::from);
    let whole = whole.each_ref().map(String::as_str);
    refused(&files.features("run", &whole), &["dataset.mean is [0.0,0.0,0.0], not [0.5,0.5,0.5]"]);
    // Earlier versions wrote none of it down.
    let shards = files.dir.path().join("run/shards");
    let (mut manifest, _) = Manifest::load(&shards).unwrap();
    assert!(manifest.preprocessing.take().is_some());
    manifest.save(&shards).unwrap();
    assert_eq!(json_of(&again)["already_done"], true);
    assert!(!text(&call(&["inspect", shards.to_str().unwrap()]).stdout).contains("  images  "));
}

#[test]
fn metadata_that_does_not_read_and_images_of_another_size_are_errors() {
    let files = Files::new();
    let (better, test) = (files.path("b.onnx"), files.path("photos/test"));
    let network = OnnxFile::load(Path::new(&files.path("net.onnx"))).unwrap();
    let found = network.find().unwrap();
    let write = |key: &str, value: serde_json::Value| {
        let mut about = json!({
            "class_names": [], "image_size": SIDE, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
        });
        about[key] = value;
        let metadata = [("fsa-bank".to_string(), about.to_string())];
        let bytes = with_head(&network, &found, found.head().unwrap(), &metadata);
        std::fs::write(&better, bytes).unwrap();
        let output = call(&["-q", "predict", &better, &test]);
        (output.status.success(), text(&output.stderr))
    };
    assert_eq!(write("crop_fraction", json!(1.0)), (true, String::new()));
    // Never what is usual in place of what was not understood.
    for (key, value, part) in [
        ("crop_mode", json!("corner"), "unknown variant `corner`"),
        ("mean", json!([0.0]), "invalid length 1"),
        ("value_range", json!(2), "`dataset.value_range` is 2; expected 1 or 255"),
        ("std", json!([0.0, 1.0, 1.0]), "`dataset.std` is [0.0, 1.0, 1.0]"),
        ("image_size", json!(32), "takes images of 16 pixels only"),
    ] {
        let (done, message) = write(key, value);
        assert!(!done && message.contains(part), "{key}: {message}");
    }
    write("crop_fraction", json!(1.0));
    let pipeline = files.pipeline("").replace("p.toml", "cifar.toml");
    std::fs::write(&pipeline, "[dataset]\nkind = \"cifar10\"\npath = \"cifar\"\n").unwrap();
    let parts = ["`dataset.image_size` is 32", "of 16 pixels only", "Give a network"];
    refused(&["eval", &better, &pipeline], &parts);
}

#[test]
fn what_timms_config_leaves_out_is_timms_default() {
    let files = Files::new();
    let (net, test) = (files.path("net.onnx"), files.path("photos/test"));
    let (old, new) = (files.path("old.onnx"), files.path("new.onnx"));
    let plain = json!({"mean": [0, 0, 0], "std": [1, 1, 1], "crop_pct": 1, "crop_mode": "squash"});
    files.timm("squash.json", plain);
    run(&["export", &net, "--preprocessing", &files.path("squash.json"), "--onnx", &old]);
    let (plain, half) = (files.path("plain.json"), files.path("half.json"));
    let pipeline = files.pipeline("");
    let values = ["plain.json: `dataset.crop_mode` is center", "old.onnx says squash"];
    for args in [["predict", &old, &test], ["eval", &old, &pipeline]] {
        refused(&[&args[..], &["--preprocessing", &plain]].concat(), &values);
    }
    refused(&["predict", &old, &test, "--preprocessing", &half], &["crop_fraction` is 0.875"]);
    for (config, said) in [(&plain, "middle square,"), (&half, "middle 87.5 %,")] {
        run(&["export", &old, "--preprocessing", config, "--onnx", &new]);
        let output = call(&["predict", &new, &test]);
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[test]
fn mean_and_std_of_bytes_need_their_range() {
    let files = Files::new();
    let (net, test) = (files.path("net.onnx"), files.path("photos/test"));
    let mean = "mean = [123.675, 116.28, 103.53]\n";
    let remedy = "set dataset.value_range = 255";
    for settings in [mean, "std = [58.395, 57.12, 57.375]\n"] {
        let pipeline = files.pipeline(settings);
        refused(
            &["eval", &net, &pipeline],
            &["dataset.m", remedy][usize::from(settings != mean)..],
        );
    }
    let pipeline = files.pipeline(&format!("{mean}value_range = 255\n"));
    run(&["eval", &net, &pipeline]);
    // Small numbers that bring values to another range.
    let pipeline = files.pipeline("mean = [-1.0, 0.0, 1.0]\nstd = [0.004, 1.0, 2.0]\n");
    run(&["eval", &net, &pipeline]);
    let set = ["--set", "dataset.mean=[123.675, 116.28, 103.53]"];
    refused(&files.features("other", &set), &["`dataset.mean`", remedy]);
    files.timm("bytes.json", json!({"mean": [123.675, 116.28, 103.53], "std": [58, 57, 57]}));
    let bytes = files.path("bytes.json");
    for command in [&["predict", &net, &test][..], &["export", &net, "--onnx", &test]] {
        refused(&[command, &["--preprocessing", &bytes]].concat(), &["bytes.json", "by 255"]);
    }
}
