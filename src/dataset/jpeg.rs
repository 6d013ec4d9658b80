//! The marker segments of a JPEG before its first scan, and what decoders ask of them.

use std::borrow::Cow;

const START_OF_SCAN: u8 = 0xda;
const HUFFMAN_TABLES: u8 = 0xc4;
/// Frames that are coded with Huffman tables in one pass: baseline and extended.
const SEQUENTIAL: [u8; 2] = [0xc0, 0xc1];

/// A segment with a length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) marker: u8,
    pub(super) content: &'a [u8],
    /// Where the next one begins.
    end: usize,
}

/// Segments up to the first scan's header, that one included. What stands between them is passed over,
/// as PIL does.
pub(super) fn segments(jpeg: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut at = 2_usize;
    let mut ended = !jpeg.starts_with(&[0xff, 0xd8]);
    std::iter::from_fn(move || {
        while !ended {
            let marker = *jpeg.get(at..)?.first_chunk::<2>()?;
            match marker {
                [0xff, 0xff] => at += 1,
                [0xff, 0 | 0xc8 | 0xd0..=0xd9 | 0xf0..=0xfd] => at += 2,
                [0xff, marker @ 0xc0..=0xfe] => {
                    let high_low = jpeg.get(at + 2..)?.first_chunk::<2>()?;
                    let end = at + 2 + usize::from(u16::from_be_bytes(*high_low));
                    let content = jpeg.get(at + 4..end)?;
                    (at, ended) = (end, marker == START_OF_SCAN);
                    return Some(Segment { marker, content, end });
                }
                [0xff, _] => return None,
                _ => at += 1,
            }
        }
        None
    })
}

/// Whether a JPEG has its last marker. The decoder would fill what is missing with grey and say nothing.
pub(super) fn has_end_of_image(jpeg: &[u8]) -> bool {
    // Thumbnails in the segments before the scan have markers of their own.
    let Some(scan) = segments(jpeg).find(|segment| segment.marker == START_OF_SCAN) else {
        return false;
    };
    jpeg[scan.end..].windows(2).rev().any(|marker| marker == [0xff, 0xd9])
}

/// The image with the standard's Huffman tables, where it names some that it does not have: frames of
/// Motion JPEG, as webcams send them and AVI files hold them, leave these out.
pub(super) fn with_tables(jpeg: &[u8]) -> Cow<'_, [u8]> {
    if !lacks_tables(jpeg) {
        return Cow::Borrowed(jpeg);
    }
    // Tables of the image's own come after these and take their place.
    let (start, rest) = jpeg.split_at(2);
    let mut whole = [start, &[0xff, HUFFMAN_TABLES]].concat();
    let bytes = 2 + STANDARD_TABLES.iter().map(|table| 1 + 16 + table.values.len()).sum::<usize>();
    whole.extend((bytes as u16).to_be_bytes());
    for Table { place, codes_of_length, values } in STANDARD_TABLES {
        whole.push(place);
        whole.extend(codes_of_length);
        whole.extend(values);
    }
    whole.extend(rest);
    Cow::Owned(whole)
}

/// Whether the first scan names a Huffman table that the file does not have.
fn lacks_tables(jpeg: &[u8]) -> bool {
    // By kind (0 of DC, 1 of AC coefficients) and number, half a byte each.
    let mut there = [[false; 16]; 16];
    let mut is_sequential = false;
    for Segment { marker, content, .. } in segments(jpeg) {
        match (marker, content) {
            (HUFFMAN_TABLES, tables) => mark(tables, &mut there),
            (START_OF_SCAN, [components, rest @ ..]) => {
                let mut names = rest.chunks_exact(2).take(usize::from(*components));
                let [dc, ac, ..] = there;
                return is_sequential
                    && names.any(|name| {
                        !dc[usize::from(name[1] >> 4)] || !ac[usize::from(name[1] & 15)]
                    });
            }
            _ => is_sequential |= SEQUENTIAL.contains(&marker),
        }
    }
    false
}

/// Marks the tables that a segment defines.
fn mark(mut tables: &[u8], there: &mut [[bool; 16]; 16]) {
    while let Some(([place, codes_of_length @ ..], rest)) = tables.split_first_chunk::<17>() {
        there[usize::from(place >> 4)][usize::from(place & 15)] = true;
        let values: usize = codes_of_length.iter().map(|n| usize::from(*n)).sum();
        tables = rest.get(values..).unwrap_or_default();
    }
}

/// A Huffman table as its segment has it.
struct Table {
    /// Kind and number.
    place: u8,
    codes_of_length: [u8; 16],
    values: &'static [u8],
}

/// Tables K.3 to K.6 of ITU-T T.81, for luminance (0) and chrominance (1).
const STANDARD_TABLES: [Table; 4] = [
    Table {
        place: 0x00,
        codes_of_length: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        values: &DC_VALUES,
    },
    Table {
        place: 0x01,
        codes_of_length: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        values: &DC_VALUES,
    },
    Table {
        place: 0x10,
        codes_of_length: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
        values: &LUMINANCE_AC_VALUES,
    },
    Table {
        place: 0x11,
        codes_of_length: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
        values: &CHROMINANCE_AC_VALUES,
    },
];

const DC_VALUES: [u8; 12] =
    [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b];

const LUMINANCE_AC_VALUES: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

const CHROMINANCE_AC_VALUES: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_jpeg_is_that_of_its_scan() {
        let thumbnail = [0xff, 0xe1, 0, 6, 0xff, 0xd9, 0, 0];
        let scan = [0xff, 0xda, 0, 3, 1, 7, 7, 0xff, 0, 7];
        let cut = [&[0xff, 0xd8][..], &thumbnail, &scan].concat();
        assert!(!has_end_of_image(&cut));
        assert!(has_end_of_image(&[&cut[..], &[0xff, 0xd9]].concat()));
        assert!(has_end_of_image(&[&cut[..], &[0xff, 0xd9, 0, 0, 0]].concat()));
        assert!(!has_end_of_image(&[0xff, 0xd8]) && !has_end_of_image(&[]));
        // A segment that says it is longer than the file.
        assert!(!has_end_of_image(&[0xff, 0xd8, 0xff, 0xe0, 0xff, 0xff, 0xff, 0xd9]));
    }

    #[test]
    fn what_stands_between_segments_is_passed_over() {
        let jpeg =
            [0xff, 0xd8, 7, 0xff, 0xff, 0xe1, 0, 4, 8, 9, 0xff, 0xd0, 0xff, 0, 0xff, 0xfe, 0, 2];
        let found: Vec<(u8, &[u8])> = segments(&jpeg).map(|s| (s.marker, s.content)).collect();
        assert_eq!(found, [(0xe1, &[8, 9][..]), (0xfe, &[])]);
    }

    #[test]
    fn tables_are_given_to_frames_that_name_missing_ones() {
        let frame = [0xff, 0xd8, 0xff, 0xc0, 0, 2];
        let scan = [0xff, 0xda, 0, 10, 2, 1, 0x00, 2, 0x11, 0, 63, 0];
        let bare = [&frame[..], &scan].concat();
        let whole = with_tables(&bare);
        assert_eq!(whole.len(), bare.len() + 4 + 4 * 17 + 2 * 12 + 2 * 162);
        assert!(matches!(with_tables(&whole), Cow::Borrowed(_)), "they are there now");
        // The tables of chrominance alone are missing.
        let one = [&[0x00][..], &[0; 16], &[0x10], &[0; 16]].concat();
        let tables = [&[0xff, 0xc4, 0, 36][..], &one].concat();
        let half = [&frame[..], &tables, &scan].concat();
        assert!(matches!(with_tables(&half), Cow::Owned(_)));
        let grey = [&frame[..], &tables, &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]].concat();
        assert!(matches!(with_tables(&grey), Cow::Borrowed(_)));
        // Scans of a progressive frame bring theirs one by one.
        let progressive = [&[0xff, 0xd8, 0xff, 0xc2, 0, 2][..], &scan].concat();
        assert!(matches!(with_tables(&progressive), Cow::Borrowed(_)));
    }
}
