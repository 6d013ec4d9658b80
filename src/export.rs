//! Trained models for other programs: the network with a classifier in it as ONNX or safetensors, the
//! classifier alone as safetensors or npz.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, WriteError};
use crate::backbone::onnx::{self, ImageInput, ModelInfo, OnnxError, OnnxFile};
use crate::backbone::{self, BackboneError, Network};
use crate::classifier_file::{self, ClassifierCard};
use crate::config::{self, ConfigError, InputSpec, NetworkConfig, Source, Statement};
use crate::domain::{FeatureShape, LinearHead};
use crate::labels::{Fit, Labels, LabelsError, OfMetadata};
use crate::train::{self, ModelCard, TrainError};
use crate::weights::{NamedTensor, Weights, WeightsError};

/// Key of an ONNX file's metadata entry, a JSON [`Description`].
pub const METADATA_KEY: &str = "fsa-bank";
/// Of ONNX files that say nothing, and fix no size.
const IMAGENET_SIDE: usize = 224;

/// Of an encoded message, as Protocol Buffers bound it.
const MOST_ONNX_BYTES: usize = i32::MAX as usize;

/// What can go wrong when a model is opened or exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An ONNX file cannot be used.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The network cannot be made.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// What is said of the preprocessing is out of range, or a contradiction.
    #[error(transparent)]
    Preprocessing(#[from] ConfigError),
    /// The model was not written by `fsa-bank train`.
    #[error(transparent)]
    Model(#[from] TrainError),
    /// A file that is not a model.
    #[error(
        "{}\n  A model is a run's folder or its model.safetensors, or a file that ends in .onnx; weights of other programs go into network.weights of a pipeline.", what(.0)
    )]
    NotAModel(TrainError),
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
    /// Names of classes that do not fit.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// A model that an ONNX file cannot hold.
    #[error("{}: {bytes} bytes with all weights in one file; ONNX files have less than 2 GiB", path.display())]
    TooLarge {
        /// The model.
        path: PathBuf,
        /// How large it would be.
        bytes: usize,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What is wrong, without the remedy for a model that it was.
fn what(error: &TrainError) -> String {
    error.to_string().lines().next().unwrap_or_default().into()
}

/// Labels and preprocessing of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Name of each class, in the order of the logits; empty where not known.
    pub class_names: Vec<String>,
    /// How images become inputs.
    #[serde(flatten)]
    pub input: InputSpec,
    /// Whether that is only what is usual for ImageNet networks, because nothing said how.
    #[serde(rename = "preprocessing_assumed", default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
    /// sha256 of the network before another classifier was put in, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_sha256: Option<String>,
}

impl Description {
    /// What an ONNX file says of itself, else what its graph and other programs' metadata say, else what is
    /// usual for ImageNet networks; `side` is that of the images where the graph fixes it.
    ///
    /// # Errors
    /// Its metadata cannot be read.
    pub fn of_onnx(file: &OnnxFile, side: Option<usize>) -> Result<Self, OnnxError> {
        if let Some(said) = Self::said(file)? {
            return Ok(said);
        }
        let class_names = OfMetadata::of(file).labels.map_or(vec![], |labels| labels.names);
        let usual = InputSpec::imagenet(side.unwrap_or(IMAGENET_SIDE));
        let input = file.input()?.range.applied_to(usual);
        Ok(Self { class_names, input, assumed: true, network_sha256: None })
    }

    /// What an ONNX file says of its inputs: the graph by its shapes, and the metadata, where it has any.
    pub fn statements(&self, file: &Path, side: Option<usize>) -> Vec<Statement> {
        let of_graph = side.map(|side| Statement::of_side(Source::Graph, file, side));
        let own = (!self.assumed).then(|| Statement::whole(Source::Metadata, file, &self.input));
        of_graph.into_iter().chain(own).collect()
    }

    fn said(file: &OnnxFile) -> Result<Option<Self>, OnnxError> {
        let Some(text) = file.metadata(METADATA_KEY) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|e| OnnxError::Metadata {
            path: file.path().into(),
            key: METADATA_KEY,
            found: e.to_string(),
        })
    }

    /// The names of an ONNX file's classes, where it has any: its own, or those of another program.
    pub fn names_of(file: &OnnxFile) -> OfMetadata {
        let names = Self::said(file)
            .ok()
            .flatten()
            .map(|said| said.class_names)
            .filter(|names| !names.is_empty());
        let source = file.path().display().to_string();
        let own = names.map(|names| Labels { names, source, certain: true });
        own.map_or_else(
            || OfMetadata::of(file),
            |own| OfMetadata { labels: Some(own), doubts: vec![] },
        )
    }

    fn of(card: &ModelCard) -> Self {
        Self {
            class_names: card.class_names.clone(),
            input: card.input.clone(),
            assumed: false,
            network_sha256: card.network_sha256.clone(),
        }
    }

    /// What names a network whose file has this hash.
    pub fn identity(&self, sha256: &str) -> String {
        self.network_sha256.clone().unwrap_or_else(|| sha256.into())
    }
}

/// The classifier of a file, `fc.weight` [C, K] and `fc.bias` `[C]`, and what the file says of it.
///
/// # Errors
/// It is missing, or is more than an FC layer.
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
    /// Whether its labels are another program's, which may be of another kind than the images'.
    foreign_labels: bool,
    /// What its files and `--preprocessing` say of its inputs.
    pub said: Vec<Statement>,
    /// sha256 that names the network, whatever classifier is in it.
    identity: String,
    /// What of it the user should check.
    pub doubt: Option<String>,
    /// The same of the names of its classes.
    pub label_doubts: Vec<String>,
}

/// What is given in addition to a model.
#[derive(Debug, Default)]
pub struct Given<'a> {
    /// The classifier of a Phase-II result, to put in place of the model's own.
    pub classifier: Option<&'a Path>,
    /// What `--preprocessing` says.
    pub preprocessing: Option<Statement>,
    /// Whether that overrides the metadata of an ONNX file; otherwise it must agree with it.
    pub corrects_metadata: bool,
}

impl Model {
    /// Opens `*.onnx`, or the `model.safetensors` of a run (also by the run's folder), with its own
    /// classifier or the one that is given.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn open(path: &Path, given: Given) -> Result<Self, ExportError> {
        let Given { classifier, preprocessing, corrects_metadata } = given;
        let (head, card) = classifier.map(plain_head).transpose()?.unzip();
        let must_fit = |channels: usize| match (&head, classifier) {
            (Some(head), Some(file)) => must_take(head, channels, file),
            _ => Ok(()),
        };
        let (mut said, mut names_source) = (vec![], path.display().to_string());
        let mut model = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
            let file = OnnxFile::load(path)?;
            let found = file.find().or_else(|refusal| match (file.find_map(), &head) {
                (Ok(found), Some(_)) => Ok(found),
                (Ok(_), None) => Err(ExportError::NoClassifier { path: path.into() }),
                (Err(_), _) => Err(refusal.into()),
            })?;
            // Of a network without classifier the channels are known once it runs.
            found.head().map_or(Ok(()), |old| must_fit(old.channels()))?;
            let description = Description::of_onnx(&file, found.input.side)?;
            said = description.statements(path, found.input.side);
            let OfMetadata { labels, doubts: label_doubts } = Description::names_of(&file);
            let foreign_labels = labels.as_ref().is_some_and(|l| !l.certain);
            names_source = labels.map_or(names_source, |labels| labels.source);
            let of_file = found.head().or(head.as_ref()).cloned().expect("one of them is there");
            let identity = description.identity(file.sha256());
            let (path, kind, said) = (path.into(), Kind::Onnx(Box::new(file)), vec![]);
            let (head, doubt) = (of_file, None);
            Self {
                path,
                kind,
                head,
                description,
                foreign_labels,
                said,
                identity,
                doubt,
                label_doubts,
            }
        } else {
            let path = if path.is_dir() { path.join(train::MODEL_FILE) } else { path.into() };
            let (weights, card) = train::read_model(&path).map_err(|error| match error {
                TrainError::NotAModel { .. }
                | TrainError::Weights(WeightsError::Damaged { .. }) => {
                    ExportError::NotAModel(error)
                }
                other => other.into(),
            })?;
            let ModelCard { arch, width, stem, .. } = card;
            let config = NetworkConfig { arch, width, stem, ..NetworkConfig::default() };
            let classes = card.class_names.len();
            let (network, shape) = backbone::network(&config, classes, card.input.image_size)?;
            must_fit(shape.channels)?;
            let of_file =
                weights.named_head(&network.classifier, classes, shape.channels, &path)?;
            let description = Description::of(&card);
            said.push(Statement::whole(Source::Trained, &path, &description.input));
            let identity = description.identity(&weights.sha256());
            let kind = Kind::Trained { network, shape, weights };
            let (head, foreign_labels, said, doubt) = (of_file, false, vec![], None);
            let label_doubts = vec![];
            Self {
                path,
                kind,
                head,
                description,
                foreign_labels,
                said,
                identity,
                doubt,
                label_doubts,
            }
        };
        if let (Some(given), true) = (&preprocessing, corrects_metadata) {
            for own in said.iter_mut().filter(|own| own.source == Source::Metadata) {
                own.keys.retain(|key| !given.keys.contains(key));
            }
        }
        if let Some((spec, file)) =
            card.as_ref().and_then(|c| c.preprocessing.as_ref()).zip(classifier)
        {
            // The graph knows best, where it says anything.
            let place = said.iter().take_while(|one| one.source == Source::Graph).count();
            said.insert(place, Statement::whole(Source::Classifier, file, spec));
        }
        said.extend(preprocessing);
        model.description.input = config::settled(&said, &model.description.input)?;
        model.description.assumed = said.iter().all(|one| one.source == Source::Graph);
        model.said = said;
        if let (Some(head), Some(card), Some(file)) = (head, card, classifier) {
            model.doubt = model.other_network(&card, file);
            if card.class_names.len() == head.classes() {
                (model.description.class_names, model.foreign_labels) = (card.class_names, false);
                model.label_doubts.clear();
            }
            model.head = head;
        }
        let classes = model.head.classes();
        if model.description.class_names.len() != classes {
            let names = std::mem::take(&mut model.description.class_names);
            let of_file = Labels { names, source: names_source, certain: false };
            let told = of_file.told(&Fit::Uncounted(classes), &[]);
            model.label_doubts.extend(told.filter(|_| !of_file.names.is_empty()));
        }
        Ok(model)
    }

    /// Gives its classes new names.
    ///
    /// # Errors
    /// There are more or fewer names than classes.
    pub fn set_labels(&mut self, labels: Labels) -> Result<(), LabelsError> {
        let (found, expected) = (labels.names.len(), self.head.classes());
        if found != expected {
            return Err(LabelsError::Count { source_text: labels.source, found, expected });
        }
        (self.description.class_names, self.foreign_labels) = (labels.names, !labels.certain);
        self.label_doubts.clear();
        Ok(())
    }

    /// The names of its classes, where they are known.
    pub fn labels(&self) -> Option<Labels> {
        let (names, source) =
            (self.description.class_names.clone(), self.path.display().to_string());
        let labels = Labels { names, source, certain: !self.foreign_labels };
        (!labels.names.is_empty()).then_some(labels)
    }

    /// Gives the classifier the classes of images, in their order, where the names of both are known; the
    /// note for the user, and whether it is a warning.
    ///
    /// # Errors
    /// A class of the images that the model does not have.
    pub fn take_order_of(
        &mut self,
        images: &[String],
    ) -> Result<Option<(String, bool)>, LabelsError> {
        let Some(labels) = self.labels() else { return Ok(None) };
        let fit = labels.fit(self.head.classes(), images)?;
        if let Fit::Order(_) | Fit::Part(_) = fit {
            self.head = fit.head(&self.head);
            self.description.class_names = images.to_vec();
        }
        Ok(labels.told(&fit, images).map(|text| (text, fit.is_doubtful())))
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

    /// How images become its inputs, where that is known.
    fn preprocessing(&self) -> Option<&InputSpec> {
        (!self.description.assumed).then_some(&self.description.input)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the graph of an ONNX file takes.
    pub fn image_input(&self) -> Option<ImageInput> {
        match &self.kind {
            Kind::Trained { .. } => None,
            Kind::Onnx(file) => file.input().ok(),
        }
    }

    /// That nothing says how images become its inputs, in words.
    pub fn unknown_preprocessing(&self) -> String {
        format!(
            "{}: neither the network nor its classifier says how images are prepared",
            self.path.display()
        )
    }

    /// The whole model as an ONNX file; see [`onnx::export`] for its inputs and outputs.
    ///
    /// # Errors
    /// Weights that do not fit the network.
    pub fn to_onnx(&self) -> Result<Vec<u8>, ExportError> {
        let network_sha256 = Some(self.identity.clone());
        let description = Description { network_sha256, ..self.description.clone() };
        let text = serde_json::to_string(&description).expect("a description is JSON");
        let mut metadata = vec![(METADATA_KEY.to_string(), text)];
        let bytes = match &self.kind {
            Kind::Onnx(file) => {
                let number = |class: usize| class.to_string();
                let names = match self.description.class_names.as_slice() {
                    // The names that exist may be right.
                    [] if file.find().is_ok_and(|found| found.head() == Some(&self.head)) => None,
                    [] => Some((0..self.head.classes()).map(number).collect()),
                    names => Some(names.to_vec()),
                };
                metadata.extend(names.map_or(vec![], |names| OfMetadata::renewed(file, &names)));
                onnx::with_head(file, &file.find_map()?, &self.head, &metadata)
            }
            Kind::Trained { network, shape, .. } => {
                let (weights, network) = (self.weights(), self.resized(network));
                let info =
                    ModelInfo { side: self.description.input.image_size, shape: *shape, metadata };
                onnx::export(&network, &weights, &self.path, &info)?
            }
        };
        match bytes.len() {
            bytes if bytes > MOST_ONNX_BYTES => {
                Err(ExportError::TooLarge { path: self.path.clone(), bytes })
            }
            _ => Ok(bytes),
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

    /// Writes the classifier alone: as safetensors (`fc.weight` [C, K], `fc.bias` `[C]`), or for numpy as
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
                    preprocessing: self.preprocessing().cloned(),
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
