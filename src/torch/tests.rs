//! Every network against PyTorch's, and what training moves.

#[path = "../../tests/suite/references.rs"]
mod references;

use std::path::Path;

use fsa_bank::backbone::{self, Batch, Engine, EngineOptions, Network as Description, SgdOptions};
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

/// Three steps on one batch: the change of each tensor.
fn trained(arch: Arch, side: usize, freeze: Freeze) -> (Description, Weights, Weights, Vec<f64>) {
    let config = NetworkConfig { arch, ..NetworkConfig::default() };
    let (network, _) = backbone::network(&config, 3, side).unwrap();
    let initial = network.initial_weights(0);
    let sgd = SgdOptions { momentum: 0.9, weight_decay: 0.0, freeze };
    let mut model = TorchEngine.trainable(&network, &initial, &options(true), sgd).unwrap();
    let inputs = units("batch", 6 * 3 * side * side).map(|u| (4.0 * u - 2.0) as f32).collect();
    let batch = Batch { inputs, labels: vec![0, 1, 2, 0, 1, 2] };
    let losses = (0..4).map(|_| model.step(&batch, 0.01).unwrap().loss).collect();
    let after = model.model();
    (network, initial, after, losses)
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
        let (network, before, after, losses) = trained(arch, side, Freeze::None);
        assert!(losses.iter().all(|l| l.is_finite()), "{arch:?}: {losses:?}");
        assert!(losses[3] < losses[0], "{arch:?}: {losses:?}");
        for p in &network.parameters {
            let (a, b) = (&before.tensors[&p.name], &after.tensors[&p.name]);
            assert!(a != b, "{arch:?}: {} does not move", p.name);
        }
    }
}

#[test]
fn a_frozen_part_keeps_its_weights_and_statistics() {
    let (network, before, after, _) = trained(Arch::Resnet18, 32, Freeze::AllButLastBlock);
    for p in &network.parameters {
        let same = before.tensors[&p.name] == after.tensors[&p.name];
        let frozen = !p.name.starts_with("layer4") && !p.name.starts_with("fc");
        assert_eq!(same, frozen, "{}", p.name);
    }
}
