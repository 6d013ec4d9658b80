//! A checkpoint of another program: opened, converted, and fitted to a network.

#![no_main]

use std::path::Path;

use fsa_bank::backbone::{adapt, network};
use fsa_bank::config::{Arch, NetworkConfig, Stem};
use fsa_bank::weights::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Checkpoint::from_bytes(bytes.to_vec(), Path::new("w.pth")) else { return };
    if let Ok(weights) = file.weights() {
        let values: usize = weights.tensors.values().map(|tensor| tensor.values.len()).sum();
        assert!(values <= bytes.len());
    }
    let config =
        NetworkConfig { arch: Arch::Resnet10, width: 1, stem: Stem::Cifar, ..Default::default() };
    let (network, _) = network(&config, 3, 32).unwrap();
    if let Ok(found) = adapt(&network, &file, 0) {
        assert_eq!(found.weights.tensors.len(), network.parameters.len());
    }
});
