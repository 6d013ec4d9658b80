//! One shard: rows in, a Parquet file and its checksums out.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory,
    ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::BankError;
use super::manifest::ShardEntry;
use super::map_pages::{MapChunk, MapPages, Zstd};
use super::map_spec::{MAP_COLUMN, MapSpec};
use super::schema::{FileColumns, LIST_ELEMENT};
use crate::atomic_file::{AtomicFile, WriteError};
use crate::domain::{FeatureShape, Split};

/// Sizes of shards, row groups and pages; `schemas/bank-v2.md` has the figures they come from.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// zstd level.
    pub compression_level: i32,
    /// Whether zstd looks for repeats in maps. There are none worth it where fewer than 7/8 of the
    /// values are zeros: without the search maps are smaller and written several times as fast.
    pub search_repeats: bool,
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
            search_repeats: false,
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
    /// `[K]`, mean of the map over its locations.
    pub pooled: Vec<f32>,
}

/// What a training row has in addition.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainRow {
    /// The rest.
    pub head: RowHead,
    /// `[L]`, normalised CAM of the true class, in [0, 1].
    pub cam: Vec<f32>,
    /// `[L]`, whether the location's vector has a value other than 0.
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

    fn level(&self) -> ZstdLevel {
        ZstdLevel::try_new(self.layout.compression_level).unwrap_or_default()
    }

    pub(super) fn properties(&self) -> WriterProperties {
        let page_rows = self.rows_in(self.layout.map_page_bytes) as usize;
        let list_of =
            |name: &str| ColumnPath::from(vec![name.into(), "list".into(), LIST_ELEMENT.into()]);
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("fsa-bank ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(Compression::ZSTD(self.level()))
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
///
/// The file is the same to the byte whatever the number of threads and however the rows come.
///
/// # Cost
/// Pages of maps are encoded side by side in rayon's threads, so a call should bring rows for all of
/// them; a row group is written to disk while the next one is encoded. In memory are at most two
/// encoded row groups, a page of maps as they came, and for each thread a page before and after its
/// compression.
pub struct ShardWriter {
    format: Arc<ShardFormat>,
    split: Split,
    path: PathBuf,
    file: SerializedFileWriter<HashedFile>,
    columns: ArrowRowGroupWriterFactory,
    /// Of the row group under way, the columns before `feature_map`.
    batches: Vec<RecordBatch>,
    /// Of the row group under way, `feature_map` where the split has it.
    maps: Option<MapPages>,
    /// A row group that is not in the file yet.
    encoded: Option<EncodedGroup>,
    schema: SchemaRef,
    rows: u64,
}

/// A file and the sha256 of what was written to it.
struct HashedFile {
    file: AtomicFile,
    sha256: Sha256,
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The column chunks of a row group.
struct EncodedGroup {
    columns: Vec<ArrowColumnChunk>,
    maps: Option<(MapChunk, ColumnCloseResult)>,
}

impl ShardWriter {
    /// Begins the shard `path` of a split; what is finished of it is on disk in the folder `aside`,
    /// which is on the same file system.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(
        format: &Arc<ShardFormat>,
        split: Split,
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
    pub fn nameless(
        format: &Arc<ShardFormat>,
        split: Split,
        dir: &Path,
    ) -> Result<Self, BankError> {
        Self::of(format, split, dir, AtomicFile::nameless(dir)?)
    }

    fn of(
        format: &Arc<ShardFormat>,
        split: Split,
        path: &Path,
        file: AtomicFile,
    ) -> Result<Self, BankError> {
        let schema = FileColumns::of_split(split, &[MapSpec::last(format.shape)]).schema;
        let options = ArrowWriterOptions::new()
            .with_properties(format.properties())
            .with_skip_arrow_metadata(true);
        let file = HashedFile { file, sha256: Sha256::new() };
        let (file, columns) = ArrowWriter::try_new_with_options(file, schema.clone(), options)
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(failed(path))?;
        let maps = match schema.column_with_name(MAP_COLUMN) {
            Some((at, _)) => {
                let column = file.schema_descr().column(at);
                let page_rows = format.rows_in(format.layout.map_page_bytes) as usize;
                let values = format.shape.values();
                let zstd = Zstd { level: format.level(), search: format.layout.search_repeats };
                let maps = MapPages::new(column, zstd, values, page_rows);
                Some(maps.map_err(failed(path))?)
            }
            None => None,
        };
        let (format, path) = (format.clone(), path.into());
        let (batches, encoded, rows) = (vec![], None, 0);
        Ok(Self { format, split, path, file, columns, batches, maps, encoded, schema, rows })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends rows; of those of the `test` or `val` split only their heads.
    ///
    /// # Errors
    /// The file cannot be written, or a map is neither of the bank's shape nor empty.
    pub fn append(&mut self, rows: &[TrainRow]) -> Result<(), BankError> {
        let group_rows = self.format.rows_in(self.format.layout.row_group_bytes);
        let mut rest = rows;
        while !rest.is_empty() {
            let room = group_rows - self.rows % group_rows;
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            let batch = self.columns_before_maps(now);
            self.batches.push(batch.map_err(|e| failed(&self.path)(e.into()))?);
            self.rows += now.len() as u64;
            let maps: Vec<&[f32]> = match self.maps {
                Some(_) => now.iter().map(|row| row.feature_map.as_slice()).collect(),
                None => vec![],
            };
            self.encode(&maps, self.rows.is_multiple_of(group_rows)).map_err(failed(&self.path))?;
            rest = later;
        }
        Ok(())
    }

    fn columns_before_maps(&self, rows: &[TrainRow]) -> Result<RecordBatch, ArrowError> {
        let heads: Vec<&RowHead> = rows.iter().map(|row| &row.head).collect();
        let mut columns = head_columns(&heads, &self.format.class_names)?;
        if self.maps.is_some() {
            columns.push(float_list(rows.iter().map(|row| row.cam.as_slice()))?);
            columns.push(bool_list(rows.iter().map(|row| row.nonzero.as_slice()))?);
        }
        let before_maps: Vec<usize> = (0..columns.len()).collect();
        RecordBatch::try_new(self.schema.project(&before_maps)?.into(), columns)
    }

    /// Encodes what can be of the row group under way, all of it with `last`; the one before goes to
    /// disk meanwhile.
    fn encode(&mut self, maps: &[&[f32]], last: bool) -> ParquetResult<()> {
        let before = self.encoded.take();
        let write = || before.map_or(Ok(()), |group| group.write(&mut self.file));
        let encode_maps = || self.maps.as_mut().map_or(Ok(()), |pages| pages.extend(maps, last));
        let encode_columns = || match last {
            true => encode_columns(&self.columns, &std::mem::take(&mut self.batches)),
            false => Ok(vec![]),
        };
        let (written, (pages, columns)) =
            rayon::join(write, || rayon::join(encode_maps, encode_columns));
        written.and(pages)?;
        let columns = columns?;
        if last {
            let maps = self.maps.as_mut().map(MapPages::close).transpose()?;
            self.encoded = Some(EncodedGroup { columns, maps });
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
    fn close(mut self, items: Option<[u64; 2]>) -> Result<(AtomicFile, ShardEntry), BankError> {
        if !self.batches.is_empty() {
            self.encode(&[], true).map_err(failed(&self.path))?;
        }
        if let Some(group) = self.encoded.take() {
            group.write(&mut self.file).map_err(failed(&self.path))?;
        }
        let done = self.file.into_inner().map_err(failed(&self.path))?;
        let HashedFile { mut file, sha256 } = done;
        let written = file.written().map_err(WriteError::at(&self.path))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let sha256 = || Ok(crate::text::hex(&sha256.finalize()));
        let maps = [MapSpec::last(self.format.shape)];
        let entry = ShardEntry::with_sha256(&name, written, self.split, &maps, sha256)?;
        Ok((file, ShardEntry { items, ..entry }))
    }
}

impl EncodedGroup {
    fn write(self, file: &mut SerializedFileWriter<HashedFile>) -> ParquetResult<()> {
        let mut group = file.next_row_group()?;
        for chunk in self.columns {
            chunk.append_to_row_group(&mut group)?;
        }
        if let Some((pages, closed)) = self.maps {
            group.append_column(&pages, closed)?;
        }
        group.close()?;
        Ok(())
    }
}

/// The columns of one row group, each in one page.
fn encode_columns(
    columns: &ArrowRowGroupWriterFactory,
    batches: &[RecordBatch],
) -> ParquetResult<Vec<ArrowColumnChunk>> {
    let Some(first) = batches.first() else { return Ok(vec![]) };
    // In one piece: where a page or a dictionary ends would else depend on how the rows came.
    let rows = concat_batches(first.schema_ref(), batches)?;
    let leaves = rows.schema_ref().fields().iter().zip(rows.columns());
    let leaves = leaves.map(|(field, column)| compute_leaves(field, column));
    let leaves = leaves.collect::<ParquetResult<Vec<_>>>()?.into_iter().flatten();
    // Any number: it would matter only for encrypted files.
    let writers = columns.create_column_writers(0)?;
    let work: Vec<(ArrowColumnWriter, ArrowLeafColumn)> = writers.into_iter().zip(leaves).collect();
    let encode = |(mut writer, leaf): (ArrowColumnWriter, ArrowLeafColumn)| {
        writer.write(&leaf)?;
        writer.close()
    };
    work.into_par_iter().map(encode).collect()
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
            0 => return Ok((crate::text::hex(&hash.finalize()), at)),
            n => {
                hash.update(&buffer[..n]);
                at += n as u64;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::rng::{KeyedRng, Stage};

    pub(in crate::bank) const SHAPE: FeatureShape =
        FeatureShape { channels: 6, height: 2, width: 2 };

    /// Rows of three classes; those of class 2 have no map.
    pub(in crate::bank) fn rows(count: u32) -> Vec<TrainRow> {
        let row = |sample_id: u32| {
            let mut rng = KeyedRng::new(3, Stage::InitialWeights, (sample_id.into(), 0));
            let mut values = |count| (0..count).map(|_| rng.unit() as f32).collect::<Vec<f32>>();
            let label = sample_id % 3;
            TrainRow {
                head: RowHead {
                    sample_id,
                    view: 0,
                    path: format!("{}", sample_id / 2),
                    label,
                    predicted: 0,
                    confidence: 0.5,
                    pooled: values(SHAPE.channels),
                },
                cam: values(SHAPE.locations()),
                nonzero: vec![true; SHAPE.locations()],
                feature_map: if label == 2 { vec![] } else { values(SHAPE.values()) },
            }
        };
        (0..count).map(row).collect()
    }

    /// Pages of 2 maps, row groups of 10.
    pub(in crate::bank) fn format() -> Arc<ShardFormat> {
        let map_bytes = 4 * SHAPE.values() as u64;
        let layout = Layout {
            row_group_bytes: 10 * map_bytes,
            map_page_bytes: 2 * map_bytes,
            ..Default::default()
        };
        let class_names = ["a", "b", "c"].map(String::from).to_vec();
        ShardFormat { shape: SHAPE, layout, class_names }.into()
    }

    /// The shard of some rows and what its manifest says.
    pub(in crate::bank) fn write(dir: &Path, rows: &[TrainRow]) -> ShardEntry {
        let path = dir.join("shard.parquet");
        let mut writer = ShardWriter::create(&format(), Split::Train, &path, dir).unwrap();
        rows.chunks(3).for_each(|rows| writer.append(rows).unwrap());
        writer.finish(None).unwrap()
    }

    /// The same rows through the Parquet library's own writer; every second map has the values of the first,
    /// negated.
    pub(in crate::bank) fn through_the_library(
        rows: &[TrainRow],
        maps: &[MapSpec],
        properties: WriterProperties,
    ) -> Vec<u8> {
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let schema = FileColumns::of_split(Split::Train, maps).schema;
        let mut writer =
            ArrowWriter::try_new_with_options(vec![], schema.clone(), options).unwrap();
        for group in rows.chunks(10) {
            let heads: Vec<&RowHead> = group.iter().map(|row| &row.head).collect();
            let mut columns = head_columns(&heads, &format().class_names).unwrap();
            columns.push(float_list(group.iter().map(|row| row.cam.as_slice())).unwrap());
            columns.push(bool_list(group.iter().map(|row| row.nonzero.as_slice())).unwrap());
            for sign in [1.0, -1.0].into_iter().cycle().take(maps.len()) {
                let map = |row: &TrainRow| row.feature_map.iter().map(|v| sign * v).collect();
                let maps: Vec<Vec<f32>> = group.iter().map(map).collect();
                columns.push(float_list(maps.iter().map(Vec::as_slice)).unwrap());
            }
            writer.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
            writer.flush().unwrap();
        }
        writer.into_inner().unwrap()
    }

    /// All pages and what is said of them.
    fn described(file: Vec<u8>) -> Vec<String> {
        let file = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let mut described = vec![];
        for group in 0..file.num_row_groups() {
            let group = file.get_row_group(group).unwrap();
            for at in 0..group.num_columns() {
                let chunk = group.metadata().column(at);
                let encodings: Vec<Encoding> = chunk.encodings().collect();
                let sizes = (chunk.num_values(), chunk.uncompressed_size());
                described.push(format!("{encodings:?} {sizes:?} {:?}", chunk.statistics()));
                let pages = group.get_column_page_reader(at).unwrap();
                described.extend(pages.map(|page| format!("{:?}", page.unwrap())));
            }
        }
        described
    }

    #[test]
    fn pages_are_those_of_the_parquet_library() {
        let dir = tempfile::tempdir().unwrap();
        // Class 0 alone, so that no map is missing: the library cuts pages between 48 values only.
        let rows: Vec<TrainRow> = rows(75).into_iter().filter(|row| row.head.label == 0).collect();
        let entry = write(dir.path(), &rows);
        let own = described(std::fs::read(dir.path().join(entry.file)).unwrap());
        let theirs =
            described(through_the_library(&rows, &[MapSpec::last(SHAPE)], format().properties()));
        assert_eq!(own.len(), theirs.len());
        for (own, theirs) in own.iter().zip(&theirs) {
            assert_eq!(own, theirs);
        }
    }

    #[test]
    fn a_map_of_another_shape_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shard.parquet");
        let mut writer = ShardWriter::create(&format(), Split::Train, &path, dir.path()).unwrap();
        let mut rows = rows(4);
        rows[1].feature_map.pop();
        let text = writer.append(&rows).unwrap_err().to_string();
        assert!(text.contains("a feature map of 23 values, expected 24"), "{text}");
        drop(writer);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
