//! What is left to do of a bank: its forecast, and whether the disk has room for it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::context::BuildContext;
use super::disk_room::{bytes_without_maps, room};
use super::error::FeaturesError;
use super::existing::{describe, same, without_classifier};
use super::forecast::{
    DiskForecast, Forecast, MapsKnown, RawBytes, SampleFigures, SplitForecast, ToDo,
};
use super::model::{FrozenModel, HeadSource};
use super::needed::{TailImages, plan_in_force};
use super::network_source::{LazyNetwork, MapSource};
use super::request::{FeaturesRequest, unfitted_folder};
use super::row_kind::{RowKind, most_bytes};
use super::rows::RowMaker;
use super::sample::{RowCosts, Sampler};
use super::settled_forecast::{self, images_of, rows_of, rows_with_maps, views};
use crate::backbone::Backbone;
use crate::bank::{BankError, Build, BuildPlan, Manifest, MapsKept, PlannedShard, ShardResult};
use crate::config::KeepMaps;
use crate::disk;
use crate::domain::{ClassCounts, LinearHead, Split};
use crate::progress::Watch;
use crate::rng::{KeyedRng, Stage};

/// What [`super::run`] would make, and what it would take: rows and shards follow from images and
/// settings, bytes and time from a sample of rows that is made and thrown away. Nothing stays on disk.
///
/// # Errors
/// Those of [`super::run`] that are known before. A bank that does not fit is not an error.
///
/// # Cost
/// Seconds to half a minute; with a network of less than two rows a second the time of 50 rows.
pub fn plan(
    request: &FeaturesRequest,
    model: FrozenModel,
    watch: Watch<'_>,
) -> Result<Forecast, FeaturesError> {
    model.must_suit(request.dataset)?;
    let FrozenModel { shape, head, reference, identity, device, start } = model;
    let manifest = describe(request, reference, &head, shape);
    if let Some(there) = same(request.out, request.overwrite, &manifest)? {
        return Ok(settled_forecast::of_bank(request, &there));
    }
    let unfitted = unfitted_folder(request.out);
    let (out, manifest, head) = match head {
        HeadSource::Given(head) => (request.out, manifest, head),
        HeadSource::Fitted(_) => {
            let (bare, none) = without_classifier(&manifest);
            match same(&unfitted, false, &bare) {
                Ok(Some(maps)) => return Ok(settled_forecast::from_maps(request, &maps)),
                Err(e) if !request.overwrite => return Err(e),
                _ => (&*unfitted, bare, none),
            }
        }
    };
    let partition = request.partition;
    let (identity, device) = (&*identity, &*device);
    let context = BuildContext { request, out, partition, identity, device, watch };
    let mut source = MapSource::Network(LazyNetwork::new(start));
    let images = TailImages::ForSecs(TAIL_SECS);
    let (plan, mut known) = plan_in_force(&context, manifest, &head, &mut source, images)?;
    if out != request.out && request.loaded.pipeline.features.maps != KeepMaps::All {
        known = MapsKnown::AtMost;
    }
    let estimate = BuildEstimate::new(request, out, plan, &head)?;
    let MapSource::Network(mut network) = source else { unreachable!("it was made above") };
    let forecast = estimate.forecast(&mut network, device, watch)?;
    Ok(Forecast { maps_known: known, ..forecast })
}

/// Seconds that a plan spends on images of the tail, to choose the classes whose maps are kept.
const TAIL_SECS: f64 = 10.0;

/// A bank before it is made, or the unfinished part of it.
pub(super) struct BuildEstimate<'a> {
    request: &'a FeaturesRequest<'a>,
    head: Cow<'a, LinearHead>,
    /// Where it is made.
    out: &'a Path,
    build: Build,
    results: Vec<Option<ShardResult>>,
    kinds: Vec<RowKind>,
    /// Whether it is made once more when its classifier is fitted, while the first still exists.
    twice: bool,
}

impl<'a> BuildEstimate<'a> {
    /// What is left of the bank that `plan` describes; nothing is written. Where it is not made in the place
    /// that is asked for, its classifier is to be fitted.
    ///
    /// # Errors
    /// Another bank was begun there.
    pub(super) fn new(
        request: &'a FeaturesRequest<'a>,
        out: &'a Path,
        plan: BuildPlan,
        head: &'a LinearHead,
    ) -> Result<Self, FeaturesError> {
        let names = request.dataset.class_names.clone();
        let build = Build::look(out, plan, names, request.overwrite)?;
        let kinds = RowKind::all(request, &build.plan);
        let done = |shard: &PlannedShard| build.done(shard, request.overwrite);
        let results = build.shards().iter().map(done).collect::<Result<_, _>>()?;
        let fitted = out != request.out;
        let head = match fitted {
            true => Cow::Owned(some_head(&build.plan.manifest)),
            false => Cow::Borrowed(head),
        };
        // A partition of the maps is all that a process makes of them.
        let twice = fitted && request.partition.is_none();
        Ok(Self { request, head, out, build, results, kinds, twice })
    }

    fn missing(&self) -> impl Iterator<Item = &PlannedShard> {
        let partition = self.request.partition;
        let missing = move |shard: &&PlannedShard| {
            self.results[shard.place].is_none() && partition.is_none_or(|part| part.has(shard))
        };
        self.build.shards().iter().filter(missing)
    }

    /// Bytes of the classifier and of the table of classes, both of which have its weights.
    fn rest_bytes(&self) -> u64 {
        const OVERHEAD: usize = 2048;
        let weights = 4 * (self.head.weight.len() + self.head.bias.len());
        let names = self.request.dataset.class_names.iter().map(|name| name.len() + 8);
        (2 * (weights + names.sum::<usize>()) + OVERHEAD) as u64
    }

    /// Bytes that the missing shards take at most.
    fn most_bytes(&self) -> u64 {
        const A_SHARD: u64 = 1 << 15;
        let of_kind = |kind: &RowKind| {
            let rows: u64 = self.missing().map(|shard| kind.rows_in(shard)).sum();
            rows * most_bytes(kind, &self.build.plan.manifest, self.request)
        };
        let shards = self.missing().count() as u64 * A_SHARD;
        let once = self.kinds.iter().map(of_kind).sum::<u64>() + shards + self.rest_bytes();
        if self.twice { 2 * once } else { once }
    }

    /// Bytes that the rest of the bank is expected to take.
    fn needed_bytes(&self, measured: &RowCosts) -> u64 {
        let with_checksums = |shards: &[&PlannedShard]| {
            let shards = || shards.iter().copied();
            measured.shard_bytes(&self.kinds, self.build.format(), shards())
                + measured.checksum_bytes(&self.kinds, shards())
        };
        let missing: Vec<&PlannedShard> = self.missing().collect();
        let mut needed = with_checksums(&missing) as u64 + self.rest_bytes();
        if self.twice {
            let all: Vec<&PlannedShard> = self.build.shards().iter().collect();
            let again = match self.request.loaded.pipeline.features.maps {
                KeepMaps::All => with_checksums(&all) as u64,
                // At least: which maps are kept is known once there is a classifier.
                KeepMaps::Needed | KeepMaps::None => {
                    bytes_without_maps(self.request, &self.build.plan)
                }
            };
            let again = again + self.rest_bytes();
            needed += again.saturating_sub(disk::bytes_below(&Build::folder(self.request.out)));
        }
        needed
    }

    fn measure(
        &self,
        backbone: &mut dyn Backbone,
        watch: Watch<'_>,
    ) -> Result<RowCosts, FeaturesError> {
        /// Bytes of a sample at most.
        const MOST: u64 = 1 << 28;
        let manifest = &self.build.plan.manifest;
        let DiskForecast { place, free, .. } = self.disk(0);
        let sampler = Sampler {
            request: self.request,
            manifest,
            format: self.build.format(),
            maker: RowMaker::new(manifest, &self.head),
            place: &place,
            room: free.map_or(MOST, |free| MOST.min(free / 2)),
            watch,
        };
        sampler.measure(&self.kinds, backbone).map_err(|e| match is_full(&e) {
            true => FeaturesError::Space(self.disk(self.most_bytes())),
            false => e,
        })
    }

    fn disk(&self, needed: u64) -> DiskForecast {
        room(self.request, &Build::folder(self.out), needed)
    }

    /// Refuses what cannot fit. Where the missing shards would fit whatever their content, that costs
    /// nothing; else a sample is measured.
    pub(super) fn require_room(
        &self,
        network: &mut LazyNetwork,
        watch: Watch<'_>,
    ) -> Result<(), FeaturesError> {
        let surely = self.disk(self.most_bytes()).fits.unwrap_or(true);
        if surely || self.missing().next().is_none() {
            return Ok(());
        }
        let measured = self.measure(network.get()?, watch)?;
        self.disk(self.needed_bytes(&measured)).require()
    }

    /// What it will be.
    pub(super) fn forecast(
        &self,
        network: &mut LazyNetwork,
        device: &str,
        watch: Watch<'_>,
    ) -> Result<Forecast, FeaturesError> {
        let missing: Vec<&PlannedShard> = self.missing().collect();
        let rest = self.rest_bytes();
        let all_done = self.results.iter().all(Option::is_some);
        let measured = match all_done && !self.twice {
            true => None,
            false => Some(self.measure(network.get()?, watch)?),
        };
        let expected = |shards: &[&PlannedShard]| match &measured {
            Some(measured) => {
                let shards = shards.iter().copied();
                measured.shard_bytes(&self.kinds, self.build.format(), shards) as u64
            }
            None => 0,
        };
        // Of shards that are done the bytes are known.
        let bytes = |shards: &[&PlannedShard]| {
            let done = |shard: &&PlannedShard| self.results[shard.place].as_ref();
            let left: Vec<&PlannedShard> =
                shards.iter().filter(|shard| done(shard).is_none()).copied().collect();
            shards.iter().filter_map(done).map(|r| r.shard.bytes).sum::<u64>() + expected(&left)
        };
        let split = |name: Split| {
            self.build.plan.pairs(name)?;
            let shards = self.build.shards().iter();
            let shards: Vec<&PlannedShard> = shards.filter(|shard| shard.split == name).collect();
            let (views, other_views) = views(&self.build.plan.manifest, name);
            let split = SplitForecast {
                images: images_of(&self.kinds, name),
                views,
                other_views,
                rows: rows_of(&self.kinds, name),
                rows_with_maps: rows_with_maps(&self.kinds, name),
                shards: shards.len(),
                bytes: bytes(&shards),
            };
            Some((name.to_string(), split))
        };
        let splits: BTreeMap<String, SplitForecast> =
            Split::ALL.into_iter().filter_map(split).collect();
        let maps = splits.values().map(|split| split.rows_with_maps).sum();
        let needed = match &measured {
            Some(measured) => self.needed_bytes(measured),
            None => rest,
        };
        let to_do = ToDo {
            shards: missing.len(),
            rows: self.rows_in(&missing),
            bytes: expected(&missing),
            secs: measured.as_ref().map(|measured| self.secs(measured)),
            fitting: self.twice,
        };
        Ok(Forecast {
            device: device.into(),
            bytes: splits.values().map(|split| split.bytes).sum::<u64>() + rest,
            raw_bytes: RawBytes::of(&self.build.plan, rows_of(&self.kinds, Split::Train), maps),
            splits,
            state: self.build.state(&self.results),
            to_do,
            sample: measured.as_ref().map(|measured| self.figures(measured)),
            disk: self.disk(needed),
            ..settled_forecast::of_settings(self.request, &self.build.plan.manifest)
        })
    }

    fn rows_in(&self, shards: &[&PlannedShard]) -> u64 {
        let of = |shard: &&PlannedShard| self.kinds.iter().map(|k| k.rows_in(shard)).sum::<u64>();
        shards.iter().map(of).sum()
    }

    /// Expected seconds of what is left.
    fn secs(&self, measured: &RowCosts) -> f64 {
        let once = measured.secs(&self.kinds, self.missing());
        let main = measured.main(&self.kinds);
        let rows: u64 = self.kinds.iter().map(RowKind::rows).sum();
        let again = if self.twice { main.stages.encode * rows as f64 } else { 0.0 };
        once + self.tail_images() as f64 * main.stages.decode.max(main.stages.forward) + again
    }

    /// Images that are passed through the network beforehand, to find out which maps are kept.
    fn tail_images(&self) -> u64 {
        let begun = Build::folder(self.out).exists();
        if begun || !matches!(self.build.plan.manifest.maps, MapsKept::Needed { .. }) {
            return 0;
        }
        let dataset = self.request.dataset;
        let counts = ClassCounts::from_labels(dataset.train.labels(), dataset.class_names.len());
        let split = counts.split(self.request.loaded.pipeline.finetune.head_ratio);
        split.tail.iter().map(|class| counts.0[class.index()]).sum()
    }

    fn figures(&self, measured: &RowCosts) -> SampleFigures {
        let main = measured.main(&self.kinds);
        let rate = |secs: f64| 1.0 / secs.max(1e-9);
        SampleFigures {
            rows: measured.samples.iter().map(|sample| sample.rows).sum(),
            secs: measured.secs,
            rows_per_sec: rate(main.row_secs),
            decode_per_sec: rate(main.stages.decode),
            forward_per_sec: rate(main.stages.forward),
            encode_per_sec: rate(main.stages.encode),
        }
    }
}

/// A classifier whose activation maps take as much as those of any other.
fn some_head(manifest: &Manifest) -> LinearHead {
    let (classes, channels) = (manifest.dataset.classes, manifest.feature_shape.channels);
    let mut rng = KeyedRng::new(manifest.views.seed, Stage::NewClassifier, (0, 0));
    let weight = (0..classes * channels).map(|_| rng.normal() as f32).collect();
    let head = LinearHead::new(weight, vec![0.0; classes]);
    head.expect("a dataset has classes, and a map channels")
}

/// Whether an error says that the disk is full.
fn is_full(error: &FeaturesError) -> bool {
    let FeaturesError::Bank(BankError::Write(error)) = error else { return false };
    error.source.kind() == io::ErrorKind::StorageFull
}
