//! ResNets (He et al., CVPR 2016): of four stages with basic or bottleneck blocks, and the narrow
//! ones of three stages that the CIFAR literature uses.

use super::super::graph::{Activation::Relu, Builder, IMAGES, Network, Value, Window};
use crate::config::Stem;

/// Outputs of a bottleneck block over its inner width.
const EXPANSION: usize = 4;

/// Basic blocks: two 3 x 3 convolutions.
pub(super) fn basic(blocks: [usize; 4], width: usize, stem: Stem, classes: usize) -> Network {
    four_stages(blocks, width, stem, classes, basic_block)
}

/// Bottleneck blocks: 1 x 1, 3 x 3 (with the stride, as torchvision has it), 1 x 1.
pub(super) fn bottleneck(blocks: [usize; 4], width: usize, stem: Stem, classes: usize) -> Network {
    four_stages(blocks, width, stem, classes, bottleneck_block)
}

type Block = fn(&mut Builder, Value, &str, usize, usize) -> Value;

fn four_stages(
    blocks: [usize; 4],
    width: usize,
    stem: Stem,
    classes: usize,
    block: Block,
) -> Network {
    let mut b = Builder::new();
    let window = if stem == Stem::Cifar { Window::new(3, 1) } else { Window::new(7, 2) };
    let mut x = conv_bn(&mut b, IMAGES, "", 1, width, window);
    x = b.activation(x, Relu);
    if stem != Stem::Cifar {
        x = b.max_pool(x, 3, 2);
    }
    for (stage, &count) in blocks.iter().enumerate() {
        if stage == 3 {
            b.begin_last_block();
        }
        for i in 0..count {
            let stride = if i == 0 && stage > 0 { 2 } else { 1 };
            x = block(&mut b, x, &format!("layer{}.{i}.", stage + 1), width << stage, stride);
        }
    }
    b.finish("fc", classes)
}

fn conv_bn(
    b: &mut Builder,
    x: Value,
    prefix: &str,
    i: usize,
    outputs: usize,
    window: Window,
) -> Value {
    let x = b.conv(x, format!("{prefix}conv{i}"), outputs, window, false);
    b.batch_norm(x, format!("{prefix}bn{i}"))
}

fn basic_block(b: &mut Builder, x: Value, prefix: &str, width: usize, stride: usize) -> Value {
    let y = conv_bn(b, x, prefix, 1, width, Window::new(3, stride));
    let y = b.activation(y, Relu);
    let y = conv_bn(b, y, prefix, 2, width, Window::new(3, 1));
    joined(b, x, y, prefix, stride)
}

fn bottleneck_block(b: &mut Builder, x: Value, prefix: &str, width: usize, stride: usize) -> Value {
    let y = conv_bn(b, x, prefix, 1, width, Window::new(1, 1));
    let y = b.activation(y, Relu);
    let y = conv_bn(b, y, prefix, 2, width, Window::new(3, stride));
    let y = b.activation(y, Relu);
    let y = conv_bn(b, y, prefix, 3, EXPANSION * width, Window::new(1, 1));
    joined(b, x, y, prefix, stride)
}

/// `y` plus the shortcut: `x`, or a 1 x 1 convolution of it where the shapes differ.
fn joined(b: &mut Builder, x: Value, y: Value, prefix: &str, stride: usize) -> Value {
    let outputs = b.channels(y);
    let shortcut = if stride == 1 && b.channels(x) == outputs {
        x
    } else {
        b.shortcut(|b| {
            let window = Window::new(1, stride);
            let z = b.conv(x, format!("{prefix}downsample.0"), outputs, window, false);
            b.batch_norm(z, format!("{prefix}downsample.1"))
        })
    };
    let sum = b.add(y, shortcut);
    b.activation(sum, Relu)
}

/// ResNet-(6n + 2) for 32 x 32 images: three stages of n basic blocks; shortcuts have no
/// parameters (every second pixel, and channels of zeros: option A of the paper).
pub(super) fn cifar(blocks: usize, width: usize, classes: usize) -> Network {
    let mut b = Builder::new();
    let mut x = conv_bn(&mut b, IMAGES, "", 1, width, Window::new(3, 1));
    x = b.activation(x, Relu);
    for stage in 0..3 {
        if stage == 2 {
            b.begin_last_block();
        }
        for i in 0..blocks {
            let (outputs, prefix) = (width << stage, format!("layer{}.{i}.", stage + 1));
            let stride = if i == 0 && stage > 0 { 2 } else { 1 };
            let y = conv_bn(&mut b, x, &prefix, 1, outputs, Window::new(3, stride));
            let y = b.activation(y, Relu);
            let y = conv_bn(&mut b, y, &prefix, 2, outputs, Window::new(3, 1));
            let shortcut = if stride == 1 {
                x
            } else {
                let every_second = b.max_pool(x, 1, stride);
                let missing = outputs - b.channels(x);
                b.pad_channels(every_second, missing / 2, missing - missing / 2)
            };
            let sum = b.add(y, shortcut);
            x = b.activation(sum, Relu);
        }
    }
    b.finish("fc", classes)
}
