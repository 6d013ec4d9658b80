//! Random changes of brightness, contrast and saturation, with PIL's arithmetic on bytes.

use crate::rng::KeyedRng;

/// What is changed, each towards or away from a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The base is black.
    Brightness,
    /// The base is the mean grey of the image.
    Contrast,
    /// The base of a pixel is its own grey.
    Saturation,
}

/// The changes of one image in their order, with their factors: torchvision's `ColorJitter` without hue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Jitter([(Change, f32); 3]);

impl Jitter {
    /// Factors are uniform between 1 - `strength` and 1 + `strength`, and never negative.
    pub(super) fn draw(rng: &mut KeyedRng, strength: f64) -> Self {
        let least = (1.0 - strength).max(0.0);
        let mut changes = [Change::Brightness, Change::Contrast, Change::Saturation]
            .map(|change| (change, (least + (1.0 + strength - least) * rng.unit()) as f32));
        rng.shuffle(&mut changes);
        Self(changes)
    }

    /// Changes (height, width, 3) bytes.
    pub(super) fn apply(&self, pixels: &mut [u8]) {
        let pixels = pixels.as_chunks_mut::<3>().0;
        for (change, factor) in self.0 {
            match change {
                Change::Brightness => change_all(pixels, 0, factor),
                Change::Contrast => change_all(pixels, mean_grey(pixels), factor),
                Change::Saturation => {
                    for pixel in &mut *pixels {
                        let base = grey(*pixel);
                        *pixel = pixel.map(|value| blend(base, value, factor));
                    }
                }
            }
        }
    }
}

/// Moves every value from the same base.
fn change_all(pixels: &mut [[u8; 3]], base: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(base, value as u8, factor));
    pixels.as_flattened_mut().iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// PIL's `Image.blend`: cut off to whole numbers, within 0 to 255.
fn blend(base: u8, value: u8, factor: f32) -> u8 {
    let (base, value) = (i32::from(base), i32::from(value));
    (base as f32 + factor * (value - base) as f32) as u8
}

/// PIL's conversion to mode L: ITU-R 601-2 luma in 16-bit fixed point.
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}

fn mean_grey(pixels: &[[u8; 3]]) -> u8 {
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(grey(pixel))).sum();
    (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stage;
    use Change::{Brightness, Contrast, Saturation};

    /// Bytes that PIL 13.0 gives for these: `ImageEnhance.Brightness(image).enhance(factor)` and so on,
    /// in this order, on an image of 2 x 2 pixels.
    #[test]
    fn changes_are_those_of_pil() {
        const IMAGE: [u8; 12] = [10, 200, 30, 255, 0, 128, 77, 77, 77, 3, 2, 250];
        let changed = |changes: [(Change, f32); 3]| {
            let mut pixels = IMAGE;
            Jitter(changes).apply(&mut pixels);
            pixels
        };
        let none = (Brightness, 1.0);
        let cases = [
            [6, 126, 18, 160, 0, 80, 48, 48, 48, 1, 1, 157],
            [0, 244, 11, 255, 0, 145, 75, 75, 75, 0, 0, 255],
            [43, 177, 57, 207, 26, 117, 77, 77, 77, 11, 10, 186],
            [37, 190, 37, 190, 37, 148, 97, 97, 97, 37, 37, 190],
            [81; 12],
        ];
        assert_eq!(changed([none; 3]), IMAGE);
        assert_eq!(changed([(Brightness, 0.63), none, none]), cases[0]);
        assert_eq!(changed([(Contrast, 1.37), none, none]), cases[1]);
        assert_eq!(changed([(Saturation, 0.71), none, none]), cases[2]);
        assert_eq!(changed([(Saturation, 1.4), (Brightness, 1.3), (Contrast, 0.6)]), cases[3]);
        assert_eq!(changed([(Contrast, 0.0), none, none]), cases[4]);
    }

    #[test]
    fn factors_and_orders_cover_what_they_should() {
        let draw = |i| Jitter::draw(&mut KeyedRng::new(1, Stage::TrainTransform, (0, i)), 0.4);
        let draws: Vec<Jitter> = (0..3000).map(draw).collect();
        let factors = draws.iter().flat_map(|jitter| jitter.0.map(|(_, factor)| factor));
        let (least, most) = factors.fold((9.0f32, 0.0f32), |(l, m), f| (l.min(f), m.max(f)));
        assert!((0.6..0.602).contains(&least) && (1.398..=1.4).contains(&most), "{least} {most}");
        for first in [Brightness, Contrast, Saturation] {
            for last in [Brightness, Contrast, Saturation] {
                let count = draws.iter().filter(|j| (j.0[0].0, j.0[2].0) == (first, last)).count();
                let expected = if first == last { 0..1 } else { 400..600 };
                assert!(expected.contains(&count), "{first:?} {last:?} {count}");
            }
        }
        let strong = Jitter::draw(&mut KeyedRng::new(1, Stage::TrainTransform, (0, 0)), 1.0);
        assert!(strong.0.iter().all(|(_, factor)| (0.0..=2.0).contains(factor)));
    }
}
