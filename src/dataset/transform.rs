//! From 8-bit pixels to network inputs: random crop, flip and colours, then normalisation.

use std::borrow::Cow;

use super::jitter::Jitter;
use super::random_crop::RandomRectangle;
use crate::config::{ChannelOrder, DatasetConfig, InputSpec, RandomCrop, TrainConfig};
use crate::rng::KeyedRng;

/// What inputs are normalised by.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    /// Order of the planes of an input.
    pub channel_order: ChannelOrder,
    /// Normalised value of each byte, for each channel.
    table: Box<[[f32; 256]; 3]>,
}

impl Normalisation {
    /// The values of `config`, or those usual for its kind.
    pub fn new(config: &DatasetConfig) -> Self {
        let InputSpec { mean, std, value_range, channel_order, .. } = InputSpec::of(config);
        let white = 255.0 / value_range as f32;
        let value = |c: usize, byte: usize| (byte as f32 / white - mean[c]) / std[c];
        let table = Box::new([0, 1, 2].map(|c| std::array::from_fn(|byte| value(c, byte))));
        Self { channel_order, table }
    }

    /// [3, 256], the normalised value of each byte of R, G and B.
    pub fn table(&self) -> &[[f32; 256]; 3] {
        &self.table
    }

    /// Writes the planes of an image: `image` is (size, size, 3) bytes, `input` is (3, size, size).
    fn write(&self, image: &[u8], size: usize, mirrored: bool, input: &mut [f32]) {
        let (first, others) = input.split_at_mut(size * size);
        let (green, last) = others.split_at_mut(size * size);
        let (red, blue) = match self.channel_order {
            ChannelOrder::Rgb => (first, last),
            ChannelOrder::Bgr => (last, first),
        };
        let planes = red
            .chunks_exact_mut(size)
            .zip(green.chunks_exact_mut(size))
            .zip(blue.chunks_exact_mut(size));
        for (pixels, ((red, green), blue)) in image.chunks_exact(3 * size).zip(planes) {
            let pixels = pixels.as_chunks::<3>().0;
            if mirrored {
                self.write_row(pixels.iter().rev(), red, green, blue);
            } else {
                self.write_row(pixels.iter(), red, green, blue);
            }
        }
    }

    fn write_row<'p>(
        &self,
        pixels: impl Iterator<Item = &'p [u8; 3]>,
        red: &mut [f32],
        green: &mut [f32],
        blue: &mut [f32],
    ) {
        let [reds, greens, blues] = &*self.table;
        for (((&[r, g, b], red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
            *red = reds[usize::from(r)];
            *green = greens[usize::from(g)];
            *blue = blues[usize::from(b)];
        }
    }
}

/// How images are transformed at random: what `[train]` says of crops, flips and colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    crop: RandomCrop,
    padding: usize,
    scale: [f64; 2],
    flip: bool,
    jitter: f64,
}

impl Augmentation {
    /// That of Phase-I.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            crop: config.crop,
            padding: config.crop_padding,
            scale: config.crop_scale,
            flip: config.flip,
            jitter: config.color_jitter,
        }
    }

    /// Pixels of padding, where every transform is a square of the padded middle square, mirrored or not.
    pub fn padding(&self) -> Option<usize> {
        (self.crop == RandomCrop::Padded && self.jitter == 0.0).then_some(self.padding)
    }

    /// Draws the transform of one image, whatever the image is.
    pub fn draw(&self, rng: &mut KeyedRng) -> Transform {
        let crop = match self.crop {
            RandomCrop::Padded => {
                let (padding, offsets) = (self.padding, 2 * self.padding as u32 + 1);
                let (top, left) = (rng.below(offsets) as usize, rng.below(offsets) as usize);
                Crop::Padded { padding, top, left }
            }
            RandomCrop::Resized => Crop::Resized(RandomRectangle::draw(rng, self.scale)),
        };
        let mirrored = self.flip && rng.below(2) == 1;
        let jitter = (self.jitter > 0.0).then(|| Jitter::draw(rng, self.jitter));
        Transform { crop, mirrored, jitter }
    }
}

/// What happens to one image on its way to the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform {
    crop: Crop,
    mirrored: bool,
    jitter: Option<Jitter>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Crop {
    /// The middle square as it is.
    None,
    /// A square of the same size out of the middle square with black around it, as in torchvision's
    /// `RandomCrop`.
    Padded { padding: usize, top: usize, left: usize },
    /// A rectangle of the original image, scaled to the square.
    Resized(RandomRectangle),
}

impl Transform {
    /// The clean image.
    pub const NONE: Self = Self { crop: Crop::None, mirrored: false, jitter: None };

    /// Where the square begins in the image with [`Augmentation::padding`] around it (top, left), and
    /// whether it is mirrored; `None` where it is not such a square.
    pub fn square(&self) -> Option<(usize, usize, bool)> {
        match self.crop {
            Crop::Padded { top, left, .. } if self.jitter.is_none() => {
                Some((top, left, self.mirrored))
            }
            _ => None,
        }
    }

    /// The rectangle of the original image that is to be given to [`Transform::apply`], where it is not
    /// the middle square.
    pub(super) fn rectangle(&self) -> Option<&RandomRectangle> {
        match &self.crop {
            Crop::Resized(rectangle) => Some(rectangle),
            Crop::None | Crop::Padded { .. } => None,
        }
    }

    /// Writes the transformed, normalised image: `image` is (size, size, 3) bytes, `input` is
    /// (3, size, size).
    pub(super) fn apply(&self, image: &[u8], size: usize, norm: &Normalisation, input: &mut [f32]) {
        let mut pixels = match self.crop {
            Crop::Padded { padding, top, left } if (top, left) != (padding, padding) => {
                Cow::Owned(shifted(image, size, padding, top, left))
            }
            _ => Cow::Borrowed(image),
        };
        if let Some(jitter) = &self.jitter {
            jitter.apply(pixels.to_mut());
        }
        norm.write(&pixels, size, self.mirrored, input);
    }
}

/// The square at (`top`, `left`) of the image with `padding` black pixels on each side.
fn shifted(image: &[u8], size: usize, padding: usize, top: usize, left: usize) -> Vec<u8> {
    let mut square = vec![0; 3 * size * size];
    let (from_y, to_y) = (top.saturating_sub(padding), padding.saturating_sub(top));
    let (from_x, to_x) = (left.saturating_sub(padding), padding.saturating_sub(left));
    let rows = size.saturating_sub(from_y + to_y);
    let bytes = 3 * size.saturating_sub(from_x + to_x);
    if bytes > 0 {
        for y in 0..rows {
            let source = &image[3 * ((from_y + y) * size + from_x)..][..bytes];
            square[3 * ((to_y + y) * size + to_x)..][..bytes].copy_from_slice(source);
        }
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stage;

    fn plain() -> Normalisation {
        let config =
            DatasetConfig { mean: vec![0.0; 3], std: vec![1.0 / 255.0; 3], ..Default::default() };
        Normalisation::new(&config)
    }

    /// A 2 x 2 image whose red plane is 1 2 / 3 4.
    const IMAGE: [u8; 12] = [1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0];

    fn red(transform: Transform) -> [f32; 4] {
        let mut input = [9.0; 12];
        transform.apply(&IMAGE, 2, &plain(), &mut input);
        assert!(input[4..].iter().all(|&v| v == 0.0));
        std::array::from_fn(|i| input[i].round())
    }

    #[test]
    fn crops_flips_and_pads_with_black() {
        let at = |top, left| Transform {
            crop: Crop::Padded { padding: 1, top, left },
            ..Transform::NONE
        };
        assert_eq!(red(Transform::NONE), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(red(at(1, 1)), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(red(Transform { mirrored: true, ..at(1, 1) }), [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(red(at(0, 2)), [0.0, 0.0, 2.0, 0.0]);
        assert_eq!(red(Transform { mirrored: true, ..at(0, 2) }), [0.0, 0.0, 0.0, 2.0]);
        assert_eq!(red(at(2, 0)), [0.0, 3.0, 0.0, 0.0]);
        let outside = Crop::Padded { padding: 2, top: 0, left: 4 };
        assert_eq!(red(Transform { crop: outside, ..Transform::NONE }), [0.0; 4]);
    }

    #[test]
    fn planes_and_channels_do_not_mix() {
        let image: Vec<u8> = (0..27).map(|i| i * 7).collect();
        for mirrored in [false, true] {
            let mut input = [0.0; 27];
            Transform { mirrored, ..Transform::NONE }.apply(&image, 3, &plain(), &mut input);
            for (at, value) in input.iter().enumerate() {
                let (channel, y, x) = (at / 9, at % 9 / 3, at % 3);
                let x = if mirrored { 2 - x } else { x };
                assert_eq!(value.round(), f32::from(image[(y * 3 + x) * 3 + channel]));
            }
        }
    }

    #[test]
    fn planes_may_come_in_the_other_order_and_values_go_to_255() {
        let config = DatasetConfig {
            value_range: 255,
            channel_order: ChannelOrder::Bgr,
            mean: vec![1.0, 2.0, 3.0],
            std: vec![1.0, 1.0, 2.0],
            ..Default::default()
        };
        let mut input = [0.0; 3];
        Transform::NONE.apply(&[200, 100, 51], 1, &Normalisation::new(&config), &mut input);
        // Mean and deviation stay those of R, G and B.
        assert_eq!(input, [24.0, 98.0, 199.0]);
        let plain = DatasetConfig { mean: vec![], std: vec![], ..config };
        Transform::NONE.apply(&[200, 100, 51], 1, &Normalisation::new(&plain), &mut input);
        assert_eq!(input, [51.0, 100.0, 200.0]);
    }

    fn draws(config: &TrainConfig, count: u64) -> Vec<Transform> {
        let augmentation = Augmentation::new(config);
        let rng = |i| KeyedRng::new(0, Stage::TrainTransform, (0, i));
        (0..count).map(|i| augmentation.draw(&mut rng(i))).collect()
    }

    #[test]
    fn every_value_comes_from_where_the_draws_say() {
        const SIZE: usize = 7;
        let image: Vec<u8> = (0..SIZE * SIZE * 3).map(|i| (i * 37 % 251) as u8).collect();
        let settings = DatasetConfig::default();
        let (norm, spec) = (Normalisation::new(&settings), InputSpec::of(&settings));
        let config = TrainConfig { crop_padding: 3, ..Default::default() };
        for (i, transform) in draws(&config, 200).into_iter().enumerate() {
            // Two offsets, downwards first, then whether it is mirrored: saved runs rely on it.
            let mut rng = KeyedRng::new(0, Stage::TrainTransform, (0, i as u64));
            let [top, left] = [0, 1].map(|_| rng.below(7) as usize);
            let mirrored = rng.below(2) == 1;
            let mut input = [0.0; 3 * SIZE * SIZE];
            transform.apply(&image, SIZE, &norm, &mut input);
            for (at, &value) in input.iter().enumerate() {
                let (channel, y, x) = (at / (SIZE * SIZE), at / SIZE % SIZE, at % SIZE);
                let x = if mirrored { SIZE - 1 - x } else { x };
                let inside = |place: usize| place.checked_sub(3).filter(|&place| place < SIZE);
                let byte = match (inside(y + top), inside(x + left)) {
                    (Some(y), Some(x)) => image[(y * SIZE + x) * 3 + channel],
                    _ => 0,
                };
                let byte = f32::from(byte) / 255.0;
                assert_eq!(value, (byte - spec.mean[channel]) / spec.std[channel]);
            }
        }
    }

    #[test]
    fn draws_cover_all_offsets() {
        let config = TrainConfig { crop_padding: 1, ..Default::default() };
        let draws = draws(&config, 500);
        for (top, left, mirrored) in [(0, 0, true), (2, 2, false), (0, 2, true), (1, 1, false)] {
            let crop = Crop::Padded { padding: 1, top, left };
            assert!(draws.contains(&Transform { crop, mirrored, jitter: None }));
        }
        let inside = |crop| matches!(crop, Crop::Padded { top: 0..=2, left: 0..=2, .. });
        assert!(draws.iter().all(|draw| inside(draw.crop)));
    }

    #[test]
    fn rectangles_and_colours_are_drawn_where_they_are_asked_for() {
        let config =
            TrainConfig { crop: RandomCrop::Resized, color_jitter: 0.4, ..Default::default() };
        let drawn = draws(&config, 40);
        assert!(drawn.iter().all(|draw| draw.rectangle().is_some() && draw.jitter.is_some()));
        assert!(drawn.iter().any(|draw| draw.mirrored) && drawn.iter().any(|draw| !draw.mirrored));
        // Colours come after the rest: the same images are cropped and flipped in the same way.
        let grey = TrainConfig { color_jitter: 0.0, ..config.clone() };
        for (with, without) in drawn.iter().zip(draws(&grey, 40)) {
            assert_eq!(Transform { jitter: None, ..*with }, without);
        }
        let still = TrainConfig { flip: false, ..config };
        assert!(draws(&still, 40).iter().all(|draw| !draw.mirrored));
    }
}
