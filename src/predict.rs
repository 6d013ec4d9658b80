//! Classes of images, from a model file: decoded, transformed and classified as in the test split.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::backbone::onnx::OnnxOptions;
use crate::backbone::{Backbone, BackboneError};
use crate::dataset::{DatasetError, Preprocessing};
use crate::eval;
use crate::export::{ExportError, Model};
use crate::progress::{Interrupt, Progress};

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
    /// The user stopped the run.
    #[error("interrupted after {done} of {total} images; nothing was printed")]
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
    pub path: PathBuf,
    /// The likeliest classes, likeliest first.
    pub top: Vec<Guess>,
}

/// Classifies images in their order; `top` classes of each are kept.
///
/// # Errors
/// An image that cannot be decoded; no onnxruntime, or a model that it refuses.
pub fn run(
    model: &Model,
    images: &[PathBuf],
    top: usize,
    options: &OnnxOptions,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Vec<ImageClasses>, PredictError> {
    /// Images a pass.
    const BATCH: usize = 32;
    let mut network = model.run(options)?;
    let preprocessing = Preprocessing::new(&model.description.dataset_config());
    let locations = network.shape().locations();
    let mut found = Vec::with_capacity(images.len());
    progress.start("images", images.len() as u64, "image");
    for batch in images.chunks(BATCH) {
        if interrupt.requested() {
            return Err(PredictError::Interrupted { done: found.len(), total: images.len() });
        }
        let inputs: Vec<Vec<f32>> =
            batch.par_iter().map(|path| preprocessing.input(path)).collect::<Result<_, _>>()?;
        let maps = network.feature_maps(&inputs.concat(), batch.len())?;
        let mean = |m: &[f32]| m.iter().sum::<f32>() / m.len() as f32;
        let pooled: Vec<f32> = maps.chunks_exact(locations).map(mean).collect();
        let mut scores = eval::logits(&pooled, &model.head);
        let rows = scores.chunks_exact_mut(model.head.classes());
        found.extend(rows.zip(batch).map(|(row, path)| {
            eval::softmax(row);
            ImageClasses { path: path.clone(), top: likeliest(row, top, model) }
        }));
        progress.advance(batch.len() as u64);
    }
    progress.finish();
    Ok(found)
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

/// The images of files and folders (with the folders in them), each folder in order of names.
///
/// # Errors
/// A path that is not there, or a folder that cannot be read.
pub fn images(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DatasetError> {
    let mut found = vec![];
    for path in paths {
        collect(path, &mut found)?;
    }
    Ok(found)
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    if !path.is_dir() {
        if !path.exists() {
            let expected = "an image, or a folder of images".into();
            return Err(DatasetError::Missing { path: path.into(), expected });
        }
        found.push(path.into());
        return Ok(());
    }
    let read = |source| DatasetError::Read { path: path.into(), source };
    let entries = std::fs::read_dir(path).map_err(read)?;
    let mut entries: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(read)?;
    entries.sort_unstable();
    for entry in entries {
        let is_image = crate::dataset::has_image_extension(&entry);
        if entry.is_dir() || is_image {
            collect(&entry, found)?;
        }
    }
    Ok(())
}
