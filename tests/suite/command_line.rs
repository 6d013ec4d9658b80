//! The program as its users call it: reports, JSON, messages and exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::fixtures::{BankSpec, folder_pipeline, image_folder};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fsa-bank");

pub fn call(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).env("COLUMNS", "100").output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn fails(args: &[&str], code: i32, parts: &[&str]) {
    let output = call(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: no `{part}` in {message}");
    }
    assert!(output.stdout.is_empty(), "{args:?}");
}

fn bank() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    BankSpec::default().write(&shards);
    (dir, shards)
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn help_says_what_to_do_first() {
    let output = call(&["--help"]);
    let help = text(&output.stdout);
    assert!(output.status.success());
    for part in [
        "train",
        "plan",
        "features",
        "finetune",
        "inspect",
        "--json",
        "Feature banks for long-tailed",
    ] {
        assert!(help.contains(part), "no `{part}` in {help}");
    }
    assert_eq!(call(&[]).status.code(), Some(2));
    let help = text(&call(&["finetune", "--help"]).stdout);
    assert!(help.contains("--tau-specific") && help.contains("tau_s"), "{help}");
}

#[test]
fn finetune_reports_before_and_after_and_json_has_the_same_figures() {
    let (_keep, shards) = bank();
    let output = call(&["finetune", str(&shards), "--iterations", "50", "--tail-per-batch", "4"]);
    let report = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in [
        "top-1",
        "head (3 classes)",
        "tail (1 class)",
        "fewest images, third",
        "n/a",
        "standard: many > 100",
        "class 3",
    ] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }
    let output =
        call(&["finetune", str(&shards), "--iterations", "50", "--tail-per-batch", "4", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let top1 = json["after"]["accuracy"]["top1"].as_f64().unwrap();
    assert!(report.contains(&format!("{top1:.2}")));
    assert_eq!(json["config"]["iterations"], 50);
    assert_eq!(json["after"]["groups"]["many"]["accuracy"], serde_json::Value::Null);
}

#[test]
fn settings_come_from_a_pipeline_and_flags_go_before_it() {
    let (dir, shards) = bank();
    let pipeline = folder_pipeline(dir.path());
    let args =
        ["finetune", str(&shards), "--config", str(&pipeline), "--iterations", "30", "--json"];
    let json: serde_json::Value = serde_json::from_slice(&call(&args).stdout).unwrap();
    assert_eq!(json["config"]["tail_per_batch"], 2);
    assert_eq!(json["config"]["iterations"], 30);
}

#[test]
fn inspect_shows_the_bank() {
    let (_keep, shards) = bank();
    let report = text(&call(&["inspect", str(&shards)]).stdout);
    for part in [
        "8 x 3 x 2",
        "69 images x 2 views = 138 rows",
        "class 3",
        "confused with",
        "zero locations",
        "specific",
    ] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&call(&["inspect", str(&shards), "--json"]).stdout).unwrap();
    assert_eq!(json["classes"][1]["train_images"], 20);
    assert_eq!(json["masks"][1]["rows"], 6);
}

#[test]
fn quiet_means_quiet() {
    let (_keep, shards) = bank();
    let output = call(&["-q", "finetune", str(&shards), "--iterations", "5"]);
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn wrong_settings_exit_with_2_and_bad_banks_with_3() {
    let (dir, shards) = bank();
    fails(
        &["finetune", str(&shards), "--tau-specific", "1.5"],
        2,
        &["tau_specific", "between 0 and 1"],
    );
    fails(&["finetune", str(&shards), "--method", "fsaa"], 2, &["--method", "fsa"]);
    fails(&["finetune", str(&shards), "--iterations", "0"], 2, &["iterations"]);
    fails(&["finetune", str(dir.path())], 3, &["no manifest.json", "shards/"]);
    fails(&["finetune", "/nonexistent-bank"], 3, &["/nonexistent-bank: no such folder"]);
    fails(&["train", "/nonexistent.toml"], 2, &["cannot be read", "pipelines/demo.toml"]);
    let pipeline = dir.path().join("p.toml");
    std::fs::write(&pipeline, "[trian]\n").unwrap();
    fails(&["features", str(&pipeline)], 2, &["line 1", "did you mean `train`"]);
}

#[test]
fn a_share_of_images_to_leave_out_is_a_share() {
    for command in ["train", "features", "plan"] {
        fails(&[command, "p.toml", "--max-skipped", "5"], 2, &["such as 0.005 or 0.5%"]);
        // The share is taken; the pipeline is looked for.
        fails(&[command, "p.toml", "--max-skipped", "5%"], 2, &["p.toml: cannot be read"]);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let (dir, shards) = bank();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let out = file.join("below");
    fails(
        &["finetune", str(&shards), "--iterations", "5", "--out", str(&out)],
        1,
        &["below: cannot be written", "--out"],
    );
}

/// A disk that takes no more bytes, by way of the limit on the size of files.
#[test]
fn a_full_disk_is_named_and_leaves_no_result() {
    let (dir, shards) = bank();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let args = ["-q", "finetune", str(&shards), "--iterations", "5", "--out", str(&out)];
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let output =
        Command::new("sh").args(["-c", limited, "sh", PROGRAM]).args(args).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("classifier.safetensors: cannot be written"), "{message}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    assert!(call(&args).status.success());
}

#[test]
fn this_executable_does_not_load_libtorch() {
    let bytes = std::fs::read(PROGRAM).unwrap();
    let holds = |name: &str| bytes.windows(name.len()).any(|w| w == name.as_bytes());
    assert!(holds("libc.so.6"), "the names of needed libraries are in the file");
    assert!(!holds("libtorch_cpu.so") && !holds("libc10.so"));
}

#[test]
fn without_the_engine_beside_it_training_says_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("images"), &[3, 2]);
    let pipeline = folder_pipeline(dir.path());
    // A copy could not be started while a child that another test has forked still has it open for writing.
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let alone = elsewhere.path().join("fsa-bank");
    std::fs::hard_link(PROGRAM, &alone).unwrap();
    let output = Command::new(&alone).arg("train").arg(&pipeline).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("fsa-bank-torch: not found"), "{message}");
    assert!(message.contains("make build"), "{message}");
}

#[cfg(feature = "torch")]
#[test]
fn bad_images_stop_training_with_3() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("images"), &[3, 2]);
    let pipeline = folder_pipeline(dir.path());
    let out = dir.path().join("run");
    std::fs::write(dir.path().join("images/train/colour-0/001.png"), "no image").unwrap();
    fails(
        &["-q", "train", str(&pipeline), "--device", "cpu", "--out", str(&out)],
        3,
        &["001.png: not a readable image"],
    );
    assert!(!out.join("model.safetensors").exists());
}

#[cfg(feature = "onnx")]
#[test]
fn the_doctor_says_what_is_there_and_what_is_missing() {
    let output = call(&["--json", "doctor"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["libtorch", "onnxruntime", "providers", "threads", "SIMD", "memory", "disk here"] {
        assert!(facts[name].as_str().is_some_and(|found| !found.is_empty()), "{name}: {facts}");
    }
    assert!(facts["onnxruntime"].as_str().unwrap().contains("libonnxruntime"));

    let mut command = std::process::Command::new(PROGRAM);
    let output = command.arg("doctor").env("ORT_DYLIB_PATH", "/nowhere.so").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains("MISSING: onnxruntime: /nowhere.so"), "{told}");
    assert!(told.contains("pip install onnxruntime"), "{told}");

    // A device that is asked for must be there; no machine has a hundred GPUs.
    let output = call(&["doctor", "--device", "cuda:99"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains("ONNX networks compute on  MISSING: "), "{told}");
    assert!(text(&output.stderr).contains("missing: "), "{}", text(&output.stderr));
    #[cfg(feature = "torch")]
    assert!(told.contains("libtorch computes on      MISSING: device cuda:99"), "{told}");
}
