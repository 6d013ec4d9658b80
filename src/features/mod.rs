//! The precompute stage: one pass of the frozen backbone over all images, into a bank, shard by shard
//! (`making`, `pass`, `rows`); where the classifier is to be fitted, the maps first, then it, then the bank
//! (`fit`, `refit`). Where not all maps are kept, `needed` finds out which. What a bank will be is known
//! before (`outlook`, `forecast`), from a `sample` of it.

mod fit;
mod forecast;
mod making;
mod needed;
mod network;
mod outlook;
mod pass;
mod refit;
mod repair;
mod rows;
mod sample;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::atomic_file::WriteError;
#[cfg(feature = "onnx")]
use crate::backbone::onnx::{OnnxBackbone, OnnxFile, OnnxOptions};
use crate::backbone::{self, Backbone, BackboneError, Engine, EngineOptions};
use crate::bank::{
    Bank, BankError, Build, BuildState, DatasetCard, FORMAT_VERSION, MANIFEST_FILE, Manifest,
    MapsKept, ModelRef, Partition, ViewSettings,
};
use crate::config::{InputSpec, KeepMaps, LoadedPipeline, RandomCrop};
use crate::dataset::{Dataset, DatasetError, SkippedList};
use crate::domain::{FeatureShape, FitOptions, LinearHead};
use crate::eval::Reordering;
#[cfg(feature = "onnx")]
use crate::export::Description;
use crate::progress::{Interrupt, Progress};
use crate::train::TrainError;
use crate::weights::{Weights, WeightsError};

pub use forecast::{
    DiskForecast, Forecast, MapsKnown, RawBytes, SampleFigures, SplitForecast, ToDo,
};
use making::{Making, Network, Source};
pub use network::{RECALIBRATED_FILE, TorchNetwork, TorchRequest};
pub use outlook::plan;
pub use repair::{RepairOutcome, repair};
pub(crate) use rows::round;

/// What can go wrong while a bank is made.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// An image cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The engine failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// A bank that is to be repaired was made with other settings, images or weights.
    #[error("{}: made otherwise: {what}\n  Give the pipeline, the images and, with --set, the settings that this bank was made with, and --labels FILE where it was made with one; where these are no more, make the bank again with the same `fsa-bank features` and --overwrite.", bank.display())]
    OtherSettings {
        /// The bank.
        bank: PathBuf,
        /// What differs.
        what: String,
    },
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
    /// A file cannot be written in the middle of a bank.
    #[error("{0}\n  What is done of the bank is kept; the same command goes on from there.")]
    Stopped(WriteError),
    /// A classifier of other classes than the images.
    #[error(
        "the classifier has {found} classes; the images have {expected}\n  Give the images of the classes it was trained on; or the names of its outputs, one a line in their order, with --labels FILE: of more classes than the images' the rows of these are taken; or fit a classifier for these: --head fit."
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
    /// The disk has no room for the bank.
    #[error("{0}")]
    Space(DiskForecast),
    /// The user stopped the run while a sample was measured.
    #[error("interrupted while a sample was measured; nothing was written")]
    InterruptedSample,
    /// The user stopped the run while batch statistics were estimated.
    #[error("interrupted while batch statistics were estimated\n  The same command starts again.")]
    InterruptedRecalibration,
    /// A process that made a part of the bank has failed.
    #[error(
        "not all processes have done their part: {message}\n  What they said stands above; the same command goes on from what is done."
    )]
    Jobs {
        /// Which, and how.
        message: String,
    },
    /// The user stopped the run while finished shards were compared with their checksums.
    #[error("interrupted while finished shards were checked\n  The same command starts again.")]
    InterruptedCheck,
    /// The user stopped a repair.
    #[error(
        "interrupted after {done} of {of} files; the bank is as it was\n  The same command starts again."
    )]
    InterruptedRepair {
        /// Files made.
        done: usize,
        /// Files wanted.
        of: usize,
    },
    /// The user stopped the run while it was found out which maps are kept.
    #[error(
        "interrupted while the tail's images were looked at, which says whose maps are kept\n  The same command starts again."
    )]
    InterruptedNeeded,
    /// The user stopped the run while the classifier was fitted.
    #[error(
        "interrupted while the classifier was fitted; the maps are kept\n  The same command goes on from them."
    )]
    InterruptedFit,
    /// The user stopped the run.
    #[error("interrupted; {state}\n  The same command goes on from there.")]
    Interrupted {
        /// How far the bank is.
        state: BuildState,
    },
}

impl FeaturesError {
    /// The same, where a part of the bank is there.
    fn with_a_bank_begun(self) -> Self {
        match self {
            Self::Write(e) | Self::Bank(BankError::Write(e)) => Self::Stopped(e),
            other => other,
        }
    }
}

/// A run of the stage.
pub struct FeaturesRequest<'a> {
    /// The settings and their name.
    pub loaded: &'a LoadedPipeline,
    /// The images.
    pub dataset: &'a Dataset,
    /// Folder of the bank.
    pub out: &'a Path,
    /// Replace what is there and differs; a bank that is whole is made again.
    pub overwrite: bool,
    /// Make only these shards, and no bank of them; `None`: all that are missing, and the bank.
    pub partition: Option<Partition>,
    /// Has the missing shards made by other processes, in place of this one; it is told how many rows
    /// they have.
    pub elsewhere: Option<&'a (dyn Fn(u64) -> Result<(), FeaturesError> + Sync)>,
    /// Time the bare forward pass over the same batches first.
    pub measure_forward: bool,
    /// Bytes that are free in a folder; `None` where the file system does not say. Usually
    /// [`crate::disk::free_bytes`].
    pub free_bytes: &'a (dyn Fn(&Path) -> Option<u64> + Sync),
}

/// What a run left behind.
#[derive(Debug, Clone, Serialize)]
pub struct FeaturesOutcome {
    /// The bank's folder.
    pub bank: PathBuf,
    /// Whether it was there already.
    pub already_done: bool,
    /// How far the bank is, where it is not committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BuildState>,
    /// Rows of all splits; of a bank that is not committed, those made now.
    pub rows: u64,
    /// Rows made now.
    pub rows_made: u64,
    /// Bytes of all files but the manifest; of a bank that is not committed, of the shards made now.
    pub bytes: u64,
    /// Share of the rows of each split whose class the classifier finds, in percent: of clean views,
    /// and of the training split the images that Phase-I was fitted to. Empty for a bank that was there.
    pub top1: BTreeMap<String, f64>,
    /// Whether the classifier is right about the classes and wrong about their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordering: Option<Reordering>,
    /// Seconds of the pass, once the network is ready.
    pub secs: f64,
    /// `rows_made` over `secs`: views, not images.
    pub rows_per_sec: f64,
    /// Views a second of the bare forward pass over the same inputs, where it was measured.
    pub forward_rows_per_sec: Option<f64>,
    /// Images that have no rows because they cannot be decoded.
    pub skipped: SkippedList,
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
    /// Refuses a classifier of other classes.
    fn must_suit(&self, dataset: &Dataset) -> Result<(), FeaturesError> {
        let expected = dataset.class_names.len();
        match &self.head {
            HeadSource::Given(head) if head.classes() != expected => {
                Err(FeaturesError::Classes { found: head.classes(), expected })
            }
            _ => Ok(()),
        }
    }

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
            arch: ModelRef::onnx_arch(&name),
            image_size: opened.side(),
            weights_sha256: file.sha256().into(),
            arithmetic: "as exported".into(),
        };
        let (device, shape) = (opened.device.clone(), opened.shape());
        let start = move || Ok(Box::new(opened) as Box<dyn Backbone>);
        let identity =
            Description::of_onnx(file, None).map_err(BackboneError::from)?.identity(file.sha256());
        Ok(Self { shape, head, reference, identity, device, start: Box::new(start) })
    }
}

/// Makes a bank, or finds that the same bank is there already.
///
/// It grows in `NAME.partial` beside its place and is renamed when it is whole; a run that was stopped
/// or killed goes on with the shards that are missing. With [`HeadSource::Fitted`] the maps are written
/// first, into `NAME.unfitted`; from them the classifier is fitted and the bank made.
///
/// # Errors
/// See [`FeaturesError`]. What cannot fit on the disk is refused before it is begun.
///
/// # Cost
/// One pass of the network. Where the disk might be too small, a sample of the rows is measured first, as
/// [`plan`] does.
///
/// # Determinism
/// Which rows a shard has follows from the images and the settings. Views are functions of (seed,
/// sample, view). The same maps give byte-identical shards.
pub fn run(
    request: &FeaturesRequest,
    model: FrozenModel,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<FeaturesOutcome, FeaturesError> {
    model.must_suit(request.dataset)?;
    let FrozenModel { shape, head, reference, identity, device, start } = model;
    let manifest = describe(request, reference, &head, shape);
    if let Some(done) = existing(request.out, request.overwrite, &manifest)? {
        return Ok(done);
    }
    let making = |out, partition| Making {
        request,
        out,
        partition,
        identity: &identity,
        device: &device,
        progress,
        interrupt,
    };
    let options = match head {
        HeadSource::Given(head) => {
            let source = Source::Images(Network::new(Box::new(start)));
            return making(request.out, request.partition).run(manifest, &head, source);
        }
        HeadSource::Fitted(options) => options,
    };
    let unfitted = unfitted_folder(request.out);
    let (bare, none) = without_classifier(&manifest);
    let maps = match existing(&unfitted, false, &bare) {
        Ok(Some(there)) => {
            progress.line(&format!("{}: the maps are there already", unfitted.display()));
            there
        }
        Err(e) if !request.overwrite => return Err(e),
        _ => {
            let source = Source::Images(Network::new(Box::new(start)));
            making(&unfitted, request.partition).run(bare, &none, source)?
        }
    };
    if maps.state.is_some() {
        return Ok(maps);
    }
    let begin = Instant::now();
    let bank = Bank::open(&unfitted)?;
    forecast::another(request, &bank.manifest).require()?;
    let head = fit::head(&bank, &options, progress, interrupt)?;
    let classifier_sha256 = Weights::of_head(&head).sha256();
    let manifest = Manifest { classifier_sha256, ..manifest };
    let made = making(request.out, None).run(manifest, &head, Source::Maps(&bank))?;
    std::fs::remove_dir_all(&unfitted).map_err(WriteError::at(&unfitted))?;
    let secs = maps.secs + begin.elapsed().as_secs_f64();
    let rows_per_sec = made.rows as f64 / secs;
    let forward_rows_per_sec = maps.forward_rows_per_sec;
    Ok(FeaturesOutcome { forward_rows_per_sec, secs, rows_per_sec, ..made })
}

/// Makes a bank of shards that were made in partitions, once all are there; each is read and compared
/// with the checksum in its marker.
///
/// # Errors
/// Shards are missing or damaged, or another bank is in the place.
pub fn commit(
    bank: &Path,
    overwrite: bool,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<FeaturesOutcome, FeaturesError> {
    let made = || {
        let build = Build::open(bank)?;
        let mut results = vec![None; build.shards().len()];
        build.check(&mut results, false, progress, interrupt)?;
        if interrupt.requested() {
            return Err(FeaturesError::InterruptedCheck);
        }
        Ok(build.commit(results, overwrite)?)
    };
    match made() {
        Ok(committed) => {
            let skipped = crate::dataset::save_skipped(&committed.skipped, &skipped_file(bank))?;
            let done = outcome(bank, &committed.manifest, false);
            let (top1, reordering) = (committed.top1, committed.reordering);
            Ok(FeaturesOutcome { top1, reordering, skipped, ..done })
        }
        // Committed before, or by another process meanwhile.
        Err(_) if !Build::is_begun(bank) && bank.join(MANIFEST_FILE).exists() => {
            let (manifest, _) = Manifest::load(bank)?;
            manifest.check_lengths(bank)?;
            Build::tidy(bank);
            Ok(outcome(bank, &manifest, true))
        }
        Err(e) => Err(e),
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

/// What the maps are described as while they wait for their classifier, and the one of zeros that they have
/// until then.
fn without_classifier(manifest: &Manifest) -> (Manifest, LinearHead) {
    let (classes, channels) = (manifest.dataset.classes, manifest.feature_shape.channels);
    let none = LinearHead::new(vec![0.0; classes * channels], vec![0.0; classes]);
    let none = none.expect("a dataset has classes, and a map channels");
    let classifier_sha256 = Weights::of_head(&none).sha256();
    // The classifier's activation maps are made of all maps.
    let maps = MapsKept::All;
    (Manifest { fitted_head: None, classifier_sha256, maps, ..manifest.clone() }, none)
}

fn outcome(out: &Path, manifest: &Manifest, already_done: bool) -> FeaturesOutcome {
    FeaturesOutcome {
        bank: out.into(),
        already_done,
        state: None,
        rows: manifest.splits.values().map(|s| s.rows).sum(),
        rows_made: 0,
        bytes: manifest.total_bytes(),
        secs: 0.0,
        rows_per_sec: 0.0,
        forward_rows_per_sec: None,
        skipped: SkippedList::of_earlier_run(&skipped_file(out)),
        top1: BTreeMap::new(),
        reordering: None,
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
        needs: Manifest::needs(),
        writer: concat!("fsa-bank ", env!("CARGO_PKG_VERSION")).into(),
        name: request.loaded.name.clone(),
        dataset: DatasetCard {
            fingerprint: request.dataset.fingerprint.clone(),
            classes: request.dataset.class_names.len(),
        },
        model,
        preprocessing: Some(InputSpec::of(&pipeline.dataset)),
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
        maps: match pipeline.features.maps {
            KeepMaps::All => MapsKept::All,
            KeepMaps::Needed => MapsKept::Needed {
                head_ratio: pipeline.finetune.head_ratio,
                num_confusing: pipeline.finetune.num_confusing,
                generic_classes: pipeline.finetune.generic_classes,
                other_views: pipeline.features.other_views,
                // Known once the tail's images were looked at.
                classes: vec![],
            },
            KeepMaps::None => MapsKept::None,
        },
        classifier_sha256,
        fitted_head,
        files: Default::default(),
        splits: Default::default(),
        manifest_xxh3: Default::default(),
    }
}

/// What is known of the bank in `out`, if it is the one wanted.
fn existing(
    out: &Path,
    overwrite: bool,
    wanted: &Manifest,
) -> Result<Option<FeaturesOutcome>, FeaturesError> {
    let Some(found) = same(out, overwrite, wanted)? else { return Ok(None) };
    Build::tidy(out);
    Ok(Some(outcome(out, &found, true)))
}

/// The bank in `out`, if it is the one wanted; an error if it is another one and must stay.
fn same(out: &Path, overwrite: bool, wanted: &Manifest) -> Result<Option<Manifest>, FeaturesError> {
    if out.exists() && !out.is_dir() {
        return Err(BankError::NoFolder { path: out.into() }.into());
    }
    if overwrite || !out.join(MANIFEST_FILE).exists() {
        return Ok(None);
    }
    let (found, _) = Manifest::load(out)?;
    match found.difference(wanted) {
        None => {
            found.check_lengths(out)?;
            Ok(Some(found))
        }
        Some(what) => Err(BankError::OtherBank { dir: out.into(), what }.into()),
    }
}
