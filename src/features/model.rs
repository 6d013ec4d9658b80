//! The frozen network that a bank is made with, and the classifier that goes with it.

use super::error::FeaturesError;
use super::network::TorchNetwork;
#[cfg(feature = "onnx")]
use crate::backbone::onnx::{OnnxBackbone, OnnxFile, OnnxOptions};
use crate::backbone::{self, Backbone, BackboneError, Engine, EngineOptions};
use crate::bank::ModelRef;
use crate::config::LoadedPipeline;
use crate::dataset::Dataset;
use crate::domain::{FeatureShape, FitOptions, LinearHead};
#[cfg(feature = "onnx")]
use crate::export::Description;

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
    pub(super) fn must_suit(&self, dataset: &Dataset) -> Result<(), FeaturesError> {
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
    /// The weights are of another network; the device is not available.
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
