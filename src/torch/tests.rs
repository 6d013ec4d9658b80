//! Every network against PyTorch's, and what training moves.

#[path = "../../tests/suite/references.rs"]
mod references;

use std::path::Path;

use fsa_bank::backbone::{
    self, Batch, Engine, EngineOptions, MOMENTUM, Mixed, Network as Description, Recipe,
};
use fsa_bank::config::{Arch, Arithmetic, Freeze, NetworkConfig};
use fsa_bank::weights::Weights;

use crate::engine::TorchEngine;
use references::{IMAGES, references, units};

fn options(channels_last: bool) -> EngineOptions {
    let (device, arithmetic) = ("cpu".into(), Arithmetic::F32);
    EngineOptions { device, arithmetic, channels_last, threads: None }
}

#[test]
fn every_network_computes_what_pytorchs_does() {
    let references = references();
    let archs: Vec<Arch> = references.iter().map(|r| r.arch).collect();
    assert!(Arch::ALL.iter().all(|arch| archs.contains(arch)));
    for r in references {
        let (network, shape, weights) = r.network();
        for channels_last in [false, true] {
            let (options, path) = (options(channels_last), Path::new("formula"));
            let model = TorchEngine.backbone(&network, &weights, path, shape, &options);
            let maps = model.unwrap().feature_maps(&r.images(), IMAGES).unwrap();
            r.check(&maps, &network, &weights);
        }
    }
}

/// A training step with the two images as classes 0 and 1.
#[derive(serde::Deserialize)]
struct FirstStep {
    loss: f64,
    /// Length of the gradient for each trained parameter, in order of names.
    gradient: Vec<f64>,
}

/// A step's loss and gradient are PyTorch's in f64: what SGD's momentum buffers hold after the first
/// step. PyTorch's own gradients in f32 are off by up to 4 % on these deep, randomly filled ResNets.
#[test]
fn every_network_steps_as_pytorchs_does() {
    for (r, step) in references().into_iter().zip(references::read::<FirstStep>()) {
        let (network, _, weights) = r.network();
        let recipe = Recipe { momentum: 0.9, ..Recipe::default() };
        for channels_last in [false, true] {
            let options = options(channels_last);
            let mut model = TorchEngine.trainable(&network, &weights, &options, &recipe).unwrap();
            let batch = Batch { inputs: r.images(), labels: vec![0, 1], ..Default::default() };
            let loss = model.step(&batch, 0.01, 0.0).unwrap().loss;
            assert!((loss / step.loss - 1.0).abs() < 1e-4, "{}: {loss} {}", r.name(), step.loss);
            let length = |values: &[f32]| {
                values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt()
            };
            let gradient = model.state().tensors;
            assert!(gradient.keys().all(|name| name.starts_with(MOMENTUM)));
            assert_eq!(gradient.len(), step.gradient.len());
            let largest = step.gradient.iter().copied().fold(0.0, f64::max);
            for ((name, tensor), &wanted) in gradient.iter().zip(&step.gradient) {
                let found = length(&tensor.values);
                let close = (found - wanted).abs() <= 0.05 * wanted + 1e-5 * largest;
                assert!(close, "{}, {name}: {found} {wanted}", r.name());
            }
        }
    }
}

/// Four steps on one batch of `images`: the tensors before and after, and the losses.
fn trained(
    arch: Arch,
    side: usize,
    (images, rate): (usize, f64),
    freeze: Freeze,
) -> (Description, Weights, Weights, Vec<f64>) {
    let config = NetworkConfig { arch, ..NetworkConfig::default() };
    let (network, _) = backbone::network(&config, 3, side).unwrap();
    let initial = network.initial_weights(0);
    let recipe = Recipe { momentum: 0.9, freeze, ..Recipe::default() };
    let mut model = TorchEngine.trainable(&network, &initial, &options(true), &recipe).unwrap();
    let inputs = units("batch", images * 3 * side * side).map(|u| (4.0 * u - 2.0) as f32).collect();
    let labels = (0..images as i64).map(|i| i % 3).collect();
    let batch = Batch { inputs, labels, ..Default::default() };
    let losses = (0..4).map(|_| model.step(&batch, rate, 0.0).unwrap().loss).collect();
    let after = model.model();
    (network, initial, after, losses)
}

/// Running statistics become plain means over the batches, as PyTorch's with `momentum=None`.
#[test]
fn recalibrated_statistics_are_means_over_batches() {
    let config = NetworkConfig { arch: Arch::Resnet10, width: 16, ..NetworkConfig::default() };
    let (network, _) = backbone::network(&config, 3, 32).unwrap();
    let weights = network.initial_weights(0);
    let path = Path::new("initial");
    let batch = |name: &str| -> Vec<f32> {
        units(name, 4 * 3 * 32 * 32).map(|u| (4.0 * u - 2.0) as f32).collect()
    };
    let after = |names: &[&str]| {
        let made = TorchEngine.recalibrator(&network, &weights, path, &options(true));
        let mut recalibrator = made.unwrap();
        names.iter().for_each(|name| recalibrator.observe(&batch(name), 4).unwrap());
        recalibrator.model().tensors
    };
    let (a, b, both) = (after(&["a"]), after(&["b"]), after(&["a", "b"]));
    for p in &network.parameters {
        let [a, b, both] = [&a, &b, &both].map(|of| &of[&p.name].values);
        if p.kind.trained() {
            assert_eq!(both, &weights.tensors[&p.name].values, "{}", p.name);
            continue;
        }
        assert_ne!(both, &weights.tensors[&p.name].values, "{}", p.name);
        for ((a, b), both) in a.iter().zip(b).zip(both) {
            assert!((both - 0.5 * (a + b)).abs() < 1e-5 * (1.0 + both.abs()), "{}", p.name);
        }
    }
}

#[test]
fn every_kind_of_network_trains() {
    for (arch, side) in [
        (Arch::Resnet10, 64),
        (Arch::Resnet50, 64),
        (Arch::Resnet20, 32),
        (Arch::Densenet121, 64),
        (Arch::MobilenetV2, 64),
        (Arch::EfficientnetB0, 64),
    ] {
        // Steps so small that they must descend: at 0.01 PyTorch's own ResNet-50 diverges here.
        let (.., losses) = trained(arch, side, (24, 0.0001), Freeze::None);
        assert!(losses.iter().all(|l| l.is_finite()), "{arch:?}: {losses:?}");
        assert!(losses[3] < losses[0], "{arch:?}: {losses:?}");
        // Steps so large that every f32 moves.
        let (network, before, after, _) = trained(arch, side, (6, 0.01), Freeze::None);
        for p in &network.parameters {
            let (a, b) = (&before.tensors[&p.name], &after.tensors[&p.name]);
            assert!(a != b, "{arch:?}: {} does not move", p.name);
        }
    }
}

#[test]
fn a_frozen_part_keeps_its_weights_and_statistics() {
    let (network, before, after, _) =
        trained(Arch::Resnet18, 32, (6, 0.01), Freeze::AllButLastBlock);
    for p in &network.parameters {
        let same = before.tensors[&p.name] == after.tensors[&p.name];
        let frozen = !p.name.starts_with("layer4") && !p.name.starts_with("fc");
        assert_eq!(same, frozen, "{}", p.name);
    }
}

/// The running average of parameters and batch statistics, by hand; and exchanging it twice.
#[test]
fn the_average_of_the_weights_is_kept_and_swapped() {
    let config = NetworkConfig { arch: Arch::Resnet10, width: 16, ..NetworkConfig::default() };
    let (network, _) = backbone::network(&config, 3, 32).unwrap();
    let initial = network.initial_weights(0);
    let recipe = Recipe { momentum: 0.9, keeps_average: true, ..Recipe::default() };
    let mut model = TorchEngine.trainable(&network, &initial, &options(true), &recipe).unwrap();
    let inputs = units("batch", 6 * 3 * 32 * 32).map(|u| (4.0 * u - 2.0) as f32).collect();
    let batch = Batch { inputs, labels: vec![0, 1, 2, 0, 1, 2], ..Default::default() };
    let mut wanted = initial.tensors;
    for decay in [0.1, 0.9] {
        model.step(&batch, 0.01, decay).unwrap();
        let now = model.model().tensors;
        for (name, average) in &mut wanted {
            let pairs = average.values.iter_mut().zip(&now[name].values);
            pairs
                .for_each(|(a, &w)| *a = (decay * f64::from(*a)) as f32 + (1.0 - decay as f32) * w);
        }
    }
    let weights = model.model().tensors;
    model.swap_average().unwrap();
    let average = model.model().tensors;
    for (name, wanted) in &wanted {
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
        assert!(average[name].values.iter().zip(&wanted.values).all(close), "{name}");
        assert!(average[name] != weights[name], "{name}");
    }
    model.swap_average().unwrap();
    assert!(model.model().tensors == weights);
}

/// A step on mixed images is one on images that were mixed by hand.
#[test]
fn images_are_mixed_with_their_partners() {
    let config = NetworkConfig { arch: Arch::Resnet10, width: 16, ..NetworkConfig::default() };
    let (network, _) = backbone::network(&config, 3, 32).unwrap();
    let initial = network.initial_weights(0);
    let inputs: Vec<f32> =
        units("batch", 4 * 3 * 32 * 32).map(|u| (4.0 * u - 2.0) as f32).collect();
    let (partners, share) = (vec![2i64, 0, 3, 1], 0.3);
    let mut by_hand = vec![];
    for (i, partner) in partners.iter().enumerate() {
        let image = |i: usize| &inputs[i * 3072..][..3072];
        let pairs = image(i).iter().zip(image(*partner as usize));
        by_hand.extend(pairs.map(|(own, other)| 0.3 * own + 0.7 * other));
    }
    let loss = |inputs: &[f32], partners: Vec<i64>| {
        let recipe = Recipe::default();
        let mut model = TorchEngine.trainable(&network, &initial, &options(true), &recipe).unwrap();
        let mixed = Some(Mixed { partners, labels: vec![1, 0, 2, 2], share });
        let labels = vec![0, 1, 2, 1];
        let batch = Batch { inputs: inputs.to_vec(), labels, mixed, ..Default::default() };
        model.step(&batch, 0.01, 0.0).unwrap().loss
    };
    let (mixed, wanted) = (loss(&inputs, partners), loss(&by_hand, vec![0, 1, 2, 3]));
    assert!((mixed - wanted).abs() < 1e-5, "{mixed} {wanted}");
    assert!((mixed - loss(&inputs, vec![0, 1, 2, 3])).abs() > 1e-3);
}
