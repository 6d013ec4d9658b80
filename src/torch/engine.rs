//! libtorch as an engine: networks that step (Phase-I) and networks that are frozen (features).

use std::path::Path;

use fsa_bank::backbone::{
    AVERAGE, Backbone, BackboneError, Batch, Engine, EngineOptions, HeldImages, MOMENTUM, Mixed,
    Network as Description, Recalibrator, Recipe, StepOutcome, Trainable,
};
use fsa_bank::domain::FeatureShape;
use fsa_bank::weights::Weights;
use tch::{Device, Kind, TchError, Tensor, no_grad};

use crate::device;
use crate::held::Held;
use crate::loss::Loss;
use crate::network::{Mode, Network, failed, to_host};

/// The engine.
pub struct TorchEngine;

impl Engine for TorchEngine {
    fn trainable(
        &self,
        network: &Description,
        weights: &Weights,
        options: &EngineOptions,
        recipe: &Recipe,
    ) -> Result<Box<dyn Trainable>, BackboneError> {
        let place = prepare(options)?;
        let path = Path::new("initial weights");
        let network = Network::new(network, place, options.channels_last, weights, path)?;
        let network = network.frozen(recipe.freeze);
        Ok(Box::new(TorchTrainable::new(network, place.0, recipe)?))
    }

    fn backbone(
        &self,
        network: &Description,
        weights: &Weights,
        path: &Path,
        shape: FeatureShape,
        options: &EngineOptions,
    ) -> Result<Box<dyn Backbone>, BackboneError> {
        let place = prepare(options)?;
        for parameter in &network.parameters {
            weights.tensor(&parameter.name, &parameter.shape, path)?;
        }
        let (network, weights) = network.folded(weights);
        let network = Network::new(&network, place, options.channels_last, &weights, path)?;
        Ok(Box::new(TorchBackbone { network, shape }))
    }

    fn recalibrator(
        &self,
        network: &Description,
        weights: &Weights,
        path: &Path,
        options: &EngineOptions,
    ) -> Result<Box<dyn Recalibrator>, BackboneError> {
        let place = prepare(options)?;
        let network = Network::new(network, place, options.channels_last, weights, path)?;
        Ok(Box::new(TorchRecalibrator { network, batches: 0 }))
    }

    fn describe_device(&self, options: &EngineOptions) -> Result<String, BackboneError> {
        prepare(options)?;
        device::describe(options)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        device::facts()
    }
}

fn prepare(options: &EngineOptions) -> Result<(Device, Kind), BackboneError> {
    if let Some(threads) = options.threads {
        tch::set_num_threads(threads as i32);
    }
    let device = device::resolve(&options.device)?;
    Ok((device, device::kind(options.arithmetic, device)))
}

struct TorchBackbone {
    network: Network,
    shape: FeatureShape,
}

impl Backbone for TorchBackbone {
    fn shape(&self) -> FeatureShape {
        self.shape
    }

    fn feature_maps(&mut self, inputs: &[f32], images: usize) -> Result<Vec<f32>, BackboneError> {
        let forward = || {
            let inputs = self.network.inputs(inputs, images)?;
            self.network.feature_maps(&inputs, Mode::Frozen)
        };
        let maps = no_grad(forward).map_err(failed("the forward pass"))?;
        Ok(to_host(&maps).values)
    }
}

/// Running statistics as plain means over batches, as PyTorch's `BatchNorm2d(momentum=None)` has them.
struct TorchRecalibrator {
    network: Network,
    batches: usize,
}

impl Recalibrator for TorchRecalibrator {
    fn observe(&mut self, inputs: &[f32], images: usize) -> Result<(), BackboneError> {
        self.batches += 1;
        self.network.set_batch_norm_momentum(1.0 / self.batches as f64);
        let forward = || {
            let inputs = self.network.inputs(inputs, images)?;
            self.network.feature_maps(&inputs, Mode::Training).map(drop)
        };
        no_grad(forward).map_err(failed("estimating batch statistics"))
    }

    fn model(&self) -> Weights {
        self.network.weights()
    }
}

/// A network with SGD's state. tch's optimisers hide their momentum buffers, and an exact resume
/// needs them, so the update is written out here; it is PyTorch's (`torch.optim.SGD`).
struct TorchTrainable {
    network: Network,
    device: Device,
    momentum: f64,
    weight_decay: f64,
    loss: Loss,
    held: Option<Held>,
    /// Name, parameter, momentum buffer.
    trained: Vec<(String, Tensor, Tensor)>,
    /// Name, tensor of the network and its running average; empty where none is kept.
    averaged: Vec<(String, Tensor, Tensor)>,
}

impl TorchTrainable {
    fn new(network: Network, device: Device, recipe: &Recipe) -> Result<Self, BackboneError> {
        let averaged = match recipe.keeps_average {
            false => vec![],
            true => {
                network.tensors().map(|(name, t)| (name, t.shallow_clone(), t.copy())).collect()
            }
        };
        let trained = network
            .trained()
            .into_iter()
            .map(|(name, parameter)| {
                let momentum = parameter.zeros_like();
                (name, parameter.set_requires_grad(true), momentum)
            })
            .collect();
        let loss = Loss::new(&recipe.objective, device).map_err(failed("preparing the loss"))?;
        let Recipe { momentum, weight_decay, .. } = *recipe;
        let held = None;
        Ok(Self { network, device, momentum, weight_decay, loss, held, trained, averaged })
    }

    fn try_step(
        &mut self,
        batch: &Batch,
        learning_rate: f64,
        average_decay: f64,
    ) -> Result<StepOutcome, TchError> {
        let mut inputs = match &self.held {
            Some(held) if !batch.held.is_empty() => held.inputs(&batch.held)?,
            _ => self.network.on_device(&batch.inputs, batch.labels.len())?,
        };
        if let Some(mixed) = &batch.mixed {
            inputs = mix(&inputs, mixed)?;
        }
        let inputs = self.network.prepared(&inputs)?;
        let labels = Tensor::f_from_slice(&batch.labels)?.f_to_device(self.device)?;
        let logits = self.network.logits(&self.network.feature_maps(&inputs, Mode::Training)?)?;
        let loss = self.loss.of(&logits, &labels, batch.mixed.as_ref())?;
        loss.f_backward()?;
        no_grad(|| self.update(learning_rate))?;
        no_grad(|| self.average(average_decay))?;
        Ok(StepOutcome { loss: loss.f_double_value(&[])?, correct: correct(&logits, &labels)? })
    }

    fn average(&mut self, decay: f64) -> Result<(), TchError> {
        for (_, tensor, average) in &mut self.averaged {
            let _ = average.f_lerp_(tensor, 1.0 - decay)?;
        }
        Ok(())
    }

    fn update(&mut self, learning_rate: f64) -> Result<(), TchError> {
        for (_, parameter, momentum) in &mut self.trained {
            let mut gradient = parameter.f_grad()?;
            let mut v = momentum.f_mul_scalar_(self.momentum)?.f_add_(&gradient)?;
            if self.weight_decay > 0.0 {
                v = v.f_add_(&parameter.f_mul_scalar(self.weight_decay)?)?;
            }
            let _ = parameter.f_sub_(&v.f_mul_scalar(learning_rate)?)?;
            let _ = gradient.f_zero_()?;
        }
        Ok(())
    }
}

/// Every image with its partner: `share` of its own.
fn mix(inputs: &Tensor, mixed: &Mixed) -> Result<Tensor, TchError> {
    let partners = Tensor::f_from_slice(&mixed.partners)?.f_to_device(inputs.device())?;
    let others = inputs.f_index_select(0, &partners)?;
    inputs.f_mul_scalar(mixed.share)?.f_add(&others.f_mul_scalar(1.0 - mixed.share)?)
}

fn correct(logits: &Tensor, labels: &Tensor) -> Result<usize, TchError> {
    let hits = logits.f_argmax(-1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?;
    Ok(hits.f_int64_value(&[])? as usize)
}

impl Trainable for TorchTrainable {
    fn prefers_held(&self) -> bool {
        self.device.is_cuda()
    }

    fn hold(&mut self, images: &HeldImages) -> Result<(), BackboneError> {
        let held = Held::new(images, self.device);
        self.held = Some(held.map_err(failed("putting the images on the device"))?);
        Ok(())
    }

    fn step(
        &mut self,
        batch: &Batch,
        learning_rate: f64,
        average_decay: f64,
    ) -> Result<StepOutcome, BackboneError> {
        self.try_step(batch, learning_rate, average_decay).map_err(failed("a training step"))
    }

    fn count_correct(&mut self, batch: &Batch) -> Result<usize, BackboneError> {
        let count = || {
            let inputs = self.network.inputs(&batch.inputs, batch.labels.len())?;
            let labels = Tensor::f_from_slice(&batch.labels)?.f_to_device(self.device)?;
            correct(
                &self.network.logits(&self.network.feature_maps(&inputs, Mode::Frozen)?)?,
                &labels,
            )
        };
        no_grad(count).map_err(failed("evaluation"))
    }

    fn model(&self) -> Weights {
        self.network.weights()
    }

    fn state(&self) -> Weights {
        let momentum = self.trained.iter().map(|(n, _, t)| (format!("{MOMENTUM}{n}"), to_host(t)));
        let average = self.averaged.iter().map(|(n, _, t)| (format!("{AVERAGE}{n}"), to_host(t)));
        Weights { tensors: momentum.chain(average).collect(), ..Weights::default() }
    }

    fn restore(
        &mut self,
        model: &Weights,
        state: &Weights,
        path: &Path,
    ) -> Result<(), BackboneError> {
        self.network.restore(model, path)?;
        for (prefix, tensors) in [(MOMENTUM, &mut self.trained), (AVERAGE, &mut self.averaged)] {
            for (name, _, tensor) in tensors {
                let shape: Vec<usize> = tensor.size().iter().map(|&s| s as usize).collect();
                let values = state.tensor(&format!("{prefix}{name}"), &shape, path)?;
                let values = Tensor::from_slice(values).view(tensor.size().as_slice());
                no_grad(|| tensor.f_copy_(&values)).map_err(failed("restoring a checkpoint"))?;
            }
        }
        Ok(())
    }

    fn swap_average(&mut self) -> Result<(), BackboneError> {
        let swap = || {
            for (_, tensor, average) in &mut self.averaged {
                let kept = tensor.f_detach_copy()?;
                tensor.f_copy_(average)?;
                average.f_copy_(&kept)?;
            }
            Ok(())
        };
        no_grad(swap).map_err(failed("taking the average of the weights"))
    }
}
