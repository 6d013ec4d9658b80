//! One pass over the images: they are decoded and transformed, the network computes their maps, and
//! finished maps become rows, all three at once.

use std::collections::HashSet;
use std::time::Instant;

use super::FeaturesError;
use super::FeaturesRequest;
use super::rows::RowMaker;
use crate::backbone::Backbone;
use crate::bank::{
    BankError, Build, MapsKept, PlannedShard, RowHead, ShardResult, ShardWriter, TrainRow,
};
use crate::dataset::{Augmentation, DatasetError, Loader, Split, Transform};
use crate::domain::SkippedImage;
use crate::progress::Progress;
use crate::rng::{KeyedRng, Stage};

/// What a row is, before anything was computed for it.
pub(super) fn row_head(split: &Split, sample_id: u32, view: u32) -> RowHead {
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

/// Writes rows of a split.
pub(super) fn append(
    writer: &mut ShardWriter,
    split: &str,
    rows: Vec<TrainRow>,
) -> Result<(), BankError> {
    if split == "train" {
        return writer.append_train(&rows);
    }
    let heads: Vec<RowHead> = rows.into_iter().map(|row| row.head).collect();
    writer.append_pooled(&heads)
}

/// A shard that is being written, and what is known of it.
pub(super) struct OpenShard<'a> {
    build: &'a Build,
    shard: &'a PlannedShard,
    writer: ShardWriter,
    /// Images that have rows in it.
    samples: HashSet<u32>,
    result: ShardResult,
}

impl<'a> OpenShard<'a> {
    pub(super) fn begin(build: &'a Build, shard: &'a PlannedShard) -> Result<Self, BankError> {
        let (writer, samples) = (build.writer(shard)?, HashSet::new());
        Ok(Self { build, shard, writer, samples, result: ShardResult::default() })
    }

    pub(super) fn append(&mut self, rows: Vec<TrainRow>) -> Result<(), BankError> {
        let training = self.shard.split == "train";
        self.samples.extend(rows.iter().map(|row| row.head.sample_id));
        for head in rows.iter().map(|row| &row.head).filter(|head| head.view == 0) {
            self.result.images += 1;
            self.result.right += u64::from(head.predicted == head.label);
            if training {
                *self.result.class_images.entry(head.label).or_default() += 1;
                if head.predicted != head.label {
                    let of_class = self.result.mistaken.entry(head.label).or_default();
                    *of_class.entry(head.predicted).or_default() += 1;
                }
            }
        }
        append(&mut self.writer, self.shard.split, rows)
    }

    /// Gives it its name, then marks it as done. `skipped` are its images that were left out: with all their
    /// views, so that an image is whole in a bank or not in it.
    pub(super) fn finish(mut self, skipped: Vec<SkippedImage>) -> Result<ShardResult, BankError> {
        let changed = skipped.iter().find(|i| self.samples.contains(&(i.sample_id as u32)));
        if let Some(SkippedImage { path, .. }) = changed {
            let (image, shard) = (path.clone(), self.shard.file.clone());
            return Err(BankError::ImageChanged { image, shard });
        }
        self.result.shard = self.writer.finish(Some(self.shard.items))?;
        self.result.skipped = skipped;
        self.build.mark(self.shard, self.result.clone())?;
        Ok(self.result)
    }
}

/// The images of one split.
struct Job<'a> {
    name: &'static str,
    loader: Loader<'a>,
    views: u64,
}

/// Some rows of a shard, with their inputs or their maps.
pub(super) struct Part {
    /// Rows that were asked for.
    pub(super) rows: usize,
    /// Those whose images could be decoded.
    pub(super) items: Vec<(u32, u32)>,
    pub(super) values: Vec<f32>,
    /// Whether the shard ends here.
    last: bool,
}

/// The splits of a dataset that have images.
pub(super) struct Jobs<'a> {
    request: &'a FeaturesRequest<'a>,
    jobs: Vec<Job<'a>>,
}

/// Batches that wait between two of the three stages.
const QUEUED_BATCHES: usize = 2;

impl Job<'_> {
    /// (sample, view) pairs of a shard that have a row.
    fn items(&self, shard: &PlannedShard, kept: &MapsKept) -> Vec<(u32, u32)> {
        let pair = |item: u64| ((item / self.views) as u32, (item % self.views) as u32);
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
        items: &[(u32, u32)],
    ) -> Result<Part, DatasetError> {
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
        let images: Vec<(usize, Transform)> = items.iter().map(transformed).collect();
        let made = self.loader.inputs(&images)?;
        let kept = made.kept.iter().map(|&place| items[place]).collect();
        Ok(Part { rows: items.len(), items: kept, values: made.values, last: false })
    }
}

/// What the three stages are told and tell.
pub(super) struct Hooks<'a> {
    /// Whether a shard should be made; asked right before it is begun.
    pub(super) wanted: &'a (dyn Fn(&PlannedShard) -> Result<Wanted, BankError> + Sync),
    /// Told of the rows of each batch.
    pub(super) after: &'a mut dyn FnMut(u64),
    /// Told of each shard that is done.
    pub(super) done: &'a mut (dyn FnMut(&PlannedShard, ShardResult) + Send),
}

/// What becomes of a shard.
pub(super) enum Wanted {
    /// It is made.
    Yes,
    /// It is there already.
    No,
    /// Neither it nor any after it is made.
    Stop,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(request: &'a FeaturesRequest<'a>) -> Self {
        let dataset = request.dataset;
        let job = |name, split: &'a Split, views: usize| Job {
            name,
            loader: Loader::new(dataset, name, split),
            views: views as u64,
        };
        let mut jobs = vec![job("train", &dataset.train, request.loaded.pipeline.features.views)];
        jobs.extend(dataset.val.as_ref().map(|val| job("val", val, 1)));
        jobs.push(job("test", &dataset.test, 1));
        Self { request, jobs }
    }

    fn of(&self, shard: &PlannedShard) -> &Job<'a> {
        self.jobs.iter().find(|job| job.name == shard.split).expect("shards are of its splits")
    }

    /// Rows of some shards, those of images that cannot be decoded included.
    pub(super) fn count(&self, build: &Build, shards: &[&PlannedShard]) -> u64 {
        let maps = &build.plan.manifest.maps;
        shards.iter().map(|shard| self.of(shard).items(shard, maps).len() as u64).sum()
    }

    pub(super) fn batch_size(&self) -> usize {
        self.request.loaded.pipeline.features.batch_size
    }

    /// The images of a shard that were left out.
    pub(super) fn skipped(&self, shard: &PlannedShard) -> Vec<SkippedImage> {
        let views = self.of(shard).views;
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
        let job = self.jobs.iter().find(|job| job.name == "train").expect("there is always one");
        std::thread::scope(|scope| {
            let (send_inputs, inputs) = crossbeam_channel::bounded(QUEUED_BATCHES);
            scope.spawn(move || {
                for some in samples.chunks(self.batch_size()) {
                    let items: Vec<(u32, u32)> = some.iter().map(|&sample| (sample, 0)).collect();
                    let batch = job.inputs(self.request, &items);
                    let failed = batch.is_err();
                    if send_inputs.send(batch).is_err() || failed {
                        return;
                    }
                }
            });
            for batch in inputs {
                let Part { rows, items, values, .. } = batch?;
                let maps = match items.is_empty() {
                    true => vec![],
                    false => backbone.feature_maps(&values, items.len())?,
                };
                let split = job.loader.split();
                let heads = items.iter().map(|&(sample, view)| row_head(split, sample, view));
                take(rows as u64, maker.bare_rows(heads.collect(), maps)?)?;
            }
            Ok(())
        })
    }

    /// Decoded, transformed and normalised images of a split.
    pub(super) fn inputs(
        &self,
        shard: &PlannedShard,
        items: &[(u32, u32)],
    ) -> Result<Part, DatasetError> {
        self.of(shard).inputs(self.request, items)
    }

    /// Rows of maps that were computed.
    pub(super) fn rows(
        &self,
        shard: &PlannedShard,
        part: Part,
        maker: &RowMaker,
    ) -> Result<Vec<TrainRow>, BankError> {
        let split = self.of(shard).loader.split();
        let head = |&(sample, view): &(u32, u32)| row_head(split, sample, view);
        maker.rows(part.items.iter().map(head).collect(), part.values)
    }

    /// Makes shards.
    pub(super) fn run<'s>(
        &self,
        build: &'s Build,
        shards: &[&'s PlannedShard],
        maker: &RowMaker,
        backbone: &mut dyn Backbone,
        hooks: Hooks,
    ) -> Result<(), FeaturesError> {
        let Hooks { wanted, after, done } = hooks;
        let ask = |make: &mut Ask<'_, 's>| {
            for &shard in shards {
                match wanted(shard)? {
                    Wanted::Yes => {}
                    Wanted::No => continue,
                    Wanted::Stop => break,
                }
                let items = self.of(shard).items(shard, &build.plan.manifest.maps);
                if items.is_empty() && !make(shard, &[], true) {
                    return Ok(());
                }
                let mut left = items.len();
                for some in items.chunks(self.batch_size()) {
                    left -= some.len();
                    if !make(shard, some, left == 0) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        let mut open: Option<OpenShard> = None;
        let encode = |shard, part: Part| {
            let last = part.last;
            let mut under_way = match open.take() {
                Some(under_way) => under_way,
                None => OpenShard::begin(build, shard)?,
            };
            under_way.append(self.rows(shard, part, maker)?)?;
            match last {
                true => done(shard, under_way.finish(self.skipped(shard))?),
                false => open = Some(under_way),
            }
            Ok(())
        };
        self.stages(ask, backbone, after, encode).map(drop)
    }

    /// Runs the three stages at once over the batches that `ask` asks for; `after` is told of the rows of
    /// each whose maps are computed.
    pub(super) fn stages<'s>(
        &self,
        ask: impl FnOnce(&mut Ask<'_, 's>) -> Result<(), FeaturesError> + Send,
        backbone: &mut dyn Backbone,
        after: &mut dyn FnMut(u64),
        mut encode: impl FnMut(&'s PlannedShard, Part) -> Result<(), BankError> + Send,
    ) -> Result<StageSecs, FeaturesError> {
        let mut secs = StageSecs::default();
        std::thread::scope(|scope| {
            let (send_inputs, inputs) = crossbeam_channel::bounded(QUEUED_BATCHES);
            let (send_maps, maps) =
                crossbeam_channel::bounded::<(&PlannedShard, Part)>(QUEUED_BATCHES);
            let decoder = scope.spawn(move || {
                let mut secs = 0.0;
                let mut make = |shard: &'s PlannedShard, items: &[(u32, u32)], last: bool| {
                    let begin = Instant::now();
                    let part = self.inputs(shard, items).map(|part| Part { last, ..part });
                    secs += begin.elapsed().as_secs_f64();
                    let failed = part.is_err();
                    let part = part.map_err(FeaturesError::from);
                    send_inputs.send((shard, part)).is_ok() && !failed
                };
                ask(&mut make).map(|()| secs)
            });
            let encoder = scope.spawn(move || {
                let mut secs = 0.0;
                for (shard, part) in maps {
                    let begin = Instant::now();
                    encode(shard, part)?;
                    secs += begin.elapsed().as_secs_f64();
                }
                Ok::<_, BankError>(secs)
            });
            let forward = || -> Result<(), FeaturesError> {
                for (shard, part) in inputs {
                    let part: Part = part?;
                    let begin = Instant::now();
                    let values = match part.items.is_empty() {
                        true => vec![],
                        false => backbone.feature_maps(&part.values, part.items.len())?,
                    };
                    secs.forward += begin.elapsed().as_secs_f64();
                    let rows = part.rows as u64;
                    if send_maps.send((shard, Part { values, ..part })).is_err() {
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
pub(super) type Ask<'f, 's> = dyn FnMut(&'s PlannedShard, &[(u32, u32)], bool) -> bool + 'f;

/// Seconds that each stage was at work.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StageSecs {
    pub(super) decode: f64,
    pub(super) forward: f64,
    pub(super) encode: f64,
}

/// The forward pass alone, over inputs that are ready in memory.
#[derive(Default)]
pub(super) struct Forward {
    images: usize,
    secs: f64,
}

impl Forward {
    /// Times it over half as many images as the shards have.
    pub(super) fn time(
        &mut self,
        jobs: &Jobs,
        build: &Build,
        shards: &[&PlannedShard],
        backbone: &mut dyn Backbone,
        progress: &dyn Progress,
    ) -> Result<(), FeaturesError> {
        const READY_BATCHES: usize = 4;
        progress.start("bare forward pass", jobs.count(build, shards).div_ceil(2), "row");
        for shard in shards {
            let items = jobs.of(shard).items(shard, &build.plan.manifest.maps);
            let mut ready: Vec<Part> = items
                .chunks(jobs.batch_size())
                .take(READY_BATCHES)
                .map(|items| jobs.inputs(shard, items))
                .collect::<Result<_, DatasetError>>()?;
            ready.retain(|part| !part.items.is_empty());
            let Some(first) = ready.first() else { continue };
            backbone.feature_maps(&first.values, first.items.len())?;
            let mut rest = items.len().div_ceil(2);
            for Part { items, values, .. } in ready.iter().cycle() {
                if rest == 0 {
                    break;
                }
                let begin = Instant::now();
                backbone.feature_maps(values, items.len())?;
                self.secs += begin.elapsed().as_secs_f64();
                self.images += items.len();
                rest = rest.saturating_sub(items.len());
                progress.advance(items.len() as u64);
            }
        }
        progress.finish();
        Ok(())
    }

    pub(super) fn rows_per_sec(&self) -> Option<f64> {
        (self.images > 0).then(|| self.images as f64 / self.secs)
    }
}
