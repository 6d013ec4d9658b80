//! Pages of `feature_map`, encoded directly and side by side.
//!
//! Every list of the column has the same length, or is empty, and none is null, so what the Parquet
//! library works out value by value is known beforehand: the levels of a page follow from which of its
//! lists are empty. Before compression a page is what the library's own writer makes of its rows,
//! whatever the number of threads and however the rows come.
//!
//! Values of a map have no repeats that zstd could find, but in each of their four streams of bytes some
//! occur far more often than others. So the blocks of its frame end where the streams do, each with
//! frequencies of its own, and its search for repeats, most of its time, is left out. Any zstd decoder
//! reads such a frame.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageReader, PageWriter};
use parquet::column::writer::{ColumnCloseResult, get_column_writer, get_typed_column_writer};
use parquet::data_type::FloatType;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use rayon::prelude::*;
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{
    CCtx, CParameter, InBuffer, OutBuffer, ParamSwitch, SafeResult, Strategy, compress_bound,
    get_error_name,
};

/// Share of zeros, in eighths, from which on the search for repeats makes a page smaller: runs of zeros
/// are long enough then. Measured on synthetic maps, where the sizes meet at 90 %.
const SPARSE_EIGHTHS: usize = 7;
/// Bytes from one place where zstd looks for a repeat to the next, in all other pages: it finds a stream
/// that is all zeros, and little else. Steps of 256 and more give the same size to a hundredth.
const SEARCH_STEP: u32 = 1024;
const VALUE_BYTES: usize = size_of::<f32>();

/// What stands before the values in a page of lists that are `full`, `length` values each, or empty:
/// repetition and definition levels, as the Parquet library writes them.
pub(super) fn levels(column: &ColumnDescPtr, full: &[bool], length: usize) -> ParquetResult<Bytes> {
    let (mut repetition, mut definition) = (vec![], vec![]);
    for &full in full {
        repetition.push(0);
        if full {
            repetition.resize(repetition.len() + length - 1, 1);
        }
        definition.resize(repetition.len(), i16::from(full));
    }
    let values = vec![0.0; length * full.iter().filter(|full| **full).count()];
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX)
        .set_write_batch_size(repetition.len())
        .build();
    let mut sink = TrackedWrite::new(vec![]);
    let page_writer = Box::new(SerializedPageWriter::new(&mut sink));
    let writer = get_column_writer(column.clone(), properties.into(), page_writer);
    let mut writer = get_typed_column_writer::<FloatType>(writer);
    writer.write_batch(&values, Some(&definition), Some(&repetition))?;
    let chunk = writer.close()?.metadata;
    let written = Arc::new(Bytes::from(sink.into_inner()?));
    let page = SerializedPageReader::new(written, &chunk, full.len(), None)?.get_next_page()?;
    let page = page.ok_or_else(|| ParquetError::General("no page was written".into()))?;
    Ok(page.buffer().slice(..page.buffer().len() - VALUE_BYTES * values.len()))
}

/// BYTE_STREAM_SPLIT: the first bytes of all values, then the second ones, and so on. `from` is the
/// place of the first value among the `n` of the page, 4 n bytes.
fn split(values: &[f32], from: usize, page: &mut [u8]) {
    let n = page.len() / VALUE_BYTES;
    let mut streams = page.chunks_exact_mut(n).map(|stream| &mut stream[from..]);
    let [Some(a), Some(b), Some(c), Some(d)] = std::array::from_fn(|_| streams.next()) else {
        return;
    };
    for ((((value, a), b), c), d) in values.iter().zip(a).zip(b).zip(c).zip(d) {
        [*a, *b, *c, *d] = value.to_le_bytes();
    }
}

/// How the content of a page is compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zstd {
    pub(super) level: ZstdLevel,
    /// Whether it looks for repeats in every page.
    pub(super) search: bool,
}

/// What zstd keeps from page to page: without and with its search for repeats.
type Contexts = [Option<CCtx<'static>>; 2];

impl Zstd {
    /// One frame, whose blocks end where the streams of bytes do: each stream has frequencies of its
    /// own. The first stream begins at `first`.
    fn compress(
        self,
        content: &[u8],
        first: usize,
        search: bool,
        contexts: &mut Contexts,
    ) -> ParquetResult<Vec<u8>> {
        const BLOCK_HEADERS: usize = 64;
        let context = match &mut contexts[usize::from(search)] {
            Some(context) => context,
            none => none.insert(self.context(search)?),
        };
        let known = |result: SafeResult| {
            result.map_err(|code| ParquetError::General(format!("zstd: {}", get_error_name(code))))
        };
        known(context.set_pledged_src_size(Some(content.len() as u64)))?;
        let mut compressed = Vec::with_capacity(compress_bound(content.len()) + BLOCK_HEADERS);
        let mut output = OutBuffer::around(&mut compressed);
        let stream = (content.len() - first) / VALUE_BYTES;
        let mut from = 0;
        for end in (1..=VALUE_BYTES).map(|i| first + i * stream) {
            let (mut input, last) = (InBuffer::around(&content[from..end]), end == content.len());
            let directive = match last {
                true => ZSTD_EndDirective::ZSTD_e_end,
                false => ZSTD_EndDirective::ZSTD_e_flush,
            };
            while known(context.compress_stream2(&mut output, &mut input, directive))? > 0 {
                if output.pos() == output.capacity() {
                    return Err(ParquetError::General("zstd: more than its bound".into()));
                }
            }
            if last {
                break;
            }
            from = end;
        }
        Ok(compressed)
    }

    fn context(self, search: bool) -> ParquetResult<CCtx<'static>> {
        let mut context = CCtx::create();
        let level = CParameter::CompressionLevel(self.level.compression_level());
        let parameters = [
            level,
            CParameter::Strategy(Strategy::ZSTD_fast),
            CParameter::TargetLength(SEARCH_STEP),
            CParameter::LiteralCompressionMode(ParamSwitch::Enable),
        ];
        for parameter in &parameters[..if search { 1 } else { parameters.len() }] {
            let set = context.set_parameter(*parameter);
            set.map_err(|code| ParquetError::General(format!("zstd: {}", get_error_name(code))))?;
        }
        Ok(context)
    }
}

/// A page as it lies in the file.
struct EncodedPage {
    /// Header and compressed content.
    bytes: Bytes,
    /// Of header and content before compression.
    uncompressed_bytes: usize,
    lists: usize,
    levels: usize,
}

/// The pages of one row group.
pub(super) struct MapPages {
    column: ColumnDescPtr,
    zstd: Zstd,
    /// Values of a map.
    length: usize,
    /// Maps of a page.
    page_lists: usize,
    /// Levels of a page of `page_lists` maps, none of them empty.
    levels: Bytes,
    pages: Vec<EncodedPage>,
    /// Maps that do not fill a page yet.
    pending: Vec<Vec<f32>>,
    /// Of threads that are not encoding.
    scratch: Mutex<Vec<Scratch>>,
}

/// What a thread needs while it encodes a page.
#[derive(Default)]
struct Scratch {
    content: Vec<u8>,
    contexts: Contexts,
}

impl MapPages {
    pub(super) fn new(
        column: ColumnDescPtr,
        zstd: Zstd,
        length: usize,
        page_lists: usize,
    ) -> ParquetResult<Self> {
        let levels = levels(&column, &vec![true; page_lists], length)?;
        let (pages, pending, scratch) = (vec![], vec![], Mutex::default());
        Ok(Self { column, zstd, length, page_lists, levels, pages, pending, scratch })
    }

    /// Encodes the pages that are full, side by side; with `last`, the maps that are left as well.
    ///
    /// # Errors
    /// A map is not empty and has another length, or the library refuses.
    pub(super) fn extend(&mut self, maps: &[&[f32]], last: bool) -> ParquetResult<()> {
        let is_wrong = |map: &&&[f32]| !map.is_empty() && map.len() != self.length;
        if let Some(wrong) = maps.iter().find(is_wrong) {
            let (found, expected) = (wrong.len(), self.length);
            let text = format!("a feature map of {found} values, expected {expected}");
            return Err(ParquetError::General(text));
        }
        let begun = std::mem::take(&mut self.pending);
        let maps: Vec<&[f32]> =
            begun.iter().map(Vec::as_slice).chain(maps.iter().copied()).collect();
        let full = if last { maps.len() } else { maps.len() / self.page_lists * self.page_lists };
        let encoded: Vec<EncodedPage> = maps[..full]
            .par_chunks(self.page_lists)
            .map(|maps| {
                let mut scratch = self.scratch().pop().unwrap_or_default();
                let page = self.encode(maps, &mut scratch);
                self.scratch().push(scratch);
                page
            })
            .collect::<ParquetResult<_>>()?;
        self.pages.extend(encoded);
        self.pending = maps[full..].iter().map(|map| map.to_vec()).collect();
        Ok(())
    }

    fn scratch(&self) -> MutexGuard<'_, Vec<Scratch>> {
        self.scratch.lock().expect("no panic while held")
    }

    fn encode(&self, maps: &[&[f32]], scratch: &mut Scratch) -> ParquetResult<EncodedPage> {
        let Scratch { content, contexts } = scratch;
        let levels = match maps.len() == self.page_lists && maps.iter().all(|map| !map.is_empty()) {
            true => self.levels.clone(),
            false => {
                let full: Vec<bool> = maps.iter().map(|map| !map.is_empty()).collect();
                levels(&self.column, &full, self.length)?
            }
        };
        let values = maps.iter().map(|map| map.len()).sum::<usize>();
        content.resize(levels.len() + VALUE_BYTES * values, 0);
        let (before, streams) = content.split_at_mut(levels.len());
        before.copy_from_slice(&levels);
        let mut from = 0;
        for map in maps.iter().filter(|map| !map.is_empty()) {
            split(map, from, streams);
            from += map.len();
        }
        let zeros = maps.iter().flat_map(|map| map.iter()).filter(|value| **value == 0.0).count();
        let search = self.zstd.search || zeros * 8 >= values * SPARSE_EIGHTHS;
        let compressed = self.zstd.compress(content, levels.len(), search, contexts)?;
        // An empty list counts as a value.
        let levels: usize = maps.iter().map(|map| map.len().max(1)).sum();
        let page = Page::DataPage {
            buf: compressed.into(),
            num_values: u32::try_from(levels)?,
            encoding: Encoding::BYTE_STREAM_SPLIT,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let mut sink = TrackedWrite::new(vec![]);
        let spec = SerializedPageWriter::new(&mut sink)
            .write_page(CompressedPage::new(page, content.len()))?;
        Ok(EncodedPage {
            bytes: sink.into_inner()?.into(),
            uncompressed_bytes: spec.uncompressed_size,
            lists: maps.len(),
            levels,
        })
    }

    /// The column chunk of the maps so far, for `SerializedRowGroupWriter::append_column`; the next
    /// row group begins.
    pub(super) fn close(&mut self) -> ParquetResult<(MapChunk, ColumnCloseResult)> {
        let pages = std::mem::take(&mut self.pages);
        let rows: usize = pages.iter().map(|page| page.lists).sum();
        let bytes: usize = pages.iter().map(|page| page.bytes.len()).sum();
        let levels: usize = pages.iter().map(|page| page.levels).sum();
        let uncompressed: usize = pages.iter().map(|page| page.uncompressed_bytes).sum();
        let mut offsets = OffsetIndexBuilder::new();
        let mut offset = 0;
        for page in &pages {
            offsets.append_row_count(page.lists as i64);
            offsets.append_offset_and_size(offset, page.bytes.len() as i32);
            offset += page.bytes.len() as i64;
        }
        let encodings = [Encoding::RLE, Encoding::BYTE_STREAM_SPLIT];
        let metadata = ColumnChunkMetaData::builder(self.column.clone())
            .set_compression(Compression::ZSTD(self.zstd.level))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(vec![PageEncodingStats {
                page_type: PageType::DATA_PAGE,
                encoding: Encoding::BYTE_STREAM_SPLIT,
                count: pages.len() as i32,
            }])
            .set_total_compressed_size(bytes as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_num_values(levels as i64)
            .set_data_page_offset(0)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok((MapChunk(pages.into_iter().map(|page| page.bytes).collect()), closed))
    }
}

/// An encoded column chunk, page by page.
pub(super) struct MapChunk(Arc<[Bytes]>);

/// Reads the pages of a [`MapChunk`] one after another.
pub(super) struct MapChunkReader {
    pages: Arc<[Bytes]>,
    page: usize,
    at: usize,
}

impl Length for MapChunk {
    fn len(&self) -> u64 {
        self.0.iter().map(|page| page.len() as u64).sum()
    }
}

impl ChunkReader for MapChunk {
    type T = MapChunkReader;

    fn get_read(&self, start: u64) -> ParquetResult<MapChunkReader> {
        let mut reader = MapChunkReader { pages: self.0.clone(), page: 0, at: 0 };
        io::copy(&mut reader.by_ref().take(start), &mut io::sink())?;
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Read for MapChunkReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(page) = self.pages.get(self.page) {
            let count = (page.len() - self.at).min(into.len());
            if count > 0 || into.is_empty() {
                into[..count].copy_from_slice(&page[self.at..][..count]);
                self.at += count;
                return Ok(count);
            }
            (self.page, self.at) = (self.page + 1, 0);
        }
        Ok(0)
    }
}
