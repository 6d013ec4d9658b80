//! One shard: rows in, a Parquet file and its checksums out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::BankError;
use super::manifest::ShardEntry;
use super::schema::{self, LIST_ELEMENT, MAP_COLUMN};
use crate::atomic_file::{AtomicFile, WriteError};
use crate::domain::FeatureShape;

/// Sizes of shards, row groups and pages; `schemas/bank-v2.md` has the figures they come from.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// zstd level.
    pub compression_level: i32,
    /// Bytes of uncompressed maps at which a shard is closed.
    pub shard_bytes: u64,
    /// Bytes of uncompressed maps at which a row group is closed.
    pub row_group_bytes: u64,
    /// Bytes of uncompressed maps at which a page of `feature_map` is closed; a page holds at
    /// least one map.
    pub map_page_bytes: u64,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            compression_level: 1,
            shard_bytes: 1 << 29,
            row_group_bytes: 1 << 25,
            map_page_bytes: 1 << 18,
        }
    }
}

/// What every row of a bank has.
#[derive(Debug, Clone, PartialEq)]
pub struct RowHead {
    /// Index of the image in its split.
    pub sample_id: u32,
    /// 0 is the clean image.
    pub view: u32,
    /// The image's place in its source.
    pub path: String,
    /// True class.
    pub label: u32,
    /// Class of the highest Phase-I score.
    pub predicted: u32,
    /// Its softmax probability.
    pub confidence: f32,
    /// [K], mean of the map over its locations.
    pub pooled: Vec<f32>,
}

/// What a training row has besides.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainRow {
    /// The rest.
    pub head: RowHead,
    /// [L], normalised CAM of the true class, in [0, 1].
    pub cam: Vec<f32>,
    /// [L], whether the location's vector has a value other than 0.
    pub nonzero: Vec<bool>,
    /// [L, K], the map, location by location.
    pub feature_map: Vec<f32>,
}

/// What all shards of a bank have in common.
#[derive(Debug, Clone)]
pub struct ShardFormat {
    /// Shape of a map.
    pub shape: FeatureShape,
    /// Sizes.
    pub layout: Layout,
    /// Name of each class.
    pub class_names: Vec<String>,
}

impl ShardFormat {
    /// Rows whose maps take `bytes` uncompressed, at least one.
    pub fn rows_in(&self, bytes: u64) -> u64 {
        (bytes / (4 * self.shape.values() as u64)).max(1)
    }

    pub(super) fn properties(&self) -> WriterProperties {
        let page_rows = self.rows_in(self.layout.map_page_bytes) as usize;
        let list_of =
            |name: &str| ColumnPath::from(vec![name.into(), "list".into(), LIST_ELEMENT.into()]);
        let level = ZstdLevel::try_new(self.layout.compression_level).unwrap_or_default();
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("fsa-bank ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(false)
            .set_max_row_group_row_count(None)
            .set_data_page_size_limit(usize::MAX)
            .set_data_page_row_count_limit(usize::MAX)
            .set_column_data_page_row_count_limit(list_of(MAP_COLUMN), page_rows)
            // A page is cut between write batches only.
            .set_write_batch_size(page_rows.saturating_mul(self.shape.values()));
        for name in ["pooled", "cam", MAP_COLUMN, "weight"] {
            properties = properties.set_column_encoding(list_of(name), Encoding::BYTE_STREAM_SPLIT);
        }
        for name in ["path", "class_name"] {
            properties = properties.set_column_dictionary_enabled(name.into(), true);
        }
        for name in ["sample_id", "view", "label", "predicted"] {
            properties = properties
                .set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED)
                .set_column_statistics_enabled(name.into(), EnabledStatistics::Chunk);
        }
        properties.build()
    }
}

/// Writes one shard, aside until it is finished.
pub struct ShardWriter {
    format: Arc<ShardFormat>,
    split: String,
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<AtomicFile>,
    rows: u64,
}

impl ShardWriter {
    /// Begins the shard `path` of a split; what is finished of it is on disk in the folder `aside`,
    /// which is on the same file system.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(
        format: &Arc<ShardFormat>,
        split: &str,
        path: &Path,
        aside: &Path,
    ) -> Result<Self, BankError> {
        Self::of(format, split, path, AtomicFile::create_in(aside, path)?)
    }

    /// Begins a shard of a split that is never kept: what is written of it is on disk in `dir`, but has no
    /// name there.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn nameless(format: &Arc<ShardFormat>, split: &str, dir: &Path) -> Result<Self, BankError> {
        Self::of(format, split, dir, AtomicFile::nameless(dir)?)
    }

    fn of(
        format: &Arc<ShardFormat>,
        split: &str,
        path: &Path,
        file: AtomicFile,
    ) -> Result<Self, BankError> {
        let schema = schema::of_split(split);
        let options = ArrowWriterOptions::new()
            .with_properties(format.properties())
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema.clone(), options)
            .map_err(failed(path))?;
        let (format, split, path) = (format.clone(), split.into(), path.into());
        Ok(Self { format, split, path, schema, writer, rows: 0 })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends rows of the training split.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append_train(&mut self, rows: &[TrainRow]) -> Result<(), BankError> {
        self.append(rows, |rows, names| {
            let heads: Vec<&RowHead> = rows.iter().map(|r| &r.head).collect();
            let mut columns = head_columns(&heads, names)?;
            columns.push(float_list(rows.iter().map(|r| r.cam.as_slice()))?);
            columns.push(bool_list(rows.iter().map(|r| r.nonzero.as_slice()))?);
            columns.push(float_list(rows.iter().map(|r| r.feature_map.as_slice()))?);
            Ok(columns)
        })
    }

    /// Appends rows of the `test` or `val` split.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append_pooled(&mut self, rows: &[RowHead]) -> Result<(), BankError> {
        self.append(rows, |rows, names| head_columns(&rows.iter().collect::<Vec<_>>(), names))
    }

    /// Writes rows, closing row groups at the layout's row count.
    fn append<R>(
        &mut self,
        rows: &[R],
        columns: impl Fn(&[R], &[String]) -> Result<Vec<ArrayRef>, ArrowError>,
    ) -> Result<(), BankError> {
        let encode = failed(&self.path);
        let group_rows = self.format.rows_in(self.format.layout.row_group_bytes);
        let mut rest = rows;
        while !rest.is_empty() {
            let room = group_rows - self.rows % group_rows;
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            let batch = columns(now, &self.format.class_names)
                .and_then(|columns| RecordBatch::try_new(self.schema.clone(), columns))
                .map_err(|e| encode(e.into()))?;
            self.writer.write(&batch).map_err(&encode)?;
            self.rows += now.len() as u64;
            if self.rows.is_multiple_of(group_rows) {
                self.writer.flush().map_err(&encode)?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Gives the shard its name; `items` are the (sample, view) pairs that it was made of.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self, items: Option<[u64; 2]>) -> Result<ShardEntry, BankError> {
        let (file, entry) = self.close(items)?;
        file.commit()?;
        Ok(entry)
    }

    /// What the shard would be; it is synced to disk, as one that is kept, and gone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn discard(self) -> Result<ShardEntry, BankError> {
        let path = self.path.clone();
        let (mut file, entry) = self.close(None)?;
        file.written().and_then(File::sync_all).map_err(WriteError::at(&path))?;
        Ok(entry)
    }

    /// Writes the footer and takes the checksums.
    fn close(self, items: Option<[u64; 2]>) -> Result<(AtomicFile, ShardEntry), BankError> {
        let mut file = self.writer.into_inner().map_err(failed(&self.path))?;
        let written = file.written().map_err(WriteError::at(&self.path))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let entry = ShardEntry::of(&name, written, &self.split, self.format.shape)?;
        Ok((file, ShardEntry { items, ..entry }))
    }
}

/// A shard that could not be encoded, or whose file could not be written.
pub(super) fn failed(path: &Path) -> impl Fn(ParquetError) -> BankError + '_ {
    move |e| match e {
        ParquetError::External(source) if source.is::<io::Error>() => {
            let source = *source.downcast::<io::Error>().expect("asked above");
            WriteError::at(path)(source).into()
        }
        e => BankError::Encode { path: path.into(), message: e.to_string() },
    }
}

fn head_columns(rows: &[&RowHead], class_names: &[String]) -> Result<Vec<ArrayRef>, ArrowError> {
    let ints = |value: fn(&RowHead) -> u32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| value(r) as i32)))
    };
    let name_of = |r: &&RowHead| class_names[r.label as usize].as_str();
    Ok(vec![
        ints(|r| r.sample_id),
        ints(|r| r.view),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.path))),
        ints(|r| r.label),
        Arc::new(StringArray::from_iter_values(rows.iter().map(name_of))),
        ints(|r| r.predicted),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|r| r.confidence))),
        float_list(rows.iter().map(|r| r.pooled.as_slice()))?,
    ])
}

fn list_of(
    element: DataType,
    lengths: Vec<usize>,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(Field::new(LIST_ELEMENT, element, false));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?))
}

pub(super) fn float_list<'a>(
    lists: impl Iterator<Item = &'a [f32]> + Clone,
) -> Result<ArrayRef, ArrowError> {
    let lengths: Vec<usize> = lists.clone().map(<[f32]>::len).collect();
    let mut values = Vec::with_capacity(lengths.iter().sum());
    lists.for_each(|list| values.extend_from_slice(list));
    list_of(DataType::Float32, lengths, Arc::new(Float32Array::from(values)))
}

fn bool_list<'a>(lists: impl Iterator<Item = &'a [bool]> + Clone) -> Result<ArrayRef, ArrowError> {
    let lengths = lists.clone().map(<[bool]>::len).collect();
    let values: Vec<bool> = lists.flatten().copied().collect();
    list_of(DataType::Boolean, lengths, Arc::new(BooleanArray::from(values)))
}

/// sha256 of a file from its beginning, with its length.
pub(super) fn file_sha256(file: &File) -> io::Result<(String, u64)> {
    let (mut hash, mut buffer, mut at) = (Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok((crate::hex(&hash.finalize()), at)),
            n => {
                hash.update(&buffer[..n]);
                at += n as u64;
            }
        }
    }
}
