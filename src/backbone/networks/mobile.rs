//! Networks of inverted residuals: MobileNetV2 (Sandler et al., CVPR 2018) and EfficientNet-B0
//! (Tan and Le, ICML 2019), without dropout and stochastic depth.

use super::super::graph::{Activation, Builder, IMAGES, Name, Network, Value, Window};

const STEM_CHANNELS: usize = 32;
const HEAD_CHANNELS: usize = 1280;

/// One row of the papers' tables.
struct Stage {
    expansion: usize,
    outputs: usize,
    blocks: usize,
    stride: usize,
    size: usize,
}

const fn stage(
    expansion: usize,
    outputs: usize,
    blocks: usize,
    stride: usize,
    size: usize,
) -> Stage {
    Stage { expansion, outputs, blocks, stride, size }
}

/// MobileNetV2, Table 2.
const MOBILENET_V2: [Stage; 7] = [
    stage(1, 16, 1, 1, 3),
    stage(6, 24, 2, 2, 3),
    stage(6, 32, 3, 2, 3),
    stage(6, 64, 4, 2, 3),
    stage(6, 96, 3, 1, 3),
    stage(6, 160, 3, 2, 3),
    stage(6, 320, 1, 1, 3),
];

/// EfficientNet, Table 1.
const EFFICIENTNET_B0: [Stage; 7] = [
    stage(1, 16, 1, 1, 3),
    stage(6, 24, 2, 2, 3),
    stage(6, 40, 2, 2, 5),
    stage(6, 80, 3, 2, 3),
    stage(6, 112, 3, 1, 5),
    stage(6, 192, 4, 2, 5),
    stage(6, 320, 1, 1, 3),
];

pub(super) fn mobilenet_v2(classes: usize) -> Network {
    // torchvision numbers the blocks through, from features.1 to features.17.
    let mut number = 0;
    let names = move |_: usize, _: usize, expands: bool| {
        number += 1;
        let prefix = format!("features.{number}.conv");
        let project = if expands { 2 } else { 1 };
        BlockNames {
            expand: format!("{prefix}.0"),
            depthwise: format!("{prefix}.{}", project - 1),
            squeeze: String::new(),
            project: [format!("{prefix}.{project}"), format!("{prefix}.{}", project + 1)],
        }
    };
    build(&MOBILENET_V2, Activation::Relu6, false, "features.18", names, classes)
}

pub(super) fn efficientnet_b0(classes: usize) -> Network {
    let names = |stage: usize, block: usize, expands: bool| {
        let prefix = format!("features.{}.{block}.block", stage + 1);
        let first = usize::from(expands);
        let project = format!("{prefix}.{}", first + 2);
        BlockNames {
            expand: format!("{prefix}.0"),
            depthwise: format!("{prefix}.{first}"),
            squeeze: format!("{prefix}.{}", first + 1),
            project: [format!("{project}.0"), format!("{project}.1")],
        }
    };
    build(&EFFICIENTNET_B0, Activation::Silu, true, "features.8", names, classes)
}

/// torchvision's names of the layers of a block.
struct BlockNames {
    expand: String,
    depthwise: String,
    squeeze: String,
    /// Convolution and batch normalisation.
    project: [String; 2],
}

fn build(
    stages: &[Stage],
    function: Activation,
    squeezes: bool,
    head: &str,
    mut names: impl FnMut(usize, usize, bool) -> BlockNames,
    classes: usize,
) -> Network {
    let mut b = Builder::new();
    let conv_bn = |b: &mut Builder, x, name: &str, timm: [String; 2], outputs, window| {
        let [conv, bn] = timm;
        let x = b.conv(x, Name::both(format!("{name}.0"), conv), outputs, window, false);
        let x = b.batch_norm(x, Name::both(format!("{name}.1"), bn));
        b.activation(x, function)
    };
    let timm = ["conv_stem".to_string(), "bn1".to_string()];
    let mut x = conv_bn(&mut b, IMAGES, "features.0", timm, STEM_CHANNELS, Window::new(3, 2));
    for (s, stage) in stages.iter().enumerate() {
        if s + 1 == stages.len() {
            b.begin_last_block();
        }
        for block in 0..stage.blocks {
            let stride = if block == 0 { stage.stride } else { 1 };
            let (inputs, expands) = (b.channels(x), stage.expansion != 1);
            let names = names(s, block, expands);
            let timm = |part: &str| format!("blocks.{s}.{block}.{part}");
            // timm numbers the batch normalisations through.
            let number = |i: usize| timm(&format!("bn{}", i + usize::from(expands)));
            let mut y = x;
            if expands {
                let (outputs, timm) = (stage.expansion * inputs, [timm("conv_pw"), timm("bn1")]);
                y = conv_bn(&mut b, y, &names.expand, timm, outputs, Window::new(1, 1));
            }
            let inner = b.channels(y);
            let window = Window { size: stage.size, stride, groups: inner };
            let depthwise = [timm("conv_dw"), number(1)];
            y = conv_bn(&mut b, y, &names.depthwise, depthwise, inner, window);
            if squeezes {
                y = squeeze_excite(&mut b, y, &names.squeeze, &timm("se"), inputs / 4);
            }
            let [conv, bn] = names.project;
            let conv_timm = timm(if expands { "conv_pwl" } else { "conv_pw" });
            let one = Window::new(1, 1);
            y = b.conv(y, Name::both(conv, conv_timm), stage.outputs, one, false);
            y = b.batch_norm(y, Name::both(bn, number(2)));
            x = if stride == 1 && inputs == stage.outputs { b.add(y, x) } else { y };
        }
    }
    let timm = ["conv_head".to_string(), "bn2".to_string()];
    conv_bn(&mut b, x, head, timm, HEAD_CHANNELS, Window::new(1, 1));
    b.finish(Name::both("classifier.1".into(), "classifier".into()), classes)
}

/// Scales each channel by a function of all channels' means (Hu et al., CVPR 2018).
fn squeeze_excite(b: &mut Builder, x: Value, name: &str, timm: &str, squeezed: usize) -> Value {
    let channels = b.channels(x);
    let y = b.global_average(x);
    let names = |part: &str, timm_part: &str| {
        Name::both(format!("{name}.{part}"), format!("{timm}.{timm_part}"))
    };
    let y = b.conv(y, names("fc1", "conv_reduce"), squeezed, Window::new(1, 1), true);
    let y = b.activation(y, Activation::Silu);
    let y = b.conv(y, names("fc2", "conv_expand"), channels, Window::new(1, 1), true);
    let scale = b.activation(y, Activation::Sigmoid);
    b.multiply(x, scale)
}
