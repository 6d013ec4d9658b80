//! One pass over the images: they are decoded and transformed, the network computes their maps, and
//! finished maps become rows, all three at once.

use std::time::Instant;

use super::error::FeaturesError;
use super::request::FeaturesRequest;
use super::rows::RowMaker;
use crate::backbone::Backbone;
use crate::bank::{
    BankError, Build, MapsKept, OpenShard, PlannedShard, RowHead, ShardResult, TrainRow,
};
use crate::dataset::{Augmentation, DatasetError, Loader, SplitImages, Transform};
use crate::domain::{SkippedImage, Split};
use crate::progress::Progress;
use crate::rng::{KeyedRng, Stage};

/// What a row is, before anything was computed for it.
pub(super) fn row_head(split: &SplitImages, sample_id: u32, view: u32) -> RowHead {
    RowHead {
        sample_id,
        view,
        path: split.path(sample_id as usize).into(),
        label: split.labels()[sample_id as usize],
        predicted: 0,
        confidence: 0.0,
        pooled: vec![],
    }
}

/// The images of one split.
struct SplitViews<'a> {
    name: Split,
    loader: Loader<'a>,
    views: u64,
}

/// Rows of a shard that are together on their way, with their inputs or their maps.
pub(super) struct Batch {
    /// Rows that were asked for.
    pub(super) rows: usize,
    /// Those whose images could be decoded.
    pub(super) pairs: Vec<(u32, u32)>,
    pub(super) values: Vec<f32>,
    /// Whether the shard ends here.
    last: bool,
}

/// The images of all splits of a dataset, on their way through the network.
pub(super) struct ImagePass<'a> {
    request: &'a FeaturesRequest<'a>,
    splits: Vec<SplitViews<'a>>,
}

/// Batches that wait between two of the three stages.
const QUEUED_BATCHES: usize = 2;

impl SplitViews<'_> {
    /// (sample, view) pairs of a shard that have a row.
    fn pairs(&self, shard: &PlannedShard, kept: &MapsKept) -> Vec<(u32, u32)> {
        let pair = |number: u64| ((number / self.views) as u32, (number % self.views) as u32);
        let labels = self.loader.split().labels();
        let has_row = |&(sample, view): &(u32, u32)| {
            (view as usize) < kept.views_of(labels[sample as usize], self.views as usize)
        };
        (shard.items[0]..shard.items[1]).map(pair).filter(has_row).collect()
    }

    /// Decoded, transformed and normalised images: (n, 3, side, side).
    fn inputs(
        &self,
        request: &FeaturesRequest,
        pairs: &[(u32, u32)],
    ) -> Result<Batch, DatasetError> {
        let pipeline = &request.loaded.pipeline;
        let augmentation = Augmentation::new(&pipeline.train);
        let transformed = |&(sample, view): &(u32, u32)| {
            let key = (u64::from(sample), u64::from(view));
            let how = match view {
                0 => Transform::NONE,
                _ => {
                    augmentation.draw(&mut KeyedRng::new(pipeline.seed, Stage::ViewTransform, key))
                }
            };
            (sample as usize, how)
        };
        let images: Vec<(usize, Transform)> = pairs.iter().map(transformed).collect();
        let made = self.loader.inputs(&images)?;
        let kept = made.kept.iter().map(|&place| pairs[place]).collect();
        Ok(Batch { rows: pairs.len(), pairs: kept, values: made.values, last: false })
    }
}

/// What the three stages receive and report.
pub(super) struct PassHooks<'a> {
    /// What becomes of a shard; asked right before it is begun.
    pub(super) action: &'a (dyn Fn(&PlannedShard) -> Result<ShardAction, BankError> + Sync),
    /// Called with the rows of each batch.
    pub(super) after: &'a mut dyn FnMut(u64),
    /// Called for each shard that is done.
    pub(super) done: &'a mut (dyn FnMut(&PlannedShard, ShardResult) + Send),
}

/// What becomes of a shard.
pub(super) enum ShardAction {
    /// It is made.
    Make,
    /// It exists already.
    Skip,
    /// Neither it nor any after it is made.
    Stop,
}

impl<'a> ImagePass<'a> {
    pub(super) fn new(request: &'a FeaturesRequest<'a>) -> Self {
        let dataset = request.dataset;
        let views = request.loaded.pipeline.features.views as u64;
        let images = |name| {
            let loader = Loader::new(dataset, name, dataset.images(name)?);
            Some(SplitViews { name, loader, views: if name == Split::Train { views } else { 1 } })
        };
        Self { request, splits: Split::ALL.into_iter().filter_map(images).collect() }
    }

    fn images(&self, split: Split) -> &SplitViews<'a> {
        self.splits.iter().find(|of| of.name == split).expect("shards are of its splits")
    }

    /// Rows of some shards, those of images that cannot be decoded included.
    pub(super) fn count(&self, build: &Build, shards: &[&PlannedShard]) -> u64 {
        let maps = &build.plan.manifest.maps;
        shards.iter().map(|shard| self.images(shard.split).pairs(shard, maps).len() as u64).sum()
    }

    pub(super) fn batch_size(&self) -> usize {
        self.request.loaded.pipeline.features.batch_size
    }

    /// The images of a shard that were left out.
    pub(super) fn skipped(&self, shard: &PlannedShard) -> Vec<SkippedImage> {
        let views = self.images(shard.split).views;
        let samples = shard.items[0] / views..shard.items[1].div_ceil(views);
        self.request.dataset.skipped.some(shard.split, samples.start as usize..samples.end as usize)
    }

    /// Passes the clean views of some training images through the network and hands over their rows, but
    /// for what follows from the classifier, with how many images these were made of.
    pub(super) fn clean_rows(
        &self,
        samples: &[u32],
        maker: &RowMaker,
        backbone: &mut dyn Backbone,
        take: &mut dyn FnMut(u64, Vec<TrainRow>) -> Result<(), FeaturesError>,
    ) -> Result<(), FeaturesError> {
        let training = self.images(Split::Train);
        std::thread::scope(|scope| {
            let (send_inputs, inputs) = crossbeam_channel::bounded(QUEUED_BATCHES);
            scope.spawn(move || {
                for some in samples.chunks(self.batch_size()) {
                    let pairs: Vec<(u32, u32)> = some.iter().map(|&sample| (sample, 0)).collect();
                    let batch = training.inputs(self.request, &pairs);
                    let failed = batch.is_err();
                    if send_inputs.send(batch).is_err() || failed {
                        return;
                    }
                }
            });
            for batch in inputs {
                let Batch { rows, pairs, values, .. } = batch?;
                let maps = match pairs.is_empty() {
                    true => vec![],
                    false => backbone.feature_maps(&values, pairs.len())?,
                };
                let split = training.loader.split();
                let heads = pairs.iter().map(|&(sample, view)| row_head(split, sample, view));
                take(rows as u64, maker.bare_rows(heads.collect(), maps)?)?;
            }
            Ok(())
        })
    }

    /// Decoded, transformed and normalised images of a split.
    pub(super) fn inputs(
        &self,
        shard: &PlannedShard,
        pairs: &[(u32, u32)],
    ) -> Result<Batch, DatasetError> {
        self.images(shard.split).inputs(self.request, pairs)
    }

    /// Rows of maps that were computed.
    pub(super) fn rows(
        &self,
        shard: &PlannedShard,
        batch: Batch,
        maker: &RowMaker,
    ) -> Result<Vec<TrainRow>, BankError> {
        let split = self.images(shard.split).loader.split();
        let head = |&(sample, view): &(u32, u32)| row_head(split, sample, view);
        maker.rows(batch.pairs.iter().map(head).collect(), batch.values)
    }

    /// Makes shards.
    pub(super) fn run<'s>(
        &self,
        build: &'s Build,
        shards: &[&'s PlannedShard],
        maker: &RowMaker,
        backbone: &mut dyn Backbone,
        hooks: PassHooks,
    ) -> Result<(), FeaturesError> {
        let PassHooks { action, after, done } = hooks;
        let ask = |make: &mut AskForBatch<'_, 's>| {
            for &shard in shards {
                match action(shard)? {
                    ShardAction::Make => {}
                    ShardAction::Skip => continue,
                    ShardAction::Stop => break,
                }
                let pairs = self.images(shard.split).pairs(shard, &build.plan.manifest.maps);
                if pairs.is_empty() && !make(shard, &[], true) {
                    return Ok(());
                }
                let mut left = pairs.len();
                for some in pairs.chunks(self.batch_size()) {
                    left -= some.len();
                    if !make(shard, some, left == 0) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        let mut open: Option<OpenShard> = None;
        let encode = |shard, batch: Batch| {
            let last = batch.last;
            let mut under_way = match open.take() {
                Some(under_way) => under_way,
                None => OpenShard::begin(build, shard)?,
            };
            under_way.append(&self.rows(shard, batch, maker)?)?;
            match last {
                true => done(shard, under_way.finish(self.skipped(shard))?),
                false => open = Some(under_way),
            }
            Ok(())
        };
        self.stages(ask, backbone, after, encode).map(drop)
    }

    /// Runs the three stages at once over the batches that `ask` asks for; `after` gets the number of
    /// rows of each whose maps are computed.
    pub(super) fn stages<'s>(
        &self,
        ask: impl FnOnce(&mut AskForBatch<'_, 's>) -> Result<(), FeaturesError> + Send,
        backbone: &mut dyn Backbone,
        after: &mut dyn FnMut(u64),
        mut encode: impl FnMut(&'s PlannedShard, Batch) -> Result<(), BankError> + Send,
    ) -> Result<StageSecs, FeaturesError> {
        let mut secs = StageSecs::default();
        std::thread::scope(|scope| {
            let (send_inputs, inputs) = crossbeam_channel::bounded(QUEUED_BATCHES);
            let (send_maps, maps) =
                crossbeam_channel::bounded::<(&PlannedShard, Batch)>(QUEUED_BATCHES);
            let decoder = scope.spawn(move || {
                let mut secs = 0.0;
                let mut make = |shard: &'s PlannedShard, pairs: &[(u32, u32)], last: bool| {
                    let begin = Instant::now();
                    let batch = self.inputs(shard, pairs).map(|batch| Batch { last, ..batch });
                    secs += begin.elapsed().as_secs_f64();
                    let failed = batch.is_err();
                    let batch = batch.map_err(FeaturesError::from);
                    send_inputs.send((shard, batch)).is_ok() && !failed
                };
                ask(&mut make).map(|()| secs)
            });
            let encoder = scope.spawn(move || {
                let mut secs = 0.0;
                for (shard, batch) in maps {
                    let begin = Instant::now();
                    encode(shard, batch)?;
                    secs += begin.elapsed().as_secs_f64();
                }
                Ok::<_, BankError>(secs)
            });
            let forward = || -> Result<(), FeaturesError> {
                for (shard, batch) in inputs {
                    let batch: Batch = batch?;
                    let begin = Instant::now();
                    let values = match batch.pairs.is_empty() {
                        true => vec![],
                        false => backbone.feature_maps(&batch.values, batch.pairs.len())?,
                    };
                    secs.forward += begin.elapsed().as_secs_f64();
                    let rows = batch.rows as u64;
                    if send_maps.send((shard, Batch { values, ..batch })).is_err() {
                        // The encoder has failed; its error is taken below.
                        return Ok(());
                    }
                    after(rows);
                }
                Ok(())
            };
            let forward = forward();
            drop(send_maps);
            secs.encode = encoder.join().expect("the encoder does not panic")?;
            forward?;
            secs.decode = decoder.join().expect("the decoder does not panic")?;
            Ok(secs)
        })
    }
}

/// Asks for rows of a shard, and whether they are its last; returns whether more can be asked for.
pub(super) type AskForBatch<'f, 's> = dyn FnMut(&'s PlannedShard, &[(u32, u32)], bool) -> bool + 'f;

/// Seconds that each stage was at work.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StageSecs {
    pub(super) decode: f64,
    pub(super) forward: f64,
    pub(super) encode: f64,
}

/// The forward pass alone, over inputs that are ready in memory.
#[derive(Default)]
pub(super) struct BareForward {
    images: usize,
    secs: f64,
}

impl BareForward {
    /// Times it over half as many images as the shards have.
    pub(super) fn time(
        &mut self,
        images: &ImagePass,
        build: &Build,
        shards: &[&PlannedShard],
        backbone: &mut dyn Backbone,
        progress: &dyn Progress,
    ) -> Result<(), FeaturesError> {
        const READY_BATCHES: usize = 4;
        progress.start("bare forward pass", images.count(build, shards).div_ceil(2), "row");
        for shard in shards {
            let pairs = images.images(shard.split).pairs(shard, &build.plan.manifest.maps);
            let mut ready: Vec<Batch> = pairs
                .chunks(images.batch_size())
                .take(READY_BATCHES)
                .map(|pairs| images.inputs(shard, pairs))
                .collect::<Result<_, DatasetError>>()?;
            ready.retain(|batch| !batch.pairs.is_empty());
            let Some(first) = ready.first() else { continue };
            backbone.feature_maps(&first.values, first.pairs.len())?;
            let mut rest = pairs.len().div_ceil(2);
            for Batch { pairs, values, .. } in ready.iter().cycle() {
                if rest == 0 {
                    break;
                }
                let begin = Instant::now();
                backbone.feature_maps(values, pairs.len())?;
                self.secs += begin.elapsed().as_secs_f64();
                self.images += pairs.len();
                rest = rest.saturating_sub(pairs.len());
                progress.advance(pairs.len() as u64);
            }
        }
        progress.finish();
        Ok(())
    }

    pub(super) fn rows_per_sec(&self) -> Option<f64> {
        (self.images > 0).then(|| self.images as f64 / self.secs)
    }
}
