//! What messages say to do is done here, and helps.
#![cfg(feature = "onnx")]

use std::fs;
use std::process::Command;

use fsa_bank::domain::FeatureShape;

use crate::fixtures::BankSpec;
use crate::output::Place;
use crate::support::program::{PROGRAM, text};

const FEATURES: &str = "features --onnx external.onnx --images images --out made";
const REPAIR: &str = "verify made/shards --repair --onnx external.onnx --images images";

fn made(more: &str) -> Place {
    let place = Place::new();
    helps(&place, &format!("{FEATURES} {more}"));
    place
}

/// What a command prints that goes well.
fn helps(place: &Place, args: &str) -> String {
    let output = place.command(args).output().unwrap();
    assert!(output.status.success(), "{args}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The message of a command that fails.
fn fails(place: &Place, args: &str) -> String {
    let output = place.command(args).output().unwrap();
    assert!(!output.status.success(), "{args}");
    text(&output.stderr)
}

/// What stands between two parts of a message.
fn between<'a>(message: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = message.split_once(before).unwrap_or_else(|| panic!("{before}: {message}"));
    rest.split_once(after).unwrap_or_else(|| panic!("{after}: {message}")).0
}

const SHARDS: [&str; 4] =
    ["train-00000.parquet", "test-00000.parquet", "classes.parquet", "classifier.safetensors"];

#[test]
fn damaged_files_are_made_anew_as_the_messages_say_and_are_listed() {
    let place = made("");
    for (file, damage) in SHARDS.iter().flat_map(|file| [(file, "cut"), (file, "gone")]) {
        let path = place.path(&format!("made/shards/{file}"));
        let whole = fs::read(&path).unwrap();
        match damage {
            "cut" => fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
        for command in ["finetune made/shards --iterations 5", "verify made/shards"] {
            let message = fails(&place, command);
            assert!(message.contains("--repair"), "{message}");
            assert!(message.contains("--onnx NETWORK --images IMAGES"), "{message}");
        }
        let told: serde_json::Value =
            serde_json::from_str(&helps(&place, &format!("--json {REPAIR}"))).unwrap();
        assert_eq!(told["repaired"]["restored"], serde_json::json!([file]), "{told}");
        assert_eq!(told["findings"], serde_json::json!([]));
        assert!(fs::read(&path).unwrap() == whole, "{file} {damage}");
    }
    helps(&place, "finetune made/shards --iterations 5");
    // Nothing was to be done.
    let told: serde_json::Value =
        serde_json::from_str(&helps(&place, &format!("--json {REPAIR}"))).unwrap();
    assert_eq!(told.get("repaired"), None);
}

#[test]
fn a_bank_without_a_manifest_that_reads_is_made_again() {
    for content in [Some("{}"), Some("no JSON"), None] {
        let place = made("");
        let manifest = place.path("made/shards/manifest.json");
        let whole = fs::read(&manifest).unwrap();
        match content {
            Some(content) => fs::write(&manifest, content).unwrap(),
            None => fs::remove_file(&manifest).unwrap(),
        }
        let message = fails(&place, "finetune made/shards --iterations 5");
        let again = match content {
            Some(_) => {
                assert!(
                    message.contains("the same `fsa-bank features` with --overwrite"),
                    "{message}"
                );
                let refused = fails(&place, REPAIR);
                assert!(
                    refused.contains("the same `fsa-bank features` with --overwrite"),
                    "{refused}"
                );
                format!("{FEATURES} --overwrite")
            }
            None => {
                assert!(message.contains("run `fsa-bank features` again"), "{message}");
                FEATURES.into()
            }
        };
        helps(&place, &again);
        assert!(fs::read(&manifest).unwrap() == whole, "{content:?}");
        helps(&place, "finetune made/shards --iterations 5");
    }
}

#[test]
fn where_the_images_have_changed_a_bank_is_made_again() {
    let place = made("");
    fs::remove_file(place.path("images/train/colour-0/000.png")).unwrap();
    fs::remove_file(place.path("made/shards/train-00000.parquet")).unwrap();
    let message = fails(&place, REPAIR);
    assert!(
        message.contains("made with different settings: ") && message.contains("--overwrite"),
        "{message}"
    );
    let message = fails(&place, FEATURES);
    assert!(message.contains("--overwrite"), "{message}");
    helps(&place, &format!("{FEATURES} --overwrite"));
    helps(&place, "verify made/shards");
}

#[test]
fn a_bank_of_other_settings_goes_elsewhere_or_is_replaced() {
    let place = made("");
    let other = format!("{FEATURES} --set features.views=2");
    let message = fails(&place, &other);
    assert!(message.contains("Choose another folder with --out"), "{message}");
    helps(&place, &format!("{} --out elsewhere", other.replace(" --out made", "")));
    assert!(message.contains("replace it with --overwrite"), "{message}");
    helps(&place, &format!("{other} --overwrite"));
}

#[test]
fn a_bank_of_an_onnx_network_gets_a_validation_split() {
    let place = made("");
    let choice = "finetune made/shards --iterations 5 --select val";
    let sweep = "sweep made/shards --grid head_ratio=0.8 --iterations 5";
    for command in [choice, sweep] {
        let message = fails(&place, command);
        assert!(
            message.contains("with --set dataset.val_fraction=0.2 --overwrite"),
            "{command}: {message}"
        );
        assert!(!message.contains("train again"), "{message}");
    }
    helps(&place, &format!("{FEATURES} --set dataset.val_fraction=0.2 --overwrite"));
    helps(&place, choice);
}

#[test]
fn a_classifier_of_other_channels_is_refused_before_the_pass() {
    let place = Place::new();
    let shape = FeatureShape { channels: 5, height: 2, width: 2 };
    BankSpec { shape, ..Default::default() }.write(&place.path("narrow"));
    let message = fails(&place, &format!("{FEATURES} --head narrow/classifier.safetensors"));
    assert!(message.contains("channels; the network gives"), "{message}");
    assert!(!place.path("made/shards.partial").exists());
}

#[test]
fn maps_that_are_not_kept_are_made_with_the_bank_again() {
    let place = made("--maps none");
    let tune = "finetune made/shards --iterations 5";
    let message = fails(&place, tune);
    assert!(message.contains("`fsa-bank features --maps all --overwrite`"), "{message}");
    helps(&place, &format!("{FEATURES} --maps all --overwrite"));
    helps(&place, tune);
}

#[test]
fn settings_that_do_not_go_are_answered_with_some_that_do() {
    let place = Place::new();
    let tune = "finetune run/shards --iterations 5";
    // Memory: as much as is needed.
    for command in [tune, "inspect run/shards"] {
        let message = fails(&place, &format!("{command} --memory 1MiB"));
        let needed = match command.starts_with("inspect") {
            true => between(&message, "Give --memory ", " or more"),
            false => between(&message, "at least ", " are needed"),
        };
        helps(&place, &format!("{command} --memory {needed}"));
    }
    let message = fails(&place, "inspect run/shards --memory 1 --threads 2");
    assert!(message.contains("--memory 1B: too little for this bank on 2 threads"), "{message}");
    assert!(!message.contains("--threads 1"), "{message}");
    let alone = fails(&place, "inspect run/shards --memory 1 --threads 1");
    let alone = between(&alone, "Give --memory ", " or more");
    let between_both = format!("inspect run/shards --memory {alone} --threads");
    let message = fails(&place, &format!("{between_both} 16"));
    assert!(message.contains("or more, or --threads 1."), "{message}");
    helps(&place, &format!("{between_both} 1"));
    let message = fails(&place, &format!("{tune} --select val"));
    assert!(message.contains("--select train"), "{message}");
    helps(&place, &format!("{tune} --select train"));
    let message = fails(&place, &format!("{tune} --head-ratio 0.9999"));
    assert!(message.contains("Lower --head-ratio"), "{message}");
    helps(&place, &format!("{tune} --head-ratio 0.7"));
    let wild = "finetune run/shards --method no-aug --iterations 50 --learning-rate 3e38";
    let message = fails(&place, wild);
    assert!(message.contains("Lower --learning-rate"), "{message}");
    helps(&place, &format!("{tune} --learning-rate 0.01"));
    // A folder with something else in it.
    fs::create_dir(place.path("mine")).unwrap();
    fs::write(place.path("mine/metrics.json"), "mine").unwrap();
    let message = fails(&place, &format!("{tune} --out mine"));
    assert!(message.contains("another folder with --out"), "{message}");
    assert!(message.contains("replace it with --overwrite"), "{message}");
    helps(&place, &format!("{tune} --out other"));
    helps(&place, &format!("{tune} --out mine --overwrite"));

    let message = fails(&place, "init images --out tiny.toml");
    assert!(
        message.contains("another file with --out, or replace it with --overwrite"),
        "{message}"
    );
    helps(&place, "init images --out new.toml");
    helps(&place, "init images --out tiny.toml --overwrite");
    let export = "export external.onnx";
    let message = fails(&place, &format!("{export} --safetensors a.safetensors"));
    assert!(message.contains("Export it with --onnx, or its classifier with --head"), "{message}");
    helps(&place, &format!("{export} --onnx a.onnx --head a.npz"));
    let message = fails(&place, &format!("{export} --head a.txt"));
    assert!(message.contains("ends in .safetensors or .npz"), "{message}");
    helps(&place, &format!("{export} --head a.safetensors"));
    let message = fails(&place, &format!("{export} --head folder/a.npz"));
    assert!(message.contains("Make the folder first"), "{message}");
    fs::create_dir(place.path("folder")).unwrap();
    helps(&place, &format!("{export} --head folder/a.npz"));
}

#[test]
fn what_stops_for_want_of_room_goes_on_with_the_same_command() {
    let place = Place::new();
    let sweep = "sweep run/shards --grid head_ratio=0.7,0.8 --select none --iterations 5";
    // A disk that takes no more bytes, by way of the limit on the size of files.
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let inner = place.command(sweep);
    let mut shell = Command::new("sh");
    shell.args(["-c", limited, "sh", PROGRAM]).args(inner.get_args());
    let output = shell.current_dir(place.dir.path()).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("the same command goes on"), "{message}");
    helps(&place, sweep);
}

#[test]
fn images_that_do_not_go_are_answered_with_what_does() {
    let place = Place::new();
    let features = "features --onnx external.onnx --images images --out made";
    // Of another number of classes.
    fs::rename(place.path("images/train/colour-3"), place.path("left")).unwrap();
    fs::remove_dir_all(place.path("images/test/colour-3")).unwrap();
    let message = fails(&place, features);
    assert!(message.contains("fit a classifier for these: --head fit"), "{message}");
    helps(&place, &format!("{features} --head fit"));
    // One that cannot be decoded.
    fs::write(place.path("images/train/colour-0/000.png"), "no image").unwrap();
    let again = format!("{features} --head fit --overwrite");
    let message = fails(&place, &again);
    assert!(message.contains("--max-skipped"), "{message}");
    helps(&place, &format!("{again} --max-skipped 5%"));
    let message = fails(&place, &format!("{again} --set dataset.image_size=24"));
    assert!(message.contains("Leave dataset.image_size out"), "{message}");
    helps(&place, &format!("{again} --max-skipped 5%"));
}

#[test]
fn eval_takes_the_share_that_it_advises() {
    let place = Place::new();
    fs::write(place.path("p.toml"), "[dataset]\npath = \"images\"\n").unwrap();
    fs::write(place.path("images/test/colour-0/000.png"), "no image").unwrap();
    let eval = "--json eval external.onnx p.toml";
    let message = fails(&place, eval);
    let share = between(&message, "give at least --max-skipped ", "\n");
    let told = helps(&place, &format!("{eval} --max-skipped {share}"));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let left = &told["account"]["left_out"];
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left[0]["reason"], "unreadable");
    assert!(told["accuracy"]["top1"].is_number(), "{told}");
}

#[test]
fn predict_says_what_it_takes_and_what_looks_dark() {
    let place = Place::new();
    let refused = |args: &str| {
        let output = place.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{args}");
        text(&output.stderr)
    };
    fs::create_dir(place.path("empty")).unwrap();
    let message = refused("predict external.onnx empty");
    assert!(message.contains("empty: no image in it, of no file"), "{message}");
    fs::write(place.path("empty/notes.txt"), "x").unwrap();
    let message = refused("predict external.onnx empty");
    assert!(message.contains("1 file: 1 not an image, such as notes.txt"), "{message}");
    for (name, kind) in [("a.csv", "comma-separated"), ("a.parquet", "Parquet"), ("a.txt", "text")]
    {
        fs::write(place.path(name), "path,label\n0.png,a\n").unwrap();
        let message = refused(&format!("predict external.onnx {name}"));
        assert!(
            message.contains(kind) && message.contains("takes images and folders"),
            "{message}"
        );
    }
    let warned = |white: u16| {
        let image = image::ImageBuffer::from_fn(32, 32, |x, _| image::Luma([x as u16 * white]));
        image.save(place.path("empty/deep.png")).unwrap();
        let output = place.command("predict external.onnx empty images/test").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr).matches("images are of 16 bits with values up to").count()
    };
    assert_eq!((warned(130), warned(2100)), (1, 0));
}
