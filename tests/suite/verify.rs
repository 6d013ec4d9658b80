//! `verify`: a whole bank holds, and nothing that is wrong with one goes unnoticed.

mod flipped_bytes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fsa_bank::bank::{
    Build, BuildPlan, CLASSES_FILE, CLASSIFIER_FILE, FileEntry, Layout, MANIFEST_FILE, Manifest,
    MapsKept, TrainRow,
};
use fsa_bank::classifier_file::ClassifierCard;
use fsa_bank::config::{FinetuneConfig, GenericClasses, Precision};
use fsa_bank::dataset::Skipped;
use fsa_bank::domain::{FeatureShape, FitOptions, LinearHead};
use fsa_bank::features::HeadSource;
use fsa_bank::finetune::{self, FinetuneError, FinetuneRequest, Selection, least_memory_bytes};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::report::verify_text;
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::verify::{self, FindingKind, Sample, VerifyError, VerifyOptions, VerifyReport};
use rayon::prelude::*;

use crate::fixtures::BankSpec;
use crate::support::files::files;
use crate::support::program::{call, text};
use crate::support::run::Run;

fn verify(dir: &Path) -> Result<VerifyReport, VerifyError> {
    let options = VerifyOptions { sample: Sample::All };
    verify::run(dir, &options, Watch::new(&Silent, &Interrupt::default()))
}

type Edit = fn(&mut TrainRow);
type KindAndColumn = (FindingKind, &'static str);
/// Kind, file and column of a finding.
type Place = (FindingKind, String, String);

/// Where the findings are.
fn found(dir: &Path) -> Vec<Place> {
    let report = verify(dir).unwrap();
    assert_eq!(report.verdict().is_ok(), report.findings.is_empty());
    report.findings.into_iter().map(|f| (f.kind, f.file, f.column.unwrap_or_default())).collect()
}

/// Several shards, row groups and pages: a map is 192 bytes.
const SMALL: Layout = Layout {
    compression_level: 1,
    shard_bytes: 5760,
    row_group_bytes: 1920,
    map_page_bytes: 384,
    search_repeats: false,
};

fn bank(spec: BankSpec) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shards");
    spec.write(&path);
    (dir, path)
}

/// Writes the manifest with a change and a checksum that fits it.
fn edit_manifest(dir: &Path, change: impl FnOnce(&mut Manifest)) {
    let (mut manifest, _) = Manifest::load(dir).unwrap();
    change(&mut manifest);
    manifest.save(dir).unwrap();
}

/// Path and content of every file.
fn by_path(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|(name, content)| (dir.join(name), content)).collect()
}

#[test]
fn a_whole_bank_holds() {
    for reversed in [false, true] {
        let spec = BankSpec { layout: SMALL, views: 3, val: true, reversed, ..Default::default() };
        let (_keep, dir) = bank(spec);
        let report = verify(&dir).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.notes, []);
        assert_eq!((report.rows, report.recomputed_rows), (69 * 3 + 40 + 16, 69 * 3));
        assert_eq!(report.files, files(&dir).len());
        let bytes: usize = files(&dir).values().map(Vec::len).sum();
        assert_eq!(report.bytes, bytes as u64);
        assert!(report.files > 8, "{}", report.files);
        assert!(report.verdict().is_ok());
        assert!(verify_text(&report).contains("13 files, 263 rows, "), "{}", verify_text(&report));

        for (sample, rows) in [(0, 0), (10, 10), (1000, 207)] {
            let options = VerifyOptions { sample: Sample::Rows(sample) };
            let report =
                verify::run(&dir, &options, Watch::new(&Silent, &Interrupt::default())).unwrap();
            assert_eq!((report.recomputed_rows, report.findings.len()), (rows, 0));
        }
    }
}

/// Banks of images, with a split held out, an image that cannot be decoded, and a fitted classifier.
#[test]
fn banks_that_features_writes_hold() {
    let go = Interrupt::default();
    for head in [None, Some(FitOptions { epochs: 3, weight_decay: 1e-4, seed: 0 })] {
        let mut run = Run::new(&["train.epochs=1", "dataset.val_fraction=0.2"]);
        fs::write(run.path().join("images/train/colour-0/002.png"), "no image").unwrap();
        run.dataset.skipped = Skipped::at_most(0.05);
        run.train(false, &Silent, &go).unwrap();
        let made = run.features_with(head.map(HeadSource::Fitted), &Silent, &go).unwrap();
        let report = verify(&made.bank).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.notes, []);
        assert_eq!((report.rows, made.skipped.images), (made.rows, 1));
        assert!(report.map_rows > 80 && report.recomputed_rows == report.map_rows);
    }
}

#[test]
fn values_that_break_the_contract_are_found_though_their_bytes_are_whole() {
    use FindingKind::{Cam, Confidence, Key, Nonzero, Pooled, Predicted, Value};
    fn third(row: &TrainRow) -> bool {
        (row.head.sample_id, row.head.view) == (3, 1)
    }
    let cases: [(Edit, &[KindAndColumn], &str); 13] = [
        (
            |row| row.head.pooled[2] = if third(row) { f32::NAN } else { row.head.pooled[2] },
            &[(Value, "pooled")],
            "row 7 (sample 3, view 1), column pooled: value 2 is NaN; expected a finite number",
        ),
        (
            |row| row.cam[1] = if third(row) { 1.5 } else { row.cam[1] },
            &[(Value, "cam")],
            "value 1 is 1.5; expected 0 to 1",
        ),
        (
            |row| row.head.pooled[0] += if third(row) { 0.25 } else { 0.0 },
            &[(Confidence, "confidence"), (Pooled, "pooled")],
            ", the mean of its map",
        ),
        (
            |row| {
                if third(row) {
                    row.cam[1] = (row.cam[1] - 0.25).abs()
                }
            },
            &[(Cam, "cam")],
            ", by its map and the bank's classifier",
        ),
        (
            |row| row.nonzero[4] ^= third(row),
            &[(Nonzero, "nonzero")],
            "value 4 is false; expected true, by its map",
        ),
        (
            |row| row.head.predicted = if third(row) { 9 } else { row.head.predicted },
            &[(Value, "predicted")],
            "column predicted: 9; expected 0 to 3",
        ),
        (
            |row| row.head.predicted = if third(row) { 3 } else { row.head.predicted },
            &[(Predicted, "predicted")],
            "column predicted: 3; expected 0, by the bank's classifier",
        ),
        (
            |row| row.head.confidence *= if third(row) { 0.99 } else { 1.0 },
            &[(Confidence, "confidence")],
            ", by the bank's classifier on its pooled vector",
        ),
        (
            |row| row.head.confidence = if third(row) { f32::NAN } else { row.head.confidence },
            &[(Value, "confidence")],
            "column confidence: NaN; expected 0 to 1",
        ),
        (
            |row| row.feature_map[9] = if third(row) { f32::INFINITY } else { row.feature_map[9] },
            &[(Value, "feature_map")],
            "value 9 is inf; expected a finite number",
        ),
        (
            |row| row.cam.truncate(if third(row) { 2 } else { 6 }),
            &[(Value, "cam")],
            "2 values; expected 6",
        ),
        (
            |row| row.head.view = if third(row) { 4 } else { row.head.view },
            &[(Key, "view")],
            "row 7 (sample 3, view 4), column view: 4; expected 0 to 1",
        ),
        (
            |row| row.cam.iter_mut().for_each(|v| *v += f32::from(row.head.label == 0) * 2.0),
            &[(Value, "cam"); 8],
            "(and 9 more rows)",
        ),
    ];
    for (edit, expected, part) in cases {
        let (_keep, dir) = bank(BankSpec { edit, layout: SMALL, ..Default::default() });
        let found = found(&dir);
        let kinds: Vec<_> =
            found.iter().map(|(kind, _, column)| (*kind, column.as_str())).collect();
        assert_eq!(kinds, expected);
        assert!(found[0].1 == "train-00000.parquet", "{found:?}");
        let report = verify_text(&verify(&dir).unwrap());
        assert!(report.contains(part), "no `{part}` in {report}");
    }
}

#[test]
fn keys_and_counts_are_those_of_the_rows() {
    use FindingKind::{Classes, Key, Rows, Value};
    let row = |kind, column: &str| (kind, "train-00000.parquet".to_string(), column.to_string());
    let cases: [(Edit, Vec<Place>); 3] = [
        // One image takes the place of another.
        (
            |row| row.head.sample_id -= u32::from(row.head.sample_id == 7),
            vec![
                (Rows, MANIFEST_FILE.into(), String::new()),
                (Classes, CLASSES_FILE.into(), "train_images".into()),
                row(Key, "view"),
            ],
        ),
        // The clean view is another one; the counts, which are taken of clean views, lack it.
        (
            |row| row.head.view += u32::from((row.head.sample_id, row.head.view) == (3, 0)),
            vec![
                (Rows, MANIFEST_FILE.into(), String::new()),
                (Classes, CLASSES_FILE.into(), "train_images".into()),
                row(Key, "sample_id"),
                row(Key, "view"),
            ],
        ),
        (
            |row| row.head.label += u32::from((row.head.sample_id, row.head.view) == (3, 1)),
            vec![row(FindingKind::Cam, "cam"), row(Value, "label")],
        ),
    ];
    for (edit, expected) in cases {
        let (_keep, dir) = bank(BankSpec { edit, layout: SMALL, ..Default::default() });
        assert_eq!(found(&dir), expected);
    }

    let (_keep, dir) = bank(BankSpec::default());
    edit_manifest(&dir, |m| m.splits.get_mut("test").unwrap().images += 1);
    let text = verify_text(&verify(&dir).unwrap());
    assert!(text.contains("41 images in split test; expected 40 images in split test"), "{text}");
}

#[test]
fn labels_columns_and_rounding_are_held_against_the_manifest() {
    use FindingKind::{Classes, Classifier, Schema, Value};
    let (_keep, dir) = bank(BankSpec::default());
    let text = fs::read(dir.join(MANIFEST_FILE)).unwrap();
    edit_manifest(&dir, |m| m.dataset.classes = 3);
    let kinds: Vec<_> = found(&dir).into_iter().map(|(kind, _, column)| (kind, column)).collect();
    for kind in [Classes, Classifier] {
        assert!(kinds.contains(&(kind, String::new())), "{kinds:?}");
    }
    assert!(kinds.contains(&(Value, "label".into())), "{kinds:?}");

    fs::write(dir.join(MANIFEST_FILE), &text).unwrap();
    edit_manifest(&dir, |m| m.precision = Precision::Bf16);
    let (_keep, fine) = bank(BankSpec {
        edit: |row| row.feature_map.iter_mut().for_each(|v| *v += 1.0 / 4096.0),
        ..Default::default()
    });
    let report = verify_text(&verify(&fine).unwrap());
    assert!(report.contains("column feature_map: value ") && report.contains("a value of f16"));

    fs::write(dir.join(MANIFEST_FILE), &text).unwrap();
    fs::copy(dir.join("train-00000.parquet"), dir.join("test-00000.parquet")).unwrap();
    edit_manifest(&dir, |m| {
        let mut train = m.splits["train"].clone();
        train.shards[0].file = "test-00000.parquet".into();
        m.splits.insert("test".into(), train);
    });
    let report = verify(&dir).unwrap();
    let schema: Vec<_> = report.findings.iter().filter(|f| f.kind == Schema).collect();
    assert!(schema[0].found.starts_with("its columns: "), "{schema:?}");
    assert!(schema[0].file == "test-00000.parquet", "{schema:?}");
}

#[test]
fn a_shard_is_held_against_its_sha256_and_its_items() {
    let (_keep, dir) = bank(BankSpec { layout: SMALL, ..Default::default() });
    let set_items = |shift: u64| {
        edit_manifest(&dir, |manifest| {
            for (shard, i) in manifest.splits.get_mut("train").unwrap().shards.iter_mut().zip(0..) {
                shard.items = Some([30 * i + shift, 30 * i + 30]);
            }
        });
    };
    set_items(0);
    assert_eq!(found(&dir), []);
    set_items(1);
    let findings = verify(&dir).unwrap().findings;
    assert_eq!(findings.len(), 5);
    let text = "train-00000.parquet, row group 0, row 0 (sample 0, view 0), column sample_id: \
                a row of another shard; expected those from sample 0, view 1 up to sample 15, view 0";
    assert_eq!(findings[0].to_string(), text);

    set_items(0);
    edit_manifest(&dir, |manifest| {
        let shard = &mut manifest.splits.get_mut("train").unwrap().shards[1];
        shard.sha256 = shard.sha256.chars().rev().collect();
    });
    let of_file = (FindingKind::Damaged, "train-00001.parquet".to_string(), String::new());
    assert_eq!(found(&dir), [of_file]);
}

#[test]
fn maps_are_there_where_the_manifest_says_so() {
    use FindingKind::Value;
    let of = |file: &str| (Value, file.to_string(), "feature_map".to_string());
    let without = |maps: MapsKept, edit: fn(&mut TrainRow)| {
        let (keep, dir) = bank(BankSpec { layout: SMALL, edit, ..Default::default() });
        edit_manifest(&dir, |manifest| manifest.maps = maps);
        (keep, dir)
    };
    let needed = |classes| MapsKept::Needed {
        head_ratio: 0.9,
        num_confusing: 2,
        generic_classes: GenericClasses::Confusing,
        other_views: 0,
        classes,
    };
    let clear: fn(&mut TrainRow) = |row| {
        if row.head.label == 0 {
            row.feature_map.clear();
        }
    };
    let (_keep, dir) = without(needed(vec![1, 2, 3]), clear);
    let report = verify(&dir).unwrap();
    assert_eq!((report.findings.len(), report.map_rows, report.recomputed_rows), (0, 58, 58));
    // Of the classes without maps fewer views are there than the manifest says, or more.
    let (_fewer, fewer) = without(needed(vec![1, 2, 3]), clear);
    edit_manifest(&fewer, |manifest| {
        if let MapsKept::Needed { other_views, .. } = &mut manifest.maps {
            *other_views = 1;
        }
    });
    assert!(found(&fewer).iter().all(|found| found.0 == FindingKind::Key));
    let told = verify_text(&verify(&fewer).unwrap());
    assert!(told.contains("an image with 2 views, the last 1; expected 1 view"), "{told}");
    // Rows are drawn so that about as many as asked for have a map.
    let options = VerifyOptions { sample: Sample::Rows(10) };
    let report = verify::run(&dir, &options, Watch::new(&Silent, &Interrupt::default())).unwrap();
    assert!((5..15).contains(&report.recomputed_rows), "{}", report.recomputed_rows);

    let (_keep, dir) = without(MapsKept::None, |row| row.feature_map.clear());
    assert_eq!(found(&dir), []);
    assert!(verify_text(&verify(&dir).unwrap()).contains("no training row has a map"));

    // Rows of class 0 are in the first three shards.
    let (_keep, dir) = without(MapsKept::All, clear);
    assert!(verify(&dir).unwrap().findings[0].to_string().contains("0 values; expected 48"));
    let found = found(&dir);
    assert!(found.len() == 8 && found[7] == of("train-00002.parquet"), "{found:?}");
    let (_keep, dir) = without(needed(vec![0, 1, 2]), |_| {});
    let findings = verify(&dir).unwrap().findings;
    assert!(findings[0].to_string().contains("48 values; expected 0"), "{findings:?}");
    assert_eq!(findings.iter().map(|finding| finding.rows).sum::<u64>(), 6);
}

/// Puts other classes into a bank, under checksums that fit them.
fn replace_classes(
    dir: &Path,
    names: [&str; 4],
    images: [u64; 4],
    head: &LinearHead,
    card: &[&str],
) {
    let strings = |of: &[&str]| of.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let (manifest, _) = Manifest::load(dir).unwrap();
    let Layout { compression_level, shard_bytes, .. } = Layout::default();
    let items = BTreeMap::new();
    let plan = BuildPlan { manifest, batch_size: 1, compression_level, shard_bytes, items };
    let build = Build::look(&dir.join("none"), plan, strings(&names), false).unwrap();
    let card = ClassifierCard { class_names: strings(card), ..Default::default() };
    let contents = [
        (CLASSIFIER_FILE, card.weights(&BankSpec::default().head(), []).to_bytes()),
        (CLASSES_FILE, build.classes_table(&images, head).unwrap()),
    ];
    for (name, content) in contents {
        fs::write(dir.join(name), &content).unwrap();
        let entry = FileEntry::of(&content);
        edit_manifest(dir, |manifest| {
            manifest.files.insert(name.into(), entry);
        });
    }
}

#[test]
fn classes_are_held_against_rows_and_classifier() {
    use FindingKind::{Classes, Value};
    let names = ["class 0", "class 1", "class 2", "class 3"];
    let (head, counts) = (BankSpec::default().head(), [40, 20, 6, 3]);
    let (_keep, dir) = bank(BankSpec::default());
    replace_classes(&dir, names, counts, &head, &names);
    assert_eq!(found(&dir), []);

    let classes = |column: &str| (Classes, CLASSES_FILE.to_string(), column.to_string());
    replace_classes(&dir, names, [40, 20, 6, 4], &head, &names);
    assert_eq!(found(&dir), [classes("train_images")]);
    let mut other = head.clone();
    other.weight[5] += 1.0;
    replace_classes(&dir, names, counts, &other, &names);
    assert_eq!(found(&dir), [classes("weight")]);
    other.weight[5] = head.weight[5];
    other.bias[1] += 1.0;
    replace_classes(&dir, names, counts, &other, &names);
    assert_eq!(found(&dir), [classes("bias")]);
    replace_classes(&dir, names, counts, &head, &["class 0", "class 2", "class 1", "class 3"]);
    assert_eq!(found(&dir), [classes("name")]);
    // The rows have names, too.
    replace_classes(&dir, ["a", "class 1", "class 2", "class 3"], counts, &head, &[]);
    let of_rows = |file: &str| (Value, file.to_string(), "class_name".to_string());
    assert_eq!(found(&dir), [of_rows("train-00000.parquet"), of_rows("test-00000.parquet")]);
}

#[test]
fn missing_cut_longer_and_swapped_files_are_named() {
    use FindingKind::{Damaged, Length, Missing};
    let (_keep, dir) = bank(BankSpec { layout: SMALL, val: true, ..Default::default() });
    let whole: BTreeMap<PathBuf, Vec<u8>> = by_path(&dir).into_iter().collect();
    let restore = || whole.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    let of = |kind, file: &str| (kind, file.to_string(), String::new());
    for path in whole.keys().filter(|path| !path.ends_with(MANIFEST_FILE)) {
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(found(&dir), [of(Missing, name)]);
        fs::write(path, &whole[path][..whole[path].len() - 9]).unwrap();
        assert_eq!(found(&dir), [of(Length, name)]);
        fs::write(path, [&whole[path][..], b"\n"].concat()).unwrap();
        assert_eq!(found(&dir), [of(Length, name)]);
        restore();
    }
    let [a, b] = ["train-00000.parquet", "train-00001.parquet"];
    fs::rename(dir.join(a), dir.join("a")).unwrap();
    fs::rename(dir.join(b), dir.join(a)).unwrap();
    fs::rename(dir.join("a"), dir.join(b)).unwrap();
    let found_kinds = found(&dir);
    let named =
        |(kind, file, _): &Place| [Length, Damaged].contains(kind) && (file == a || file == b);
    assert!(found_kinds.len() == 2 && found_kinds.iter().all(named), "{found_kinds:?}");
    restore();

    // Everything at once: all of it is told.
    fs::remove_file(dir.join(a)).unwrap();
    fs::remove_file(dir.join("val-00000.parquet")).unwrap();
    fs::write(dir.join(b), "").unwrap();
    let expected = [of(Missing, a), of(Length, b), of(Missing, "val-00000.parquet")];
    assert_eq!(found(&dir), expected);
}

#[test]
fn a_manifest_of_another_text_and_files_of_others_are_told() {
    let (_keep, dir) = bank(BankSpec::default());
    fs::write(dir.join(".train-00000.parquet.17.tmp"), "half").unwrap();
    fs::write(dir.join("readme"), "").unwrap();
    let report = verify(&dir).unwrap();
    assert!(report.verdict().is_ok());
    let notes: Vec<&str> = report.notes.iter().map(|note| note.file.as_str()).collect();
    assert_eq!(notes, [".train-00000.parquet.17.tmp", "readme"]);
    assert!(verify_text(&report).contains(".tmp: left by a run that was stopped"));

    let path = dir.join(MANIFEST_FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"crop_padding\": 4", "\"crop_padding\": 5")).unwrap();
    assert_eq!(found(&dir), [(FindingKind::Damaged, MANIFEST_FILE.into(), String::new())]);
    fs::write(&path, text.replace("\"crop_padding\": 4", "\"crop_padding\":  4")).unwrap();
    assert_eq!(found(&dir), [(FindingKind::Damaged, MANIFEST_FILE.into(), String::new())]);
    fs::remove_file(&path).unwrap();
    assert!(matches!(verify(&dir), Err(VerifyError::Bank(_))));
}

#[test]
fn the_report_does_not_depend_on_threads_and_an_interrupt_is_heard() {
    let edit = |row: &mut TrainRow| row.cam[0] += f32::from(row.head.sample_id.is_multiple_of(5));
    let (_keep, dir) = bank(BankSpec { layout: SMALL, edit, ..Default::default() });
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| verify(&dir).unwrap())
    };
    let report = on(1);
    assert!(report.findings.len() > 5);
    assert_eq!(on(4), report);

    let interrupt = Interrupt::default();
    interrupt.request();
    let stopped = verify::run(&dir, &VerifyOptions::default(), Watch::new(&Silent, &interrupt));
    assert!(matches!(stopped, Err(VerifyError::Interrupted { .. })));
}

#[test]
fn the_program_says_what_is_wrong_and_ends_with_3() {
    let (_keep, dir) = bank(BankSpec { layout: SMALL, ..Default::default() });
    let shards = dir.to_str().unwrap();
    let output = call(&["verify", shards, "--sample", "20"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.contains("10 files, 178 rows, ") && told.contains("every check passed"), "{told}");
    assert!(told.contains("  20 of 138 training rows with maps: pooled vector"), "{told}");

    let shard = dir.join("train-00001.parquet");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let output = call(&["verify", shards]);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stdout);
    assert!(told.contains("1 finding in 1 file"), "{told}");
    assert!(told.contains("train-00001.parquet, row group 0, column "), "{told}");
    let error = text(&output.stderr);
    assert!(error.contains("1 finding in 1 file\n  Restore what is damaged"), "{error}");

    let output = call(&["--json", "-q", "verify", shards]);
    assert_eq!(output.status.code(), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(finding["kind"], "damaged");
    assert_eq!(finding["file"], "train-00001.parquet");
    assert_eq!(finding["row_group"], 0);
    assert!(finding["bytes"][1].as_u64() > Some(100) && finding["row"].is_null(), "{json}");

    let output = call(&["verify", "/nonexistent-bank"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(call(&["verify", shards, "--sample", "some"]).status.code(), Some(2));
}
