//! The precompute stage: one pass of the frozen backbone over all images, into a bank (`pass`, `rows`);
//! where the classifier is to be fitted, the maps first, then it, then the bank (`fit`, `refit`).

mod fit;
mod network;
mod pass;
mod refit;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::atomic_file::{self, WriteError};
#[cfg(feature = "onnx")]
use crate::backbone::onnx::{OnnxBackbone, OnnxFile, OnnxOptions};
use crate::backbone::{self, Backbone, BackboneError, Engine, EngineOptions};
use crate::bank::{
    Bank, BankError, DatasetCard, FORMAT_VERSION, MANIFEST_FILE, Manifest, ModelRef, ViewSettings,
};
use crate::config::{LoadedPipeline, RandomCrop};
use crate::dataset::{Dataset, DatasetError, SkippedList};
use crate::domain::{FeatureShape, FitOptions, LinearHead};
#[cfg(feature = "onnx")]
use crate::export::Description;
use crate::progress::{Interrupt, Progress};
use crate::train::TrainError;
use crate::weights::{Weights, WeightsError};

pub use network::{RECALIBRATED_FILE, TorchNetwork, TorchRequest};
use pass::Pass;

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
    /// A classifier of other classes than the images.
    #[error(
        "the classifier has {found} classes; the images have {expected}\n  Give the images of the classes it was trained on, or fit a classifier for these: --head fit."
    )]
    Classes {
        /// The classifier's.
        found: usize,
        /// The images'.
        expected: usize,
    },
    /// The fitted classifier is not finite.
    #[error(
        "fitting the classifier has diverged: its weights are no longer finite\n  The network's pooled vectors are out of all proportion; are these its weights?"
    )]
    Diverged,
    /// The user stopped the run while batch statistics were estimated.
    #[error("interrupted while batch statistics were estimated\n  The same command starts again.")]
    InterruptedRecalibration,
    /// The user stopped the run while the classifier was fitted.
    #[error(
        "interrupted while the classifier was fitted; the maps are kept\n  The same command goes on from them."
    )]
    InterruptedFit,
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
    /// Share of the rows of each split whose class the classifier finds, in percent: of clean views,
    /// and of the training split the images that Phase-I was fitted to. Empty for a bank that was there.
    pub top1: BTreeMap<String, f64>,
    /// Seconds of the pass, once the network is ready.
    pub secs: f64,
    /// Rows over `secs`.
    pub images_per_sec: f64,
    /// Of the bare forward pass over the same inputs, where it was measured.
    pub forward_images_per_sec: Option<f64>,
    /// Images that have no rows because they cannot be decoded.
    pub skipped: SkippedList,
}

impl FeaturesOutcome {
    fn took(self, secs: f64) -> Self {
        Self { secs, images_per_sec: self.rows as f64 / secs, ..self }
    }
}

/// The classifier that a bank's activation maps and scores are made with.
pub enum HeadSource {
    /// This one.
    Given(LinearHead),
    /// One that is fitted to the pooled vectors of the training images.
    Fitted(FitOptions),
}

/// A frozen network and the classifier that goes with it.
pub struct FrozenModel<'a> {
    /// Shape of its maps.
    pub shape: FeatureShape,
    /// The FC layer.
    pub head: HeadSource,
    /// What the manifest says of it.
    pub reference: ModelRef,
    /// sha256 that names the network, whatever classifier is in it.
    pub identity: String,
    /// Where it computes, in words.
    pub device: String,
    /// Makes it ready to compute.
    pub start: Box<dyn FnOnce() -> Result<Box<dyn Backbone>, BackboneError> + 'a>,
}

impl<'a> FrozenModel<'a> {
    /// A network of a pipeline, with its own classifier or with `head`.
    ///
    /// # Errors
    /// The weights are of another network; the device is not there.
    pub fn torch(
        chosen: &'a TorchNetwork,
        loaded: &LoadedPipeline,
        dataset: &Dataset,
        head: Option<HeadSource>,
        engine: &'a dyn Engine,
        options: EngineOptions,
    ) -> Result<Self, FeaturesError> {
        let TorchNetwork { path, weights, .. } = chosen;
        let pipeline = &loaded.pipeline;
        let (classes, side) = (dataset.class_names.len(), pipeline.dataset.image_size);
        let (network, shape) = backbone::network(&pipeline.network, classes, side)?;
        let head = match head {
            Some(head) => head,
            None => {
                let layer = &network.classifier;
                HeadSource::Given(weights.named_head(layer, classes, shape.channels, path)?)
            }
        };
        let reference = ModelRef {
            arch: pipeline.network.arch.name().into(),
            image_size: side,
            weights_sha256: weights.sha256(),
            arithmetic: format!("{:?}", options.arithmetic).to_lowercase(),
        };
        let device = engine.describe_device(&options)?;
        let start = move || engine.backbone(&network, weights, path, shape, &options);
        let identity = chosen.identity();
        Ok(Self { shape, head, reference, identity, device, start: Box::new(start) })
    }

    /// The network of an ONNX file with its classifier, or with `head`.
    ///
    /// # Errors
    /// The file does not end in pooling and one FC layer (with `head`: in pooling or in a map), or
    /// cannot run.
    #[cfg(feature = "onnx")]
    pub fn onnx(
        file: &OnnxFile,
        head: Option<HeadSource>,
        options: &OnnxOptions,
    ) -> Result<Self, FeaturesError> {
        let opened = OnnxBackbone::open(file, options, head.is_some());
        let opened = opened.map_err(BackboneError::from)?;
        let head = match (head, opened.head()) {
            (Some(head), _) => head,
            (None, Some(of_file)) => HeadSource::Given(of_file.clone()),
            (None, None) => unreachable!("without another head a file must have one"),
        };
        let name = file.path().file_stem().unwrap_or_default().to_string_lossy();
        let reference = ModelRef {
            arch: format!("{name} (ONNX)"),
            image_size: opened.side(),
            weights_sha256: file.sha256().into(),
            arithmetic: "as exported".into(),
        };
        let (device, shape) = (opened.device.clone(), opened.shape());
        let start = move || Ok(Box::new(opened) as Box<dyn Backbone>);
        let identity = Description::of_onnx(file, None).identity(file.sha256());
        Ok(Self { shape, head, reference, identity, device, start: Box::new(start) })
    }
}

/// Makes a bank, or finds that the same bank is there already.
///
/// With [`HeadSource::Fitted`] the maps are written first, into `NAME.unfitted` beside the bank; from
/// them the classifier is fitted and the bank made. A run that is interrupted after the maps goes on
/// from there.
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
    let FrozenModel { shape, head, reference, identity, device, start } = model;
    let expected = request.dataset.class_names.len();
    if let HeadSource::Given(head) = &head
        && head.classes() != expected
    {
        return Err(FeaturesError::Classes { found: head.classes(), expected });
    }
    let manifest = describe(request, reference, &head, shape);
    if let Some(done) = existing(request.out, request.overwrite, &manifest)? {
        return Ok(done);
    }
    let stage = Pass { request, shape, identity, device, progress, interrupt };
    match head {
        HeadSource::Given(head) => stage.write(request.out, manifest, &head, start),
        HeadSource::Fitted(options) => {
            let unfitted = unfitted_folder(request.out);
            let classes = request.dataset.class_names.len();
            let none = zero_head(classes, shape);
            let classifier_sha256 = Weights::of_head(&none).sha256();
            let bare = Manifest { fitted_head: None, classifier_sha256, ..manifest.clone() };
            let maps = match existing(&unfitted, request.overwrite, &bare)? {
                Some(there) => {
                    progress.line(&format!("{}: the maps are there already", unfitted.display()));
                    there
                }
                None => stage.write(&unfitted, bare, &none, start)?,
            };
            let begin = Instant::now();
            let bank = Bank::open(&unfitted)?;
            let head = fit::head(&bank, &options, progress, interrupt)?;
            let made = refit::write(&stage, &bank, &head, manifest)?;
            std::fs::remove_dir_all(&unfitted).map_err(WriteError::at(&unfitted))?;
            let secs = maps.secs + begin.elapsed().as_secs_f64();
            let forward_images_per_sec = maps.forward_images_per_sec;
            Ok(FeaturesOutcome { forward_images_per_sec, ..made }.took(secs))
        }
    }
}

/// Name of the list of images that have no rows, beside the bank.
pub const SKIPPED_FILE: &str = "features-skipped.jsonl";

/// The list that belongs to a bank.
fn skipped_file(bank: &Path) -> PathBuf {
    bank.with_file_name(SKIPPED_FILE)
}

/// Where maps wait for their classifier.
fn unfitted_folder(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".unfitted");
    out.with_file_name(name)
}

fn zero_head(classes: usize, shape: FeatureShape) -> LinearHead {
    let head = LinearHead::new(vec![0.0; classes * shape.channels], vec![0.0; classes]);
    head.expect("a dataset has classes, and a map channels")
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
        skipped: SkippedList::of_earlier_run(&skipped_file(out)),
        top1: BTreeMap::new(),
    }
}

/// What the manifest will say, but for the files.
fn describe(
    request: &FeaturesRequest,
    model: ModelRef,
    head: &HeadSource,
    shape: FeatureShape,
) -> Manifest {
    let pipeline = &request.loaded.pipeline;
    let (classifier_sha256, fitted_head) = match head {
        HeadSource::Given(head) => (Weights::of_head(head).sha256(), None),
        // Known once it is fitted.
        HeadSource::Fitted(options) => (String::new(), Some(*options)),
    };
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
            crop_scale: match pipeline.train.crop {
                RandomCrop::Padded => None,
                RandomCrop::Resized => Some(pipeline.train.crop_scale),
            },
            flip: pipeline.train.flip,
            color_jitter: pipeline.train.color_jitter,
        },
        classifier_sha256,
        fitted_head,
        files: Default::default(),
        splits: Default::default(),
        manifest_xxh3: Default::default(),
    }
}

/// The bank in `out`, if it is the one wanted; an error if it is another one and must stay.
fn existing(
    out: &Path,
    overwrite: bool,
    wanted: &Manifest,
) -> Result<Option<FeaturesOutcome>, FeaturesError> {
    if overwrite || !out.join(MANIFEST_FILE).exists() {
        return Ok(None);
    }
    let (found, _) = Manifest::load(out)?;
    // A fitted classifier follows from the rest.
    let same_classifier = wanted.fitted_head == found.fitted_head
        && (wanted.fitted_head.is_some() || wanted.classifier_sha256 == found.classifier_sha256);
    let differs = [
        ("dataset", found.dataset != wanted.dataset),
        ("model", found.model != wanted.model || !same_classifier),
        ("feature shape", found.feature_shape != wanted.feature_shape),
        ("precision", found.precision != wanted.precision),
        ("views or seed", found.views != wanted.views),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(Some(outcome(out, &found, true))),
        Some((what, _)) => Err(FeaturesError::OtherBank { dir: out.into(), what }),
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
