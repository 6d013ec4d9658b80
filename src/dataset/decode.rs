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

use super::error::{DatasetError, read_at_most};
use super::gif::FirstFrame;
use super::random_crop::Rectangle;
use super::{image_kind, jpeg, orientation, tiff_kind, tiff_palette, tiff_tags};
use crate::config::{CropMode, DatasetConfig, InputSpec, Interpolation};

/// Images of more pixels are refused before memory is taken for them; PIL refuses the same ones.
const MOST_PIXELS: u64 = 178_956_970;
/// Bytes that decoders may take in addition: as many pixels of the widest kind, 16-bit RGBA.
pub(super) const MOST_BYTES: u64 = 8 * MOST_PIXELS;

/// Which part of an image becomes the network's input, and how it is scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Framing {
    /// Side of the result in pixels.
    pub(super) size: usize,
    /// Side of the middle square that is kept, as a share of the shorter side.
    pub(super) crop_fraction: f64,
    pub(super) crop_mode: CropMode,
    pub(super) interpolation: Interpolation,
    /// Bits that the values of images of 16 bits have.
    pub(super) bit_depth: u32,
    /// R, G, B of borders.
    pub(super) border: [u8; 3],
}

impl Framing {
    pub(super) fn of(config: &DatasetConfig) -> Self {
        let spec = InputSpec::of(config);
        let InputSpec { image_size: size, crop_fraction, crop_mode, interpolation, .. } = spec;
        let white = 255.0 / spec.value_range as f32;
        let border = match crop_mode {
            CropMode::Border => spec.mean.map(|v| (v * white).round_ties_even() as u8),
            CropMode::Center | CropMode::Squash => [0; 3],
        };
        Self { size, crop_fraction, crop_mode, interpolation, bit_depth: spec.bit_depth, border }
    }

    /// The part of an image that becomes the input; borders lie outside the image.
    pub(super) fn window(&self, width: u32, height: u32) -> Window {
        let (width, height) = (f64::from(width), f64::from(height));
        let [w, h] = match self.crop_mode {
            CropMode::Center => [width.min(height); 2],
            CropMode::Squash => [width, height],
            CropMode::Border => [width.max(height); 2],
        };
        let (w, h) = (w * self.crop_fraction, h * self.crop_fraction);
        Window { left: (width - w) / 2.0, top: (height - h) / 2.0, width: w, height: h }
    }
}

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Decodes a file: see [`bytes()`].
pub(super) fn file(path: &Path, framing: Framing) -> Result<Vec<u8>, DatasetError> {
    bytes(&read_image(path)?, path, framing)
}

/// An encoded image, which is at most as large as the largest one decoded.
pub(super) fn read_image(path: &Path) -> Result<Vec<u8>, DatasetError> {
    read_at_most(path, MOST_BYTES)
}

/// Width and height of an image as it is stored, from its header alone.
pub(super) fn stored_size(encoded: &[u8], path: &Path) -> Result<[u32; 2], DatasetError> {
    must_be_image(encoded, path)?;
    let (width, height) =
        reader_of(&as_decoders_take_it(encoded)).into_dimensions().map_err(|e| {
            DatasetError::Image { path: path.into(), message: decoder_message(&e, encoded) }
        })?;
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

/// Refuses a picture of a kind that is known and not decoded, by its name.
fn must_be_image(encoded: &[u8], path: &Path) -> Result<(), DatasetError> {
    match image_kind::other_picture(encoded, path) {
        Some(other) => Err(DatasetError::Image { path: path.into(), message: other.to_string() }),
        None => Ok(()),
    }
}

/// What a decoder says, and of a TIFF of a kind that is not decoded what it is.
fn decoder_message(error: &ImageError, encoded: &[u8]) -> String {
    let said = error.to_string();
    match error {
        ImageError::Unsupported(_) => tiff_kind::unsupported(encoded, &said).unwrap_or(said),
        _ => said,
    }
}

fn decoded(encoded: &[u8], path: &Path) -> Result<DynamicImage, DatasetError> {
    must_be_image(encoded, path)?;
    let wrong = |message: String| DatasetError::Image { path: path.into(), message };
    let refused = |e: ImageError| wrong(decoder_message(&e, encoded));
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

/// Decodes an image, upright, and scales what `framing` keeps of it (antialiased): (size, size, 3) bytes.
pub(super) fn bytes(
    encoded: &[u8],
    path: &Path,
    framing: Framing,
) -> Result<Vec<u8>, DatasetError> {
    let Framing { size, crop_fraction, interpolation, bit_depth, border, .. } = framing;
    let image = upright(encoded, path, bit_depth)?;
    let (width, height) = image.dimensions();
    if (width as usize, height as usize) == (size, size) && crop_fraction == 1.0 {
        return Ok(image.into_raw());
    }
    let source = Image::from_vec_u8(width, height, image.into_raw(), PixelType::U8x3)
        .expect("a decoded image is whole");
    let window = framing.window(width, height);
    // What of the window is there, and how many pixels of the square that is.
    let (left, top) = (window.left.max(0.0), window.top.max(0.0));
    let (w, h) = (window.width.min(f64::from(width)), window.height.min(f64::from(height)));
    let pixels = |part: f64, of: f64| match part < of {
        true => ((size as f64 * part / of).round_ties_even() as usize).max(1),
        false => size,
    };
    let there = [pixels(w, window.width), pixels(h, window.height)];
    let options = convolution(interpolation).crop(left, top, w, h);
    let part = scaled(&source, there, &options).map_err(|e| unscaled(&e, path))?;
    Ok(if there == [size; 2] { part } else { bordered(&part, there, size, border) })
}

/// A part in the middle of a square of one colour.
fn bordered(part: &[u8], [width, height]: [usize; 2], size: usize, colour: [u8; 3]) -> Vec<u8> {
    let mut square = colour.repeat(size * size);
    let (left, top) = ((size - width) / 2, (size - height) / 2);
    for (y, row) in part.chunks_exact(3 * width).enumerate() {
        square[3 * ((top + y) * size + left)..][..3 * width].copy_from_slice(row);
    }
    square
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
    scaled(&part, [size; 2], &convolution(interpolation)).map_err(|e| e.to_string())
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
    [width, height]: [usize; 2],
    options: &ResizeOptions,
) -> Result<Vec<u8>, ResizeError> {
    let mut image = Image::new(width as u32, height as u32, PixelType::U8x3);
    Resizer::new().resize(source, &mut image, options)?;
    Ok(image.into_vec())
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

    #[test]
    fn an_image_that_is_no_square_is_cut_squashed_or_gets_borders() {
        // 8 x 4 pixels: two columns of red 200, four of 100, two of 0.
        let row = [200u8, 200, 100, 100, 100, 100, 0, 0].map(|red| [red, 9, 9]).concat();
        let image = RgbImage::from_raw(8, 4, row.repeat(4)).unwrap();
        let mut encoded = Cursor::new(vec![]);
        image.write_to(&mut encoded, ImageFormat::Png).unwrap();
        let of = |image_size, crop_mode, crop_fraction| {
            let config = DatasetConfig {
                image_size,
                crop_mode,
                crop_fraction,
                mean: vec![0.5, 0.25, 1.0],
                ..DatasetConfig::default()
            };
            bytes(encoded.get_ref(), Path::new("image"), Framing::of(&config)).unwrap()
        };
        let center = of(4, CropMode::Center, 1.0);
        assert!(center.chunks(3).all(|pixel| pixel == [100, 9, 9]));
        let squashed = of(8, CropMode::Squash, 1.0);
        assert!(squashed.chunks(24).all(|found| found == row));
        // Half of it: four columns of 100 and their rows.
        assert_eq!(of(4, CropMode::Squash, 0.5), center);
        let border = of(8, CropMode::Border, 1.0);
        for (y, found) in border.chunks(24).enumerate() {
            let expected = if (2..6).contains(&y) { row.clone() } else { [128, 64, 255].repeat(8) };
            assert_eq!(found, expected, "{y}");
        }
        assert_eq!(of(4, CropMode::Border, 0.5), center);
        let tall = RgbImage::from_pixel(4, 7, image::Rgb([7; 3]));
        let mut encoded = Cursor::new(vec![]);
        tall.write_to(&mut encoded, ImageFormat::Png).unwrap();
        let config = DatasetConfig {
            image_size: 14,
            crop_mode: CropMode::Border,
            mean: vec![0.0; 3],
            ..DatasetConfig::default()
        };
        let found = bytes(encoded.get_ref(), Path::new("image"), Framing::of(&config)).unwrap();
        let columns: Vec<u8> = found[..3 * 14].iter().step_by(3).copied().collect();
        assert_eq!(columns, [0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0]);
    }
}
