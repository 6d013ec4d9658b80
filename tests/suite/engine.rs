//! libtorch itself: the program trains, writes a bank and fine-tunes, and Python opens what it wrote.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fsa_bank::weights::Weights;

use crate::fixtures::{folder_pipeline, image_folder, python};
use crate::support::program::{PROGRAM, call, json, str, text};

fn images() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("images"), &[24, 12, 5, 2]);
    let pipeline = folder_pipeline(dir.path());
    (dir, pipeline)
}

#[test]
fn a_bank_made_by_libtorch_opens_in_duckdb_and_pandas() {
    let (dir, pipeline) = images();
    let out = dir.path().join("run");
    let trained = json(&["train", str(&pipeline), "--out", str(&out), "--device", "cpu"]);
    assert_eq!(trained["epochs"].as_array().unwrap().len(), 3);
    assert!(trained["epochs"][2]["test_top1"].is_number());
    let plan = json(&["plan", str(&pipeline), "--out", str(&out)]);
    assert!(plan["to_do"]["secs"].as_f64().unwrap() > 0.0 && plan["disk"]["fits"] == true);
    let files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(files.iter().all(|file| !file.to_string_lossy().contains("shards")), "{files:?}");
    let made = json(&["features", str(&pipeline), "--out", str(&out), "--measure-forward"]);
    assert_eq!(plan["to_do"]["rows"], made["rows"]);
    assert_eq!(made["rows"], 43 * 3 + 24);
    assert!(made["forward_rows_per_sec"].as_f64().unwrap() > 0.0);
    let shards = out.join("shards");
    // The same in two processes.
    let jobs = dir.path().join("jobs");
    std::fs::create_dir(&jobs).unwrap();
    std::fs::copy(out.join("model.safetensors"), jobs.join("model.safetensors")).unwrap();
    let divided = json(&["features", str(&pipeline), "--out", str(&jobs), "--jobs", "2"]);
    assert_eq!((&divided["rows"], &divided["top1"]), (&made["rows"], &made["top1"]));
    let manifest = |run: &Path| std::fs::read(run.join("shards/manifest.json")).unwrap();
    assert!(manifest(&jobs) == manifest(&out));
    // A damaged shard is made again, to the byte.
    let shard = shards.join("train-00000.parquet");
    let whole = std::fs::read(&shard).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    std::fs::write(&shard, &bytes).unwrap();
    assert_eq!(call(&["-q", "verify", str(&shards)]).status.code(), Some(3));
    let verified = json(&["verify", str(&shards), "--repair", str(&pipeline)]);
    assert_eq!(verified["findings"].as_array().unwrap().len(), 0);
    assert!(std::fs::read(&shard).unwrap() == whole);
    let tuned = json(&["finetune", str(&shards), "--config", str(&pipeline)]);
    assert_eq!(tuned["class_names"].as_array().unwrap().len(), 4);
    // The bank's Phase-I accuracy is the one that training measured with the whole network: one of the 24
    // test images more or less would be 4.2.
    let apart = tuned["before"]["accuracy"]["top1"].as_f64().unwrap()
        - trained["epochs"][2]["test_top1"].as_f64().unwrap();
    assert!(apart.abs() < 1e-9, "{apart}");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_bank.py");
    let output = Command::new(python()).arg(script).arg(&shards).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("counts and pandas agree"));
}

/// A recipe with everything that has a state or draws at random.
const RECIPE: [&str; 7] = [
    "train.epochs=40",
    "train.batch_size=8",
    "train.loss=focal",
    "train.label_smoothing=0.1",
    "train.mixup_alpha=0.4",
    "train.sampling=square-root",
    "train.ema_decay=0.99",
];

fn train_recipe(pipeline: &Path, out: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-q", "train", str(pipeline), "--out", str(out), "--device", "cpu"]);
    command.args(RECIPE.iter().flat_map(|setting| ["--set", setting])).args(extra);
    command
}

#[test]
fn training_killed_and_stopped_resumes_to_the_same_weights() {
    let (dir, pipeline) = images();
    let (straight, stopped) = (dir.path().join("straight"), dir.path().join("stopped"));
    assert!(train_recipe(&pipeline, &straight, &[]).status().unwrap().success());

    let checkpoint = stopped.join("checkpoint.safetensors");
    let written = || std::fs::metadata(&checkpoint).and_then(|m| m.modified()).ok();
    for signal in ["-KILL", "-KILL", "-INT", "-KILL", "-INT"] {
        let before = written();
        let mut child = train_recipe(&pipeline, &stopped, &["--resume"]).spawn().unwrap();
        while written() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        // Anywhere in the epoch that follows.
        std::thread::sleep(Duration::from_millis(child.id() as u64 % 40));
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let wanted = if signal == "-INT" { Some(130) } else { None };
        assert_eq!(child.wait().unwrap().code(), wanted);
        assert!(!stopped.join("model.safetensors").exists(), "the run was too short to be stopped");
    }
    assert!(train_recipe(&pipeline, &stopped, &["--resume"]).status().unwrap().success());
    let model = |out: &Path| std::fs::read(out.join("model.safetensors")).unwrap();
    assert!(model(&straight) == model(&stopped));
    assert!(!checkpoint.exists());
    let metrics = std::fs::read_to_string(stopped.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 40);
}

#[test]
fn the_average_of_the_weights_is_the_model() {
    const DECAY: f32 = 0.05;
    let (dir, pipeline) = images();
    // All 43 images are one batch, and one step is the whole training.
    let model = |name: &str, setting: &str| {
        let out = dir.path().join(name);
        let settings = ["train.epochs=1", "train.batch_size=43", setting];
        let mut args = vec!["train", str(&pipeline), "--out", str(&out), "--device", "cpu"];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        json(&args);
        Weights::load(&out.join("model.safetensors")).unwrap().tensors
    };
    let start = model("start", "train.learning_rate=1e-30");
    let plain = model("plain", "train.ema_decay=0");
    let averaged = model("averaged", &format!("train.ema_decay={DECAY}"));
    assert!(averaged.keys().eq(plain.keys()) && averaged.len() > 20);
    for (name, average) in &averaged {
        let (start, plain) = (&start[name].values, &plain[name].values);
        assert_ne!(&average.values, plain, "{name}");
        for (i, &found) in average.values.iter().enumerate() {
            // The statistics of batches start at 0 and 1 and move without any learning rate.
            let first = match name {
                name if name.ends_with("running_mean") => 0.0,
                name if name.ends_with("running_var") => 1.0,
                _ => start[i],
            };
            let expected = DECAY * first + (1.0 - DECAY) * plain[i];
            assert!((found - expected).abs() < 1e-6, "{name} {i}: {found} {expected}");
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let (dir, pipeline) = images();
    let out = dir.path().join("run");
    let cases = [
        ("cuda:99", 1, "device cuda:99: not available"),
        ("gpu", 2, "expected auto, cpu, cuda or cuda:N"),
    ];
    for (device, code, expected) in cases {
        let output = call(&["-q", "train", str(&pipeline), "--device", device, "--out", str(&out)]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_checkpoint_of_another_width_is_refused() {
    let (dir, pipeline) = images();
    let out = dir.path().join("run");
    json(&["train", str(&pipeline), "--out", str(&out), "--set", "train.epochs=1"]);
    let output =
        call(&["-q", "features", str(&pipeline), "--out", str(&out), "--set", "network.width=4"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("another network"), "{}", text(&output.stderr));
}

#[test]
fn bf16_and_memory_order_change_the_speed_and_not_the_outcome() {
    let (dir, pipeline) = images();
    let loss = |name: &str, extra: &[&str]| {
        let out = dir.path().join(name);
        let args = [
            "train",
            str(&pipeline),
            "--out",
            str(&out),
            "--set",
            "train.epochs=1",
            "--set",
            "network.width=16",
            // Small steps, so that rounding does not grow into another trajectory.
            "--set",
            "train.learning_rate=0.001",
            "--threads",
            "1",
        ];
        json(&[&args[..], extra].concat())["epochs"][0]["train_loss"].as_f64().unwrap()
    };
    let plain = loss("plain", &["--set", "train.channels_last=false"]);
    let channels_last = loss("channels-last", &[]);
    let bf16 = loss("bf16", &["--set", "train.arithmetic=bf16"]);
    assert!((plain - channels_last).abs() < 1e-2, "{plain} {channels_last}");
    assert!(plain != bf16 && (plain - bf16).abs() < 0.2, "{plain} {bf16}");
}

/// libtorch 2.11 crashes on channels-last networks this narrow.
#[test]
fn a_narrow_network_on_larger_images_trains() {
    let (dir, pipeline) = images();
    let sizes = ["--set", "network.width=8", "--set", "dataset.image_size=48"];
    let run = ["--set", "train.epochs=1", "--set", "train.batch_size=43", "--out"];
    let out = dir.path().join("run");
    let args = [&["train", str(&pipeline)], &sizes[..], &run, &[str(&out)]].concat();
    assert_eq!(json(&args)["epochs"].as_array().unwrap().len(), 1);
}

/// The main job on the real images of the demo, shortened: FSA must lift the rarest third.
#[test]
fn on_real_images_fsa_lifts_the_rarest_classes() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/demo.toml");
    let shorter =
        ["--out", str(dir.path()), "--set", "train.epochs=15", "--set", "features.views=2"];
    json(&[&["train", str(&pipeline)], &shorter[..]].concat());
    json(&[&["features", str(&pipeline)], &shorter[..]].concat());
    let shards = dir.path().join("shards");
    let tuned = json(&["finetune", str(&shards), "--iterations", "800"]);
    let group = |when: &str, name: &str| tuned[when]["groups"][name]["accuracy"].as_f64().unwrap();
    let (before, after) = (group("before", "fewest_third"), group("after", "fewest_third"));
    assert!(after > before + 10.0, "fewest third {before} -> {after}");
    let top1 = |when: &str| tuned[when]["accuracy"]["top1"].as_f64().unwrap();
    // Far above chance (10), and the gain is more than the seed spread of such a short training.
    assert!(
        top1("before") > 15.0 && top1("after") > top1("before") + 3.0,
        "{} -> {}",
        top1("before"),
        top1("after")
    );
}
