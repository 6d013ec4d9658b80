//! `classes.parquet`: names and sizes of the classes.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::RowSelector;
use parquet::basic::Type as PhysicalType;

use super::columns::{self, column};
use super::schema::FileColumns;
use crate::domain::{ClassCounts, FeatureShape};
use crate::untrusted_parquet::{Batches, check_pages, most_text, text_rows};

/// Columns that are read.
const COLUMNS: [&str; 2] = ["name", "train_images"];

/// Some columns of the file's content, and how many rows it has.
pub(super) fn batches(
    content: Vec<u8>,
    shape: FeatureShape,
    columns: &[&str],
) -> Result<(u64, Batches), String> {
    let content = Bytes::from(content);
    let contract = FileColumns::of_classes(shape).contract();
    let footer = contract.read(&content, 0, content.len() as u64)?;
    let rows = footer.groups.iter().map(|group| group.rows).sum();
    let mut largest_text = 0;
    for group in &footer.groups {
        for (chunk, column) in group.chunks.iter().zip(contract.columns().iter()) {
            let bytes = &content[chunk.start as usize..][..chunk.length as usize];
            let largest = check_pages(column, chunk, chunk.start, bytes)
                .map_err(|e| format!("column {}: {e}", column.name))?;
            if column.kind == PhysicalType::BYTE_ARRAY {
                largest_text = largest.max(largest_text);
            }
        }
    }
    let selection = vec![RowSelector::select(rows as usize)].into();
    let at_a_time = Some((selection, text_rows(largest_text)));
    let batches = columns::batches(content, footer.metadata, None, columns, at_a_time)?;
    Ok((rows, batches))
}

/// Reads the file's content, of `classes` classes that share at most `most_images` images.
pub(super) fn read(
    content: Vec<u8>,
    shape: FeatureShape,
    classes: usize,
    most_images: u64,
) -> Result<(Vec<String>, ClassCounts), String> {
    let most_text = most_text(content.len() as u64);
    let (rows, batches) = batches(content, shape, &COLUMNS)?;
    if rows != classes as u64 {
        return Err(format!("{rows} classes"));
    }
    let (mut names, mut counts, mut text) = (vec![], vec![], 0);
    for batch in batches {
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
