//! A photograph with a class activation map over it, as a JPEG.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::Image;
use fast_image_resize::{PixelType, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::decode::{self, Framing, Window};
use super::error::DatasetError;
use crate::domain::FeatureShape;

/// The shorter side of a picture in pixels at most, and at least: maps are too coarse for more, and a
/// thumbnail shows nothing.
const LARGEST: u32 = 640;
const SMALLEST: u32 = 224;
const JPEG_QUALITY: u8 = 90;
/// Colours of 0, 1/4 ... 1, from cold to hot.
const COLOURS: [[f32; 3]; 5] = [
    [40.0, 20.0, 120.0],
    [40.0, 110.0, 220.0],
    [70.0, 210.0, 130.0],
    [250.0, 200.0, 50.0],
    [210.0, 30.0, 20.0],
];
/// Share of the colour where the map is 0, and where it is 1.
const OPACITY: [f32; 2] = [0.25, 0.6];
/// Share of the brightness that is kept outside the part that the network saw.
const OUTSIDE: f32 = 0.4;

/// The photograph at `path`, upright and not larger than 640 pixels on its shorter side; over the
/// part that `framing` keeps lies `cam` (`[L]`, in [0, 1]), the rest is darkened.
pub(super) fn picture(
    path: &Path,
    framing: Framing,
    cam: &[f32],
    shape: FeatureShape,
) -> Result<Vec<u8>, DatasetError> {
    let wrong = |message: &dyn ToString| DatasetError::Image {
        path: path.into(),
        message: message.to_string(),
    };
    let photograph = decode::upright(&decode::read_image(path)?, path, framing.bit_depth)?;
    let mut photograph = scaled(photograph).map_err(|e| wrong(&e))?;
    let (width, height) = photograph.dimensions();
    blend(&mut photograph, framing.window(width, height), cam, shape);
    let mut jpeg = vec![];
    JpegEncoder::new_with_quality(Cursor::new(&mut jpeg), JPEG_QUALITY)
        .write_image(photograph.as_raw(), width, height, ExtendedColorType::Rgb8)
        .map_err(|e| wrong(&e))?;
    Ok(jpeg)
}

fn scaled(photograph: RgbImage) -> Result<RgbImage, fast_image_resize::ResizeError> {
    let (width, height) = photograph.dimensions();
    let shorter = width.min(height);
    let wanted = shorter.clamp(SMALLEST, LARGEST);
    if wanted == shorter {
        return Ok(photograph);
    }
    let scale = |side: u32| (u64::from(side) * u64::from(wanted) / u64::from(shorter)) as u32;
    let (to_width, to_height) = (scale(width), scale(height));
    let source = Image::from_vec_u8(width, height, photograph.into_raw(), PixelType::U8x3)
        .expect("a decoded image is whole");
    let mut target = Image::new(to_width, to_height, PixelType::U8x3);
    Resizer::new().resize(&source, &mut target, None)?;
    let image = RgbImage::from_raw(to_width, to_height, target.into_vec());
    Ok(image.expect("as many bytes as pixels"))
}

/// Colours a part by the map and darkens the rest.
fn blend(photograph: &mut RgbImage, part: Window, cam: &[f32], shape: FeatureShape) {
    for (x, y, pixel) in photograph.enumerate_pixels_mut() {
        let u = ((f64::from(x) + 0.5 - part.left) / part.width) as f32;
        let v = ((f64::from(y) + 0.5 - part.top) / part.height) as f32;
        let inside = (0.0..=1.0).contains(&u) && (0.0..=1.0).contains(&v);
        if !inside {
            pixel.0 = pixel.0.map(|c| (OUTSIDE * f32::from(c)) as u8);
            continue;
        }
        let value = interpolated(cam, shape, u, v);
        let opacity = OPACITY[0] + (OPACITY[1] - OPACITY[0]) * value;
        for (channel, colour) in pixel.0.iter_mut().zip(colour(value)) {
            *channel = (f32::from(*channel) * (1.0 - opacity) + colour * opacity) as u8;
        }
    }
}

/// The map at a place of the square, `u` and `v` from 0 to 1; linear between the centres of its
/// locations.
fn interpolated(cam: &[f32], shape: FeatureShape, u: f32, v: f32) -> f32 {
    let at = |share: f32, count: usize| {
        let place = (share * count as f32 - 0.5).clamp(0.0, (count - 1) as f32);
        let first = place as usize;
        (first, (first + 1).min(count - 1), place - first as f32)
    };
    let (x0, x1, dx) = at(u, shape.width);
    let (y0, y1, dy) = at(v, shape.height);
    let row = |y: usize| {
        let row = &cam[y * shape.width..];
        row[x0] * (1.0 - dx) + row[x1] * dx
    };
    row(y0) * (1.0 - dy) + row(y1) * dy
}

fn colour(value: f32) -> [f32; 3] {
    let place = value.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let first = (place as usize).min(COLOURS.len() - 2);
    let share = place - first as f32;
    std::array::from_fn(|c| COLOURS[first][c] * (1.0 - share) + COLOURS[first + 1][c] * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::{CropMode, DatasetConfig};

    const SHAPE: FeatureShape = FeatureShape { channels: 1, height: 2, width: 2 };

    #[test]
    fn a_map_is_linear_between_the_centres_of_its_locations() {
        let cam = [0.0, 1.0, 0.5, 0.0];
        let at = |u, v| interpolated(&cam, SHAPE, u, v);
        assert_eq!([at(0.25, 0.25), at(0.75, 0.25), at(0.25, 0.75)], [0.0, 1.0, 0.5]);
        assert_eq!([at(0.0, 0.0), at(1.0, 0.0), at(0.5, 0.25)], [0.0, 1.0, 0.5]);
        assert_eq!(at(0.5, 0.5), 0.375);
    }

    #[test]
    fn the_square_is_coloured_and_the_rest_is_dark() {
        let mut photograph = RgbImage::from_pixel(40, 20, image::Rgb([100; 3]));
        let cam = [0.0, 1.0, 0.0, 1.0];
        let framing = |crop_mode| {
            Framing::of(&DatasetConfig { crop_mode, ..DatasetConfig::default() }).window(40, 20)
        };
        blend(&mut photograph, framing(CropMode::Center), &cam, SHAPE);
        assert_eq!(photograph.get_pixel(2, 10).0, [40; 3]);
        let [cold, hot] = [12, 28].map(|x| photograph.get_pixel(x, 10).0);
        assert!(hot[0] > hot[2] && cold[2] > cold[0], "{cold:?} {hot:?}");
        // What is squashed, or has borders, is seen whole.
        for crop_mode in [CropMode::Squash, CropMode::Border] {
            let mut photograph = RgbImage::from_pixel(40, 20, image::Rgb([100; 3]));
            blend(&mut photograph, framing(crop_mode), &cam, SHAPE);
            let [cold, hot] = [1, 38].map(|x| photograph.get_pixel(x, 0).0);
            assert!(hot[0] > hot[2] && cold[2] > cold[0], "{cold:?} {hot:?}");
        }
    }
}
