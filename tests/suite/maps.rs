//! Banks that keep some maps or none: what they hold, what can be done with them, and what is said where
//! a map is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use fsa_bank::bank::{
    Bank, BankError, Build, BuildPlan, Column, Layout, Manifest, MapsKept, TrainRow,
};
use fsa_bank::compare::{self, CompareRequest};
use fsa_bank::config::{FinetuneConfig, GenericClasses, KeepMaps, Method, load};
use fsa_bank::dataset::{Dataset, Skipped};
use fsa_bank::domain::{FitOptions, Split};
use fsa_bank::features::{
    self, FeaturesError, FeaturesOutcome, FeaturesRequest, FrozenModel, HeadSource, RepairOutcome,
};
use fsa_bank::finetune::{
    self, FinetuneError, FinetuneRequest, MapNeed, Report, Selection, least_memory_bytes,
};
use fsa_bank::inspect::summarise;
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::report::summary_text;

use fsa_bank::verify::{self, Sample, VerifyOptions};

use crate::fake_engine::FakeEngine;
use crate::fixtures::{BankSpec, folder_pipeline, image_folder, python};
use crate::support::files::shards;
use crate::support::program::{call, text};
use crate::support::progress::Watcher;
use crate::support::run::{Run, choose, engine_options};

/// Of eight classes, the last five of which look alike.
const COUNTS: [usize; 8] = [30, 20, 12, 8, 5, 4, 3, 2];
const SETTINGS: [&str; 3] =
    ["finetune.head_ratio=0.85", "finetune.num_confusing=2", "features.shard_bytes=65536"];

/// A trained network over images of classes of these sizes; `broken` of them are no images.
fn trained(counts: &[usize], settings: &[&str], broken: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    image_folder(&dir.path().join("images"), counts);
    for image in broken {
        std::fs::write(dir.path().join("images").join(image), "no image").unwrap();
    }
    let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
    let loaded = load(&folder_pipeline(dir.path()), &settings).unwrap();
    let mut run = Run { dir, dataset: Dataset::open(&loaded.pipeline.dataset).unwrap(), loaded };
    forget_skipped(&mut run);
    run.train(false, &Silent, &Interrupt::default()).unwrap();
    run
}

/// As a program that is started again: it knows of no image that cannot be decoded.
fn forget_skipped(run: &mut Run) {
    run.dataset.skipped = Skipped::at_most(0.1);
}

fn fitted() -> Option<HeadSource> {
    Some(HeadSource::Fitted(FitOptions { epochs: 5, weight_decay: 1e-4, seed: 0 }))
}

/// Makes a bank that keeps `maps`, in a folder of its own.
fn make(run: &mut Run, maps: KeepMaps, head: Option<HeadSource>) -> (PathBuf, FeaturesOutcome) {
    forget_skipped(run);
    run.loaded.pipeline.features.maps = maps;
    let made = run.features_with(head, &Silent, &Interrupt::default()).unwrap();
    let place = run.path().join(format!("{maps:?}/shards"));
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::rename(&made.bank, &place).unwrap();
    (place, made)
}

fn try_finetune(bank: &Path, config: FinetuneConfig) -> Result<(Report, Vec<u8>), FinetuneError> {
    let request = FinetuneRequest {
        bank,
        config,
        seed: 3,
        selection: Selection::None,
        out: None,
        overwrite: true,
        memory_bytes: 1 << 30,
    };
    let outcome = finetune::run(&request, Watch::new(&Silent, &Interrupt::default()))?;
    let classifier = std::fs::read(outcome.folder.join("classifier.safetensors")).unwrap();
    Ok((outcome.report, classifier))
}

fn classes_of(bank: &Bank) -> Vec<u32> {
    match &bank.manifest.maps {
        MapsKept::Needed { classes, .. } => classes.clone(),
        other => panic!("{other:?}"),
    }
}

/// Classes in the tail or confused with one of it, as Phase-II has found them.
fn drawn_classes(report: &Report) -> Vec<u32> {
    let ranked = report.confusing.iter().flat_map(|of_class| &of_class.ranked);
    let mut classes: Vec<u32> =
        report.split.tail.iter().chain(ranked.map(|(class, _)| class)).map(|c| c.0).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// The map of each row; `None` where it is refused.
fn maps(bank: &Bank) -> Vec<Option<Vec<f32>>> {
    let index = bank.index(Split::Train).unwrap();
    let reader = bank.row_reader(Split::Train).unwrap();
    let map = |row| {
        let mut map = None;
        let read = reader.read(&index.plan(&[row])[0], &[Column::FeatureMap], |_, values| {
            map = Some(values.map.to_vec());
        });
        match read {
            Ok(()) => map,
            Err(BankError::NoMap { class, .. }) => {
                assert_eq!((class, map), (index.labels[row], None));
                None
            }
            Err(e) => panic!("{e}"),
        }
    };
    (0..index.len()).map(map).collect()
}

/// Every byte and value of a bank is as it should be, and as many rows have a map.
fn assert_holds(bank: &Path, with_maps: u64) {
    let options = VerifyOptions { sample: Sample::All };
    let report = verify::run(bank, &options, Watch::new(&Silent, &Interrupt::default())).unwrap();
    assert_eq!((report.findings, report.recomputed_rows), (vec![], with_maps));
}

/// Compares a bank of some maps with one of all: the same rows, the maps where they should be, and the
/// same FSA.
fn check_needed(all: &Path, needed: &Path, config: &FinetuneConfig) {
    let (all, needed) = (Bank::open(all).unwrap(), Bank::open(needed).unwrap());
    let rows = [&all, &needed].map(|bank| bank.rows(Split::Train).unwrap());
    assert_eq!(rows[0].index.labels, rows[1].index.labels);
    assert_eq!((&rows[0].pooled, &rows[0].cam), (&rows[1].pooled, &rows[1].cam));
    assert_eq!(rows[0].nonzero, rows[1].nonzero);
    let (report, wanted) = try_finetune(all.dir(), config.clone()).unwrap();
    let classes = classes_of(&needed);
    assert_eq!(classes, drawn_classes(&report));
    assert!(!classes.is_empty() && classes.len() < all.class_names.len(), "{classes:?}");
    let mut with_maps = 0;
    for (row, (of_all, of_needed)) in maps(&all).into_iter().zip(maps(&needed)).enumerate() {
        let kept = classes.contains(&rows[0].index.labels[row]);
        assert_eq!(of_needed, of_all.filter(|_| kept), "row {row}");
        with_maps += u64::from(kept);
    }
    assert_eq!(needed.map_rows(), with_maps);
    assert_holds(needed.dir(), with_maps);
    assert!(needed.manifest.total_bytes() < all.manifest.total_bytes());
    let (report, found) = try_finetune(needed.dir(), config.clone()).unwrap();
    assert_eq!(drawn_classes(&report), classes);
    assert!(found == wanted, "another classifier");
}

/// Makes files of a bank again.
fn repair(run: &Run, bank: &Path, damaged: &[String]) -> RepairOutcome {
    let (loaded, dataset, go) = (&run.loaded, &run.dataset, Interrupt::default());
    let network = choose(loaded, dataset, run.path(), false, &Silent, &go).unwrap();
    let model =
        FrozenModel::torch(&network, loaded, dataset, None, &FakeEngine, engine_options()).unwrap();
    let request = FeaturesRequest {
        loaded,
        dataset,
        out: bank,
        overwrite: false,
        partition: None,
        make_in_processes: None,
        measure_forward: false,
        free_bytes: &fsa_bank::disk::free_bytes,
    };
    features::repair(&request, model, damaged, Watch::new(&Silent, &go)).unwrap()
}

/// Readers of their own find what the columns promise, in the rows that have a map.
fn others_read(bank: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_bank.py");
    let output = Command::new(python()).arg(script).arg(bank).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_maps_that_fsa_draws_from_are_kept_and_it_ends_with_the_same_classifier() {
    let mut run = trained(&COUNTS, &SETTINGS, &[]);
    let all = make(&mut run, KeepMaps::All, None).0;
    let needed = make(&mut run, KeepMaps::Needed, None).0;
    check_needed(&all, &needed, &run.loaded.pipeline.finetune);
    for bank in [&all, &needed] {
        assert!(others_read(bank).contains("counts and pandas agree"));
    }
    assert!(Bank::open(&needed).unwrap().manifest.splits["train"].shards.len() > 1);

    // A shard that is made again has the same maps, whatever the pipeline says by now.
    run.loaded.pipeline.features.maps = KeepMaps::All;
    let whole = shards(&needed);
    let (name, shard) = (whole[1].0.clone(), needed.join(&whole[1].0));
    std::fs::remove_file(&shard).unwrap();
    assert_eq!(repair(&run, &needed, std::slice::from_ref(&name)).restored, [name]);
    assert!(shards(&needed) == whole);

    // Head classes alone may give class-generic vectors.
    run.loaded.pipeline.finetune.generic_classes = GenericClasses::Head;
    std::fs::remove_dir_all(&needed).unwrap();
    let needed = make(&mut run, KeepMaps::Needed, None).0;
    check_needed(&all, &needed, &run.loaded.pipeline.finetune);
}

/// More views of the classes that fusion draws from than of the others.
#[test]
fn classes_without_maps_may_have_fewer_views() {
    let mut run = trained(&COUNTS, &[&SETTINGS[..], &["features.views=3"]].concat(), &[]);
    let all = make(&mut run, KeepMaps::All, None).0;
    run.loaded.pipeline.features.other_views = 1;
    for (head, folder) in [(None, "given"), (fitted(), "fitted")] {
        let is_fitted = head.is_some();
        let (place, made) = make(&mut run, KeepMaps::Needed, head);
        let place = {
            let own = run.path().join(folder);
            std::fs::rename(place.parent().unwrap(), &own).unwrap();
            own.join("shards")
        };
        let banks = [&all, &place].map(|bank| Bank::open(bank).unwrap());
        let rows = banks.each_ref().map(|bank| bank.rows(Split::Train).unwrap());
        let classes = classes_of(&banks[1]);
        let index = &rows[0].index;
        let expected: Vec<usize> = (0..index.len())
            .filter(|&row| index.views[row] == 0 || classes.contains(&index.labels[row]))
            .collect();
        assert!(expected.len() < index.len() && made.rows > expected.len() as u64);
        let pick = |of: &[u32]| expected.iter().map(|&row| of[row]).collect::<Vec<_>>();
        assert_eq!(pick(&index.sample_ids), rows[1].index.sample_ids);
        assert_eq!(pick(&index.views), rows[1].index.views);
        let pooled = expected.iter().flat_map(|&row| rows[0].pooled_of(row)).copied();
        assert_eq!(pooled.collect::<Vec<_>>(), rows[1].pooled);
        assert_eq!(banks[0].class_counts, banks[1].class_counts);
        assert_holds(&place, banks[1].map_rows());
        if is_fitted {
            continue;
        }
        assert!(others_read(&place).contains("counts and pandas agree"));
        for method in [Method::named("fsa"), Method::named("focal"), Method::named("smote")] {
            let config =
                FinetuneConfig { iterations: 10, method, ..run.loaded.pipeline.finetune.clone() };
            assert!(try_finetune(&place, config).is_ok());
        }
        // A shard that is made again has the same rows.
        let whole = shards(&place);
        let name = whole[1].0.clone();
        std::fs::remove_file(place.join(&name)).unwrap();
        assert_eq!(repair(&run, &place, std::slice::from_ref(&name)).restored, [name]);
        assert!(shards(&place) == whole);
        let shown =
            summary_text(&summarise(&banks[1], &run.loaded.pipeline.finetune, 1 << 30).unwrap());
        assert!(shown.contains("84 images x 3 views (other classes 1) = "), "{shown}");
        assert!(shown.contains("(--maps needed), 1 view of other classes: "), "{shown}");
    }
}

#[test]
fn where_any_class_may_be_drawn_all_maps_are_kept() {
    let settings = [&SETTINGS[..], &["finetune.generic_classes=random"]].concat();
    let mut run = trained(&COUNTS, &settings, &[]);
    run.loaded.pipeline.features.maps = KeepMaps::Needed;
    let begun = Watcher::default();
    let made = run.features_with(None, &begun, &Interrupt::default()).unwrap();
    assert!(!begun.has_begun("tail images"));
    let bank = Bank::open(&made.bank).unwrap();
    assert_eq!(bank.map_rows(), bank.manifest.splits["train"].rows);
    let config = &run.loaded.pipeline.finetune;
    assert!(try_finetune(&made.bank, config.clone()).is_ok());
}

#[test]
fn a_fitted_classifier_says_which_maps_are_kept() {
    let mut run = trained(&COUNTS, &SETTINGS, &[]);
    let all = make(&mut run, KeepMaps::All, fitted()).0;
    let needed = make(&mut run, KeepMaps::Needed, fitted()).0;
    check_needed(&all, &needed, &run.loaded.pipeline.finetune);
    assert!(!run.path().join("shards.unfitted").exists());
}

#[test]
fn tail_images_that_cannot_be_decoded_move_the_tail_as_they_do_in_the_bank() {
    // 41 of 43 images are in the first three classes; without one of the last class, the first two are
    // enough, so that the third is in the tail as well.
    let settings = ["finetune.head_ratio=0.84", "finetune.num_confusing=1"];
    let mut run = trained(&[24, 12, 5, 2], &settings, &["train/colour-3/000.png"]);
    let banks = [KeepMaps::All, KeepMaps::Needed].map(|maps| {
        let (place, made) = make(&mut run, maps, None);
        assert_eq!(made.skipped.images, 1);
        place
    });
    let bank = Bank::open(&banks[1]).unwrap();
    assert_eq!(bank.class_counts.0, [24, 12, 5, 1]);
    assert!(classes_of(&bank).ends_with(&[2, 3]), "{:?}", bank.manifest.maps);
    check_needed(&banks[0], &banks[1], &run.loaded.pipeline.finetune);
}

#[test]
fn the_plan_that_is_there_says_which_maps_are_kept() {
    let mut run = trained(&COUNTS, &SETTINGS, &[]);
    run.loaded.pipeline.features.maps = KeepMaps::Needed;
    let stop = Interrupt::default();
    let stopped = run.features_with(None, &Watcher::stopping_at("tail images", &stop), &stop);
    assert!(matches!(stopped, Err(FeaturesError::InterruptedNeeded)));
    let plan = run.path().join("shards.partial/plan.json");
    assert!(!plan.exists());
    let stop = Interrupt::default();
    let stopped = run.features_with(None, &Watcher::stopping_at("feature maps", &stop), &stop);
    assert!(matches!(stopped, Err(FeaturesError::Interrupted { .. })));

    // As if another worker had found more classes.
    let written = std::fs::read_to_string(&plan).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&written).unwrap();
    let classes = &mut json["manifest"]["maps"]["classes"];
    let mut expected: Vec<u32> = serde_json::from_value(classes.clone()).unwrap();
    expected.push((0..8).find(|class| !expected.contains(class)).unwrap());
    expected.sort_unstable();
    *classes = serde_json::to_value(&expected).unwrap();
    std::fs::write(&plan, json.to_string()).unwrap();
    let begun = Watcher::default();
    let go = Interrupt::default();
    let made = run.features_with(None, &begun, &go).unwrap();
    assert!(!begun.has_begun("tail images"));
    let bank = Bank::open(&made.bank).unwrap();
    assert_eq!(classes_of(&bank), expected);
    assert!(maps(&bank).iter().flatten().count() as u64 == bank.map_rows());
    assert!(run.features_with(None, &Silent, &go).unwrap().already_done);

    // Other maps are another bank, and the message names the setting.
    let refused = |run: &Run| run.features(&Interrupt::default()).unwrap_err().to_string();
    run.loaded.pipeline.finetune.head_ratio = 0.5;
    assert!(refused(&run).contains("finetune.head_ratio is 0.85, not 0.5"), "{}", refused(&run));
    run.loaded.pipeline.features.maps = KeepMaps::All;
    assert!(refused(&run).contains("features.maps is needed, not all"), "{}", refused(&run));
}

/// Two workers that begin at once may find other classes, on machines that compute a little differently.
#[test]
fn whoever_begins_a_bank_second_keeps_the_maps_that_the_first_one_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let written = BankSpec::default().write(&dir.path().join("other")).manifest;
    let plan = |classes: &[u32]| BuildPlan {
        manifest: Manifest { maps: needed(classes), ..written.clone() },
        batch_size: 8,
        compression_level: 1,
        shard_bytes: 1 << 20,
        items: [("train".to_string(), 69), ("test".to_string(), 40)].into(),
    };
    let bank = dir.path().join("shards");
    let begin = |classes: &[u32]| Build::begin(&bank, plan(classes), vec![], b"", false).unwrap();
    let begun = [begin(&[1, 3]), begin(&[2, 3])];
    assert!(begun.iter().all(|build| build.plan == plan(&[1, 3])));
    assert_eq!(begun[0].plan.config_sha256(), begun[1].plan.config_sha256());
    assert_ne!(begun[0].plan.config_sha256(), plan(&[2, 3]).config_sha256());
}

#[test]
fn a_bank_without_maps_serves_the_methods_that_take_pooled_vectors() {
    let mut run = trained(&COUNTS, &SETTINGS, &[]);
    let all = make(&mut run, KeepMaps::All, None).0;
    let none = make(&mut run, KeepMaps::None, None).0;
    let bank = Bank::open(&none).unwrap();
    assert_eq!((bank.map_rows(), maps(&bank).iter().flatten().count()), (0, 0));
    assert_holds(&none, 0);
    let config = |method| FinetuneConfig { iterations: 10, ..FinetuneConfig::for_method(method) };
    for method in Method::all().filter(|&method| method != Method::named("fsa")) {
        let made = [&all, &none].map(|bank| try_finetune(bank, config(method)).unwrap().1);
        assert!(made[0] == made[1], "{method:?}");
    }
    let refused = try_finetune(&none, config(Method::named("fsa"))).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("fsa draws from maps; this bank keeps no maps (--maps none)\n")
    );
    let request = CompareRequest {
        bank: &none,
        configs: [Method::named("fsa"), Method::named("crt")].map(config).to_vec(),
        seeds: 2,
        selection: None,
        out: None,
        memory_bytes: 1 << 30,
    };
    let table =
        compare::run(&request, Watch::new(&Silent, &Interrupt::default())).unwrap().comparison;
    let failed = table.rows[0].failed.as_deref().unwrap();
    assert!(failed.contains("fsa draws from maps; this bank keeps no maps"), "{failed}");
    assert_eq!((table.rows[1].failed.as_ref(), table.rows[1].runs.len()), (None, 2));
    let shown = summary_text(&summarise(&bank, &FinetuneConfig::default(), 1 << 30).unwrap());
    assert!(shown.contains("  kept         no maps (--maps none)\n"), "{shown}");
}

/// The maps of these classes.
fn needed(classes: &[u32]) -> MapsKept {
    MapsKept::Needed {
        head_ratio: 0.9,
        num_confusing: 1,
        generic_classes: GenericClasses::Confusing,
        other_views: 0,
        classes: classes.to_vec(),
    }
}

/// A bank of seven classes: the tail at 0.9 is the last three.
fn spec() -> BankSpec {
    // A map is 192 bytes: 3 maps a page, 10 a row group, so that some groups have no map and some pages a
    // part of them.
    let (row_group_bytes, map_page_bytes) = (1920, 600);
    let layout =
        Layout { shard_bytes: 5760, row_group_bytes, map_page_bytes, ..Default::default() };
    BankSpec { counts: vec![40, 20, 6, 5, 4, 3, 2], layout, ..Default::default() }
}

fn settings(head_ratio: f64, num_confusing: usize) -> FinetuneConfig {
    FinetuneConfig {
        head_ratio,
        num_confusing,
        num_augmented: num_confusing,
        iterations: 12,
        tail_per_batch: 3,
        ..Default::default()
    }
}

/// A bank with all maps, and the same with those that these settings need.
fn banks(dir: &Path, wanted: &FinetuneConfig) -> [PathBuf; 2] {
    let places = ["all", "needed"].map(|name| dir.join(name).join("shards"));
    spec().write(&places[0]);
    let classes = drawn_classes(&try_finetune(&places[0], wanted.clone()).unwrap().0);
    assert!(classes.len() < 7, "{classes:?}");
    let &FinetuneConfig { head_ratio, num_confusing, generic_classes, .. } = wanted;
    let other_views = 0;
    let maps =
        MapsKept::Needed { head_ratio, num_confusing, generic_classes, other_views, classes };
    BankSpec { maps, ..spec() }.write(&places[1]);
    places
}

#[test]
fn settings_that_need_other_maps_are_refused_before_a_run_begins() {
    let dir = tempfile::tempdir().unwrap();
    let [all, needed] = banks(dir.path(), &settings(0.9, 2));
    let refused = |config| match try_finetune(&needed, config).unwrap_err() {
        FinetuneError::MissingMaps(missing) => *missing,
        other => panic!("{other}"),
    };
    let missing = refused(settings(0.6, 2));
    assert_eq!(missing.need, MapNeed::Tail { head_ratio: 0.6 });
    let said = missing.to_string();
    let class = &missing.class;
    assert_eq!(
        said,
        format!(
            "class `{class}` is in the tail with head_ratio 0.6; this bank keeps maps for head_ratio 0.9, num_confusing 2 (--maps needed)\n  Use these settings, or make the bank again with `fsa-bank features --maps all --overwrite`."
        )
    );
    let missing = refused(settings(0.9, 6));
    assert!(matches!(missing.need, MapNeed::Confusing { num_confusing: 6, .. }), "{missing}");
    assert!(missing.to_string().contains(" is one of the 6 classes that `"), "{missing}");
    let random = FinetuneConfig { generic_classes: GenericClasses::Random, ..settings(0.9, 2) };
    let missing = refused(random);
    assert!(missing.need == MapNeed::Random && !missing.same_settings);

    // A smaller tail and fewer confusing classes need no other maps.
    for config in [settings(0.9, 2), settings(0.95, 2), settings(0.9, 1), settings(0.95, 1)] {
        let made = [&all, &needed].map(|bank| try_finetune(bank, config.clone()).unwrap().1);
        assert!(made[0] == made[1], "{config:?}");
    }

    let (bank, out) = (needed.to_str().unwrap(), dir.path().join("result"));
    let out_flag = out.to_str().unwrap();
    let output = call(&["finetune", bank, "--head-ratio", "0.6", "--out", out_flag]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is in the tail with head_ratio 0.6"));
    assert!(!out.exists());
}

#[test]
fn the_maps_of_some_classes_are_held_or_streamed_with_the_same_result() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(0.9, 2);
    let [all, needed] = banks(dir.path(), &config);
    let least = least_memory_bytes(&Bank::open(&needed).unwrap(), &config);
    assert!(least < least_memory_bytes(&Bank::open(&all).unwrap(), &config));
    // Two settings that draw apart from each other hold all the maps that there are.
    let other = FinetuneConfig { tau_specific: 0.6, ..config.clone() };
    let scores = |bank: &Path, memory_bytes| {
        let request = CompareRequest {
            bank,
            configs: vec![config.clone(), other.clone()],
            seeds: 2,
            selection: None,
            out: None,
            memory_bytes,
        };
        let table = compare::run(&request, Watch::new(&Silent, &Interrupt::default()))?.comparison;
        let runs = table.rows.into_iter().flat_map(|row| row.runs);
        Ok::<_, FinetuneError>(runs.map(|run| run.score).collect::<Vec<_>>())
    };
    let wanted = scores(&all, 1 << 30).unwrap();
    assert_eq!(wanted.len(), 4);
    assert_eq!(scores(&needed, 1 << 30).unwrap(), wanted);
    // With the least memory nothing is held.
    let mut limit = 0;
    let streamed = loop {
        match scores(&needed, limit) {
            Err(FinetuneError::Memory { least, .. }) => limit = least,
            made => break made.unwrap(),
        }
    };
    assert_eq!(streamed, wanted);
}

#[test]
fn inspect_says_which_maps_are_kept_and_counts_those() {
    let dir = tempfile::tempdir().unwrap();
    let [_, needed] = banks(dir.path(), &settings(0.9, 1));
    let bank = Bank::open(&needed).unwrap();
    let summary = summarise(&bank, &settings(0.9, 1), 1 << 30).unwrap();
    assert_eq!((summary.map_rows, bank.map_rows()), (bank.map_rows(), summary.map_rows));
    assert_eq!(summary.map_bytes, summary.map_rows * 4 * 48);
    let shown = summary_text(&summary);
    let kept = classes_of(&bank);
    let (rows, classes) = (summary.map_rows, kept.len());
    let line = format!(
        "kept         maps for head_ratio 0.9, num_confusing 1 (--maps needed): {rows} rows of {classes} classes, in f16"
    );
    assert!(shown.contains(&line) && shown.contains("with maps"), "{shown}");
    assert!(rows < bank.manifest.splits["train"].rows);
}

#[test]
fn a_row_without_the_map_it_must_have_is_an_error_and_so_is_one_too_many() {
    type Edit = fn(&mut TrainRow);
    let lost: Edit = |row| {
        if row.head.sample_id == 63 {
            row.feature_map.clear();
        }
    };
    let more: Edit = |row| {
        if row.head.sample_id == 1 {
            row.feature_map = vec![0.0; 48];
        }
    };
    // Samples 60 to 65 are of class 2, the first 40 of class 0.
    let cases = [
        (needed(&[2]), lost, "a row of class 2 without a map in row group 0"),
        (needed(&[2]), more, "a map in a row of class 0, of which none are kept in row group 0"),
        (MapsKept::None, more, "a map in a row of class 0, of which none are kept"),
        (MapsKept::All, lost, "a row without a map in row group 0"),
    ];
    for (maps, edit, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let bank = BankSpec { maps, edit, ..Default::default() }.write(dir.path());
        let index = bank.index(Split::Train).unwrap();
        let reader = bank.row_reader(Split::Train).unwrap();
        let sample = if expected.contains("class 0") { 1 } else { 63 };
        let row = index.sample_ids.iter().position(|&id| id == sample).unwrap();
        let read = reader.read(&index.plan(&[row])[0], &[Column::FeatureMap], |_, _| {});
        let Err(e @ BankError::Content { .. }) = read else { panic!("{expected}: {read:?}") };
        assert!(e.to_string().contains(expected), "{e}");
        // A run that draws from it ends there.
        if bank.manifest.maps.is_all() {
            let config = FinetuneConfig { head_ratio: 0.8, iterations: 20, ..Default::default() };
            let ended = try_finetune(dir.path(), config).unwrap_err();
            assert!(matches!(ended, FinetuneError::Bank(BankError::Content { .. })), "{ended}");
        }
    }
    for classes in [&[2, 1][..], &[1, 1], &[4]] {
        let dir = tempfile::tempdir().unwrap();
        BankSpec { maps: needed(&[]), ..Default::default() }.write(dir.path());
        let (mut manifest, _) = Manifest::load(dir.path()).unwrap();
        manifest.maps = needed(classes);
        manifest.save(dir.path()).unwrap();
        let refused = Bank::open(dir.path()).err().unwrap();
        assert!(matches!(refused, BankError::Manifest { .. }), "{refused}");
        assert!(refused.to_string().contains("maps.classes"), "{refused}");
    }
}
