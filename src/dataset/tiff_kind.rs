//! Kinds of TIFF that are not decoded, named by what their pixels are.

use super::tiff_tags::{self, Value};

/// What a TIFF has that its decoder refuses in the words `refused`, and a command that makes an image of it;
/// `None` of another file.
pub(super) fn unsupported(tiff: &[u8], refused: &str) -> Option<String> {
    const BITS_PER_SAMPLE: u16 = 258;
    const PHOTOMETRIC: u16 = 262;
    const SAMPLE_FORMAT: u16 = 339;
    if !tiff_tags::has_header(tiff) {
        return None;
    }
    let number = |tag| {
        let number = tiff_tags::find(tiff, tag).as_ref().and_then(Value::number)?;
        Some(number as u32)
    };
    let bits = number(BITS_PER_SAMPLE).unwrap_or(1);
    // Values that may be anything are stretched to what the image has of them.
    let (kind, stretched) = match (number(SAMPLE_FORMAT), number(PHOTOMETRIC)) {
        (Some(2), _) => (format!(" of signed {bits}-bit values"), true),
        (Some(3), _) => (format!(" of {bits}-bit floats"), true),
        (Some(5 | 6), _) => (format!(" of complex {bits}-bit values"), true),
        (_, Some(3)) => (format!(" of a {bits}-bit palette"), false),
        (_, Some(6)) => (" of YCbCr".into(), false),
        (_, Some(8..=10)) => (" of Lab".into(), false),
        _ if ![1, 8, 16].contains(&bits) => (format!(" of {bits}-bit values"), false),
        _ => (" of this kind".into(), false),
    };
    let stretch = if stretched { "-auto-level " } else { "" };
    Some(format!(
        "TIFF{kind} is not decoded here ({refused}); convert it, for example with `magick IN {stretch}-depth 16 OUT.png`"
    ))
}
