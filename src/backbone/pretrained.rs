//! Weights that Phase-I begins with: random ones, or a state dict of torchvision or timm.

use std::path::Path;

use super::graph::Network;
use crate::weights::{NamedTensor, Weights, WeightsError};

/// Weights of a file, fitted to a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Pretrained {
    /// All tensors of the network.
    pub weights: Weights,
    /// Classes of the file's classifier, where it was replaced by a new one.
    pub replaced_classes: Option<usize>,
}

impl Network {
    /// Random weights; each tensor follows from `seed` and its place.
    pub fn initial_weights(&self, seed: u64) -> Weights {
        let tensors = self.parameters.iter().enumerate().map(|(index, p)| {
            let tensor = NamedTensor { shape: p.shape.clone(), values: p.initial(seed, index) };
            (p.name.clone(), tensor)
        });
        Weights { tensors: tensors.collect(), ..Weights::default() }
    }
}

/// Fits the tensors of a file, under torchvision's names or timm's, to `network`. A classifier of
/// another number of classes is replaced by a new one of `seed`.
///
/// # Errors
/// Any other difference: the error lists names and shapes.
pub fn adapt(
    network: &Network,
    file: &Weights,
    path: &Path,
    seed: u64,
) -> Result<Pretrained, WeightsError> {
    let mut weights = network.initial_weights(seed);
    let (mut differences, mut used) = (vec![], std::collections::BTreeSet::new());
    let mut replaced_classes = None;
    for parameter in &network.parameters {
        let names = [Some(&parameter.name), parameter.timm_name.as_ref()];
        let found = names.into_iter().flatten().find_map(|n| file.tensors.get_key_value(n));
        let of_classifier = parameter.name.strip_prefix(&network.classifier);
        let is_classifier = of_classifier.is_some_and(|part| [".weight", ".bias"].contains(&part));
        match found {
            Some((name, tensor)) if tensor.shape == parameter.shape => {
                used.insert(name);
                weights.tensors.insert(parameter.name.clone(), tensor.clone());
            }
            // Only the number of classes differs.
            Some((name, tensor))
                if is_classifier && tensor.shape.get(1..) == parameter.shape.get(1..) =>
            {
                used.insert(name);
                replaced_classes = tensor.shape.first().copied();
            }
            Some((name, tensor)) => {
                used.insert(name);
                differences.push(format!(
                    "{name}: {:?} in the file, {:?} in the network",
                    tensor.shape, parameter.shape
                ));
            }
            None => differences.push(format!(
                "{}: not in the file, {:?} in the network",
                parameter.name, parameter.shape
            )),
        }
    }
    let unused = file.tensors.iter().filter(|(name, _)| !used.contains(name));
    differences.extend(
        unused.map(|(name, t)| format!("{name}: {:?} in the file, not in the network", t.shape)),
    );
    if !differences.is_empty() {
        return Err(WeightsError::OtherNetwork { path: path.into(), differences });
    }
    Ok(Pretrained { weights, replaced_classes })
}

#[cfg(test)]
mod tests {
    use super::super::networks::network;
    use super::*;
    use crate::config::{Arch, NetworkConfig};

    fn of(arch: Arch, classes: usize) -> Network {
        network(&NetworkConfig { arch, ..Default::default() }, classes, 64)
    }

    #[test]
    fn a_state_dict_is_taken_and_its_classifier_replaced_where_classes_differ() {
        let (network, path) = (of(Arch::MobilenetV2, 10), Path::new("w.safetensors"));
        let same = adapt(&network, &network.initial_weights(1), path, 0).unwrap();
        assert_eq!(same.weights, network.initial_weights(1));
        assert_eq!(same.replaced_classes, None);

        let other = of(Arch::MobilenetV2, 7).initial_weights(1);
        let found = adapt(&network, &other, path, 0).unwrap();
        assert_eq!(found.replaced_classes, Some(7));
        let tensors = |weights: &Weights| weights.tensors["classifier.1.weight"].clone();
        assert_eq!(tensors(&found.weights), tensors(&network.initial_weights(0)));
        assert_eq!(
            found.weights.tensors["features.0.0.weight"],
            other.tensors["features.0.0.weight"]
        );
    }

    #[test]
    fn timms_names_are_known() {
        let network = of(Arch::EfficientnetB0, 10);
        let wanted = network.initial_weights(1);
        let mut file = Weights::default();
        for p in &network.parameters {
            let name = p.timm_name.clone().unwrap();
            file.tensors.insert(name, wanted.tensors[&p.name].clone());
        }
        assert!(file.tensors.contains_key("blocks.0.0.conv_pw.weight"));
        assert!(file.tensors.contains_key("blocks.6.0.se.conv_reduce.bias"));
        let found = adapt(&network, &file, Path::new("w.safetensors"), 0).unwrap();
        assert_eq!(found.weights, wanted);
    }

    #[test]
    fn differences_are_listed() {
        let network = of(Arch::Resnet18, 10);
        let mut file = network.initial_weights(1);
        let conv = file.tensors.remove("layer1.0.conv1.weight").unwrap();
        file.tensors.insert("stray".into(), conv);
        file.tensors.get_mut("bn1.bias").unwrap().shape = vec![8, 8];
        let message =
            adapt(&network, &file, Path::new("w.safetensors"), 0).unwrap_err().to_string();
        for part in [
            "w.safetensors: 3 tensors differ",
            "layer1.0.conv1.weight: not in the file, [64, 64, 3, 3] in the network",
            "bn1.bias: [8, 8] in the file, [64] in the network",
            "stray: [64, 64, 3, 3] in the file, not in the network",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
