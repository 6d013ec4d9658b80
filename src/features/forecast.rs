//! What a bank will be, in figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::making::build_plan;
use super::sample::Kind;
use super::{FeaturesError, FeaturesRequest, skipped_file};
use crate::bank::{Build, BuildPlan, BuildState, Manifest, Partition, SplitEntry};
use crate::config::{FeaturesConfig, KeepMaps, Precision};
use crate::dataset::SkippedList;
use crate::disk;
use crate::domain::FeatureShape;
use crate::text::bytes_text;

/// What a bank will be.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// The bank's place.
    pub bank: PathBuf,
    /// Whether it is there already; nothing was measured then.
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
    /// Some images of each tail class have told: as many as could be looked at in some seconds.
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
    /// Bytes that are needed besides what is there already.
    pub needed: u64,
    /// Bytes of the bank that stays until this one replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    /// Whether it fits.
    pub fits: Option<bool>,
    /// Settings of a smaller bank.
    pub smaller: Vec<String>,
}

/// Images of a split.
pub(super) fn images_of(kinds: &[Kind], split: &str) -> u64 {
    kinds.iter().filter(|kind| kind.split == split).map(Kind::images).sum()
}

/// Rows of a split that have maps.
pub(super) fn rows_with_maps(kinds: &[Kind], split: &str) -> u64 {
    kinds.iter().filter(|kind| kind.split == split && kind.maps).map(Kind::rows).sum()
}

/// Rows of a split.
pub(super) fn rows_of(kinds: &[Kind], split: &str) -> u64 {
    kinds.iter().filter(|kind| kind.split == split).map(Kind::rows).sum()
}

/// Rows an image of a split, and those of classes that have fewer.
pub(super) fn views(manifest: &Manifest, split: &str) -> (u64, Option<u64>) {
    if split != "train" {
        return (1, None);
    }
    let count = manifest.views.count;
    let least = manifest.maps.least_views(count);
    (count as u64, (least < count).then_some(least as u64))
}

/// Ways to a smaller bank.
fn smaller(request: &FeaturesRequest) -> Vec<String> {
    let FeaturesConfig { views, other_views, maps, precision, .. } =
        request.loaded.pipeline.features;
    let ways = [
        (maps == KeepMaps::All, "--maps needed".to_string()),
        (
            maps == KeepMaps::Needed && views > 1 && other_views == 0,
            "fewer views of classes without maps (features.other_views)".into(),
        ),
        (views > 1, format!("fewer views (features.views is {views})")),
        (precision == Precision::F32, "features.precision = \"f16\"".to_string()),
    ];
    ways.into_iter().filter(|(is, _)| *is).map(|(_, way)| way).collect()
}

/// Room for a bank made from the maps of another one.
pub(super) fn another(request: &FeaturesRequest, maps: &Manifest) -> DiskForecast {
    let plan = build_plan(request, maps.clone());
    let training = plan.items["train"];
    let needed = match request.loaded.pipeline.features.maps {
        // Without a classifier the activation maps are 0, and take nothing.
        KeepMaps::All => maps.total_bytes() + RawBytes::of(&plan, training, 0).cams,
        // At least: which maps are kept is known once there is a classifier.
        KeepMaps::Needed | KeepMaps::None => RawBytes::without_maps(request, &plan),
    };
    let needed = needed.saturating_sub(disk::bytes_below(&Build::folder(request.out)));
    DiskForecast::of(request, &Build::folder(request.out), needed)
}

impl DiskForecast {
    /// Refuses what does not fit.
    ///
    /// # Errors
    /// [`FeaturesError::Space`].
    pub fn require(self) -> Result<(), FeaturesError> {
        match self.fits {
            Some(false) => Err(FeaturesError::Space(self)),
            _ => Ok(()),
        }
    }

    pub(super) fn of(request: &FeaturesRequest, folder: &Path, needed: u64) -> Self {
        let place = disk::nearest_folder(folder);
        let free = (request.free_bytes)(&place);
        let replaced = Manifest::load(request.out).ok().map(|(manifest, _)| manifest.total_bytes());
        let fits = free.map(|free| needed <= free);
        Self { place, free, needed, replaced, fits, smaller: smaller(request) }
    }
}

/// What is needed and what is free, and what can be done where that is too little.
impl std::fmt::Display for DiskForecast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let needed = bytes_text(self.needed);
        let free = self.free.map_or("an unknown part".into(), bytes_text);
        let place = self.place.display();
        write!(f, "{place}: the bank needs {needed} and {free} are free\n  Make room")?;
        f.write_str(", choose another place with --out")?;
        match self.smaller.is_empty() {
            true => f.write_str("."),
            false => write!(f, ", or make the bank smaller: {}.", self.smaller.join(", ")),
        }
    }
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
        let others = plan.items.iter().filter(|(split, _)| *split != "train");
        let rows = training + others.map(|(_, rows)| rows).sum::<u64>();
        Self {
            maps_f32: 4 * values * maps,
            maps: stored * values * maps,
            pooled: 4 * shape.channels as u64 * rows,
            cams: training * (4 * locations + locations.div_ceil(8)),
        }
    }

    /// Of a bank without maps, whatever its classes, at least.
    pub(super) fn without_maps(request: &FeaturesRequest, plan: &BuildPlan) -> u64 {
        let FeaturesConfig { views, other_views, .. } = request.loaded.pipeline.features;
        let views = if other_views > 0 { other_views } else { views };
        let training = (request.dataset.train.len() * views) as u64;
        let Self { pooled, cams, .. } = Self::of(plan, training, 0);
        pooled + cams
    }
}

impl Forecast {
    /// What is known before a shard is.
    pub(super) fn of_settings(request: &FeaturesRequest, manifest: &Manifest) -> Self {
        let plan = build_plan(request, manifest.clone());
        Self {
            bank: request.out.into(),
            already_done: false,
            device: String::new(),
            splits: BTreeMap::new(),
            map: manifest.feature_shape,
            locations: manifest.feature_shape.locations(),
            precision: manifest.precision,
            compression_level: request.loaded.pipeline.features.compression_level,
            raw_bytes: RawBytes::of(&plan, plan.items["train"], 0),
            maps_known: MapsKnown::Known,
            bytes: 0,
            state: BuildState { shards_done: 0, shards: 0, items_done: 0, items: 0 },
            shard_rows: plan.shard_rows(),
            partition: request.partition,
            to_do: ToDo { shards: 0, rows: 0, bytes: 0, secs: None, fitting: false },
            sample: None,
            disk: DiskForecast::of(request, &Build::folder(request.out), 0),
        }
    }

    /// Of a bank that is there.
    pub(super) fn of_bank(request: &FeaturesRequest, bank: &Manifest) -> Self {
        // Those of the images that were not left out.
        let skipped = SkippedList::images_in(&skipped_file(request.out));
        request.dataset.skipped.restore(skipped.iter());
        let plan = build_plan(request, bank.clone());
        let kinds = Kind::all(request, &plan);
        let split = |(name, entry): (&String, &SplitEntry)| {
            let (views, other_views) = views(bank, name);
            let split = SplitForecast {
                images: entry.images,
                views,
                other_views,
                rows: entry.rows,
                rows_with_maps: rows_with_maps(&kinds, name),
                shards: entry.shards.len(),
                bytes: entry.shards.iter().map(|shard| shard.bytes).sum(),
            };
            (name.clone(), split)
        };
        let splits: BTreeMap<String, SplitForecast> = bank.splits.iter().map(split).collect();
        let shards = splits.values().map(|split| split.shards).sum();
        let rows = splits.values().map(|split| split.rows).sum();
        Self {
            already_done: true,
            bytes: bank.total_bytes(),
            raw_bytes: RawBytes::of(
                &plan,
                rows_of(&kinds, "train"),
                rows_with_maps(&kinds, "train"),
            ),
            splits,
            state: BuildState { shards_done: shards, shards, items_done: rows, items: rows },
            ..Self::of_settings(request, bank)
        }
    }

    /// Of a bank that is to be made from the maps of another one, once a classifier was fitted to them.
    pub(super) fn from_maps(request: &FeaturesRequest, maps: &Manifest) -> Self {
        let there = Self::of_bank(request, maps);
        let BuildState { shards, items: rows, .. } = there.state;
        Self {
            already_done: false,
            state: BuildState { shards_done: 0, items_done: 0, ..there.state },
            to_do: ToDo { shards, rows, bytes: there.bytes, secs: None, fitting: true },
            disk: another(request, maps),
            maps_known: match request.loaded.pipeline.features.maps {
                KeepMaps::All => MapsKnown::Known,
                KeepMaps::Needed | KeepMaps::None => MapsKnown::AtMost,
            },
            ..there
        }
    }
}
