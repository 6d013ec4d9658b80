//! Every command with every kind of error: its exit code, and a message that names the place, what was found
//! and what to do.

use std::process::Command;

use crate::output::Place;
use crate::support::program::{PROGRAM, text};

/// A place with what commands are wrong about.
fn place() -> Place {
    let place = Place::new();
    let write = |name: &str, content: &str| std::fs::write(place.path(name), content).unwrap();
    write("file", "");
    write("notes.txt", "no list of images\n");
    write("unknown.toml", "[trian]\n");
    write("untimm.json", "{\"mean\": [0.5, 0.5]}");
    write("cut.json", "{\"mean\": [0.5,");
    write("cut.safetensors", "no tensors");
    std::fs::create_dir(place.path("photos")).unwrap();
    std::os::unix::fs::symlink("nothing", place.path("dangling")).unwrap();
    write("photos/1.jpg", "no image");
    for (bank, file, content) in
        [("damaged", "classes.parquet", "none"), ("broken", "manifest.json", "{}")]
    {
        crate::fixtures::BankSpec::default().write(&place.path(bank));
        write(&format!("{bank}/{file}"), content);
    }
    place
}

type Case = (&'static str, i32, &'static [&'static str]);

const NO_BANK: &[&str] = &["nowhere: no such folder", "Give the shards/ folder of a run"];
const A_FILE: &[&str] = &["external.onnx: a file; expected the folder of a bank", "features"];
const NO_MODEL: &[&str] = &["A model is a run's folder", "network.weights"];
const DAMAGED: &[&str] = &["damaged/classes.parquet: ", "verify SHARDS --repair PIPELINE"];
const BROKEN: &[&str] = &["broken/manifest.json: ", "--overwrite"];
const NO_PIPELINE: &[&str] = &["nowhere.toml: cannot be read: No such file", "pipelines/demo.toml"];
const A_FOLDER: &[&str] = &["images: cannot be read: Is a directory", "pipelines/demo.toml"];
const UNKNOWN_KEY: &[&str] = &["unknown.toml, line 1: unknown key `trian`", "`train`"];
const UNWRITABLE: &[&str] = &["below", ": cannot be written: Not a directory", "another"];
const NO_IMAGES: &[&str] = &["nowhere: no such file or directory", "--data"];
const LITTLE: &[&str] = &["--memory ", "too little for this bank"];

const CASES: &[Case] = &[
    ("", 2, &["Usage: fsa-bank"]),
    ("tune run/shards", 2, &["unrecognized subcommand 'tune'", "--help"]),
    // init
    ("init nowhere", 3, &["nowhere: "]),
    ("init file", 3, &["file: "]),
    ("init images --out file/below.toml", 1, UNWRITABLE),
    ("init images --out tiny.toml", 2, &["tiny.toml: exists already", "--out", "--overwrite"]),
    ("init images --out photos", 1, &["photos: cannot be written: it is a folder"]),
    ("init images --outt x.toml", 2, &["unexpected argument '--outt'", "'--out'"]),
    // train
    ("train nowhere.toml", 2, NO_PIPELINE),
    ("train images", 2, A_FOLDER),
    ("train unknown.toml", 2, UNKNOWN_KEY),
    ("train tiny.toml --set train.epochs=many", 2, &["train.epochs"]),
    ("train tiny.toml --set train.epoch=2", 2, &["`train.epoch`", "did you mean `epochs`"]),
    ("train tiny.toml --set epochs", 2, &["--set epochs: expected section.key=value"]),
    ("train tiny.toml --device tpu", 2, &["'tpu'", "auto, cpu, cuda or cuda:N"]),
    ("train tiny.toml --max-skipped 5", 2, &["such as 0.005 or 0.5%"]),
    #[cfg(feature = "torch")]
    ("train tiny.toml --data nowhere", 3, NO_IMAGES),
    // features, plan
    ("features", 2, &["required"]),
    ("features nowhere.toml", 2, NO_PIPELINE),
    ("features unknown.toml", 2, UNKNOWN_KEY),
    ("features tiny.toml --maps some", 2, &["`needed`"]),
    ("features tiny.toml --partition 3/2", 2, &["3/2"]),
    ("features tiny.toml --preprocessing untimm.json", 2, &["--onnx"]),
    ("plan images", 2, A_FOLDER),
    ("plan tiny.toml --jobs 0", 2, &["--jobs"]),
    #[cfg(feature = "onnx")]
    ("features --onnx external.onnx --images nowhere", 3, NO_IMAGES),
    #[cfg(feature = "onnx")]
    ("features --onnx nowhere.onnx --images images", 3, &["nowhere.onnx: cannot be read: No such"]),
    #[cfg(feature = "onnx")]
    ("features --onnx images --images images", 3, &["images: cannot be read: "]),
    #[cfg(feature = "onnx")]
    ("features --onnx notes.txt --images images", 3, &["notes.txt: not a whole ONNX file"]),
    #[cfg(feature = "onnx")]
    (
        "features --onnx external.onnx --images images --preprocessing nowhere.json",
        2,
        &["nowhere.json: cannot be read: No such file or directory"],
    ),
    #[cfg(feature = "onnx")]
    (
        "features --onnx external.onnx --images images --preprocessing cut.json",
        2,
        &["cut.json: not a timm config.json: ", "EOF while parsing", "line 1"],
    ),
    #[cfg(feature = "onnx")]
    (
        "features --onnx external.onnx --images images --preprocessing untimm.json",
        2,
        &["untimm.json: no `mean` and `std` of three numbers"],
    ),
    #[cfg(feature = "onnx")]
    (
        "features tiny.toml --onnx external.onnx --set dataset.image_size=24",
        2,
        &["`dataset.image_size` is 24", "images of 16 pixels only", "Leave dataset.image_size out"],
    ),
    #[cfg(feature = "onnx")]
    (
        "features --onnx external.onnx --images images --head nowhere.safetensors",
        3,
        &["nowhere.safetensors: cannot be read: No such file"],
    ),
    #[cfg(feature = "onnx")]
    (
        "features --onnx external.onnx --images images --head cut.safetensors",
        3,
        &["cut.safetensors: not a whole safetensors file"],
    ),
    #[cfg(feature = "onnx")]
    (
        "features --onnx external.onnx --images images --labels nowhere.txt",
        3,
        &["nowhere.txt: cannot be read: No such file"],
    ),
    #[cfg(feature = "onnx")]
    ("features --onnx external.onnx --images images --out file/below", 1, UNWRITABLE),
    #[cfg(feature = "onnx")]
    (
        "features --onnx external.onnx --images images --out dangling",
        1,
        &["dangling: a broken link"],
    ),
    #[cfg(feature = "onnx")]
    ("plan --onnx external.onnx --images nowhere", 3, NO_IMAGES),
    #[cfg(feature = "onnx")]
    (
        "plan --onnx external.onnx --images images --out run",
        2,
        &["run/shards: another bank exists here: ", "--out", "--overwrite"],
    ),
    // commit
    ("commit nowhere", 2, &["nowhere.partial: no unfinished bank here", "fsa-bank features"]),
    (
        "commit file",
        2,
        &["file.partial: no unfinished bank here", "a finished bank needs no commit"],
    ),
    // finetune
    ("finetune nowhere", 3, NO_BANK),
    ("finetune file", 3, &["file: a file; expected the folder of a bank"]),
    ("finetune external.onnx", 3, A_FILE),
    ("finetune run", 3, &["run: no manifest.json", "Give run/shards."]),
    ("finetune photos", 3, &["photos: no manifest.json; this is not a bank"]),
    ("finetune damaged", 3, DAMAGED),
    ("finetune broken", 3, BROKEN),
    ("finetune run/shards --method fsaa", 2, &["--method", "`fsa`"]),
    ("finetune run/shards --tau-specific 1.5", 2, &["tau_specific", "between 0 and 1"]),
    ("finetune run/shards --iterations some", 2, &["--iterations"]),
    ("finetune run/shards --memory much", 2, &["such as 512MiB"]),
    ("finetune run/shards --memory 1KiB", 2, LITTLE),
    ("finetune run/shards --config nowhere.toml", 2, NO_PIPELINE),
    ("finetune run/shards --select val", 2, &["no validation split", "--select train"]),
    ("finetune run/shards --head-ratio 1", 2, &["head_ratio"]),
    ("finetune run/shards --iterations 5 --out file/below", 1, UNWRITABLE),
    // compare
    ("compare nowhere", 3, NO_BANK),
    ("compare damaged", 3, DAMAGED),
    (
        "compare run/shards --methods fsaa",
        2,
        &["--methods fsaa: unknown variant `fsaa`", "`crt`", "`tailcalib`; did you mean `fsa`?"],
    ),
    (
        "compare run/shards --methods fsa+ldamm",
        2,
        &["label-over-smoothing`; did you mean `ldam`?\n"],
    ),
    ("finetune run/shards --method fsaa", 2, &["did you mean `fsa`?"]),
    ("compare run/shards --methods fsa+nothing", 2, &["--methods fsa+nothing", "`focal`"]),
    ("compare run/shards --method fsa", 2, &["name what to compare with --methods"]),
    ("compare run/shards --seeds 0", 2, &["--seeds"]),
    ("compare run/shards --memory 1KiB", 2, LITTLE),
    ("compare run/shards --methods no-aug --iterations 5 --out file/below", 1, UNWRITABLE),
    // sweep
    ("sweep run/shards", 2, &["--grid <KEY=V1,V2,...>"]),
    ("sweep run/shards --grid head_ratio", 2, &["--grid head_ratio: expected key=v1,v2"]),
    ("sweep run/shards --grid nothing=1 --select none", 2, &["nothing"]),
    ("sweep run/shards --grid head_ratio=2 --select none", 2, &["`finetune.head_ratio` is 2"]),
    ("sweep run/shards --grid head_ratio=0.8", 2, &["no validation split"]),
    ("sweep nowhere --grid head_ratio=0.8", 3, NO_BANK),
    ("sweep broken --grid head_ratio=0.8", 3, BROKEN),
    (
        "sweep run/shards --grid head_ratio=0.8 --select none --iterations 5 --out file/below",
        1,
        UNWRITABLE,
    ),
    // export
    ("export external.onnx", 2, &["--onnx <FILE>"]),
    ("export nowhere --head head.npz", 3, &["nowhere: cannot be read: No such file"]),
    ("export notes.txt --head head.npz", 3, NO_MODEL),
    ("export cut.safetensors --head head.npz", 3, &["not a whole safetensors", NO_MODEL[0]]),
    ("export external.onnx --head head.txt", 2, &["head.txt: expected a name that ends in"]),
    ("export external.onnx --safetensors new.safetensors", 2, &["an ONNX file has no", "--head"]),
    (
        "export external.onnx --classifier nowhere.safetensors --head head.npz",
        3,
        &["nowhere.safetensors: cannot be read: No such file"],
    ),
    ("export external.onnx --onnx file/below.onnx", 1, UNWRITABLE),
    // predict, eval
    #[cfg(feature = "onnx")]
    ("predict nowhere.onnx images", 3, &["nowhere.onnx: cannot be read: No such file"]),
    #[cfg(feature = "onnx")]
    ("predict notes.txt images", 3, NO_MODEL),
    #[cfg(feature = "onnx")]
    ("predict external.onnx nowhere", 3, NO_IMAGES),
    #[cfg(feature = "onnx")]
    ("predict external.onnx photos", 3, &["photos/1.jpg", "1 of 1 images cannot be decoded"]),
    #[cfg(feature = "onnx")]
    ("predict external.onnx images --top 0", 2, &["--top"]),
    #[cfg(feature = "onnx")]
    ("predict external.onnx images --csv --json", 2, &["--csv", "--json"]),
    #[cfg(feature = "onnx")]
    ("predict external.onnx images/test --parquet file/below", 1, UNWRITABLE),
    #[cfg(feature = "onnx")]
    ("predict external.onnx images/test --cam file/below", 1, UNWRITABLE),
    #[cfg(feature = "onnx")]
    ("eval nowhere.onnx tiny.toml", 3, &["nowhere.onnx: cannot be read: No such file"]),
    #[cfg(feature = "onnx")]
    ("eval external.onnx nowhere.toml", 2, NO_PIPELINE),
    #[cfg(feature = "onnx")]
    ("eval external.onnx tiny.toml --data nowhere", 3, NO_IMAGES),
    #[cfg(feature = "onnx")]
    (
        "eval external.onnx tiny.toml --set dataset.image_size=24",
        2,
        &["`dataset.image_size` is 24", "images of 16 pixels only", "Leave dataset.image_size out"],
    ),
    // doctor
    ("doctor twice", 2, &["unexpected argument 'twice'"]),
    ("doctor --device tpu", 2, &["'tpu'", "auto, cpu, cuda or cuda:N"]),
    #[cfg(feature = "onnx")]
    ("doctor --device cuda:99", 1, &["missing: ", "ONNX networks compute on"]),
    // inspect
    ("inspect nowhere", 3, NO_BANK),
    ("inspect damaged", 3, DAMAGED),
    ("inspect broken", 3, BROKEN),
    ("inspect run/shards --tau-generic 2", 2, &["tau_generic", "between 0 and 1"]),
    ("inspect run/shards --memory 1KiB", 2, LITTLE),
    // verify
    ("verify nowhere", 3, NO_BANK),
    ("verify damaged", 3, &["damaged: ", " in 1 file", "--repair PIPELINE"]),
    ("verify broken", 3, &["broken: 1 finding in 1 file", "Restore the manifest", "--overwrite"]),
    ("verify run/shards --sample some", 2, &["a number of rows, or all"]),
    ("verify run/shards --repair", 2, &["--repair needs a pipeline, or --onnx and --images"]),
    ("verify run/shards --onnx external.onnx", 2, &["--repair"]),
    #[cfg(feature = "onnx")]
    ("verify broken --repair --onnx external.onnx --images images", 3, BROKEN),
    #[cfg(feature = "onnx")]
    (
        "verify damaged --repair --onnx external.onnx --images images",
        2,
        &["damaged: made with different settings: ", "Give the pipeline, the images"],
    ),
    // dataset
    ("dataset stats nowhere.toml", 2, NO_PIPELINE),
    ("dataset stats tiny.toml --data nowhere", 3, NO_IMAGES),
    ("dataset stats tiny.toml --set dataset.kind=folders", 2, &["folder"]),
    ("dataset stats tiny.toml --picture file/below.svg", 1, UNWRITABLE),
    ("dataset check unknown.toml", 2, UNKNOWN_KEY),
    ("dataset check tiny.toml --data nowhere", 3, NO_IMAGES),
    ("dataset fetch nothing", 2, &["'nothing'", "known are cifar10"]),
    (
        "dataset fetch cifar10 --server http://127.0.0.1:9 --to file/below",
        1,
        &["file/below", "--to"],
    ),
];

#[test]
fn every_command_and_error_has_its_code_and_its_message() {
    let place = place();
    let mut wrong = vec![];
    for (args, code, parts) in CASES {
        let output = place.command(args).output().unwrap();
        let (found, message) = (output.status.code(), text(&output.stderr));
        let missing: Vec<_> = parts.iter().filter(|part| !message.contains(**part)).collect();
        if found != Some(*code) || !missing.is_empty() {
            wrong.push(format!("{args}: {found:?}, not {code}; without {missing:?}: {message}"));
        }
        // A cause is told once.
        let mut lines: Vec<&str> = message.lines().filter(|line| !line.is_empty()).collect();
        let all = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), all, "{args}: {message}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_engine_that_does_not_start_says_why() {
    let place = Place::new();
    // A copy could not be started while a child that another test has forked still has it open for writing.
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let alone = elsewhere.path().join("fsa-bank");
    std::fs::hard_link(PROGRAM, &alone).unwrap();
    std::fs::write(elsewhere.path().join("fsa-bank-torch"), "no program").unwrap();
    let output = Command::new(&alone)
        .args(["train", "tiny.toml"])
        .current_dir(place.dir.path())
        .output()
        .unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("fsa-bank-torch: cannot be started: Permission denied"), "{message}");
    assert!(message.contains("make build"), "{message}");
}

/// Each command is in the table with an error of its arguments, and one of what it is given.
#[test]
fn every_command_is_in_the_table() {
    use clap::CommandFactory;
    for command in fsa_bank::cli::Cli::command().get_subcommands() {
        let of = |case: &&Case| case.0.split(' ').next() == Some(command.get_name());
        let codes: Vec<i32> = CASES.iter().filter(of).map(|case| case.1).collect();
        let needs_onnx = ["predict", "eval"].contains(&command.get_name());
        if cfg!(feature = "onnx") || !needs_onnx {
            assert!(codes.contains(&2) && codes.len() > 1, "{}: {codes:?}", command.get_name());
        }
    }
}
