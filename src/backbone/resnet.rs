//! The layout of a ResNet with basic blocks and the CIFAR stem: names, shapes and initial values
//! of its parameters, described once for every engine.

use crate::config::Arch;
use crate::rng::{KeyedRng, Stage};

/// A ResNet (He et al., CVPR 2016): a 3 x 3 stem of stride 1, four stages of basic blocks, global
/// average pooling and one FC layer. Tensor names are torchvision's.
#[derive(Debug, Clone)]
pub struct ResNet {
    /// Channels of the stem and of the first stage.
    pub width: usize,
    /// All blocks in order.
    pub blocks: Vec<BasicBlock>,
    /// C, outputs of the FC layer.
    pub classes: usize,
}

/// Two 3 x 3 convolutions with a shortcut.
#[derive(Debug, Clone)]
pub struct BasicBlock {
    /// Such as `layer2.0`.
    pub name: String,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Stride of the first convolution and of the shortcut.
    pub stride: usize,
}

impl BasicBlock {
    /// Whether the shortcut is a 1 x 1 convolution.
    pub fn has_downsample(&self) -> bool {
        self.stride != 1 || self.inputs != self.outputs
    }
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
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it starts.
    pub kind: ParameterKind,
}

impl Parameter {
    /// Initial values; `index` is the parameter's place in [`ResNet::parameters`].
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

/// Stride of the first block of each stage.
const STAGE_STRIDES: [usize; 4] = [1, 2, 2, 2];

impl ResNet {
    /// A network of `width` channels in its first stage and 8 times as many in its last.
    pub fn new(arch: Arch, width: usize, classes: usize) -> Self {
        let mut blocks = vec![];
        let mut inputs = width;
        for (stage, &count) in arch.blocks().iter().enumerate() {
            let outputs = width << stage;
            for block in 0..count {
                let stride = if block == 0 { STAGE_STRIDES[stage] } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(BasicBlock { name, inputs, outputs, stride });
                inputs = outputs;
            }
        }
        Self { width, blocks, classes }
    }

    /// K, channels of the Block4 map.
    pub fn channels(&self) -> usize {
        self.blocks.last().map_or(self.width, |block| block.outputs)
    }

    /// Side of the Block4 map of images of `side` pixels.
    pub fn map_side(&self, side: usize) -> usize {
        self.blocks.iter().fold(side, |side, block| side.div_ceil(block.stride))
    }

    /// All tensors, in the network's order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut list = vec![];
        conv_bn(&mut list, ["conv1", "bn1"].map(String::from), self.width, 3, 3);
        for BasicBlock { name, inputs, outputs, .. } in &self.blocks {
            let names = |i: usize| [format!("{name}.conv{i}"), format!("{name}.bn{i}")];
            conv_bn(&mut list, names(1), *outputs, *inputs, 3);
            conv_bn(&mut list, names(2), *outputs, *outputs, 3);
        }
        for block in self.blocks.iter().filter(|b| b.has_downsample()) {
            let names = [0, 1].map(|i| format!("{}.downsample.{i}", block.name));
            conv_bn(&mut list, names, block.outputs, block.inputs, 1);
        }
        let inputs = self.channels();
        let kind = ParameterKind::Linear { inputs };
        list.push(Parameter { name: "fc.weight".into(), shape: vec![self.classes, inputs], kind });
        list.push(Parameter { name: "fc.bias".into(), shape: vec![self.classes], kind });
        list
    }
}

fn conv_bn(
    list: &mut Vec<Parameter>,
    [conv, bn]: [String; 2],
    outputs: usize,
    inputs: usize,
    side: usize,
) {
    let shape = vec![outputs, inputs, side, side];
    list.push(Parameter { name: format!("{conv}.weight"), shape, kind: ParameterKind::Conv });
    let parts = [
        ("weight", ParameterKind::Ones),
        ("bias", ParameterKind::Zeros),
        ("running_mean", ParameterKind::RunningMean),
        ("running_var", ParameterKind::RunningVar),
    ];
    for (part, kind) in parts {
        list.push(Parameter { name: format!("{bn}.{part}"), shape: vec![outputs], kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained_values(arch: Arch) -> usize {
        let parameters = ResNet::new(arch, 64, 1000).parameters();
        let trained = parameters.iter().filter(|p| p.kind.trained());
        trained.map(|p| p.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn sizes_are_torchvisions_but_for_the_stem() {
        // torchvision counts 11,689,512 and 21,797,672 with a 7 x 7 stem (9,408 against 1,728 weights).
        assert_eq!(trained_values(Arch::Resnet18), 11_689_512 - 9_408 + 1_728);
        assert_eq!(trained_values(Arch::Resnet34), 21_797_672 - 9_408 + 1_728);
    }

    #[test]
    fn block4_is_4_by_4_on_cifar() {
        let network = ResNet::new(Arch::Resnet18, 16, 10);
        assert_eq!((network.channels(), network.map_side(32)), (128, 4));
    }

    #[test]
    fn initial_values_follow_the_seed() {
        let network = ResNet::new(Arch::Resnet18, 16, 10);
        let conv = &network.parameters()[0];
        assert_eq!(conv.initial(0, 0), conv.initial(0, 0));
        assert_ne!(conv.initial(0, 0), conv.initial(1, 0));
        assert_ne!(conv.initial(0, 0), conv.initial(0, 1));
        let values = conv.initial(0, 0);
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!((variance / (2.0 / (16.0 * 9.0)) - 1.0).abs() < 0.25, "{variance}");
    }
}
