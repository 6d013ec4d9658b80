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

pub use crate::methods::Objective;
pub use graph::{
    Activation, BATCH_NORM_EPS, Conv, IMAGES, Network, Node, Op, Parameter, ParameterKind, Value,
};
pub use pretrained::{FileClassifier, Pretrained, Taken, adapt};

/// What can go wrong in an engine.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// A device that is not available.
    #[error("device {wanted}: not available: {found}\n  {remedy}")]
    Device {
        /// What was asked for.
        wanted: String,
        /// What was found.
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
    /// (n, 3, side, side), normalised; empty where the engine holds the images.
    pub inputs: Vec<f32>,
    /// Which of the images that the engine holds, in place of `inputs`.
    pub held: Vec<HeldImage>,
    /// Class of each image.
    pub labels: Vec<i64>,
    /// Where the images are mixtures: of what else.
    pub mixed: Option<Mixed>,
}

/// What the images of a batch are to be mixed with (mixup).
#[derive(Debug, Clone, PartialEq)]
pub struct Mixed {
    /// The other image, by its place in the batch, of each.
    pub partners: Vec<i64>,
    /// Its class.
    pub labels: Vec<i64>,
    /// Share of the image itself, in [0, 1]; the rest is the other's.
    pub share: f64,
}

/// The images of a split, for an engine that keeps them on its device.
#[derive(Debug, Clone, Copy)]
pub struct HeldImages<'a> {
    /// (n, side, side, 3), 8-bit.
    pub pixels: &'a [u8],
    /// Height and width.
    pub side: usize,
    /// Black pixels to put on each side of an image.
    pub padding: usize,
    /// [3, 256], the normalised value of each byte of R, G and B.
    pub normalised: &'a [[f32; 256]; 3],
}

/// An input out of an image that the engine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldImage {
    /// Which image.
    pub sample: usize,
    /// Upper end of the square in the padded image, 0 to twice the padding.
    pub top: usize,
    /// Left end.
    pub left: usize,
    /// Whether it is mirrored.
    pub mirrored: bool,
}

/// What a training step saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepOutcome {
    /// Mean loss of the batch.
    pub loss: f64,
    /// Images classified right (mixtures: as their first part), before the update.
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
    /// Whether it trains faster with images that it holds: it computes on a device of its own.
    fn prefers_held(&self) -> bool;

    /// Keeps the images on the device; batches may then name them.
    ///
    /// # Errors
    /// The engine failed, for example because memory ran out.
    fn hold(&mut self, images: &HeldImages) -> Result<(), BackboneError>;

    /// One step of SGD; the running average, where one is kept, then keeps `average_decay` of itself.
    ///
    /// # Errors
    /// The engine failed.
    fn step(
        &mut self,
        batch: &Batch,
        learning_rate: f64,
        average_decay: f64,
    ) -> Result<StepOutcome, BackboneError>;

    /// How many images of the batch are classified right, with frozen batch statistics.
    ///
    /// # Errors
    /// The engine failed.
    fn count_correct(&mut self, batch: &Batch) -> Result<usize, BackboneError>;

    /// Parameters and batch statistics, under torchvision's names.
    fn model(&self) -> Weights;

    /// What else a run needs to go on: SGD's momentum buffers ([`MOMENTUM`]) and the running average
    /// ([`AVERAGE`]), each tensor under the prefix and its own name.
    fn state(&self) -> Weights;

    /// Takes back both.
    ///
    /// # Errors
    /// A tensor is missing or has another shape; `path` is for the message.
    fn restore(
        &mut self,
        model: &Weights,
        state: &Weights,
        path: &std::path::Path,
    ) -> Result<(), BackboneError>;

    /// Exchanges the weights and their running average, where one is kept; called twice it leaves all as
    /// it was.
    ///
    /// # Errors
    /// The engine failed.
    fn swap_average(&mut self) -> Result<(), BackboneError>;
}

/// A network whose batch statistics are estimated again: means over the batches it is shown.
pub trait Recalibrator {
    /// Takes in the statistics of a batch: `inputs` (n, 3, side, side).
    ///
    /// # Errors
    /// The engine failed.
    fn observe(&mut self, inputs: &[f32], images: usize) -> Result<(), BackboneError>;

    /// All tensors, with the statistics of the batches so far.
    fn model(&self) -> Weights;
}

/// Prefix of momentum buffers in [`Trainable::state`].
pub const MOMENTUM: &str = "momentum/";
/// Prefix of the running average there.
pub const AVERAGE: &str = "average/";

/// What all steps of a run have in common.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// Momentum of SGD.
    pub momentum: f64,
    /// L2 penalty on all parameters.
    pub weight_decay: f64,
    /// What is not trained.
    pub freeze: Freeze,
    /// What is minimised.
    pub objective: Objective,
    /// Whether a running average of the weights and batch statistics is kept.
    pub keeps_average: bool,
}

/// What makes networks run.
pub trait Engine {
    /// A network to train, which begins with `weights` (all of its tensors).
    ///
    /// # Errors
    /// The device is not available.
    fn trainable(
        &self,
        network: &Network,
        weights: &Weights,
        options: &EngineOptions,
        recipe: &Recipe,
    ) -> Result<Box<dyn Trainable>, BackboneError>;

    /// A frozen network with maps of `shape`; `path` names the weights in messages.
    ///
    /// # Errors
    /// The device is not available, or the weights do not fit.
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
    /// The device is not available, or the weights do not fit.
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
    /// The device is not available.
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
