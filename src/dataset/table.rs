//! One Parquet file of encoded images with the columns split, label, class_name, path and image.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;

use super::decode::{self, Framing};
use super::{DatasetError, Parts, Split};

struct Row<'a> {
    split: &'a str,
    label: usize,
    class: &'a str,
    path: &'a str,
    image: &'a [u8],
}

/// Reads and decodes the whole file; rows keep their order within a split.
pub(super) fn open(path: &Path, framing: Framing) -> Result<Parts, DatasetError> {
    let wrong = |found: String| DatasetError::Table { path: path.into(), found };
    let batches = batches(path)?;
    let mut rows = vec![];
    for batch in &batches {
        rows.extend(rows_of(batch).map_err(wrong)?);
    }
    let class_names = class_names(&rows).map_err(wrong)?;
    let split =
        |name: &str| decode_split(path, framing, rows.iter().filter(|r| r.split == name).collect());
    let val = split("val")?;
    let val = (!val.is_empty()).then_some(val);
    Ok(Parts { train: split("train")?, val, test: Some(split("test")?), class_names })
}

fn batches(path: &Path) -> Result<Vec<RecordBatch>, DatasetError> {
    let wrong = |e: String| DatasetError::Table { path: path.into(), found: e };
    if !path.is_file() {
        return Err(DatasetError::Missing {
            path: path.into(),
            expected: "a Parquet file of images".into(),
        });
    }
    let file =
        File::open(path).map_err(|source| DatasetError::Read { path: path.into(), source })?;
    ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .map_err(|e| wrong(e.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(e.to_string()))
}

/// One image of a table, not decoded.
pub(super) struct EncodedRow {
    pub(super) split: String,
    pub(super) label: u32,
    pub(super) path: String,
    pub(super) image: Vec<u8>,
}

/// Class names and rows of the whole file; no image is decoded, so none can be wrong.
pub(super) fn encoded(path: &Path) -> Result<(Vec<String>, Vec<EncodedRow>), DatasetError> {
    let wrong = |found: String| DatasetError::Table { path: path.into(), found };
    let batches = batches(path)?;
    let mut rows = vec![];
    for batch in &batches {
        rows.extend(rows_of(batch).map_err(wrong)?);
    }
    let names = class_names(&rows).map_err(wrong)?;
    let encoded = |row: Row| EncodedRow {
        split: row.split.into(),
        label: row.label as u32,
        path: row.path.into(),
        image: row.image.to_vec(),
    };
    Ok((names, rows.into_iter().map(encoded).collect()))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("no column `{name}`"))?;
    if column.null_count() > 0 {
        return Err(format!("a null in column `{name}`"));
    }
    Ok(column)
}

fn rows_of(batch: &RecordBatch) -> Result<Vec<Row<'_>>, String> {
    let text = |name| {
        column(batch, name)?
            .as_string_opt::<i32>()
            .ok_or_else(|| format!("column `{name}` is not text"))
    };
    let (splits, classes, paths) = (text("split")?, text("class_name")?, text("path")?);
    let labels = column(batch, "label")?
        .as_primitive_opt::<Int32Type>()
        .ok_or("column `label` is not 32-bit integers")?;
    let images =
        column(batch, "image")?.as_binary_opt::<i32>().ok_or("column `image` is not binary")?;
    (0..batch.num_rows())
        .map(|i| {
            let label = usize::try_from(labels.value(i))
                .map_err(|_| format!("label {} in a row", labels.value(i)))?;
            if !["train", "val", "test"].contains(&splits.value(i)) {
                let split = splits.value(i);
                return Err(format!("split `{split}` in a row (known: train, val, test)"));
            }
            Ok(Row {
                split: splits.value(i),
                label,
                class: classes.value(i),
                path: paths.value(i),
                image: images.value(i),
            })
        })
        .collect()
}

/// The name of each label; labels must be 0..C with one name each.
fn class_names(rows: &[Row]) -> Result<Vec<String>, String> {
    let classes = rows.iter().map(|r| r.label + 1).max().unwrap_or(0);
    if classes > rows.len() {
        return Err(format!("label {} among {} rows", classes - 1, rows.len()));
    }
    let mut names = vec![None; classes];
    for row in rows {
        let name = names[row.label].get_or_insert(row.class);
        if *name != row.class {
            return Err(format!("label {} is both `{name}` and `{}`", row.label, row.class));
        }
    }
    let name = |(label, name): (usize, Option<&str>)| {
        name.map(String::from).ok_or_else(|| format!("no row with label {label}"))
    };
    names.into_iter().enumerate().map(name).collect()
}

fn decode_split(path: &Path, framing: Framing, rows: Vec<&Row>) -> Result<Split, DatasetError> {
    let images: Vec<Vec<u8>> = rows
        .par_iter()
        .map(|row| decode::bytes(row.image, &path.join(row.path), framing))
        .collect::<Result<_, _>>()?;
    let labels = rows.iter().map(|r| r.label as u32).collect();
    let paths = rows.iter().map(|r| r.path.to_string()).collect();
    Ok(Split::decoded(framing.size, labels, paths, images.concat()))
}
