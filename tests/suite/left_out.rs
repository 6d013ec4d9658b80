//! What commands tell of the files of a folder that they leave out: on the screen, as JSON and in the run's folder.

use std::fs;
#[cfg(feature = "onnx")]
use std::path::Path;

use serde_json::Value;

use crate::image_folders::{fill, put};
use crate::support::program::{call, text};

/// The result of a call, also of one that finds faults.
fn json(args: &[&str]) -> Value {
    let output = call(&[&["-q", "--json"], args].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
}

/// A set with one file of each kind that is left out, and its pipeline.
fn set() -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("photos");
    fill(&root, &["train", "test"], 12);
    put(&root, &["train/stray.png", "extra/one.png"]);
    fs::write(root.join("train/ant/IMG_1.HEIC"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    fs::write(root.join("train/ant/notes.txt"), "x").unwrap();
    fs::write(root.join(".hidden"), "x").unwrap();
    let pipeline = dir.path().join("p.toml");
    fs::write(&pipeline, "[dataset]\npath = \"photos\"\nimage_size = 32\n").unwrap();
    let [root, pipeline] = [root, pipeline].map(|path| path.to_str().unwrap().to_string());
    (dir, root, pipeline)
}

const KINDS: [&str; 5] = ["unreadable", "outside_classes", "no_split", "not_an_image", "hidden"];

fn reasons(account: &Value) -> Vec<&str> {
    let mut reasons: Vec<&str> = account["left_out"]
        .as_array()
        .unwrap_or_else(|| panic!("{account}"))
        .iter()
        .map(|left| left["reason"].as_str().unwrap())
        .collect();
    reasons.sort_by_key(|reason| KINDS.iter().position(|kind| kind == reason));
    reasons
}

#[test]
fn every_command_tells_what_was_left_out() {
    let (dir, root, pipeline) = set();
    let out = dir.path().join("proposal.toml");
    let init = ["init", &root, "--out", out.to_str().unwrap(), "--overwrite"];
    for args in [&["dataset", "stats", &pipeline][..], &["dataset", "check", &pipeline], &init] {
        let account = &json(args)["account"];
        assert_eq!((account["used"].as_u64(), reasons(account)), (Some(48), KINDS.to_vec()));
        let told = text(&call(args).stdout);
        for part in [
            "48 images; 5 files left out",
            "(1 HEIC): train/ant/IMG_1.HEIC",
            "HEIC is not decoded here; convert it",
            "1 beside the folders of classes: train/stray.png",
            "1 in a folder that is not a split: extra/one.png",
            "1 not an image: train/ant/notes.txt",
            "1 hidden, or of an operating system: .hidden",
            "the folder `extra` is not a split",
        ] {
            assert!(told.contains(part), "{args:?}: no `{part}` in {told}");
        }
    }
    // The sizes of classes are those of what is used.
    let proposed = text(&call(&init).stdout);
    assert!(proposed.contains("24 images of 2 classes"), "{proposed}");
    let stats = json(&["dataset", "stats", &pipeline]);
    let images = stats["splits"].as_array().unwrap().iter().map(|s| s["images"].as_u64().unwrap());
    assert_eq!((images.sum::<u64>(), &stats["largest"]), (48, &serde_json::json!(12)));
    // One line where there is nothing to say.
    let plain = dir.path().join("plain");
    fill(&plain, &["train", "test"], 5);
    let args = ["dataset", "stats", &pipeline, "--data", plain.to_str().unwrap()];
    let told = text(&call(&args).stdout);
    assert!(told.ends_with("\n  20 images, nothing left out so far\n"), "{told}");
}

#[cfg(feature = "onnx")]
#[test]
fn a_bank_counts_undecodable_pictures_at_once_and_lists_all_that_is_left_out() {
    let (dir, root, _) = set();
    fs::copy(
        Path::new(&root).join("train/ant/IMG_1.HEIC"),
        Path::new(&root).join("test/bee/2.jpg"),
    )
    .unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/external.onnx");
    let out = dir.path().join("run");
    let place = ["--onnx", model.to_str().unwrap(), "--images", &root, "--head", "fit"];
    let place = [&place[..], &["--device", "cpu", "--out", out.to_str().unwrap()]].concat();
    // More than one in a thousand: refused before anything is computed, with a share that is enough.
    for command in ["plan", "features"] {
        let refused = call(&[&[command], &place[..]].concat());
        let message = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{message}");
        for part in
            ["IMG_1.HEIC: not a readable image: HEIC is not", "--max-skipped 4%", "convert it"]
        {
            assert!(message.contains(part), "{command}: no `{part}` in {message}");
        }
    }
    let allowed = [&place[..], &["--max-skipped", "4%"]].concat();
    let plan = json(&[&["plan"], &allowed[..]].concat());
    let made = json(&[&["features"], &allowed[..]].concat());
    let listed = fs::read_to_string(out.join("left-out.jsonl")).unwrap();
    assert_eq!(listed.lines().count(), 6);
    assert!(
        listed
            .contains(r#"{"path":"train/ant/IMG_1.HEIC","reason":"unreadable","picture":"HEIC"}"#)
    );
    for told in [&plan, &made] {
        assert_eq!(told["account"]["left_out"].as_array().unwrap().len(), 6);
    }
    assert_eq!(made["skipped"]["images"], 2);
    // The plan is of the images that have rows.
    let splits = plan["splits"].as_object().unwrap().values();
    let sum = |key: &str| splits.clone().map(|split| split[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(Some(sum("rows")), made["rows"].as_u64());
    assert_eq!((sum("images"), sum("rows_with_maps")), (48, 24));
    let there = json(&[&["plan"], &allowed[..]].concat());
    assert_eq!(there["splits"]["train"]["rows"], plan["splits"]["train"]["rows"]);
}

/// What cannot be decoded is known once it was tried: the last word of every command agrees with the bank.
#[cfg(feature = "onnx")]
#[test]
fn the_account_at_the_end_has_what_could_not_be_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("photos");
    fill(&root, &["train", "test"], 12);
    fs::write(root.join("train/ant/0.png"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    let cut = fs::read(root.join("train/bee/1.png")).unwrap();
    fs::write(root.join("train/bee/1.png"), &cut[..cut.len() / 2]).unwrap();
    let mut list = "path,label,split\n".to_string();
    for (split, class) in ["train", "test"].iter().flat_map(|s| [(s, "ant"), (s, "bee")]) {
        (0..12).for_each(|i| list += &format!("{split}/{class}/{i}.png,{class},{split}\n"));
    }
    list += "test/bee/gone.png,bee,test\n";
    fs::write(root.join("list.csv"), list).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/external.onnx");
    let (as_list, as_folder) = (root.join("list.csv"), root.clone());
    for (images, lost) in [
        (&as_list, ["unreadable", "unreadable", "missing"].as_slice()),
        (&as_folder, &["not_an_image", "unreadable", "unreadable"]),
    ] {
        let out = dir.path().join(format!("run-{}", lost[0]));
        let place = ["--onnx", model.to_str().unwrap(), "--images", images.to_str().unwrap()];
        let options = ["--head", "fit", "--device", "cpu", "--out", out.to_str().unwrap()];
        let command =
            [&["features"], &place[..], &options, &["--max-skipped", "9%", "-q"]].concat();
        // Made, and found there: the same.
        for _ in 0..2 {
            let account = &json(&command)["account"];
            let mut reasons: Vec<&str> = account["left_out"]
                .as_array()
                .unwrap()
                .iter()
                .map(|left| left["reason"].as_str().unwrap())
                .collect();
            let mut lost = lost.to_vec();
            reasons.sort_unstable();
            lost.sort_unstable();
            assert_eq!((account["used"].as_u64(), reasons), (Some(46), lost));
            let listed = fs::read_to_string(out.join("left-out.jsonl")).unwrap();
            assert_eq!(listed.lines().count(), 3, "{listed}");
            assert!(listed.contains("train/bee/1.png"), "{listed}");
        }
        // The list of a run in parts has what each has found.
        fs::write(out.join("left-out.jsonl"), "").unwrap();
        assert!(call(&["commit", out.join("shards").to_str().unwrap()]).status.success());
        let listed = fs::read_to_string(out.join("left-out.jsonl")).unwrap();
        let undecodable = lost.iter().filter(|reason| **reason != "not_an_image").count();
        assert_eq!(listed.lines().count(), undecodable, "{listed}");
        let told = text(&call(&[&command[..], &["--overwrite"]].concat()).stderr);
        assert!(told.contains("46 images; 3 files left out:"), "{told}");
        assert!(!told.contains("nothing left out\n"), "{told}");

        let pipeline = dir.path().join("p.toml");
        let kind = if images.is_file() { "list" } else { "folder" };
        let settings = format!("kind = \"{kind}\"\npath = {images:?}\nimage_size = 32\n");
        fs::write(&pipeline, format!("[dataset]\n{settings}")).unwrap();
        let checked = call(&["dataset", "check", pipeline.to_str().unwrap()]);
        let told = text(&checked.stdout);
        assert!(told.contains("46 images; 3 files left out:"), "{told}");
        assert_eq!(told.contains("1 missing, which count"), images.is_file(), "{told}");
    }
}
