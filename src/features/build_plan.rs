//! What a bank will be, as far as images and settings say.

use super::request::FeaturesRequest;
use crate::bank::{BuildPlan, Manifest};
use crate::domain::Split;

/// The plan of a bank that `manifest` describes.
pub(super) fn build_plan(request: &FeaturesRequest, manifest: Manifest) -> BuildPlan {
    let features = &request.loaded.pipeline.features;
    let dataset = request.dataset;
    let views = |split| if split == Split::Train { features.views } else { 1 };
    let pairs = |split| {
        let images = dataset.images(split)?.len();
        Some((split.to_string(), (images * views(split)) as u64))
    };
    BuildPlan {
        manifest,
        batch_size: features.batch_size,
        compression_level: features.compression_level,
        shard_bytes: features.shard_bytes,
        items: Split::ALL.into_iter().filter_map(pairs).collect(),
    }
}
