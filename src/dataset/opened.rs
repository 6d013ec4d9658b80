//! From the settings to a dataset that was found whole: its splits, cut to a long tail or held out where
//! the pipeline says so.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::account::{Account, LeftOut, Reason};
use super::class_name;
use super::decode::Framing;
use super::error::DatasetError;
use super::hold_out::{self, HeldOut};
use super::long_tail::{self, Cut};
use super::parts::Parts;
use super::skipped::Skipped;
use super::split_images::SplitImages;
use super::transform::Normalisation;
use super::{bit_depth, cifar, fewer_classes, folder, image_table, list};
use crate::config::{CropMode, DatasetConfig, DatasetKind, Interpolation};
use crate::domain::{ClassCounts, Split};

/// Share of each class's images that becomes the test split of data without splits.
pub const TEST_FRACTION: f64 = 0.2;

/// A dataset that was found whole.
pub struct Dataset {
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Images that Phase-I trains on and the bank holds with their maps.
    pub train: SplitImages,
    /// Held-out images: the dataset's own, or those of `val_fraction`.
    pub val: Option<SplitImages>,
    /// What the cut to a long tail left, where `imbalance_ratio` asks for one.
    pub cut: Option<Cut>,
    /// What `val_fraction` held out of training, where it is set.
    pub held_out: Option<HeldOut>,
    /// Images that accuracy is measured on.
    pub test: SplitImages,
    /// Whether they were taken from data without splits ([`TEST_FRACTION`]).
    pub test_held_out: bool,
    /// How pixels become network inputs.
    pub normalisation: Normalisation,
    /// Side of the images.
    pub image_size: usize,
    /// Bits that the values of training images of 16 bits need, as far as some were examined; `None` where
    /// there are no such images among these.
    pub bit_depth_seen: Option<u32>,
    /// Hash of classes, labels, paths and pixels (of files: their sizes, of tables: the encoded images);
    /// empty where the dataset was only listed.
    pub fingerprint: String,
    /// Images that turned out not to be decodable, and how many may.
    pub skipped: Skipped,
    /// What became of every file that was met.
    pub account: Account,
}

impl Dataset {
    /// Forgets the doubt about the order of the classes, where their names decide.
    pub fn settle_class_order(&mut self) {
        let doubt = class_name::unnatural(&self.class_names);
        self.account.warnings.retain(|warning| Some(warning) != doubt.as_ref());
    }

    /// Reads the dataset that `config` describes.
    ///
    /// # Errors
    /// See [`DatasetError`]; nothing is skipped silently. What single images are is seen when they are
    /// asked for ([`super::Loader::inputs`]).
    ///
    /// # Cost
    /// Archives are held decoded in memory, tables encoded; a folder is listed, its images are decoded
    /// when they are asked for. Every file is examined once for its size, and those of training once
    /// more by [`Dataset::train_fingerprint`].
    pub fn open(config: &DatasetConfig) -> Result<Self, DatasetError> {
        let mut dataset = Self::list(config)?;
        dataset.fingerprint = dataset.compute_fingerprint(Framing::of(config))?;
        Ok(dataset)
    }

    /// As [`Dataset::open`], but without a fingerprint, with no more than a look at the first bytes of the files
    /// in a folder and at some images whole: a listed image that is missing is found when it is asked for.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn list(config: &DatasetConfig) -> Result<Self, DatasetError> {
        let (path, framing) = (config.path.as_path(), Framing::of(config));
        let parts = match config.kind {
            DatasetKind::Cifar10 => cifar::open(path, &cifar::CIFAR10)?,
            DatasetKind::Cifar100 => cifar::open(path, &cifar::CIFAR100)?,
            DatasetKind::Folder => folder::open(config, framing)?,
            DatasetKind::List => list::open(config, framing)?,
            DatasetKind::Parquet => image_table::open(config, framing)?,
        };
        let parts = match config.max_classes {
            0 => parts,
            most => fewer_classes::keep(parts, most),
        };
        let Parts { class_names, mut train, mut val, test, mut account } = parts;
        let list = path.join(&config.train_list);
        let path = if config.train_list.as_os_str().is_empty() { path } else { list.as_path() };
        if class_names.len() < 2 {
            return Err(DatasetError::TooSmall {
                path: path.into(),
                found: format!("{} class", class_names.len()),
                expected: "at least 2 classes",
            });
        }
        let test_held_out = test.is_none();
        let test = match test {
            Some(test) => test,
            None => {
                let classes = class_names.len();
                let (stays, held) = hold_out::divide(train.labels(), classes, TEST_FRACTION);
                let test = train.subset(&held);
                train = train.subset(&stays);
                account.notes.push(no_test_split(config.kind, val.is_some()));
                test
            }
        };
        let mut cut = None;
        if config.imbalance_ratio > 1.0 {
            let (keep, left) = long_tail::select(path, &class_names, train.labels(), config)?;
            train = train.subset(&keep);
            cut = Some(left);
        }
        let counts = ClassCounts::from_labels(train.labels(), class_names.len());
        if let Some(empty) = counts.0.iter().position(|&n| n == 0) {
            let class = class_names[empty].clone();
            return Err(DatasetError::EmptyClass { path: path.into(), class });
        }
        let mut held_out = None;
        if config.val_fraction > 0.0 {
            if val.is_some() {
                return Err(DatasetError::HasValidation { path: path.into() });
            }
            let classes = class_names.len();
            let (stays, held) = hold_out::divide(train.labels(), classes, config.val_fraction);
            if held.is_empty() {
                return Err(DatasetError::TooSmall {
                    path: path.into(),
                    found: format!("no class large enough to give {} of it", config.val_fraction),
                    expected: "a dataset.val_fraction that holds out at least one image",
                });
            }
            let held = train.subset(&held);
            train = train.subset(&stays);
            held_out = Some(HeldOut::of(held.labels(), classes));
            val = Some(held);
        }
        if test.is_empty() {
            return Err(DatasetError::TooSmall {
                path: path.into(),
                found: match test_held_out {
                    true => {
                        "no test split, and no class of 3 images that one can be held out of".into()
                    }
                    false => "no test image".into(),
                },
                expected: "test images, to measure accuracy on",
            });
        }
        let (normalisation, image_size) = (Normalisation::new(config), train.size);
        let values = bit_depth::Values::of(&train);
        account.warnings.extend(values.and_then(|values| values.note(framing.bit_depth)));
        Ok(Self {
            class_names,
            train,
            val,
            cut,
            held_out,
            test,
            test_held_out,
            normalisation,
            image_size,
            bit_depth_seen: values.map(|values| values.bit_depth()),
            fingerprint: String::new(),
            skipped: Skipped::default(),
            account,
        })
    }

    fn compute_fingerprint(&self, framing: Framing) -> Result<String, DatasetError> {
        let mut hash = Sha256::new();
        self.class_names.iter().for_each(|name| hash.update(format!("{name}\n")));
        if (framing.crop_fraction, framing.interpolation) != (1.0, Interpolation::Bilinear) {
            hash.update(format!("{} {:?}\n", framing.crop_fraction, framing.interpolation));
        }
        if framing.crop_mode != CropMode::Center {
            hash.update(format!("{:?} {:?}\n", framing.crop_mode, framing.border));
        }
        if framing.bit_depth != DatasetConfig::default().bit_depth {
            hash.update(format!("{} bits\n", framing.bit_depth));
        }
        for split in [Some(&self.train), self.val.as_ref(), Some(&self.test)].into_iter().flatten()
        {
            split.hash_into(&mut hash)?;
        }
        Ok(crate::text::hex(&hash.finalize()[..16]))
    }

    /// Paths of images that were found undecodable when the dataset was listed.
    pub(super) fn undecodable(&self) -> HashSet<&str> {
        let undecodable = |left: &&LeftOut| left.reason == Reason::Unreadable;
        self.account.left_out.iter().filter(undecodable).map(|left| left.path.as_str()).collect()
    }

    /// A split's images of each class, without those that were found undecodable when they were listed.
    pub fn counts_as_listed(&self, split: &SplitImages) -> ClassCounts {
        let (undecodable, labels) = (self.undecodable(), split.labels());
        let known = |i: &usize| !undecodable.contains(split.path(*i));
        let labels: Vec<u32> = (0..split.len()).filter(known).map(|i| labels[i]).collect();
        ClassCounts::from_labels(&labels, self.class_names.len())
    }

    /// The images of a split, where there is one.
    pub fn images(&self, split: Split) -> Option<&SplitImages> {
        match split {
            Split::Train => Some(&self.train),
            Split::Val => self.val.as_ref(),
            Split::Test => Some(&self.test),
        }
    }

    /// Training images of each class.
    pub fn class_counts(&self) -> ClassCounts {
        ClassCounts::from_labels(self.train.labels(), self.class_names.len())
    }

    /// Training images of each class but those that were left out so far.
    pub fn decodable_class_counts(&self) -> ClassCounts {
        let mut counts = self.class_counts();
        for image in self.skipped.images().iter().filter(|image| image.split == Split::Train) {
            counts.0[self.train.labels()[image.sample_id] as usize] -= 1;
        }
        counts
    }

    /// Hash of the labels and pixels of the training split alone: what names a long-tailed subset.
    ///
    /// # Errors
    /// A file of the split that can no longer be read.
    pub fn train_fingerprint(&self) -> Result<String, DatasetError> {
        let mut hash = Sha256::new();
        self.train.hash_into(&mut hash)?;
        Ok(crate::text::hex(&hash.finalize()[..8]))
    }
}

fn no_test_split(kind: DatasetKind, has_val: bool) -> String {
    let held = format!(
        "the data has no test split; {:.0} % of each class's training images are held out as test images",
        100.0 * TEST_FRACTION
    );
    match (kind, has_val) {
        (DatasetKind::Folder, true) => {
            held + "; to measure on the images of the val split instead, name its folder test"
        }
        _ => held,
    }
}
