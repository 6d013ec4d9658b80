//! A Parquet file from anywhere, before the decoder sees it: its footer and the headers of its pages
//! promise no more than the file can hold.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::format::{BROTLI, LZO, MAGIC, MOST_EXPANSION, TAIL_BYTES};
use super::thrift::Fields;

/// Groups of columns within each other.
const DEEPEST: usize = 64;
/// Bytes that are read to find a page's header, which may hold the largest value of its page.
const WINDOWS: [u64; 3] = [1 << 12, 1 << 16, 1 << 24];

/// Checks a file of `length` bytes.
pub(crate) fn check(file: &File, length: u64) -> Result<(), String> {
    let cut = || "its footer is cut short".to_string();
    let behind = length.checked_sub(TAIL_BYTES).ok_or_else(cut)?;
    let tail = at(file, behind, TAIL_BYTES)?;
    let (metadata_length, magic) = tail.split_at(4);
    if magic != MAGIC {
        return Err("its footer does not end as a Parquet file does".into());
    }
    let metadata_length = metadata_length.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    let begin = behind.checked_sub(metadata_length).ok_or_else(cut)?;
    let metadata = at(file, begin, metadata_length)?;
    let (footer, _) = Fields::of(&metadata)?;
    check_schema(&footer.structs(2)?)?;
    let (mut rows, mut taken) = (0u64, vec![]);
    for group in footer.structs(4)? {
        rows = rows.saturating_add(group.size(3)?);
        for chunk in group.structs(1)? {
            let about = chunk.fields(3)?;
            let (start, end) = chunk_range(chunk, about, begin)?;
            let codec = about.number(4)?;
            if codec == LZO {
                let remedy = "write the table again with another codec, such as zstd";
                return Err(format!("its pages are in LZO, which is not read: {remedy}"));
            }
            taken.push((start, end, codec == BROTLI));
        }
    }
    // Whatever a row is, it takes a byte.
    if rows > length {
        return Err(format!("{rows} rows in {length} bytes"));
    }
    taken.sort_unstable();
    if taken.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("column chunks over each other".into());
    }
    taken.into_iter().try_for_each(|(start, end, brotli)| check_pages(file, start, end, brotli))
}

fn at(file: &File, start: u64, length: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; length as usize];
    let read = file.read_exact_at(&mut bytes, start);
    read.map_err(|e: io::Error| e.to_string())?;
    Ok(bytes)
}

/// The decoder takes space for the children that a column says to have, and follows them down.
fn check_schema(elements: &[&Fields]) -> Result<(), String> {
    let wrong = || Err("its columns have an invalid nesting".into());
    // Of each group that is not complete, the children that are missing.
    let mut open: Vec<u64> = vec![];
    for (number, element) in elements.iter().enumerate() {
        match open.last_mut() {
            Some(missing) => *missing -= 1,
            None if number > 0 => return wrong(),
            None => {}
        }
        let children = u64::try_from(element.optional_number(5)?.unwrap_or(0)).unwrap_or(u64::MAX);
        if children > (elements.len() - number - 1) as u64 || open.len() > DEEPEST {
            return wrong();
        }
        open.push(children);
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    if open.is_empty() { Ok(()) } else { wrong() }
}

/// Where a column chunk begins and ends, before byte `most`.
fn chunk_range(chunk: &Fields, about: &Fields, most: u64) -> Result<(u64, u64), String> {
    if chunk.ids().any(|id| id == 1) {
        return Err("a column in another file".into());
    }
    let first = about.size(9)?;
    let start =
        about.optional_number(11)?.map_or(first, |at| u64::try_from(at).unwrap_or(u64::MAX));
    let end = start.checked_add(about.size(7)?).filter(|&end| end <= most);
    Ok((start, end.ok_or("a column chunk outside the file")?))
}

fn check_pages(file: &File, mut start: u64, end: u64, brotli: bool) -> Result<(), String> {
    while start < end {
        let Page { content, header_length, levels, length } = page(file, start, end)?;
        let most = length.saturating_mul(MOST_EXPANSION);
        if content > most {
            return Err(format!("a page of {length} bytes that should decompress to {content}"));
        }
        let before = header_length.saturating_add(levels).min(length);
        if brotli && !brotli_fits(&at(file, start + before, length - before)?, content) {
            return Err(format!("a page of {length} bytes that decompress to more than {content}"));
        }
        start += length;
    }
    Ok(())
}

/// Whether this many bytes hold what the compressed ones become. The decoder goes on to their end, which
/// may be a million times as far; of the other codecs it stops, or they cannot.
fn brotli_fits(compressed: &[u8], content: u64) -> bool {
    const BUFFER_BYTES: usize = 1 << 12;
    let stream = brotli_decompressor::Decompressor::new(compressed, BUFFER_BYTES);
    // What is not a stream is left to the decoder.
    io::copy(&mut stream.take(content + 1), &mut io::sink()).map_or(true, |bytes| bytes <= content)
}

/// A page's sizes.
struct Page {
    /// Bytes of its content, decompressed.
    content: u64,
    header_length: u64,
    /// Bytes after the header that are not compressed.
    levels: u64,
    /// Bytes in the file, its header too.
    length: u64,
}

/// The page at byte `start`.
fn page(file: &File, start: u64, end: u64) -> Result<Page, String> {
    let mut wrong = String::new();
    for window in WINDOWS {
        let bytes = at(file, start, window.min(end - start))?;
        match Fields::of(&bytes) {
            Ok((header, header_length)) => {
                let header_length = header_length as u64;
                let length = header_length.saturating_add(header.size(3)?);
                if length > end - start {
                    return Err(format!("a page of {length} bytes beyond its chunk"));
                }
                // Of a page of the second version.
                let levels = match header.ids().any(|id| id == 8) {
                    true => header
                        .fields(8)
                        .and_then(|v2| Ok(v2.size(5)?.saturating_add(v2.size(6)?)))?,
                    false => 0,
                };
                return Ok(Page { content: header.size(2)?, header_length, levels, length });
            }
            Err(_) if window < end - start => {}
            Err(e) => return Err(e),
        }
        wrong = "a page's header of more than 16 MiB".into();
    }
    Err(wrong)
}
