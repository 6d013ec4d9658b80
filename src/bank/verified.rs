//! A file whose bytes are checked before anyone sees them.

use std::fs::File;
use std::io::{self, Cursor};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::manifest::{Checksum, ShardEntry};
use super::{BankError, schema};

/// A range of bytes with its checksum.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) expected: Checksum,
    pub(super) place: Place,
}

/// Which part of a shard a range is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Footer,
    Column { group: u32, column: u32 },
}

/// One shard, open for reading.
///
/// The Parquet decoder asks for bytes through [`ChunkReader`]; whatever it asks for, the checked
/// ranges that cover it are read and compared with the manifest first.
#[derive(Clone)]
pub(super) struct VerifiedShard {
    file: Arc<File>,
    path: Arc<Path>,
    length: u64,
    ranges: Arc<[Range]>,
    column_names: Arc<[String]>,
    /// The ranges read last, by index.
    recent: Arc<Mutex<Vec<(usize, Bytes)>>>,
    /// Bytes read so far.
    bytes_read: Arc<AtomicU64>,
    /// Damage found while the decoder was reading: its own errors carry text only.
    damage: Arc<Mutex<Option<BankError>>>,
}

/// Ranges kept for the decoder, which alternates between the columns of a row group.
const RECENT_RANGES: usize = 12;

impl VerifiedShard {
    /// Opens a shard and reads its checked metadata.
    pub(super) fn open(
        dir: &Path,
        entry: &ShardEntry,
    ) -> Result<(Self, Arc<ParquetMetaData>), BankError> {
        let path = dir.join(&entry.file);
        let read = |source| BankError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(read)?;
        let found = file.metadata().map_err(read)?.len();
        if found != entry.bytes {
            return Err(BankError::Length { path, found, expected: entry.bytes });
        }
        let footer_length =
            entry.bytes.checked_sub(entry.footer_offset).ok_or_else(|| BankError::Content {
                path: path.clone(),
                found: format!("footer_offset {} in the manifest", entry.footer_offset),
                expected: format!("at most {}", entry.bytes),
            })?;
        let footer = Range {
            start: entry.footer_offset,
            length: footer_length,
            expected: entry.footer_xxh3,
            place: Place::Footer,
        };
        let mut shard = Self {
            file: Arc::new(file),
            path: path.clone().into(),
            length: entry.bytes,
            ranges: vec![footer].into(),
            column_names: Arc::new([]),
            recent: Arc::default(),
            bytes_read: Arc::default(),
            damage: Arc::default(),
        };
        let footer = shard.checked_range(0)?;
        let metadata = read_metadata(&footer, entry.footer_offset)
            .map_err(|e| shard.content(format!("its footer: {e}"), "a Parquet footer".into()))?;
        let metadata = Arc::new(metadata);
        shard.ranges = shard.column_ranges(entry, &metadata)?.into();
        shard.column_names = match metadata.num_row_groups() {
            0 => Arc::new([]),
            _ => (0..metadata.row_group(0).num_columns())
                .map(|column| schema::column_name(&metadata, 0, column).to_string())
                .collect(),
        };
        shard.recent = Arc::default();
        Ok((shard, metadata))
    }

    /// The same shard with nothing kept, for a reader of its own: readers side by side would push
    /// each other's ranges out.
    pub(super) fn session(&self) -> Self {
        Self { recent: Arc::default(), ..self.clone() }
    }

    /// Every range that has a checksum, in order of position.
    pub(super) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Bytes of the file, checked by nobody.
    pub(super) fn unchecked(&self, start: u64, length: u64) -> Result<Vec<u8>, BankError> {
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact_at(&mut bytes, start)
            .map_err(|source| BankError::Read { path: self.path.to_path_buf(), source })?;
        Ok(bytes)
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes read and checked so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub(super) fn content(&self, found: String, expected: String) -> BankError {
        BankError::Content { path: self.path.to_path_buf(), found, expected }
    }

    /// Turns a decoder's error into what caused it.
    pub(super) fn decode_error(&self, error: &dyn std::fmt::Display) -> BankError {
        let damage = self.damage.lock().expect("no panic while held").take();
        damage.unwrap_or_else(|| {
            self.content(format!("it does not decode: {error}"), "a shard of this format".into())
        })
    }

    /// Where the manifest's checksums lie, in order of their position.
    fn column_ranges(
        &self,
        entry: &ShardEntry,
        metadata: &ParquetMetaData,
    ) -> Result<Vec<Range>, BankError> {
        let disagree = || {
            self.content(
                "a layout other than the manifest's".into(),
                "the row groups and pages that were written".into(),
            )
        };
        if metadata.num_row_groups() != entry.row_groups.len() {
            return Err(disagree());
        }
        let mut ranges = vec![];
        for (index, (group, expected)) in
            metadata.row_groups().iter().zip(&entry.row_groups).enumerate()
        {
            if group.num_columns() != expected.columns.len()
                || group.num_rows() as u64 != expected.rows
            {
                return Err(disagree());
            }
            for (at, checksums) in expected.columns.iter().enumerate() {
                let spans = schema::checked_spans(metadata, index, at).ok_or_else(disagree)?;
                if spans.len() != checksums.len() {
                    return Err(disagree());
                }
                for ((start, length), expected) in spans.into_iter().zip(checksums) {
                    if start.checked_add(length).is_none_or(|end| end > self.length) {
                        return Err(disagree());
                    }
                    let place = Place::Column { group: index as u32, column: at as u32 };
                    ranges.push(Range { start, length, expected: *expected, place });
                }
            }
        }
        ranges.push(self.ranges[0].clone());
        ranges.sort_by_key(|range| range.start);
        Ok(ranges)
    }

    fn describe(&self, range: &Range) -> String {
        match range.place {
            Place::Footer => "the footer".into(),
            Place::Column { group, column } => {
                let name = self.column_names.get(column as usize).map_or("?", String::as_str);
                let end = range.start + range.length;
                format!("column {name} of row group {group}, bytes {}..{end}", range.start)
            }
        }
    }

    fn checked_range(&self, index: usize) -> Result<Bytes, BankError> {
        let mut recent = self.recent.lock().expect("no panic while held");
        if let Some((_, bytes)) = recent.iter().find(|(i, _)| *i == index) {
            return Ok(bytes.clone());
        }
        let range = &self.ranges[index];
        let bytes = self.unchecked(range.start, range.length)?;
        self.bytes_read.fetch_add(range.length, Ordering::Relaxed);
        let found = Checksum::of(&bytes);
        if found != range.expected {
            return Err(BankError::Damaged {
                path: self.path.to_path_buf(),
                place: self.describe(range),
                found,
                expected: range.expected,
            });
        }
        let bytes = Bytes::from(bytes);
        if recent.len() == RECENT_RANGES {
            recent.remove(0);
        }
        recent.push((index, bytes.clone()));
        Ok(bytes)
    }

    /// Bytes `start..start + length`, which must lie in one checked range.
    fn checked(&self, start: u64, length: u64) -> ParquetResult<Bytes> {
        let index = self.ranges.partition_point(|range| range.start <= start).wrapping_sub(1);
        let inside = self.ranges.get(index).filter(|r| start + length <= r.start + r.length);
        let Some(range) = inside else {
            return Err(ParquetError::General(format!(
                "bytes {start}..{} have no checksum",
                start + length
            )));
        };
        let offset = (start - range.start) as usize;
        match self.checked_range(index) {
            Ok(bytes) => Ok(bytes.slice(offset..offset + length as usize)),
            Err(damage) => {
                let text = damage.to_string();
                *self.damage.lock().expect("no panic while held") = Some(damage);
                Err(ParquetError::External(Box::new(io::Error::other(text))))
            }
        }
    }
}

impl Length for VerifiedShard {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for VerifiedShard {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let index = self.ranges.partition_point(|range| range.start <= start).wrapping_sub(1);
        let end = self.ranges.get(index).map_or(start, |range| range.start + range.length);
        Ok(Cursor::new(self.checked(start, end.saturating_sub(start))?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.checked(start, length as u64)
    }
}

/// Metadata and page locations from the bytes at the end of a file, which begin at `offset`.
fn read_metadata(tail: &Bytes, offset: u64) -> ParquetResult<ParquetMetaData> {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.try_parse_sized(tail, offset + tail.len() as u64)?;
    reader.finish()
}

/// Reads a small file whole and compares it with its entry in the manifest.
pub(super) fn read_whole(
    dir: &Path,
    name: &str,
    bytes: u64,
    expected: Checksum,
) -> Result<Vec<u8>, BankError> {
    let path: PathBuf = dir.join(name);
    let content =
        std::fs::read(&path).map_err(|source| BankError::Read { path: path.clone(), source })?;
    if content.len() as u64 != bytes {
        return Err(BankError::Length { path, found: content.len() as u64, expected: bytes });
    }
    let found = Checksum::of(&content);
    if found != expected {
        return Err(BankError::Damaged { path, place: "the file".into(), found, expected });
    }
    Ok(content)
}
