//! What can be wrong with a dataset.

use std::io;
use std::path::{Path, PathBuf};

use super::labelled::{ListError, Place};
use crate::domain::Split;
use crate::pickle::PickleError;
use crate::regular_file;

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
    /// An image's file that the disk does not give.
    #[error("{}: cannot be read: {source}\n  This looks like a disk problem, so the image is not left out. Run the same command again once the file can be read.", path.display())]
    Disk {
        /// The file.
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
    #[error("{}: {source}\n  No code of a file is run here. Fetch the archive again from a place that you trust.", path.display())]
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
    /// Two folders of one split.
    #[error("{}: `{first}` and `{second}` are both the {split} split; expected one folder\n  Join them, or give one of them another name.", path.display())]
    TwoFolders {
        /// The dataset.
        path: PathBuf,
        /// The split.
        split: Split,
        /// A folder.
        first: String,
        /// The other one.
        second: String,
    },
    /// Folders of other splits, and none to train on.
    #[error("{}: {found}, and no train/; expected train/ with one folder of images a class\n  Name the folder of the training images train. If {found} is a class, put all folders of classes into a folder train.", path.display())]
    NoTrainFolder {
        /// The dataset.
        path: PathBuf,
        /// The folders that are splits.
        found: String,
    },
    /// A folder with fewer than two folders of classes.
    #[error("{}: {found}; expected at least 2 classes, a folder of images each\n  {remedy}", path.display())]
    TooFewClasses {
        /// The folder.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// Images of a split that are in no folder of a class.
    #[error("{}: all {images} images lie beside folders of classes; expected one folder a class, as in train/\n  Accuracy cannot be measured on images without classes: give the folder `{folder}` a name that is not a split, such as unlabelled.", path.display())]
    NoLabels {
        /// The folder.
        path: PathBuf,
        /// Its name.
        folder: String,
        /// Images in it.
        images: usize,
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
        /// What was found.
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
        split: Split,
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
    /// A folder with several of Hugging Face's configurations.
    #[error("{}: has a table for each of {}; expected one\n  Point `dataset.path` or --data at one of these folders.", path.display(), names.join(", "))]
    Configurations {
        /// The folder.
        path: PathBuf,
        /// Folders in it.
        names: Vec<String>,
    },
    /// A Parquet file of images with other columns than expected.
    #[error("{}: {found}\n  A table of images has a column label and a column image (encoded, such as PNG or JPEG, or a struct of bytes and path), or a column of paths.", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// A Parquet file of images that cannot be read, or that has other values than expected.
    #[error("{}: {found}", path.display())]
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
            "`fsa-bank dataset check` finds all of them; to leave them out, give at least --max-skipped {}",
            share_that_allows(skipped, images)
        ),
    }
}

impl DatasetError {
    /// Whether there is no such file.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// What is wrong, without the remedy.
    pub(super) fn in_one_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().into()
    }
}

/// The smallest round share that allows `skipped` of `images`, as a flag's value.
pub(super) fn share_that_allows(skipped: usize, images: usize) -> String {
    let permille = (1000.0 * skipped as f64 / images.max(1) as f64).ceil();
    format!("{}%", permille / 10.0)
}

/// Whether a failed read says that there is no such file, or none that is an image. Anything else, such as a
/// failing disk, a server that is away or too many open files, may have gone when it is tried again.
pub(super) fn is_of_the_file(error: &io::Error) -> bool {
    use io::ErrorKind::{
        FileTooLarge, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound,
        PermissionDenied,
    };
    let of_the_file = [
        NotFound,
        PermissionDenied,
        InvalidInput,
        FileTooLarge,
        IsADirectory,
        NotADirectory,
        InvalidFilename,
    ];
    of_the_file.contains(&error.kind())
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// A file as it is.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, DatasetError> {
    read_at_most(path, u64::MAX)
}

/// A file of at most this many bytes.
pub(super) fn read_at_most(path: &Path, bytes: u64) -> Result<Vec<u8>, DatasetError> {
    regular_file::read(path, bytes)
        .map_err(|source| DatasetError::Read { path: path.into(), source })
}
