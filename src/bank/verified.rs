//! A file whose bytes are checked before anyone sees them.

use std::io::{self, Cursor};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::BankError;
use super::files::{BankFile, BankFiles, read_at_most};
use super::manifest::{Checksum, ShardEntry};
use crate::untrusted_parquet::{Column, Contract, Group, Page, check_pages};

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
/// ranges that cover it are read, compared with the manifest and looked through for pages that promise
/// more than they may ([`check_pages`]) first.
#[derive(Clone)]
pub(super) struct VerifiedShard {
    file: Arc<dyn BankFile>,
    path: Arc<Path>,
    length: u64,
    ranges: Arc<[Range]>,
    columns: Arc<[Column]>,
    groups: Arc<[Group]>,
    /// The ranges read last, by index.
    recent: Arc<Mutex<Vec<(usize, Bytes)>>>,
    /// Bytes read so far.
    bytes_read: Arc<AtomicU64>,
    /// Damage found while the decoder was reading: its own errors carry text only.
    damage: Arc<Mutex<Option<BankError>>>,
}

/// Ranges kept for the decoder, which alternates between the columns of a row group.
const RECENT_RANGES: usize = 12;

/// Bytes of a footer that say nothing of a chunk, and those for each checksum of the manifest: more than
/// any writer needs.
const FOOTER_BYTES: u64 = 1 << 16;
const FOOTER_BYTES_A_CHECKSUM: u64 = 1 << 10;

impl VerifiedShard {
    /// Opens a shard and reads its checked metadata.
    pub(super) fn open(
        files: &dyn BankFiles,
        entry: &ShardEntry,
        contract: &Contract,
    ) -> Result<(Self, Arc<ParquetMetaData>), BankError> {
        let path = files.location(&entry.file);
        let read = |source| BankError::Read { path: path.clone(), source };
        let file = files.open(&entry.file).map_err(read)?;
        let found = file.length();
        if found != entry.bytes {
            return Err(BankError::Length { path, found, expected: entry.bytes });
        }
        let checksums: usize =
            entry.row_groups.iter().flat_map(|group| &group.columns).map(Vec::len).sum();
        let most = FOOTER_BYTES + FOOTER_BYTES_A_CHECKSUM * checksums as u64;
        let footer_length = entry.bytes.checked_sub(entry.footer_offset);
        let footer_length =
            footer_length.filter(|&length| length <= most).ok_or_else(|| BankError::Content {
                path: path.clone(),
                found: format!("footer_offset {} in the manifest", entry.footer_offset),
                expected: format!("at most {}, and at least {most} less", entry.bytes),
            })?;
        let footer = Range {
            start: entry.footer_offset,
            length: footer_length,
            expected: entry.footer_xxh3,
            place: Place::Footer,
        };
        let mut shard = Self {
            file: file.into(),
            path: path.clone().into(),
            length: entry.bytes,
            ranges: vec![footer].into(),
            columns: contract.columns().clone(),
            groups: Arc::new([]),
            recent: Arc::default(),
            bytes_read: Arc::default(),
            damage: Arc::default(),
        };
        let bytes = shard.checked_range(0)?;
        let footer = contract
            .read(&bytes, entry.footer_offset, entry.footer_offset)
            .map_err(|found| shard.content(found, "a shard of this format".into()))?;
        shard.ranges = shard.column_ranges(entry, &footer.groups)?.into();
        shard.groups = footer.groups.into();
        shard.recent = Arc::default();
        Ok((shard, footer.metadata))
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

    /// The bytes of the largest page, decompressed, of a range whose `bytes` are those that were written.
    pub(super) fn check_pages(&self, range: &Range, bytes: &[u8]) -> Result<u64, String> {
        let Place::Column { group, column } = range.place else { return Ok(0) };
        let (group, column) = (&self.groups[group as usize], column as usize);
        check_pages(&self.columns[column], &group.chunks[column], range.start, bytes)
    }

    /// The data pages of a column in a row group.
    pub(super) fn pages(&self, group: usize, column: &str) -> Option<&[Page]> {
        let at = self.columns.iter().position(|of| of.name == column)?;
        Some(&self.groups.get(group)?.chunks.get(at)?.pages)
    }

    /// The bytes of a page that has a checksum of its own.
    pub(super) fn page(&self, page: &Page) -> Result<Bytes, BankError> {
        let found = self.ranges.binary_search_by_key(&page.start, |range| range.start);
        let own = found.ok().filter(|&at| self.ranges[at].length == page.length);
        self.checked_range(own.expect("asked for pages of the column that has checksums by page"))
    }

    /// Name of a column.
    pub(super) fn column_name(&self, column: usize) -> &str {
        &self.columns[column].name
    }

    /// Bytes of the file, checked by nobody.
    pub(super) fn unchecked(&self, start: u64, length: u64) -> Result<Vec<u8>, BankError> {
        let read = self.file.read(start, length);
        read.map_err(|source| BankError::Read { path: self.path.to_path_buf(), source })
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
            self.content(format!("it cannot be decoded: {error}"), "a shard of this format".into())
        })
    }

    /// Where the manifest's checksums lie, in order of their position.
    fn column_ranges(&self, entry: &ShardEntry, groups: &[Group]) -> Result<Vec<Range>, BankError> {
        let disagree = || {
            self.content(
                "a layout other than the manifest's".into(),
                "the row groups and pages that were written".into(),
            )
        };
        if groups.len() != entry.row_groups.len() {
            return Err(disagree());
        }
        let mut ranges = vec![];
        for (index, (group, expected)) in groups.iter().zip(&entry.row_groups).enumerate() {
            if group.chunks.len() != expected.columns.len() || group.rows != expected.rows {
                return Err(disagree());
            }
            for (at, (chunk, checksums)) in group.chunks.iter().zip(&expected.columns).enumerate() {
                let spans = chunk.checked_spans(&self.columns[at]);
                if spans.len() != checksums.len() {
                    return Err(disagree());
                }
                let place = Place::Column { group: index as u32, column: at as u32 };
                let range = |((start, length), &expected): ((u64, u64), &Checksum)| Range {
                    start,
                    length,
                    expected,
                    place,
                };
                ranges.extend(spans.into_iter().zip(checksums).map(range));
            }
        }
        // The footer says where chunks and pages lie, one after the other.
        ranges.push(self.ranges[0].clone());
        Ok(ranges)
    }

    fn describe(&self, range: &Range) -> String {
        match range.place {
            Place::Footer => "the footer".into(),
            Place::Column { group, column } => {
                let name = self.column_name(column as usize);
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
        self.check_pages(range, &bytes).map_err(|found| {
            let found = format!("{}: {found}", self.describe(range));
            self.content(found, "pages of this format".into())
        })?;
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

/// Reads a small file whole and compares it with its entry in the manifest.
pub(super) fn read_whole(
    files: &dyn BankFiles,
    name: &str,
    bytes: u64,
    expected: Checksum,
) -> Result<Vec<u8>, BankError> {
    let path = files.location(name);
    let read = |source| BankError::Read { path: path.clone(), source };
    let length = files.open(name).map_err(read)?.length();
    if length != bytes {
        return Err(BankError::Length { path, found: length, expected: bytes });
    }
    let content = read_at_most(files, name, bytes).map_err(read)?;
    let found = Checksum::of(&content);
    if found != expected {
        return Err(BankError::Damaged { path, place: "the file".into(), found, expected });
    }
    Ok(content)
}
