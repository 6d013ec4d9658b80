//! Trained models for other programs: the network with a classifier in it as ONNX or safetensors, the
//! classifier alone as safetensors or npz.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, WriteError};
use crate::backbone::onnx::{self, ModelInfo, OnnxError, OnnxFile};
use crate::backbone::{self, BackboneError, Network};
use crate::classifier_file::{self, ClassifierCard};
use crate::config::{DatasetConfig, Interpolation, NetworkConfig};
use crate::domain::{FeatureShape, LinearHead};
use crate::train::{self, ModelCard, TrainError};
use crate::weights::{NamedTensor, Weights, WeightsError};

/// Key of an ONNX file's metadata entry, a JSON [`Description`].
pub const METADATA_KEY: &str = "fsa-bank";
/// Of ONNX files that say nothing: scaled to 256 pixels, cut to 224.
pub const IMAGENET_SIDE: usize = 224;
/// The same as a share.
pub const IMAGENET_CROP: f64 = 0.875;

/// What can go wrong when a model is opened or exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An ONNX file cannot be used.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The network cannot be made.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The model was not written by `fsa-bank train`.
    #[error(transparent)]
    Model(#[from] TrainError),
    /// The weights or the classifier cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A classifier that is more than a linear layer on pooled vectors.
    #[error("{}: this classifier is more than an FC layer: it takes vectors changed by `{input}`\n  Export the result of a method with a plain FC layer, such as fsa, crt or logit-adjustment.", path.display())]
    ChangedInput {
        /// The classifier.
        path: PathBuf,
        /// What is done to vectors first.
        input: String,
    },
    /// A classifier for vectors of another length.
    #[error("{}: the classifier takes {found} channels; the network gives {expected}", path.display())]
    Channels {
        /// The classifier.
        path: PathBuf,
        /// Its channels.
        found: usize,
        /// The network's.
        expected: usize,
    },
    /// A network without a classifier, and none given.
    #[error("{}: this network ends without a classifier\n  Give one with --classifier, such as the classifier.safetensors of its bank or of a Phase-II result.", path.display())]
    NoClassifier {
        /// The network.
        path: PathBuf,
    },
    /// A classifier's file of no known format.
    #[error("{}: expected a name that ends in .safetensors or .npz", path.display())]
    HeadFormat {
        /// The file.
        path: PathBuf,
    },
    /// Something that only a model of `fsa-bank train` has.
    #[error("{}: an ONNX file has no {what}\n  Export it with --onnx, or its classifier with --head.", path.display())]
    OnnxOnly {
        /// The model.
        path: PathBuf,
        /// What was asked for.
        what: &'static str,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Labels and preprocessing of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Name of each class, in the order of the logits; empty where not known.
    pub class_names: Vec<String>,
    /// Side of the images.
    pub image_size: usize,
    /// Middle square kept, as a share of the shorter side.
    pub crop_fraction: f64,
    /// How it is scaled.
    pub interpolation: Interpolation,
    /// Subtracted from R, G, B in [0, 1].
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
    /// sha256 of the network before another classifier was put in, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_sha256: Option<String>,
}

impl Description {
    /// Of a network that says nothing of itself.
    fn imagenet(image_size: usize) -> Self {
        Self {
            class_names: vec![],
            image_size,
            crop_fraction: IMAGENET_CROP,
            interpolation: Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            network_sha256: None,
        }
    }

    /// What an ONNX file says of itself, else what is usual for ImageNet networks; `side` is that of the
    /// images where the graph fixes it.
    pub fn of_onnx(file: &OnnxFile, side: Option<usize>) -> Self {
        let said = file.metadata(METADATA_KEY).and_then(|text| serde_json::from_str(text).ok());
        said.unwrap_or_else(|| Self::imagenet(side.unwrap_or(IMAGENET_SIDE)))
    }

    /// Refuses images whose classes have other names, or another order, than those of the model, where
    /// those are known.
    ///
    /// # Errors
    /// The first class that differs.
    pub fn must_name(&self, classes: &[String], path: &Path) -> Result<(), OnnxError> {
        let known = self.class_names.iter().zip(classes);
        match known.enumerate().find(|(_, (found, expected))| found != expected) {
            None => Ok(()),
            Some((class, (found, expected))) => Err(OnnxError::ClassName {
                path: path.into(),
                class,
                found: found.clone(),
                expected: expected.clone(),
            }),
        }
    }

    fn of(card: &ModelCard) -> Self {
        Self {
            class_names: card.class_names.clone(),
            image_size: card.image_size,
            crop_fraction: card.crop_fraction,
            interpolation: card.interpolation,
            mean: card.mean,
            std: card.std,
            network_sha256: card.network_sha256.clone(),
        }
    }

    /// What names a network whose file has this hash.
    pub fn identity(&self, sha256: &str) -> String {
        self.network_sha256.clone().unwrap_or_else(|| sha256.into())
    }

    /// The same as settings of a dataset.
    pub fn dataset_config(&self) -> DatasetConfig {
        DatasetConfig {
            image_size: self.image_size,
            crop_fraction: self.crop_fraction,
            interpolation: self.interpolation,
            mean: self.mean.to_vec(),
            std: self.std.to_vec(),
            ..DatasetConfig::default()
        }
    }
}

/// The classifier of a file, `fc.weight` [C, K] and `fc.bias` [C], and what the file says of it.
///
/// # Errors
/// It is not there, or is more than an FC layer.
pub fn plain_head(path: &Path) -> Result<(LinearHead, ClassifierCard), ExportError> {
    let (head, card) = classifier_file::read(path)?;
    match card.input {
        Some(input) => Err(ExportError::ChangedInput { path: path.into(), input }),
        None => Ok((head, card)),
    }
}

/// Refuses a classifier for vectors of another length than `channels`.
///
/// # Errors
/// It is one.
pub fn must_take(head: &LinearHead, channels: usize, path: &Path) -> Result<(), ExportError> {
    if head.channels() == channels {
        return Ok(());
    }
    Err(ExportError::Channels { path: path.into(), found: head.channels(), expected: channels })
}

enum Kind {
    Trained { network: Network, shape: FeatureShape, weights: Weights },
    Onnx(Box<OnnxFile>),
}

/// A model of `fsa-bank train`, or an ONNX file, with its classifier or another.
pub struct Model {
    path: PathBuf,
    kind: Kind,
    /// The classifier.
    pub head: LinearHead,
    /// Labels and preprocessing.
    pub description: Description,
    /// sha256 that names the network, whatever classifier is in it.
    identity: String,
    /// What of it should be looked at again.
    pub doubt: Option<String>,
}

impl Model {
    /// Opens `*.onnx`, or the `model.safetensors` of a run (also by the run's folder), and puts the
    /// `classifier` of a Phase-II result in place of its own.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn open(path: &Path, classifier: Option<&Path>) -> Result<Self, ExportError> {
        let (head, card) = classifier.map(plain_head).transpose()?.unzip();
        let must_fit = |channels: usize| match (&head, classifier) {
            (Some(head), Some(file)) => must_take(head, channels, file),
            _ => Ok(()),
        };
        let mut model = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
            let file = OnnxFile::load(path)?;
            let found = file.find().or_else(|refusal| match (file.find_map(), &head) {
                (Ok(found), Some(_)) => Ok(found),
                (Ok(_), None) => Err(ExportError::NoClassifier { path: path.into() }),
                (Err(_), _) => Err(refusal.into()),
            })?;
            // Of a network without classifier the channels are known once it runs.
            found.head().map_or(Ok(()), |old| must_fit(old.channels()))?;
            let description = Description::of_onnx(&file, found.input.side);
            let of_file = found.head().or(head.as_ref()).cloned().expect("one of them is there");
            let identity = description.identity(file.sha256());
            let (path, kind) = (path.into(), Kind::Onnx(Box::new(file)));
            Self { path, kind, head: of_file, description, identity, doubt: None }
        } else {
            let path = if path.is_dir() { path.join(train::MODEL_FILE) } else { path.into() };
            let (weights, card) = train::read_model(&path)?;
            let ModelCard { arch, width, stem, .. } = card;
            let config = NetworkConfig { arch, width, stem, ..NetworkConfig::default() };
            let classes = card.class_names.len();
            let (network, shape) = backbone::network(&config, classes, card.image_size)?;
            must_fit(shape.channels)?;
            let of_file =
                weights.named_head(&network.classifier, classes, shape.channels, &path)?;
            let description = Description::of(&card);
            let identity = description.identity(&weights.sha256());
            let kind = Kind::Trained { network, shape, weights };
            Self { path, kind, head: of_file, description, identity, doubt: None }
        };
        if let (Some(head), Some(card), Some(file)) = (head, card, classifier) {
            model.doubt = model.other_network(&card, file);
            let names = &mut model.description.class_names;
            if card.class_names.len() == head.classes() {
                *names = card.class_names;
            } else if names.len() != head.classes() {
                names.clear();
            }
            model.head = head;
        }
        Ok(model)
    }

    /// Whether a classifier is of another network than this, in words.
    fn other_network(&self, card: &ClassifierCard, file: &Path) -> Option<String> {
        let of = &card.network_sha256;
        (!of.is_empty() && *of != self.identity).then(|| {
            format!(
                "{}: this classifier is of another network than {} ({}, not {}); its results are meaningless unless both give the same maps",
                file.display(),
                self.path.display(),
                shown(of),
                shown(&self.identity)
            )
        })
    }

    /// The whole model as an ONNX file; see [`onnx::export`] for its inputs and outputs.
    ///
    /// # Errors
    /// Weights that do not fit the network.
    pub fn to_onnx(&self) -> Result<Vec<u8>, ExportError> {
        let network_sha256 = Some(self.identity.clone());
        let description = Description { network_sha256, ..self.description.clone() };
        let text = serde_json::to_string(&description).expect("a description is JSON");
        let metadata = vec![(METADATA_KEY.to_string(), text)];
        match &self.kind {
            Kind::Onnx(file) => Ok(onnx::with_head(file, &file.find_map()?, &self.head, &metadata)),
            Kind::Trained { network, shape, .. } => {
                let (weights, network) = (self.weights(), self.resized(network));
                let info = ModelInfo { side: self.description.image_size, shape: *shape, metadata };
                Ok(onnx::export(&network, &weights, &self.path, &info)?)
            }
        }
    }

    /// The network with as many outputs as the classifier has classes.
    fn resized(&self, network: &Network) -> Network {
        let mut network = network.clone();
        network.classes = self.head.classes();
        let classifier = [".weight", ".bias"].map(|part| format!("{}{part}", network.classifier));
        for parameter in network.parameters.iter_mut().filter(|p| classifier.contains(&p.name)) {
            parameter.shape[0] = network.classes;
        }
        network
    }

    /// All tensors with the classifier in place; of an ONNX file none.
    fn weights(&self) -> Weights {
        let Kind::Trained { network, weights, .. } = &self.kind else {
            return Weights::default();
        };
        let mut weights = weights.clone();
        let (classes, channels) = (self.head.classes(), self.head.channels());
        let parts = [
            ("weight", vec![classes, channels], &self.head.weight),
            ("bias", vec![classes], &self.head.bias),
        ];
        for (part, shape, values) in parts {
            let tensor = NamedTensor { shape, values: values.clone() };
            weights.tensors.insert(format!("{}.{part}", network.classifier), tensor);
        }
        weights
    }

    /// Writes the whole model as safetensors, under torchvision's names.
    ///
    /// # Errors
    /// The model is an ONNX file, or the file cannot be written.
    pub fn save_safetensors(&self, path: &Path) -> Result<(), ExportError> {
        if matches!(self.kind, Kind::Onnx(_)) {
            let what = "tensors under torchvision's names";
            return Err(ExportError::OnnxOnly { path: self.path.clone(), what });
        }
        let mut weights = self.weights();
        train::set_network(&mut weights, &self.identity, &self.description.class_names);
        Ok(atomic_file::write_named(path, &weights.to_bytes())?)
    }

    /// Writes the ONNX file.
    ///
    /// # Errors
    /// See [`Model::to_onnx`]; the file cannot be written.
    pub fn save_onnx(&self, path: &Path) -> Result<(), ExportError> {
        Ok(atomic_file::write_named(path, &self.to_onnx()?)?)
    }

    /// Writes the classifier alone: as safetensors (`fc.weight` [C, K], `fc.bias` [C]), or for numpy as
    /// `*.npz` (`weight`, `bias`).
    ///
    /// # Errors
    /// Another ending than these two; the file cannot be written.
    pub fn save_head(&self, path: &Path) -> Result<(), ExportError> {
        let bytes = match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => {
                let card = ClassifierCard {
                    class_names: self.description.class_names.clone(),
                    network_sha256: self.identity.clone(),
                    input: None,
                };
                card.weights(&self.head, []).to_bytes()
            }
            Some("npz") => npz(&self.head),
            _ => return Err(ExportError::HeadFormat { path: path.into() }),
        };
        Ok(atomic_file::write_named(path, &bytes)?)
    }

    /// The model in onnxruntime; a trained one is exported in memory.
    ///
    /// # Errors
    /// There is no onnxruntime, or it refuses the model.
    #[cfg(feature = "onnx")]
    pub fn run(&self, options: &onnx::OnnxOptions) -> Result<onnx::OnnxBackbone, ExportError> {
        let file = OnnxFile::from_bytes(&self.to_onnx()?, &self.path)?;
        Ok(onnx::OnnxBackbone::open(&file, options, false)?)
    }
}

/// The beginning of a hash; a file may hold any text in its place.
fn shown(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// A classifier in numpy's .npz format.
fn npz(head: &LinearHead) -> Vec<u8> {
    let (classes, channels) = (head.classes(), head.channels());
    let parts = [
        ("weight.npy", format!("({classes}, {channels})"), &head.weight),
        ("bias.npy", format!("({classes},)"), &head.bias),
    ];
    let mut archive = zip::ZipWriter::new(Cursor::new(vec![]));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let in_memory = "an archive in memory takes all that is written";
    for (name, shape, values) in parts {
        archive.start_file(name, options).expect(in_memory);
        archive.write_all(&npy(&shape, values)).expect(in_memory);
    }
    archive.finish().expect(in_memory).into_inner()
}

/// numpy's .npy format, version 1.0: magic, length of the header, header padded to 64 bytes, values.
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    const BEFORE_HEADER: usize = 10;
    while !(BEFORE_HEADER + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}
