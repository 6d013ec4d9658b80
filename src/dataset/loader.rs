//! Batches of network inputs: images of a split, decoded, transformed and normalised on all threads.

use std::collections::HashSet;

use rayon::prelude::*;

use super::error::{DatasetError, is_of_the_file};
use super::opened::Dataset;
use super::split_images::SplitImages;
use super::transform::Transform;
use crate::domain::Split;

/// Makes inputs of the images of one split.
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    dataset: &'a Dataset,
    name: Split,
    split: &'a SplitImages,
}

/// Inputs of some images.
#[derive(Debug)]
pub struct Inputs {
    /// (n, 3, side, side).
    pub values: Vec<f32>,
    /// Which of the images asked for these are, in their order: all but those that cannot be decoded.
    pub kept: Vec<usize>,
}

impl<'a> Loader<'a> {
    /// For `split`, which is the dataset's `name`.
    pub fn new(dataset: &'a Dataset, name: Split, split: &'a SplitImages) -> Self {
        Self { dataset, name, split }
    }

    /// The split.
    pub fn split(&self) -> &'a SplitImages {
        self.split
    }

    /// Inputs of images with their transforms. Images that cannot be decoded are added to
    /// [`Dataset::skipped`], and not tried again.
    ///
    /// # Errors
    /// More images than allowed cannot be decoded: the error is that of the first one beyond. The disk does
    /// not give a file.
    ///
    /// # Cost
    /// Crops of the original image decode it each time; squares are kept decoded where all of them fit
    /// into 4 GiB.
    pub fn inputs(&self, images: &[(usize, Transform)]) -> Result<Inputs, DatasetError> {
        let values_an_image = 3 * self.split.size * self.split.size;
        let mut values = vec![0.0; images.len() * values_an_image];
        let made: Vec<Option<Result<(), DatasetError>>> = values
            .par_chunks_exact_mut(values_an_image)
            .zip(images)
            .map(|(input, (sample, how))| {
                let known = self.dataset.skipped.contains(self.name, *sample);
                (!known).then(|| self.make_input(*sample, how, input))
            })
            .collect();
        let mut kept = Vec::with_capacity(images.len());
        // In order of the images, so that the same ones are listed whatever the threads do.
        for (place, made) in made.into_iter().enumerate() {
            match made {
                Some(Ok(())) => kept.push(place),
                Some(Err(error)) => self.skip(images[place].0, error)?,
                None => {}
            }
        }
        if kept.len() < images.len() {
            for (to, &from) in kept.iter().enumerate() {
                let from = from * values_an_image;
                values.copy_within(from..from + values_an_image, to * values_an_image);
            }
            values.truncate(kept.len() * values_an_image);
        }
        Ok(Inputs { values, kept })
    }

    fn make_input(
        &self,
        sample: usize,
        how: &Transform,
        input: &mut [f32],
    ) -> Result<(), DatasetError> {
        let pixels = match how.rectangle() {
            Some(rectangle) => self.split.rectangle(sample, rectangle)?.into(),
            None => self.split.image(sample)?,
        };
        how.apply(&pixels, self.split.size, &self.dataset.normalisation, input);
        Ok(())
    }

    /// Leaves out the images that `undecodable` names, all at once, as far as their errors confirm it.
    pub(super) fn skip_named(&self, undecodable: &HashSet<&str>) -> Result<(), DatasetError> {
        let named = (0..self.split.len()).filter(|&i| undecodable.contains(self.split.path(i)));
        let tried = named.filter_map(|i| Some((i, self.split.image(i).err()?)));
        let of_images = tried.map(|(i, error)| Ok((i, of_the_image(error)?)));
        let images = of_images.collect::<Result<_, _>>()?;
        self.dataset.skipped.add(self.name, self.split, &self.dataset.class_names, images)
    }

    fn skip(&self, sample: usize, error: DatasetError) -> Result<(), DatasetError> {
        let images = vec![(sample, of_the_image(error)?)];
        self.dataset.skipped.add(self.name, self.split, &self.dataset.class_names, images)
    }
}

/// The error of an image that may be left out; else that of a disk.
fn of_the_image(error: DatasetError) -> Result<DatasetError, DatasetError> {
    match error {
        DatasetError::Read { path, source } if !is_of_the_file(&source) => {
            Err(DatasetError::Disk { path, source })
        }
        error => Ok(error),
    }
}

impl Dataset {
    /// Leaves out the images of some splits that were found undecodable when they were listed,
    /// before anything is computed.
    ///
    /// # Errors
    /// They are more than [`Dataset::skipped`] allows, all that a split or a class has, or the disk does not
    /// give one.
    pub fn skip_undecodable(&self, of: &[Split]) -> Result<(), DatasetError> {
        let paths = self.undecodable();
        let wanted = |name: &Split| of.contains(name) && !paths.is_empty();
        for name in Split::ALL.into_iter().filter(wanted) {
            let images = self.images(name);
            images.map_or(Ok(()), |images| Loader::new(self, name, images).skip_named(&paths))?;
        }
        Ok(())
    }
}
