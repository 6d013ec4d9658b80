//! The precompute stage: one pass of the frozen backbone over all images, into a bank.
//!
//! Three things run at once: images are decoded and transformed, the backbone computes their maps,
//! and finished maps are rounded, turned into CAMs and pooled vectors, and encoded.

mod rows;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use crate::atomic_file::{self, WriteError};
#[cfg(feature = "onnx")]
use crate::backbone::onnx::{OnnxBackbone, OnnxError, OnnxFile, OnnxOptions};
use crate::backbone::{self, Backbone, BackboneError, Engine, EngineOptions};
use crate::bank::{
    BankError, BankWriter, ClassRow, DatasetCard, FORMAT_VERSION, Layout, MANIFEST_FILE, Manifest,
    ModelRef, RowHead, TrainRow, ViewSettings,
};
use crate::config::LoadedPipeline;
use crate::dataset::{CropFlip, Dataset, DatasetError, Split};
use crate::domain::{FeatureShape, LinearHead};
use crate::progress::{Interrupt, Progress};
use crate::rng::{KeyedRng, Stage};
use crate::train::{self, TrainError};
use crate::weights::{Weights, WeightsError};

use rows::RowMaker;

/// What can go wrong while a bank is made.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// An image cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The engine failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] TrainError),
    /// The classifier cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The bank cannot be written.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A file cannot be removed or written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A bank made from something else is in the way.
    #[error("{}: a bank with another {what} is there\n  Choose another folder with --out, or replace it with --overwrite.", dir.display())]
    OtherBank {
        /// The folder.
        dir: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The user stopped the run.
    #[error(
        "interrupted after {done} of {total} rows; the bank is not finished\n  The same command starts again."
    )]
    Interrupted {
        /// Rows done.
        done: u64,
        /// Rows wanted.
        total: u64,
    },
}

/// A run of the stage.
pub struct FeaturesRequest<'a> {
    /// The settings and their name.
    pub loaded: &'a LoadedPipeline,
    /// The images.
    pub dataset: &'a Dataset,
    /// Folder of the bank.
    pub out: &'a Path,
    /// Replace what is there.
    pub overwrite: bool,
    /// Time the bare forward pass over the same batches first.
    pub measure_forward: bool,
}

/// What a run left behind.
#[derive(Debug, Clone, Serialize)]
pub struct FeaturesOutcome {
    /// The bank's folder.
    pub bank: PathBuf,
    /// Whether it was there already.
    pub already_done: bool,
    /// Rows of all splits.
    pub rows: u64,
    /// Bytes of all files but the manifest.
    pub bytes: u64,
    /// Seconds of the pass.
    pub secs: f64,
    /// Rows over `secs`.
    pub images_per_sec: f64,
    /// Of the bare forward pass over the same inputs, where it was measured.
    pub forward_images_per_sec: Option<f64>,
}

/// A trained network and its classifier.
pub struct FrozenModel<'a> {
    /// Shape of its maps.
    pub shape: FeatureShape,
    /// The FC layer.
    pub head: LinearHead,
    /// What the manifest says of it.
    pub reference: ModelRef,
    /// Where it computes, in words.
    pub device: String,
    /// Makes it ready to compute.
    pub start: Box<dyn FnOnce() -> Result<Box<dyn Backbone>, BackboneError> + 'a>,
}

impl<'a> FrozenModel<'a> {
    /// The model that Phase-I of a pipeline has trained, in `path`.
    ///
    /// # Errors
    /// There is none, or it is of another network, image size or dataset.
    pub fn trained(
        path: &'a Path,
        loaded: &LoadedPipeline,
        dataset: &Dataset,
        engine: &'a dyn Engine,
        options: EngineOptions,
    ) -> Result<Self, FeaturesError> {
        let pipeline = &loaded.pipeline;
        let (weights, _) = train::load_model(path, &loaded.file, pipeline, dataset)?;
        let (classes, side) = (dataset.class_names.len(), pipeline.dataset.image_size);
        let (network, shape) = backbone::network(&pipeline.network, classes, side)?;
        let head = weights.named_head(&network.classifier, classes, shape.channels, path)?;
        let reference = ModelRef {
            arch: pipeline.network.arch.name().into(),
            image_size: side,
            weights_sha256: weights.sha256(),
            arithmetic: format!("{:?}", options.arithmetic).to_lowercase(),
        };
        let device = engine.describe_device(&options)?;
        let start = move || engine.backbone(&network, &weights, path, shape, &options);
        Ok(Self { shape, head, reference, device, start: Box::new(start) })
    }

    /// The network of an ONNX file with its classifier, or with `head`, for a dataset of its classes.
    ///
    /// # Errors
    /// The file does not end in pooling and one FC layer, has other classes, or cannot run.
    #[cfg(feature = "onnx")]
    pub fn onnx(
        file: &OnnxFile,
        head: Option<LinearHead>,
        dataset: &Dataset,
        options: &OnnxOptions,
    ) -> Result<Self, FeaturesError> {
        let opened = OnnxBackbone::open(file, options).map_err(BackboneError::from)?;
        let head = head.unwrap_or_else(|| opened.head().clone());
        let (expected, found) = (dataset.class_names.len(), head.classes());
        if found != expected {
            let path = file.path().into();
            return Err(BackboneError::from(OnnxError::Classes { path, found, expected }).into());
        }
        let name = file.path().file_stem().unwrap_or_default().to_string_lossy();
        let reference = ModelRef {
            arch: format!("{name} (ONNX)"),
            image_size: opened.side(),
            weights_sha256: file.sha256().into(),
            arithmetic: "as exported".into(),
        };
        let (device, shape) = (opened.device.clone(), opened.shape());
        let start = move || Ok(Box::new(opened) as Box<dyn Backbone>);
        Ok(Self { shape, head, reference, device, start: Box::new(start) })
    }
}

/// Makes a bank, or finds that the same bank is there already.
///
/// # Errors
/// See [`FeaturesError`]; without its manifest, an unfinished bank is never taken for a whole one.
///
/// # Determinism
/// Views are functions of (seed, sample, view). The same maps give byte-identical shards.
pub fn run(
    request: &FeaturesRequest,
    model: FrozenModel,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<FeaturesOutcome, FeaturesError> {
    let FeaturesRequest { loaded, dataset, out, .. } = request;
    let pipeline = &loaded.pipeline;
    let FrozenModel { shape, head, reference, device, start } = model;
    let mut manifest = describe(request, reference, &head, shape);
    if let Some(done) = existing(request, &manifest)? {
        return Ok(done);
    }
    clear(out)?;
    let mut backbone = start()?;
    progress.line(&format!(
        "{} images x {} views of {} training, {} test, on {}",
        dataset.train.len(),
        pipeline.features.views,
        loaded.name,
        dataset.test.len(),
        device,
    ));
    let maker = RowMaker { shape, head: &head, precision: pipeline.features.precision };
    let layout = Layout {
        compression_level: pipeline.features.compression_level,
        shard_bytes: pipeline.features.shard_bytes,
        ..Layout::default()
    };
    let mut writer = BankWriter::new(out, shape, layout, dataset.class_names.clone())?;
    let jobs = jobs(request);
    let total: u64 = jobs.iter().map(|job| job.items.len() as u64).sum();
    let forward_images_per_sec = if request.measure_forward {
        Some(time_forward(&jobs, backbone.as_mut(), request, progress)?)
    } else {
        None
    };
    let begin = Instant::now();
    progress.start("feature maps", total, "row");
    let mut done = 0;
    for job in &jobs {
        job.run(request, &maker, backbone.as_mut(), &mut writer, &mut |rows| {
            done += rows;
            progress.advance(rows);
            let stopped = FeaturesError::Interrupted { done, total };
            if interrupt.requested() { Err(stopped) } else { Ok(()) }
        })?;
    }
    let counts = dataset.class_counts();
    let class =
        |(name, &train_images): (&String, &u64)| ClassRow { name: name.clone(), train_images };
    let classes: Vec<ClassRow> = dataset.class_names.iter().zip(&counts.0).map(class).collect();
    let written = writer.finish(&classes, &head)?;
    (manifest.splits, manifest.files) = (written.splits, written.files);
    manifest.save(out)?;
    progress.finish();
    let secs = begin.elapsed().as_secs_f64();
    let images_per_sec = total as f64 / secs;
    Ok(FeaturesOutcome {
        secs,
        images_per_sec,
        forward_images_per_sec,
        ..outcome(out, &manifest, false)
    })
}

fn outcome(out: &Path, manifest: &Manifest, already_done: bool) -> FeaturesOutcome {
    FeaturesOutcome {
        bank: out.into(),
        already_done,
        rows: manifest.splits.values().map(|s| s.rows).sum(),
        bytes: manifest.total_bytes(),
        secs: 0.0,
        images_per_sec: 0.0,
        forward_images_per_sec: None,
    }
}

/// What the manifest will say, but for the files.
fn describe(
    request: &FeaturesRequest,
    model: ModelRef,
    head: &LinearHead,
    shape: FeatureShape,
) -> Manifest {
    let pipeline = &request.loaded.pipeline;
    Manifest {
        format: Manifest::format_name(),
        version: FORMAT_VERSION,
        writer: concat!("fsa-bank ", env!("CARGO_PKG_VERSION")).into(),
        name: request.loaded.name.clone(),
        dataset: DatasetCard {
            fingerprint: request.dataset.fingerprint.clone(),
            classes: request.dataset.class_names.len(),
        },
        model,
        feature_shape: shape,
        precision: pipeline.features.precision,
        views: ViewSettings {
            count: pipeline.features.views,
            seed: pipeline.seed,
            crop_padding: pipeline.train.crop_padding,
            flip: pipeline.train.flip,
        },
        classifier_sha256: Weights::of_head(head).sha256(),
        files: Default::default(),
        splits: Default::default(),
        manifest_xxh3: Default::default(),
    }
}

/// The bank that is there already, if it is the one wanted.
fn existing(
    request: &FeaturesRequest,
    wanted: &Manifest,
) -> Result<Option<FeaturesOutcome>, FeaturesError> {
    if request.overwrite || !request.out.join(MANIFEST_FILE).exists() {
        return Ok(None);
    }
    let (found, _) = Manifest::load(request.out)?;
    let differs = [
        ("dataset", found.dataset != wanted.dataset),
        (
            "model",
            found.model != wanted.model || found.classifier_sha256 != wanted.classifier_sha256,
        ),
        ("feature shape", found.feature_shape != wanted.feature_shape),
        ("precision", found.precision != wanted.precision),
        ("views or seed", found.views != wanted.views),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(Some(outcome(request.out, &found, true))),
        Some((what, _)) => Err(FeaturesError::OtherBank { dir: request.out.into(), what }),
    }
}

/// Removes what an unfinished or replaced bank left: its manifest first, then its shards.
fn clear(out: &Path) -> Result<(), WriteError> {
    atomic_file::create_dir(out)?;
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(WriteError::at(path)(e)),
        _ => Ok(()),
    };
    remove(&out.join(MANIFEST_FILE))?;
    for entry in std::fs::read_dir(out).map_err(WriteError::at(out))? {
        let path = entry.map_err(WriteError::at(out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours =
            ["train-", "val-", "test-", "classes"].iter().any(|prefix| name.starts_with(prefix));
        if ours && name.ends_with(".parquet") {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The rows of one split: (sample, view).
struct Job<'a> {
    name: &'static str,
    split: &'a Split,
    items: Vec<(u32, u32)>,
}

fn jobs<'a>(request: &FeaturesRequest<'a>) -> Vec<Job<'a>> {
    let dataset = request.dataset;
    let job = |name, split: &'a Split, views: u32| {
        let samples = 0..split.len() as u32;
        let items = samples.flat_map(|s| (0..views).map(move |v| (s, v))).collect();
        Job { name, split, items }
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
    ) -> Result<Vec<f32>, DatasetError> {
        let pipeline = &request.loaded.pipeline;
        let size = pipeline.dataset.image_size;
        let mut inputs = vec![0.0; items.len() * 3 * size * size];
        inputs.par_chunks_mut(3 * size * size).zip(items).try_for_each(
            |(input, &(sample, view))| {
                let transform = match view {
                    0 => CropFlip::NONE,
                    _ => {
                        let key = (u64::from(sample), u64::from(view));
                        let mut rng = KeyedRng::new(pipeline.seed, Stage::ViewTransform, key);
                        CropFlip::draw(&mut rng, pipeline.train.crop_padding, pipeline.train.flip)
                    }
                };
                let image = self.split.image(sample as usize)?;
                transform.apply(&image, size, &request.dataset.normalisation, input);
                Ok::<_, DatasetError>(())
            },
        )?;
        Ok(inputs)
    }

    fn head_of(&self, (sample_id, view): (u32, u32)) -> RowHead {
        RowHead {
            sample_id,
            view,
            path: self.split.path(sample_id as usize).into(),
            label: self.split.labels()[sample_id as usize],
            predicted: 0,
            confidence: 0.0,
            pooled: vec![],
        }
    }

    /// Runs the three stages over the split; `after` is told the rows of each batch.
    fn run(
        &self,
        request: &FeaturesRequest,
        maker: &RowMaker,
        backbone: &mut dyn Backbone,
        writer: &mut BankWriter,
        after: &mut dyn FnMut(u64) -> Result<(), FeaturesError>,
    ) -> Result<(), FeaturesError> {
        std::thread::scope(|scope| {
            let (send_inputs, inputs) = crossbeam_channel::bounded(QUEUED_BATCHES);
            let (send_maps, maps) =
                crossbeam_channel::bounded::<(&[(u32, u32)], Vec<f32>)>(QUEUED_BATCHES);
            scope.spawn(move || {
                for items in self.chunks(request) {
                    let batch = self.inputs(request, items);
                    let failed = batch.is_err();
                    if send_inputs.send((items, batch)).is_err() || failed {
                        return;
                    }
                }
            });
            let encoder = scope.spawn(move || {
                for (items, maps) in maps {
                    let heads = items.iter().map(|&item| self.head_of(item)).collect();
                    let rows = maker.rows(heads, maps)?;
                    self.append(writer, rows)?;
                }
                Ok::<_, BankError>(())
            });
            let forward = || -> Result<(), FeaturesError> {
                for (items, batch) in inputs {
                    let maps = backbone.feature_maps(&batch?, items.len())?;
                    if send_maps.send((items, maps)).is_err() {
                        // The encoder has failed; its error is taken below.
                        return Ok(());
                    }
                    after(items.len() as u64)?;
                }
                Ok(())
            };
            let forward = forward();
            drop(send_maps);
            encoder.join().expect("the encoder does not panic")?;
            forward
        })
    }

    fn append(&self, writer: &mut BankWriter, rows: Vec<TrainRow>) -> Result<(), BankError> {
        match self.name {
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
}

/// Images a second of the forward pass alone, over inputs that are ready in memory.
fn time_forward(
    jobs: &[Job],
    backbone: &mut dyn Backbone,
    request: &FeaturesRequest,
    progress: &dyn Progress,
) -> Result<f64, FeaturesError> {
    const READY_BATCHES: usize = 4;
    let total: u64 = jobs.iter().map(|job| job.items.len() as u64).sum();
    progress.start("bare forward pass", total, "row");
    let (mut images, mut secs) = (0, 0.0);
    for job in jobs {
        let ready: Vec<(usize, Vec<f32>)> = job
            .chunks(request)
            .take(READY_BATCHES)
            .map(|items| Ok((items.len(), job.inputs(request, items)?)))
            .collect::<Result<_, DatasetError>>()?;
        backbone.feature_maps(&ready[0].1, ready[0].0)?;
        let mut rest = job.items.len();
        for (n, inputs) in ready.iter().cycle() {
            if rest == 0 {
                break;
            }
            let begin = Instant::now();
            backbone.feature_maps(inputs, *n)?;
            secs += begin.elapsed().as_secs_f64();
            images += n;
            rest = rest.saturating_sub(*n);
            progress.advance(*n as u64);
        }
    }
    progress.finish();
    Ok(images as f64 / secs)
}
