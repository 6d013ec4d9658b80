//! What Phase-I leaves on disk: `model.safetensors`, and `checkpoint.safetensors` while it runs.
//!
//! Both hold torchvision's tensor names and one metadata entry, a JSON [`ModelCard`]; a checkpoint
//! also holds SGD's momentum buffers and the running average of the weights, each tensor under
//! `momentum/` or `average/` and its own name.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::TrainError;
use crate::atomic_file::WriteError;
use crate::backbone::{AVERAGE, MOMENTUM, Trainable};
use crate::config::{Arch, Freeze, InputSpec, Pipeline, Stem, TrainConfig};
use crate::dataset::Dataset;
use crate::weights::Weights;

/// The trained network.
pub const MODEL_FILE: &str = "model.safetensors";
/// The state of a run under way.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";
const METADATA_KEY: &str = "fsa-bank";

/// What a model file says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of fsa-bank that wrote it.
    pub version: String,
    /// The layout.
    pub arch: Arch,
    /// Channels of the first stage.
    pub width: usize,
    /// What it does first; older files have none, and the CIFAR stem.
    #[serde(default = "cifar_stem")]
    pub stem: Stem,
    /// Class names in the order of the FC layer's outputs.
    pub class_names: Vec<String>,
    /// How images became inputs.
    #[serde(flatten)]
    pub input: InputSpec,
    /// Fingerprint of the dataset.
    pub dataset: String,
    /// Hash of the settings that decide the weights.
    pub config: String,
    /// Epochs done; 0 for pretrained weights that Phase-I has not trained.
    pub epoch: usize,
    /// In a checkpoint: the part of the next epoch that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<UnderWay>,
    /// How the batch statistics were estimated, where they are not those of Phase-I.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalibration: Option<Recalibration>,
    /// sha256 of the weights before another classifier was put in, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_sha256: Option<String>,
}

/// How far the epoch of a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct UnderWay {
    /// Steps done.
    pub step: usize,
    /// Their images.
    pub images: usize,
    /// Sum of the losses of these.
    pub loss_sum: f64,
    /// How many of them were classified right.
    pub correct: usize,
    /// Time they took.
    pub secs: f64,
}

/// Batch statistics that were estimated on class-balanced batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recalibration {
    /// sha256 of the weights before.
    pub of: String,
    /// How many batches.
    pub batches: usize,
    /// Images of each.
    pub batch_size: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl ModelCard {
    /// The card of a run that begins.
    pub fn new(pipeline: &Pipeline, dataset: &Dataset) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            arch: pipeline.network.arch,
            width: pipeline.network.width(),
            stem: pipeline.network.stem(pipeline.dataset.image_size),
            class_names: dataset.class_names.clone(),
            input: InputSpec::of(&pipeline.dataset),
            dataset: dataset.fingerprint.clone(),
            config: config_hash(pipeline),
            epoch: 0,
            under_way: None,
            recalibration: None,
            network_sha256: None,
        }
    }

    /// The card of pretrained weights as they are.
    pub fn untrained(pipeline: &Pipeline, dataset: &Dataset) -> Self {
        Self { config: "pretrained".into(), ..Self::new(pipeline, dataset) }
    }

    /// Whether Phase-I has trained the weights.
    pub fn is_trained(&self) -> bool {
        self.epoch > 0
    }

    /// Refuses a file of another run.
    pub(super) fn must_match(&self, wanted: &Self, path: &Path) -> Result<(), TrainError> {
        let input = self.input.difference(&wanted.input);
        let input =
            input.map(|(key, there, wanted)| format!("dataset.{key} = {there}, not {wanted}"));
        let differs = [
            (
                "another network",
                (self.arch, self.width, self.stem) != (wanted.arch, wanted.width, wanted.stem),
            ),
            (input.as_deref().unwrap_or_default(), input.is_some()),
            ("another dataset", self.dataset != wanted.dataset),
            ("another seed or other training settings", self.config != wanted.config),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((what, _)) => {
                Err(TrainError::OtherRun { path: path.into(), what: what.to_string() })
            }
        }
    }
}

fn cifar_stem() -> Stem {
    Stem::Cifar
}

/// Hash of the settings that decide the weights: not how often they are saved or measured.
fn config_hash(pipeline: &Pipeline) -> String {
    let usual = TrainConfig::default();
    let train = TrainConfig {
        checkpoint_every: usual.checkpoint_every,
        eval_every: usual.eval_every,
        ..pipeline.train.clone()
    };
    let mut text = format!("{} {}", pipeline.seed, differing(&train, &usual));
    let network = &pipeline.network;
    if !network.weights.as_os_str().is_empty() || network.freeze != Freeze::None {
        text += &format!("{} {:?}", network.weights.display(), network.freeze);
    }
    crate::text::hex(&Sha256::digest(text)[..8])
}

/// The settings that are not `usual`, as JSON: a key that is added later changes no earlier hash.
fn differing(train: &TrainConfig, usual: &TrainConfig) -> serde_json::Value {
    let [mut found, usual] =
        [train, usual].map(|t| serde_json::to_value(t).expect("settings are JSON"));
    if let Some(settings) = found.as_object_mut() {
        settings.retain(|key, value| usual[key] != *value);
    }
    found
}

/// Loads the model that `pipeline` has trained.
///
/// # Errors
/// There is none, it cannot be read, or it is of another network, image size or dataset.
pub fn load_model(
    path: &Path,
    pipeline_file: &Path,
    pipeline: &Pipeline,
    dataset: &Dataset,
) -> Result<(Weights, ModelCard), TrainError> {
    if !path.exists() {
        let (path, pipeline) = (path.into(), pipeline_file.into());
        return Err(TrainError::NoModel { path, pipeline, flags: String::new() });
    }
    let (weights, card) = read(path)?;
    // Training settings may have changed since; what the weights mean may not.
    let wanted = ModelCard { config: card.config.clone(), ..ModelCard::new(pipeline, dataset) };
    card.must_match(&wanted, path)?;
    Ok((weights, card))
}

/// Reads a model that `fsa-bank train` wrote, whatever it was trained on.
///
/// # Errors
/// There is none, or it does not say what it is.
pub fn read(path: &Path) -> Result<(Weights, ModelCard), TrainError> {
    let weights = Weights::load(path)?;
    let wrong = |found: String| TrainError::NotAModel { path: path.into(), found };
    let text = weights
        .metadata
        .get(METADATA_KEY)
        .ok_or_else(|| wrong(format!("no `{METADATA_KEY}` entry in its metadata")))?;
    let card = serde_json::from_str(text).map_err(|e| wrong(format!("its metadata: {e}")))?;
    Ok((weights, card))
}

/// Writes a model and what it is.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, mut weights: Weights, card: &ModelCard) -> Result<(), WriteError> {
    let text = serde_json::to_string(card).expect("a card is JSON");
    weights.metadata = [(METADATA_KEY.to_string(), text)].into();
    weights.save(path)
}

/// Notes in a model's card which network it is and which classes it has, once another classifier was
/// put in; weights without a card stay as they are.
pub fn set_network(weights: &mut Weights, sha256: &str, class_names: &[String]) {
    let text = weights.metadata.get(METADATA_KEY);
    let card = text.and_then(|text| serde_json::from_str::<ModelCard>(text).ok());
    if let Some(mut card) = card {
        card.network_sha256 = Some(sha256.into());
        card.class_names = class_names.to_vec();
        let text = serde_json::to_string(&card).expect("a card is JSON");
        weights.metadata.insert(METADATA_KEY.into(), text);
    }
}

pub(super) fn write_checkpoint(
    path: &Path,
    model: &dyn Trainable,
    card: &ModelCard,
) -> Result<(), WriteError> {
    let mut weights = model.model();
    weights.tensors.extend(model.state().tensors);
    write(path, weights, card)
}

/// The model of a checkpoint, and what else it holds.
pub(super) fn split_checkpoint(weights: Weights) -> (Weights, Weights) {
    let is_state = |name: &String| name.starts_with(MOMENTUM) || name.starts_with(AVERAGE);
    let (state, model) = weights.tensors.into_iter().partition(|(name, _)| is_state(name));
    let of = |tensors| Weights { tensors, ..Weights::default() };
    (of(model), of(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_the_settings_that_decide_the_weights() {
        let mut pipeline = Pipeline::default();
        let before = config_hash(&pipeline);
        pipeline.train.eval_every = 3;
        assert_eq!(config_hash(&pipeline), before);
        pipeline.train.color_jitter = 0.4;
        let jittered = config_hash(&pipeline);
        pipeline.train.crop = crate::config::RandomCrop::Resized;
        pipeline.seed = 1;
        let other = config_hash(&pipeline);
        assert!(jittered != before && other != before && other != jittered);
        assert_eq!(differing(&TrainConfig::default(), &TrainConfig::default()).to_string(), "{}");
    }

    #[test]
    fn cards_read_and_are_written_as_before() {
        let older = r#"{"version":"0.2.0","arch":"resnet18","width":2,"stem":"cifar","class_names":["a"],"image_size":16,"#;
        let newer = r#""crop_fraction":0.875,"interpolation":"bicubic","#;
        let rest = r#""mean":[0.485,0.456,0.406],"std":[0.2,0.25,0.3],"dataset":"d","config":"c","epoch":3}"#;
        let text = format!("{older}{newer}{rest}");
        let card: ModelCard = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&card).unwrap(), text);
        let card: ModelCard = serde_json::from_str(&format!("{older}{rest}")).unwrap();
        let expected = "16 px, middle square, bilinear, mean 0.485 0.456 0.406, std 0.2 0.25 0.3";
        assert_eq!(card.input.to_string(), expected);
        let other = InputSpec { crop_mode: crate::config::CropMode::Squash, ..card.input.clone() };
        let other = ModelCard { input: other, ..card.clone() };
        let path = Path::new("m");
        let message = other.must_match(&card, path).unwrap_err().to_string();
        assert!(message.contains("dataset.crop_mode = squash, not center"), "{message}");
        let text = serde_json::to_string(&other).unwrap();
        assert_eq!(serde_json::from_str::<ModelCard>(&text).unwrap(), other);
    }
}
