//! The rows of a Parquet table of images or of their paths, some columns at a time.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::columns::{self, Wrong};
use crate::config::DatasetConfig;
use crate::dataset::error::DatasetError;
use crate::dataset::labelled::{Columns, Labels, List, Numbering, Place, Sought, find, in_list};
use crate::regular_file;
use crate::untrusted_parquet::{Batches, check_table, opened};

/// Rows read at a time: images may be large, and what is kept of them is copied.
const BATCH_ROWS: usize = 256;
/// Where Hugging Face's `datasets` says what the columns are.
const FEATURES_KEY: &str = "huggingface";

/// A list of no image yet, with the classes that the table declares.
pub(in crate::dataset) fn new_list(
    file: &Path,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    names: &[String],
    columns: &Columns,
    numbering: Numbering,
) -> List {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut list = match (&columns.label, declared_classes(builder, columns)) {
        (Labels::OneHot(columns), _) => {
            let classes: Vec<&str> = columns.iter().map(|&column| names[column]).collect();
            List::of_classes(file, &classes, Place::Row)
        }
        (_, Some(classes)) => List::declared(file, classes, Place::Row),
        (_, None) => List::new(file, numbering, Place::Row),
    };
    list.notes = columns.notes(&names);
    list
}

/// A Parquet file whose columns were found.
pub(in crate::dataset) struct Table {
    pub(in crate::dataset) builder: ParquetRecordBatchReaderBuilder<File>,
    pub(in crate::dataset) names: Vec<String>,
    pub(in crate::dataset) columns: Columns,
    pub(in crate::dataset) room: Room,
}

/// What a file may still take in memory: a dictionary can give millions of rows the same large image.
pub(in crate::dataset) struct Room {
    rows: u64,
    bytes: u64,
}

impl Room {
    /// Of a file of `bytes`.
    fn of(bytes: u64) -> Self {
        const SLACK_BYTES: u64 = 1 << 26;
        // A thousandfold: images are compressed already.
        Self { rows: bytes, bytes: bytes.saturating_mul(1 << 10).saturating_add(SLACK_BYTES) }
    }

    /// Takes a row of this many bytes.
    pub(in crate::dataset) fn take(
        &mut self,
        file: &Path,
        bytes: usize,
    ) -> Result<(), DatasetError> {
        let left = self.bytes.checked_sub(bytes as u64).zip(self.rows.checked_sub(1));
        let found = || "rows of more bytes than the file can hold".into();
        let left = left.ok_or_else(|| DatasetError::Table { path: file.into(), found: found() });
        (self.bytes, self.rows) = left?;
        Ok(())
    }
}

impl Table {
    pub(in crate::dataset) fn open(
        file: &Path,
        config: &DatasetConfig,
    ) -> Result<Self, DatasetError> {
        let (content, bytes) = regular_file::open(file)
            .map_err(|source| DatasetError::Read { path: file.into(), source })?;
        check_table(&content, bytes)
            .map_err(|found| DatasetError::Table { path: file.into(), found })?;
        let builder = builder(file, content)?;
        let names: Vec<String> =
            builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let header: Vec<&str> = names.iter().map(String::as_str).collect();
        let wrong = |wrong| in_list(file, Place::Whole, wrong);
        let look = |sought: &mut dyn Sought| {
            columns::keep_scalars(sought, builder.schema());
            for batch in rows(file, reopened(file)?, sought.columns())? {
                columns::pass_rows(sought, &batch?, &header);
                if sought.columns().is_empty() {
                    break;
                }
            }
            Ok(())
        };
        let columns = find(config, &header, look, wrong)?;
        Ok(Self { builder, names, columns, room: Room::of(bytes) })
    }
}

/// The file, which was checked, once more.
fn reopened(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, DatasetError> {
    let (content, _) = regular_file::open(file)
        .map_err(|source| DatasetError::Read { path: file.into(), source })?;
    builder(file, content)
}

fn builder(
    file: &Path,
    content: File,
) -> Result<ParquetRecordBatchReaderBuilder<File>, DatasetError> {
    opened(content)
        .map(|builder| builder.with_batch_size(BATCH_ROWS))
        .map_err(|found| DatasetError::Table { path: file.into(), found })
}

/// The rows of the columns that are used.
pub(in crate::dataset) fn batches(
    file: &Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
    columns: &Columns,
    image: Option<usize>,
) -> Result<impl Iterator<Item = Result<RecordBatch, DatasetError>>, DatasetError> {
    let mut used = match &columns.label {
        Labels::Column(label) => vec![*label],
        Labels::OneHot(columns) => columns.clone(),
    };
    used.extend([columns.path, columns.name, columns.split, image].into_iter().flatten());
    rows(file, builder, used)
}

/// The rows of some columns.
fn rows(
    file: &Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
    used: Vec<usize>,
) -> Result<impl Iterator<Item = Result<RecordBatch, DatasetError>> + use<>, DatasetError> {
    let path = file.to_path_buf();
    let unreadable = move |found: String| DatasetError::Table { path: path.clone(), found };
    let mask = ProjectionMask::roots(builder.parquet_schema(), used);
    let batches = Batches::of(|| builder.with_projection(mask).build()).map_err(&unreadable)?;
    Ok(batches.map(move |batch| batch.map_err(&unreadable)))
}

pub(in crate::dataset) fn wrong_row(
    file: &Path,
    before: u64,
    Wrong { row, found }: Wrong,
) -> DatasetError {
    let path = file.into();
    match row {
        Some(row) => {
            let found = format!("row {}: {found}", before + row as u64 + 1);
            DatasetError::Table { path, found }
        }
        None => DatasetError::Columns { path, found },
    }
}

/// Names of the classes 0 to C - 1, where Hugging Face's metadata has them and labels are numbers.
fn declared_classes(
    builder: &ParquetRecordBatchReaderBuilder<File>,
    columns: &Columns,
) -> Option<Vec<String>> {
    let Labels::Column(label) = columns.label else { return None };
    let field = builder.schema().field(label);
    if !field.data_type().is_integer() {
        return None;
    }
    let metadata = builder.metadata().file_metadata().key_value_metadata()?;
    let features = metadata.iter().find(|entry| entry.key == FEATURES_KEY)?.value.as_ref()?;
    let features: Value = serde_json::from_str(features).ok()?;
    let names = features["info"]["features"][field.name().as_str()]["names"].as_array()?;
    names.iter().map(|name| name.as_str().map(String::from)).collect()
}
