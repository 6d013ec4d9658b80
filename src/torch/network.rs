//! The forward pass of a [`ResNet`] on libtorch tensors.

use std::collections::BTreeMap;
use std::path::Path;

use fsa_bank::backbone::{BackboneError, BasicBlock, Parameter, ResNet};
use fsa_bank::weights::{NamedTensor, Weights};
use tch::{Device, Kind, TchError, Tensor};

/// PyTorch's defaults.
const BATCH_NORM_MOMENTUM: f64 = 0.1;
const BATCH_NORM_EPS: f64 = 1e-5;

/// A network's tensors on a device, under torchvision's names.
pub struct Network {
    layout: ResNet,
    tensors: BTreeMap<String, Tensor>,
    device: Device,
    kind: Kind,
    channels_last: bool,
}

/// Wraps an error of libtorch.
pub fn failed(operation: &'static str) -> impl Fn(TchError) -> BackboneError {
    move |e| BackboneError::Engine { engine: "libtorch", operation, message: e.to_string() }
}

/// The tensor in channels-last memory order; libtorch's C API has no memory formats, strides do.
fn to_channels_last(tensor: &Tensor) -> Result<Tensor, TchError> {
    tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}

fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&s| s as i64).collect()
}

impl Network {
    /// A network whose tensors hold `values(parameter, index)`.
    pub fn new(
        layout: &ResNet,
        device: Device,
        kind: Kind,
        channels_last: bool,
        mut values: impl FnMut(usize, &Parameter) -> Result<Vec<f32>, BackboneError>,
    ) -> Result<Self, BackboneError> {
        let mut tensors = BTreeMap::new();
        for (index, parameter) in layout.parameters().iter().enumerate() {
            let make = |values: &[f32]| -> Result<Tensor, TchError> {
                let tensor = Tensor::f_from_slice(values)?
                    .f_view(sizes(&parameter.shape).as_slice())?
                    .f_to_device(device)?;
                match channels_last && parameter.shape.len() == 4 {
                    true => to_channels_last(&tensor),
                    false => Ok(tensor),
                }
            };
            let tensor = make(&values(index, parameter)?).map_err(failed("loading weights"))?;
            tensors.insert(parameter.name.clone(), tensor);
        }
        Ok(Self { layout: layout.clone(), tensors, device, kind, channels_last })
    }

    /// A network with the weights of a file.
    pub fn with_weights(
        layout: &ResNet,
        device: Device,
        kind: Kind,
        channels_last: bool,
        weights: &Weights,
        path: &Path,
    ) -> Result<Self, BackboneError> {
        Self::new(layout, device, kind, channels_last, |_, p| {
            Ok(weights.tensor(&p.name, &p.shape, path)?.to_vec())
        })
    }

    /// Overwrites the tensors in place.
    pub fn restore(&mut self, weights: &Weights, path: &Path) -> Result<(), BackboneError> {
        for parameter in self.layout.parameters() {
            let values = weights.tensor(&parameter.name, &parameter.shape, path)?;
            let source = Tensor::from_slice(values).view(sizes(&parameter.shape).as_slice());
            let mut target = self.tensors[&parameter.name].shallow_clone();
            tch::no_grad(|| target.f_copy_(&source)).map_err(failed("restoring weights"))?;
        }
        Ok(())
    }

    /// The parameters that SGD moves, in the network's order.
    pub fn trained(&self) -> Vec<(String, Tensor)> {
        let parameters = self.layout.parameters();
        let trained = parameters.iter().filter(|p| p.kind.trained());
        trained.map(|p| (p.name.clone(), self.tensors[&p.name].shallow_clone())).collect()
    }

    /// Copies tensors to the host.
    pub fn weights(&self) -> Weights {
        let all = self.tensors.iter();
        Weights {
            tensors: all.map(|(n, t)| (n.clone(), to_host(t))).collect(),
            ..Weights::default()
        }
    }

    /// Host inputs (n, 3, side, side) as a tensor of the network's device, type and memory order.
    pub fn inputs(&self, inputs: &[f32], images: usize) -> Result<Tensor, TchError> {
        let side = (inputs.len() / (3 * images)).isqrt() as i64;
        let tensor = Tensor::f_from_slice(inputs)?
            .f_view([images as i64, 3, side, side])?
            .f_to_device(self.device)?
            .f_to_kind(self.kind)?;
        if self.channels_last { to_channels_last(&tensor) } else { Ok(tensor) }
    }

    /// The Block4 map (n, K, H, W) in f32.
    pub fn feature_maps(&self, inputs: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let stem = self.conv(inputs, "conv1.weight", 1)?;
        let mut x = self.batch_norm(&stem, "bn1", training)?.f_relu_()?;
        for block in &self.layout.blocks {
            x = self.block(&x, block, training)?;
        }
        x.f_to_kind(Kind::Float)
    }

    /// Logits (n, C) of a map (n, K, H, W).
    pub fn logits(&self, maps: &Tensor) -> Result<Tensor, TchError> {
        let pooled = maps.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
        pooled.f_linear(self.tensor("fc.weight"), Some(self.tensor("fc.bias")))
    }

    fn block(&self, x: &Tensor, block: &BasicBlock, training: bool) -> Result<Tensor, TchError> {
        let name = |part: &str| format!("{}.{part}", block.name);
        let y = self.conv(x, &name("conv1.weight"), block.stride)?;
        let y = self.batch_norm(&y, &name("bn1"), training)?.f_relu_()?;
        let y = self.conv(&y, &name("conv2.weight"), 1)?;
        let y = self.batch_norm(&y, &name("bn2"), training)?;
        let shortcut = if block.has_downsample() {
            let shortcut = self.conv(x, &name("downsample.0.weight"), block.stride)?;
            self.batch_norm(&shortcut, &name("downsample.1"), training)?
        } else {
            x.shallow_clone()
        };
        y.f_add(&shortcut)?.f_relu_()
    }

    fn conv(&self, x: &Tensor, weight: &str, stride: usize) -> Result<Tensor, TchError> {
        let weight = self.tensor(weight).f_to_kind(self.kind)?;
        let padding = weight.size()[2] / 2;
        let stride = stride as i64;
        x.f_conv2d(&weight, None::<Tensor>, [stride, stride], [padding, padding], [1, 1], 1)
    }

    fn batch_norm(&self, x: &Tensor, name: &str, training: bool) -> Result<Tensor, TchError> {
        let part = |part: &str| Some(self.tensor(&format!("{name}.{part}")));
        let (mean, var) = (part("running_mean"), part("running_var"));
        let (momentum, eps) = (BATCH_NORM_MOMENTUM, BATCH_NORM_EPS);
        x.f_batch_norm(part("weight"), part("bias"), mean, var, training, momentum, eps, true)
    }

    fn tensor(&self, name: &str) -> &Tensor {
        // Every name comes from the layout that made the map.
        &self.tensors[name]
    }
}

/// Copies a tensor to the host, row-major.
pub fn to_host(tensor: &Tensor) -> NamedTensor {
    let shape = tensor.size().iter().map(|&s| s as usize).collect();
    let mut values = vec![0.0; tensor.numel()];
    let flat = tensor.detach().to_kind(Kind::Float).to_device(Device::Cpu).contiguous().view(-1);
    flat.copy_data(&mut values, tensor.numel());
    NamedTensor { shape, values }
}
