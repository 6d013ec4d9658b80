//! One pass over the images: they are decoded and transformed, the network computes their maps, and
//! finished maps become rows, all three at once.

use std::path::Path;
use std::time::Instant;

use super::rows::RowMaker;
use super::{FeaturesError, FeaturesOutcome, FeaturesRequest, clear, outcome, skipped_file};
use crate::backbone::{Backbone, BackboneError};
use crate::bank::{BankError, BankWriter, ClassRow, Layout, Manifest, RowHead, TrainRow};
use crate::classifier_file::ClassifierCard;
use crate::dataset::{Augmentation, Dataset, DatasetError, Loader, Split, Transform};
use crate::domain::{ClassCounts, FeatureShape, LinearHead};
use crate::progress::{Interrupt, Progress};
use crate::rng::{KeyedRng, Stage};

/// What the writing of one bank has at hand.
pub(super) struct Pass<'a> {
    pub(super) request: &'a FeaturesRequest<'a>,
    pub(super) shape: FeatureShape,
    /// sha256 that names the network.
    pub(super) identity: String,
    /// In words.
    pub(super) device: String,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a Interrupt,
}

impl Pass<'_> {
    /// Runs the network over all images and writes the bank that `manifest` describes.
    pub(super) fn write(
        &self,
        out: &Path,
        manifest: Manifest,
        head: &LinearHead,
        start: impl FnOnce() -> Result<Box<dyn Backbone>, BackboneError>,
    ) -> Result<FeaturesOutcome, FeaturesError> {
        let Self { request, progress, .. } = self;
        let dataset = request.dataset;
        clear(out)?;
        let mut backbone = start()?;
        progress.line(&format!(
            "{} images x {} views of {} training, {} test, on {}",
            dataset.train.len(),
            request.loaded.pipeline.features.views,
            request.loaded.name,
            dataset.test.len(),
            self.device,
        ));
        let maker = self.row_maker(head);
        let mut writer = self.writer(out)?;
        let jobs = jobs(request);
        let total: u64 = jobs.iter().map(|job| job.items.len() as u64).sum();
        // Half before the pass and half after it, for a machine's pace changes.
        let mut forward = Forward::default();
        if request.measure_forward {
            forward.time(&jobs, backbone.as_mut(), request, *progress)?;
        }
        let begin = Instant::now();
        progress.start("feature maps", total, "row");
        let mut done = 0;
        run(request, &jobs, &maker, backbone.as_mut(), &mut writer, &mut |rows| {
            done += rows;
            progress.advance(rows);
            let stopped = FeaturesError::Interrupted { done, total };
            if self.interrupt.requested() { Err(stopped) } else { Ok(()) }
        })?;
        let skipped = dataset.skipped.save(&skipped_file(request.out))?;
        skipped.told().iter().for_each(|text| progress.line(text));
        let counts = dataset.decodable_class_counts();
        let outcome = self.finish(writer, manifest, head, &counts)?;
        let secs = begin.elapsed().as_secs_f64();
        if request.measure_forward {
            forward.time(&jobs, backbone.as_mut(), request, *progress)?;
        }
        let forward_images_per_sec = forward.images_per_sec();
        Ok(FeaturesOutcome { forward_images_per_sec, ..outcome }.took(secs))
    }

    pub(super) fn row_maker<'h>(&self, head: &'h LinearHead) -> RowMaker<'h> {
        let precision = self.request.loaded.pipeline.features.precision;
        RowMaker { shape: self.shape, head, precision }
    }

    pub(super) fn writer(&self, out: &Path) -> Result<BankWriter, BankError> {
        let features = &self.request.loaded.pipeline.features;
        let layout = Layout {
            compression_level: features.compression_level,
            shard_bytes: features.shard_bytes,
            ..Layout::default()
        };
        BankWriter::new(out, self.shape, layout, self.request.dataset.class_names.clone())
    }

    /// Writes what is not rows, the manifest last. `counts` are the training images that have rows.
    pub(super) fn finish(
        &self,
        writer: BankWriter,
        mut manifest: Manifest,
        head: &LinearHead,
        counts: &ClassCounts,
    ) -> Result<FeaturesOutcome, FeaturesError> {
        let dataset: &Dataset = self.request.dataset;
        let out = writer.dir().to_path_buf();
        let class =
            |(name, &train_images): (&String, &u64)| ClassRow { name: name.clone(), train_images };
        let classes: Vec<ClassRow> = dataset.class_names.iter().zip(&counts.0).map(class).collect();
        let card = ClassifierCard {
            class_names: dataset.class_names.clone(),
            network_sha256: self.identity.clone(),
            input: None,
        };
        let written = writer.finish(&classes, head, &card)?;
        (manifest.splits, manifest.files) = (written.splits, written.files);
        manifest.save(&out)?;
        self.progress.finish();
        Ok(FeaturesOutcome { top1: written.top1, ..outcome(&out, &manifest, false) })
    }
}

/// Adds rows to a split of the bank.
pub(super) fn append(
    writer: &mut BankWriter,
    split: &'static str,
    rows: Vec<TrainRow>,
) -> Result<(), BankError> {
    match split {
        "train" => {
            let images = rows.iter().filter(|r| r.head.view == 0).count() as u64;
            writer.append_train(&rows, images)
        }
        name => {
            let heads: Vec<RowHead> = rows.into_iter().map(|row| row.head).collect();
            writer.append_pooled(name, &heads)
        }
    }
}

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

/// The rows of one split: (sample, view).
struct Job<'a> {
    name: &'static str,
    loader: Loader<'a>,
    items: Vec<(u32, u32)>,
}

/// Some rows of a split, with their inputs or their maps.
struct Part {
    /// Rows that were asked for.
    rows: usize,
    /// Those whose images could be decoded.
    items: Vec<(u32, u32)>,
    values: Vec<f32>,
}

fn jobs<'a>(request: &FeaturesRequest<'a>) -> Vec<Job<'a>> {
    let dataset = request.dataset;
    let job = |name, split: &'a Split, views: u32| {
        let samples = 0..split.len() as u32;
        let items = samples.flat_map(|s| (0..views).map(move |v| (s, v))).collect();
        Job { name, loader: Loader::new(dataset, name, split), items }
    };
    let mut jobs =
        vec![job("train", &dataset.train, request.loaded.pipeline.features.views as u32)];
    jobs.extend(dataset.val.as_ref().map(|val| job("val", val, 1)));
    jobs.push(job("test", &dataset.test, 1));
    jobs
}

/// Batches that wait between two of the three stages.
const QUEUED_BATCHES: usize = 2;

impl Job<'_> {
    fn chunks(&self, request: &FeaturesRequest) -> impl Iterator<Item = &[(u32, u32)]> {
        self.items.chunks(request.loaded.pipeline.features.batch_size)
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
        Ok(Part { rows: items.len(), items: kept, values: made.values })
    }
}

/// Runs the three stages over the jobs; `after` is told the rows of each batch.
fn run<'a>(
    request: &FeaturesRequest,
    jobs: &'a [Job<'a>],
    maker: &RowMaker,
    backbone: &mut dyn Backbone,
    writer: &mut BankWriter,
    after: &mut dyn FnMut(u64) -> Result<(), FeaturesError>,
) -> Result<(), FeaturesError> {
    std::thread::scope(|scope| {
        let (send_inputs, inputs) = crossbeam_channel::bounded(QUEUED_BATCHES);
        let (send_maps, maps) = crossbeam_channel::bounded::<(&Job, Part)>(QUEUED_BATCHES);
        scope.spawn(move || {
            for (job, items) in jobs.iter().flat_map(|j| j.chunks(request).map(move |c| (j, c))) {
                let batch = job.inputs(request, items);
                let failed = batch.is_err();
                if send_inputs.send((job, batch)).is_err() || failed {
                    return;
                }
            }
        });
        let encoder = scope.spawn(move || {
            for (job, Part { items, values, .. }) in maps {
                let split = job.loader.split();
                let head = |&(sample, view): &(u32, u32)| row_head(split, sample, view);
                let rows = maker.rows(items.iter().map(head).collect(), values)?;
                append(writer, job.name, rows)?;
            }
            Ok::<_, BankError>(())
        });
        let forward = || -> Result<(), FeaturesError> {
            for (job, batch) in inputs {
                let Part { rows, items, values } = batch?;
                if !items.is_empty() {
                    let values = backbone.feature_maps(&values, items.len())?;
                    if send_maps.send((job, Part { rows, items, values })).is_err() {
                        // The encoder has failed; its error is taken below.
                        return Ok(());
                    }
                }
                after(rows as u64)?;
            }
            Ok(())
        };
        let forward = forward();
        drop(send_maps);
        encoder.join().expect("the encoder does not panic")?;
        forward
    })
}

/// The forward pass alone, over inputs that are ready in memory.
#[derive(Default)]
struct Forward {
    images: usize,
    secs: f64,
}

impl Forward {
    /// Times it over half as many images as the jobs have.
    fn time(
        &mut self,
        jobs: &[Job],
        backbone: &mut dyn Backbone,
        request: &FeaturesRequest,
        progress: &dyn Progress,
    ) -> Result<(), FeaturesError> {
        const READY_BATCHES: usize = 4;
        let half = |job: &Job| job.items.len().div_ceil(2);
        progress.start("bare forward pass", jobs.iter().map(half).sum::<usize>() as u64, "row");
        for job in jobs {
            let mut ready: Vec<Part> = job
                .chunks(request)
                .take(READY_BATCHES)
                .map(|items| job.inputs(request, items))
                .collect::<Result<_, DatasetError>>()?;
            ready.retain(|part| !part.items.is_empty());
            let Some(first) = ready.first() else { continue };
            backbone.feature_maps(&first.values, first.items.len())?;
            let mut rest = half(job);
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

    fn images_per_sec(&self) -> Option<f64> {
        (self.images > 0).then(|| self.images as f64 / self.secs)
    }
}
