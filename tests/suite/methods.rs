//! The methods of Phase-II against references in Python, on banks at the edge, and what none of
//! them may depend on.

use std::path::Path;
use std::process::Command;

use fsa_bank::bank::{Bank, Layout};
use fsa_bank::config::{FinetuneConfig, GenericClasses, Loss, MaskValues, Method};
use fsa_bank::domain::{ClassCounts, LinearHead, Split};
use fsa_bank::finetune::{FinetuneError, FinetuneOutcome, Selection, least_memory_bytes};
use fsa_bank::head_training::{Batch, Form, HeadTrainer, TrainerOptions};
use fsa_bank::methods::Batches;
use fsa_bank::rng::{KeyedRng, Stage};
use proptest::prelude::*;
use serde_json::json;

use crate::fixtures::{BankSpec, python};
use crate::support::phase2::{classifier, try_run};

fn settings(method: Method, iterations: usize) -> FinetuneConfig {
    FinetuneConfig { iterations, tail_per_batch: 3, ..FinetuneConfig::for_method(method) }
}

/// Whether a method needs the vectors of all rows in memory.
fn holds_rows(method: Method) -> bool {
    let making = method.batches().and_then(Batches::making);
    making.is_some_and(|making| making.held.is_some())
}

/// The result with as little memory as the method takes: the least of all or, where it needs the vectors
/// of all rows, as much more as holds them.
fn run_in_least_memory(
    bank: &Bank,
    config: &FinetuneConfig,
    selection: Selection,
) -> FinetuneOutcome {
    let (least, mut more) = (least_memory_bytes(bank, config), 0);
    loop {
        match try_run(bank.dir(), config.clone(), selection, least + more) {
            Err(FinetuneError::NeedsRows { .. }) if holds_rows(config.method) && more < 1 << 20 => {
                more += 1 << 10;
            }
            done => return done.unwrap_or_else(|error| panic!("{config:?}: {error}")),
        }
    }
}

fn check_methods(args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_methods.py");
    let output = Command::new(python()).arg(script).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// One case of `check_methods.py training`: a classifier trained for some steps on random batches.
fn training_case(config: &FinetuneConfig, counts: &[u64]) -> serde_json::Value {
    let (classes, channels, rows) = (counts.len(), 5, 12);
    let mut rng = KeyedRng::new(4, Stage::InitialWeights, (0, 0));
    let mut values = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
    let (start_weight, start_bias) = (values(classes * channels), values(classes));
    let head = LinearHead::new(start_weight.clone(), start_bias.clone()).unwrap();
    let options = TrainerOptions::new(config, &ClassCounts(counts.to_vec()));
    let form = match options.form {
        Form::Linear => "linear",
        Form::Cosine { .. } => "cosine",
        Form::Scaled { learn_weight: false } => "factors",
        Form::Scaled { learn_weight: true } => "scaled",
    };
    let mut trainer = HeadTrainer::new(&head, options);
    let mut batches = vec![];
    for step in 0..config.iterations {
        let mut vectors = values(rows * channels);
        for vector in vectors.chunks_mut(channels) {
            let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|v| *v /= length);
        }
        let labels: Vec<u32> = (0..rows).map(|r| ((r * 7 + step) % classes) as u32).collect();
        let mixed = config.method == Method::named("mixup");
        let weights: Vec<f32> =
            if mixed { (0..rows).map(|r| 0.25 + 0.5 * (r % 2) as f32).collect() } else { vec![] };
        trainer.step(Batch { vectors: &vectors, labels: &labels, weights: &weights });
        batches.push(json!({"vectors": vectors, "labels": labels, "weights": weights}));
    }
    let mut case = serde_json::to_value(config).unwrap();
    let trained = trainer.head();
    let more = json!({
        "name": format!("{} ({form})", config.title()), "form": form, "counts": counts,
        "start_weight": start_weight, "start_bias": start_bias, "batches": batches,
        "weight": trained.weight, "bias": trained.bias,
    });
    case.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    case
}

#[test]
fn training_agrees_with_numpy_for_every_method_and_loss() {
    let trained = Method::all().filter(|method| method.trains());
    let mut configs: Vec<FinetuneConfig> = trained.map(|method| settings(method, 5)).collect();
    configs.extend(
        Loss::all().map(|loss| FinetuneConfig { loss, ..settings(Method::named("fsa"), 5) }),
    );
    let cases: Vec<_> =
        configs.iter().map(|config| training_case(config, &[60, 25, 9, 2])).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cases.json");
    std::fs::write(&file, serde_json::to_string(&cases).unwrap()).unwrap();
    // For the same with PyTorch (`check_methods.py training CASES.json --torch`).
    if let Some(kept) = std::env::var_os("FSA_BANK_KEEP_CASES") {
        std::fs::copy(&file, kept).unwrap();
    }
    let said = check_methods(&["training", file.to_str().unwrap()]);
    assert!(said.contains(&format!("{} trained classifiers agree", cases.len())), "{said}");
}

#[test]
fn computed_classifiers_agree_with_numpy() {
    let dir = tempfile::tempdir().unwrap();
    let bank = BankSpec { val: true, ..Default::default() }.write(&dir.path().join("shards"));
    let mut results = vec![];
    for method in
        [Method::named("tau-norm"), Method::named("logit-adjustment"), Method::named("ncm")]
    {
        for (selection, tau) in [(Selection::None, 0.7), (Selection::Val, 1.0)] {
            let config = FinetuneConfig { tau, ..settings(method, 1) };
            let outcome = try_run(bank.dir(), config, selection, 1 << 30).unwrap();
            if selection == Selection::None && method != Method::named("ncm") {
                assert_eq!(outcome.report.chosen_tau, Some(0.7));
            }
            results.push(format!("{}={}", method.name(), outcome.folder.display()));
        }
    }
    let mut args = vec!["computed", bank.dir().to_str().unwrap()];
    args.extend(results.iter().map(String::as_str));
    assert!(check_methods(&args).contains("6 computed classifiers agree"));
}

#[test]
fn phase1_is_the_banks_classifier_and_tau_zero_changes_only_the_bias() {
    let dir = tempfile::tempdir().unwrap();
    let bank = BankSpec::default().write(&dir.path().join("shards"));
    let run = |method, tau| {
        let config = FinetuneConfig { tau, ..settings(method, 1) };
        let outcome = try_run(bank.dir(), config, Selection::None, 1 << 30).unwrap();
        let path = outcome.folder.join("classifier.safetensors");
        let weights = fsa_bank::weights::Weights::load(&path).unwrap();
        (weights.linear_head(4, 8, &path).unwrap(), outcome.report)
    };
    let (head, report) = run(Method::named("phase1"), 1.0);
    assert!(head == bank.head && report.before == report.after);
    assert_eq!(run(Method::named("logit-adjustment"), 0.0).0, bank.head);
    assert_eq!(run(Method::named("tau-norm"), 0.0).0.weight, bank.head.weight);
}

/// FSA's ablations and its combination with losses, besides every method.
fn all_settings(iterations: usize) -> Vec<FinetuneConfig> {
    let mut all: Vec<FinetuneConfig> =
        Method::all().map(|method| settings(method, iterations)).collect();
    let fsa = settings(Method::named("fsa"), iterations);
    all.push(FinetuneConfig { generic_classes: GenericClasses::Random, ..fsa.clone() });
    all.push(FinetuneConfig { generic_classes: GenericClasses::Head, ..fsa.clone() });
    all.push(FinetuneConfig { mask_values: MaskValues::Cam, ..fsa.clone() });
    all.push(FinetuneConfig { gamma_range: [0.5, 0.5], ..fsa.clone() });
    all.push(FinetuneConfig { loss: Loss::named("ldam-drw"), drw_start: 0.5, ..fsa });
    all
}

#[test]
fn no_method_depends_on_threads_memory_shards_or_row_order() {
    let held: Vec<&str> =
        Method::all().filter(|&method| holds_rows(method)).map(Method::name).collect();
    assert_eq!(held, ["smote", "tailcalib"]);
    let dir = tempfile::tempdir().unwrap();
    let small = Layout {
        shard_bytes: 4000,
        row_group_bytes: 1500,
        map_page_bytes: 400,
        ..Default::default()
    };
    let plain = BankSpec { val: true, ..Default::default() };
    let cut = BankSpec { val: true, layout: small, reversed: true, ..Default::default() };
    let banks = [(plain, "a"), (cut, "b")]
        .map(|(spec, name)| spec.write(&dir.path().join(name).join("shards")));
    for config in all_settings(12) {
        for selection in [Selection::None, Selection::Val] {
            let with =
                |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let in_plenty = |bank: &Bank| {
                classifier(&try_run(bank.dir(), config.clone(), selection, 1 << 30).unwrap())
            };
            let wanted = with(1).install(|| in_plenty(&banks[0]));
            assert!(with(3).install(|| in_plenty(&banks[1])) == wanted, "{config:?}");
            let least = with(2).install(|| run_in_least_memory(&banks[1], &config, selection));
            assert!(classifier(&least) == wanted, "{config:?} in the least memory");
        }
    }
}

#[test]
fn too_little_memory_is_refused_with_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let bank = BankSpec::default().write(&dir.path().join("shards"));
    let message = |error: Option<FinetuneError>| error.unwrap().to_string();
    let config = settings(Method::named("fsa"), 3);
    let found = message(try_run(bank.dir(), config, Selection::None, 1 << 20).err());
    assert!(found.contains("--memory 1MiB") && found.contains("at least"), "{found}");
    let smote = settings(Method::named("smote"), 3);
    let least = least_memory_bytes(&bank, &smote);
    let found = message(try_run(bank.dir(), smote, Selection::None, least).err());
    assert!(found.starts_with("smote:") && found.contains("--memory"), "{found}");
}

#[test]
fn a_choice_needs_images_that_phase1_never_saw_or_is_labelled() {
    let dir = tempfile::tempdir().unwrap();
    let without = BankSpec::default().write(&dir.path().join("a/shards"));
    let config = || settings(Method::named("no-aug"), 30);
    let refused = try_run(without.dir(), config(), Selection::Val, 1 << 30).err().unwrap();
    assert!(refused.to_string().contains("val_fraction"), "{refused}");
    let biased = try_run(without.dir(), config(), Selection::Train, 1 << 30).unwrap();
    let text = fsa_bank::report::finetune_text(&biased.report, false);
    assert!(text.contains("BIASED"), "{text}");
    let best = try_run(without.dir(), config(), Selection::Test, 1 << 30).unwrap();
    assert!(fsa_bank::report::finetune_text(&best.report, false).contains("BEST ON TEST"));

    let with = BankSpec { val: true, ..Default::default() }.write(&dir.path().join("b/shards"));
    let chosen = try_run(with.dir(), config(), Selection::Val, 1 << 30).unwrap().report;
    let points: Vec<f64> = chosen.curve.iter().filter_map(|p| p.selection_accuracy).collect();
    let best = points.iter().copied().fold(f64::MIN, f64::max);
    let first_best = points.iter().position(|&accuracy| accuracy == best).unwrap();
    assert_eq!(chosen.chosen_iteration, chosen.curve[first_best].iteration);
    assert!(points.len() > 1 && chosen.curve.last().unwrap().iteration == 30);
    assert!(with.has(Split::Val));
}

#[test]
fn diagnostics_are_json_lines_that_agree_with_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let bank = BankSpec::default().write(&dir.path().join("shards"));
    let config = settings(Method::named("fsa"), 40);
    let outcome = try_run(bank.dir(), config, Selection::None, 1 << 30).unwrap();
    let lines = |name: &str| -> Vec<serde_json::Value> {
        let path = outcome.folder.join("diagnostics").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap();
    let curve = lines("curve.jsonl");
    assert_eq!(curve.len(), 20);
    assert!(number(&curve[19], "loss") < number(&curve[0], "loss"));
    let confusing = lines("confusing.jsonl");
    let ranked: usize = outcome.report.confusing.iter().map(|c| c.ranked.len()).sum();
    assert_eq!(confusing.len(), ranked);
    let gamma: f64 = lines("gamma.jsonl").iter().map(|bin| number(bin, "fused_samples")).sum();
    assert_eq!(gamma, outcome.report.fallbacks.fused as f64);
    let lengths = lines("lengths.jsonl");
    let kinds: Vec<&str> = lengths.iter().map(|l| l["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["real head", "real tail", "made tail"]);
    assert!(lengths.iter().all(|l| number(l, "mean") > 0.0));
    let rows: f64 = lines("masks.jsonl").iter().map(|class| number(class, "rows")).sum();
    assert_eq!(rows, 2.0 * 69.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_method_works_on_any_small_bank(
        counts in proptest::collection::vec(1u64..9, 2..6),
        views in 1u32..3,
        num_confusing in 1usize..8,
        num_augmented in 0usize..4,
        head_ratio in 0.2f64..0.99,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let shards = dir.path().join("shards");
        let bank = BankSpec { counts, views, ..Default::default() }.write(&shards);
        let no_tail = bank.class_counts.split(head_ratio).tail.is_empty();
        for config in all_settings(4) {
            let config = FinetuneConfig { num_confusing, num_augmented, head_ratio, ..config };
            let batches = config.method.batches();
            let divides = batches.is_some_and(Batches::divide_head_and_tail);
            match (try_run(&shards, config.clone(), Selection::None, 1 << 30), no_tail && divides) {
                (Err(FinetuneError::NoTail { .. }), true) => {}
                (Ok(outcome), false) => {
                    let accuracy = &outcome.report.after.accuracy;
                    prop_assert!(accuracy.top1.is_finite() && accuracy.ece.unwrap() <= 100.0);
                    let wanted = classifier(&outcome);
                    let found = run_in_least_memory(&bank, &config, Selection::None);
                    prop_assert!(classifier(&found) == wanted, "{:?}", config);
                }
                (other, _) => {
                    let found = other.err().map_or("a result".into(), |e| e.to_string());
                    return Err(TestCaseError::fail(format!("{config:?}: {found}")));
                }
            }
        }
    }
}
