//! The networks that Phase-I trains, each as a [`Network`].

mod densenet;
mod mobile;
mod resnet;

use super::graph::Network;
use crate::config::{Arch, NetworkConfig};

/// The network of a pipeline for `classes` classes and images of `side` pixels.
pub(super) fn network(config: &NetworkConfig, classes: usize, side: usize) -> Network {
    let width = config.width();
    let stem = config.stem(side);
    match config.arch {
        Arch::Resnet10 => resnet::basic([1, 1, 1, 1], width, stem, classes),
        Arch::Resnet18 => resnet::basic([2, 2, 2, 2], width, stem, classes),
        Arch::Resnet34 => resnet::basic([3, 4, 6, 3], width, stem, classes),
        Arch::Resnet50 => resnet::bottleneck([3, 4, 6, 3], width, stem, classes),
        Arch::Resnet101 => resnet::bottleneck([3, 4, 23, 3], width, stem, classes),
        Arch::Resnet152 => resnet::bottleneck([3, 8, 36, 3], width, stem, classes),
        Arch::Resnet20 => resnet::cifar(3, width, classes),
        Arch::Resnet32 => resnet::cifar(5, width, classes),
        Arch::Resnet44 => resnet::cifar(7, width, classes),
        Arch::Resnet56 => resnet::cifar(9, width, classes),
        Arch::Densenet121 => densenet::densenet121(classes),
        Arch::MobilenetV2 => mobile::mobilenet_v2(classes),
        Arch::EfficientnetB0 => mobile::efficientnet_b0(classes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(arch: Arch, classes: usize, side: usize) -> Network {
        network(&NetworkConfig { arch, ..Default::default() }, classes, side)
    }

    #[test]
    fn sizes_are_torchvisions() {
        let sizes = [
            (Arch::Resnet18, 11_689_512),
            (Arch::Resnet34, 21_797_672),
            (Arch::Resnet50, 25_557_032),
            (Arch::Resnet101, 44_549_160),
            (Arch::Resnet152, 60_192_808),
            (Arch::Densenet121, 7_978_856),
            (Arch::MobilenetV2, 3_504_872),
            (Arch::EfficientnetB0, 5_288_548),
        ];
        for (arch, wanted) in sizes {
            let network = made(arch, 1000, 224);
            let trained = network.parameters.iter().filter(|p| p.kind.trained());
            let count: usize = trained.map(|p| p.shape.iter().product::<usize>()).sum();
            assert_eq!(count, wanted, "{arch:?}");
        }
        // LDAM-DRW's ResNet-32: 0.46 M (He et al., Table 6).
        let network = made(Arch::Resnet32, 10, 32);
        let trained = network.parameters.iter().filter(|p| p.kind.trained());
        assert_eq!(trained.map(|p| p.shape.iter().product::<usize>()).sum::<usize>(), 464_154);
    }

    #[test]
    fn maps_have_their_usual_shapes() {
        let shape = |arch, side| {
            let shape = made(arch, 10, side).map_shape(side).unwrap();
            (shape.channels, shape.height, shape.width)
        };
        assert_eq!(shape(Arch::Resnet18, 32), (512, 4, 4));
        assert_eq!(shape(Arch::Resnet32, 32), (64, 8, 8));
        assert_eq!(shape(Arch::Resnet10, 224), (512, 7, 7));
        assert_eq!(shape(Arch::Resnet152, 224), (2048, 7, 7));
        assert_eq!(shape(Arch::Densenet121, 224), (1024, 7, 7));
        assert_eq!(shape(Arch::MobilenetV2, 224), (1280, 7, 7));
        assert_eq!(shape(Arch::EfficientnetB0, 224), (1280, 7, 7));
        assert_eq!(made(Arch::Densenet121, 10, 16).map_shape(16), None);
    }

    #[test]
    fn names_are_unique_and_initial_values_follow_the_seed() {
        for arch in Arch::ALL {
            let network = made(arch, 10, 64);
            let mut names: Vec<&str> = network.parameters.iter().map(|p| p.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), network.parameters.len(), "{arch:?}");
            assert!(network.last_block > 0 && network.last_block < network.nodes.len());
            assert!(!network.parameters.last().unwrap().before_last_block);
        }
        let network = made(Arch::Resnet18, 10, 32);
        let conv = &network.parameters[0];
        assert_eq!(conv.initial(0, 0), conv.initial(0, 0));
        assert_ne!(conv.initial(0, 0), conv.initial(1, 0));
        assert_ne!(conv.initial(0, 0), conv.initial(0, 1));
        let values = conv.initial(0, 0);
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!((variance / (2.0 / (64.0 * 9.0)) - 1.0).abs() < 0.25, "{variance}");
    }
}
