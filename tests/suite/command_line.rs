//! The program as its users call it: reports, JSON, messages and exit codes.

use std::path::PathBuf;
use std::process::Command;

use fsa_bank::bank::TrainRow;
use fsa_bank::config::FinetuneConfig;
use fsa_bank::domain::ClassId;

use crate::fixtures::{BankSpec, folder_pipeline, image_folder};
use crate::support::program::{PROGRAM, call, str, text};

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

/// The entries of a section of a help text: the first word of each, and its whole text on one line.
fn entries(help: &str, section: &str, indent: usize) -> Vec<(String, String)> {
    let lines = help.lines().skip_while(|line| !line.starts_with(section)).skip(1);
    let mut entries: Vec<(String, String)> = vec![];
    for line in lines.take_while(|line| line.is_empty() || line.starts_with(' ')) {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.len() - line.trim_start().len() <= indent && !words.is_empty() {
            // `-q, --quiet` is named by its long form.
            let name = words.split(' ').find(|word| !word.starts_with('-') || word.len() > 3);
            entries.push((name.unwrap().to_string(), words));
        } else if let Some((_, text)) = entries.last_mut() {
            *text += &format!(" {words}");
        }
    }
    entries
}

fn names(entries: &[(String, String)]) -> Vec<&str> {
    entries.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn help_says_what_to_do_first() {
    let output = call(&["--help"]);
    let help = text(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(help.lines().next(), Some("Feature banks for long-tailed image classification."));
    let commands = entries(&help, "Commands:", 2);
    assert_eq!(
        names(&commands).join(" "),
        "init train features plan commit finetune compare sweep export predict eval doctor inspect verify \
         dataset help"
    );
    assert!(commands.iter().all(|(_, text)| text.split(' ').count() > 4), "{commands:?}");
    assert_eq!(
        names(&entries(&help, "Options:", 6)),
        ["--json", "--quiet", "--threads", "--help", "--version"]
    );
    let examples: Vec<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  fsa-bank ")?.split(' ').next())
        .collect();
    assert_eq!(examples[..5], ["init", "train", "plan", "features", "finetune"]);
    assert!(examples.iter().all(|command| names(&commands).contains(command)), "{examples:?}");

    let bare = call(&[]);
    assert_eq!((bare.status.code(), bare.stdout.len()), (Some(2), 0));
    assert!(text(&bare.stderr).contains("Commands:"));

    // Each setting of Phase-II is a flag, with the paper's symbol where it has one.
    let help = text(&call(&["finetune", "--help"]).stdout);
    let settings = entries(&help, "Settings of Phase-II", 6);
    let keys = serde_json::to_value(FinetuneConfig::default()).unwrap();
    let mut flags: Vec<String> = keys
        .as_object()
        .unwrap()
        .keys()
        .map(|key| format!("--{}", key.replace('_', "-")))
        .collect();
    let mut found = names(&settings);
    flags.sort();
    found.sort_unstable();
    assert_eq!(found, flags);
    let of = |flag| settings.iter().find(|(name, _)| name == flag).unwrap().1.as_str();
    for (flag, start, end) in [
        ("--tau-specific", "--tau-specific <0..1> tau_s: ", "[default: 0.5]"),
        ("--tau-generic", "--tau-generic <0..1> tau_g: ", "[default: 0.5]"),
        ("--head-ratio", "--head-ratio <0..1> h_r: ", "[default: 0.9]"),
        ("--num-confusing", "--num-confusing <N> N_f: ", "[default: 3]"),
        ("--num-augmented", "--num-augmented <N> N_a: ", "[default: 3]"),
        ("--tail-per-batch", "--tail-per-batch <N> N_t: ", "[default: 16]"),
        ("--iterations", "--iterations <N> ", "[default: 6400]"),
    ] {
        assert!(of(flag).starts_with(start) && of(flag).ends_with(end), "{}", of(flag));
    }
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

/// What `inspect` must say of the masks of rows: their number, and the mean over them of the CAM and of the
/// shares of locations in either mask.
fn masks_of(rows: &[&TrainRow]) -> [f64; 4] {
    let mean = |of: &dyn Fn(&TrainRow) -> f64| {
        rows.iter().map(|row| of(row)).sum::<f64>() / rows.len() as f64
    };
    let share = |holds: fn(f32) -> bool| {
        mean(&|row| row.cam.iter().filter(|&&v| holds(v)).count() as f64 / row.cam.len() as f64)
    };
    let cam_mean =
        mean(&|row| row.cam.iter().map(|&v| f64::from(v)).sum::<f64>() / row.cam.len() as f64);
    [rows.len() as f64, cam_mean, share(|v| v > 0.5), share(|v| v < 0.5)]
}

/// Mean probability of each class over the clean images of one, and the classes in that order.
fn confusion(spec: &BankSpec, rows: &[TrainRow], class: u32) -> Vec<(u64, f64)> {
    let head = spec.head();
    let clean: Vec<&TrainRow> =
        rows.iter().filter(|row| row.head.label == class && row.head.view == 0).collect();
    let mut means = vec![0.0; spec.counts.len()];
    for row in &clean {
        let logit = |c: usize| {
            let products = head.class_weight(ClassId(c as u32)).iter().zip(&row.head.pooled);
            products.map(|(w, p)| f64::from(w * p)).sum::<f64>() + f64::from(head.bias[c])
        };
        let exponentials: Vec<f64> = (0..means.len()).map(|c| logit(c).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        means.iter_mut().zip(&exponentials).for_each(|(m, e)| *m += e / sum / clean.len() as f64);
    }
    let mut ranked: Vec<(u64, f64)> =
        means.into_iter().enumerate().map(|(c, m)| (c as u64, m)).collect();
    ranked.retain(|&(c, _)| c != u64::from(class));
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

#[test]
fn inspect_shows_the_bank() {
    let (_keep, shards) = bank();
    let json: serde_json::Value =
        serde_json::from_slice(&call(&["inspect", str(&shards), "--json"]).stdout).unwrap();
    let close = |found: &serde_json::Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    };
    let class = |name, images| {
        let rows = 2 * images;
        serde_json::json!({"name": name, "train_images": images, "train_rows": rows, "map_rows": rows})
    };
    let classes = [("class 0", 40), ("class 1", 20), ("class 2", 6), ("class 3", 3)];
    let classes = classes.map(|(name, images)| class(name, images));
    assert_eq!(json["classes"].as_array().unwrap(), &classes);
    assert_eq!(json["split"], serde_json::json!({"head": [0, 1, 2], "tail": [3]}));
    assert_eq!(json["head_ratio"], 0.9);
    let counts = |split: &str, key: &str| json["manifest"]["splits"][split][key].as_u64().unwrap();
    assert_eq!(["train", "test"].map(|split| counts(split, "images")), [69, 40]);
    assert_eq!(["train", "test"].map(|split| counts(split, "rows")), [138, 40]);
    // Maps of 8 channels at 6 locations as f32.
    assert_eq!((&json["map_rows"], &json["map_bytes"]), (&138.into(), &(138 * 8 * 6 * 4).into()));
    let files = std::fs::read_dir(&shards).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|file| file.file_name() != "manifest.json");
    assert_eq!(json["bytes"], files.map(|file| file.metadata().unwrap().len()).sum::<u64>());

    // The same from the rows.
    let spec = BankSpec::default();
    let rows = spec.rows();
    let right = |rows: &[TrainRow]| {
        // Of each image, the view that is the image itself.
        let clean = || rows.iter().filter(|row| row.head.view == 0);
        let right = clean().filter(|row| row.head.predicted == row.head.label).count();
        100.0 * right as f64 / clean().count() as f64
    };
    let test: Vec<TrainRow> = (0..40).map(|i| spec.row(100_000 + i, 0, i % 4)).collect();
    for (found, (split, rows)) in [("train", &rows), ("test", &test)].into_iter().enumerate() {
        assert_eq!(json["top1"][found][0], split);
        close(&json["top1"][found][1], right(rows));
    }
    let ranked = confusion(&spec, &rows, 3);
    assert_eq!(
        (json["confusing"].as_array().unwrap().len(), &json["confusing"][0]["class"]),
        (1, &3.into())
    );
    for (at, &(class, share)) in ranked.iter().enumerate() {
        assert_eq!(json["confusing"][0]["ranked"][at][0], class);
        close(&json["confusing"][0]["ranked"][at][1], share);
    }
    let mut lines = vec![];
    for (at, (group, of)) in [("head", 0..3), ("tail", 3..4)].into_iter().enumerate() {
        let rows: Vec<&TrainRow> = rows.iter().filter(|row| of.contains(&row.head.label)).collect();
        let [count, cam, specific, generic] = masks_of(&rows);
        let found = &json["masks"][at];
        assert_eq!((&found["group"], &found["rows"]), (&group.into(), &(count as u64).into()));
        assert_eq!((&found["specific_empty"], &found["generic_empty"]), (&0.into(), &0.into()));
        let expected = [
            ("cam_mean", cam),
            ("specific", specific),
            ("generic", generic),
            ("zero_locations", 0.0),
        ];
        expected.iter().for_each(|&(key, value)| close(&found[key], value));
        let percents = [specific, generic].map(|share| format!("{:.1} %", 100.0 * share));
        lines.push(format!("{group} {count} {cam:.3} 0.0 % {} 0 {} 0", percents[0], percents[1]));
    }

    let report = text(&call(&["inspect", str(&shards)]).stdout);
    for part in ["8 x 3 x 2", "69 images x 2 views = 138 rows", "zero locations", "specific"] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }
    lines.extend(
        ["class 0 head 40 80", "class 1 head 20 40", "class 2 head 6 12"].map(String::from),
    );
    let confused: Vec<String> =
        ranked.iter().map(|(c, share)| format!("class {c} {share:.2}")).collect();
    lines.push(format!("class 3 tail 3 6 confused with {}", confused.join(", ")));
    let told: Vec<String> =
        report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in lines {
        assert!(told.contains(&line), "no `{line}` in {report}");
    }
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
