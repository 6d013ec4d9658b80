//! Every image of a dataset one by one, whatever is wrong with it: what `dataset check` goes through.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::account::Account;
use super::decode;
use super::error::DatasetError;
use super::opened::Dataset;
use super::split_images::SplitImages;
use crate::config::DatasetConfig;
use crate::domain::Split;

/// Where an image is in a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ImagePlace {
    /// Its split.
    pub split: Split,
    /// What identifies it in its source, such as `train/heron/0012.jpg`.
    pub path: String,
    /// Name of its class.
    pub class: String,
}

/// All images of a dataset, in the splits that its pipeline sees; none was examined yet.
pub struct Gallery {
    class_names: Vec<String>,
    /// Each split with its name, and the index of its first image.
    splits: Vec<(Split, usize, SplitImages)>,
    account: Account,
}

impl Gallery {
    /// Lists the images that `config` describes.
    ///
    /// # Errors
    /// The dataset cannot be listed. An image that is missing or cannot be decoded is not an error here.
    pub fn open(config: &DatasetConfig) -> Result<Self, DatasetError> {
        let Dataset { class_names, train, val, test, account, .. } = Dataset::list(config)?;
        let named = [(Split::Train, Some(train)), (Split::Val, val), (Split::Test, Some(test))];
        let mut first = 0;
        let mut splits = vec![];
        for (name, split) in named.into_iter().filter_map(|(name, split)| Some((name, split?))) {
            let images = split.len();
            splits.push((name, first, split));
            first += images;
        }
        Ok(Self { class_names, splits, account })
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// What became of every file.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Images of all splits.
    pub fn len(&self) -> usize {
        self.splits.iter().map(|(.., split)| split.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Images of each split that has some, in the order train, val, test.
    pub fn splits(&self) -> Vec<(Split, usize)> {
        let sizes = self.splits.iter().map(|(name, _, split)| (*name, split.len()));
        sizes.filter(|(_, images)| *images > 0).collect()
    }

    /// Where image `i` is.
    pub fn place(&self, i: usize) -> ImagePlace {
        let (name, split, at) = find(&self.splits, i);
        let class = self.class_names[split.labels[at] as usize].clone();
        ImagePlace { split: name, path: split.paths[at].clone(), class }
    }

    /// sha256 of the content of image `i` (of a file its bytes, of an archive the pixels), after the
    /// whole image was decoded.
    ///
    /// # Errors
    /// The image is missing, or cannot be read or decoded.
    pub fn digest(&self, i: usize) -> Result<[u8; 32], DatasetError> {
        let (_, split, at) = find(&self.splits, i);
        match split.file_of(at)? {
            Some((encoded, path)) => digest_of_encoded(&encoded, &path),
            None => Ok(Sha256::digest(split.image(at)?).into()),
        }
    }
}

/// The split that image `i` is in, with its place there.
fn find(splits: &[(Split, usize, SplitImages)], i: usize) -> (Split, &SplitImages, usize) {
    let after = splits.partition_point(|(_, first, _)| *first <= i);
    // An empty split begins where the next one does, so the last that begins early enough has it.
    let (name, first, split) = &splits[after - 1];
    (*name, split, i - first)
}

fn digest_of_encoded(bytes: &[u8], path: &Path) -> Result<[u8; 32], DatasetError> {
    decode::upright(bytes, path, 16)?;
    Ok(Sha256::digest(bytes).into())
}
