//! From 8-bit pixels to network inputs: random crop and flip, then normalisation.

use crate::config::{DatasetConfig, DatasetKind};
use crate::rng::KeyedRng;

/// Mean and standard deviation that inputs are normalised by.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    /// Of R, G, B in [0, 1].
    pub mean: [f32; 3],
    /// Of R, G, B.
    pub std: [f32; 3],
    /// Normalised value of each byte, for each channel.
    table: Box<[[f32; 256]; 3]>,
}

/// CIFAR-10's training set.
const CIFAR10: [[f32; 3]; 2] = [[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]];
/// CIFAR-100's training set.
const CIFAR100: [[f32; 3]; 2] = [[0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]];
/// ImageNet's training set, usual for photographs.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

impl Normalisation {
    /// The values of `config`, or those usual for its kind.
    pub fn new(config: &DatasetConfig) -> Self {
        let [mean, std] = match config.kind {
            DatasetKind::Cifar10 => CIFAR10,
            DatasetKind::Cifar100 => CIFAR100,
            DatasetKind::Folder | DatasetKind::List | DatasetKind::Parquet => IMAGENET,
        };
        let given = |values: &[f32], usual| <[f32; 3]>::try_from(values).unwrap_or(usual);
        let (mean, std) = (given(&config.mean, mean), given(&config.std, std));
        let value = |c: usize, byte: usize| (byte as f32 / 255.0 - mean[c]) / std[c];
        let table = Box::new([0, 1, 2].map(|c| std::array::from_fn(|byte| value(c, byte))));
        Self { mean, std, table }
    }
}

/// Where a random crop lies in the padded image, and whether it is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropFlip {
    padding: usize,
    top: usize,
    left: usize,
    mirrored: bool,
}

impl CropFlip {
    /// The clean image.
    pub const NONE: Self = Self { padding: 0, top: 0, left: 0, mirrored: false };

    /// A uniform crop of the image padded by `padding` zero pixels on each side; half of the
    /// crops are mirrored where `flip` is set.
    pub fn draw(rng: &mut KeyedRng, padding: usize, flip: bool) -> Self {
        let offsets = 2 * padding as u32 + 1;
        let (top, left) = (rng.below(offsets) as usize, rng.below(offsets) as usize);
        Self { padding, top, left, mirrored: flip && rng.below(2) == 1 }
    }

    /// Writes the transformed, normalised image: `image` is (size, size, 3) bytes, `input` is
    /// (3, size, size). Padding is black, as in torchvision's `RandomCrop`.
    pub fn apply(self, image: &[u8], size: usize, norm: &Normalisation, input: &mut [f32]) {
        let plane = size * size;
        for y in 0..size {
            let source_y = (y + self.top).checked_sub(self.padding).filter(|&y| y < size);
            for x in 0..size {
                let x_in_crop = if self.mirrored { size - 1 - x } else { x };
                let source_x =
                    (x_in_crop + self.left).checked_sub(self.padding).filter(|&x| x < size);
                let source = source_y.zip(source_x).map(|(y, x)| (y * size + x) * 3);
                for channel in 0..3 {
                    let byte = source.map_or(0, |at| image[at + channel]);
                    input[channel * plane + y * size + x] = norm.table[channel][usize::from(byte)];
                }
            }
        }
    }
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

    fn red(transform: CropFlip) -> [f32; 4] {
        let mut input = [9.0; 12];
        transform.apply(&IMAGE, 2, &plain(), &mut input);
        assert!(input[4..].iter().all(|&v| v == 0.0));
        std::array::from_fn(|i| input[i].round())
    }

    #[test]
    fn crops_flips_and_pads_with_black() {
        assert_eq!(red(CropFlip::NONE), [1.0, 2.0, 3.0, 4.0]);
        let crop = CropFlip { padding: 1, top: 1, left: 1, mirrored: false };
        assert_eq!(red(crop), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(red(CropFlip { mirrored: true, ..crop }), [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(red(CropFlip { top: 0, left: 2, ..crop }), [0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn draws_cover_all_offsets() {
        let mut rng = KeyedRng::new(0, Stage::TrainTransform, (0, 0));
        let draws: Vec<CropFlip> = (0..500).map(|_| CropFlip::draw(&mut rng, 1, true)).collect();
        for (top, left, mirrored) in [(0, 0, true), (2, 2, false), (0, 2, true), (1, 1, false)] {
            assert!(draws.contains(&CropFlip { padding: 1, top, left, mirrored }));
        }
        assert!(draws.iter().all(|d| d.top <= 2 && d.left <= 2));
    }
}
