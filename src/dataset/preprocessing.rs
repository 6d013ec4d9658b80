//! From an image's file to a network's input, without a dataset.

use std::path::Path;

use super::decode::{self, Framing, read_image};
use super::error::DatasetError;
use super::overlay;
use super::transform::{Normalisation, Transform};
use crate::config::DatasetConfig;
use crate::domain::FeatureShape;

/// From a file to a network's input, as images of the test split are treated.
pub struct Preprocessing {
    framing: Framing,
    normalisation: Normalisation,
}

impl Preprocessing {
    /// The preprocessing of a dataset's settings.
    pub fn new(config: &DatasetConfig) -> Self {
        Self { framing: Framing::of(config), normalisation: Normalisation::new(config) }
    }

    /// The input of one image: (3, size, size).
    ///
    /// # Errors
    /// An unreadable or undecodable file.
    pub fn input(&self, path: &Path) -> Result<Vec<f32>, DatasetError> {
        self.of_encoded(&read_image(path)?, path)
    }

    /// The same with the largest value of the image, where it is one of 16 bits and all of them count.
    ///
    /// # Errors
    /// An unreadable or undecodable file.
    pub fn input_and_largest(&self, path: &Path) -> Result<(Vec<f32>, Option<u16>), DatasetError> {
        let encoded = read_image(path)?;
        let input = self.of_encoded(&encoded, path)?;
        let looked_at = self.framing.bit_depth == DatasetConfig::default().bit_depth
            && decode::may_have_16_bits(&encoded);
        Ok((input, looked_at.then(|| decode::largest_of_16_bits(&encoded)).flatten()))
    }

    fn of_encoded(&self, encoded: &[u8], path: &Path) -> Result<Vec<f32>, DatasetError> {
        let (pixels, size) = (decode::bytes(encoded, path, self.framing)?, self.framing.size);
        let mut input = vec![0.0; 3 * size * size];
        Transform::NONE.apply(&pixels, size, &self.normalisation, &mut input);
        Ok(input)
    }

    /// The image as a JPEG, with `cam` (of `shape`, in [0, 1]) over the square that the network sees.
    ///
    /// # Errors
    /// An unreadable or undecodable file.
    pub fn picture(
        &self,
        path: &Path,
        cam: &[f32],
        shape: FeatureShape,
    ) -> Result<Vec<u8>, DatasetError> {
        overlay::picture(path, self.framing, cam, shape)
    }
}
