//! From encoded bytes (JPEG, PNG, WebP, GIF, BMP or TIFF) to 8-bit RGB images, and to squares of them.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{
    FilterType, IntoImageView, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer,
};
use image::metadata::Orientation;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage, Rgba,
    RgbaImage,
};

use super::gif::FirstFrame;
use super::random_crop::Rectangle;
use super::{DatasetError, jpeg, orientation, tiff_palette, tiff_tags};
use crate::config::{DatasetConfig, Interpolation};

/// Images of more pixels are refused before memory is taken for them; PIL refuses the same ones.
const MOST_PIXELS: u64 = 178_956_970;
/// Bytes that decoders may take besides: as many pixels of the widest kind, 16-bit RGBA.
pub(super) const MOST_BYTES: u64 = 8 * MOST_PIXELS;

/// Which part of an image becomes the network's input, and how it is scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Framing {
    /// Side of the result in pixels.
    pub(super) size: usize,
    /// Side of the middle square that is kept, as a share of the shorter side.
    pub(super) crop_fraction: f64,
    pub(super) interpolation: Interpolation,
    /// Bits that the values of images of 16 bits have.
    pub(super) bit_depth: u32,
}

impl Framing {
    pub(super) fn of(config: &DatasetConfig) -> Self {
        let DatasetConfig { image_size: size, crop_fraction, interpolation, bit_depth, .. } =
            *config;
        Self { size, crop_fraction, interpolation, bit_depth }
    }
}

/// Decodes a file: see [`bytes`].
pub(super) fn file(path: &Path, framing: Framing) -> Result<Vec<u8>, DatasetError> {
    bytes(&super::read_image(path)?, path, framing)
}

/// Width and height of an image as it is stored, from its header alone.
pub(super) fn stored_size(encoded: &[u8], path: &Path) -> Result<[u32; 2], DatasetError> {
    let (width, height) = reader_of(&as_decoders_take_it(encoded))
        .into_dimensions()
        .map_err(|e| DatasetError::Image { path: path.into(), message: e.to_string() })?;
    Ok([width, height])
}

/// Decodes an image, upright by its metadata. The content decides the format. Of an animation it is the
/// first frame; alpha is dropped, whatever colour lies under it; of 16 bits the higher 8 of `bit_depth` stay.
pub(super) fn upright(
    encoded: &[u8],
    path: &Path,
    bit_depth: u32,
) -> Result<RgbImage, DatasetError> {
    decoded(encoded, path).map(|image| rgb8(image, bit_depth))
}

/// Bytes of a file that [`may_have_16_bits`] looks at.
pub(super) const HEAD_BYTES: usize = 25;

/// Whether a file that begins so may have 16 bits a value: a PNG of 16 bits, and any TIFF.
pub(super) fn may_have_16_bits(head: &[u8]) -> bool {
    (head.starts_with(b"\x89PNG") && head.get(HEAD_BYTES - 1) == Some(&16))
        || tiff_tags::has_header(head)
}

/// The largest colour value of an image of 16 bits; `None` of one of 8 bits, or that cannot be decoded.
pub(super) fn largest_of_16_bits(encoded: &[u8]) -> Option<u16> {
    const BITS_PER_SAMPLE: u16 = 258;
    if tiff_tags::has_header(encoded)
        && tiff_tags::find(encoded, BITS_PER_SAMPLE)?.number() != Some(16.0)
    {
        return None;
    }
    let image = decoded(encoded, Path::new("")).ok()?;
    let channels = usize::from(image.color().channel_count());
    let colours = channels - usize::from(image.color().has_alpha());
    let samples = image.as_flat_samples_u16()?.samples;
    samples.chunks_exact(channels).flat_map(|pixel| &pixel[..colours]).copied().max()
}

fn decoded(encoded: &[u8], path: &Path) -> Result<DynamicImage, DatasetError> {
    let wrong = |message: String| DatasetError::Image { path: path.into(), message };
    let refused = |e: ImageError| wrong(e.to_string());
    let indices = tiff_palette::Indices::of(encoded);
    let accepted = match &indices {
        Some(indices) => Cow::Borrowed(&indices.grey[..]),
        None => as_decoders_take_it(encoded),
    };
    let mut reader = reader_of(&accepted);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let format = reader.format();
    let decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(wrong(format!("it has {width} x {height} pixels")));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        let limit = MOST_PIXELS;
        return Err(DatasetError::TooLarge { path: path.into(), width, height, limit });
    }
    if format == Some(ImageFormat::Jpeg) && !jpeg::has_end_of_image(encoded) {
        return Err(wrong("the file is cut short: it has no end-of-image marker".into()));
    }
    let mut image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    match &mut image {
        DynamicImage::ImageRgba8(pixels) => fill_around_first_frame(encoded, pixels),
        DynamicImage::ImageLuma8(pixels) => {
            if let Some(indices) = indices {
                let colours = pixels.iter().flat_map(|index| indices.colour(*index)).collect();
                let rgb = RgbImage::from_raw(width, height, colours);
                image = rgb.expect("three bytes an index").into();
            }
        }
        _ => {}
    }
    if let Some(orientation) = orientation::of(encoded).and_then(Orientation::from_exif) {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

fn fill_around_first_frame(encoded: &[u8], pixels: &mut RgbaImage) {
    if let Some(first) = FirstFrame::of(encoded).filter(FirstFrame::leaves_some) {
        let [red, green, blue] = first.colour;
        let around = pixels.enumerate_pixels_mut().filter(|(x, y, _)| !first.has(*x, *y));
        around.for_each(|(_, _, pixel)| *pixel = Rgba([red, green, blue, u8::MAX]));
    }
}

/// The file without what its decoder would refuse it for or cut off, and other programs pass over.
fn as_decoders_take_it(encoded: &[u8]) -> Cow<'_, [u8]> {
    /// Place of the flags of a WebP, and those of a colour profile, Exif and XMP.
    const WEBP_FLAGS: usize = 20;
    const OF_METADATA: u8 = 0x2c;
    match encoded.get(..WEBP_FLAGS + 1) {
        Some([0xff, 0xd8, ..]) => jpeg::with_tables(encoded),
        Some([b'G', b'I', b'F', ..]) => {
            match FirstFrame::of(encoded).and_then(|first| first.larger_screen()) {
                Some(screen) => [&encoded[..6], &screen, &encoded[10..]].concat().into(),
                None => encoded.into(),
            }
        }
        // It may say that it has metadata and have none.
        Some([b'R', b'I', b'F', b'F', .., b'V', b'P', b'8', b'X', _, _, _, _, flags])
            if flags & OF_METADATA != 0 =>
        {
            let mut without = encoded.to_vec();
            without[WEBP_FLAGS] &= !OF_METADATA;
            without.into()
        }
        _ => encoded.into(),
    }
}

/// A reader of the format that the content says.
fn reader_of(encoded: &[u8]) -> ImageReader<Cursor<&[u8]>> {
    let cursor = Cursor::new(encoded);
    match encoded {
        // BigTIFF, which the guess does not know.
        [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => {
            ImageReader::with_format(cursor, ImageFormat::Tiff)
        }
        _ => ImageReader::new(cursor).with_guessed_format().expect("memory is read without fault"),
    }
}

/// What is left of an image in 8-bit RGB, where values of 16 bits are of `bit_depth` bits.
fn rgb8(image: DynamicImage, bit_depth: u32) -> RgbImage {
    let channels = usize::from(image.color().channel_count());
    let Some(samples) = image.as_flat_samples_u16() else {
        return image.into_rgb8();
    };
    let high = |value: u16| (value >> (bit_depth - 8)).min(255) as u8;
    let rgb = |pixel: &[u16]| match *pixel {
        [red, green, blue, ..] => [red, green, blue].map(high),
        [grey, ..] => [high(grey); 3],
        [] => [0; 3],
    };
    let bytes = samples.samples.chunks_exact(channels).flat_map(rgb).collect();
    RgbImage::from_raw(image.width(), image.height(), bytes).expect("three bytes a pixel")
}

/// Decodes an image, upright, and scales its middle square (antialiased): (size, size, 3) bytes.
pub(super) fn bytes(
    encoded: &[u8],
    path: &Path,
    framing: Framing,
) -> Result<Vec<u8>, DatasetError> {
    let Framing { size, crop_fraction, interpolation, bit_depth } = framing;
    let image = upright(encoded, path, bit_depth)?;
    let (width, height) = image.dimensions();
    if (width as usize, height as usize) == (size, size) && crop_fraction == 1.0 {
        return Ok(image.into_raw());
    }
    let source = Image::from_vec_u8(width, height, image.into_raw(), PixelType::U8x3)
        .expect("a decoded image is whole");
    let (width, height) = (f64::from(width), f64::from(height));
    let side = width.min(height) * crop_fraction;
    let options =
        convolution(interpolation).crop((width - side) / 2.0, (height - side) / 2.0, side, side);
    scaled(&source, size, &options).map_err(|e| unscaled(&e, path))
}

/// Decodes an image, upright, and scales a rectangle of it that `choose` takes of its width and height:
/// (size, size, 3) bytes.
pub(super) fn part(
    encoded: &[u8],
    path: &Path,
    framing: Framing,
    choose: impl FnOnce(u32, u32) -> Rectangle,
) -> Result<Vec<u8>, DatasetError> {
    let image = upright(encoded, path, framing.bit_depth)?;
    let (width, height) = image.dimensions();
    let rectangle = choose(width, height);
    rectangle_of(image.as_raw(), (width, height), rectangle, framing.size, framing.interpolation)
        .map_err(|message| DatasetError::Image { path: path.into(), message })
}

/// Scales a rectangle of `pixels`, (height, width, 3) bytes, to (size, size, 3); what lies outside of it
/// has no influence.
pub(super) fn rectangle_of(
    pixels: &[u8],
    (width, height): (u32, u32),
    rectangle: Rectangle,
    size: usize,
    interpolation: Interpolation,
) -> Result<Vec<u8>, String> {
    let Rectangle { left, top, width: w, height: h } = rectangle;
    let whole = ImageRef::new(width, height, pixels, PixelType::U8x3).map_err(|e| e.to_string())?;
    let part = CroppedImage::new(&whole, left, top, w, h).map_err(|e| e.to_string())?;
    scaled(&part, size, &convolution(interpolation)).map_err(|e| e.to_string())
}

fn convolution(interpolation: Interpolation) -> ResizeOptions {
    let filter = match interpolation {
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter))
}

fn scaled(
    source: &impl IntoImageView,
    size: usize,
    options: &ResizeOptions,
) -> Result<Vec<u8>, ResizeError> {
    let mut square = Image::new(size as u32, size as u32, PixelType::U8x3);
    Resizer::new().resize(source, &mut square, options)?;
    Ok(square.into_vec())
}

fn unscaled(error: &ResizeError, path: &Path) -> DatasetError {
    DatasetError::Image { path: path.into(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_16_bits_the_higher_8_stay() {
        let grey = image::ImageBuffer::from_raw(2, 1, vec![0x1234u16, 0xffff]).unwrap();
        let grey = DynamicImage::ImageLuma16(grey);
        assert_eq!(rgb8(grey.clone(), 16).into_raw(), [18, 18, 18, 255, 255, 255]);
        assert_eq!(rgb8(grey.clone(), 14).into_raw(), [72, 72, 72, 255, 255, 255]);
        assert_eq!(rgb8(grey, 8).into_raw(), [255; 6]);
        let colour =
            image::ImageBuffer::from_raw(1, 1, vec![0x00ffu16, 0x0100, 0x80ff, 0]).unwrap();
        assert_eq!(rgb8(DynamicImage::ImageRgba16(colour), 16).into_raw(), [0, 1, 128]);
    }

    /// `tests/readers/make_image_corpus.py` cuts the same rectangle.
    #[test]
    fn a_part_is_what_pil_cuts_out_and_scales() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images");
        let rectangle = Rectangle { left: 5, top: 7, width: 33, height: 28 };
        let framing = Framing::of(&DatasetConfig { image_size: 20, ..DatasetConfig::default() });
        for name in ["png-rgb.png", "webp-lossless.webp", "tiff-lzw.tif", "gif.gif"] {
            let path = corpus.join(name);
            let found = part(&std::fs::read(&path).unwrap(), &path, framing, |width, height| {
                assert_eq!((width, height), (48, 48));
                rectangle
            });
            let pil = image::open(corpus.join("pil").join(format!("{name}.png"))).unwrap();
            let pil = image::imageops::crop_imm(&pil.into_rgb8(), 48, 40, 20, 20).to_image();
            let close = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1;
            assert!(found.unwrap().iter().zip(pil.as_raw()).all(close), "{name}");
        }
    }

    #[test]
    fn a_part_is_scaled_without_what_lies_around_it() {
        // Columns of 0, 100, 100, 0.
        let row = [0u8, 100, 100, 0].map(|v| [v; 3]).concat();
        let pixels = row.repeat(4);
        let rectangle = Rectangle { left: 1, top: 0, width: 2, height: 4 };
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let found = rectangle_of(&pixels, (4, 4), rectangle, 3, interpolation).unwrap();
            assert_eq!(found, [100; 27]);
        }
        let outside = Rectangle { left: 3, ..rectangle };
        assert!(rectangle_of(&pixels, (4, 4), outside, 3, Interpolation::Bilinear).is_err());
    }
}
