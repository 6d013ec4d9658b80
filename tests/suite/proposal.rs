//! `fsa-bank init`: pipelines for images as users have them, which load, open and train.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fsa_bank::backbone::EngineOptions;
use fsa_bank::config::{self, Arch, Arithmetic, DatasetKind, LoadedPipeline};
use fsa_bank::dataset::Dataset;
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::train::{self, TrainRequest};

use crate::fake_engine::FakeEngine;
use crate::fixtures::image_folder;
use crate::support::program::{PROGRAM, text};

fn init(folder: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).arg("init").args(args).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> (i32, String) {
    let both = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap(), both)
}

fn loads(file: &Path) -> (LoadedPipeline, Dataset) {
    let loaded = config::load(file, &[]).unwrap_or_else(|e| panic!("{e}"));
    let dataset = Dataset::open(&loaded.pipeline.dataset).unwrap_or_else(|e| panic!("{e}"));
    (loaded, dataset)
}

/// `birds/` with a long tail, in a folder of its own.
fn birds(counts: &[usize]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("birds"), counts);
    dir
}

#[test]
fn a_folder_gets_a_pipeline_that_loads_and_trains() {
    let dir = birds(&[40, 20, 10, 5]);
    let output = init(dir.path(), &["birds"]);
    let (code, screen) = said(&output);
    assert_eq!(code, 0, "{screen}");
    for part in [
        "birds.toml: written",
        "75 images of 4 classes",
        "40 of colour-0 to 5 of colour-3, imbalance ratio 8.0",
        "shorter side 16 to 16 pixels, median 16 (75 images measured)",
        "8 of the training images, held out (val_fraction)",
        "24 images",
        "resnet18 at 32 pixels",
        "Next: fsa-bank train birds.toml",
        "fsa-bank features --onnx NETWORK.onnx --images birds --head fit",
        "warning: 67 training images of 4 classes are few",
    ] {
        assert!(screen.contains(part), "no `{part}` in {screen}");
    }

    let file = dir.path().join("birds.toml");
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("path = \"birds\"") && written.contains("# WARNING: 67"), "{written}");
    let (loaded, dataset) = loads(&file);
    assert_eq!(loaded.pipeline.dataset.kind, DatasetKind::Folder);
    assert_eq!((loaded.pipeline.network.arch, loaded.pipeline.network.width), (Arch::Resnet18, 32));
    assert_eq!(dataset.held_out.unwrap().images, 8);

    let mut pipeline = loaded.pipeline;
    (pipeline.train.epochs, pipeline.train.warmup_epochs) = (1, 0);
    let engine = EngineOptions {
        device: "cpu".into(),
        arithmetic: Arithmetic::F32,
        channels_last: false,
        threads: None,
    };
    let request = TrainRequest {
        pipeline: &pipeline,
        dataset: &dataset,
        out: &dir.path().join("run"),
        resume: false,
        overwrite: false,
        engine,
    };
    let trained =
        train::run(&request, &FakeEngine, Watch::new(&Silent, &Interrupt::default())).unwrap();
    assert_eq!(trained.epochs.len(), 1);
}

#[test]
fn a_file_that_is_there_stays_unless_it_may_be_replaced() {
    let dir = birds(&[6, 4]);
    let file = dir.path().join("birds.toml");
    fs::write(&file, "mine").unwrap();
    let (code, screen) = said(&init(dir.path(), &["birds"]));
    assert_eq!(code, 2, "{screen}");
    assert!(screen.contains("birds.toml: exists already") && screen.contains("--overwrite"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let (code, screen) = said(&init(dir.path(), &["birds", "--overwrite"]));
    assert_eq!(code, 0, "{screen}");
    let first = fs::read_to_string(&file).unwrap();
    loads(&file);
    init(dir.path(), &["birds", "--overwrite"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), first);
}

#[test]
fn the_path_is_seen_from_the_file_whatever_the_current_folder() {
    let dir = birds(&[6, 4]);
    let elsewhere = dir.path().join("pipelines");
    fs::create_dir(&elsewhere).unwrap();
    let (code, screen) = said(&init(&elsewhere, &["../birds", "--out", "a.toml"]));
    assert_eq!(code, 0, "{screen}");
    let (loaded, _) = loads(&elsewhere.join("a.toml"));
    assert_eq!(loaded.pipeline.dataset.path, dir.path().join("birds"));

    let inside = dir.path().join("birds");
    assert_eq!(said(&init(&inside, &["."])).0, 0);
    assert_eq!(loads(&inside.join("birds.toml")).1.class_names.len(), 2);

    let deep = dir.path().join("a/b/c/d");
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(said(&init(&deep, &["../../../../birds"])).0, 0);
    assert!(config::load(&deep.join("birds.toml"), &[]).is_ok());
    let text = fs::read_to_string(deep.join("birds.toml")).unwrap();
    assert!(text.contains("path = \"/"), "{text}");
    loads(&deep.join("birds.toml"));
}

#[test]
fn data_without_splits_and_lists_are_taken() {
    let dir = birds(&[30, 10, 5]);
    let flat = dir.path().join("flat");
    fs::rename(dir.path().join("birds/train"), &flat).unwrap();
    let (code, screen) = said(&init(dir.path(), &["flat"]));
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("9 images, a fifth of each class held out"), "{screen}");
    assert!(loads(&dir.path().join("flat.toml")).1.test_held_out);

    let image = |class: usize, i: usize| format!("colour-{class}/{i:03}.png {class}\n");
    let lines: String = [30, 10, 5]
        .iter()
        .enumerate()
        .flat_map(|(class, &n)| (0..n).map(move |i| image(class, i)))
        .collect();
    fs::write(flat.join("all.txt"), lines).unwrap();
    let (code, screen) = said(&init(dir.path(), &["flat/all.txt", "--out", "list.toml"]));
    assert_eq!(code, 0, "{screen}");
    let (loaded, dataset) = loads(&dir.path().join("list.toml"));
    assert_eq!(loaded.pipeline.dataset.kind, DatasetKind::List);
    assert_eq!(dataset.class_names, ["colour-0", "colour-1", "colour-2"]);
}

#[test]
fn photographs_get_a_published_network_and_a_word_on_pretrained_weights() {
    let dir = tempfile::tempdir().unwrap();
    for (class, count) in [("heron", 12), ("gull", 4)] {
        for split in ["train", "test"] {
            let folder = dir.path().join("photos").join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                image::RgbImage::new(260, 240).save(folder.join(format!("{i}.jpg"))).unwrap();
            }
        }
    }
    let (code, screen) = said(&init(dir.path(), &["photos"]));
    assert_eq!(code, 0, "{screen}");
    let file = dir.path().join("photos.toml");
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("# weights = \"resnet18.safetensors\""), "{written}");
    let (loaded, _) = loads(&file);
    let dataset = &loaded.pipeline.dataset;
    assert_eq!((dataset.image_size, dataset.crop_fraction), (224, 0.875));
    assert_eq!(loaded.pipeline.train.crop_padding, 28);

    // What the file advises is a pipeline too.
    let advised: String = written
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|l| is_setting(l)).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(advised, written);
    fs::write(&file, advised).unwrap();
    let (loaded, _) = loads(&file);
    assert_eq!(loaded.pipeline.network.weights, dir.path().join("resnet18.safetensors"));
    assert!(!loaded.pipeline.train.flip);
}

/// Whether a line of advice is `key = value`.
fn is_setting(line: &str) -> bool {
    let key = line.split_once(" = ").map_or("", |(key, _)| key);
    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn names_from_the_disk_do_not_become_settings() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = "x\nepochs = 1\n[train]\n#\u{1b}[31m";
    for (class, count) in [("plain", 6), (hostile, 1)] {
        let folder = dir.path().join("it's \"mine\"").join("train").join(class);
        fs::create_dir_all(&folder).unwrap();
        (0..count).for_each(|i| {
            image::RgbImage::new(9, 9).save(folder.join(format!("{i}.png"))).unwrap()
        });
    }
    let test = dir.path().join("it's \"mine\"").join("test").join("plain");
    fs::create_dir_all(&test).unwrap();
    image::RgbImage::new(9, 9).save(test.join("0.png")).unwrap();
    let output = init(dir.path(), &["it's \"mine\""]);
    let (code, screen) = said(&output);
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains('\u{1b}'), "{screen}");
    assert!(screen.contains(r#"fsa-bank train 'it'\''s "mine".toml'"#), "{screen}");
    assert!(screen.contains("one training image only") && screen.contains("no test image"));
    let (loaded, dataset) = loads(&dir.path().join("it's \"mine\".toml"));
    assert_ne!(loaded.pipeline.train.epochs, 1);
    assert_eq!(dataset.class_names.len(), 2);
}

#[test]
fn machines_get_the_same_as_json() {
    let dir = birds(&[40, 20, 10, 5]);
    let output = init(dir.path(), &["birds", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["file"], "birds.toml");
    assert_eq!(json["survey"]["train"], serde_json::json!([40, 20, 10, 5]));
    assert_eq!(json["survey"]["sides"]["shorter"], serde_json::json!([16, 16, 16]));
    assert_eq!(json["pipeline"]["dataset"]["val_fraction"], 0.1);
    assert_eq!(json["next"][0], "fsa-bank train birds.toml");
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    let file = config::load(&dir.path().join("birds.toml"), &[]).unwrap().pipeline;
    assert_eq!(json["pipeline"]["train"]["epochs"], file.train.epochs);
    assert_eq!(json["pipeline"]["features"]["views"], file.features.views);
}

#[test]
fn what_is_no_set_of_images_is_refused_and_nothing_is_written() {
    let dir = birds(&[6, 4]);
    let nothing_written = || assert!(!dir.path().join("x.toml").exists());
    for (images, code, part) in [
        ("nowhere", 3, "nowhere: no such file or directory"),
        ("birds/train/colour-0", 3, "6 images and no folder of a class; expected at least 2"),
        ("birds/train/colour-0/000.png", 3, "000.png: is an image; expected a folder with"),
    ] {
        let (found, screen) = said(&init(dir.path(), &[images, "--out", "x.toml"]));
        assert_eq!(found, code, "{images}: {screen}");
        assert!(screen.contains(part), "{images}: {screen}");
        nothing_written();
    }
    let (code, screen) = said(&init(dir.path(), &["birds", "--out", "no-folder/x.toml"]));
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("no-folder/x.toml: cannot be written"), "{screen}");

    // One bad file is told, a folder of them is an error.
    let bad = |i: usize| dir.path().join(format!("birds/train/colour-0/00{i}.png"));
    fs::write(bad(2), "no image").unwrap();
    let (code, screen) = said(&init(dir.path(), &["birds", "--out", "y.toml"]));
    assert_eq!(code, 0, "{screen}");
    assert!(
        screen.contains("1 of 10 examined files") && screen.contains("colour-0/002.png"),
        "{screen}"
    );
    let of_train: Vec<PathBuf> = ["colour-0", "colour-1"]
        .iter()
        .flat_map(|class| fs::read_dir(dir.path().join("birds/train").join(class)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    of_train.iter().for_each(|path| fs::write(path, "no image").unwrap());
    let (code, screen) = said(&init(dir.path(), &["birds", "--out", "x.toml"]));
    assert_eq!(code, 3, "{screen}");
    assert!(screen.contains("not a readable image"), "{screen}");
    nothing_written();
}

/// Real photographs, where FSA_BANK_TEST_DATA has them.
#[test]
fn caltechs_photographs_are_seen_as_photographs() {
    let Some(data) = std::env::var_os("FSA_BANK_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: FSA_BANK_TEST_DATA is not set to a folder with caltech101-subset.tar");
        return;
    };
    let Ok(archive) = fs::File::open(data.join("caltech101-subset.tar")) else {
        eprintln!("skipped: {} has no caltech101-subset.tar", data.display());
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    tar::Archive::new(archive).unpack(dir.path()).unwrap();
    let images = dir.path().join("caltech101-subset/images");
    let (code, screen) = said(&init(dir.path(), &[images.to_str().unwrap()]));
    assert_eq!(code, 0, "{screen}");
    let (loaded, dataset) = loads(&dir.path().join("images.toml"));
    assert_eq!((dataset.class_names.len(), dataset.test_held_out), (30, true));
    assert_eq!(loaded.pipeline.dataset.image_size, 224);
}

#[test]
fn settings_that_a_list_needs_are_written_into_a_pipeline_as_they_stand() {
    let dir = birds(&[6, 4]);
    let files = ["colour-0/000.png", "colour-0/001.png", "colour-1/000.png", "colour-1/001.png"];
    let absolute = |file: &str| dir.path().join("birds/train").join(file).display().to_string();
    let moved = |file: &str| format!("/moved/elsewhere/{file}");
    fs::create_dir(dir.path().join("lists")).unwrap();
    let rows = |path: &dyn Fn(&str) -> String| {
        let rows = files.iter().map(|file| format!("{},{}\n", path(file), &file[..8]));
        format!("path,label\n{}", rows.collect::<String>().repeat(3))
    };
    for (list, text) in
        [("birds/train/moved.csv", rows(&moved)), ("lists/there.csv", rows(&absolute))]
    {
        fs::write(dir.path().join(list), text).unwrap();
        let (code, screen) = said(&init(dir.path(), &[list]));
        assert_eq!(code, 3, "{screen}");
        let (remedy, given) = screen.split_once("  `init` takes no settings").expect(&screen);
        let remedy = remedy.lines().last().unwrap().trim().trim_start_matches("Set ");
        let remedy = remedy.trim_end_matches('.').replace(", dataset.", "\ndataset.");
        let remedy = remedy.replace(" and dataset.", "\ndataset.");
        let given = given.lines().map(str::trim).filter(|line| line.starts_with("dataset."));
        let pipeline = given.chain([remedy.as_str()]).collect::<Vec<_>>().join("\n");
        fs::write(dir.path().join("p.toml"), &pipeline).unwrap();
        let (_, dataset) = loads(&dir.path().join("p.toml"));
        assert_eq!(dataset.class_names.len(), 2, "{pipeline}");
    }
}
