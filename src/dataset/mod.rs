//! Images with their labels, as every stage sees them: class names, a training split (cut to a
//! long tail where the pipeline says so), a test split and, where the data has one, a `val` split.

mod account;
mod bit_depth;
mod cifar;
mod cifar_python;
mod class_name;
mod decode;
mod error;
mod examine;
mod fewer_classes;
mod folder;
mod gif;
mod hold_out;
mod image_kind;
mod jitter;
mod jpeg;
mod kind;
pub mod known;
mod list;
mod loader;
mod long_tail;
mod orientation;
mod overlay;
mod random_crop;
mod skipped;
mod split;
mod split_name;
mod table;
mod tiff_kind;
mod tiff_palette;
mod tiff_tags;
mod too_few_classes;
mod transform;
mod walk;

use std::collections::HashSet;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::config::{CropMode, DatasetConfig, DatasetKind, Interpolation};
use crate::domain::{ClassCounts, FeatureShape};
use crate::regular_file;

pub use account::{Account, LeftOut, Reason, add_skipped};
pub use bit_depth::dark_images;
pub(crate) use class_name::{natural_key, nfc};
use decode::Framing;
pub use error::DatasetError;
pub use examine::{Gallery, ImagePlace};
pub use hold_out::{HeldOut, held_of};
pub use image_kind::OtherPicture;
pub use kind::{kind_at, list_kind};
pub use list::{ListError, Listed, ListedSplit, Place, read as read_lists};
pub use loader::{Inputs, Loader};
pub use long_tail::Cut;
pub use skipped::{Skipped, SkippedList, save_skipped};
pub use split::Split;
pub use transform::{Augmentation, Normalisation, Transform};
pub use walk::images_below;

/// A dataset that was found whole.
pub struct Dataset {
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Images that Phase-I trains on and the bank holds with their maps.
    pub train: Split,
    /// Held-out images: the dataset's own, or those of `val_fraction`.
    pub val: Option<Split>,
    /// What the cut to a long tail left, where `imbalance_ratio` asks for one.
    pub cut: Option<Cut>,
    /// What `val_fraction` held out of training, where it is set.
    pub held_out: Option<HeldOut>,
    /// Images that accuracy is measured on.
    pub test: Split,
    /// Whether they were taken from data without splits ([`TEST_FRACTION`]).
    pub test_held_out: bool,
    /// How pixels become network inputs.
    pub normalisation: Normalisation,
    /// Side of the images.
    pub image_size: usize,
    /// Bits that the values of training images of 16 bits need, as far as some were looked at; `None` where
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
    /// asked for ([`Loader::inputs`]).
    ///
    /// # Cost
    /// Archives are held decoded in memory, tables encoded; a folder is listed, its images are decoded
    /// when they are asked for. Every file is looked at once for its size, and those of training once
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
            DatasetKind::Parquet => table::open(config, framing)?,
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

    /// Leaves out the images of some splits that were seen to be none that can be decoded when they were listed,
    /// before anything is computed.
    ///
    /// # Errors
    /// They are more than [`Dataset::skipped`] allows, all that a split or a class has, or the disk does not
    /// give one.
    pub fn skip_undecodable(&self, of: &[&str]) -> Result<(), DatasetError> {
        let paths = self.undecodable();
        let splits =
            [("train", Some(&self.train)), ("val", self.val.as_ref()), ("test", Some(&self.test))];
        let wanted = |name: &str| of.contains(&name) && !paths.is_empty();
        for (name, split) in splits.into_iter().filter(|(name, _)| wanted(name)) {
            split.map_or(Ok(()), |split| Loader::new(self, name, split).skip_named(&paths))?;
        }
        Ok(())
    }

    /// Paths that were seen to be of no image that can be decoded when the dataset was listed.
    fn undecodable(&self) -> HashSet<&str> {
        let undecodable = |left: &&LeftOut| left.reason == Reason::Unreadable;
        self.account.left_out.iter().filter(undecodable).map(|left| left.path.as_str()).collect()
    }

    /// Classes of a split's images but those that were seen to be none that can be decoded when they were listed.
    pub fn labels_of_decodable(&self, split: &Split) -> Vec<u32> {
        let (undecodable, labels) = (self.undecodable(), split.labels());
        let known = |i: &usize| !undecodable.contains(split.path(*i));
        (0..split.len()).filter(known).map(|i| labels[i]).collect()
    }

    /// Training images of each class.
    pub fn class_counts(&self) -> ClassCounts {
        ClassCounts::from_labels(self.train.labels(), self.class_names.len())
    }

    /// Training images of each class but those that were left out so far.
    pub fn decodable_class_counts(&self) -> ClassCounts {
        let mut counts = self.class_counts();
        for image in self.skipped.images().iter().filter(|image| image.split == "train") {
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

/// Share of each class's images that becomes the test split of data without splits.
pub const TEST_FRACTION: f64 = 0.2;

struct Parts {
    class_names: Vec<String>,
    train: Split,
    val: Option<Split>,
    /// `None` where the data has no splits.
    test: Option<Split>,
    account: Account,
}

impl Parts {
    /// Parts of images alone: nothing was left out.
    fn whole(
        class_names: Vec<String>,
        train: Split,
        val: Option<Split>,
        test: Option<Split>,
    ) -> Self {
        let of = |split: &Option<Split>| split.as_ref().map_or(0, Split::len);
        let account = Account::of_used(train.len() + of(&val) + of(&test));
        Self { class_names, train, val, test, account }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, DatasetError> {
    read_at_most(path, u64::MAX)
}

/// An encoded image, which is no larger than the largest one decoded.
fn read_image(path: &Path) -> Result<Vec<u8>, DatasetError> {
    read_at_most(path, decode::MOST_BYTES)
}

fn read_at_most(path: &Path, bytes: u64) -> Result<Vec<u8>, DatasetError> {
    regular_file::read(path, bytes)
        .map_err(|source| DatasetError::Read { path: path.into(), source })
}
