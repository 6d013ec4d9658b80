//! Networks as the stages see them: images in, feature maps out, host f32 buffers on both sides.
//!
//! An engine (libtorch in `fsa-bank-torch`) implements [`Engine`]; no stage knows which one runs.

mod folding;
mod graph;
mod networks;
pub mod onnx;
mod pretrained;

use crate::config::{Arithmetic, Freeze, NetworkConfig};
use crate::domain::FeatureShape;
use crate::weights::{Weights, WeightsError};

pub use graph::{
    Activation, BATCH_NORM_EPS, Conv, IMAGES, Network, Node, Op, Parameter, ParameterKind, Value,
};
pub use pretrained::{Pretrained, adapt};

/// What can go wrong in an engine.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// A device that is not there.
    #[error("device {wanted}: not available: {found}\n  {remedy}")]
    Device {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Images too small for the network.
    #[error(
        "images of {side} pixels are too small for {arch}\n  Set dataset.image_size higher; its usual size is 224 (32 for the CIFAR stem)."
    )]
    ImageSize {
        /// The layout.
        arch: &'static str,
        /// Side of the images.
        side: usize,
    },
    /// Weights that do not fit the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A network of an ONNX file.
    #[error(transparent)]
    Onnx(#[from] onnx::OnnxError),
    /// The engine failed in the middle of its work.
    #[error("{operation} failed in {engine}: {message}")]
    Engine {
        /// Which engine.
        engine: &'static str,
        /// What it was doing.
        operation: &'static str,
        /// Its message.
        message: String,
    },
}

/// Where and how an engine computes.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Number type of the convolutions.
    pub arithmetic: Arithmetic,
    /// Whether activations are kept in channels-last order.
    pub channels_last: bool,
    /// CPU threads; `None`: all.
    pub threads: Option<usize>,
}

/// Images and their classes, as a network takes them.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// (n, 3, side, side), normalised.
    pub inputs: Vec<f32>,
    /// Class of each image.
    pub labels: Vec<i64>,
}

/// What a training step saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepOutcome {
    /// Mean cross-entropy of the batch.
    pub loss: f64,
    /// Images classified right, before the update.
    pub correct: usize,
}

/// A frozen network up to global average pooling.
pub trait Backbone {
    /// Shape of the map of one image.
    fn shape(&self) -> FeatureShape;

    /// Feature maps of `images` images: `inputs` (n, 3, side, side), result (n, K, H, W).
    ///
    /// # Errors
    /// The engine failed.
    fn feature_maps(&mut self, inputs: &[f32], images: usize) -> Result<Vec<f32>, BackboneError>;
}

/// A network in Phase-I.
pub trait Trainable {
    /// One step of SGD.
    ///
    /// # Errors
    /// The engine failed.
    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<StepOutcome, BackboneError>;

    /// How many images of the batch are classified right, with frozen batch statistics.
    ///
    /// # Errors
    /// The engine failed.
    fn count_correct(&mut self, batch: &Batch) -> Result<usize, BackboneError>;

    /// Parameters and batch statistics, under torchvision's names.
    fn model(&self) -> Weights;

    /// SGD's momentum buffers, each under its parameter's name.
    fn momentum(&self) -> Weights;

    /// Takes back both; missing momentum buffers start at zero.
    ///
    /// # Errors
    /// A tensor is missing or has another shape; `path` is for the message.
    fn restore(
        &mut self,
        model: &Weights,
        momentum: &Weights,
        path: &std::path::Path,
    ) -> Result<(), BackboneError>;
}

/// A network whose batch statistics are estimated anew: means over the batches it is shown.
pub trait Recalibrator {
    /// Takes in the statistics of a batch: `inputs` (n, 3, side, side).
    ///
    /// # Errors
    /// The engine failed.
    fn observe(&mut self, inputs: &[f32], images: usize) -> Result<(), BackboneError>;

    /// All tensors, with the statistics of the batches so far.
    fn model(&self) -> Weights;
}

/// Constants of SGD.
#[derive(Debug, Clone, Copy)]
pub struct SgdOptions {
    /// Momentum.
    pub momentum: f64,
    /// L2 penalty on all parameters.
    pub weight_decay: f64,
    /// What is not trained.
    pub freeze: Freeze,
}

/// What makes networks run.
pub trait Engine {
    /// A network to train, which begins with `weights` (all of its tensors).
    ///
    /// # Errors
    /// The device is not there.
    fn trainable(
        &self,
        network: &Network,
        weights: &Weights,
        options: &EngineOptions,
        sgd: SgdOptions,
    ) -> Result<Box<dyn Trainable>, BackboneError>;

    /// A frozen network with maps of `shape`; `path` names the weights in messages.
    ///
    /// # Errors
    /// The device is not there, or the weights do not fit.
    fn backbone(
        &self,
        network: &Network,
        weights: &Weights,
        path: &std::path::Path,
        shape: FeatureShape,
        options: &EngineOptions,
    ) -> Result<Box<dyn Backbone>, BackboneError>;

    /// The network with batch statistics that are yet to be estimated; `path` names the weights in
    /// messages.
    ///
    /// # Errors
    /// The device is not there, or the weights do not fit.
    fn recalibrator(
        &self,
        network: &Network,
        weights: &Weights,
        path: &std::path::Path,
        options: &EngineOptions,
    ) -> Result<Box<dyn Recalibrator>, BackboneError>;

    /// The device that `auto` and the others resolve to, in words.
    ///
    /// # Errors
    /// The device is not there.
    fn describe_device(&self, options: &EngineOptions) -> Result<String, BackboneError>;

    /// What the engine is and what it sees, for `doctor`: name and finding, such as
    /// `("CUDA", "not seen: ...")`.
    fn facts(&self) -> Vec<(&'static str, String)>;
}

/// The network that a pipeline asks for, and the shape of its map of images of `side` pixels.
///
/// # Errors
/// The images are too small for it.
pub fn network(
    config: &NetworkConfig,
    classes: usize,
    side: usize,
) -> Result<(Network, FeatureShape), BackboneError> {
    let network = networks::network(config, classes, side);
    let too_small = BackboneError::ImageSize { arch: config.arch.name(), side };
    let shape = network.map_shape(side).ok_or(too_small)?;
    Ok((network, shape))
}
