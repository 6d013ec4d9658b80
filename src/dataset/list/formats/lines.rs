//! The lines of a list that is text, whatever system wrote it.

use std::borrow::Cow;
use std::path::Path;

use crate::dataset::error::DatasetError;
use crate::dataset::labelled::{ListError, Place, in_list};

/// What a comment begins with.
pub(super) const COMMENT: char = '#';

/// That lines are not used.
pub(super) fn comment_note(lines: u64) -> Option<String> {
    (lines > 0).then(|| format!("{lines} lines that begin with {COMMENT} are taken for comments"))
}

/// A list's text, its lines ended by `\n` whatever system wrote them.
pub(super) fn text_of<'a>(file: &Path, bytes: &'a [u8]) -> Result<Cow<'a, str>, DatasetError> {
    let not_text = |before: &[u8]| {
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        in_list(file, Place::Line(line), ListError::NotUtf8)
    };
    let text: Cow<str> = match bytes {
        // Spreadsheets put a byte order mark before the first line.
        [0xff, 0xfe, units @ ..] => {
            utf16(units, u16::from_le_bytes).ok_or_else(|| not_text(&[]))?
        }
        [0xfe, 0xff, units @ ..] => {
            utf16(units, u16::from_be_bytes).ok_or_else(|| not_text(&[]))?
        }
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes);
            text.map_err(|e| not_text(&bytes[..e.valid_up_to()]))?.into()
        }
    };
    // UTF-16 without its mark.
    if let Some(at) = text.find('\0') {
        return Err(not_text(&text.as_bytes()[..at]));
    }
    match text.contains('\r') {
        true => Ok(text.replace("\r\n", "\n").replace('\r', "\n").into()),
        false => Ok(text),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Cow<'static, str>> {
    let units: Vec<u16> =
        bytes.chunks(2).map(|pair| Some(unit(pair.try_into().ok()?))).collect::<Option<_>>()?;
    String::from_utf16(&units).ok().map(Cow::Owned)
}
