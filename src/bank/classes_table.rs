//! Writing `classes.parquet`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use super::shard::{ShardFormat, failed, float_list};
use super::{BankError, CLASSES_FILE, schema};
use crate::domain::LinearHead;

/// The content of `classes.parquet`: `counts` `[C]` are the training images of each class of `format`.
pub(super) fn classes_table(
    format: &ShardFormat,
    counts: &[u64],
    head: &LinearHead,
) -> Result<Vec<u8>, BankError> {
    let encode = failed(Path::new(CLASSES_FILE));
    let columns = || -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![
            Arc::new(Int32Array::from_iter_values(0..counts.len() as i32)),
            Arc::new(StringArray::from_iter_values(&format.class_names)),
            Arc::new(Int64Array::from_iter_values(counts.iter().map(|&n| n as i64))),
            float_list(head.weight.chunks(head.channels()))?,
            Arc::new(Float32Array::from(head.bias.clone())),
        ])
    };
    let schema = schema::classes_schema();
    let batch = columns()
        .and_then(|columns| RecordBatch::try_new(schema.clone(), columns))
        .map_err(|e| encode(e.into()))?;
    let options = ArrowWriterOptions::new()
        .with_properties(format.properties())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(&encode)?;
    writer.write(&batch).map_err(&encode)?;
    writer.into_inner().map_err(&encode)
}
