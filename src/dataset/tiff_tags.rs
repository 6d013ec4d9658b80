//! Tags of the first directory of a TIFF, which is also what Exif data are: found as PIL finds them.

/// The value of a tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value<'a> {
    kind: u16,
    data: &'a [u8],
    /// Where `data` begins in the file.
    place: usize,
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Little,
    Big,
}

const BYTE: u16 = 1;
const SHORT: u16 = 3;
const UNDEFINED: u16 = 7;

/// Whether this begins as a TIFF does.
pub(super) fn has_header(tiff: &[u8]) -> bool {
    order(tiff).is_some() && tiff.len() >= 8
}

/// The order of bytes, and whether it is a BigTIFF.
fn order(tiff: &[u8]) -> Option<(Order, bool)> {
    match tiff.first_chunk::<4>()? {
        b"II\x2a\0" | b"II\0\x2a" => Some((Order::Little, false)),
        b"MM\0\x2a" | b"MM\x2a\0" => Some((Order::Big, false)),
        b"II\x2b\0" => Some((Order::Little, true)),
        b"MM\0\x2b" => Some((Order::Big, true)),
        _ => None,
    }
}

/// The value of the first entry of `tag`. As in PIL, a directory ends before an entry whose value lies
/// beyond the file, and one that is longer than the file is passed over.
pub(super) fn find(tiff: &[u8], tag: u16) -> Option<Value<'_>> {
    let (order, wide) = order(tiff)?;
    // Sizes in bytes of offsets, of the count of entries, and of an entry.
    let (word, count, entry) = if wide { (8, 8, 20) } else { (4, 2, 12) };
    let start = order.at(tiff, word, word)?;
    let entries = order.at(tiff, start, count)?;
    let mut outside = 0_usize;
    for i in 0..entries {
        let at = start.checked_add(count)?.checked_add(i.checked_mul(entry)?)?;
        let kind = order.at(tiff, at.checked_add(2)?, 2)? as u16;
        let values = order.at(tiff, at + 4, word)?;
        tiff.get(at..at.checked_add(entry)?)?;
        let Some(bytes) = bytes_of(kind).map(|bytes| values.saturating_mul(bytes)) else {
            continue;
        };
        let mut place = at + 4 + word;
        if bytes > word {
            outside = outside.saturating_add(bytes);
            if outside > tiff.len() {
                continue;
            }
            place = order.at(tiff, place, word)?;
        }
        let data = tiff.get(place..place.checked_add(bytes)?)?;
        if order.at(tiff, at, 2)? == usize::from(tag) && !data.is_empty() {
            return Some(Value { kind, data, place, order });
        }
    }
    None
}

/// The size of one value of a type.
fn bytes_of(kind: u16) -> Option<usize> {
    Some(match kind {
        BYTE | 2 | 6 | UNDEFINED => 1,
        SHORT | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 => 8,
        _ => return None,
    })
}

impl Order {
    /// The unsigned number of `bytes` bytes at `at`.
    fn at(self, tiff: &[u8], at: usize, bytes: usize) -> Option<usize> {
        let digits = tiff.get(at..at.checked_add(bytes)?)?;
        let number = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        let number = match self {
            Self::Big => digits.iter().fold(0, number),
            Self::Little => digits.iter().rev().fold(0, number),
        };
        usize::try_from(number).ok()
    }
}

impl<'a> Value<'a> {
    /// The first of its numbers; `None` of text and bytes.
    pub(super) fn number(&self) -> Option<f64> {
        let bits = |at, bytes| self.order.at(self.data, at, bytes);
        Some(match self.kind {
            SHORT => bits(0, 2)? as f64,
            4 | 13 => bits(0, 4)? as f64,
            5 => bits(0, 4)? as f64 / bits(4, 4)? as f64,
            6 => f64::from(self.data[0] as i8),
            8 => f64::from(bits(0, 2)? as i16),
            9 => f64::from(bits(0, 4)? as i32),
            10 => f64::from(bits(0, 4)? as i32) / f64::from(bits(4, 4)? as i32),
            11 => f64::from(f32::from_bits(bits(0, 4)? as u32)),
            12 => f64::from_bits(bits(0, 8)? as u64),
            16 => bits(0, 8)? as f64,
            _ => return None,
        })
    }

    /// Its bytes, if it is bytes.
    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        matches!(self.kind, BYTE | UNDEFINED).then_some(self.data)
    }

    /// Its numbers, if they are of 16 bits.
    pub(super) fn shorts(&self) -> Option<Vec<u16>> {
        let short = match self.order {
            Order::Little => u16::from_le_bytes,
            Order::Big => u16::from_be_bytes,
        };
        let pairs = self.data.as_chunks::<2>().0;
        (self.kind == SHORT).then(|| pairs.iter().map(|pair| short(*pair)).collect())
    }

    /// Writes another number of 16 bits in its place into a copy of the file.
    pub(super) fn replace_short(&self, tiff: &mut [u8], number: u16) -> Option<()> {
        let bytes = match self.order {
            Order::Little => number.to_le_bytes(),
            Order::Big => number.to_be_bytes(),
        };
        let place = tiff.get_mut(self.place..self.place + 2).filter(|_| self.kind == SHORT)?;
        place.copy_from_slice(&bytes);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of tag, type, count and four bytes of value.
    fn little(entries: &[(u16, u16, u32, [u8; 4])]) -> Vec<u8> {
        let mut tiff = b"II\x2a\0\x08\0\0\0".to_vec();
        tiff.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            tiff.extend(tag.to_le_bytes());
            tiff.extend(kind.to_le_bytes());
            tiff.extend(count.to_le_bytes());
            tiff.extend(value);
        }
        tiff
    }

    #[test]
    fn numbers_of_every_type_are_read() {
        let half = 0.5_f32.to_le_bytes();
        for (kind, count, value, number) in [
            (3, 1, [6, 1, 9, 9], Some(262.0)),
            (3, 2, [6, 0, 3, 0], Some(6.0)),
            (4, 1, [6, 0, 1, 0], Some(65542.0)),
            (6, 1, [250, 0, 0, 0], Some(-6.0)),
            (8, 1, [250, 255, 0, 0], Some(-6.0)),
            (9, 1, [250, 255, 255, 255], Some(-6.0)),
            (11, 1, half, Some(0.5)),
            (13, 1, [6, 0, 0, 0], Some(6.0)),
            (1, 1, [6, 0, 0, 0], None),
            (2, 2, [b'6', 0, 0, 0], None),
            (7, 1, [6, 0, 0, 0], None),
        ] {
            let tiff = little(&[(9, 3, 1, [1; 4]), (274, kind, count, value)]);
            assert_eq!(find(&tiff, 274).unwrap().number(), number, "type {kind}");
        }
        // Twelve halves.
        let mut tiff = little(&[(274, 5, 1, [22, 0, 0, 0])]);
        tiff.extend([12, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(find(&tiff, 274).unwrap().number(), Some(6.0));
    }

    #[test]
    fn entries_without_a_value_are_passed_over() {
        let six = (274, 3, 1, [6, 0, 0, 0]);
        for (other, found) in [
            ((274, 99, 1, [3, 0, 0, 0]), Some(6.0)),
            ((274, 3, 0, [3, 0, 0, 0]), Some(6.0)),
            ((274, 3, 1, [3, 0, 0, 0]), Some(3.0)),
            // Longer than the file; and within its length, but beyond its end.
            ((271, 2, 9999, [30, 0, 0, 0]), Some(6.0)),
            ((271, 2, 12, [0, 99, 0, 0]), None),
        ] {
            let tiff = little(&[other, six]);
            let number = find(&tiff, 274).and_then(|value| value.number());
            assert_eq!(number, found, "{other:?}");
        }
        let cut = little(&[six]);
        assert_eq!(find(&cut[..cut.len() - 1], 274), None);
        assert_eq!(find(b"II\x2b\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 274), None);
    }
}
