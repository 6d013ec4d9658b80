//! The network of a bank that libtorch makes: the one that Phase-I has trained, or pretrained weights
//! as they are; with batch statistics of its own where the pipeline asks for them.

use std::path::{Path, PathBuf};

use super::error::FeaturesError;
use crate::atomic_file;
use crate::backbone::{self, Engine, EngineOptions, Network};
use crate::bank::CLASSIFIER_FILE;
use crate::config::LoadedPipeline;
use crate::dataset::{Augmentation, Dataset, Loader, Transform};
use crate::domain::Split;
use crate::progress::Watch;
use crate::rng::{KeyedRng, Stage};
use crate::train::{self, MODEL_FILE, ModelCard, Recalibration};
use crate::weights::{Checkpoint, NamedTensor, Weights};

/// Name of the network with batch statistics of its own, in a run's folder.
pub const RECALIBRATED_FILE: &str = "model-recalibrated.safetensors";

/// A network that is ready to be frozen.
pub struct TorchNetwork {
    /// The file it comes from.
    pub path: PathBuf,
    /// All its tensors.
    pub weights: Weights,
    card: ModelCard,
    /// Name of the FC layer, where the weights are pretrained ones of other classes.
    fitted_layer: Option<String>,
}

/// What decides which network is taken, and where it is looked for.
pub struct TorchRequest<'a> {
    /// The settings.
    pub loaded: &'a LoadedPipeline,
    /// The images.
    pub dataset: &'a Dataset,
    /// Folder of the run.
    pub folder: &'a Path,
    /// Whether the bank gets another classifier than the network's own.
    pub other_head: bool,
    /// Where to compute.
    pub options: &'a EngineOptions,
    /// Write nothing: batch statistics that do not exist yet are not estimated.
    pub dry: bool,
}

impl TorchNetwork {
    /// The network that Phase-I left in the run's folder; with another classifier, and where Phase-I
    /// did not run, that of `network.weights`. With `features.recalibrate_batches` its batch statistics
    /// are estimated again and the result kept in the folder.
    ///
    /// # Errors
    /// There is none, or it is of another network, image size or dataset.
    pub fn choose(
        request: &TorchRequest,
        engine: &dyn Engine,
        watch: Watch<'_>,
    ) -> Result<Self, FeaturesError> {
        let pipeline = &request.loaded.pipeline;
        let (classes, side) = (request.dataset.class_names.len(), pipeline.dataset.image_size);
        let (network, _) = backbone::network(&pipeline.network, classes, side)?;
        let mut chosen = match request.pretrained()? {
            Some(file) => {
                let file_content = Checkpoint::load(file)?;
                let pretrained = backbone::adapt(&network, &file_content, pipeline.seed)?;
                drop(file_content);
                for told in pretrained.told(&network, "is the bank's") {
                    watch.progress.line(&format!("{}: {told}", file.display()));
                }
                let weights = pretrained.weights;
                let card = ModelCard::untrained(pipeline, request.dataset);
                let fitted_layer = Some(network.classifier.clone());
                Self { path: file.into(), weights, card, fitted_layer }
            }
            None => {
                let path = request.folder.join(MODEL_FILE);
                let file = &request.loaded.file;
                let (weights, card) = train::load_model(&path, file, pipeline, request.dataset)?;
                Self { path, weights, card, fitted_layer: None }
            }
        };
        if pipeline.features.recalibrate_batches > 0 {
            chosen.recalibrate(request, &network, engine, watch)?;
        }
        Ok(chosen)
    }

    /// sha256 that names the network, whatever classifier is in it.
    pub(super) fn identity(&self) -> String {
        self.card.network_sha256.clone().unwrap_or_else(|| self.weights.sha256())
    }

    /// Replaces the running statistics by means over class-balanced batches.
    fn recalibrate(
        &mut self,
        request: &TorchRequest,
        network: &Network,
        engine: &dyn Engine,
        watch: Watch<'_>,
    ) -> Result<(), FeaturesError> {
        let pipeline = &request.loaded.pipeline;
        let wanted = Recalibration {
            of: self.weights.sha256(),
            batches: pipeline.features.recalibrate_batches,
            batch_size: pipeline.train.batch_size,
            seed: pipeline.seed,
        };
        let kept = request.folder.join(RECALIBRATED_FILE);
        if kept.exists() {
            let (weights, card) = train::read_model(&kept)?;
            if card.recalibration.as_ref() == Some(&wanted) {
                (self.path, self.weights) = (kept, weights);
                return Ok(());
            }
        }
        if request.dry {
            return Ok(());
        }
        let mut recalibrator =
            engine.recalibrator(network, &self.weights, &self.path, request.options)?;
        let of_class = images_of_classes(request.dataset);
        let loader = Loader::new(request.dataset, Split::Train, &request.dataset.train);
        let total = wanted.batches as u64;
        watch.progress.start("batch statistics", total, "batch");
        for batch in 0..wanted.batches {
            if watch.interrupted() {
                return Err(FeaturesError::InterruptedRecalibration);
            }
            let images = balanced_draws(&of_class, request, batch);
            let batch = train::make_batch(&loader, &images)?;
            if !batch.labels.is_empty() {
                recalibrator.observe(&batch.inputs, batch.labels.len())?;
            }
            watch.progress.advance(1);
        }
        watch.progress.finish();
        self.weights = Weights { tensors: recalibrator.model().tensors, ..Weights::default() };
        self.card.recalibration = Some(wanted);
        self.card.network_sha256 = None;
        atomic_file::create_dir(request.folder)?;
        train::write_model(&kept, self.weights.clone(), &self.card)?;
        self.path = kept;
        Ok(())
    }

    /// Where the network was never trained here, keeps it with the bank's classifier as the run's model,
    /// so that it can be exported and asked.
    ///
    /// # Errors
    /// The bank's classifier cannot be read, or the model not be written.
    pub fn save_with_head(&self, folder: &Path, bank: &Path) -> Result<(), FeaturesError> {
        let Some(layer) = &self.fitted_layer else {
            return Ok(());
        };
        let path = bank.join(CLASSIFIER_FILE);
        let head = Weights::load(&path)?;
        let mut weights = self.weights.clone();
        let card = ModelCard { network_sha256: Some(self.identity()), ..self.card.clone() };
        for part in ["weight", "bias"] {
            let NamedTensor { shape, .. } = &weights.tensors[&format!("{layer}.{part}")];
            let name = format!("fc.{part}");
            let values = head.tensor(&name, shape, &path)?.to_vec();
            let tensor = NamedTensor { shape: shape.clone(), values };
            weights.tensors.insert(format!("{layer}.{part}"), tensor);
        }
        Ok(train::write_model(&folder.join(MODEL_FILE), weights, &card)?)
    }
}

impl TorchRequest<'_> {
    /// The file of pretrained weights, where it is to be taken.
    fn pretrained(&self) -> Result<Option<&Path>, FeaturesError> {
        let file = &self.loaded.pipeline.network.weights;
        if !self.other_head || file.as_os_str().is_empty() {
            return Ok(None);
        }
        let model = self.folder.join(MODEL_FILE);
        let trained = model.exists() && train::read_model(&model)?.1.is_trained();
        Ok((!trained).then_some(file.as_path()))
    }
}

fn images_of_classes(dataset: &Dataset) -> Vec<Vec<usize>> {
    let mut of_class = vec![vec![]; dataset.class_names.len()];
    for (sample, &label) in dataset.train.labels().iter().enumerate() {
        of_class[label as usize].push(sample);
    }
    of_class
}

/// Training images of one batch: a class, uniformly, then one of its images, transformed as in Phase-I.
fn balanced_draws(
    of_class: &[Vec<usize>],
    request: &TorchRequest,
    batch: usize,
) -> Vec<(usize, Transform)> {
    let (seed, train) = (request.loaded.pipeline.seed, &request.loaded.pipeline.train);
    let mut rng = KeyedRng::new(seed, Stage::Recalibration, (batch as u64, 0));
    let augmentation = Augmentation::new(train);
    let mut draw = || {
        let class = &of_class[rng.below(of_class.len() as u32) as usize];
        let sample = class[rng.below(class.len() as u32) as usize];
        (sample, augmentation.draw(&mut rng))
    };
    (0..train.batch_size).map(|_| draw()).collect()
}
