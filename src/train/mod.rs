//! Phase-I: epochs, data order, checkpoints and metrics around a network that knows how to step.
//!
//! The paper's Sec. 4.1: plain training on all images. Evaluation on the test images is shown and
//! never chooses anything; the weights of the last epoch are the result.

mod draws;
mod event_file;
mod model_file;
mod objective;
mod schedule;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, WriteError};
use crate::backbone::{
    self, BackboneError, Batch, Engine, EngineOptions, HeldImage, HeldImages, Network, Recipe,
    Trainable,
};
use crate::config::{ChannelOrder, Pipeline, TrainConfig};
use crate::dataset::{
    Augmentation, Dataset, DatasetError, Loader, SkippedList, SplitImages, Transform,
};
use crate::domain::{ClassCounts, Split};
use crate::progress::{Progress, Watch};
use crate::rng::{KeyedRng, Stage};
use crate::text::{bytes_text, shell_path};
use crate::weights::{Checkpoint, Weights, WeightsError};

pub use event_file::EVENT_FILE;
pub use model_file::{
    CHECKPOINT_FILE, MODEL_FILE, ModelCard, Recalibration, load_model, read as read_model,
    set_network, write as write_model,
};
pub use schedule::learning_rate;

use draws::Draw;
use model_file::UnderWay;
use schedule::average_decay;

/// What can go wrong in Phase-I.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An image cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The engine failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// A file of weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file cannot be written after a part of the training.
    #[error("{0}\n  What was saved last is kept; continue with --resume.")]
    Stopped(WriteError),
    /// A model file that does not say what it is.
    #[error("{}: {found}; expected a model written by `fsa-bank train`\n  Train it again with --overwrite.", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// There is no model to load.
    #[error("{}: no trained model here\n  Make it with: fsa-bank train {}{flags}", path.display(), shell_path(pipeline))]
    NoModel {
        /// Where it should be.
        path: PathBuf,
        /// The pipeline that makes it.
        pipeline: PathBuf,
        /// What the command has in addition to it.
        flags: String,
    },
    /// Files of another run are in the way.
    #[error("{}: made with other settings or data ({what})\n  Choose another folder with --out, or replace it with --overwrite.", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// An unfinished run, and no word on what to do with it.
    #[error("{}: an unfinished run, {epoch} of {epochs} epochs done\n  Continue it with --resume, or start again with --overwrite.", path.display())]
    Unfinished {
        /// The checkpoint.
        path: PathBuf,
        /// Epochs done.
        epoch: usize,
        /// Epochs wanted.
        epochs: usize,
    },
    /// Training diverged.
    #[error(
        "epoch {epoch}, step {step}: the loss is {loss}; training has diverged\n  Lower train.learning_rate, or give it a warm-up with train.warmup_epochs."
    )]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1.
        step: usize,
        /// Not a finite number.
        loss: f64,
    },
    /// The user stopped the run.
    #[error("interrupted in epoch {epoch}, after {step} of {steps} steps; saved in {}\n  Continue with --resume.", path.display())]
    Interrupted {
        /// Epoch under way, from 1.
        epoch: usize,
        /// Its steps done.
        step: usize,
        /// All its steps.
        steps: usize,
        /// The checkpoint.
        path: PathBuf,
    },
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// From 1.
    pub epoch: usize,
    /// At the epoch's last step.
    pub learning_rate: f64,
    /// Mean loss over the epoch's batches, before each update.
    pub train_loss: f64,
    /// Share of the epoch's training images classified right (mixed ones: as their first part), before
    /// each update, in percent.
    pub train_top1: f64,
    /// Share of the test images classified right, in percent, where it was measured.
    pub test_top1: Option<f64>,
    /// Training alone.
    pub secs: f64,
    /// Training images over `secs`.
    pub images_per_sec: f64,
    /// When training of the epoch ended, in seconds since 1970.
    #[serde(default)]
    pub finished_unix_secs: f64,
}

/// A Phase-I run.
pub struct TrainRequest<'a> {
    /// The settings.
    pub pipeline: &'a Pipeline,
    /// The images.
    pub dataset: &'a Dataset,
    /// Folder of the run.
    pub out: &'a Path,
    /// Continue an unfinished run.
    pub resume: bool,
    /// Replace what exists.
    pub overwrite: bool,
    /// Where to compute.
    pub engine: EngineOptions,
}

/// What a run left behind.
#[derive(Debug, Clone, Serialize)]
pub struct TrainOutcome {
    /// The trained model.
    pub model: PathBuf,
    /// Whether it existed already.
    pub already_done: bool,
    /// All epochs, also those of earlier, interrupted runs.
    pub epochs: Vec<EpochMetrics>,
    /// Images that were left out because they cannot be decoded.
    pub skipped: SkippedList,
}

/// Name of the metrics file in a run's folder.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// Name of the list of images that Phase-I left out, in a run's folder.
pub const SKIPPED_FILE: &str = "train-skipped.jsonl";

/// Trains, or finds that the same training is done already.
///
/// # Errors
/// See [`TrainError`].
///
/// # Determinism
/// Data order and transforms are functions of (seed, epoch, sample); images that cannot be decoded are
/// left out of their batches, the same ones in every epoch. On a CPU, and with the same libtorch and
/// thread count, a run that is killed or interrupted and resumed ends with the same weights.
pub fn run(
    request: &TrainRequest,
    engine: &dyn Engine,
    watch: Watch<'_>,
) -> Result<TrainOutcome, TrainError> {
    epochs(request, engine, watch).map_err(|error| match error {
        TrainError::Write(e) if request.out.join(CHECKPOINT_FILE).exists() => {
            TrainError::Stopped(e)
        }
        other => other,
    })
}

fn epochs(
    request: &TrainRequest,
    engine: &dyn Engine,
    watch: Watch<'_>,
) -> Result<TrainOutcome, TrainError> {
    let TrainRequest { pipeline, dataset, out, .. } = request;
    let config = &pipeline.train;
    let (model_path, checkpoint_path) = (out.join(MODEL_FILE), out.join(CHECKPOINT_FILE));
    let mut card = ModelCard::new(pipeline, dataset);
    if !request.overwrite && model_path.exists() {
        let (_, found) = model_file::read(&model_path)?;
        found.must_match(&card, &model_path)?;
        let epochs = read_metrics(out);
        let skipped = SkippedList::of_earlier_run(&out.join(SKIPPED_FILE));
        return Ok(TrainOutcome { model: model_path, already_done: true, epochs, skipped });
    }
    atomic_file::create_dir(out)?;
    let (classes, side) = (dataset.class_names.len(), pipeline.dataset.image_size);
    let (network, _) = backbone::network(&pipeline.network, classes, side)?;
    let initial = initial_weights(pipeline, &network, watch.progress)?;
    let counts = dataset.class_counts();
    let recipe = recipe(pipeline, &counts);
    let mut model = engine.trainable(&network, &initial, &request.engine, &recipe)?;
    drop(initial);
    let mut epochs = vec![];
    let mut under_way = UnderWay::default();
    if request.overwrite {
        remove_if_there(&model_path)?;
        remove_if_there(&checkpoint_path)?;
    } else if checkpoint_path.exists() {
        let (weights, found) = model_file::read(&checkpoint_path)?;
        found.must_match(&card, &checkpoint_path)?;
        if !request.resume {
            return Err(TrainError::Unfinished {
                path: checkpoint_path,
                epoch: found.epoch,
                epochs: config.epochs,
            });
        }
        let (model_part, state) = model_file::split_checkpoint(weights);
        model.restore(&model_part, &state, &checkpoint_path)?;
        epochs = read_metrics(out);
        epochs.retain(|row| row.epoch <= found.epoch);
        card.epoch = found.epoch;
        under_way = found.under_way.unwrap_or_default();
        watch.progress.line(&resuming(found.epoch, config.epochs, &under_way));
    }
    watch.progress.line(&format!(
        "{} training images of {} classes (imbalance ratio {:.0}), on {}",
        dataset.train.len(),
        counts.0.len(),
        counts.imbalance_ratio().unwrap_or(f64::NAN),
        engine.describe_device(&request.engine)?,
    ));
    let held = hold(pipeline, dataset, model.as_mut(), watch.progress)?;
    let mut skipped = SkippedList::default();
    for epoch in card.epoch..config.epochs {
        let source = EpochSource::new(pipeline, dataset, epoch, held);
        let label = format!("epoch {}/{}", epoch + 1, config.epochs);
        watch.progress.start(&label, dataset.train.len() as u64, "image");
        let begun = std::mem::take(&mut under_way);
        let done = train_epoch(&source, config, begun, model.as_mut(), watch)?;
        watch.progress.finish();
        let steps = source.steps(config.batch_size);
        if done.step < steps {
            write_metrics(out, &epochs)?;
            let card = ModelCard { epoch, under_way: Some(done), ..card };
            model_file::write_checkpoint(&checkpoint_path, model.as_ref(), &card)?;
            let (epoch, path) = (epoch + 1, checkpoint_path);
            return Err(TrainError::Interrupted { epoch, step: done.step, steps, path });
        }
        let mut row = source.metrics(config, done);
        let last = epoch + 1 == config.epochs;
        if last || (config.eval_every > 0 && (epoch + 1) % config.eval_every == 0) {
            model.swap_average()?;
            row.test_top1 =
                Some(test_top1(dataset, config.batch_size, model.as_mut(), watch.progress)?);
            model.swap_average()?;
        }
        if dataset.skipped.len() > skipped.images {
            skipped = dataset.skipped.save(&out.join(SKIPPED_FILE))?;
            skipped.told().iter().for_each(|text| watch.progress.line(text));
        }
        watch.progress.line(&describe(&row, config.epochs));
        epochs.push(row);
        if last || (epoch + 1) % config.checkpoint_every == 0 {
            card.epoch = epoch + 1;
            write_metrics(out, &epochs)?;
            model_file::write_checkpoint(&checkpoint_path, model.as_ref(), &card)?;
        }
    }
    write_metrics(out, &epochs)?;
    // The running average, where one is kept, is the result.
    model.swap_average()?;
    model_file::write(&model_path, model.model(), &card)?;
    remove_if_there(&checkpoint_path)?;
    let skipped = dataset.skipped.save(&out.join(SKIPPED_FILE))?;
    Ok(TrainOutcome { model: model_path, already_done: false, epochs, skipped })
}

fn recipe(pipeline: &Pipeline, counts: &ClassCounts) -> Recipe {
    let TrainConfig { momentum, weight_decay, ema_decay, .. } = pipeline.train;
    Recipe {
        momentum,
        weight_decay,
        freeze: pipeline.network.freeze,
        objective: objective::objective(&pipeline.train, counts),
        keeps_average: ema_decay > 0.0,
    }
}

/// Training images of at most this many bytes go to a device that prefers to hold them.
const MOST_HELD_BYTES: usize = 2 << 30;

/// Gives the engine the training images where that makes it faster, all of them can be decoded and fit,
/// and every transform is a crop of the padded square. Whether it was done; the inputs are the same.
fn hold(
    pipeline: &Pipeline,
    dataset: &Dataset,
    model: &mut dyn Trainable,
    progress: &dyn Progress,
) -> Result<bool, BackboneError> {
    let (split, side) = (&dataset.train, dataset.image_size);
    let bytes = split.len().saturating_mul(3 * side * side);
    let padding = Augmentation::new(&pipeline.train).padding();
    let (true, Some(padding)) = (model.prefers_held() && bytes <= MOST_HELD_BYTES, padding) else {
        return Ok(false);
    };
    progress.start("decoding the training images", split.len() as u64, "image");
    let square = |i| {
        progress.advance(1);
        split.image(i)
    };
    let squares: Result<Vec<_>, DatasetError> =
        (0..split.len()).into_par_iter().map(square).collect();
    progress.finish();
    let Ok(squares) = squares else {
        // What cannot be decoded is left out and listed, batch by batch.
        return Ok(false);
    };
    let (mut pixels, mut table) = (squares.concat(), *dataset.normalisation.table());
    if dataset.normalisation.channel_order == ChannelOrder::Bgr {
        pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
        table.reverse();
    }
    model.hold(&HeldImages { pixels: &pixels, side, padding, normalised: &table })?;
    progress.line(&format!(
        "training images are on the device ({}); cropped and mirrored there",
        bytes_text(bytes as u64)
    ));
    Ok(true)
}

fn resuming(epoch: usize, epochs: usize, under_way: &UnderWay) -> String {
    match under_way.step {
        0 => format!("resuming after epoch {epoch} of {epochs}"),
        step => format!("resuming in epoch {} of {epochs}, after {step} steps", epoch + 1),
    }
}

/// Random weights of the seed, or those of the pipeline's file.
fn initial_weights(
    pipeline: &Pipeline,
    network: &Network,
    progress: &dyn Progress,
) -> Result<Weights, WeightsError> {
    let path = pipeline.network.weights.as_path();
    if path.as_os_str().is_empty() {
        return Ok(network.initial_weights(pipeline.seed));
    }
    let pretrained = backbone::adapt(network, &Checkpoint::load(path)?, pipeline.seed)?;
    for told in pretrained.told(network, "starts at random") {
        progress.line(&format!("{}: {told}", path.display()));
    }
    Ok(pretrained.weights)
}

fn remove_if_there(path: &Path) -> Result<(), WriteError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(WriteError::at(path)(e)),
        _ => Ok(()),
    }
}

/// Batches of one epoch: its draws of the training images, with random crops and flips.
struct EpochSource<'a> {
    loader: Loader<'a>,
    /// Whether the engine holds the images.
    held: bool,
    seed: u64,
    epoch: usize,
    augmentation: Augmentation,
    mixup_alpha: f64,
    order: Vec<Draw>,
}

impl<'a> EpochSource<'a> {
    fn new(pipeline: &Pipeline, dataset: &'a Dataset, epoch: usize, held: bool) -> Self {
        let (labels, classes) = (dataset.train.labels(), dataset.class_names.len());
        let order = draws::epoch(labels, classes, pipeline.train.sampling, pipeline.seed, epoch);
        Self {
            loader: Loader::new(dataset, Split::Train, &dataset.train),
            held,
            seed: pipeline.seed,
            epoch,
            augmentation: Augmentation::new(&pipeline.train),
            mixup_alpha: pipeline.train.mixup_alpha,
            order,
        }
    }

    fn steps(&self, batch_size: usize) -> usize {
        self.order.len().div_ceil(batch_size)
    }

    fn batch(&self, step: usize, draws: &[Draw]) -> Result<Batch, DatasetError> {
        let transformed = |draw: &Draw| {
            let key = (self.epoch as u64, draw.key());
            let mut rng = KeyedRng::new(self.seed, Stage::TrainTransform, key);
            (draw.sample, self.augmentation.draw(&mut rng))
        };
        let images: Vec<(usize, Transform)> = draws.iter().map(transformed).collect();
        let mut batch = match self.held {
            true => held_batch(self.loader.split(), &images),
            false => make_batch(&self.loader, &images)?,
        };
        if self.mixup_alpha > 0.0 && !batch.labels.is_empty() {
            let key = (self.epoch as u64, step as u64);
            let mut rng = KeyedRng::new(self.seed, Stage::Mixup, key);
            batch.mixed = Some(draws::mix(&batch.labels, self.mixup_alpha, &mut rng));
        }
        Ok(batch)
    }

    fn metrics(&self, config: &TrainConfig, done: UnderWay) -> EpochMetrics {
        let images = done.images as f64;
        let steps = self.steps(config.batch_size);
        EpochMetrics {
            epoch: self.epoch + 1,
            learning_rate: learning_rate(config, self.epoch, steps - 1, steps),
            train_loss: done.loss_sum / images,
            train_top1: 100.0 * done.correct as f64 / images,
            test_top1: None,
            secs: done.secs,
            images_per_sec: images / done.secs,
            finished_unix_secs: event_file::now_unix_secs(),
        }
    }
}

/// Decodes, transforms and normalises images, in parallel; those that cannot be decoded are left out.
pub(crate) fn make_batch(
    loader: &Loader,
    images: &[(usize, Transform)],
) -> Result<Batch, DatasetError> {
    let made = loader.inputs(images)?;
    let label = |&place: &usize| i64::from(loader.split().labels()[images[place].0]);
    let labels = made.kept.iter().map(label).collect();
    Ok(Batch { inputs: made.values, labels, ..Batch::default() })
}

/// The same images by their names, for an engine that holds them.
fn held_batch(split: &SplitImages, images: &[(usize, Transform)]) -> Batch {
    let held = |(sample, how): &(usize, Transform)| {
        let (top, left, mirrored) = how.square().expect("images are held for such transforms only");
        HeldImage { sample: *sample, top, left, mirrored }
    };
    let labels = images.iter().map(|(sample, _)| i64::from(split.labels()[*sample])).collect();
    Batch { held: images.iter().map(held).collect(), labels, ..Batch::default() }
}

/// Batches that are prepared ahead of the one in work.
const PREFETCHED_BATCHES: usize = 2;

/// One epoch from where it was left; less than all of its steps when the user asked to stop.
fn train_epoch(
    source: &EpochSource,
    config: &TrainConfig,
    mut done: UnderWay,
    model: &mut dyn Trainable,
    watch: Watch<'_>,
) -> Result<UnderWay, TrainError> {
    let (begin, secs_before) = (Instant::now(), done.secs);
    let chunks: Vec<&[Draw]> = source.order.chunks(config.batch_size).collect();
    let (first, steps) = (done.step, chunks.len());
    watch.progress.advance((first * config.batch_size).min(source.order.len()) as u64);
    std::thread::scope(|scope| {
        let (send, receive) = crossbeam_channel::bounded(PREFETCHED_BATCHES);
        let chunks = &chunks;
        scope.spawn(move || {
            // Stops at the first error, and when the receiver has gone.
            let rest = chunks.iter().enumerate().skip(first);
            rest.map(|(step, draws)| source.batch(step, draws)).try_for_each(|batch| {
                let failed = batch.is_err();
                send.send(batch).ok().filter(|()| !failed)
            })
        });
        for batch in receive.iter() {
            if watch.interrupted() {
                return Ok(());
            }
            let (batch, step) = (batch?, done.step);
            watch.progress.advance(chunks[step].len() as u64);
            done.step += 1;
            if batch.labels.is_empty() {
                continue;
            }
            let rate = learning_rate(config, source.epoch, step, steps);
            let decay = average_decay(config, source.epoch * steps + step);
            let outcome = model.step(&batch, rate, decay)?;
            if !outcome.loss.is_finite() {
                let (epoch, step) = (source.epoch + 1, step + 1);
                return Err(TrainError::Diverged { epoch, step, loss: outcome.loss });
            }
            done.images += batch.labels.len();
            done.loss_sum += outcome.loss * batch.labels.len() as f64;
            done.correct += outcome.correct;
            watch.progress.status(&format!("loss {:.3}", outcome.loss));
        }
        Ok(())
    })?;
    done.secs = secs_before + begin.elapsed().as_secs_f64();
    Ok(done)
}

fn test_top1(
    dataset: &Dataset,
    batch_size: usize,
    model: &mut dyn Trainable,
    progress: &dyn Progress,
) -> Result<f64, TrainError> {
    let split = &dataset.test;
    let loader = Loader::new(dataset, Split::Test, split);
    let order: Vec<(usize, Transform)> = (0..split.len()).map(|i| (i, Transform::NONE)).collect();
    progress.start("test images", split.len() as u64, "image");
    let (mut correct, mut images) = (0, 0);
    for chunk in order.chunks(batch_size) {
        let batch = make_batch(&loader, chunk)?;
        progress.advance(chunk.len() as u64);
        if !batch.labels.is_empty() {
            correct += model.count_correct(&batch)?;
            images += batch.labels.len();
        }
    }
    progress.finish();
    Ok(100.0 * correct as f64 / images as f64)
}

fn describe(row: &EpochMetrics, epochs: usize) -> String {
    let test = row.test_top1.map_or(String::new(), |t| format!(", test top-1 {t:.2}"));
    format!(
        "epoch {}/{epochs}: loss {:.4}, train top-1 {:.2}{test}, lr {:.5}, {:.0} images/s",
        row.epoch, row.train_loss, row.train_top1, row.learning_rate, row.images_per_sec
    )
}

fn write_metrics(out: &Path, epochs: &[EpochMetrics]) -> Result<(), WriteError> {
    let lines: String = epochs
        .iter()
        .map(|row| serde_json::to_string(row).expect("numbers are JSON") + "\n")
        .collect();
    atomic_file::write(&out.join(METRICS_FILE), lines.as_bytes())?;
    event_file::write(out, epochs)
}

/// The rows of a run's metrics file; a missing file or a damaged line is not a row.
fn read_metrics(out: &Path) -> Vec<EpochMetrics> {
    let text = std::fs::read_to_string(out.join(METRICS_FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let row = EpochMetrics {
            epoch: 1,
            learning_rate: 0.1,
            train_loss: 2.0,
            train_top1: 10.0,
            test_top1: None,
            secs: 1.5,
            images_per_sec: 100.0,
            finished_unix_secs: 1.8e9 + 0.123456,
        };
        write_metrics(dir.path(), std::slice::from_ref(&row)).unwrap();
        assert_eq!(read_metrics(dir.path()), [row]);
    }
}
