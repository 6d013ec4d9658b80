//! Batches and class names of CIFAR's Python version: dictionaries in pickles.

use std::path::Path;

use super::error::DatasetError;
use crate::pickle::{Dialect, Pickle, Value};

/// Calls `add` with number, label and planes of each image of a batch.
pub(super) fn each_image(
    bytes: &[u8],
    place: &Path,
    labels: &'static str,
    image_bytes: usize,
    mut add: impl FnMut(usize, i64, &[u8]) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    let pickle = read(bytes, place)?;
    let wrong = |found| DatasetError::Batch { path: place.into(), found, labels, image_bytes };
    let part = |key: &str| {
        pickle.root().get(key).ok_or_else(|| wrong(format!("{} without `{key}`", kind(&pickle))))
    };
    let (data, label_values) = (part("data")?, part(labels)?);
    let images = match data.byte_rows() {
        Some((rows, columns, images)) if rows > 0 && columns == image_bytes => images,
        _ => return Err(wrong(format!("`data` is {}", data.describe()))),
    };
    let count = images.len() / image_bytes;
    let label_values = match label_values.integers() {
        Some(values) if values.len() == count => values,
        _ => {
            let found = label_values.describe();
            return Err(wrong(format!("`{labels}` of {count} images is {found}")));
        }
    };
    for (number, (&label, image)) in
        label_values.iter().zip(images.chunks_exact(image_bytes)).enumerate()
    {
        add(number, label, image)?;
    }
    Ok(())
}

/// The names of the classes, in order of their labels.
pub(super) fn class_names(
    bytes: &[u8],
    place: &Path,
    key: &'static str,
) -> Result<Vec<String>, DatasetError> {
    let pickle = read(bytes, place)?;
    let names = pickle.root().get(key).and_then(Value::texts);
    names.ok_or_else(|| DatasetError::Names { path: place.into(), found: kind(&pickle), key })
}

fn read<'a>(bytes: &'a [u8], place: &Path) -> Result<Pickle<'a>, DatasetError> {
    Pickle::read(bytes, Dialect::Numpy)
        .map_err(|source| DatasetError::Pickle { path: place.into(), source })
}

fn kind(pickle: &Pickle) -> String {
    pickle.root().describe()
}
