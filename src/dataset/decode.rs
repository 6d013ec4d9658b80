//! From JPEG or PNG bytes to a square 8-bit RGB image.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, RgbImage};

use super::DatasetError;
use crate::config::{DatasetConfig, Interpolation};

/// Which part of an image becomes the network's input, and how it is scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Framing {
    /// Side of the result in pixels.
    pub(super) size: usize,
    /// Side of the middle square that is kept, as a share of the shorter side.
    pub(super) crop_fraction: f64,
    pub(super) interpolation: Interpolation,
}

impl Framing {
    pub(super) fn of(config: &DatasetConfig) -> Self {
        let DatasetConfig { image_size: size, crop_fraction, interpolation, .. } = *config;
        Self { size, crop_fraction, interpolation }
    }
}

/// Decodes a file: see [`bytes`].
pub(super) fn file(path: &Path, framing: Framing) -> Result<Vec<u8>, DatasetError> {
    bytes(&super::read_file(path)?, path, framing)
}

/// Width and height of the image in a file as it is stored, from its header alone.
pub(super) fn stored_size(path: &Path) -> Result<[u32; 2], DatasetError> {
    let read = |source| DatasetError::Read { path: path.into(), source };
    let reader = ImageReader::open(path).map_err(read)?.with_guessed_format().map_err(read)?;
    let (width, height) = reader
        .into_dimensions()
        .map_err(|e| DatasetError::Image { path: path.into(), message: e.to_string() })?;
    Ok([width, height])
}

/// Decodes an image, upright by its EXIF orientation.
pub(super) fn upright(encoded: &[u8], path: &Path) -> Result<RgbImage, DatasetError> {
    let decoded = || -> Result<RgbImage, ImageError> {
        let reader = ImageReader::new(Cursor::new(encoded)).with_guessed_format()?;
        let mut decoder = reader.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image.into_rgb8())
    };
    decoded().map_err(|e| DatasetError::Image { path: path.into(), message: e.to_string() })
}

/// Decodes an image, upright, and scales its middle square (antialiased): (size, size, 3) bytes.
pub(super) fn bytes(
    encoded: &[u8],
    path: &Path,
    framing: Framing,
) -> Result<Vec<u8>, DatasetError> {
    let Framing { size, crop_fraction, interpolation } = framing;
    let wrong = |message: &dyn ToString| DatasetError::Image {
        path: path.into(),
        message: message.to_string(),
    };
    let image = upright(encoded, path)?;
    let (width, height) = image.dimensions();
    if (width as usize, height as usize) == (size, size) && crop_fraction == 1.0 {
        return Ok(image.into_raw());
    }
    let source = Image::from_vec_u8(width, height, image.into_raw(), PixelType::U8x3)
        .map_err(|e| wrong(&e))?;
    let mut square = Image::new(size as u32, size as u32, PixelType::U8x3);
    let filter = match interpolation {
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let (width, height) = (f64::from(width), f64::from(height));
    let side = width.min(height) * crop_fraction;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
        (width - side) / 2.0,
        (height - side) / 2.0,
        side,
        side,
    );
    Resizer::new().resize(&source, &mut square, &options).map_err(|e| wrong(&e))?;
    Ok(square.into_vec())
}
