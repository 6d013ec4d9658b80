//! The description of a network: operations in order, and names, shapes and initial values of its
//! parameters. libtorch runs it, the ONNX export writes it down; nothing else describes a network.

use crate::domain::FeatureShape;
use crate::rng::{KeyedRng, Stage};

/// PyTorch's default for batch normalisation, which all networks here use.
pub const BATCH_NORM_EPS: f64 = 1e-5;

/// A result of an operation: 0 is the images, i + 1 the result of node i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value(pub usize);

/// The network's input, (n, 3, side, side).
pub const IMAGES: Value = Value(0);

/// Functions of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · sigmoid(x).
    Silu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

/// A convolution over square windows; its weight is [outputs, inputs / groups, size, size].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// Its parameters are `NAME.weight` and, with a bias, `NAME.bias`.
    pub name: String,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Side of the window.
    pub size: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether it adds a bias.
    pub bias: bool,
}

/// One operation on maps (n, channels, side, side).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// See [`Conv`].
    Conv(Conv),
    /// Batch normalisation; its tensors are `NAME.weight`, `bias`, `running_mean`, `running_var`.
    BatchNorm(String),
    /// A function of each value.
    Activation(Activation),
    /// Largest value of each window; the padding never wins.
    MaxPool {
        /// Side of the window.
        size: usize,
        /// Its step.
        stride: usize,
        /// Padding on each side.
        padding: usize,
    },
    /// Mean of each window of `size` pixels; windows do not overlap.
    AveragePool {
        /// Side of the window, and its step.
        size: usize,
    },
    /// Mean over all locations: (n, channels, 1, 1).
    GlobalAverage,
    /// Channels of zeros before and after.
    PadChannels {
        /// Channels before.
        before: usize,
        /// Channels after.
        after: usize,
    },
    /// Sum of two maps.
    Add,
    /// Product of a map and (n, channels, 1, 1).
    Multiply,
    /// Channels of two maps, one after the other.
    Concat,
}

/// An operation and what it is applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// To what.
    pub inputs: Vec<Value>,
}

/// How a parameter starts, and whether SGD moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// Convolution weight [out, in, h, w]: normal with variance 2 / (out · h · w).
    Conv,
    /// Trained, starts at 1.
    Ones,
    /// Trained, starts at 0.
    Zeros,
    /// FC weight or bias: uniform in ± 1 / sqrt(inputs).
    Linear {
        /// Inputs of the layer.
        inputs: usize,
    },
    /// Running mean of batch normalisation: starts at 0, not trained.
    RunningMean,
    /// Running variance of batch normalisation: starts at 1, not trained.
    RunningVar,
}

impl ParameterKind {
    /// Whether SGD moves it.
    pub fn trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVar)
    }
}

/// One tensor of the network.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// torchvision's name.
    pub name: String,
    /// timm's name, if it differs.
    pub timm_name: Option<String>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it starts.
    pub kind: ParameterKind,
    /// Whether it comes before the network's last block (see [`Network::last_block`]).
    pub before_last_block: bool,
}

impl Parameter {
    /// Initial values; `index` is the parameter's place in [`Network::parameters`].
    pub fn initial(&self, seed: u64, index: usize) -> Vec<f32> {
        let len = self.shape.iter().product();
        let mut rng = KeyedRng::new(seed, Stage::InitialWeights, (index as u64, 0));
        match self.kind {
            ParameterKind::Conv => {
                let fan_out = self.shape[0] * self.shape[2] * self.shape[3];
                let deviation = (2.0 / fan_out as f64).sqrt();
                (0..len).map(|_| (deviation * rng.normal()) as f32).collect()
            }
            ParameterKind::Linear { inputs } => {
                let bound = 1.0 / (inputs as f64).sqrt();
                (0..len).map(|_| (bound * (2.0 * rng.unit() - 1.0)) as f32).collect()
            }
            ParameterKind::Ones | ParameterKind::RunningVar => vec![1.0; len],
            ParameterKind::Zeros | ParameterKind::RunningMean => vec![0.0; len],
        }
    }
}

/// A network: maps up to global average pooling, then one FC layer. Tensor names are torchvision's.
#[derive(Debug, Clone)]
pub struct Network {
    /// Operations, in an order in which they can run; the last gives the feature map.
    pub nodes: Vec<Node>,
    /// All tensors, those of the FC layer last.
    pub parameters: Vec<Parameter>,
    /// The FC layer's name: its tensors are `NAME.weight` [C, K] and `NAME.bias` `[C]`.
    pub classifier: String,
    /// C, outputs of the FC layer.
    pub classes: usize,
    /// First node of the last block: of a ResNet its last stage (Block4), of the others what stands
    /// at the same depth.
    pub last_block: usize,
}

impl Network {
    /// K, channels of the feature map.
    pub fn channels(&self) -> usize {
        self.parameters.last().map_or(0, |_| self.parameters[self.parameters.len() - 2].shape[1])
    }

    /// Shape of the feature map of images of `side` pixels; `None` where an operation's window does
    /// not fit its input.
    pub fn map_shape(&self, side: usize) -> Option<FeatureShape> {
        let mut sides = vec![side];
        for Node { op, inputs } in &self.nodes {
            let input = sides[inputs[0].0];
            let windows = |size: usize, stride: usize, padding: usize| {
                Some((input + 2 * padding).checked_sub(size)? / stride + 1)
            };
            sides.push(match op {
                Op::Conv(c) => windows(c.size, c.stride, c.padding)?,
                Op::MaxPool { size, stride, padding } => windows(*size, *stride, *padding)?,
                Op::AveragePool { size } => windows(*size, *size, 0)?,
                Op::GlobalAverage => 1,
                _ => input,
            });
        }
        let side = *sides.last()?;
        Some(FeatureShape { channels: self.channels(), height: side, width: side })
    }

    /// For each value, the node that uses it last.
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![usize::MAX; self.nodes.len() + 1];
        for (i, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|v| last[v.0] = i);
        }
        last
    }
}

/// Makes a [`Network`], operation by operation.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    channels: Vec<usize>,
    parameters: Vec<Parameter>,
    /// Those of shortcuts, which come after the others.
    shortcut_parameters: Vec<Parameter>,
    in_shortcut: bool,
    last_block: Option<usize>,
}

/// Names of a layer in torchvision and, where it has others there, in timm.
#[derive(Debug, Clone)]
pub(super) struct Name {
    torchvision: String,
    timm: Option<String>,
}

impl From<String> for Name {
    fn from(torchvision: String) -> Self {
        Self { torchvision, timm: None }
    }
}

impl From<&str> for Name {
    fn from(torchvision: &str) -> Self {
        Self { torchvision: torchvision.into(), timm: None }
    }
}

impl Name {
    pub(super) fn both(torchvision: String, timm: String) -> Self {
        Self { torchvision, timm: Some(timm) }
    }
}

/// Window, stride and groups of a convolution, padded so that stride 1 keeps the side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
}

impl Window {
    pub(super) fn new(size: usize, stride: usize) -> Self {
        Self { size, stride, groups: 1 }
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![],
            channels: vec![3],
            parameters: vec![],
            shortcut_parameters: vec![],
            in_shortcut: false,
            last_block: None,
        }
    }

    pub(super) fn channels(&self, x: Value) -> usize {
        self.channels[x.0]
    }

    /// From here on it is the last block.
    pub(super) fn begin_last_block(&mut self) {
        self.last_block = Some(self.nodes.len());
    }

    /// What `build` adds is a shortcut.
    pub(super) fn shortcut(&mut self, build: impl FnOnce(&mut Self) -> Value) -> Value {
        self.in_shortcut = true;
        let value = build(self);
        self.in_shortcut = false;
        value
    }

    fn push(&mut self, op: Op, inputs: &[Value], channels: usize) -> Value {
        self.nodes.push(Node { op, inputs: inputs.to_vec() });
        self.channels.push(channels);
        Value(self.nodes.len())
    }

    fn parameter(&mut self, name: &Name, part: &str, shape: Vec<usize>, kind: ParameterKind) {
        let parameter = Parameter {
            name: format!("{}.{part}", name.torchvision),
            timm_name: name.timm.as_ref().map(|name| format!("{name}.{part}")),
            shape,
            kind,
            before_last_block: self.last_block.is_none(),
        };
        match self.in_shortcut {
            true => self.shortcut_parameters.push(parameter),
            false => self.parameters.push(parameter),
        }
    }

    pub(super) fn conv(
        &mut self,
        x: Value,
        name: impl Into<Name>,
        outputs: usize,
        window: Window,
        bias: bool,
    ) -> Value {
        let (name, inputs) = (name.into(), self.channels(x));
        let Window { size, stride, groups } = window;
        let shape = vec![outputs, inputs / groups, size, size];
        self.parameter(&name, "weight", shape, ParameterKind::Conv);
        if bias {
            self.parameter(&name, "bias", vec![outputs], ParameterKind::Zeros);
        }
        let name = name.torchvision;
        let padding = size / 2;
        let conv = Conv { name, inputs, outputs, size, stride, padding, groups, bias };
        self.push(Op::Conv(conv), &[x], outputs)
    }

    pub(super) fn batch_norm(&mut self, x: Value, name: impl Into<Name>) -> Value {
        let (name, channels) = (name.into(), self.channels(x));
        let parts = [
            ("weight", ParameterKind::Ones),
            ("bias", ParameterKind::Zeros),
            ("running_mean", ParameterKind::RunningMean),
            ("running_var", ParameterKind::RunningVar),
        ];
        for (part, kind) in parts {
            self.parameter(&name, part, vec![channels], kind);
        }
        self.push(Op::BatchNorm(name.torchvision), &[x], channels)
    }

    pub(super) fn activation(&mut self, x: Value, function: Activation) -> Value {
        self.push(Op::Activation(function), &[x], self.channels(x))
    }

    pub(super) fn max_pool(&mut self, x: Value, size: usize, stride: usize) -> Value {
        self.push(Op::MaxPool { size, stride, padding: size / 2 }, &[x], self.channels(x))
    }

    pub(super) fn average_pool(&mut self, x: Value, size: usize) -> Value {
        self.push(Op::AveragePool { size }, &[x], self.channels(x))
    }

    pub(super) fn global_average(&mut self, x: Value) -> Value {
        self.push(Op::GlobalAverage, &[x], self.channels(x))
    }

    pub(super) fn pad_channels(&mut self, x: Value, before: usize, after: usize) -> Value {
        self.push(Op::PadChannels { before, after }, &[x], self.channels(x) + before + after)
    }

    pub(super) fn add(&mut self, x: Value, y: Value) -> Value {
        self.push(Op::Add, &[x, y], self.channels(x))
    }

    pub(super) fn multiply(&mut self, x: Value, scale: Value) -> Value {
        self.push(Op::Multiply, &[x, scale], self.channels(x))
    }

    pub(super) fn concat(&mut self, x: Value, y: Value) -> Value {
        self.push(Op::Concat, &[x, y], self.channels(x) + self.channels(y))
    }

    /// The network, with an FC layer of `classes` outputs under `classifier`.
    pub(super) fn finish(mut self, classifier: impl Into<Name>, classes: usize) -> Network {
        let classifier = classifier.into();
        let inputs = self.channels(Value(self.nodes.len()));
        let shortcuts = std::mem::take(&mut self.shortcut_parameters);
        self.parameters.extend(shortcuts);
        let kind = ParameterKind::Linear { inputs };
        let last_block = self.last_block.get_or_insert(0).to_owned();
        self.parameter(&classifier, "weight", vec![classes, inputs], kind);
        self.parameter(&classifier, "bias", vec![classes], kind);
        Network {
            nodes: self.nodes,
            parameters: self.parameters,
            classifier: classifier.torchvision,
            classes,
            last_block,
        }
    }
}
