//! Classes of images, from a model file: decoded, transformed and classified as in the test split, and
//! pictures of where in them the class was seen.

use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::atomic_file::{self, WriteError};
use crate::augment;
use crate::backbone::onnx::OnnxOptions;
use crate::backbone::{Backbone, BackboneError};
use crate::config::{DatasetConfig, FinetuneConfig};
use crate::dataset::{self, Account, Dataset, DatasetError, Loader, Preprocessing, Transform};
use crate::domain::{ClassId, FeatureShape, Split};
use crate::eval::Score;
use crate::eval::{self, Accuracy, Classifier, Confusion, Groups, Reordering};
use crate::export::{ExportError, Model};
use crate::progress::Watch;

/// Images a pass.
const BATCH: usize = 32;

/// What can go wrong while images are classified.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ExportError),
    /// The forward pass failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// An image cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A dataset that the model does not fit.
    #[error(
        "the model has {found} {what}; the pipeline's dataset has {expected}\n  Give the pipeline that the model was trained with."
    )]
    OtherDataset {
        /// What differs.
        what: &'static str,
        /// The model's.
        found: usize,
        /// The dataset's.
        expected: usize,
    },
    /// A list or table in place of images.
    #[error("{}: {kind}, not an image; predict takes images and folders of images\n  Give the images that it names, or their folder; to measure accuracy on them, give `fsa-bank eval` a pipeline.", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Folders without any image.
    #[error("{}: no image in it, of {found}\n  predict takes images and folders of images.", path.display())]
    NoImages {
        /// The first folder.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A picture cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Images that are not in the result.
    #[error("{failed} of {total} images cannot be decoded; the others are done")]
    Undecodable {
        /// Images without a class.
        failed: usize,
        /// Images wanted.
        total: usize,
    },
    /// The user stopped the run.
    #[error("interrupted after {done} of {total} images")]
    Interrupted {
        /// Images classified.
        done: usize,
        /// Images wanted.
        total: usize,
    },
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guess {
    /// From 0, the order of the logits.
    pub class: usize,
    /// Its name; its number where the model has no names.
    pub name: String,
    /// Softmax of the logits, in 0 to 1.
    pub probability: f32,
}

/// What the model says of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageClasses {
    /// The image.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The likeliest classes, likeliest first; none where the image cannot be decoded.
    pub top: Vec<Guess>,
    /// Why it cannot be decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The largest value of an image of 16 bits, where all of them count.
    #[serde(skip)]
    pub largest: Option<u16>,
}

/// A path that is not UTF-8 has U+FFFD in place of what is not.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// What is done with images.
pub struct PredictRequest<'a> {
    /// Classified in this order.
    pub images: &'a [PathBuf],
    /// Classes to keep of each image.
    pub top: usize,
    /// Folder for pictures of where the likeliest class was seen: each image with its activation map
    /// over it, under the image's own path.
    pub cam: Option<&'a Path>,
    /// Where to compute.
    pub options: &'a OnnxOptions,
}

/// A network's input, and the largest value of an image of 16 bits.
type Decoded = (Vec<f32>, Option<u16>);

/// Classifies images. Those that cannot be decoded say why and stop nothing; after an interrupt the
/// images done so far are returned.
///
/// # Errors
/// No onnxruntime, or a model that it refuses; a picture that cannot be written.
pub fn run(
    model: &Model,
    request: &PredictRequest,
    watch: Watch<'_>,
) -> Result<Vec<ImageClasses>, PredictError> {
    let mut network = model.run(request.options)?;
    let mut settings = DatasetConfig::default();
    model.description.input.put_into(&mut settings);
    let preprocessing = Preprocessing::new(&settings);
    let shape = network.shape();
    let mut found = Vec::with_capacity(request.images.len());
    watch.progress.start("images", request.images.len() as u64, "image");
    for paths in request.images.chunks(BATCH) {
        if watch.interrupted() {
            break;
        }
        let decoded: Vec<Result<Decoded, DatasetError>> =
            paths.par_iter().map(|path| preprocessing.input_and_largest(path)).collect();
        let inputs: Vec<f32> =
            decoded.iter().flatten().flat_map(|(input, _)| input).copied().collect();
        let images = decoded.iter().flatten().count();
        let maps = match images {
            0 => vec![],
            _ => network.feature_maps(&inputs, images)?,
        };
        let mut scores = eval::logits(&pooled(&maps, shape.locations()), &model.head);
        scores.chunks_exact_mut(model.head.classes()).for_each(eval::softmax);
        let mut rows = scores.chunks_exact(model.head.classes());
        let batch = paths.iter().zip(decoded).map(|(path, decoded)| {
            let largest = decoded.as_ref().ok().and_then(|(_, largest)| *largest);
            let row = decoded.map(|_| rows.next().unwrap_or_default());
            let top = row.as_ref().map_or(vec![], |row| likeliest(row, request.top, model));
            let error = row.err().map(|e| e.to_string());
            ImageClasses { path: path.clone(), top, error, largest }
        });
        let batch: Vec<ImageClasses> = batch.collect();
        if let Some(folder) = request.cam {
            let classified: Vec<&ImageClasses> =
                batch.iter().filter(|image| image.error.is_none()).collect();
            let maps = maps.par_chunks_exact(shape.values());
            classified.par_iter().zip(maps).try_for_each(|(image, map)| {
                let weight = model.head.class_weight(ClassId(image.top[0].class as u32));
                let cam = activation(map, weight, shape);
                let picture = preprocessing.picture(&image.path, &cam, shape)?;
                let place = place(folder, &image.path);
                atomic_file::create_dir(place.parent().unwrap_or(folder))?;
                Ok::<_, PredictError>(atomic_file::write_named(&place, &picture)?)
            })?;
        }
        found.extend(batch);
        watch.progress.advance(paths.len() as u64);
    }
    watch.progress.finish();
    Ok(found)
}

/// The normalised activation map `[L]` of a map (K, H, W) for a class's weights.
fn activation(map: &[f32], weight: &[f32], shape: FeatureShape) -> Vec<f32> {
    augment::normalise(&augment::activation(&augment::by_location(map, shape.channels), weight))
}

/// Where the picture of an image goes: under the image's own path, so that no two meet.
fn place(folder: &Path, image: &Path) -> PathBuf {
    let parts = image.components().filter(|part| matches!(part, Component::Normal(_)));
    let mut name = folder.join(parts.collect::<PathBuf>()).into_os_string();
    name.push(".cam.jpg");
    name.into()
}

/// The model's score on the test images of a dataset, from the images themselves: the metrics that
/// Phase-II gives from the bank. `settings` says what head, tail and shot groups are. Images that cannot be
/// decoded count neither as right nor as wrong; `dataset.skipped` has them. With it, whether the classes seem to be in
/// another order.
///
/// # Errors
/// More images that cannot be decoded than the dataset allows; a dataset of other classes or image size; no onnxruntime.
pub fn evaluate(
    model: &Model,
    dataset: &Dataset,
    settings: &FinetuneConfig,
    options: &OnnxOptions,
    watch: Watch<'_>,
) -> Result<(Score, Option<Reordering>), PredictError> {
    let classes = dataset.class_names.len();
    if model.head.classes() != classes {
        let (found, expected) = (model.head.classes(), classes);
        return Err(PredictError::OtherDataset { what: "classes", found, expected });
    }
    let (test, size) = (&dataset.test, dataset.image_size);
    let mut network = model.run(options)?;
    if network.side() != size {
        let (found, expected) = (network.side(), size);
        return Err(PredictError::OtherDataset { what: "pixels a side", found, expected });
    }
    let classifier = Classifier::plain(model.head.clone());
    let locations = network.shape().locations();
    let loader = Loader::new(dataset, Split::Test, test);
    let order: Vec<(usize, Transform)> = (0..test.len()).map(|i| (i, Transform::NONE)).collect();
    let (mut predictions, mut labels) = (Vec::with_capacity(test.len()), vec![]);
    watch.progress.start("test images", test.len() as u64, "image");
    for batch in order.chunks(BATCH) {
        if watch.interrupted() {
            let (done, total) = (predictions.len(), test.len());
            return Err(PredictError::Interrupted { done, total });
        }
        let inputs = loader.inputs(batch)?;
        labels.extend(inputs.kept.iter().map(|&place| test.labels()[batch[place].0]));
        if !inputs.kept.is_empty() {
            let maps = network.feature_maps(&inputs.values, inputs.kept.len())?;
            predictions.extend(classifier.predict(&pooled(&maps, locations)));
        }
        watch.progress.advance(batch.len() as u64);
    }
    watch.progress.finish();
    let accuracy = Accuracy::of_predictions(&predictions, &labels, classes);
    let counts = dataset.class_counts();
    let split = counts.split(settings.head_ratio);
    let groups = Groups::of(&accuracy, &counts, &split, settings.shot_rule);
    let mut confusion = Confusion { images: vec![0; classes], ..Confusion::default() };
    labels.iter().zip(&predictions).for_each(|(&label, &p)| confusion.add_image(label, p.class));
    Ok((Score { accuracy, groups }, confusion.reordering(&dataset.class_names)))
}

/// Means over locations: (n, K, H, W) → [n, K].
fn pooled(maps: &[f32], locations: usize) -> Vec<f32> {
    maps.chunks_exact(locations).map(|m| m.iter().sum::<f32>() / m.len() as f32).collect()
}

fn likeliest(probabilities: &[f32], top: usize, model: &Model) -> Vec<Guess> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    // Of equal probabilities the first class, as everywhere here.
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let names = &model.description.class_names;
    let guess = |class: usize| Guess {
        class,
        name: names.get(class).cloned().unwrap_or_else(|| class.to_string()),
        probability: probabilities[class],
    };
    order.into_iter().take(top).map(guess).collect()
}

/// The images of files and folders, and what becomes of the other files in the folders.
///
/// A file that is named is always an image to be tried; of a folder they are those that a dataset would find
/// there, at any depth, each folder in order of names.
///
/// # Errors
/// A path that is missing or is a list or table, a folder that cannot be read, or no image in any of them.
pub fn images(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Account), PredictError> {
    let (mut images, mut account) = (vec![], Account::default());
    for path in paths {
        if path.is_dir() {
            let (found, of_folder) = dataset::images_below(path)?;
            images.extend(found);
            account.used += of_folder.used;
            account.left_out.extend(of_folder.left_out);
        } else if let Some(kind) = dataset::list_kind(path) {
            return Err(PredictError::List { path: path.into(), kind });
        } else if path.exists() {
            images.push(path.clone());
            account.used += 1;
        } else {
            let expected = "an image, or a folder of images".into();
            return Err(DatasetError::Missing { path: path.into(), expected }.into());
        }
    }
    if let (true, Some(path)) = (images.is_empty(), paths.first()) {
        let found = match account.left_out.len() {
            0 => "no file".into(),
            _ => account.left_out_in_words(),
        };
        return Err(PredictError::NoImages { path: path.into(), found });
    }
    Ok((images, account))
}
