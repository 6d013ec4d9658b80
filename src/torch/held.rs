//! The images of a split on the device, where they are cropped, mirrored and normalised.

use fsa_bank::backbone::{HeldImage, HeldImages};
use tch::{Device, Kind, TchError, Tensor};

/// Images with their padding.
pub struct Held {
    /// (n · padded · padded, 3), bytes.
    pixels: Tensor,
    /// (768), the normalised value of each byte of R, then G, then B.
    normalised: Tensor,
    side: i64,
    padded: i64,
}

impl Held {
    /// Puts the images on `device`.
    pub fn new(images: &HeldImages, device: Device) -> Result<Self, TchError> {
        let (side, padding) = (images.side as i64, images.padding as i64);
        let padded = side + 2 * padding;
        let pixels = Tensor::f_from_slice(images.pixels)?
            .f_view([-1, side, side, 3])?
            .f_to_device(device)?
            .f_constant_pad_nd([0, 0, padding, padding, padding, padding])?
            .f_view([-1, 3])?;
        let normalised = Tensor::f_from_slice(images.normalised.as_flattened())?;
        Ok(Self { pixels, normalised: normalised.f_to_device(device)?, side, padded })
    }

    /// Inputs (n, 3, side, side) in f32: the same values as those that are made on the host.
    pub fn inputs(&self, images: &[HeldImage]) -> Result<Tensor, TchError> {
        let device = self.pixels.device();
        let column = |of: &dyn Fn(&HeldImage) -> usize| {
            let values: Vec<i64> = images.iter().map(|image| of(image) as i64).collect();
            Tensor::f_from_slice(&values)?.f_view([-1, 1])?.f_to_device(device)
        };
        let places = Tensor::f_arange(self.side, (Kind::Int64, device))?.f_view([1, -1])?;
        // Of a mirrored image the places run backwards: side − 1 − x in place of x.
        let mirrored = column(&|image| usize::from(image.mirrored))?;
        let turned = places.f_mul_scalar(-2)?.f_add_scalar(self.side - 1)?.f_mul(&mirrored)?;
        let x = places.f_add(&turned)?.f_add(&column(&|image| image.left)?)?.f_unsqueeze(1)?;
        let y = places.f_add(&column(&|image| image.top)?)?.f_unsqueeze(2)?;
        let sample = column(&|image| image.sample)?.f_unsqueeze(2)?;
        let row = sample.f_mul_scalar(self.padded)?.f_add(&y)?.f_mul_scalar(self.padded)?;
        let bytes = self.pixels.f_index_select(0, &row.f_add(&x)?.f_view([-1])?)?;
        let channels = Tensor::f_from_slice(&[0i64, 256, 512])?.f_to_device(device)?;
        let entries = bytes.f_to_kind(Kind::Int64)?.f_add(&channels)?.f_view([-1])?;
        self.normalised
            .f_index_select(0, &entries)?
            .f_view([images.len() as i64, self.side, self.side, 3])?
            .f_permute([0, 3, 1, 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_images_are_cropped_mirrored_and_normalised_as_on_the_host() {
        let (side, padding, count) = (3, 2, 4);
        let pixels: Vec<u8> = (0..count * side * side * 3).map(|i| (i * 37 % 251) as u8).collect();
        let value = |c: usize, byte: u8| (f32::from(byte) / 255.0 - 0.1 * c as f32) / 0.3;
        let table = [0, 1, 2].map(|c| std::array::from_fn(|byte| value(c, byte as u8)));
        let images = HeldImages { pixels: &pixels, side, padding, normalised: &table };
        let held = Held::new(&images, Device::Cpu).unwrap();
        let wanted: Vec<HeldImage> = (0..40)
            .map(|i| HeldImage {
                sample: i % count,
                top: i % 5,
                left: i * 3 % 5,
                mirrored: i % 3 == 0,
            })
            .collect();
        let inputs = held.inputs(&wanted).unwrap().contiguous();
        let mut found = vec![0f32; inputs.numel()];
        inputs.view(-1).copy_data(&mut found, inputs.numel());
        for (image, found) in wanted.iter().zip(found.chunks(3 * side * side)) {
            for (at, found) in found.iter().enumerate() {
                let (c, y, x) = (at / (side * side), at / side % side, at % side);
                let x = if image.mirrored { side - 1 - x } else { x };
                let inside = |v: usize| v.checked_sub(padding).filter(|v| *v < side);
                let byte = inside(y + image.top)
                    .zip(inside(x + image.left))
                    .map_or(0, |(y, x)| pixels[((image.sample * side + y) * side + x) * 3 + c]);
                assert_eq!(*found, value(c, byte), "{image:?}, {at}");
            }
        }
    }
}
