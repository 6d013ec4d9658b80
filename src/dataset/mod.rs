//! Images with their labels, as every stage sees them: class names, a training split (cut to a
//! long tail where the pipeline says so), a test split and, where the data has one, a `val` split.

mod cifar;
mod decode;
mod folder;
mod hold_out;
mod list;
mod long_tail;
mod overlay;
mod table;
mod transform;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::config::{DatasetConfig, DatasetKind, Interpolation};
use crate::domain::{ClassCounts, FeatureShape};

use decode::Framing;
pub use hold_out::HeldOut;
pub use list::{ListError, Listed, ListedSplit, Place, read as read_lists};
pub use transform::{CropFlip, Normalisation};

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
    /// An image that cannot be decoded.
    #[error("{}: not a readable JPEG or PNG image: {message}\n  Replace or remove it.", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// The decoder's message.
        message: String,
    },
    /// A list of images that cannot be used.
    #[error("{}{place}: {wrong}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// The line, where it is one.
        place: Place,
        /// What is wrong there.
        wrong: Box<ListError>,
    },
    /// A path that is not text.
    #[error("{}: the name is not UTF-8\n  Rename it.", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A Parquet file of images with other columns or values than expected.
    #[error("{}: {found}\n  A table of images has a column label and a column image (PNG or JPEG bytes, or a struct of bytes and path); one of paths is read with dataset.kind = \"list\".", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
}

/// Images of one split: square 8-bit RGB, in rows of pixels (H, W, 3).
pub struct Split {
    labels: Vec<u32>,
    paths: Vec<String>,
    size: usize,
    pixels: Pixels,
}

enum Pixels {
    /// All images, decoded.
    Decoded(Vec<u8>),
    /// Files below `root`, decoded when asked for and kept where all of them fit.
    Files { root: PathBuf, framing: Framing, kept: Kept },
    /// Encoded images of the file or folder `origin`, decoded as files are.
    Encoded { origin: PathBuf, images: Vec<Bytes>, framing: Framing, kept: Kept },
}

/// Decoded images, where all of them fit into memory.
type Kept = Option<Vec<OnceLock<Box<[u8]>>>>;

fn kept(images: usize, size: usize) -> Kept {
    let fits = images.saturating_mul(size * size * 3) <= KEEP_DECODED_BYTES;
    fits.then(|| (0..images).map(|_| OnceLock::new()).collect())
}

/// Image `i`, kept or decoded now.
fn decoded_once(
    kept: &Kept,
    i: usize,
    decode: impl FnOnce() -> Result<Vec<u8>, DatasetError>,
) -> Result<Cow<'_, [u8]>, DatasetError> {
    let Some(kept) = kept else {
        return decode().map(Cow::Owned);
    };
    if let Some(bytes) = kept[i].get() {
        return Ok(Cow::Borrowed(bytes));
    }
    let bytes = decode()?;
    Ok(Cow::Borrowed(kept[i].get_or_init(|| bytes.into_boxed_slice())))
}

/// Decoded images of files and tables stay in memory up to this size.
const KEEP_DECODED_BYTES: usize = 4 << 30;

impl Split {
    fn decoded(size: usize, labels: Vec<u32>, paths: Vec<String>, pixels: Vec<u8>) -> Self {
        debug_assert_eq!(pixels.len(), labels.len() * size * size * 3);
        Self { labels, paths, size, pixels: Pixels::Decoded(pixels) }
    }

    fn files(framing: Framing, root: &Path, labels: Vec<u32>, paths: Vec<String>) -> Self {
        let size = framing.size;
        let kept = kept(labels.len(), size);
        Self { labels, paths, size, pixels: Pixels::Files { root: root.into(), framing, kept } }
    }

    fn encoded(
        framing: Framing,
        origin: &Path,
        labels: Vec<u32>,
        paths: Vec<String>,
        images: Vec<Bytes>,
    ) -> Self {
        let size = framing.size;
        let kept = kept(labels.len(), size);
        let pixels = Pixels::Encoded { origin: origin.into(), images, framing, kept };
        Self { labels, paths, size, pixels }
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
            Pixels::Decoded(bytes) => Ok(Cow::Borrowed(&bytes[i * image_bytes..][..image_bytes])),
            Pixels::Files { root, framing, kept } => {
                decoded_once(kept, i, || decode::file(&root.join(&self.paths[i]), *framing))
            }
            Pixels::Encoded { origin, images, framing, kept } => {
                let place = || origin.join(&self.paths[i]);
                decoded_once(kept, i, || decode::bytes(&images[i], &place(), *framing))
            }
        }
    }

    /// Some of the images; those of files and tables are decoded anew.
    fn subset(&self, keep: &[usize]) -> Self {
        let image_bytes = self.size * self.size * 3;
        let labels = keep.iter().map(|&i| self.labels[i]).collect();
        let paths = keep.iter().map(|&i| self.paths[i].clone()).collect();
        match &self.pixels {
            Pixels::Decoded(bytes) => {
                let pixels =
                    keep.iter().flat_map(|&i| &bytes[i * image_bytes..][..image_bytes]).copied();
                Self::decoded(self.size, labels, paths, pixels.collect())
            }
            Pixels::Files { root, framing, .. } => Self::files(*framing, root, labels, paths),
            Pixels::Encoded { origin, images, framing, .. } => {
                let images = keep.iter().map(|&i| images[i].clone()).collect();
                Self::encoded(*framing, origin, labels, paths, images)
            }
        }
    }

    fn hash_into(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for (label, path) in self.labels.iter().zip(&self.paths) {
            hash.update(label.to_le_bytes());
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path.as_bytes());
        }
        match &self.pixels {
            Pixels::Decoded(bytes) => hash.update(bytes),
            Pixels::Encoded { images, .. } => {
                for image in images {
                    hash.update((image.len() as u64).to_le_bytes());
                    hash.update(image);
                }
            }
            Pixels::Files { root, .. } => {
                // One look at each of hundreds of thousands of files, more than one at a time.
                let size = |path: &String| {
                    let path = root.join(path);
                    let meta = std::fs::metadata(&path);
                    meta.map(|meta| meta.len())
                        .map_err(|source| DatasetError::Read { path, source })
                };
                let sizes: Vec<Result<u64, DatasetError>> =
                    self.paths.par_iter().map(size).collect();
                for size in sizes {
                    hash.update(size?.to_le_bytes());
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
    /// Hash of classes, labels, paths and pixels (of files: their sizes, of tables: the encoded images).
    pub fingerprint: String,
}

impl Dataset {
    /// Reads the dataset that `config` describes.
    ///
    /// # Errors
    /// See [`DatasetError`]; nothing is skipped silently.
    ///
    /// # Cost
    /// Archives are held decoded in memory, tables encoded; a folder is listed, its images are decoded
    /// when they are asked for. Every file is looked at once for its size, and those of training once
    /// more by [`Dataset::train_fingerprint`].
    pub fn open(config: &DatasetConfig) -> Result<Self, DatasetError> {
        let (path, framing) = (config.path.as_path(), Framing::of(config));
        let parts = match config.kind {
            DatasetKind::Cifar10 => cifar::open(path, &cifar::CIFAR10)?,
            DatasetKind::Cifar100 => cifar::open(path, &cifar::CIFAR100)?,
            DatasetKind::Folder => folder::open(path, framing)?,
            DatasetKind::List => list::open(config, framing)?,
            DatasetKind::Parquet => table::open(config, framing)?,
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
        if config.imbalance_ratio > 1.0 {
            let keep = long_tail::select(path, &class_names, train.labels(), config)?;
            train = train.subset(&keep);
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
        let mut hash = Sha256::new();
        class_names.iter().for_each(|name| hash.update(format!("{name}\n")));
        if (framing.crop_fraction, framing.interpolation) != (1.0, Interpolation::Bilinear) {
            hash.update(format!("{} {:?}\n", framing.crop_fraction, framing.interpolation));
        }
        for split in [Some(&train), val.as_ref(), Some(&test)].into_iter().flatten() {
            split.hash_into(&mut hash)?;
        }
        let fingerprint = crate::hex(&hash.finalize()[..16]);
        let normalisation = Normalisation::new(config);
        Ok(Self {
            class_names,
            train,
            val,
            held_out,
            test,
            test_held_out,
            normalisation,
            image_size: framing.size,
            fingerprint,
        })
    }

    /// Training images of each class.
    pub fn class_counts(&self) -> ClassCounts {
        ClassCounts::from_labels(self.train.labels(), self.class_names.len())
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
        CropFlip::NONE.apply(&pixels, size, &self.normalisation, &mut input);
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

/// Whether a file's name is that of a JPEG or PNG image.
pub fn has_image_extension(path: &Path) -> bool {
    folder::is_image(path)
}

/// Whether a folder has Parquet files, itself or below `data/`.
pub fn has_tables(folder: &Path) -> bool {
    table::has_any(folder)
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
