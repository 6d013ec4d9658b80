//! What a bank will be, as far as images and settings say.

use super::request::FeaturesRequest;
use crate::bank::{BuildPlan, Manifest};

/// The plan of a bank that `manifest` describes.
pub(super) fn build_plan(request: &FeaturesRequest, manifest: Manifest) -> BuildPlan {
    let features = &request.loaded.pipeline.features;
    let dataset = request.dataset;
    let training = (dataset.train.len() * features.views) as u64;
    let mut items = vec![("train", training), ("test", dataset.test.len() as u64)];
    items.extend(dataset.val.as_ref().map(|val| ("val", val.len() as u64)));
    BuildPlan {
        manifest,
        batch_size: features.batch_size,
        compression_level: features.compression_level,
        shard_bytes: features.shard_bytes,
        items: items.into_iter().map(|(split, n)| (split.to_string(), n)).collect(),
    }
}
