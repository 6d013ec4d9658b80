//! Writing a bank: rows into shards, shards into a folder, the manifest last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::manifest::{Checksum, FileEntry, RowGroupEntry, ShardEntry, SplitEntry};
use super::schema::{self, LIST_ELEMENT, MAP_COLUMN};
use super::{BankError, CLASSES_FILE, CLASSIFIER_FILE};
use crate::atomic_file::{self, AtomicFile, WriteError};
use crate::classifier_file::ClassifierCard;
use crate::domain::{FeatureShape, LinearHead};

/// Sizes of shards, row groups and pages; `schemas/bank-v1.md` has the figures they come from.
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

/// One class, for `classes.parquet`.
#[derive(Debug, Clone)]
pub struct ClassRow {
    /// Its name.
    pub name: String,
    /// Its training images.
    pub train_images: u64,
}

/// What a finished writer has written, for the manifest.
#[derive(Debug, Clone)]
pub struct Written {
    /// The shards.
    pub splits: BTreeMap<String, SplitEntry>,
    /// The other files.
    pub files: BTreeMap<String, FileEntry>,
    /// Of each split, the share of clean rows whose class is predicted, in percent.
    pub top1: BTreeMap<String, f64>,
}

/// Writes the files of one bank.
pub struct BankWriter {
    dir: PathBuf,
    shape: FeatureShape,
    layout: Layout,
    class_names: Vec<String>,
    splits: BTreeMap<String, SplitEntry>,
    /// Of each split: clean rows, and those whose class is predicted.
    right: BTreeMap<String, [u64; 2]>,
    open: Option<OpenShard>,
}

/// The shard under way; what is finished of it is on disk, aside.
struct OpenShard {
    split: &'static str,
    path: PathBuf,
    writer: ArrowWriter<AtomicFile>,
    rows: u64,
}

impl BankWriter {
    /// Begins a bank in `dir`, which has no manifest yet.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(
        dir: &Path,
        shape: FeatureShape,
        layout: Layout,
        class_names: Vec<String>,
    ) -> Result<Self, BankError> {
        atomic_file::create_dir(dir)?;
        let (splits, right, open) = (BTreeMap::new(), BTreeMap::new(), None);
        Ok(Self { dir: dir.into(), shape, layout, class_names, splits, right, open })
    }

    /// The bank's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn count_right<'r>(&mut self, split: &str, rows: impl Iterator<Item = &'r RowHead>) {
        let [all, right] = self.right.entry(split.into()).or_default();
        for row in rows.filter(|row| row.view == 0) {
            *all += 1;
            *right += u64::from(row.predicted == row.label);
        }
    }

    /// Appends training rows.
    ///
    /// # Errors
    /// A shard cannot be written.
    pub fn append_train(&mut self, rows: &[TrainRow], images: u64) -> Result<(), BankError> {
        let columns = |rows: &[TrainRow], names: &[String]| {
            let heads: Vec<&RowHead> = rows.iter().map(|r| &r.head).collect();
            let mut columns = head_columns(&heads, names)?;
            columns.push(float_list(rows.iter().map(|r| r.cam.as_slice()))?);
            columns.push(bool_list(rows.iter().map(|r| r.nonzero.as_slice()))?);
            columns.push(float_list(rows.iter().map(|r| r.feature_map.as_slice()))?);
            Ok(columns)
        };
        self.count_right("train", rows.iter().map(|row| &row.head));
        self.append("train", schema::train_schema(), rows, images, columns)
    }

    /// Appends rows of the `test` or `val` split.
    ///
    /// # Errors
    /// A shard cannot be written.
    pub fn append_pooled(
        &mut self,
        split: &'static str,
        rows: &[RowHead],
    ) -> Result<(), BankError> {
        let columns = |rows: &[RowHead], names: &[String]| {
            head_columns(&rows.iter().collect::<Vec<_>>(), names)
        };
        self.count_right(split, rows.iter());
        self.append(split, schema::pooled_schema(), rows, rows.len() as u64, columns)
    }

    /// Writes rows, closing shards and row groups at the layout's row counts.
    fn append<R>(
        &mut self,
        split: &'static str,
        schema: SchemaRef,
        rows: &[R],
        images: u64,
        columns: impl Fn(&[R], &[String]) -> Result<Vec<ArrayRef>, ArrowError>,
    ) -> Result<(), BankError> {
        if self.open.as_ref().is_some_and(|shard| shard.split != split) {
            self.close_shard()?;
        }
        let shard_rows = self.rows_in(self.layout.shard_bytes);
        let group_rows = self.rows_in(self.layout.row_group_bytes);
        let mut rest = rows;
        while !rest.is_empty() {
            if self.open.as_ref().is_some_and(|shard| shard.rows == shard_rows) {
                self.close_shard()?;
            }
            if self.open.is_none() {
                self.open = Some(self.begin_shard(split, schema.clone())?);
            }
            let shard = self.open.as_mut().expect("begun above");
            let room = (group_rows - shard.rows % group_rows).min(shard_rows - shard.rows);
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            let path = shard.path.clone();
            let encode = failed(&path);
            let batch = columns(now, &self.class_names)
                .and_then(|columns| RecordBatch::try_new(schema.clone(), columns))
                .map_err(|e| encode(e.into()))?;
            shard.writer.write(&batch).map_err(&encode)?;
            shard.rows += now.len() as u64;
            if shard.rows.is_multiple_of(group_rows) {
                shard.writer.flush().map_err(&encode)?;
            }
            rest = later;
        }
        let entry = self.splits.entry(split.into()).or_default();
        entry.rows += rows.len() as u64;
        entry.images += images;
        Ok(())
    }

    fn rows_in(&self, bytes: u64) -> u64 {
        (bytes / (4 * self.shape.values() as u64)).max(1)
    }

    fn begin_shard(&self, split: &'static str, schema: SchemaRef) -> Result<OpenShard, BankError> {
        let number = self.splits.get(split).map_or(0, |entry| entry.shards.len());
        let path = self.dir.join(format!("{split}-{number:05}.parquet"));
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties())
            .with_skip_arrow_metadata(true);
        let file = AtomicFile::create(&path)?;
        let writer =
            ArrowWriter::try_new_with_options(file, schema, options).map_err(failed(&path))?;
        Ok(OpenShard { split, path, writer, rows: 0 })
    }

    fn properties(&self) -> WriterProperties {
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

    fn close_shard(&mut self) -> Result<(), BankError> {
        let Some(shard) = self.open.take() else {
            return Ok(());
        };
        let encode = failed(&shard.path);
        let mut file = shard.writer.into_inner().map_err(&encode)?;
        let written = file.written().map_err(WriteError::at(&shard.path))?;
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(written)
            .map_err(&encode)?;
        let name = shard.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entry = shard_entry(name, written, &metadata).map_err(WriteError::at(&shard.path))?;
        file.commit()?;
        self.splits.entry(shard.split.into()).or_default().shards.push(entry);
        Ok(())
    }

    /// Closes the last shard, writes the classes and the classifier, and tells what there is.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(
        mut self,
        classes: &[ClassRow],
        head: &LinearHead,
        card: &ClassifierCard,
    ) -> Result<Written, BankError> {
        self.close_shard()?;
        let classifier = card.weights(head, []).to_bytes();
        let table = self.classes_table(classes, head)?;
        let mut files = BTreeMap::new();
        for (name, bytes) in [(CLASSIFIER_FILE, classifier), (CLASSES_FILE, table)] {
            atomic_file::write(&self.dir.join(name), &bytes)?;
            files.insert(name.to_string(), FileEntry::of(&bytes));
        }
        let share = |[all, right]: [u64; 2]| 100.0 * right as f64 / all.max(1) as f64;
        let top1 = self.right.into_iter().map(|(split, counts)| (split, share(counts)));
        Ok(Written { splits: self.splits, files, top1: top1.collect() })
    }

    fn classes_table(&self, classes: &[ClassRow], head: &LinearHead) -> Result<Vec<u8>, BankError> {
        let path = self.dir.join(CLASSES_FILE);
        let encode = failed(&path);
        let columns = || -> Result<Vec<ArrayRef>, ArrowError> {
            Ok(vec![
                Arc::new(Int32Array::from_iter_values(0..classes.len() as i32)),
                Arc::new(StringArray::from_iter_values(classes.iter().map(|c| &c.name))),
                Arc::new(Int64Array::from_iter_values(
                    classes.iter().map(|c| c.train_images as i64),
                )),
                float_list(head.weight.chunks(head.channels()))?,
                Arc::new(Float32Array::from(head.bias.clone())),
            ])
        };
        let schema = schema::classes_schema();
        let batch = columns()
            .and_then(|columns| RecordBatch::try_new(schema.clone(), columns))
            .map_err(|e| encode(e.into()))?;
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties())
            .with_skip_arrow_metadata(true);
        let mut writer =
            ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(&encode)?;
        writer.write(&batch).map_err(&encode)?;
        writer.into_inner().map_err(&encode)
    }
}

/// A shard that could not be encoded, or whose file could not be written.
fn failed(path: &Path) -> impl Fn(ParquetError) -> BankError + '_ {
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

fn float_list<'a>(lists: impl Iterator<Item = &'a [f32]> + Clone) -> Result<ArrayRef, ArrowError> {
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

/// Checksums of every range of a finished shard.
fn shard_entry(name: String, file: &File, metadata: &ParquetMetaData) -> io::Result<ShardEntry> {
    let mut buffer = vec![];
    let mut checksum = |(start, length): (u64, u64)| {
        buffer.resize(length as usize, 0);
        file.read_exact_at(&mut buffer, start)?;
        Ok::<_, io::Error>(Checksum::of(&buffer))
    };
    let mut footer_offset = 0;
    let mut row_groups = vec![];
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let mut columns = vec![];
        for at in 0..group.num_columns() {
            let (start, length) = group.column(at).byte_range();
            footer_offset = footer_offset.max(start + length);
            let spans = schema::checked_spans(metadata, index, at)
                .expect("shards are written with an offset index");
            columns.push(spans.into_iter().map(&mut checksum).collect::<Result<_, _>>()?);
        }
        row_groups.push(RowGroupEntry { rows: group.num_rows() as u64, columns });
    }
    let bytes = file.metadata()?.len();
    Ok(ShardEntry {
        file: name,
        rows: row_groups.iter().map(|g| g.rows).sum(),
        bytes,
        footer_offset,
        footer_xxh3: checksum((footer_offset, bytes - footer_offset))?,
        row_groups,
    })
}
