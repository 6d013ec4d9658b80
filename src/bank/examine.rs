//! A bank's files taken apart to be examined: every byte is compared with what it should be, and damage
//! in one part leaves the others readable. Values come as they are stored; nothing is checked of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type, Int64Type};
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::RowSelector;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};
use sha2::{Digest, Sha256};

use super::files::BankFiles;
use super::manifest::{Checksum, FileEntry, ShardEntry};
use super::map_spec::MapSpec;
use super::schema::{FileColumns, classes_schema, describe_columns};
use super::verified::{Place, VerifiedShard, read_whole};
use super::{BankError, CLASSES_FILE, classes, columns};
use crate::domain::{FeatureShape, Split};
use crate::untrusted_parquet::{MAGIC, most_text, text_rows};

/// Lists of a column, one a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lists<T> {
    /// Where each list begins in `values`, and where the last one ends.
    offsets: Vec<usize>,
    /// All values.
    values: Vec<T>,
}

impl<T> Lists<T> {
    /// Lists.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list of one row.
    pub fn of(&self, row: usize) -> &[T] {
        &self.values[self.offsets[row]..self.offsets[row + 1]]
    }

    /// The lists in order.
    pub fn iter(&self) -> impl Iterator<Item = &[T]> {
        (0..self.len()).map(|row| self.of(row))
    }
}

impl<T> Lists<T> {
    /// Adds the lists of an array; `append` adds some of the values of all its lists.
    fn extend(
        &mut self,
        array: &ArrayRef,
        append: impl Fn(&mut Vec<T>, &ArrayRef, Range<usize>) -> Option<()>,
    ) -> Option<()> {
        let lists = array.as_list_opt::<i32>()?;
        let offsets = lists.value_offsets();
        let (first, last) = (*offsets.first()? as usize, *offsets.last()? as usize);
        let base = self.values.len();
        append(&mut self.values, lists.values(), first..last)?;
        let known = usize::from(!self.offsets.is_empty());
        self.offsets.extend(offsets.iter().skip(known).map(|&at| base + at as usize - first));
        Some(())
    }
}

/// Bytes that are not those that were written.
#[derive(Debug, Clone, PartialEq)]
pub struct DamagedRange {
    /// Column they belong to.
    pub column: String,
    /// From and up to, in the file.
    pub bytes: [u64; 2],
    /// Checksum of the bytes.
    pub found: Checksum,
    /// Checksum in the manifest.
    pub expected: Checksum,
}

/// A shard whose footer is whole.
pub struct ExaminedShard {
    shard: VerifiedShard,
    metadata: Arc<ParquetMetaData>,
    /// Name of the column of the main map.
    main_map: String,
}

/// Bytes that are read at a time for a sha256.
const HASH_BYTES: u64 = 1 << 20;

impl ExaminedShard {
    /// Opens a shard of rows of `split`, in a bank with these maps, the main one first.
    ///
    /// # Errors
    /// It is missing, is of another length, its footer is damaged, or its columns are not those of the
    /// contract: nothing of it can be found.
    pub fn open(
        files: &dyn BankFiles,
        entry: &ShardEntry,
        split: Split,
        maps: &[MapSpec],
    ) -> Result<Self, BankError> {
        let contract = FileColumns::of_split(split, maps).contract();
        let (shard, metadata) = VerifiedShard::open(files, entry, &contract)?;
        let main_map = maps.first().map_or(String::new(), |main| main.name.clone());
        Ok(Self { shard, metadata, main_map })
    }

    /// Bytes of the file, from and up to, that no checksum covers and that are not the `PAR1` it
    /// begins with. A shard as it was written has none.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn uncovered(&self) -> Result<Vec<[u64; 2]>, BankError> {
        let (mut gaps, mut covered) = (vec![], 0);
        for range in self.shard.ranges() {
            if range.start > covered {
                gaps.push([covered, range.start]);
            }
            covered = covered.max(range.start + range.length);
        }
        let magic = [0, MAGIC.len() as u64];
        if gaps.first() == Some(&magic) && self.shard.unchecked(0, magic[1])? == *MAGIC {
            gaps.remove(0);
        }
        Ok(gaps)
    }

    /// sha256 of the whole file; `None` where `stop` says so on the way.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn sha256(&self, stop: &dyn Fn() -> bool) -> Result<Option<String>, BankError> {
        let (mut hash, length) = (Sha256::new(), Length::len(&self.shard));
        for start in (0..length).step_by(HASH_BYTES as usize) {
            if stop() {
                return Ok(None);
            }
            hash.update(self.shard.unchecked(start, HASH_BYTES.min(length - start))?);
        }
        Ok(Some(crate::text::hex(&hash.finalize())))
    }

    /// Row groups.
    pub fn row_groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// Reads a row group and compares its bytes with their checksums.
    ///
    /// # Errors
    /// It cannot be read.
    ///
    /// # Cost
    /// The bytes of the row group in memory.
    pub fn read_group(&self, group: usize) -> Result<ExaminedGroup<'_>, BankError> {
        let column = |place| match place {
            Place::Column { group: of, column } if of as usize == group => Some(column as usize),
            _ => None,
        };
        let ranges: Vec<_> = self
            .shard
            .ranges()
            .iter()
            .filter_map(|range| column(range.place).map(|column| (column, range)))
            .collect();
        let start = ranges.iter().map(|(_, range)| range.start).min().unwrap_or(0);
        let end = ranges.iter().map(|(_, r)| r.start + r.length).max().unwrap_or(start);
        let bytes = Bytes::from(self.shard.unchecked(start, end - start)?);
        let (mut damaged, mut pages) = (vec![], BTreeMap::new());
        for (column, range) in ranges {
            let from = (range.start - start) as usize;
            let content = &bytes[from..][..range.length as usize];
            let name = self.shard.column_name(column);
            let found = Checksum::of(content);
            if found != range.expected {
                damaged.push(DamagedRange {
                    column: name.into(),
                    bytes: [range.start, range.start + range.length],
                    found,
                    expected: range.expected,
                });
                continue;
            }
            let checked = self.shard.check_pages(range, content);
            let so_far = pages.entry(name.to_string()).or_insert(Ok(0));
            *so_far = so_far.clone().and_then(|largest: u64| Ok(largest.max(checked?)));
        }
        let bytes = GroupBytes { start, bytes, length: Length::len(&self.shard) };
        Ok(ExaminedGroup { shard: self, group, bytes, damaged, pages })
    }
}

/// The bytes of one row group. Its columns are decoded one by one: `None` where a column is damaged
/// or is not of the contract's type, an error in words where undamaged bytes cannot be decoded.
pub struct ExaminedGroup<'a> {
    shard: &'a ExaminedShard,
    group: usize,
    bytes: GroupBytes,
    damaged: Vec<DamagedRange>,
    /// Of each column, the bytes of its largest page, decompressed, or what is wrong with its pages.
    pages: BTreeMap<String, Result<u64, String>>,
}

/// A column, if it can be read.
pub type Decoded<T> = Result<Option<T>, String>;

impl ExaminedGroup<'_> {
    /// What is damaged of it.
    pub fn damaged(&self) -> &[DamagedRange] {
        &self.damaged
    }

    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.bytes.len() as u64
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.shard.metadata.row_group(self.group).num_rows() as u64
    }

    /// A column of integers.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn integers(&self, name: &str) -> Decoded<Vec<i32>> {
        self.column(name, |all: &mut Vec<i32>, array| {
            all.extend_from_slice(array.as_primitive_opt::<Int32Type>()?.values());
            Some(())
        })
    }

    /// A column of numbers.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn floats(&self, name: &str) -> Decoded<Vec<f32>> {
        self.column(name, |all: &mut Vec<f32>, array| {
            all.extend_from_slice(array.as_primitive_opt::<Float32Type>()?.values());
            Some(())
        })
    }

    /// A column of texts.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn texts(&self, name: &str) -> Decoded<Vec<String>> {
        let largest = self.pages.get(name).and_then(|pages| pages.as_ref().ok());
        let at_a_time = text_rows(largest.copied().unwrap_or(0));
        let most = most_text(self.bytes());
        let (mut all, mut bytes) = (vec![], 0);
        let found = self.batches(name, at_a_time, |array| {
            bytes += array.as_string_opt::<i32>()?.values().len() as u64;
            if bytes > most {
                return None;
            }
            extend_texts(&mut all, array)
        })?;
        Ok(found.map(|()| all))
    }

    /// A column of lists of numbers.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn float_lists(&self, name: &str) -> Decoded<Lists<f32>> {
        self.column(name, |all: &mut Lists<f32>, array| all.extend(array, append_floats))
    }

    /// A column of lists of truth values.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn bool_lists(&self, name: &str) -> Decoded<Lists<bool>> {
        let append = |all: &mut Vec<bool>, values: &ArrayRef, range: Range<usize>| {
            let values = values.as_boolean_opt()?;
            all.extend(range.map(|i| values.value(i)));
            Some(())
        };
        self.column(name, |all: &mut Lists<bool>, array| all.extend(array, append))
    }

    /// The main maps, `batch_rows` at a time: `take` gets the first row of each batch and its maps. The number
    /// of rows, if it has them.
    ///
    /// # Errors
    /// They cannot be decoded.
    pub fn maps(
        &self,
        batch_rows: usize,
        mut take: impl FnMut(usize, &Lists<f32>),
    ) -> Decoded<usize> {
        let mut rows = 0;
        let found = self.batches(&self.shard.main_map, batch_rows, |array| {
            let mut maps = Lists::default();
            maps.extend(array, append_floats)?;
            take(rows, &maps);
            rows += maps.len();
            Some(())
        })?;
        Ok(found.map(|()| rows))
    }

    fn column<T: Default>(
        &self,
        name: &str,
        extend: impl Fn(&mut T, &ArrayRef) -> Option<()>,
    ) -> Decoded<T> {
        let mut all = T::default();
        let found =
            self.batches(name, self.rows().max(1) as usize, |array| extend(&mut all, array))?;
        Ok(found.map(|()| all))
    }

    fn batches(
        &self,
        name: &str,
        batch_rows: usize,
        mut take: impl FnMut(&ArrayRef) -> Option<()>,
    ) -> Decoded<()> {
        if self.damaged.iter().any(|range| range.column == name) {
            return Ok(None);
        }
        match self.pages.get(name) {
            None => return Ok(None),
            Some(Err(pages)) => return Err(pages.clone()),
            Some(Ok(_)) => {}
        }
        let all = vec![RowSelector::select(self.rows() as usize)].into();
        let (bytes, metadata) = (self.bytes.clone(), self.shard.metadata.clone());
        let rows = Some((all, batch_rows));
        for batch in columns::batches(bytes, metadata, Some(self.group), &[name], rows)? {
            let column = batch?.column_by_name(name).and_then(&mut take);
            column.ok_or("a column of another type, or longer than its bytes can be")?;
        }
        Ok(Some(()))
    }
}

fn append_floats(all: &mut Vec<f32>, values: &ArrayRef, range: Range<usize>) -> Option<()> {
    all.extend_from_slice(values.as_primitive_opt::<Float32Type>()?.values().get(range)?);
    Some(())
}

fn extend_texts(all: &mut Vec<String>, array: &ArrayRef) -> Option<()> {
    all.extend(
        array.as_string_opt::<i32>()?.iter().map(|text| text.unwrap_or_default().to_string()),
    );
    Some(())
}

/// Bytes of a file that lie in memory.
#[derive(Clone)]
struct GroupBytes {
    start: u64,
    bytes: Bytes,
    /// Of the whole file.
    length: u64,
}

impl GroupBytes {
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let offset = start.checked_sub(self.start).filter(|&at| at <= self.bytes.len() as u64);
        let offset = offset
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} is not in this row group")))?;
        Ok(self.bytes.slice(offset as usize..))
    }
}

impl Length for GroupBytes {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for GroupBytes {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes from {start} on are not in this row group"
            )));
        }
        Ok(bytes.slice(..length))
    }
}

/// Reads a file that is not a shard, whole.
///
/// # Errors
/// It is missing, of another length, or damaged.
pub fn read_file(
    files: &dyn BankFiles,
    name: &str,
    entry: &FileEntry,
) -> Result<Vec<u8>, BankError> {
    read_whole(files, name, entry.bytes, entry.xxh3)
}

const CLASS_COLUMNS: [&str; 5] = ["label", "name", "train_images", "weight", "bias"];

/// The columns of `classes.parquet`, as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassTable {
    /// Class of each row.
    pub labels: Vec<i32>,
    /// Its name.
    pub names: Vec<String>,
    /// Its training images.
    pub train_images: Vec<i64>,
    /// Its weights.
    pub weight: Lists<f32>,
    /// Its bias.
    pub bias: Vec<f32>,
}

impl ClassTable {
    /// From the content of the file, of a bank with maps of `shape`.
    ///
    /// # Errors
    /// It cannot be decoded, or its columns are not those of the contract.
    pub fn read(
        files: &dyn BankFiles,
        content: Vec<u8>,
        shape: FeatureShape,
    ) -> Result<Self, BankError> {
        let wrong = |found: String| BankError::Content {
            path: files.location(CLASSES_FILE),
            found,
            expected: format!("columns {}", describe_columns(&classes_schema()).join(", ")),
        };
        let most_text = most_text(content.len() as u64);
        let (_, batches) = classes::batches(content, shape, &CLASS_COLUMNS).map_err(wrong)?;
        let (mut table, mut text) = (Self::default(), 0);
        for batch in batches {
            let batch = batch.map_err(|e| wrong(format!("it cannot be decoded: {e}")))?;
            text += batch.column_by_name("name").map_or(0, |name| name.get_array_memory_size());
            if text as u64 > most_text {
                return Err(wrong(format!("names of more than {most_text} bytes")));
            }
            table.extend(&batch).ok_or_else(|| wrong("columns of other types".into()))?;
        }
        Ok(table)
    }

    fn extend(&mut self, batch: &RecordBatch) -> Option<()> {
        let column = |name| batch.column_by_name(name);
        self.labels.extend(column("label")?.as_primitive_opt::<Int32Type>()?.values());
        self.train_images.extend(column("train_images")?.as_primitive_opt::<Int64Type>()?.values());
        self.bias.extend(column("bias")?.as_primitive_opt::<Float32Type>()?.values());
        self.weight.extend(column("weight")?, append_floats)?;
        extend_texts(&mut self.names, column("name")?)
    }
}
