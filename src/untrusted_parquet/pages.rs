//! The pages of a column chunk, before they are decoded: what each header promises is at most the
//! rows of its page can have.

use parquet::basic::Type as PhysicalType;

use super::footer::{Chunk, Column, Page};
use super::format::MOST_EXPANSION;
use super::thrift::Fields;

const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
const PLAIN: i64 = 0;
const RLE: i64 = 3;
const DELTA_BINARY_PACKED: i64 = 5;
const RLE_DICTIONARY: i64 = 8;
const BYTE_STREAM_SPLIT: i64 = 9;

/// Bytes that a page may take in addition to its values and their levels.
const SLACK_BYTES: u64 = 1 << 10;
/// Bytes of a value that is one of a dictionary.
const DICTIONARY_KEY_BYTES: u64 = 4;

/// Checks the pages of `chunk` that `bytes` hold, which begin at byte `start` of the file: all of them, or
/// one. The bytes of the largest of them, decompressed.
pub(crate) fn check(
    column: &Column,
    chunk: &Chunk,
    start: u64,
    bytes: &[u8],
) -> Result<u64, String> {
    let (mut rest, mut largest) = (bytes, 0);
    let mut with_dictionary = false;
    if start == chunk.start && chunk.dictionary_bytes > 0 {
        let (page, behind) = cut(rest, chunk.dictionary_bytes)?;
        let rows = chunk.pages.iter().map(|page| page.rows).sum();
        largest =
            dictionary_page(column, rows, page).map_err(|e| format!("its dictionary: {e}"))?;
        (with_dictionary, rest) = (true, behind);
    }
    let first = start + (bytes.len() - rest.len()) as u64;
    let at = chunk.pages.partition_point(|page| page.start < first);
    for (number, page) in chunk.pages.iter().enumerate().skip(at) {
        if rest.is_empty() {
            break;
        }
        let (content, behind) = cut(rest, page.length)?;
        let bytes = data_page(column, page, content, with_dictionary)
            .map_err(|e| format!("its page {number}: {e}"))?;
        (rest, largest) = (behind, largest.max(bytes));
    }
    Ok(largest)
}

/// A data page of floats in BYTE_STREAM_SPLIT.
pub(crate) struct SplitPage<'a> {
    /// Levels and values, compressed.
    pub(crate) compressed: &'a [u8],
    /// Bytes of them, decompressed.
    pub(crate) content_bytes: usize,
    /// Levels of either kind; there are as many.
    pub(crate) levels: usize,
}

impl<'a> SplitPage<'a> {
    /// The page that `bytes`, which were checked, hold and nothing else, where it is one.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (header, length) = Fields::of(bytes).ok()?;
        let about = header.fields(5).ok()?;
        let encodings = [about.number(2).ok()?, about.number(3).ok()?, about.number(4).ok()?];
        (encodings == [BYTE_STREAM_SPLIT, RLE, RLE]).then_some(())?;
        Some(Self {
            compressed: &bytes[length..],
            content_bytes: header.size(2).ok()?.try_into().ok()?,
            levels: about.size(1).ok()?.try_into().ok()?,
        })
    }
}

fn cut(bytes: &[u8], length: u64) -> Result<(&[u8], &[u8]), String> {
    let at = usize::try_from(length).unwrap_or(usize::MAX);
    bytes.split_at_checked(at).ok_or_else(|| "a page beyond its range".into())
}

/// The header of a page that `bytes` hold and nothing else, and the bytes of its content, at most `most`.
fn header(bytes: &[u8], kind: i64, most: u64) -> Result<(Fields<'_>, u64), String> {
    let (header, length) = Fields::of(bytes)?;
    if header.number(1)? != kind {
        return Err(format!("kind {}; expected {kind}", header.number(1)?));
    }
    let (content, compressed) = (header.size(2)?, header.size(3)?);
    if compressed != (bytes.len() - length) as u64 {
        let there = bytes.len() - length;
        return Err(format!("{compressed} bytes in its header, {there} in the file"));
    }
    let most = most.min(compressed.saturating_mul(MOST_EXPANSION));
    if content > most {
        return Err(format!(
            "{content} bytes when it is decompressed; at most {most} are possible"
        ));
    }
    Ok((header, content))
}

fn data_page(
    column: &Column,
    page: &Page,
    bytes: &[u8],
    with_dictionary: bool,
) -> Result<u64, String> {
    let most_values = page.rows.saturating_mul(column.row_values());
    // Two levels a value, of a bit each and packed at worst one by one, in lists.
    let level_bytes = u64::from(column.list.is_some());
    let value_bytes = column.value_bytes().max(DICTIONARY_KEY_BYTES) + level_bytes;
    let most = most_values.saturating_mul(value_bytes).saturating_add(SLACK_BYTES);
    let (header, content) = header(bytes, DATA_PAGE, most)?;
    known(&header, &[1, 2, 3, 4, 5])?;
    let about = header.fields(5)?;
    known(about, &[1, 2, 3, 4])?;
    let (values, encoding) = (about.size(1)?, about.number(2)?);
    if values < page.rows || values > most_values {
        let expected = column.row_values();
        return Err(format!("{values} values of {} rows; expected {expected} each", page.rows));
    }
    let fits = match column.kind {
        PhysicalType::INT32 | PhysicalType::INT64 => {
            [PLAIN, DELTA_BINARY_PACKED].contains(&encoding)
        }
        PhysicalType::FLOAT => [PLAIN, BYTE_STREAM_SPLIT].contains(&encoding),
        PhysicalType::BYTE_ARRAY if with_dictionary => [PLAIN, RLE_DICTIONARY].contains(&encoding),
        _ => encoding == PLAIN,
    };
    if !fits || about.number(3)? != RLE || about.number(4)? != RLE {
        return Err(format!("encoding {encoding}, which such a column never has"));
    }
    Ok(content)
}

fn dictionary_page(column: &Column, rows: u64, bytes: &[u8]) -> Result<u64, String> {
    let most = rows.saturating_mul(column.value_bytes()).saturating_add(SLACK_BYTES);
    let (header, content) = header(bytes, DICTIONARY_PAGE, most)?;
    known(&header, &[1, 2, 3, 4, 7])?;
    let about = header.fields(7)?;
    known(about, &[1, 2, 3])?;
    let (values, encoding) = (about.size(1)?, about.number(2)?);
    if values > rows || encoding != PLAIN {
        return Err(format!("{values} values in encoding {encoding}; expected {rows} at most"));
    }
    Ok(content)
}

/// A field that is not known could be one that the decoder knows.
fn known(fields: &Fields, known: &[i16]) -> Result<(), String> {
    match fields.ids().find(|id| !known.contains(id)) {
        None => Ok(()),
        Some(id) => Err(format!("a field {id} in its header")),
    }
}
