//! Phase-II on small banks: against a plain re-computation, and what the result may not depend on.

use fsa_bank::augment::{self, Mask, confusing_classes, draw_locations};
use fsa_bank::bank::{Bank, Column, Layout, Rows, TrainRow};
use fsa_bank::config::{FinetuneConfig, Method, Sampling};
use fsa_bank::domain::{ClassId, FeatureShape, LinearHead, Split};
use fsa_bank::finetune::{
    self, Fallbacks, FinetuneError, FinetuneOutcome, FinetuneRequest, Selection, least_memory_bytes,
};
use fsa_bank::head_training::{Batch, HeadTrainer, TrainerOptions};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::sampler::{BatchPlan, BatchSampler, Population, Sample};
use proptest::prelude::*;

use crate::fixtures::BankSpec;
use crate::support::phase2::{classifier, try_run};

fn config(iterations: usize) -> FinetuneConfig {
    FinetuneConfig { iterations, tail_per_batch: 4, learning_rate: 0.02, ..Default::default() }
}

/// Row of a sample in [`Rows`] → its map, read through the bank.
fn all_maps(bank: &Bank, rows: &Rows) -> Vec<Vec<f32>> {
    let mut maps = vec![vec![]; rows.len()];
    let wanted: Vec<usize> = (0..rows.len()).collect();
    let reader = bank.row_reader(Split::Train).unwrap();
    for request in rows.index.plan(&wanted) {
        let take = |row: usize, values: fsa_bank::bank::RowValues<'_>| {
            maps[row] = values.map.to_vec();
        };
        reader.read(&request, &[Column::FeatureMap], take).unwrap();
    }
    maps
}

/// Phase-II written out the slow way: one fused map at a time, location by location; and how often masks
/// were empty.
fn plain_phase2(bank: &Bank, config: &FinetuneConfig, seed: u64) -> (LinearHead, Fallbacks) {
    let mut fallbacks = Fallbacks::default();
    let rows = bank.rows(Split::Train).unwrap();
    let maps = all_maps(bank, &rows);
    let split = bank.class_counts.split(config.head_ratio);
    let (channels, locations) =
        (bank.manifest.feature_shape.channels, bank.manifest.feature_shape.locations());
    let mut confusing = vec![vec![]; bank.class_names.len()];
    for &class in &split.tail {
        let clean: Vec<f32> = (0..rows.len())
            .filter(|&r| rows.index.labels[r] == class.0 && rows.index.views[r] == 0)
            .flat_map(|r| rows.pooled_of(r).to_vec())
            .collect();
        let ranked = confusing_classes(class, &clean, &bank.head, config.num_confusing).ranked;
        confusing[class.index()] = ranked.into_iter().map(|(c, _)| c).collect::<Vec<ClassId>>();
    }
    let population = Population {
        labels: &rows.index.labels,
        images: None,
        split: &split,
        generic: &confusing,
        maker: None,
    };
    let sampler = BatchSampler::new(config, seed, &population);
    let options = TrainerOptions::new(config, &bank.class_counts);
    let mut trainer = HeadTrainer::new(&bank.head, options);
    for iteration in 0..config.iterations {
        let plan = sampler.batch(iteration);
        let (mut vectors, mut labels) = (vec![], vec![]);
        let mut add = |vector: &[f32], label: u32| {
            vectors.extend_from_slice(vector);
            labels.push(label);
        };
        let fused_first = plan.samples.iter().position(|s| !matches!(s, Sample::Real(_)));
        let fused_first = fused_first.unwrap_or(plan.samples.len());
        let real = |samples: &[Sample]| -> Vec<usize> {
            let row =
                |s: &Sample| if let Sample::Real(row) = s { Some(*row as usize) } else { None };
            samples.iter().filter_map(row).collect()
        };
        for row in real(&plan.samples[..fused_first]) {
            add(rows.pooled_of(row), rows.index.labels[row]);
        }
        for (slot, fused) in BatchPlan::fused(&plan).enumerate() {
            let (tail, generic) = (fused.tail_row as usize, fused.generic_row as usize);
            let s = Mask::specific(rows.cam_of(tail), rows.nonzero_of(tail), config.tau_specific);
            let g =
                Mask::generic(rows.cam_of(generic), rows.nonzero_of(generic), config.tau_generic);
            let wanted = (fused.gamma * locations as f64).round() as usize;
            fallbacks.fused += 1;
            match (s.is_empty(), g.is_empty()) {
                (true, true) => fallbacks.neither += 1,
                (true, false) => fallbacks.no_specific += 1,
                (false, true) => fallbacks.no_generic += 1,
                (false, false) => {}
            }
            let from_tail = if s.is_empty() {
                0
            } else if g.is_empty() {
                locations
            } else {
                wanted
            };
            let from_generic = if g.is_empty() { 0 } else { locations - from_tail };
            let mut fused_map = vec![];
            for (mask, draws, stage, map) in [
                (&s, from_tail, Stage::SpecificLocations, &maps[tail]),
                (&g, from_generic, Stage::GenericLocations, &maps[generic]),
            ] {
                let mut counts = vec![0.0; locations];
                let mut rng = KeyedRng::new(seed, stage, (iteration as u64, slot as u64));
                draw_locations(mask, draws, &mut rng, &mut counts);
                for (l, &n) in counts.iter().enumerate() {
                    (0..n as usize).for_each(|_| {
                        fused_map.extend_from_slice(&map[l * channels..][..channels])
                    });
                }
            }
            if fused_map.is_empty() {
                add(rows.pooled_of(tail), rows.index.labels[tail]);
            } else {
                assert_eq!(fused_map.len(), locations * channels);
                add(&augment::pooled(&fused_map, channels), rows.index.labels[tail]);
            }
        }
        for row in real(&plan.samples[fused_first..]) {
            add(rows.pooled_of(row), rows.index.labels[row]);
        }
        assert_eq!(labels.len(), vectors.len() / channels);
        trainer.step(Batch { vectors: &vectors, labels: &labels, weights: &[] });
    }
    (trainer.head(), fallbacks)
}

fn assert_close(a: &LinearHead, b: &LinearHead) {
    for (x, y) in a.weight.iter().chain(&a.bias).zip(b.weight.iter().chain(&b.bias)) {
        assert!((x - y).abs() < 1e-5, "{x} {y}");
    }
}

fn result(outcome: &FinetuneOutcome, classes: usize, channels: usize) -> LinearHead {
    let path = outcome.folder.join("classifier.safetensors");
    fsa_bank::weights::Weights::load(&path).unwrap().linear_head(classes, channels, &path).unwrap()
}

#[test]
fn windows_of_fused_vectors_equal_one_fused_map_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let bank = BankSpec::default().write(&dir.path().join("shards"));
    for method in [Method::named("fsa"), Method::named("no-aug")] {
        let config = FinetuneConfig { method, ..config(25) };
        let outcome = try_run(bank.dir(), config.clone(), Selection::None, 1 << 30).unwrap();
        let (plain, _) = plain_phase2(&bank, &config, 5);
        assert_close(&result(&outcome, 4, 8), &plain);
        assert_ne!(plain, bank.head);
    }
}

#[test]
fn nothing_but_values_settings_and_seed_decides_the_classifier() {
    let dir = tempfile::tempdir().unwrap();
    let small = Layout {
        shard_bytes: 4000,
        row_group_bytes: 1500,
        map_page_bytes: 400,
        ..Default::default()
    };
    let one_shard = BankSpec::default();
    let many_shards = BankSpec { layout: small, ..Default::default() };
    let reversed = BankSpec { layout: small, reversed: true, ..Default::default() };
    let banks = [(one_shard, "a"), (many_shards, "b"), (reversed, "c")]
        .map(|(spec, name)| spec.write(&dir.path().join(name).join("shards")));
    assert!(banks[1].manifest.splits["train"].shards.len() > 5);

    let wanted =
        classifier(&try_run(banks[0].dir(), config(40), Selection::None, 1 << 30).unwrap());
    for bank in &banks {
        let least = least_memory_bytes(bank, &config(40));
        for memory_bytes in [least, least + (1 << 16), 1 << 30] {
            for threads in [1, 2, 4] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let found =
                    pool.install(|| try_run(bank.dir(), config(40), Selection::None, memory_bytes));
                let found = classifier(&found.unwrap());
                assert!(
                    found == wanted,
                    "{}, {memory_bytes} bytes, {threads} threads",
                    bank.dir().display()
                );
            }
        }
    }
    let request = FinetuneRequest {
        bank: banks[0].dir(),
        config: config(40),
        seed: 6,
        selection: Selection::None,
        out: None,
        overwrite: false,
        memory_bytes: 1 << 30,
    };
    let other = finetune::run(&request, Watch::new(&Silent, &Interrupt::default())).unwrap();
    assert!(classifier(&other) != wanted);
}

#[test]
fn a_finished_result_is_kept_and_an_out_of_date_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    BankSpec::default().write(&shards);
    let run = |overwrite| {
        let request = FinetuneRequest {
            bank: &shards,
            config: config(10),
            seed: 5,
            selection: Selection::None,
            out: None,
            overwrite,
            memory_bytes: 1 << 30,
        };
        finetune::run(&request, Watch::new(&Silent, &Interrupt::default())).unwrap()
    };
    assert!(!run(false).already_done);
    assert!(run(false).already_done);
    assert!(!run(true).already_done);
    std::fs::remove_dir_all(&shards).unwrap();
    BankSpec { counts: vec![40, 20, 7, 3], ..Default::default() }.write(&shards);
    assert!(!run(false).already_done);
}

/// Puts the training images of class 3 before a background that its test images do not have: a channel of
/// class 0 is high where the image's own class is not.
fn with_a_background(row: &mut TrainRow) {
    let spec = BankSpec::default();
    let channels = spec.shape.channels;
    if row.head.label != 3 || row.head.sample_id >= 100_000 {
        return;
    }
    for vector in row.feature_map.chunks_exact_mut(channels).skip(1).step_by(2) {
        vector[0] += 4.0;
    }
    let activation = augment::activation(&row.feature_map, spec.head().class_weight(ClassId(3)));
    row.cam = augment::normalise(&activation);
    row.nonzero = augment::nonzero(&row.feature_map, channels);
    row.head.pooled = augment::pooled(&row.feature_map, channels);
}

#[test]
fn fused_samples_raise_the_tail_beyond_balanced_batches_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tail = |bank: &Bank, name| {
        let config = FinetuneConfig { method: Method::named(name), ..config(300) };
        let outcome = try_run(bank.dir(), config, Selection::None, 1 << 30).unwrap();
        let score = |s: &fsa_bank::eval::Score| s.groups.tail.accuracy.unwrap();
        (score(&outcome.report.before), score(&outcome.report.after))
    };
    // A bank whose Phase-I classifier prefers the large classes: both must help the tail.
    let bank = BankSpec::default().write(&dir.path().join("plain/shards"));
    let ((before, fsa), (_, no_aug)) = (tail(&bank, "fsa"), tail(&bank, "no-aug"));
    assert!(before < 50.0 && fsa > before + 20.0 && no_aug > before, "{before} {no_aug} {fsa}");
    // Balanced batches alone learn the background of the tail's few images; fused samples show the class
    // before those of other classes.
    let spec = BankSpec { edit: with_a_background, ..Default::default() };
    let bank = spec.write(&dir.path().join("background/shards"));
    let ((_, fsa), (_, no_aug)) = (tail(&bank, "fsa"), tail(&bank, "no-aug"));
    assert!(fsa > no_aug + 50.0, "{no_aug} {fsa}");
}

#[test]
fn empty_masks_are_counted_and_fall_back() {
    let dir = tempfile::tempdir().unwrap();
    // Every third image of the tail has a constant CAM (no specific location), every second of the head
    // only zero vectors (no location at all).
    let edit = |row: &mut TrainRow| match (row.head.label, row.head.sample_id) {
        (0 | 1, sample) if sample % 2 == 0 => row.nonzero.fill(false),
        (2 | 3, sample) if sample % 3 == 0 => row.cam.fill(0.0),
        _ => {}
    };
    let spec = BankSpec { counts: vec![40, 20, 6, 6], edit, ..Default::default() };
    let bank = spec.write(&dir.path().join("shards"));
    let config =
        FinetuneConfig { num_confusing: 1, num_augmented: 2, head_ratio: 0.8, ..config(30) };
    let outcome = try_run(bank.dir(), config.clone(), Selection::None, 1 << 30).unwrap();
    let f = outcome.report.fallbacks;
    let (plain, counted) = plain_phase2(&bank, &config, 5);
    assert_eq!(f, counted);
    assert_eq!(f.fused, 30 * 4 * 2);
    let with_both = f.fused - f.no_specific - f.no_generic - f.neither;
    assert!([f.no_specific, f.no_generic, f.neither, with_both].iter().all(|&n| n > 10), "{f:?}");
    assert_close(&result(&outcome, 4, 8), &plain);
}

#[test]
fn classes_without_a_tail_are_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let bank =
        BankSpec { counts: vec![5, 5], ..Default::default() }.write(&dir.path().join("shards"));
    let message =
        try_run(bank.dir(), config(5), Selection::None, 1 << 30).err().unwrap().to_string();
    assert!(message.contains("no tail class") && message.contains("--head-ratio"), "{message}");
    assert!(!dir.path().join("finetune").join("metrics.json").exists());
}

#[test]
fn divergence_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let bank = BankSpec::default().write(&dir.path().join("shards"));
    let config = FinetuneConfig { learning_rate: 1e38, ..config(50) };
    let error = try_run(bank.dir(), config, Selection::None, 1 << 30).err().unwrap();
    assert!(matches!(error, FinetuneError::Diverged { .. }), "{error}");
}

/// Mean and variance of each channel over the locations of a mask, found by drawing each.
fn moments(map: &[f32], mask: &Mask, locations: usize) -> Vec<(f64, f64)> {
    let channels = map.len() / locations;
    let mut inside = vec![0.0; locations];
    // More draws than locations by far: each that can be drawn, is.
    draw_locations(mask, 10_000, &mut KeyedRng::new(0, Stage::BatchRows, (0, 0)), &mut inside);
    let inside: Vec<usize> = (0..locations).filter(|&l| inside[l] > 0.0).collect();
    assert_eq!(inside.len(), mask.len());
    let n = inside.len() as f64;
    let channel = |k: usize| {
        let values: Vec<f64> = inside.iter().map(|l| f64::from(map[l * channels + k])).collect();
        let mean = values.iter().sum::<f64>() / n;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
    };
    (0..channels).map(channel).collect()
}

#[test]
fn fused_vectors_have_the_mean_and_variance_of_theory() {
    // With s = round(γ L) of L draws from S, the rest from G, all independent and uniform, a fused
    // vector has the mean (s μ_S + (L − s) μ_G) / L and the variance (s σ²_S + (L − s) σ²_G) / L²
    // given s; γ uniform makes every s but the two ends equally likely, the ends half as much.
    let shape = FeatureShape { channels: 4, height: 3, width: 3 };
    let spec = BankSpec { shape, ..Default::default() };
    let (tail, generic) = (spec.row(1, 0, 2), spec.row(2, 0, 0));
    let locations = shape.locations();
    let masks = [
        Mask::specific(&tail.cam, &tail.nonzero, 0.5),
        Mask::generic(&generic.cam, &generic.nonzero, 0.5),
    ];
    let maps = [&tail.feature_map, &generic.feature_map];
    let parts = [0, 1].map(|part: usize| moments(maps[part], &masks[part], locations));
    let l = locations as f64;
    let draws = 100_000;
    let (mut sums, mut squares) = ([0.0f64; 4], [0.0f64; 4]);
    let mut gamma = KeyedRng::new(3, Stage::BatchRows, (1, 0));
    for i in 0..draws {
        let specific = (gamma.unit() * l).round() as usize;
        let mut vector = [0.0f32; 4];
        for (part, count) in [(0, specific), (1, locations - specific)] {
            let stage = [Stage::SpecificLocations, Stage::GenericLocations][part];
            let (mut counts, mut sum) = (vec![0.0; locations], vec![0.0f32; 4]);
            let mut rng = KeyedRng::new(9, stage, (i, 0));
            draw_locations(&masks[part], count, &mut rng, &mut counts);
            augment::sum_locations(maps[part], &counts, &mut sum);
            vector.iter_mut().zip(&sum).for_each(|(v, s)| *v += s / locations as f32);
        }
        for k in 0..4 {
            sums[k] += f64::from(vector[k]);
            squares[k] += f64::from(vector[k]).powi(2);
        }
    }
    for k in 0..4 {
        let ((s_mean, s_variance), (g_mean, g_variance)) = (parts[0][k], parts[1][k]);
        let (mut mean, mut square) = (0.0, 0.0);
        for s in 0..=locations {
            let weight = if s == 0 || s == locations { 0.5 / l } else { 1.0 / l };
            let (s, g) = (s as f64, l - s as f64);
            let given = (s * s_mean + g * g_mean) / l;
            mean += weight * given;
            square += weight * (given * given + (s * s_variance + g * g_variance) / (l * l));
        }
        let variance = square - mean * mean;
        let found = sums[k] / draws as f64;
        let found_variance = squares[k] / draws as f64 - found * found;
        // Five standard errors of a mean over the draws.
        let error = 5.0 * (variance / draws as f64).sqrt();
        assert!((found - mean).abs() < error, "{k}: {found} {mean} {error}");
        assert!((found_variance / variance - 1.0).abs() < 0.03, "{k}: {found_variance} {variance}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_small_bank_and_setting_works_at_any_window_size(
        counts in proptest::collection::vec(1u64..12, 2..6),
        views in 1u32..3,
        num_confusing in 1usize..8,
        num_augmented in 0usize..4,
        head_ratio in 0.2f64..0.95,
        instance in any::<bool>(),
        more_bytes in 0u64..100_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let shards = dir.path().join("shards");
        let bank = BankSpec { counts, views, ..Default::default() }.write(&shards);
        let sampling = if instance { Sampling::Instance } else { Sampling::Class };
        let config = FinetuneConfig {
            num_confusing, num_augmented, head_ratio, tail_sampling: sampling, head_sampling: sampling,
            ..config(6)
        };
        match try_run(&shards, config.clone(), Selection::None, least_memory_bytes(&bank, &config) + more_bytes) {
            Ok(outcome) => {
                prop_assert!(!outcome.report.split.tail.is_empty());
                let (classes, channels) = (bank.class_names.len(), bank.manifest.feature_shape.channels);
                let (plain, counted) = plain_phase2(&bank, &config, 5);
                prop_assert_eq!(outcome.report.fallbacks, counted);
                assert_close(&result(&outcome, classes, channels), &plain);
            }
            Err(FinetuneError::NoTail { .. }) => {
                prop_assert!(bank.class_counts.split(head_ratio).tail.is_empty());
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
}
