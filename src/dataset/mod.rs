//! Images with their labels, as every stage sees them: class names, a training split (cut to a
//! long tail where the pipeline says so), a test split and, where the data has one, a `val` split.

mod cifar;
mod cifar_python;
mod decode;
mod examine;
mod folder;
mod hold_out;
mod jitter;
mod loader;
pub mod known;
mod long_tail;
mod overlay;
mod pickle;
mod random_crop;
mod skipped;
mod table;
mod transform;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::config::{DatasetConfig, DatasetKind, Interpolation};
use crate::domain::{ClassCounts, FeatureShape};

use decode::Framing;
pub use examine::{Gallery, ImagePlace};
pub use hold_out::{HeldOut, held_of};
pub use loader::{Inputs, Loader};
pub use long_tail::Cut;
pub use pickle::PickleError;
use random_crop::RandomRectangle;
pub use skipped::{Skipped, SkippedImage, SkippedList};
pub use transform::{Augmentation, Normalisation, Transform};

/// What can be wrong with a dataset. Each message says where, what was expected, what was found
/// and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Nothing at the dataset's path.
    #[error("{}: no such file or directory; expected {expected}\n  Point `dataset.path` or --data at it.", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// Nothing at the path of a dataset that has a name, or not all of it.
    #[error("{}: no such file or directory; {wanted}\n  Or point `dataset.path` or --data at it.", path.display())]
    MissingKnown {
        /// Where it was looked for.
        path: PathBuf,
        /// What is missing, with sizes, and the command that gets it.
        wanted: String,
    },
    /// A read failed.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that ends inside a record, or holds none.
    #[error("{}: {bytes} bytes is not a whole number of {record_bytes}-byte records; the file is cut short or is not {kind}\n  Fetch the archive again.", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// The length of a record.
        record_bytes: usize,
        /// What it should be.
        kind: &'static str,
    },
    /// Files larger than those of any archive of their kind.
    #[error("{}: {bytes} bytes; expected a file of {kind}, {most} bytes at most in all\n  The file is damaged or of another dataset.", path.display())]
    Oversized {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// Bytes of all files together at most.
        most: u64,
        /// What it should be.
        kind: &'static str,
    },
    /// A Python pickle that cannot be read, or that asks for code to be run.
    #[error("{}: {source}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PickleError,
    },
    /// A batch of CIFAR's Python version with other content than expected.
    #[error("{}: {found}; expected a dictionary with `data`, unsigned bytes of images x {image_bytes}, and `{labels}`, a number each\n  The file is damaged or of another dataset.", path.display())]
    Batch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
        /// The key of the labels.
        labels: &'static str,
        /// The length of an image.
        image_bytes: usize,
    },
    /// A file of class names of CIFAR's Python version without them.
    #[error("{}: {found}; expected a dictionary with `{key}`, a list of names\n  The file is damaged or of another dataset.", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// The key of the names.
        key: &'static str,
    },
    /// A label beyond the classes.
    #[error("{}: record {record} has label {label}; expected 0 to {}\n  The file is damaged or of another dataset.", path.display(), classes - 1)]
    Label {
        /// The file.
        path: PathBuf,
        /// Record, from 0.
        record: usize,
        /// What it says.
        label: i64,
        /// How many classes there are.
        classes: usize,
    },
    /// Class names do not match the number of classes.
    #[error("{}: {found} class names; expected {expected}", path.display())]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// Names in it.
        found: usize,
        /// Classes.
        expected: usize,
    },
    /// A class with no training image.
    #[error("{}: class `{class}` has no training image; expected at least one\n  Add images, or remove the class everywhere.", path.display())]
    EmptyClass {
        /// The dataset.
        path: PathBuf,
        /// Its name.
        class: String,
    },
    /// Images to hold out of training where the data has held-out images already.
    #[error("{}: this data has a val split of its own, so dataset.val_fraction would leave it unused\n  Remove dataset.val_fraction, or the val split.", path.display())]
    HasValidation {
        /// The dataset.
        path: PathBuf,
    },
    /// A class of the test or val split that training does not have.
    #[error("{}: class `{class}` is not in the training split\n  Add {class} to train/, or remove it here.", path.display())]
    UnknownClass {
        /// The directory.
        path: PathBuf,
        /// Its name.
        class: String,
    },
    /// A split with no image at all, or too few classes to classify.
    #[error("{}: {found}; expected {expected}", path.display())]
    TooSmall {
        /// The directory or file.
        path: PathBuf,
        /// What there is.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Fewer images in a class than the long-tailed subset takes.
    #[error("{}: class `{class}` has {found} images; the subset takes {wanted}\n  {remedy}", path.display())]
    TooFew {
        /// The dataset.
        path: PathBuf,
        /// The class.
        class: String,
        /// Its images.
        found: usize,
        /// Images that the subset takes.
        wanted: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// A class that the cut to a long tail leaves nothing of.
    #[error("{}: an imbalance ratio of {imbalance_ratio} leaves class `{class}` none of its {found} images; expected at least one\n  Use a smaller dataset.imbalance_ratio.", path.display())]
    CutAway {
        /// The dataset.
        path: PathBuf,
        /// The class.
        class: String,
        /// Its images.
        found: usize,
        /// Largest over smallest class that was asked for.
        imbalance_ratio: f64,
    },
    /// An image that cannot be decoded.
    #[error("{}: not a readable image: {message}\n  Replace or remove it.", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// The decoder's message.
        message: String,
    },
    /// An image of more pixels than are decoded.
    #[error("{}: an image of {width} x {height} pixels; at most {limit} pixels are decoded\n  Replace or remove it.", path.display())]
    TooLarge {
        /// The image.
        path: PathBuf,
        /// As the file says.
        width: u32,
        /// As the file says.
        height: u32,
        /// Pixels in all.
        limit: u64,
    },
    /// More images that cannot be decoded than may be left out.
    #[error("{found}\n  {skipped} of {images} {split} images cannot be decoded so far; --max-skipped allows {allowed}\n  {}", skipping_remedy(*skipped, *images))]
    TooManySkipped {
        /// What is wrong with the first one beyond.
        found: Box<DatasetError>,
        /// Images that cannot be decoded.
        skipped: usize,
        /// Images that may be left out.
        allowed: usize,
        /// Images of the split.
        images: usize,
        /// Its name.
        split: &'static str,
    },
    /// An image that cannot be decoded, and was the last one of its class.
    #[error(
        "{found}\n  Class `{class}` has no other training image: add images, or remove the class everywhere."
    )]
    ClassSkipped {
        /// What is wrong with the image.
        found: Box<DatasetError>,
        /// Its name.
        class: String,
    },
    /// A line of a list of images that cannot be used.
    #[error("{}, line {line}: {found}; expected PATH CLASS, the path relative to the list's folder", path.display())]
    ListLine {
        /// The list.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        found: &'static str,
    },
    /// A path that is not text.
    #[error("{}: the name is not UTF-8\n  Rename it.", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A Parquet file of images with other columns or values than expected.
    #[error("{}: {found}; expected the columns split, label, class_name, path and image (an encoded image, such as PNG or JPEG bytes)", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
}

fn skipping_remedy(skipped: usize, images: usize) -> String {
    match skipped == images {
        true => "No image of the split is left.".into(),
        false => format!(
            "They are left out with, for example: --max-skipped {}",
            skipped::share_that_allows(skipped, images)
        ),
    }
}

impl DatasetError {
    /// What is wrong, without the remedy.
    fn in_one_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().into()
    }
}

/// Images of one split: square 8-bit RGB, in rows of pixels (H, W, 3).
pub struct Split {
    labels: Vec<u32>,
    paths: Vec<String>,
    size: usize,
    pixels: Pixels,
}

enum Pixels {
    /// All images, decoded; black with what is wrong with them, where they could not be.
    Decoded { bytes: Vec<u8>, broken: BTreeMap<usize, String> },
    /// Files below `root`, decoded when asked for and kept where all of them fit.
    Files { root: PathBuf, framing: Framing, kept: Option<Vec<OnceLock<Box<[u8]>>>> },
}

/// Decoded images of a folder stay in memory up to this size.
const KEEP_DECODED_BYTES: usize = 4 << 30;

impl Split {
    fn decoded(size: usize, labels: Vec<u32>, paths: Vec<String>, pixels: Vec<u8>) -> Self {
        debug_assert_eq!(pixels.len(), labels.len() * size * size * 3);
        let pixels = Pixels::Decoded { bytes: pixels, broken: BTreeMap::new() };
        Self { labels, paths, size, pixels }
    }

    /// The same images, some of which could not be decoded.
    fn with_broken(mut self, found: BTreeMap<usize, String>) -> Self {
        if let Pixels::Decoded { broken, .. } = &mut self.pixels {
            *broken = found;
        }
        self
    }

    fn files(framing: Framing, root: &Path, labels: Vec<u32>, paths: Vec<String>) -> Self {
        let size = framing.size;
        let fits = labels.len().saturating_mul(size * size * 3) <= KEEP_DECODED_BYTES;
        let kept = fits.then(|| labels.iter().map(|_| OnceLock::new()).collect());
        Self { labels, paths, size, pixels: Pixels::Files { root: root.into(), framing, kept } }
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Class of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// What identifies image `i` in its source, such as `train/heron/0012.jpg`.
    pub fn path(&self, i: usize) -> &str {
        &self.paths[i]
    }

    /// Image `i`: (H, W, 3) bytes.
    ///
    /// # Errors
    /// An unreadable or undecodable file.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>, DatasetError> {
        let image_bytes = self.size * self.size * 3;
        match &self.pixels {
            Pixels::Decoded { bytes, broken } => match broken.get(&i) {
                None => Ok(Cow::Borrowed(&bytes[i * image_bytes..][..image_bytes])),
                Some(message) => {
                    let (path, message) = (PathBuf::from(&self.paths[i]), message.clone());
                    Err(DatasetError::Image { path, message })
                }
            },
            Pixels::Files { root, framing, kept } => {
                let decode = || decode::file(&root.join(&self.paths[i]), *framing);
                let Some(kept) = kept else {
                    return decode().map(Cow::Owned);
                };
                if let Some(bytes) = kept[i].get() {
                    return Ok(Cow::Borrowed(bytes));
                }
                let bytes = decode()?;
                Ok(Cow::Borrowed(kept[i].get_or_init(|| bytes.into_boxed_slice())))
            }
        }
    }

    /// Width and height in pixels of image `i` as it is stored; of a file, from its header alone.
    ///
    /// # Errors
    /// An unreadable file, or one that is no image.
    pub fn stored_size(&self, i: usize) -> Result<[u32; 2], DatasetError> {
        match &self.pixels {
            Pixels::Decoded { .. } => Ok([self.size as u32; 2]),
            Pixels::Files { root, .. } => decode::stored_size(&root.join(&self.paths[i])),
        }
    }

    /// A rectangle of image `i` as it was before its middle square was taken, scaled to the size of the
    /// square; of images that are held decoded, a rectangle of the square, scaled linearly.
    fn rectangle(&self, i: usize, random: &RandomRectangle) -> Result<Vec<u8>, DatasetError> {
        if let Pixels::Files { root, framing, .. } = &self.pixels {
            return decode::part(&root.join(&self.paths[i]), *framing, |w, h| random.of(w, h));
        }
        let (square, side) = (self.image(i)?, self.size as u32);
        let (place, linear) = (random.of(side, side), Interpolation::Bilinear);
        decode::rectangle_of(&square, (side, side), place, self.size, linear)
            .map_err(|message| DatasetError::Image { path: PathBuf::from(&self.paths[i]), message })
    }

    /// Some of the images; those of a folder are decoded anew.
    fn subset(&self, keep: &[usize]) -> Self {
        let image_bytes = self.size * self.size * 3;
        let labels = keep.iter().map(|&i| self.labels[i]).collect();
        let paths = keep.iter().map(|&i| self.paths[i].clone()).collect();
        match &self.pixels {
            Pixels::Decoded { bytes, broken } => {
                let pixels =
                    keep.iter().flat_map(|&i| &bytes[i * image_bytes..][..image_bytes]).copied();
                let still = |(at, i): (usize, &usize)| Some((at, broken.get(i)?.clone()));
                Self::decoded(self.size, labels, paths, pixels.collect())
                    .with_broken(keep.iter().enumerate().filter_map(still).collect())
            }
            Pixels::Files { root, framing, .. } => Self::files(*framing, root, labels, paths),
        }
    }

    fn hash_into(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for (label, path) in self.labels.iter().zip(&self.paths) {
            hash.update(label.to_le_bytes());
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path.as_bytes());
        }
        match &self.pixels {
            Pixels::Decoded { bytes, .. } => hash.update(bytes),
            Pixels::Files { root, .. } => {
                for path in &self.paths {
                    let path = root.join(path);
                    // One that has gone is left out where it is asked for, if that is allowed.
                    const GONE: u64 = u64::MAX;
                    let bytes = match std::fs::metadata(&path) {
                        Ok(meta) => meta.len(),
                        Err(e) if e.kind() == std::io::ErrorKind::NotFound => GONE,
                        Err(source) => return Err(DatasetError::Read { path, source }),
                    };
                    hash.update(bytes.to_le_bytes());
                }
            }
        }
        Ok(())
    }
}

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
    /// Hash of classes, labels, paths and pixels (of a folder: file sizes in place of pixels); empty where
    /// the dataset was only listed.
    pub fingerprint: String,
    /// Images that turned out not to be decodable, and how many may.
    pub skipped: Skipped,
}

impl Dataset {
    /// Reads the dataset that `config` describes.
    ///
    /// # Errors
    /// See [`DatasetError`]; nothing is skipped silently. What single images are is seen when they are
    /// asked for ([`Loader::inputs`]).
    ///
    /// # Cost
    /// Archives and tables are held decoded in memory; a folder is listed, its images are decoded
    /// when they are asked for.
    pub fn open(config: &DatasetConfig) -> Result<Self, DatasetError> {
        let mut dataset = Self::list(config)?;
        dataset.fingerprint = dataset.compute_fingerprint(Framing::of(config))?;
        Ok(dataset)
    }

    /// As [`Dataset::open`], but without a fingerprint and without a look at the files of images: one
    /// that is missing is found when it is asked for.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn list(config: &DatasetConfig) -> Result<Self, DatasetError> {
        let (path, framing) = (config.path.as_path(), Framing::of(config));
        let parts = match config.kind {
            DatasetKind::Cifar10 => cifar::open(path, &cifar::CIFAR10)?,
            DatasetKind::Cifar100 => cifar::open(path, &cifar::CIFAR100)?,
            DatasetKind::Folder => folder::open(path, framing)?,
            DatasetKind::List => folder::open_list(path, framing)?,
            DatasetKind::Parquet => table::open(path, framing)?,
        };
        let Parts { class_names, mut train, mut val, test } = parts;
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
                found: "no test image".into(),
                expected: "test images, to measure accuracy on",
            });
        }
        let normalisation = Normalisation::new(config);
        Ok(Self {
            class_names,
            train,
            val,
            cut,
            held_out,
            test,
            test_held_out,
            normalisation,
            image_size: framing.size,
            fingerprint: String::new(),
            skipped: Skipped::default(),
        })
    }

    fn compute_fingerprint(&self, framing: Framing) -> Result<String, DatasetError> {
        let mut hash = Sha256::new();
        self.class_names.iter().for_each(|name| hash.update(format!("{name}\n")));
        if (framing.crop_fraction, framing.interpolation) != (1.0, Interpolation::Bilinear) {
            hash.update(format!("{} {:?}\n", framing.crop_fraction, framing.interpolation));
        }
        for split in [Some(&self.train), self.val.as_ref(), Some(&self.test)].into_iter().flatten()
        {
            split.hash_into(&mut hash)?;
        }
        Ok(crate::hex(&hash.finalize()[..16]))
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
        Ok(crate::hex(&hash.finalize()[..8]))
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
        let (pixels, size) = (decode::file(path, self.framing)?, self.framing.size);
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

/// Whether a file's name is that of an image.
pub fn has_image_extension(path: &Path) -> bool {
    folder::is_image(path)
}

/// Share of each class's images that becomes the test split of data without splits.
pub const TEST_FRACTION: f64 = 0.2;

struct Parts {
    class_names: Vec<String>,
    train: Split,
    val: Option<Split>,
    /// `None` where the data has no splits.
    test: Option<Split>,
}

fn read_file(path: &Path) -> Result<Vec<u8>, DatasetError> {
    std::fs::read(path).map_err(|source| DatasetError::Read { path: path.into(), source })
}
