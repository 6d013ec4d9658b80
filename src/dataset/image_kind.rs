//! What a file is, by its first bytes: an image that is decoded here, a picture of another kind, which
//! is named and counted, or neither.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::regular_file;

/// Bytes at a file's beginning that tell what it is.
const HEAD_BYTES: u64 = 1024;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// An image of a kind that is decoded here.
    Image,
    /// A picture of a kind that is not; `None`: it has the name of an image and the content of none.
    Undecodable(Option<OtherPicture>),
    /// Anything else.
    NotAnImage,
    /// The disk does not give it, and its name is not that of an image.
    Unreadable,
}

/// A kind of picture that is not decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OtherPicture {
    /// What it is called, such as `HEIC`.
    pub name: &'static str,
    /// A command that makes an image of it.
    pub convert: &'static str,
}

impl fmt::Display for OtherPicture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { name, convert } = self;
        write!(f, "{name} is not decoded here; convert it, for example with `{convert}`")
    }
}

impl Serialize for OtherPicture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// Names of images that are decoded here end in these.
const IMAGE_EXTENSIONS: [&str; 14] = [
    "jpg", "jpeg", "jpe", "jif", "jfif", "pjpeg", "pjp", "png", "webp", "gif", "bmp", "dib", "tif",
    "tiff",
];
/// Names of other pictures.
const PICTURE_EXTENSIONS: [&str; 15] = [
    "heic", "heif", "hif", "avif", "jxl", "jp2", "j2k", "jpx", "jxr", "svg", "svgz", "psd", "psb",
    "tga", "pcx",
];
/// Names of cameras' own files, which may begin as a TIFF does.
const RAW_EXTENSIONS: [&str; 26] = [
    "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "iiq", "kdc", "mef", "mos",
    "mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f",
];
/// Names of films that have no beginning of their own.
const FILM_EXTENSIONS: [&str; 6] = ["mov", "qt", "mp4", "m4v", "mpg", "mpeg"];

/// Whether a file's name is that of an image or of another picture.
pub(super) fn has_picture_extension(path: &Path) -> bool {
    [&IMAGE_EXTENSIONS[..], &PICTURE_EXTENSIONS, &RAW_EXTENSIONS]
        .iter()
        .any(|all| ends_in(path, all))
}

fn ends_in(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    extensions.iter().any(|e| extension == *e)
}

/// Looks at a file.
///
/// # Cost
/// It is opened, and [`HEAD_BYTES`] of it are read.
pub(super) fn of_file(path: &Path) -> FileKind {
    let head = regular_file::open(path).and_then(|(file, _)| {
        let mut head = vec![];
        file.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(head)
    });
    let named_as_picture = has_picture_extension(path);
    match head {
        Ok(head) => match of(&head, path) {
            FileKind::NotAnImage if named_as_picture => FileKind::Undecodable(None),
            kind => kind,
        },
        Err(_) if named_as_picture => FileKind::Undecodable(None),
        // A pipe or a device.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => FileKind::NotAnImage,
        Err(_) => FileKind::Unreadable,
    }
}

/// The kind of picture that an encoded image is, if that kind is not decoded here.
pub(super) fn other_picture(encoded: &[u8], path: &Path) -> Option<OtherPicture> {
    let head = &encoded[..encoded.len().min(HEAD_BYTES as usize)];
    match of(head, path) {
        FileKind::Undecodable(other) => other,
        _ => None,
    }
}

fn of(head: &[u8], path: &Path) -> FileKind {
    let has = |signature: Signature| {
        signature
            .iter()
            .all(|(at, bytes)| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes)))
    };
    let is_tiff = TIFF.iter().any(|signature| has(signature));
    if is_tiff {
        return match ends_in(path, &RAW_EXTENSIONS) || is_raw_tiff(head) {
            true => FileKind::Undecodable(Some(RAW)),
            false => FileKind::Image,
        };
    }
    if IMAGES.iter().any(|signature| has(signature)) || is_bmp(head) {
        return FileKind::Image;
    }
    if let Some((_, name, convert)) = OTHERS.iter().find(|(signature, ..)| has(signature)) {
        return FileKind::Undecodable(Some(OtherPicture { name, convert }));
    }
    let told = iso_media(head).or_else(|| film(head, path)).or_else(|| drawing(head, path));
    told.map_or(FileKind::NotAnImage, |other| FileKind::Undecodable(Some(other)))
}

/// Bytes, and where they are.
type Signature = &'static [(usize, &'static [u8])];

const TIFF: [Signature; 2] = [&[(0, b"II*\0")], &[(0, b"MM\0*")]];

const IMAGES: [Signature; 7] = [
    &[(0, b"\xff\xd8\xff")],
    &[(0, b"\x89PNG\r\n\x1a\n")],
    &[(0, b"GIF87a")],
    &[(0, b"GIF89a")],
    &[(0, b"RIFF"), (8, b"WEBP")],
    // BigTIFF.
    &[(0, b"II+\0\x08\0")],
    &[(0, b"MM\0+\0\x08")],
];

const MAGICK: &str = "magick IN OUT.png";
const PHOTOGRAPH: &str = "magick IN OUT.jpg";
const FRAMES: &str = "ffmpeg -i IN -vf fps=1 OUT-%05d.jpg";
const RAW: OtherPicture = OtherPicture { name: "camera RAW", convert: "darktable-cli IN OUT.jpg" };
const VIDEO: OtherPicture = OtherPicture { name: "video", convert: FRAMES };
const SVG: OtherPicture = OtherPicture { name: "SVG", convert: "rsvg-convert IN -o OUT.png" };

/// Beginnings of other pictures, with what they are and how to convert them.
const OTHERS: [(Signature, &str, &str); 34] = [
    (&[(0, b"IIRO")], RAW.name, RAW.convert),
    (&[(0, b"IIRS")], RAW.name, RAW.convert),
    (&[(0, b"MMOR")], RAW.name, RAW.convert),
    (&[(0, b"IIU\0")], RAW.name, RAW.convert),
    (&[(0, b"FUJIFILMCCD-RAW")], RAW.name, RAW.convert),
    (&[(0, b"FOVb")], RAW.name, RAW.convert),
    (&[(0, b"\0MRM")], RAW.name, RAW.convert),
    (&[(0, b"II\x1a\0\0\0HEAPCCDR")], RAW.name, RAW.convert),
    (&[(0, b"\0\0\0\x0cjP  \r\n\x87\n")], "JPEG 2000", PHOTOGRAPH),
    (&[(0, b"\xff\x4f\xff\x51")], "JPEG 2000", PHOTOGRAPH),
    (&[(0, b"\0\0\0\x0cJXL \r\n\x87\n")], "JPEG XL", "djxl IN OUT.jpg"),
    (&[(0, b"\xff\x0a")], "JPEG XL", "djxl IN OUT.jpg"),
    (&[(0, b"II\xbc\x01")], "JPEG XR", PHOTOGRAPH),
    (&[(0, b"8BPS")], "Photoshop (PSD)", "magick 'IN[0]' OUT.png"),
    (&[(0, b"gimp xcf")], "GIMP (XCF)", "magick 'IN[0]' OUT.png"),
    (&[(0, b"\0\0\x01\0"), (5, b"\0")], "icon (ICO)", "magick 'IN[0]' OUT.png"),
    (&[(0, b"qoif")], "QOI", MAGICK),
    (&[(0, b"farbfeld")], "farbfeld", MAGICK),
    (&[(0, b"DDS ")], "DDS", MAGICK),
    (&[(0, b"\x76\x2f\x31\x01")], "OpenEXR", MAGICK),
    (&[(0, b"#?RADIANCE")], "Radiance HDR", MAGICK),
    (&[(0, b"#?RGBE")], "Radiance HDR", MAGICK),
    (&[(0, b"BPG\xfb")], "BPG", "bpgdec -o OUT.png IN"),
    (&[(0, b"\x8aMNG\r\n\x1a\n")], "MNG", "magick 'IN[0]' OUT.png"),
    (&[(0, b"SIMPLE  = ")], "FITS", MAGICK),
    (&[(128, b"DICM")], "DICOM", "dcmj2pnm +on IN OUT.png"),
    (&[(0, b"RIFF"), (8, b"AVI ")], VIDEO.name, FRAMES),
    (&[(0, b"\x1a\x45\xdf\xa3")], VIDEO.name, FRAMES),
    (&[(0, b"\0\0\x01\xba")], VIDEO.name, FRAMES),
    (&[(0, b"\0\0\x01\xb3")], VIDEO.name, FRAMES),
    (&[(0, b"FLV\x01")], VIDEO.name, FRAMES),
    (&[(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")], VIDEO.name, FRAMES),
    (&[(0, b"\x47"), (188, b"\x47"), (376, b"\x47")], VIDEO.name, FRAMES),
    (&[(0, b"OggS"), (28, b"\x80theora")], VIDEO.name, FRAMES),
];

/// Two letters are little; the length of the header that follows is one of few.
fn is_bmp(head: &[u8]) -> bool {
    const HEADER_BYTES: [u8; 8] = [12, 16, 40, 52, 56, 64, 108, 124];
    head.starts_with(b"BM")
        && matches!(head.get(14..18), Some([bytes, 0, 0, 0]) if HEADER_BYTES.contains(bytes))
}

/// Whether the first directory of a TIFF says that it is of a camera's sensor, or a preview: what a decoder
/// of TIFF would find there is not the photograph.
fn is_raw_tiff(head: &[u8]) -> bool {
    const NEW_SUBFILE_TYPE: u16 = 254;
    const COMPRESSION: u16 = 259;
    const PHOTOMETRIC: u16 = 262;
    const SUB_IFDS: u16 = 330;
    const DNG_VERSION: u16 = 50706;
    let little = head.starts_with(b"II");
    let u16_at = |at: usize| {
        let bytes = head.get(at..at + 2)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = head.get(at..at + 4)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    if head.get(8..10) == Some(b"CR") {
        return true;
    }
    let Some(directory) = u32_at(4).map(|at| at as usize).filter(|&at| at < head.len()) else {
        return false;
    };
    let (mut is_preview, mut has_more) = (false, false);
    for entry in 0..usize::from(u16_at(directory).unwrap_or(0)) {
        let at = directory + 2 + 12 * entry;
        let (Some(tag), Some(short), Some(long)) = (u16_at(at), u16_at(at + 8), u32_at(at + 8))
        else {
            break;
        };
        match tag {
            DNG_VERSION => return true,
            // A mosaic of colours, or values of the sensor.
            PHOTOMETRIC if [32803, 34892].contains(&short) => return true,
            // Sony's, Nikon's, Pentax's.
            COMPRESSION if [32767, 34713, 65535].contains(&short) => return true,
            NEW_SUBFILE_TYPE => is_preview = long & 1 == 1,
            SUB_IFDS => has_more = true,
            _ => {}
        }
    }
    is_preview && has_more
}

/// HEIC, AVIF, Canon's RAW and films share a container, whose brands tell them apart.
fn iso_media(head: &[u8]) -> Option<OtherPicture> {
    if head.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let length = u32::from_be_bytes(head[..4].try_into().expect("four bytes")) as usize;
    let brands: Vec<&[u8]> = head[8..length.clamp(8, head.len())].chunks_exact(4).collect();
    let has = |wanted: &[&[u8; 4]]| brands.iter().any(|b| wanted.iter().any(|w| *b == &w[..]));
    let is = |name, convert| Some(OtherPicture { name, convert });
    match brands.first() {
        _ if has(&[b"avif", b"avis"]) => is("AVIF", "magick IN OUT.jpg"),
        _ if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"]) => {
            is("HEIC", "heif-convert IN OUT.jpg")
        }
        _ if has(&[b"mif1", b"msf1", b"miaf"]) => is("HEIF", "heif-convert IN OUT.jpg"),
        Some(&b"crx ") => Some(RAW),
        // Sound.
        Some(&(b"M4A " | b"M4B " | b"M4P ")) => None,
        _ => Some(VIDEO),
    }
}

/// A film of a camera that writes no brands.
fn film(head: &[u8], path: &Path) -> Option<OtherPicture> {
    let atom = head.get(4..8)?;
    let is_atom = [&b"moov"[..], b"mdat", b"wide", b"free", b"skip", b"pnot"].contains(&atom);
    (is_atom && ends_in(path, &FILM_EXTENSIONS)).then_some(VIDEO)
}

/// SVG is text, which may begin with much else; other old kinds have names alone.
fn drawing(head: &[u8], path: &Path) -> Option<OtherPicture> {
    let is = |name, convert| Some(OtherPicture { name, convert });
    if head.starts_with(b"\x1f\x8b") && ends_in(path, &["svgz"]) {
        return Some(SVG);
    }
    if head.starts_with(b"\x0a") && head.get(1).is_some_and(|&v| v <= 5) && ends_in(path, &["pcx"])
    {
        return is("PCX", MAGICK);
    }
    if ends_in(path, &["tga"]) && head.len() > 18 && !head.starts_with(b"<") {
        return is("TGA", MAGICK);
    }
    if let [b'P', b'1'..=b'7', space, ..] = head
        && space.is_ascii_whitespace()
        && head[3..]
            .iter()
            .find(|b| !b.is_ascii_whitespace())
            .is_some_and(|b| b.is_ascii_digit() || *b == b'#' || head[1] == b'7')
    {
        return is("PNM (PBM, PGM, PPM)", MAGICK);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let has_svg = text.windows(4).any(|word| word == b"<svg");
    let begins = |tag: &[u8]| text.get(..tag.len()).is_some_and(|t| t.eq_ignore_ascii_case(tag));
    let is_svg = begins(b"<svg")
        || has_svg && (begins(b"<?xml") || begins(b"<!--") || begins(b"<!doctype svg"))
        || begins(b"<") && ends_in(path, &["svg"]);
    is_svg.then_some(SVG)
}
