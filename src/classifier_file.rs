//! The file of a classifier, as banks and Phase-II leave it: `fc.weight` [C, K] and `fc.bias` `[C]` as
//! safetensors, and one metadata entry that says which classes and which network they belong to.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::InputSpec;
use crate::domain::LinearHead;
use crate::weights::{NamedTensor, Weights, WeightsError};

const METADATA_KEY: &str = "fsa-bank";

/// What a classifier's file says of itself; nothing, where another program wrote it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassifierCard {
    /// Name of each class, in the order of the logits; empty where not known.
    pub class_names: Vec<String>,
    /// sha256 that names the network whose pooled vectors it takes; empty where not known.
    pub network_sha256: String,
    /// How images are prepared for that network; none where not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<InputSpec>,
    /// What is done to vectors before the FC layer, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

impl ClassifierCard {
    /// What the metadata of a file says.
    pub fn of(weights: &Weights) -> Self {
        let text = weights.metadata.get(METADATA_KEY);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The file's content: the FC layer, further tensors, and this card.
    pub fn weights(
        &self,
        head: &LinearHead,
        further: impl IntoIterator<Item = (String, NamedTensor)>,
    ) -> Weights {
        let mut weights = Weights::of_head(head);
        weights.tensors.extend(further);
        let text = serde_json::to_string(self).expect("texts are JSON");
        weights.metadata.insert(METADATA_KEY.into(), text);
        weights
    }
}

/// Reads the FC layer of a file, whatever its sizes, and what the file says of itself. Where no layer is named `fc`, it
/// is the only one that is an FC layer.
///
/// # Errors
/// It is missing, or has no FC layer.
pub fn read(path: &Path) -> Result<(LinearHead, ClassifierCard), WeightsError> {
    let mut file = Weights::load(path)?;
    let sizes = |name: &str| match file.tensors.get(name).map(|tensor| tensor.shape.as_slice()) {
        Some(&[classes, channels]) => Some((classes, channels)),
        _ => None,
    };
    let layer = |name: &String| {
        let layer = name.strip_suffix("weight").filter(|l| l.is_empty() || l.ends_with('.'))?;
        sizes(name)?;
        file.tensors.contains_key(&format!("{layer}bias")).then(|| layer.to_string())
    };
    let layers: Vec<String> = file.tensors.keys().filter_map(layer).collect();
    match layers.as_slice() {
        layers if layers.iter().any(|layer| layer == "fc.") => {}
        [layer] => {
            for part in ["weight", "bias"] {
                let tensor = file.tensors.remove(&format!("{layer}{part}"));
                file.tensors.extend(tensor.map(|tensor| (format!("fc.{part}"), tensor)));
            }
        }
        _ => {
            let found = file.tensors.iter().map(|(name, t)| format!("`{name}` {:?}", t.shape));
            let (path, found) = (path.into(), found.collect());
            return Err(WeightsError::NoClassifier { path, found });
        }
    }
    let (classes, channels) = match file.tensors["fc.weight"].shape[..] {
        [classes, channels] => (classes, channels),
        _ => (0, 0),
    };
    Ok((file.linear_head(classes, channels, path)?, ClassifierCard::of(&file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classifier_is_read_back_with_its_card() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let head = LinearHead::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![0.5, -0.5]).unwrap();
        let card = ClassifierCard {
            class_names: vec!["a".into(), "b".into()],
            network_sha256: "12ab".into(),
            preprocessing: Some(InputSpec::imagenet(64)),
            input: None,
        };
        card.weights(&head, []).save(&path).unwrap();
        assert_eq!(read(&path).unwrap(), (head.clone(), card));
        Weights::of_head(&head).save(&path).unwrap();
        assert_eq!(read(&path).unwrap(), (head, ClassifierCard::default()));
    }
    #[test]
    fn a_layer_of_another_name_is_taken_where_it_is_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let head = LinearHead::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![0.5, -0.5]).unwrap();
        let named = |names: &[&str]| {
            let mut tensors = Weights::of_head(&head).tensors;
            let parts =
                ["weight", "bias"].map(|part| (part, tensors.remove(&format!("fc.{part}"))));
            let mut weights = Weights::default();
            for (name, (part, tensor)) in
                names.iter().flat_map(|n| parts.iter().map(move |p| (n, p)))
            {
                weights.tensors.insert(format!("{name}{part}"), tensor.clone().unwrap());
            }
            weights.save(&path).unwrap();
            read(&path).map(|(head, _)| head).map_err(|e| e.to_string())
        };
        for names in [&[""][..], &["classifier.1."], &["a.", "fc."]] {
            assert_eq!(named(names).as_ref(), Ok(&head), "{names:?}");
        }
        for names in [&["a.", "b."][..], &["hidden_"], &[]] {
            let message = named(names).unwrap_err();
            assert!(message.contains("expected `fc.weight` [C, K] and `fc.bias` [C]"), "{message}");
            assert!(names.is_empty() || message.contains("weight` [2, 3]"), "{message}");
        }
    }
}
