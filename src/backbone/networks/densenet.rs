//! DenseNet-121 (Huang et al., CVPR 2017).

use super::super::graph::{Activation::Relu, Builder, IMAGES, Network, Window};

const GROWTH: usize = 32;
const BOTTLENECK: usize = 4 * GROWTH;
const STEM_CHANNELS: usize = 64;
const LAYERS: [usize; 4] = [6, 12, 24, 16];

pub(super) fn densenet121(classes: usize) -> Network {
    let mut b = Builder::new();
    let x = b.conv(IMAGES, "features.conv0", STEM_CHANNELS, Window::new(7, 2), false);
    let x = b.batch_norm(x, "features.norm0");
    let x = b.activation(x, Relu);
    let mut x = b.max_pool(x, 3, 2);
    for (block, &layers) in LAYERS.iter().enumerate() {
        let number = block + 1;
        if number == LAYERS.len() {
            b.begin_last_block();
        }
        for layer in 1..=layers {
            let name = |part: &str| format!("features.denseblock{number}.denselayer{layer}.{part}");
            let y = b.batch_norm(x, name("norm1"));
            let y = b.activation(y, Relu);
            let y = b.conv(y, name("conv1"), BOTTLENECK, Window::new(1, 1), false);
            let y = b.batch_norm(y, name("norm2"));
            let y = b.activation(y, Relu);
            let y = b.conv(y, name("conv2"), GROWTH, Window::new(3, 1), false);
            x = b.concat(x, y);
        }
        if number < LAYERS.len() {
            let name = |part: &str| format!("features.transition{number}.{part}");
            let half = b.channels(x) / 2;
            x = b.batch_norm(x, name("norm"));
            x = b.activation(x, Relu);
            x = b.conv(x, name("conv"), half, Window::new(1, 1), false);
            x = b.average_pool(x, 2);
        }
    }
    let x = b.batch_norm(x, "features.norm5");
    b.activation(x, Relu);
    b.finish("classifier", classes)
}
