//! How an image lies in its file, by its metadata: found where PIL's `ImageOps.exif_transpose` looks for it.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;

use super::{jpeg, tiff_tags};

/// The tag of Exif and TIFF.
const ORIENTATION: u16 = 274;
/// The tag of XMP in a TIFF.
const XMP: u16 = 700;

/// The orientation (2 to 8, as Exif counts) that an encoded JPEG, PNG, WebP or TIFF has; `None` where it
/// lies upright, or says nothing that is valid. Exif comes first, and XMP counts where Exif has no such tag.
pub(super) fn of(encoded: &[u8]) -> Option<u8> {
    let Metadata { exif, xmp } = if encoded.starts_with(&[0xff, 0xd8]) {
        of_jpeg(encoded)
    } else if let Some(chunks) = encoded.strip_prefix(b"\x89PNG\r\n\x1a\n") {
        of_png(chunks)
    } else if encoded.starts_with(b"RIFF") {
        of_webp(encoded)
    } else {
        of_tiff(encoded)
    };
    let said = exif.and_then(|exif| in_exif(&exif)).or_else(|| in_xmp(&xmp?));
    said.filter(|orientation| (2..=8).contains(orientation))
}

/// What gives the orientation in a file.
#[derive(Default)]
struct Metadata<'a> {
    exif: Option<Cow<'a, [u8]>>,
    xmp: Option<Cow<'a, [u8]>>,
}

/// What the tag says; 0 where it is not one of the eight numbers, or where this is not Exif.
fn in_exif(exif: &[u8]) -> Option<u8> {
    let mut tiff = exif;
    for _ in 0..2 {
        tiff = tiff.strip_prefix(b"Exif\0\0").unwrap_or(tiff);
    }
    if !tiff.is_empty() && !tiff_tags::has_header(tiff) {
        return Some(0);
    }
    let value = tiff_tags::find(tiff, ORIENTATION)?.number().unwrap_or(0.0);
    Some((1..=8).find(|orientation| f64::from(*orientation) == value).unwrap_or(0))
}

/// What the first `tiff:Orientation` says, as an attribute or as an element.
fn in_xmp(xmp: &[u8]) -> Option<u8> {
    (0..xmp.len()).find_map(|at| {
        let value = xmp[at..].strip_prefix(b"tiff:Orientation")?;
        let digit = value.strip_prefix(b"=\"").or_else(|| value.strip_prefix(b">"))?.first()?;
        digit.is_ascii_digit().then(|| digit - b'0')
    })
}

/// Exif in several segments is one after the other.
fn of_jpeg(jpeg: &[u8]) -> Metadata<'_> {
    const APP1: u8 = 0xe1;
    let mut found = Metadata::default();
    for segment in jpeg::segments(jpeg).filter(|segment| segment.marker == APP1) {
        if let Some(exif) = segment.content.strip_prefix(b"Exif\0\0") {
            match &mut found.exif {
                Some(first) => first.to_mut().extend(exif),
                none => *none = Some(segment.content.into()),
            }
        } else if let Some(xmp) = segment.content.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            found.xmp = Some(xmp.into());
        }
    }
    found
}

/// The last of each kind of chunk counts, and a chunk of Exif before the profile that ImageMagick writes.
fn of_png(mut chunks: &[u8]) -> Metadata<'_> {
    const XMP: &[u8] = b"XML:com.adobe.xmp";
    let (mut found, mut profile) = (Metadata::default(), None);
    while let Some((head, rest)) = chunks.split_first_chunk::<8>() {
        let [l0, l1, l2, l3, name @ ..] = head;
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some(content) = rest.get(..length) else { break };
        let text = || png_text(name, content);
        match name {
            b"eXIf" => found.exif = Some(content.into()),
            b"tEXt" | b"zTXt" | b"iTXt" => match split_at_nul(content).0 {
                XMP => found.xmp = text().or(found.xmp),
                b"Raw profile type exif" => profile = text().or(profile),
                b"exif" if name == b"tEXt" => found.exif = text(),
                _ => {}
            },
            b"IEND" => break,
            _ => {}
        }
        // A checksum ends each chunk.
        chunks = rest.get(length + 4..).unwrap_or_default();
    }
    found.exif = found.exif.or_else(|| profile.and_then(|text| raw_profile(&text)).map(Cow::Owned));
    found
}

/// The text of a chunk of text, decompressed where it is compressed and no longer than PIL takes it.
fn png_text<'a>(kind: &[u8], content: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let text = split_at_nul(content).1?;
    let (is_compressed, text) = match (kind, text) {
        (b"tEXt", text) => (false, text),
        (b"zTXt", [0, text @ ..]) => (true, text),
        (b"iTXt", [flag, method, rest @ ..]) if *flag == 0 || *method == 0 => {
            let translated_keyword = split_at_nul(rest).1?;
            (*flag != 0, split_at_nul(translated_keyword).1?)
        }
        _ => return None,
    };
    if !is_compressed {
        return Some(text.into());
    }
    const MOST_BYTES: u64 = 1 << 20;
    let mut plain = vec![];
    ZlibDecoder::new(text).take(MOST_BYTES + 1).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 <= MOST_BYTES).then(|| plain.into())
}

/// What stands before the first NUL and after it.
fn split_at_nul(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

/// The bytes of a profile that is written in hexadecimal, after a line with nothing, one with its name and
/// one with its length.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.split(|byte| *byte == b'\n').skip(3).flatten();
    let digits = digits.filter(|digit| !digit.is_ascii_whitespace());
    let digits: Option<Vec<u32>> = digits.map(|digit| char::from(*digit).to_digit(16)).collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
}

/// The first chunk of each kind, if the header says that there is one.
fn of_webp(webp: &[u8]) -> Metadata<'_> {
    const HAS_XMP: u8 = 4;
    const HAS_EXIF: u8 = 8;
    let mut found = Metadata::default();
    let length = webp.get(4..).and_then(|rest| rest.first_chunk::<4>());
    let end = length.map_or(0, |length| 8 + u32::from_le_bytes(*length) as usize);
    let mut chunks = webp.get(12..end.min(webp.len())).unwrap_or_default();
    let mut flags = 0;
    while let Some((head, rest)) = chunks.split_first_chunk::<8>() {
        let [name @ .., l0, l1, l2, l3] = head;
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some(content) = rest.get(..length) else { break };
        match name {
            b"VP8X" => flags = content.first().copied().unwrap_or(0),
            b"EXIF" if flags & HAS_EXIF != 0 => found.exif = found.exif.or(Some(content.into())),
            b"XMP " if flags & HAS_XMP != 0 => found.xmp = found.xmp.or(Some(content.into())),
            _ => {}
        }
        chunks = rest.get(length + length % 2..).unwrap_or_default();
    }
    found
}

/// The directory of a TIFF is like that of Exif.
fn of_tiff(tiff: &[u8]) -> Metadata<'_> {
    let xmp = tiff_tags::find(tiff, XMP).and_then(|value| value.bytes());
    Metadata { exif: Some(tiff.into()), xmp: xmp.map(Cow::Borrowed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Exif with an orientation as a SHORT.
    fn exif(orientation: u8) -> Vec<u8> {
        let entry = [1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
        [&b"MM\0\x2a\0\0\0\x08\0\x01"[..], &entry, &[0; 4]].concat()
    }

    fn jpeg(segments: &[&[u8]]) -> Vec<u8> {
        let segment = |content: &&[u8]| {
            [&[0xff, 0xe1][..], &(content.len() as u16 + 2).to_be_bytes(), content].concat()
        };
        [&[0xff, 0xd8][..], &segments.iter().flat_map(segment).collect::<Vec<u8>>()].concat()
    }

    fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let chunk = |(name, content): &(&[u8; 4], &[u8])| {
            [&(content.len() as u32).to_be_bytes()[..], &name[..], content, &[0; 4]].concat()
        };
        [&b"\x89PNG\r\n\x1a\n"[..], &chunks.iter().flat_map(chunk).collect::<Vec<u8>>()].concat()
    }

    fn webp(flags: u8, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let header = [flags, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut body = b"WEBP".to_vec();
        for (name, content) in [&[(b"VP8X", &header[..])], chunks].concat() {
            body.extend(name);
            body.extend((content.len() as u32).to_le_bytes());
            body.extend(content);
            body.resize(body.len().next_multiple_of(2), 0);
        }
        [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
    }

    fn raw_profile_of(exif: &[u8]) -> Vec<u8> {
        let hex: String = exif.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<&str> =
            (0..hex.len()).step_by(20).map(|at| &hex[at..][..20.min(hex.len() - at)]).collect();
        format!("Raw profile type exif\0\nexif\n      28\n{}\n", lines.join("\n")).into_bytes()
    }

    const ATTRIBUTE: &[u8] = b"<x tiff:Orientation=\"7\"/>";
    const XMP_IN_JPEG: &[u8] =
        b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>7</tiff:Orientation>";

    #[test]
    fn exif_of_a_jpeg_comes_before_its_xmp() {
        let of_exif = |n| [&b"Exif\0\0"[..], &exif(n)].concat();
        for n in 2..=8 {
            assert_eq!(of(&jpeg(&[&of_exif(n)])), Some(n));
            assert_eq!(of(&jpeg(&[XMP_IN_JPEG, &of_exif(n)])), Some(n));
        }
        assert_eq!(of(&jpeg(&[&of_exif(6), &of_exif(3)])), Some(6), "the first one");
        let whole = exif(8);
        let (start, end) = whole.split_at(12);
        let halves = [start, end].map(|half| [&b"Exif\0\0"[..], half].concat());
        assert_eq!(of(&jpeg(&[&halves[0], &halves[1]])), Some(8), "in two segments");
        // Invalid is not the same as missing.
        for n in [0, 1, 9, 255] {
            assert_eq!(of(&jpeg(&[&of_exif(n), XMP_IN_JPEG])), None);
        }
        assert_eq!(of(&jpeg(&[b"Exif\0\0MM\0\x2a\0\0\0\x08\0\0", XMP_IN_JPEG])), Some(7));
        assert_eq!(of(&jpeg(&[b"Exif\0\0neither", XMP_IN_JPEG])), None);
        assert_eq!(of(&jpeg(&[])), None);
    }

    #[test]
    fn xmp_is_searched_as_text() {
        for (text, found) in [
            (&b"tiff:Orientation=\"6\""[..], Some(6)),
            (b"<tiff:Orientation>8", Some(8)),
            (b"tiff:Orientation='6'", None),
            (b"tiff:Orientation = \"6\"", None),
            (b"tiff:Orientation=\"x\" tiff:Orientation=\"3\"", Some(3)),
            (b"tiff:Orientation=\"0\" tiff:Orientation=\"3\"", None),
            (b"tiff:Orientation=\"", None),
        ] {
            let said = of(&webp(4, &[(b"XMP ", text)]));
            assert_eq!(said, found, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_png_has_it_in_exif_a_raw_profile_or_xmp() {
        let (six, profile) = (exif(6), raw_profile_of(&exif(5)));
        let xmp = [&b"XML:com.adobe.xmp\0\0\0\0\0"[..], ATTRIBUTE].concat();
        assert_eq!(of(&png(&[(b"IDAT", b"x"), (b"eXIf", &six)])), Some(6));
        assert_eq!(of(&png(&[(b"tEXt", &profile), (b"iTXt", &xmp)])), Some(5));
        assert_eq!(of(&png(&[(b"tEXt", &profile), (b"eXIf", &six)])), Some(6));
        assert_eq!(of(&png(&[(b"iTXt", &xmp)])), Some(7));
        assert_eq!(of(&png(&[(b"IEND", b""), (b"eXIf", &six)])), None);
        let odd = [&profile[..profile.len() - 2], b"\n"].concat();
        assert_eq!(of(&png(&[(b"tEXt", &odd)])), None, "half a byte");
    }

    #[test]
    fn compressed_text_is_bounded() {
        let packed = |text: &[u8]| {
            use std::io::Write;
            let mut packer = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::fast());
            packer.write_all(text).unwrap();
            [&b"XML:com.adobe.xmp\0\0"[..], &packer.finish().unwrap()].concat()
        };
        let padded = |bytes: usize| [ATTRIBUTE, &vec![b' '; bytes - ATTRIBUTE.len()]].concat();
        assert_eq!(of(&png(&[(b"zTXt", &packed(&padded(1 << 20)))])), Some(7));
        assert_eq!(of(&png(&[(b"zTXt", &packed(&padded((1 << 20) + 1)))])), None);
    }

    #[test]
    fn a_webp_has_what_its_header_says() {
        let (six, prefixed) = (exif(6), [&b"Exif\0\0"[..], &exif(6)].concat());
        for content in [&six, &prefixed] {
            assert_eq!(of(&webp(8, &[(b"EXIF", content)])), Some(6));
            assert_eq!(of(&webp(4, &[(b"EXIF", content), (b"XMP ", ATTRIBUTE)])), Some(7));
            assert_eq!(of(&webp(0, &[(b"EXIF", content)])), None);
        }
        let odd = [&six[..], &[0]].concat();
        assert_eq!(of(&webp(12, &[(b"ICCP", &odd), (b"EXIF", &exif(3))])), Some(3));
    }

    #[test]
    fn a_tiff_has_a_tag_of_its_own() {
        assert_eq!((of(&exif(6)), of(&exif(1)), of(b"BM"), of(b"")), (Some(6), None, None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(
            start in 0..6usize,
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
        ) {
            let profile = raw_profile_of(&exif(6));
            let whole = [
                bytes.clone(),
                jpeg(&[&[b"Exif\0\0", &bytes[..]].concat(), XMP_IN_JPEG, &bytes]),
                png(&[(b"eXIf", &bytes), (b"tEXt", &profile), (b"iTXt", &bytes), (b"zTXt", &bytes)]),
                webp(12, &[(b"EXIF", &bytes), (b"XMP ", &bytes)]),
                exif(6),
                [b"MM\0\x2b".to_vec(), bytes.clone()].concat(),
            ];
            let mut image = whole[start].clone();
            of(&image);
            // A few bytes of it changed, and its end cut off.
            if !image.is_empty() {
                for (i, byte) in bytes.iter().take(4).enumerate() {
                    let place = (at.index(image.len()) + i * i) % image.len();
                    image[place] = *byte;
                }
                image.truncate(at.index(image.len()));
                of(&image);
            }
        }
    }
}
