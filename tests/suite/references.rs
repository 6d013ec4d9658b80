//! Maps and logits of PyTorch's own networks, for weights and images that a formula gives
//! (`tests/readers/make_network_references.py` has the same formula). The tests of the libtorch engine
//! and those of the ONNX export compare with them.

use std::path::Path;

use fsa_bank::backbone::{self, Network, ParameterKind};
use fsa_bank::config::{Arch, NetworkConfig, Stem};
use fsa_bank::domain::FeatureShape;
use fsa_bank::eval;
use fsa_bank::weights::{NamedTensor, Weights};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub const CLASSES: usize = 10;
pub const IMAGES: usize = 2;

#[derive(Deserialize)]
pub struct Reference {
    pub arch: Arch,
    pub stem: Stem,
    pub side: usize,
    map_shape: [usize; 4],
    map_max: f32,
    map_every: usize,
    map: Vec<f32>,
    logits: Vec<f32>,
}

pub fn references() -> Vec<Reference> {
    read()
}

/// Some of what tests/data/networks.json says of each network.
pub fn read<T: DeserializeOwned>() -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/networks.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Numbers in [0, 1) that follow from `name`: FNV-1a of it, then the finaliser of MurmurHash3.
pub fn units(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed =
        name.bytes().fold(2_166_136_261u32, |h, b| (h ^ u32::from(b)).wrapping_mul(16_777_619));
    (0..count as u32).map(move |i| {
        let mut x = i.wrapping_mul(2_654_435_761).wrapping_add(seed);
        x ^= x >> 16;
        x = x.wrapping_mul(0x85eb_ca6b);
        x ^= x >> 13;
        x = x.wrapping_mul(0xc2b2_ae35);
        x ^= x >> 16;
        f64::from(x) / 4_294_967_296.0
    })
}

fn weights(network: &Network) -> Weights {
    let tensors = network.parameters.iter().map(|p| {
        let scale = |u: f64| match p.kind {
            ParameterKind::Conv => {
                (2.0 * u - 1.0) * (6.0 / (p.shape[0] * p.shape[2] * p.shape[3]) as f64).sqrt()
            }
            ParameterKind::Linear { inputs } if p.shape.len() == 2 => {
                (2.0 * u - 1.0) / (inputs as f64).sqrt()
            }
            ParameterKind::RunningMean => 0.2 * u - 0.1,
            ParameterKind::RunningVar => 0.5 + u,
            ParameterKind::Ones => 0.3 + 0.4 * u,
            ParameterKind::Zeros | ParameterKind::Linear { .. } => u - 0.5,
        };
        let values = units(&p.name, p.shape.iter().product()).map(|u| scale(u) as f32).collect();
        (p.name.clone(), NamedTensor { shape: p.shape.clone(), values })
    });
    Weights { tensors: tensors.collect(), ..Weights::default() }
}

fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

impl Reference {
    pub fn name(&self) -> String {
        format!("{} with the {:?} stem", self.arch.name(), self.stem)
    }

    /// The network, the shape of its map, and the weights of the formula.
    pub fn network(&self) -> (Network, FeatureShape, Weights) {
        let config = NetworkConfig { arch: self.arch, stem: self.stem, ..Default::default() };
        let (network, shape) = backbone::network(&config, CLASSES, self.side).unwrap();
        let found = [IMAGES, shape.channels, shape.height, shape.width];
        assert_eq!(found, self.map_shape, "{}", self.name());
        let weights = weights(&network);
        (network, shape, weights)
    }

    /// The images of the formula: (2, 3, side, side).
    pub fn images(&self) -> Vec<f32> {
        let count = IMAGES * 3 * self.side * self.side;
        units("images", count).map(|u| (4.0 * u - 2.0) as f32).collect()
    }

    /// Maps, and the logits that follow from them, within 1e-4 of PyTorch's largest.
    pub fn check(&self, maps: &[f32], network: &Network, weights: &Weights) {
        let (what, path) = (self.name(), Path::new("formula"));
        let sampled: Vec<f32> = maps.iter().step_by(self.map_every).take(200).copied().collect();
        let off = difference(&sampled, &self.map) / self.map_max;
        assert!(off <= 1e-4, "{what}: maps differ by {off}");
        let channels = network.channels();
        let head = weights.named_head(&network.classifier, CLASSES, channels, path).unwrap();
        let mean = |m: &[f32]| m.iter().sum::<f32>() / m.len() as f32;
        let locations = maps.len() / IMAGES / channels;
        let pooled: Vec<f32> = maps.chunks_exact(locations).map(mean).collect();
        self.check_logits(&eval::logits(&pooled, &head));
    }

    /// Logits within 1e-4 of PyTorch's largest, and the same classes.
    pub fn check_logits(&self, logits: &[f32]) {
        let scale = self.logits.iter().fold(0f32, |max, v| max.max(v.abs()));
        let off = difference(logits, &self.logits) / scale;
        assert!(off <= 1e-4, "{}: logits differ by {off}", self.name());
        let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        let classes = |all: &[f32]| all.chunks(CLASSES).map(best).collect::<Vec<_>>();
        assert_eq!(classes(logits), classes(&self.logits), "{}", self.name());
    }
}
