//! The forward pass of a network's description on libtorch tensors.

use std::collections::BTreeMap;
use std::path::Path;

use fsa_bank::backbone::{
    Activation, BATCH_NORM_EPS, BackboneError, Conv, IMAGES, Network as Description, Node, Op,
    Value,
};
use fsa_bank::config::Freeze;
use fsa_bank::weights::{NamedTensor, Weights};
use tch::{Device, Kind, TchError, Tensor};

/// PyTorch's default share of a batch in the running statistics.
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// A network's tensors on a device, under torchvision's names.
pub struct Network {
    description: Description,
    /// For each value, the node that uses it last.
    last_uses: Vec<usize>,
    tensors: BTreeMap<String, Tensor>,
    device: Device,
    kind: Kind,
    channels_last: bool,
    freeze: Freeze,
    /// Share of a training batch in the running statistics.
    batch_norm_momentum: f64,
}

/// Whether the forward pass is one of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics of the batch itself, which also move the running ones.
    Training,
    /// Running batch statistics.
    Frozen,
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
    /// A network with these weights.
    pub fn new(
        description: &Description,
        (device, kind): (Device, Kind),
        channels_last: bool,
        weights: &Weights,
        path: &Path,
    ) -> Result<Self, BackboneError> {
        let channels_last =
            channels_last && (device.is_cuda() || survives_channels_last(description));
        let mut tensors = BTreeMap::new();
        for parameter in &description.parameters {
            let values = weights.tensor(&parameter.name, &parameter.shape, path)?;
            let make = || -> Result<Tensor, TchError> {
                let tensor = Tensor::f_from_slice(values)?
                    .f_view(sizes(&parameter.shape).as_slice())?
                    .f_to_device(device)?;
                match channels_last && parameter.shape.len() == 4 {
                    true => to_channels_last(&tensor),
                    false => Ok(tensor),
                }
            };
            tensors.insert(parameter.name.clone(), make().map_err(failed("loading weights"))?);
        }
        let (description, last_uses) = (description.clone(), description.last_uses());
        let freeze = Freeze::None;
        let batch_norm_momentum = BATCH_NORM_MOMENTUM;
        Ok(Self {
            description,
            last_uses,
            tensors,
            device,
            kind,
            channels_last,
            freeze,
            batch_norm_momentum,
        })
    }

    /// Sets the share of the next training batches in the running statistics; 1 forgets those before.
    pub fn set_batch_norm_momentum(&mut self, share: f64) {
        self.batch_norm_momentum = share;
    }

    /// The same network, of which training leaves a part as it is.
    pub fn frozen(self, freeze: Freeze) -> Self {
        Self { freeze, ..self }
    }

    /// Overwrites the tensors in place.
    pub fn restore(&mut self, weights: &Weights, path: &Path) -> Result<(), BackboneError> {
        for parameter in &self.description.parameters {
            let values = weights.tensor(&parameter.name, &parameter.shape, path)?;
            let source = Tensor::from_slice(values).view(sizes(&parameter.shape).as_slice());
            let mut target = self.tensors[&parameter.name].shallow_clone();
            tch::no_grad(|| target.f_copy_(&source)).map_err(failed("restoring weights"))?;
        }
        Ok(())
    }

    /// The parameters that SGD moves, in the network's order.
    pub fn trained(&self) -> Vec<(String, Tensor)> {
        let freezes = self.freeze == Freeze::AllButLastBlock;
        let parameters = self.description.parameters.iter();
        let trained = parameters.filter(|p| p.kind.trained() && !(freezes && p.before_last_block));
        trained.map(|p| (p.name.clone(), self.tensors[&p.name].shallow_clone())).collect()
    }

    /// Every tensor with its name.
    pub fn tensors(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor))
    }

    /// Copies tensors to the host.
    pub fn weights(&self) -> Weights {
        let all = self.tensors.iter();
        Weights {
            tensors: all.map(|(n, t)| (n.clone(), to_host(t))).collect(),
            ..Weights::default()
        }
    }

    /// Host inputs (n, 3, side, side) as the network takes them.
    pub fn inputs(&self, inputs: &[f32], images: usize) -> Result<Tensor, TchError> {
        self.prepared(&self.on_device(inputs, images)?)
    }

    /// Host inputs (n, 3, side, side) on the network's device. For a GPU they go through pinned memory,
    /// which is copied while the host goes on.
    pub fn on_device(&self, inputs: &[f32], images: usize) -> Result<Tensor, TchError> {
        let side = (inputs.len() / (3 * images)).isqrt() as i64;
        let mut tensor = Tensor::f_from_slice(inputs)?.f_view([images as i64, 3, side, side])?;
        if self.device.is_cuda() {
            tensor = tensor.f_pin_memory(self.device).unwrap_or(tensor);
        }
        tensor.f_to_device_(self.device, Kind::Float, true, false)
    }

    /// Inputs on the device in the network's type and memory order.
    pub fn prepared(&self, inputs: &Tensor) -> Result<Tensor, TchError> {
        let tensor = inputs.f_to_kind(self.kind)?;
        if self.channels_last { to_channels_last(&tensor) } else { tensor.f_contiguous() }
    }

    /// The feature map (n, K, H, W) in f32.
    pub fn feature_maps(&self, inputs: &Tensor, mode: Mode) -> Result<Tensor, TchError> {
        let mut values: Vec<Option<Tensor>> = vec![Some(inputs.shallow_clone())];
        for (i, node) in self.description.nodes.iter().enumerate() {
            let frozen = self.freeze == Freeze::AllButLastBlock && i < self.description.last_block;
            let mode = if frozen { Mode::Frozen } else { mode };
            let result = self.node(i, node, &values, mode)?;
            values.push(Some(result));
            for input in node.inputs.iter().filter(|v| self.last_uses[v.0] == i) {
                values[input.0] = None;
            }
        }
        let map = values.pop().flatten().expect("the last value is used by nothing");
        map.f_to_kind(Kind::Float)
    }

    /// Logits (n, C) of a map (n, K, H, W).
    pub fn logits(&self, maps: &Tensor) -> Result<Tensor, TchError> {
        let pooled = maps.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
        let part = |part: &str| self.tensor(&format!("{}.{part}", self.description.classifier));
        pooled.f_linear(part("weight"), Some(part("bias")))
    }

    fn node(
        &self,
        index: usize,
        node: &Node,
        values: &[Option<Tensor>],
        mode: Mode,
    ) -> Result<Tensor, TchError> {
        let input = |i: usize| {
            values[node.inputs[i].0].as_ref().expect("a value is kept up to its last use")
        };
        let x = input(0);
        match &node.op {
            Op::Conv(conv) => self.conv(x, conv),
            Op::BatchNorm(name) => self.batch_norm(x, name, mode),
            Op::Activation(Activation::Relu) if self.last_uses[node.inputs[0].0] == index => {
                x.shallow_clone().f_relu_()
            }
            Op::Activation(Activation::Relu) => x.f_relu(),
            Op::Activation(Activation::Relu6) => x.f_relu6(),
            Op::Activation(Activation::Silu) => x.f_silu(),
            Op::Activation(Activation::Sigmoid) => x.f_sigmoid(),
            Op::MaxPool { size, stride, padding } => {
                let [size, stride, padding] = [*size, *stride, *padding].map(|v| [v as i64; 2]);
                x.f_max_pool2d(size, stride, padding, [1, 1], false)
            }
            Op::AveragePool { size } => {
                let size = [*size as i64; 2];
                x.f_avg_pool2d(size, size, [0, 0], false, true, None::<i64>)
            }
            Op::GlobalAverage => x.f_mean_dim([2i64, 3].as_slice(), true, None::<Kind>),
            Op::PadChannels { before, after } => {
                x.f_constant_pad_nd([0, 0, 0, 0, *before as i64, *after as i64])
            }
            // Written over the input that nothing else needs: a pass less over fresh memory.
            Op::Add if self.overwrites(index, node.inputs[0], mode) => {
                x.shallow_clone().f_add_(input(1))
            }
            Op::Add => x.f_add(input(1)),
            Op::Multiply => x.f_mul(input(1)),
            Op::Concat => Tensor::f_cat(&[x, input(1)], 1),
        }
    }

    /// Whether node `index` may write over its input: nothing uses it later, and no gradient needs it.
    fn overwrites(&self, index: usize, input: Value, mode: Mode) -> bool {
        mode == Mode::Frozen && input != IMAGES && self.last_uses[input.0] == index
    }

    fn conv(&self, x: &Tensor, conv: &Conv) -> Result<Tensor, TchError> {
        let part = |part: &str| self.tensor(&format!("{}.{part}", conv.name)).f_to_kind(self.kind);
        let bias = if conv.bias { Some(part("bias")?) } else { None };
        let [stride, padding] = [conv.stride, conv.padding].map(|v| [v as i64; 2]);
        x.f_conv2d(&part("weight")?, bias, stride, padding, [1, 1], conv.groups as i64)
    }

    fn batch_norm(&self, x: &Tensor, name: &str, mode: Mode) -> Result<Tensor, TchError> {
        let part = |part: &str| Some(self.tensor(&format!("{name}.{part}")));
        let (mean, var) = (part("running_mean"), part("running_var"));
        let (momentum, eps, training) =
            (self.batch_norm_momentum, BATCH_NORM_EPS, mode == Mode::Training);
        x.f_batch_norm(part("weight"), part("bias"), mean, var, training, momentum, eps, true)
    }

    fn tensor(&self, name: &str) -> &Tensor {
        // Every name comes from the layout that made the map.
        &self.tensors[name]
    }
}

/// In libtorch 2.11 the backward pass of a strided 1 x 1 convolution with up to 8 input channels in
/// channels-last order reads beyond its memory on a CPU (PyTorch itself crashes on `conv2d` of 8 to 16
/// channels, 48 x 48 pixels, stride 2); networks that have one stay in the plain order there.
fn survives_channels_last(description: &Description) -> bool {
    const NARROWEST: usize = 16;
    let crashes = |c: &Conv| c.size == 1 && c.stride > 1 && c.inputs < NARROWEST;
    !description.nodes.iter().any(|node| matches!(&node.op, Op::Conv(c) if crashes(c)))
}

/// Copies a tensor to the host, row-major.
pub fn to_host(tensor: &Tensor) -> NamedTensor {
    let shape = tensor.size().iter().map(|&s| s as usize).collect();
    let mut values = vec![0.0; tensor.numel()];
    let flat = tensor.detach().to_kind(Kind::Float).to_device(Device::Cpu).contiguous().view(-1);
    flat.copy_data(&mut values, tensor.numel());
    NamedTensor { shape, values }
}
