//! What a bank will be, in figures.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::bank::{BuildPlan, BuildState, Partition};
use crate::config::Precision;
use crate::domain::{FeatureShape, Split};

/// What a bank will be.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// The bank's place.
    pub bank: PathBuf,
    /// Whether it exists already; nothing was measured then.
    pub already_done: bool,
    /// Where the network computes, in words.
    pub device: String,
    /// `train`, `val` and `test`.
    pub splits: BTreeMap<String, SplitForecast>,
    /// Shape of a map.
    pub map: FeatureShape,
    /// L, locations of a map.
    pub locations: usize,
    /// Rounding of the maps.
    pub precision: Precision,
    /// zstd level.
    pub compression_level: i32,
    /// How sure it is which rows keep their maps.
    pub maps_known: MapsKnown,
    /// Bytes before compression.
    pub raw_bytes: RawBytes,
    /// Expected bytes of all files but the manifest.
    pub bytes: u64,
    /// Shards and rows that are done.
    pub state: BuildState,
    /// (sample, view) pairs of a shard at most.
    pub shard_rows: u64,
    /// The share of the shards that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// What is left to do.
    pub to_do: ToDo,
    /// What the figures come from; none where nothing is left that could be measured.
    pub sample: Option<SampleFigures>,
    /// Where there must be room.
    pub disk: DiskForecast,
}

/// How sure it is which rows keep their maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapsKnown {
    /// It is known.
    Known,
    /// Estimated from some images of each tail class: as many as a few seconds allow.
    Sampled,
    /// It is known once a classifier is fitted: these are the rows and bytes with all maps, which the
    /// finished bank will not reach.
    AtMost,
}

/// One split of it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SplitForecast {
    /// Images.
    pub images: u64,
    /// Rows an image.
    pub views: u64,
    /// The same of classes whose maps are not kept, where they have fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_views: Option<u64>,
    /// Rows; those of images that turn out not to be decodable will be missing.
    pub rows: u64,
    /// Rows that have a map.
    pub rows_with_maps: u64,
    /// Shards.
    pub shards: usize,
    /// Expected bytes of its shards.
    pub bytes: u64,
}

/// Bytes before compression.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RawBytes {
    /// Of the maps as f32, in which they are read.
    pub maps_f32: u64,
    /// Of the maps at the bank's precision.
    pub maps: u64,
    /// Of the pooled vectors of all splits.
    pub pooled: u64,
    /// Of the activation maps, with which locations are nonzero.
    pub cams: u64,
}

/// What is left to do.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ToDo {
    /// Shards.
    pub shards: usize,
    /// Their rows.
    pub rows: u64,
    /// Expected bytes of these shards.
    pub bytes: u64,
    /// Expected seconds; none where nothing was measured.
    pub secs: Option<f64>,
    /// Whether a classifier is fitted too, for which `secs` has nothing.
    pub fitting: bool,
}

/// What a sample has shown.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SampleFigures {
    /// Rows of all splits.
    pub rows: u64,
    /// Seconds it took.
    pub secs: f64,
    /// Rows a second of the whole, of the split with most rows.
    pub rows_per_sec: f64,
    /// Rows a second that reading, decoding and transforming would reach, were it always at work.
    pub decode_per_sec: f64,
    /// Likewise the forward pass.
    pub forward_per_sec: f64,
    /// Likewise pooling, activation maps, compression and writing.
    pub encode_per_sec: f64,
}

/// Room on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskForecast {
    /// The nearest folder of the bank's place that exists.
    pub place: PathBuf,
    /// Bytes that are free there; none where the file system does not say.
    pub free: Option<u64>,
    /// Bytes that are needed in addition to what exists already.
    pub needed: u64,
    /// Bytes of the bank that stays until this one replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    /// Whether it fits.
    pub fits: Option<bool>,
    /// Settings of a smaller bank.
    pub smaller: Vec<String>,
}

impl RawBytes {
    /// Of a bank of `training` training rows that keeps `maps` maps.
    pub(super) fn of(plan: &BuildPlan, training: u64, maps: u64) -> Self {
        let shape = plan.manifest.feature_shape;
        let (values, locations) = (shape.values() as u64, shape.locations() as u64);
        let stored = match plan.manifest.precision {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
        };
        let others = plan.items.iter().filter(|(split, _)| *split != Split::Train.name());
        let rows = training + others.map(|(_, rows)| rows).sum::<u64>();
        Self {
            maps_f32: 4 * values * maps,
            maps: stored * values * maps,
            pooled: 4 * shape.channels as u64 * rows,
            cams: training * (4 * locations + locations.div_ceil(8)),
        }
    }
}
