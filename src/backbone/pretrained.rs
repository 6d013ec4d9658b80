//! Weights that Phase-I begins with: random ones, or a state dict of torchvision or timm.

use std::collections::BTreeSet;

use super::graph::{Network, Parameter, ParameterKind};
use crate::weights::{Checkpoint, NamedTensor, StateDict, StoredTensor, Weights, WeightsError};

/// Beginnings of names that are tried in one state dict.
const MOST_BEGINNINGS: usize = 64;
/// Parts of a file that are compared name by name, those with the most tensors of the network first.
const MOST_COMPARED: usize = 16;
/// Words of a place or a beginning that mark a copy of the network which is not the one to be used, where
/// the file has another: averages of weights, and what a teacher's pupil is in DINO.
const SECOND_CHOICE: [&str; 6] = ["ema", "momentum", "k", "target", "averaged", "student"];
/// Ends of names that count batches or operations and are no weights.
const COUNTERS: [&str; 3] = ["num_batches_tracked", "total_ops", "total_params"];

/// Weights of a file, fitted to a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Pretrained {
    /// All tensors of the network.
    pub weights: Weights,
    /// What the file had for the classifier.
    pub classifier: FileClassifier,
    /// Where in the file they were found.
    pub taken: Taken,
    /// Tensors of the file that are not the network's.
    pub left_out: Vec<String>,
    /// Other places of the file with all tensors of the network.
    pub others: Vec<Taken>,
}

/// The classifier of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileClassifier {
    /// It has the network's classes, and was taken.
    Taken,
    /// It has this many classes; a new one replaces it.
    Replaced(usize),
    /// There is none that is an FC layer under the network's name.
    Missing,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// The keys that lead to its state dict, joined by dots; empty for the file itself.
    pub place: String,
    /// What its names begin with before the network's own names.
    pub beginning: String,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.place.as_str(), self.beginning.as_str()) {
            ("", "") => write!(f, "the whole file"),
            (place, "") => write!(f, "`{place}`"),
            ("", beginning) => write!(f, "names without `{beginning}`"),
            (place, beginning) => write!(f, "`{place}`, names without `{beginning}`"),
        }
    }
}

impl Taken {
    /// Whether it is a copy to be taken only where there is no other.
    fn is_second_choice(&self) -> bool {
        let words =
            [&self.place, &self.beginning].into_iter().flat_map(|text| text.split(['.', '_']));
        words.into_iter().any(|word| SECOND_CHOICE.contains(&word))
    }

    /// After a text, where it is not the whole file.
    fn after(&self, text: &str) -> String {
        if *self == Self::default() { String::new() } else { format!("{text}{self}") }
    }
}

impl Pretrained {
    /// What was taken, what was left out and what is new, in sentences; `follows` says where a new
    /// classifier comes from.
    pub fn told(&self, network: &Network, follows: &str) -> Vec<String> {
        const SHOWN: usize = 5;
        let from = self.taken.after(" from ");
        let mut told = vec![match self.classifier {
            FileClassifier::Taken => format!("all weights taken{from}"),
            FileClassifier::Replaced(classes) => format!(
                "weights taken{from}, but for the classifier of {classes} classes; the new one, of {}, {follows}",
                network.classes
            ),
            FileClassifier::Missing => format!(
                "weights taken{from}, without a classifier `{}`; the new one, of {} classes, {follows}",
                network.classifier, network.classes
            ),
        }];
        if !self.left_out.is_empty() {
            let (count, names) = (self.left_out.len(), &self.left_out);
            let more = if count > SHOWN { ", ..." } else { "" };
            let first = names[..count.min(SHOWN)].join(", ");
            told.push(format!("{count} other tensors are left out: {first}{more}"));
        }
        if !self.others.is_empty() {
            let others: Vec<String> =
                self.others.iter().take(SHOWN).map(|other| other.to_string()).collect();
            told.push(format!("this network is also in: {}; not taken", others.join("; ")));
        }
        told
    }
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

/// Fits the tensors of a file, under torchvision's names or timm's, to `network`: of its state dicts, and
/// of the beginnings that its names share, the ones are taken where all of the network's names fit. A
/// classifier of another number of classes, or none, is replaced by a new one of `seed`.
///
/// # Errors
/// Any other difference: the error lists names and shapes of the part that fits best.
pub fn adapt(network: &Network, file: &Checkpoint, seed: u64) -> Result<Pretrained, WeightsError> {
    let mut parts: Vec<(usize, &StateDict, String)> = vec![];
    for dict in &file.state_dicts {
        let fitting = |beginning: String| (fitting(network, dict, &beginning), dict, beginning);
        parts.extend(beginnings(network, dict).into_iter().map(fitting));
    }
    parts.sort_by_key(|(fitting, ..)| std::cmp::Reverse(*fitting));
    let best = parts.into_iter().take(MOST_COMPARED);
    let mut fits: Vec<Fit> = best.map(|(_, dict, b)| Fit::new(network, dict, b)).collect();
    fits.sort_by_key(|fit| {
        (fit.differences.len(), fit.taken.is_second_choice(), fit.taken.beginning.len())
    });
    let mut fits = fits.into_iter();
    let best = fits.next().unwrap_or_else(|| {
        let largest = file.state_dicts.iter().rev().max_by_key(|dict| dict.tensors.len());
        let largest = largest.expect("a checkpoint has a state dict");
        Fit::new(network, largest, String::new())
    });
    if !best.differences.is_empty() {
        let (path, differences) = (file.path().into(), best.differences);
        return Err(WeightsError::OtherNetwork {
            path,
            taken: best.taken.after(" in "),
            differences,
        });
    }
    let mut weights = network.initial_weights(seed);
    for (parameter, name, stored) in best.found {
        let tensor = file.tensor(name, stored)?;
        if parameter.kind == ParameterKind::RunningVar && tensor.values.iter().any(|&v| v < 0.0) {
            return Err(WeightsError::NegativeVariance {
                path: file.path().into(),
                name: name.into(),
            });
        }
        weights.tensors.insert(parameter.name.clone(), tensor);
    }
    let others = fits.take_while(|fit| fit.differences.is_empty()).map(|fit| fit.taken).collect();
    let Fit { classifier, taken, left_out, .. } = best;
    let left_out = left_out.into_iter().map(str::to_owned).collect();
    Ok(Pretrained { weights, classifier, taken, left_out, others })
}

/// What stands before the name of the network's first tensor, the shortest first.
fn beginnings(network: &Network, dict: &StateDict) -> Vec<String> {
    let first = &network.parameters[0];
    let of = |name: &'_ String| {
        let names = names_of(first).find_map(|own| name.strip_suffix(own))?;
        (names.is_empty() || names.ends_with('.')).then(|| names.to_owned())
    };
    let found: BTreeSet<(usize, String)> =
        dict.tensors.keys().filter_map(of).map(|b| (b.len(), b)).collect();
    found.into_iter().take(MOST_BEGINNINGS).map(|(_, beginning)| beginning).collect()
}

/// How many tensors of the network have names with this prefix.
fn fitting(network: &Network, dict: &StateDict, beginning: &str) -> usize {
    let stored = |name: &str| dict.tensors.get(&format!("{beginning}{name}"));
    let fits = |p: &&Parameter| names_of(p).filter_map(stored).any(|t| t.shape == p.shape);
    network.parameters.iter().filter(fits).count()
}

fn names_of(parameter: &Parameter) -> impl Iterator<Item = &str> {
    [Some(&parameter.name), parameter.timm_name.as_ref()].into_iter().flatten().map(String::as_str)
}

/// How the tensors of a state dict with one beginning fit a network.
struct Fit<'a> {
    taken: Taken,
    found: Vec<(&'a Parameter, &'a str, &'a StoredTensor)>,
    classifier: FileClassifier,
    left_out: Vec<&'a str>,
    differences: Vec<String>,
}

impl<'a> Fit<'a> {
    fn new(network: &'a Network, dict: &'a StateDict, beginning: String) -> Self {
        let (body, layer) = network.parameters.split_at(network.parameters.len() - 2);
        let find = |parameter: &Parameter| {
            let stored = |name| dict.tensors.get_key_value(&format!("{beginning}{name}"));
            names_of(parameter).find_map(stored)
        };
        let (mut found, mut used, mut differences) = (vec![], BTreeSet::new(), vec![]);
        for parameter in body {
            let Parameter { name, shape, .. } = parameter;
            let Some((own, stored)) = find(parameter) else {
                differences.push(format!("{name}: not in the file, {shape:?} in the network"));
                continue;
            };
            used.insert(own);
            match stored.shape == *shape {
                true => found.push((parameter, own.as_str(), stored)),
                false => differences.push(format!(
                    "{own}: {:?} in the file, {shape:?} in the network",
                    stored.shape
                )),
            }
        }
        let in_file: Vec<_> = layer.iter().filter_map(find).collect();
        let classifier = match in_file[..] {
            [(weight_name, weight), (bias_name, bias)]
                if weight.shape.len() == 2
                    && weight.shape[1..] == layer[0].shape[1..]
                    && bias.shape[..] == weight.shape[..1] =>
            {
                used.extend([weight_name, bias_name]);
                match weight.shape == layer[0].shape {
                    true => {
                        found.push((&layer[0], weight_name, weight));
                        found.push((&layer[1], bias_name, bias));
                        FileClassifier::Taken
                    }
                    false => FileClassifier::Replaced(weight.shape[0]),
                }
            }
            _ => FileClassifier::Missing,
        };
        let first_part = |name: &'_ str| name.split('.').next().unwrap_or_default().to_owned();
        let own: BTreeSet<String> = body.iter().flat_map(names_of).map(first_part).collect();
        let mut left_out = vec![];
        for (name, stored) in dict.tensors.iter().filter(|(name, _)| !used.contains(name)) {
            let rest = name.strip_prefix(&beginning);
            match rest {
                _ if COUNTERS.iter().any(|end| name.ends_with(end)) => {}
                // A deeper or wider network of the same names is another network.
                Some(rest) if own.contains(&first_part(rest)) => differences
                    .push(format!("{name}: {:?} in the file, not in the network", stored.shape)),
                _ => left_out.push(name.as_str()),
            }
        }
        let taken = Taken { place: dict.place.clone(), beginning };
        Self { taken, found, classifier, left_out, differences }
    }
}

#[cfg(test)]
mod tests {
    use super::super::networks::network;
    use super::*;
    use crate::config::{Arch, NetworkConfig};
    use std::path::Path;

    fn of(arch: Arch, classes: usize) -> Network {
        network(&NetworkConfig { arch, ..Default::default() }, classes, 64)
    }

    fn small(arch: Arch) -> Network {
        network(&NetworkConfig { arch, width: 4, ..Default::default() }, 10, 64)
    }

    fn adapted(network: &Network, file: &Weights) -> Result<Pretrained, WeightsError> {
        let file = Checkpoint::from_bytes(file.to_bytes(), Path::new("w.safetensors"))?;
        adapt(network, &file, 0)
    }

    /// The tensors under other names.
    fn renamed(weights: &Weights, name: impl Fn(&str) -> String) -> Weights {
        let tensors = weights.tensors.iter().map(|(own, tensor)| (name(own), tensor.clone()));
        Weights { tensors: tensors.collect(), ..Weights::default() }
    }

    #[test]
    fn a_state_dict_is_taken_and_its_classifier_replaced_where_classes_differ() {
        let network = of(Arch::MobilenetV2, 10);
        let same = adapted(&network, &network.initial_weights(1)).unwrap();
        assert_eq!(same.weights, network.initial_weights(1));
        assert_eq!(same.told(&network, "starts at random"), ["all weights taken"]);

        let other = of(Arch::MobilenetV2, 7).initial_weights(1);
        let found = adapted(&network, &other).unwrap();
        assert_eq!(found.classifier, FileClassifier::Replaced(7));
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
        let found = adapted(&network, &file).unwrap();
        assert_eq!(found.weights, wanted);
    }

    #[test]
    fn differences_are_listed() {
        let network = of(Arch::Resnet18, 10);
        let mut file = network.initial_weights(1);
        let conv = file.tensors.remove("layer1.0.conv1.weight").unwrap();
        file.tensors.insert("stray".into(), conv);
        file.tensors.get_mut("bn1.bias").unwrap().shape = vec![8, 8];
        file.tensors.insert("layer4.9.conv1.weight".into(), file.tensors["fc.bias"].clone());
        let message = adapted(&network, &file).unwrap_err().to_string();
        for part in [
            "w.safetensors: 3 tensors differ",
            "layer1.0.conv1.weight: not in the file, [64, 64, 3, 3] in the network",
            "bn1.bias: [8, 8] in the file, [64] in the network",
            "layer4.9.conv1.weight: [10] in the file, not in the network",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_negative_variance_is_refused_by_its_name() {
        let network = small(Arch::Resnet20);
        let mut weights = network.initial_weights(1);
        weights.tensors.get_mut("bn1.running_var").unwrap().values[0] = -0.5;
        let message = adapted(&network, &weights).unwrap_err().to_string();
        assert!(message.contains("`bn1.running_var` has negative values"), "{message}");
    }

    #[test]
    fn one_beginning_is_dropped_where_all_names_fit_then() {
        let network = small(Arch::Resnet10);
        let wanted = network.initial_weights(1);
        for beginning in [
            "module.",
            "model.",
            "backbone.",
            "encoder.",
            "net.",
            "encoder_q.",
            "module.encoder_q.",
            "module.backbone.",
            "_orig_mod.",
            "student.",
            "teacher.",
            "any.0.thing.",
        ] {
            let file = renamed(&wanted, |own| format!("{beginning}{own}"));
            let found = adapted(&network, &file).unwrap();
            assert_eq!(found.weights, wanted, "{beginning}");
            let told = format!("all weights taken from names without `{beginning}`");
            assert_eq!(found.told(&network, "starts at random"), [told]);
        }
        // A part of a word is not a prefix.
        let file = renamed(&wanted, |own| format!("x{own}"));
        assert!(adapted(&network, &file).unwrap_err().to_string().contains("tensors differ"));
    }

    #[test]
    fn what_stands_beside_the_network_is_left_out_and_said() {
        let network = small(Arch::Resnet10);
        let (wanted, other) = (network.initial_weights(0), network.initial_weights(1));
        // MoCo v2: a query and a key encoder, both with two layers in place of the classifier.
        let mut file =
            renamed(&wanted, |own| format!("module.encoder_q.{}", own.replace("fc.", "fc.0.")));
        let key =
            renamed(&other, |own| format!("module.encoder_k.{}", own.replace("fc.", "fc.0.")));
        file.tensors.extend(key.tensors.clone());
        file.tensors.insert("module.queue".into(), other.tensors["fc.bias"].clone());
        let found = adapted(&network, &file).unwrap();
        assert_eq!(found.weights, wanted);
        assert_eq!(found.classifier, FileClassifier::Missing);
        let told = found.told(&network, "starts at random");
        let left_out = key.tensors.len() + 3;
        let wanted_told = [
            "weights taken from names without `module.encoder_q.`, without a classifier `fc`; the new one, of \
             10 classes, starts at random"
                .to_string(),
            format!("{left_out} other tensors are left out: module.encoder_k.bn1.bias, "),
            "this network is also in: names without `module.encoder_k.`; not taken".to_string(),
        ];
        assert!(
            told.len() == 3 && told.iter().zip(&wanted_told).all(|(a, b)| a.starts_with(b)),
            "{told:?}"
        );
        // A deeper network has all of these names, and is another one.
        let deep = small(Arch::Resnet18).initial_weights(0);
        let message = adapted(&network, &deep).unwrap_err().to_string();
        assert!(
            message.contains("layer1.1.bn1.bias: [4] in the file, not in the network"),
            "{message}"
        );
        // The complete one is taken before the one that is short.
        let mut both = renamed(&deep, |own| format!("a.{own}"));
        both.tensors.extend(renamed(&wanted, |own| format!("net.model.{own}")).tensors);
        assert_eq!(adapted(&network, &both).unwrap().taken.beginning, "net.model.");
    }
}
