//! Steps of training by hand, against numeric gradients and against f64.

use super::simd::{descend, exp};
use super::*;
use crate::config::{Loss, Method};

const SGD: SgdOptions = SgdOptions { learning_rate: 0.5, momentum: 0.9, weight_decay: 0.0 };

fn plain(sgd: SgdOptions) -> TrainerOptions {
    TrainerOptions {
        form: Form::Linear,
        objective: Objective::default(),
        sgd,
        schedule: RateSchedule::Fixed,
        iterations: 1,
        max_norm: 0.0,
    }
}

fn batch<'a>(vectors: &'a [f32], labels: &'a [u32]) -> Batch<'a> {
    Batch { vectors, labels, weights: &[] }
}

#[test]
fn a_2_by_2_step_by_hand() {
    // Zero weights: both classes have probability 1/2, so D = ±1/2 and g_w = D ⊗ x.
    let head = LinearHead::new(vec![0.0; 4], vec![0.0; 2]).unwrap();
    let mut trainer = HeadTrainer::new(&head, plain(SGD));
    let loss = trainer.step(batch(&[1.0, 2.0], &[0])).loss;
    assert!((loss - 2f32.ln()).abs() < 1e-6);
    let head = trainer.head();
    assert_eq!(head.weight, [0.25, 0.5, -0.25, -0.5]);
    assert_eq!(head.bias, [0.25, -0.25]);
}

#[test]
fn momentum_and_decay_are_pytorchs() {
    let options = SgdOptions { weight_decay: 0.1, ..SGD };
    // Before the first gradient the momentum is decay · w = 0.2.
    let (mut w, mut v) = ([2.0], [0.2]);
    v[0] += 1.0;
    descend(&mut w, &mut v, options);
    // v = 1 + 0.1 * 2 = 1.2, w = 2 - 0.5 * 1.2 = 1.4
    assert!((w[0] - 1.4f32).abs() < 1e-6);
    v[0] += 1.0;
    // v = 0.9 * 1.2 + 1 + 0.14 = 2.22, w = 1.4 - 1.11 = 0.29
    assert!((v[0] - 2.22f32).abs() < 1e-6);
    descend(&mut w, &mut v, options);
    assert!((w[0] - 0.29f32).abs() < 1e-6);
}

#[test]
fn a_step_that_starts_the_next_is_two_steps() {
    let head = LinearHead::new(vec![0.3, -0.2, 0.1, 0.5], vec![0.1, 0.0]).unwrap();
    let options = SgdOptions { weight_decay: 0.1, ..SGD };
    let (first, second) = (batch(&[1.0, 2.0], &[0]), batch(&[-1.0, 0.5, 0.25, 1.0], &[1, 0]));
    let mut alone = HeadTrainer::new(&head, plain(options));
    let wanted = [alone.step(first), alone.step(second), alone.step(first)];
    let mut joined = HeadTrainer::new(&head, plain(options));
    joined.start(first);
    let found = [
        joined.finish(first, Some(second)),
        joined.finish(second, Some(first)),
        joined.finish(first, None),
    ];
    assert!(found == wanted && joined.head() == alone.head());
}

#[test]
fn the_update_follows_the_gradient_of_the_loss() {
    // One class part and several must both step along the numeric gradient.
    let (classes, channels) = (3, 2);
    let weight = vec![0.3, -0.2, 0.1, 0.5, -0.4, 0.2];
    let (vectors, labels) = ([1.0, 2.0, -0.5, 0.25], [1, 2]);
    let loss = |weight: &[f32]| {
        let head = LinearHead::new(weight.to_vec(), vec![0.1, 0.0, -0.1]).unwrap();
        HeadTrainer::new(&head, plain(SGD)).step(batch(&vectors, &labels)).loss
    };
    let head = LinearHead::new(weight.clone(), vec![0.1, 0.0, -0.1]).unwrap();
    let mut trainer = HeadTrainer::new(&head, plain(SGD));
    trainer.step(batch(&vectors, &labels));
    let after = trainer.head().weight;
    for i in 0..classes * channels {
        let h = 1e-2;
        let (mut up, mut down) = (weight.clone(), weight.clone());
        up[i] += h;
        down[i] -= h;
        let gradient = (loss(&up) - loss(&down)) / (2.0 * h);
        let step = (weight[i] - after[i]) / SGD.learning_rate;
        assert!((gradient - step).abs() < 1e-3, "{i}: {gradient} {step}");
    }
}

#[test]
fn class_parts_change_nothing_but_rounding() {
    use crate::rng::{KeyedRng, Stage};
    let (rows, channels, classes) = (128, 512, 100);
    let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
    let mut values = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
    let (vectors, weight) = (values(rows * channels), values(classes * channels));
    let labels: Vec<u32> = (0..rows as u32).map(|i| i % classes as u32).collect();
    let head = LinearHead::new(weight, vec![0.0; classes]).unwrap();
    let mut trainer = HeadTrainer::new(&head, plain(SGD));
    assert!(trainer.parts.len() > 1);
    let loss = trainer.step(batch(&vectors, &labels)).loss;

    // The same step in f64, written out.
    let (mut wanted_loss, mut gradient) = (0.0f64, vec![0.0f64; classes * channels]);
    for (x, &label) in vectors.chunks(channels).zip(&labels) {
        let dot = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
        let logits: Vec<f64> = head.weight.chunks(channels).map(dot).collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
        wanted_loss += (sum.ln() + max - logits[label as usize]) / rows as f64;
        for (c, l) in logits.iter().enumerate() {
            let d = (l - max).exp() / sum - f64::from(u8::from(c == label as usize));
            for (k, x) in x.iter().enumerate() {
                gradient[c * channels + k] += d * f64::from(*x) / rows as f64;
            }
        }
    }
    assert!((f64::from(loss) - wanted_loss).abs() < 1e-3, "{loss} {wanted_loss}");
    let after = trainer.head().weight;
    for ((before, after), g) in head.weight.iter().zip(&after).zip(&gradient) {
        let wanted = f64::from(*before) - f64::from(SGD.learning_rate) * g;
        assert!((f64::from(*after) - wanted).abs() < 1e-5, "{after} {wanted}");
    }
}

#[test]
fn the_exponential_is_close_and_defined_everywhere() {
    for i in 0..100_000 {
        let x = -(i as f32) * 0.00087;
        let (found, wanted) = (f64::from(exp(x)), f64::from(x).exp());
        assert!((found - wanted).abs() <= 3e-7 * wanted, "{x}: {found} {wanted}");
    }
    assert_eq!((exp(0.0), exp(-200.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn a_large_step_is_the_same_at_any_thread_count() {
    use crate::rng::{KeyedRng, Stage};
    let (rows, channels, classes) = (64, 512, 1100);
    let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
    let mut values = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
    let (vectors, weight) = (values(rows * channels), values(classes * channels));
    let labels: Vec<u32> = (0..rows as u32).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let head = LinearHead::new(weight.clone(), vec![0.0; classes]).unwrap();
            let mut trainer = HeadTrainer::new(&head, plain(SGD));
            assert!(trainer.parts.len() > 4);
            for _ in 0..3 {
                trainer.step(batch(&vectors, &labels));
            }
            trainer.head()
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(4));
}

/// Every loss on the form it is used with.
fn configs() -> Vec<FinetuneConfig> {
    let mut configs = vec![];
    for loss in Loss::all() {
        for method in
            [Method::named("fsa"), Method::named("lws"), Method::named("label-aware-smoothing")]
        {
            configs.push(FinetuneConfig {
                method,
                loss,
                learning_rate: 0.5,
                momentum: 0.0,
                drw_start: 0.0,
                cosine_scale: 3.0,
                class_balance_beta: 0.9,
                ..FinetuneConfig::default()
            });
        }
    }
    configs
}

#[test]
fn every_loss_steps_along_its_numeric_gradient() {
    let counts = ClassCounts(vec![50, 20, 5]);
    let weight = vec![0.3, -0.2, 0.1, 0.5, -0.4, 0.2];
    // Of length 1, as cosines need them.
    let (vectors, labels) = ([0.6, 0.8, -0.8, 0.6, 1.0, 0.0], [1, 2, 0]);
    let weights = [1.0, 0.25, 0.75];
    let rows = Batch { vectors: &vectors, labels: &labels, weights: &weights };
    for config in configs() {
        let options = TrainerOptions::new(&config, &counts);
        let form = options.form;
        let loss = |weight: &[f32]| {
            let head = LinearHead::new(weight.to_vec(), vec![0.1, 0.0, -0.1]).unwrap();
            HeadTrainer::new(&head, options.clone()).step(rows).loss
        };
        let head = LinearHead::new(weight.clone(), vec![0.1, 0.0, -0.1]).unwrap();
        let mut trainer = HeadTrainer::new(&head, options.clone());
        trainer.step(rows);
        let rate = match form {
            Form::Scaled { learn_weight: false } => 0.0,
            Form::Scaled { .. } => 0.25,
            _ => 0.5,
        };
        for i in 0..weight.len() {
            let h = 1e-2;
            let (mut up, mut down) = (weight.clone(), weight.clone());
            up[i] += h;
            down[i] -= h;
            let wanted = rate * (loss(&up) - loss(&down)) / (2.0 * h);
            let step = weight[i] - trainer.parts[0].weight[i];
            let name = config.title();
            assert!((wanted - step).abs() < 1e-3, "{name}, {form:?}, {i}: {wanted} {step}");
        }
    }
}

#[test]
fn learnt_factors_by_hand() {
    // Logits (2, 0) times factors 1: p = (e^2, 1) / (e^2 + 1); the gradient of factor c is D_c z_c.
    let head = LinearHead::new(vec![2.0, 0.0], vec![0.0; 2]).unwrap();
    let options = TrainerOptions { form: Form::Scaled { learn_weight: false }, ..plain(SGD) };
    let mut trainer = HeadTrainer::new(&head, options);
    trainer.step(batch(&[1.0], &[1]));
    let p = 2f32.exp() / (2f32.exp() + 1.0);
    assert!((trainer.parts[0].factors[0] - (1.0 - 0.5 * p * 2.0)).abs() < 1e-6);
    assert_eq!(trainer.parts[0].factors[1], 1.0);
    assert!((trainer.head().weight[0] - 2.0 * (1.0 - p)).abs() < 1e-6);
}

#[test]
fn cosine_rate_falls_to_zero_and_norms_stay_bounded() {
    let head = LinearHead::new(vec![1.0, 0.0, 0.0, 3.0], vec![0.0; 2]).unwrap();
    let options = TrainerOptions {
        schedule: RateSchedule::Cosine,
        iterations: 4,
        max_norm: 0.25,
        ..plain(SGD)
    };
    let mut trainer = HeadTrainer::new(&head, options);
    let mut rates = vec![];
    for _ in 0..4 {
        rates.push(trainer.learning_rate());
        trainer.step(batch(&[1.0, 2.0], &[1]));
        let norms: Vec<f32> = trainer.head().weight.chunks(2).map(length).collect();
        assert!(norms.iter().all(|&norm| norm < 1.5 + 1e-5), "{norms:?}");
    }
    assert_eq!(rates[0], 0.5);
    assert!((rates[2] - 0.25).abs() < 1e-6 && rates[3] < rates[2]);
    assert!(trainer.learning_rate().abs() < 1e-6);
}

#[test]
fn weights_of_rows_are_repetitions() {
    let head = || LinearHead::new(vec![0.3, -0.2, 0.1, 0.5], vec![0.0; 2]).unwrap();
    let mut weighted = HeadTrainer::new(&head(), plain(SGD));
    let mut repeated = HeadTrainer::new(&head(), plain(SGD));
    let (x, y) = ([1.0, 2.0], [0.5, -1.0]);
    let vectors = [x, y].concat();
    weighted.step(Batch { vectors: &vectors, labels: &[0, 1], weights: &[2.0, 1.0] });
    repeated.step(batch(&[x, x, y].concat(), &[0, 0, 1]));
    let (a, b) = (weighted.head(), repeated.head());
    assert!(a.weight.iter().zip(&b.weight).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_step_of_label_over_smoothing_by_hand() {
    // Logits ln 1/2, ln 1/4, ln 1/8, ln 1/8; targets 0.02 + 0.98 / 4 = 0.265 and 0.245: softmax less target.
    let logits: Vec<f32> = [2f32, 4.0, 8.0, 8.0].map(|p| -p.ln()).to_vec();
    let head = LinearHead::new(logits.clone(), vec![0.0; 4]).unwrap();
    let loss = Loss::named("label-over-smoothing");
    let config = FinetuneConfig {
        loss,
        learning_rate: 1.0,
        ..FinetuneConfig::for_method(Method::default())
    };
    let options = TrainerOptions::new(&config, &ClassCounts(vec![9, 5, 2, 1]));
    let mut trainer = HeadTrainer::new(&head, options);
    let found = trainer.step(batch(&[1.0], &[0])).loss;
    assert!((found - 2.225 * 2f32.ln()).abs() < 1e-5, "{found}");
    let after = trainer.head();
    let wanted = [0.235, 0.005, -0.12, -0.12];
    for class in 0..4 {
        let gradients = [logits[class] - after.weight[class], -after.bias[class]];
        assert!(
            gradients.iter().all(|g| (g - wanted[class]).abs() < 1e-5),
            "{class} {gradients:?}"
        );
    }
}
