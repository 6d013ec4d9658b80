//! `[network]`: the layouts that Phase-I trains, and where their weights begin.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::{settings, words, words_of};

/// Networks that Phase-I trains: those of the paper, and the narrow ResNets of the CIFAR literature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// Basic blocks 1, 1, 1, 1.
    Resnet10,
    /// Basic blocks 2, 2, 2, 2 (He et al., CVPR 2016).
    #[default]
    Resnet18,
    /// Basic blocks 3, 4, 6, 3.
    Resnet34,
    /// Bottleneck blocks 3, 4, 6, 3.
    Resnet50,
    /// Bottleneck blocks 3, 4, 23, 3.
    Resnet101,
    /// Bottleneck blocks 3, 8, 36, 3.
    Resnet152,
    /// Three stages of 3 basic blocks, for 32 x 32 images.
    Resnet20,
    /// Three stages of 5 basic blocks.
    Resnet32,
    /// Three stages of 7 basic blocks.
    Resnet44,
    /// Three stages of 9 basic blocks.
    Resnet56,
    /// Huang et al., CVPR 2017.
    Densenet121,
    /// Sandler et al., CVPR 2018.
    MobilenetV2,
    /// Tan and Le, ICML 2019.
    EfficientnetB0,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Resnet10,
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Resnet101,
        Self::Resnet152,
        Self::Resnet20,
        Self::Resnet32,
        Self::Resnet44,
        Self::Resnet56,
        Self::Densenet121,
        Self::MobilenetV2,
        Self::EfficientnetB0,
    ];

    /// The name in a pipeline.
    pub fn name(self) -> &'static str {
        words_of::<Self>()[self as usize]
    }

    /// Whether it has the three stages of the CIFAR literature.
    pub fn is_cifar_resnet(self) -> bool {
        matches!(self, Self::Resnet20 | Self::Resnet32 | Self::Resnet44 | Self::Resnet56)
    }

    /// Whether it is a ResNet, whose width and stem can be chosen.
    pub fn is_resnet(self) -> bool {
        !matches!(self, Self::Densenet121 | Self::MobilenetV2 | Self::EfficientnetB0)
    }
}

/// What a ResNet does first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// `cifar` for images below 64 pixels, else `imagenet`.
    #[default]
    Auto,
    /// 3 x 3 convolution of stride 1.
    Cifar,
    /// 7 x 7 convolution of stride 2, then 3 x 3 max-pooling of stride 2.
    Imagenet,
}

/// Which parameters Phase-I leaves as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freeze {
    /// It trains all of them.
    #[default]
    None,
    /// All before the last block (of a ResNet: before its last stage), with their batch statistics.
    AllButLastBlock,
}

words!(Arch Stem Freeze);

settings! {
/// `[network]`
NetworkConfig = "network" {
    /// The layout; `resnet20` to `resnet56` are CIFAR's.
    arch: Arch = Arch::Resnet18;
    /// Channels of a ResNet's first stage; 0: as published, 64 (16 of resnet20 to resnet56).
    width: usize = 0,
        rule(|n| n.width <= if n.arch.is_resnet() { 1024 } else { 0 },
            "1 to 1024 channels of a ResNet, or 0 for the published width");
    /// What a ResNet does first: `cifar` is 3 x 3 of stride 1, `imagenet` 7 x 7 of stride 2, then pooling;
    /// `auto` takes `cifar` for images below 64 pixels.
    stem: Stem = Stem::Auto,
        rule(|n| n.has_stem(), "auto; only resnet10 to resnet152 (but resnet20 to resnet56) have two stems");
    /// Weights that Phase-I begins with: a state dict with the names of torchvision or timm, or a
    /// checkpoint with one inside, as safetensors or of `torch.save`; empty: random weights. Relative to
    /// the folder of the pipeline.
    weights: PathBuf = PathBuf::new(), absent("none");
    /// Which of the parameters Phase-I leaves as they are; with `all-but-last-block` it trains the last
    /// block and the classifier alone.
    freeze: Freeze = Freeze::None;
}
}

/// Images of fewer pixels a side get the CIFAR stem.
const SMALLEST_IMAGENET_SIDE: usize = 64;

impl NetworkConfig {
    fn has_stem(&self) -> bool {
        match self.stem {
            Stem::Auto => true,
            Stem::Cifar => self.arch.is_resnet(),
            Stem::Imagenet => !self.arch.is_cifar_resnet(),
        }
    }

    /// Channels of the first stage.
    pub fn width(&self) -> usize {
        match self.width {
            0 if self.arch.is_cifar_resnet() => 16,
            0 => 64,
            width => width,
        }
    }

    /// The stem for images of `side` pixels, never `auto`.
    pub fn stem(&self, side: usize) -> Stem {
        match self.stem {
            Stem::Auto if self.arch.is_cifar_resnet() => Stem::Cifar,
            Stem::Auto if self.arch.is_resnet() && side < SMALLEST_IMAGENET_SIDE => Stem::Cifar,
            Stem::Auto => Stem::Imagenet,
            stem => stem,
        }
    }
}
