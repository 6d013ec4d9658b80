//! `dataset stats` and `dataset check`, and what a pipeline says whose known dataset is not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray};
use fsa_bank::check::{self, CheckError, FaultKind};
use fsa_bank::config::{DatasetConfig, DatasetKind, FinetuneConfig, Selection, ShotRule};
use fsa_bank::dataset::Dataset;
use fsa_bank::domain::ClassCounts;
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::report::{class_sizes_svg, statistics_text};
use fsa_bank::statistics::{self, Statistics};
use serde_json::Value;

use crate::datasets::cifar10;
use crate::fixtures::{folder_pipeline, image_folder};
use crate::support::program::{call, str, text};

fn json(args: &[&str]) -> (Value, Option<i32>) {
    let output = call(&[&["--json", "-q"], args].concat());
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
    (value, output.status.code())
}

/// A pipeline over images of 8, 4 and 2 a class, and 6 test images each.
fn pipeline() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("images"), &[8, 4, 2]);
    let pipeline = folder_pipeline(dir.path());
    (dir, pipeline)
}

/// Statistics of a list of files without content: only their numbers matter.
fn statistics_of(counts: &[usize]) -> Statistics {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.txt");
    let of_class = |(class, n): (usize, &usize)| {
        (0..*n).map(move |i| format!("{class}/{i}.jpg {class}\n")).collect::<String>()
    };
    fs::write(&list, counts.iter().enumerate().map(of_class).collect::<String>()).unwrap();
    for (class, n) in counts.iter().enumerate() {
        let folder = dir.path().join(class.to_string());
        fs::create_dir(&folder).unwrap();
        (0..*n).for_each(|i| fs::write(folder.join(format!("{i}.jpg")), "").unwrap());
    }
    let config = DatasetConfig { kind: DatasetKind::List, path: list, ..Default::default() };
    statistics::of("tiny", &Dataset::list(&config).unwrap(), &FinetuneConfig::default())
}

/// A long tail of so many classes, `largest` down to `smallest`, without any images.
fn long_tail(classes: usize, largest: f64, smallest: f64) -> Statistics {
    let share = |i: usize| i as f64 / (classes - 1) as f64;
    let size = |i: usize| (largest * (smallest / largest).powf(share(i))).round() as u64;
    let names: Vec<String> = (0..classes).map(|i| format!("class {i}")).collect();
    let test = ClassCounts(vec![3; classes]);
    let counts =
        [ClassCounts((0..classes).map(size).collect()), ClassCounts(vec![0; classes]), test];
    statistics::of_counts("tiny", &names, &counts, &FinetuneConfig::default())
}

#[test]
fn stats_are_those_of_the_demo() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/demo.toml");
    let told = text(&call(&["dataset", "stats", demo, "--per-class"]).stdout);
    for part in [
        "train   1,394       10",
        "largest 500 (airplane), median 71.5, smallest 10 (truck)\n  imbalance ratio 50\n",
        "head                   6   1,310  94.0 %",
        "tail                   4      84   6.0 %",
        "many                   4   1,167  83.7 %",
        "at least 90 % of the training images (head_ratio 0.9)",
        "standard: many > 100, medium 20-100, few < 20 training images",
        "truck                 10    0   200  tail     few   0.72 %    100.00 %",
        "█",
        "logarithmic",
    ] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
    let (figures, code) = json(&["dataset", "stats", demo, "--set", "finetune.head_ratio=0.7"]);
    assert_eq!(code, Some(0));
    assert_eq!(figures["head"]["classes"], 3);
    assert_eq!(figures["imbalance_ratio"], 50.0);
    assert_eq!(figures["per_class"][9]["name"], "truck");
    assert_eq!(figures["per_class"][9]["shots"], "few");
    assert_eq!(figures["splits"][1]["images"], 2000);
    let (figures, _) = json(&["dataset", "stats", demo, "--set", "finetune.shot_rule=oltr"]);
    assert_eq!(figures["shot_rule"], "oltr");
}

#[test]
fn stats_count_each_split_and_groups_by_hand() {
    let s = statistics_of(&[200, 100, 25, 5]);
    let train: Vec<u64> = s.per_class.iter().map(|class| class.train_images).collect();
    assert_eq!(train, [160, 80, 20, 4]);
    assert_eq!(s.per_class.iter().map(|c| c.test_images).collect::<Vec<_>>(), [40, 20, 5, 1]);
    assert_eq!((s.largest, s.median, s.smallest), (160, 50.0, 4));
    assert_eq!((s.head.classes, s.head.images), (2, 240));
    assert_eq!((s.many.classes, s.medium.classes, s.few.classes), (1, 2, 1));
    assert!((s.tail.share - 24.0 / 264.0).abs() < 1e-12);
}

#[test]
fn a_class_of_exactly_20_images_is_told_to_have_no_group_by_the_papers_rule() {
    let names = ["a", "b", "c"].map(String::from);
    let counts = [vec![200, 20, 19], vec![0; 3], vec![1; 3]].map(ClassCounts);
    let of = |shot_rule| {
        let settings = FinetuneConfig { shot_rule, ..Default::default() };
        let s = statistics::of_counts("tiny", &names, &counts, &settings);
        (s.medium.classes, statistics_text(&s, false))
    };
    let (medium, told) = of(ShotRule::Paper);
    assert_eq!(medium, 0);
    assert!(told.contains("1 class of exactly 20 images in none of the three groups"), "{told}");
    let (medium, told) = of(ShotRule::Standard);
    assert_eq!(medium, 1);
    assert!(!told.contains("none of the three groups"), "{told}");
}

#[test]
fn the_chart_in_the_terminal_falls_from_the_head_to_the_tail() {
    for (classes, columns) in [(10, 30), (365, 60), (8142, 60)] {
        let told = statistics_text(&long_tail(classes, 1000.0, 4.0), false);
        let line = told.lines().find(|line| line.contains('─')).unwrap();
        assert_eq!(line.chars().filter(|c| "─┄".contains(*c)).count(), columns, "{told}");
        let blocks = |line: &&str| line.contains('█') || line.contains('▄');
        let rows: Vec<usize> =
            told.lines().filter(blocks).map(|line| line.trim_end().chars().count()).collect();
        assert_eq!(rows.len(), 6, "{told}");
        assert!(rows.is_sorted() && rows[0] < rows[5], "{told}");
        assert!(told.lines().all(|line| line.chars().count() < 100), "{told}");
    }
}

/// Every number of an attribute of the picture.
fn attribute(svg: &str, name: &str) -> Vec<f64> {
    let begin = format!(" {name}=\"");
    svg.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

#[test]
fn the_picture_shows_every_class_and_where_the_tail_begins() {
    let few = class_sizes_svg(&long_tail(10, 1000.0, 4.0));
    assert_eq!(few.matches("<rect").count(), 1 + 2 + 10);
    assert!(few.contains("logarithmic axis") && few.contains("rotate(-40)"));
    for classes in [10, 365, 8142] {
        let s = long_tail(classes, 1000.0, 4.0);
        let svg = class_sizes_svg(&s);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
        assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        let dashed = svg.lines().find(|line| line.contains("stroke-dasharray")).unwrap();
        let x = 60.0 + (760.0 - 76.0) * s.head.classes as f64 / classes as f64;
        assert!((attribute(dashed, "x1")[0] - x).abs() < 0.06, "{dashed}");
        for (name, most) in [("x", 760.0), ("x1", 760.0), ("x2", 760.0), ("y", 380.0)] {
            let values = attribute(&svg, name);
            assert!(values.iter().all(|v| (0.0..=most).contains(v)), "{name}: {values:?}");
        }
        assert!(svg.len() < 200_000, "{} bytes for {classes} classes", svg.len());
    }
    let flat = class_sizes_svg(&statistics_of(&[20, 15, 10]));
    assert!(!flat.contains("logarithmic"));
}

#[test]
fn a_picture_is_written_where_asked() {
    let (dir, pipeline) = pipeline();
    let picture = dir.path().join("tail.svg");
    let output = call(&["dataset", "stats", str(&pipeline), "--picture", str(&picture)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let svg = fs::read_to_string(&picture).unwrap();
    assert!(svg.contains("tiny: training images of each class") && svg.contains("colour-2 (2)"));
    let nowhere = dir.path().join("no/such/tail.svg");
    let output = call(&["dataset", "stats", str(&pipeline), "--picture", str(&nowhere)]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn sound_images_pass_the_check() {
    let (_keep, pipeline) = pipeline();
    let output = call(&["dataset", "check", str(&pipeline)]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(told.contains("tiny: 14 train, 18 test images of 3 classes, all examined"), "{told}");
    assert!(told.contains("nothing missing, every image decodable, none in two splits"), "{told}");
}

/// Spoils one image, copies one into the test split, one into another class and one beside itself.
fn spoil(images: &Path) {
    let image = |name: &str| images.join(name);
    let bytes = fs::read(image("train/colour-0/000.png")).unwrap();
    fs::write(image("train/colour-0/000.png"), &bytes[..bytes.len() / 2]).unwrap();
    let copy = |from, to| fs::copy(image(from), image(to)).unwrap();
    copy("train/colour-1/000.png", "test/colour-1/leaked.png");
    copy("train/colour-0/001.png", "train/colour-2/other.png");
    copy("train/colour-0/002.png", "train/colour-0/again.png");
}

#[test]
fn the_check_names_every_image_that_is_wrong() {
    let (dir, pipeline) = pipeline();
    spoil(&dir.path().join("images"));
    let output = call(&["dataset", "check", str(&pipeline)]);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stdout);
    for part in [
        "not decodable: 1\n    train train/colour-0/000.png (colour-0): ",
        "in more than one split: 1\n    \
         train train/colour-1/000.png (colour-1) = test test/colour-1/leaked.png (colour-1)\n",
        "in different classes: 1\n    \
         train train/colour-0/001.png (colour-0) = train train/colour-2/other.png (colour-2)\n",
        "repeated within a class: 1\n    \
         train train/colour-0/002.png (colour-0) = train train/colour-0/again.png (colour-0)\n",
    ] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
    assert!(!told.contains("nothing missing"), "{told}");
    let message = text(&output.stderr);
    assert!(message.contains("tiny: 1 images missing or not usable, 1 in more"), "{message}");

    let (report, code) = json(&["dataset", "check", str(&pipeline)]);
    assert_eq!(code, Some(3));
    assert_eq!(report["faults"][0]["kind"], "undecodable");
    assert_eq!(report["faults"][0]["path"], "train/colour-0/000.png");
    assert_eq!(report["faults"][0]["class"], "colour-0");
    assert_eq!(report["leaks"][0][1]["split"], "test");
    let (one_thread, _) = json(&["--threads", "1", "dataset", "check", str(&pipeline)]);
    assert_eq!(one_thread, report);
}

#[test]
fn repeats_alone_are_told_but_not_an_error() {
    let (dir, pipeline) = pipeline();
    let images = dir.path().join("images/train/colour-0");
    fs::copy(images.join("001.png"), images.join("again.png")).unwrap();
    let output = call(&["dataset", "check", str(&pipeline)]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("repeated within a class: 1"));
}

#[test]
fn a_check_finds_every_missing_file_of_a_list() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[5, 5]);
    let lines = |class: usize| {
        (0..6).map(move |i| format!("train/colour-{class}/{i:03}.png colour-{class}\n"))
    };
    let list = dir.path().join("list.txt");
    fs::write(&list, (0..2).flat_map(lines).collect::<String>()).unwrap();
    let config = DatasetConfig { kind: DatasetKind::List, path: list, ..Default::default() };
    let report = check::run("list", &config, Watch::new(&Silent, &Interrupt::default())).unwrap();
    let mut missing: Vec<&str> = report.faults.iter().map(|f| f.place.path.as_str()).collect();
    missing.sort();
    assert_eq!(missing, ["train/colour-0/005.png", "train/colour-1/005.png"]);
    assert!(report.faults.iter().all(|fault| fault.kind == FaultKind::Missing));
    assert!(matches!(report.verdict(), Err(CheckError::Faulty { faults: 2, leaks: 0, .. })));
}

#[test]
fn pixels_of_an_archive_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    cifar10(dir.path());
    let config = DatasetConfig {
        kind: DatasetKind::Cifar10,
        path: dir.path().into(),
        selection: Selection::First,
        ..Default::default()
    };
    let report = check::run("cifar", &config, Watch::new(&Silent, &Interrupt::default())).unwrap();
    // Ten images, each ten times in training and twice in the test split.
    assert_eq!((report.leaks.len(), report.faults.len()), (10, 0));
    assert_eq!(report.leaks[3].len(), 12);
    assert_eq!(report.leaks[3][0].path, "data_batch_1.bin#3");
}

#[test]
fn rows_of_a_table_are_decoded_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[2, 2]);
    let image = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let (a, b, c) = (
        image("train/colour-0/000.png"),
        image("train/colour-1/000.png"),
        image("test/colour-0/000.png"),
    );
    let images: [&[u8]; 5] = [&a, b"no image", &b, b"nor this", &c];
    let columns: [(&str, ArrayRef); 5] = [
        ("split", Arc::new(StringArray::from(vec!["train", "train", "train", "test", "test"]))),
        ("label", Arc::new(Int32Array::from(vec![0, 0, 1, 1, 0]))),
        ("class_name", Arc::new(StringArray::from(vec!["x", "x", "y", "y", "x"]))),
        ("path", Arc::new(StringArray::from(vec!["0", "1", "2", "3", "4"]))),
        ("image", Arc::new(BinaryArray::from_vec(images.to_vec()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let path = dir.path().join("images.parquet");
    let file = fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let config = DatasetConfig { kind: DatasetKind::Parquet, path, ..Default::default() };
    let report = check::run("table", &config, Watch::new(&Silent, &Interrupt::default())).unwrap();
    let faults: Vec<(&str, &str, &str)> = report
        .faults
        .iter()
        .map(|f| (f.place.split.name(), f.place.path.as_str(), f.place.class.as_str()))
        .collect();
    assert_eq!(faults, [("train", "1", "x"), ("test", "3", "y")]);
    assert!(report.leaks.is_empty());
}

#[test]
fn a_check_that_is_stopped_says_how_far_it_came() {
    let (dir, _) = pipeline();
    let config = DatasetConfig { path: dir.path().join("images"), ..Default::default() };
    let interrupt = Interrupt::default();
    interrupt.request();
    let error = check::run("tiny", &config, Watch::new(&Silent, &interrupt)).unwrap_err();
    assert!(error.to_string().starts_with("stopped after 0 of 32 images"), "{error}");
}

#[test]
fn a_known_dataset_that_is_not_there_is_told_with_the_command_that_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let cifar = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/cifar100-lt-im10.toml");
    let nowhere = dir.path().join("cifar-100-binary.tar.gz");
    let to = dir.path().display();
    let of_dataset = [&["dataset", "stats"], &["dataset", "check"]];
    let others = [&["train"][..], &["features"], &["plan"], &["features", "--dry-run"]];
    for command in others.into_iter().chain(of_dataset.map(|words| &words[..])) {
        let output = call(&[command, &[cifar, "--data", str(&nowhere)]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command:?}: {message}");
        for part in [
            format!("{}: no such file or directory", nowhere.display()),
            "Missing: cifar-100-binary.tar.gz (160.7 MiB)".into(),
            format!("Get it with: fsa-bank dataset fetch cifar100 --to {to}\n"),
            "--data".into(),
        ] {
            assert!(message.contains(&part), "{command:?}: no `{part}` in {message}");
        }
    }
    let pipeline = dir.path().join("inat2018-resnet50.toml");
    fs::write(&pipeline, "[dataset]\nkind = \"folder\"\npath = \"inat2018\"\n").unwrap();
    fs::create_dir(dir.path().join("inat2018")).unwrap();
    fs::write(dir.path().join("inat2018/val2018.json"), "{}").unwrap();
    let output = call(&["dataset", "check", str(&pipeline)]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("train_val2018 from train_val2018.tar.gz (119.2 GiB)"), "{message}");
    assert!(message.contains("dataset fetch inat2018 --to "), "{message}");
    assert!(!message.contains("val2018.json.tar.gz (1.2 MiB)"), "{message}");
}
