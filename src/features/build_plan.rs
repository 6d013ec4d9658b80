//! What a bank will be, as far as images and settings say.

use serde::Serialize;

use super::request::FeaturesRequest;
use crate::bank::{BuildPlan, Manifest};

/// How sure it is which rows keep their maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapsKnown {
    /// It is known.
    Known,
    /// Some images of each tail class have told: as many as could be looked at in some seconds.
    Sampled,
    /// It is known once a classifier is fitted: these are the rows and bytes with all maps, which the
    /// finished bank will not reach.
    AtMost,
}

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
