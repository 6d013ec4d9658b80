//! TIFF with a palette, which the decoder refuses: decoded as grey, and its values then looked up.

use super::tiff_tags::{self, Value};

/// A TIFF of indices.
pub(super) struct Indices {
    /// The file, changed to be one of grey values.
    pub(super) grey: Vec<u8>,
    /// 256 values each of red, green and blue.
    colours: Vec<u16>,
}

const BITS_PER_SAMPLE: u16 = 258;
const PHOTOMETRIC: u16 = 262;
const SAMPLES_PER_PIXEL: u16 = 277;
const COLOUR_MAP: u16 = 320;

impl Indices {
    /// Of a TIFF whose pixels are one byte that is an index of its palette.
    pub(super) fn of(tiff: &[u8]) -> Option<Self> {
        const PALETTE: f64 = 3.0;
        const BLACK_IS_ZERO: u16 = 1;
        if !tiff_tags::has_header(tiff) {
            return None;
        }
        let kind = tiff_tags::find(tiff, PHOTOMETRIC)?;
        let number = |tag| tiff_tags::find(tiff, tag).as_ref().and_then(Value::number);
        let is_palette = kind.number() == Some(PALETTE)
            && number(BITS_PER_SAMPLE) == Some(8.0)
            && number(SAMPLES_PER_PIXEL).unwrap_or(1.0) == 1.0;
        if !is_palette {
            return None;
        }
        let colours = tiff_tags::find(tiff, COLOUR_MAP)?.shorts()?;
        let mut grey = tiff.to_vec();
        kind.replace_short(&mut grey, BLACK_IS_ZERO)?;
        (colours.len() == 3 * 256).then_some(Self { grey, colours })
    }

    /// The colour of an index, of 16 bits the higher 8.
    pub(super) fn colour(&self, index: u8) -> [u8; 3] {
        [0, 1, 2].map(|channel| (self.colours[256 * channel + usize::from(index)] >> 8) as u8)
    }
}
