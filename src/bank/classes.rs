//! `classes.parquet`: names and sizes of the classes.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bytes::Bytes;

use super::columns::{builder, column};
use super::decoder::Batches;
use super::footer::{Contract, MOST_EXPANSION};
use super::{pages, schema};
use crate::domain::{ClassCounts, FeatureShape};

/// Columns that are read.
const COLUMNS: [&str; 2] = ["name", "train_images"];

/// Some columns of the file's content, which has one row for each of `classes` classes, once its footer and
/// pages were looked through.
pub(super) fn batches(
    content: &Bytes,
    shape: FeatureShape,
    classes: usize,
    columns: &[&str],
) -> Result<Batches, String> {
    let contract = Contract::of(&schema::classes_schema(), shape);
    let footer = contract.read(content, 0, content.len() as u64)?;
    let rows: u64 = footer.groups.iter().map(|group| group.rows).sum();
    if rows != classes as u64 {
        return Err(format!("{rows} classes"));
    }
    for group in &footer.groups {
        for (chunk, column) in group.chunks.iter().zip(contract.columns().iter()) {
            let bytes = &content[chunk.start as usize..][..chunk.length as usize];
            pages::check(column, chunk, chunk.start, bytes)
                .map_err(|e| format!("column {}: {e}", column.name))?;
        }
    }
    Batches::of(|| builder(content.clone(), footer.metadata, columns)?.build())
}

/// Reads the file's content, of `classes` classes that share at most `most_images` images.
pub(super) fn read(
    content: Vec<u8>,
    shape: FeatureShape,
    classes: usize,
    most_images: u64,
) -> Result<(Vec<String>, ClassCounts), String> {
    let content = Bytes::from(content);
    // A dictionary could give every class one long name.
    let most_text = (content.len() as u64).saturating_mul(MOST_EXPANSION);
    let (mut names, mut counts, mut text) = (vec![], vec![], 0);
    for batch in batches(&content, shape, classes, &COLUMNS)? {
        let batch = batch?;
        let name = column(&batch, "name")?.as_string_opt::<i32>().ok_or("name is not VARCHAR")?;
        text += name.values().len() as u64;
        if text > most_text {
            return Err(format!("names of more than {most_text} bytes"));
        }
        names.extend(name.iter().flatten().map(String::from));
        let count = column(&batch, "train_images")?
            .as_primitive_opt::<Int64Type>()
            .ok_or("train_images is not BIGINT")?;
        counts.extend(count.values().iter().map(|&n| n.max(0) as u64));
    }
    let empty = counts.iter().filter(|&&n| n == 0).count();
    if names.len() != classes || empty > 0 {
        return Err(format!("{} classes, {empty} of them without images", names.len()));
    }
    let images = counts.iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
    if images.is_none_or(|images| images > most_images) {
        return Err(format!("more images than the {most_images} training rows"));
    }
    Ok((names, ClassCounts(counts)))
}
