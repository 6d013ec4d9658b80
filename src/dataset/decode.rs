//! From JPEG or PNG bytes to a square 8-bit RGB image.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageReader};

use super::DatasetError;

/// Decodes a file: see [`bytes`].
pub(super) fn file(path: &Path, size: usize) -> Result<Vec<u8>, DatasetError> {
    bytes(&super::read_file(path)?, path, size)
}

/// Decodes an image, upright by its EXIF orientation, scales it so that the shorter side is
/// `size` (antialiased bilinear) and cuts the middle square: (size, size, 3) bytes.
pub(super) fn bytes(encoded: &[u8], path: &Path, size: usize) -> Result<Vec<u8>, DatasetError> {
    let wrong = |message: &dyn ToString| DatasetError::Image {
        path: path.into(),
        message: message.to_string(),
    };
    let mut decoder = ImageReader::new(Cursor::new(encoded))
        .with_guessed_format()
        .map_err(|e| wrong(&e))?
        .into_decoder()
        .map_err(|e| wrong(&e))?;
    let orientation = decoder.orientation().map_err(|e| wrong(&e))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| wrong(&e))?;
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    let (width, height) = image.dimensions();
    if (width as usize, height as usize) == (size, size) {
        return Ok(image.into_raw());
    }
    let source = Image::from_vec_u8(width, height, image.into_raw(), PixelType::U8x3)
        .map_err(|e| wrong(&e))?;
    let mut square = Image::new(size as u32, size as u32, PixelType::U8x3);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .fit_into_destination(Some((0.5, 0.5)));
    Resizer::new().resize(&source, &mut square, &options).map_err(|e| wrong(&e))?;
    Ok(square.into_vec())
}
