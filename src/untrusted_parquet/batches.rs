//! The edge to the Parquet decoder: rows of chosen columns as they come out of it, or a text that says
//! what it met.

use std::fs::File;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::format::MOST_EXPANSION;
use super::panics::caught;

/// Texts that are decoded at a time, in bytes.
const TEXT_BYTES: u64 = 1 << 26;

/// Rows of texts that are decoded at a time: a dictionary can give each of them all that is in its page.
pub(crate) fn text_rows(largest_page_bytes: u64) -> usize {
    (TEXT_BYTES / largest_page_bytes.max(1)).clamp(1, 1024) as usize
}

/// The bytes of texts that `bytes` of a file can hold.
pub(crate) fn most_text(bytes: u64) -> u64 {
    bytes.saturating_mul(MOST_EXPANSION).saturating_add(TEXT_BYTES)
}

/// A file whose bounds were checked, with the footer as the decoder reads it.
pub(crate) fn opened(file: File) -> Result<ParquetRecordBatchReaderBuilder<File>, String> {
    caught(|| ParquetRecordBatchReaderBuilder::try_new(file))?.map_err(|e| e.to_string())
}

/// The batches of a reader.
pub(crate) struct Batches(Option<ParquetRecordBatchReader>);

impl Batches {
    /// Those of the reader that `build` makes.
    pub(crate) fn of<E: ToString>(
        build: impl FnOnce() -> Result<ParquetRecordBatchReader, E>,
    ) -> Result<Self, String> {
        let reader = caught(build)?.map_err(|e| e.to_string())?;
        Ok(Self(Some(reader)))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.0.take()?;
        let (batch, reader) = match caught(move || (reader.next(), reader)) {
            Ok(next) => next,
            Err(panic) => return Some(Err(panic)),
        };
        self.0 = Some(reader);
        batch.map(|batch| batch.map_err(|e| e.to_string()))
    }
}
