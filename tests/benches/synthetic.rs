//! Banks of random ReLU-like maps, for benches.

use fsa_bank::augment;
use fsa_bank::bank::{
    DatasetCard, FORMAT_VERSION, Layout, Manifest, ModelRef, RowHead, TrainRow, ViewSettings,
};
use fsa_bank::config::Precision;
use fsa_bank::domain::{ClassId, FeatureShape, LinearHead};
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::Weights;

#[path = "../suite/support/write_bank.rs"]
mod write_bank;
pub use write_bank::{NewBank, write_bank};

/// A classifier of random weights.
pub fn head(shape: FeatureShape, classes: usize) -> LinearHead {
    let mut rng = KeyedRng::new(1, Stage::InitialWeights, (0, 0));
    let scale = 1.0 / (shape.channels as f64).sqrt();
    let weight = (0..classes * shape.channels).map(|_| (scale * rng.normal()) as f32).collect();
    LinearHead::new(weight, vec![0.0; classes]).expect("whole")
}

/// Names of the classes.
pub fn class_names(classes: usize) -> Vec<String> {
    (0..classes).map(|c| format!("class {c}")).collect()
}

/// A row whose map is in half of its places 0 and leans to its class; f16.
pub fn row(head: &LinearHead, shape: FeatureShape, sample_id: u32, label: u32) -> TrainRow {
    let mut rng = KeyedRng::new(2, Stage::InitialWeights, (sample_id.into(), 0));
    let weight = head.class_weight(ClassId(label));
    let value = |k: usize, rng: &mut KeyedRng| {
        // A sum of uniform numbers is near enough to a normal one, and quick.
        let noise = rng.unit() + rng.unit() + rng.unit() - 1.5;
        half::f16::from_f32((noise as f32 + 2.0 * weight[k]).max(0.0)).to_f32()
    };
    let feature_map: Vec<f32> =
        (0..shape.values()).map(|i| value(i % shape.channels, &mut rng)).collect();
    TrainRow {
        head: RowHead {
            sample_id,
            view: 0,
            path: String::new(),
            label,
            predicted: label,
            confidence: 1.0,
            pooled: augment::pooled(&feature_map, shape.channels),
        },
        cam: augment::normalise(&augment::activation(&feature_map, weight)),
        nonzero: augment::nonzero(&feature_map, shape.channels),
        feature_map,
    }
}

/// A bank of `train` rows and `test` ones that is to be written.
pub fn new_bank(
    shape: FeatureShape,
    layout: Layout,
    head: &LinearHead,
    train: usize,
    test: usize,
) -> NewBank<'_> {
    let classes = head.classes();
    let manifest = Manifest {
        format: Manifest::format_name(),
        version: FORMAT_VERSION,
        needs: Manifest::needs(),
        writer: "benches".into(),
        name: format!("synthetic {shape}, {} classes", classes),
        dataset: DatasetCard { fingerprint: "synthetic".into(), classes },
        model: ModelRef {
            arch: "synthetic".into(),
            image_size: 0,
            weights_sha256: "synthetic 00".into(),
            arithmetic: "f32".into(),
        },
        preprocessing: None,
        feature_shape: shape,
        precision: Precision::F16,
        views: ViewSettings { count: 1, ..Default::default() },
        classifier_sha256: Weights::of_head(head).sha256(),
        map_columns: vec![],
        fitted_head: None,
        maps: Default::default(),
        files: Default::default(),
        splits: Default::default(),
        manifest_xxh3: Default::default(),
    };
    let rows = [("train", train), ("test", test)].map(|(split, n)| (split.to_string(), n as u64));
    NewBank { manifest, layout, class_names: class_names(classes), head, rows: rows.into() }
}
