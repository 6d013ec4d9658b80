//! Datasets of the field by name: their archives, sizes and checksums, and where to get them. What a
//! pipeline misses and what `dataset fetch` gets follow from this one table.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::DatasetError;
use super::opened::Dataset;
use crate::config::{DatasetConfig, DatasetKind};
use crate::text::{bytes_text, shell_path};

/// A dataset that has a name.
#[derive(Debug, Clone, Serialize)]
pub struct Known {
    /// The name, as `dataset fetch` takes it; pipelines of it begin with it.
    pub name: &'static str,
    /// The name in words.
    pub title: &'static str,
    /// Folder that its pipelines expect it in, from the folder with `pipelines/`.
    pub folder: &'static str,
    /// Where its archives are.
    pub source: Source,
    /// What it consists of, the smallest first.
    pub archives: &'static [Archive],
    /// What its publishers ask of its users.
    pub terms: &'static str,
}

/// Where archives are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An archive's address is this, a slash and its file name.
    Server(&'static str),
    /// Behind a registration, or for another program to unpack: what to do.
    ByHand(&'static str),
}

/// One file of a dataset, as published.
#[derive(Debug, Clone, Serialize)]
pub struct Archive {
    /// Its name.
    pub file: &'static str,
    /// What is in it.
    pub content: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its checksum, 32 hexadecimal digits.
    pub md5: &'static str,
    /// Files and folders that unpacking it makes; empty for an archive that is read as it is.
    pub makes: &'static [&'static str],
    /// Bytes that those take, about.
    pub unpacked_bytes: u64,
}

const INATURALIST_TERMS: &str =
    "iNaturalist: for non-commercial research and education only; the images may not be passed on.";
const CIFAR_TERMS: &str =
    "CIFAR: cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.";

/// Bytes of unpacked photographs: JPEG does not shrink any further, but files end inside a disk block.
const fn photographs(archive_bytes: u64) -> u64 {
    archive_bytes + archive_bytes / 50
}

/// Bytes of unpacked annotations: JSON of this kind shrinks about tenfold.
const fn annotations(archive_bytes: u64) -> u64 {
    10 * archive_bytes
}

/// Checksums and places are those of the publishers' pages (www.cs.toronto.edu/~kriz/cifar.html,
/// github.com/visipedia/inat_comp, image-net.org, places2.csail.mit.edu); lengths are those of the files
/// of these checksums.
pub const ALL: [Known; 6] = [
    Known {
        name: "cifar10",
        title: "CIFAR-10 (binary version)",
        folder: "data",
        source: Source::Server("https://www.cs.toronto.edu/~kriz"),
        archives: &[Archive {
            file: "cifar-10-binary.tar.gz",
            content: "all images and labels",
            bytes: 170_052_171,
            md5: "c32a1d4ab5d03f1284b67883e8d87530",
            makes: &[],
            unpacked_bytes: 0,
        }],
        terms: CIFAR_TERMS,
    },
    Known {
        name: "cifar100",
        title: "CIFAR-100 (binary version)",
        folder: "data",
        source: Source::Server("https://www.cs.toronto.edu/~kriz"),
        archives: &[Archive {
            file: "cifar-100-binary.tar.gz",
            content: "all images and labels",
            bytes: 168_513_733,
            md5: "03b5dce01913d631647c71ecec9e9cb8",
            makes: &[],
            unpacked_bytes: 0,
        }],
        terms: CIFAR_TERMS,
    },
    Known {
        name: "inat2017",
        title: "iNaturalist 2017",
        folder: "data/inat2017",
        source: Source::Server("https://ml-inat-competition-datasets.s3.amazonaws.com/2017"),
        archives: &[
            Archive {
                file: "train_val2017.zip",
                content: "annotations of training and validation",
                bytes: 26_836_398,
                md5: "444c835f6459867ad69fcb36478786e7",
                makes: &["train2017.json", "val2017.json"],
                unpacked_bytes: annotations(26_836_398),
            },
            Archive {
                file: "train_val_images.tar.gz",
                content: "579,184 training and 95,986 validation images",
                bytes: 198_765_436_676,
                md5: "7c784ea5e424efaec655bd392f87301f",
                makes: &["train_val_images"],
                unpacked_bytes: photographs(198_765_436_676),
            },
        ],
        terms: INATURALIST_TERMS,
    },
    Known {
        name: "inat2018",
        title: "iNaturalist 2018",
        folder: "data/inat2018",
        source: Source::Server("https://ml-inat-competition-datasets.s3.amazonaws.com/2018"),
        archives: &[
            Archive {
                file: "val2018.json.tar.gz",
                content: "annotations of validation",
                bytes: 1_276_686,
                md5: "f2ed8bfe3e9901cdefceb4e53cd3775d",
                makes: &["val2018.json"],
                unpacked_bytes: annotations(1_276_686),
            },
            Archive {
                file: "train2018.json.tar.gz",
                content: "annotations of training",
                bytes: 20_951_917,
                md5: "bfa29d89d629cbf04d826a720c0a68b0",
                makes: &["train2018.json"],
                unpacked_bytes: annotations(20_951_917),
            },
            Archive {
                file: "train_val2018.tar.gz",
                content: "437,513 training and 24,426 validation images",
                bytes: 127_945_569_561,
                md5: "b1c6952ce38f31868cc50ea72d066cc3",
                makes: &["train_val2018"],
                unpacked_bytes: photographs(127_945_569_561),
            },
        ],
        terms: INATURALIST_TERMS,
    },
    Known {
        name: "imagenet-lt",
        title: "ImageNet-LT",
        folder: "data/imagenet",
        source: Source::ByHand(
            "1. Register at https://image-net.org and download the two archives below (ILSVRC 2012).\n\
             2. Unpack ILSVRC2012_img_train.tar to train/, then each of the 1,000 archives in it to a folder of its name:\n   \
             train/n01440764/n01440764_190.JPEG.\n\
             3. Unpack ILSVRC2012_img_val.tar to val/, and move each image to the folder of its class:\n   \
             val/n01440764/ILSVRC2012_val_00000293.JPEG.\n\
             4. Put ImageNet_LT_train.txt, ImageNet_LT_val.txt and ImageNet_LT_test.txt beside train/ and val/;\n   \
             https://github.com/zhmiao/OpenLongTailRecognition-OLTR says where they are.",
        ),
        archives: &[
            Archive {
                file: "ILSVRC2012_img_val.tar",
                content: "50,000 images, the test split",
                bytes: 6_744_924_160,
                md5: "29b22e2961454d5413ddabcf34fc5622",
                makes: &["val"],
                unpacked_bytes: photographs(6_744_924_160),
            },
            Archive {
                file: "ILSVRC2012_img_train.tar",
                content: "1,281,167 images, of which 115,846 train and 20,000 validate",
                bytes: 147_897_477_120,
                md5: "1d675b47d978889d74fa0da5fadfb00e",
                makes: &["train"],
                unpacked_bytes: photographs(147_897_477_120),
            },
        ],
        terms: "ImageNet: for non-commercial research and education only, under the terms of its registration.",
    },
    Known {
        name: "places-lt",
        title: "Places-LT",
        folder: "data/places",
        source: Source::ByHand(
            "1. Download the two archives below (Places365-Standard, small images of 256 x 256) from\n   \
             http://places2.csail.mit.edu/download.html\n\
             2. Unpack both; they make data_256/a/airfield/00004851.jpg and val_256/Places365_val_00003597.jpg.\n\
             3. Put Places_LT_train.txt, Places_LT_val.txt and Places_LT_test.txt beside data_256/ and val_256/;\n   \
             https://github.com/zhmiao/OpenLongTailRecognition-OLTR says where they are.",
        ),
        archives: &[
            Archive {
                file: "val_256.tar",
                content: "36,500 images, the test split",
                bytes: 525_158_400,
                md5: "e27b17d8d44f4af9a78502beb927f808",
                makes: &["val_256"],
                unpacked_bytes: photographs(525_158_400),
            },
            Archive {
                file: "train_256_places365standard.tar",
                content: "1,803,460 images, of which 62,500 train and 7,300 validate",
                bytes: 26_103_685_120,
                md5: "53ca1c756c3d1e7809517cc47c5561c5",
                makes: &["data_256"],
                unpacked_bytes: photographs(26_103_685_120),
            },
        ],
        terms: "Places: for non-commercial research and education only.",
    },
];

impl Archive {
    /// Whether what it holds is in `folder`: unpacked, or the archive itself where it is read as it is.
    pub fn is_in(&self, folder: &Path) -> bool {
        match self.makes {
            [] => folder.join(self.file).is_file(),
            makes => makes.iter().all(|made| folder.join(made).exists()),
        }
    }
}

impl Known {
    /// The dataset of this name, or of a pipeline whose name begins with it (`inat2018-resnet50`).
    pub fn named(text: &str) -> Option<&'static Self> {
        let begins = |known: &&Self| {
            let rest = text.strip_prefix(known.name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        };
        ALL.iter().find(begins)
    }

    /// The dataset that a pipeline of this name is made for.
    pub fn of(pipeline: &str, kind: DatasetKind) -> Option<&'static Self> {
        match kind {
            DatasetKind::Cifar10 => Self::named("cifar10"),
            DatasetKind::Cifar100 => Self::named("cifar100"),
            _ => Self::named(pipeline).filter(|known| !known.is_read_as_it_is()),
        }
    }

    fn is_read_as_it_is(&self) -> bool {
        self.archives.iter().all(|archive| archive.makes.is_empty())
    }

    /// What is wrong where `path`, at or below `place`, is missing: each missing part with its size,
    /// and how to get it.
    fn missing(&self, path: PathBuf, place: &Path) -> DatasetError {
        let folder = folder_of(place);
        let mut wanted = format!("expected a part of {}", self.title);
        for archive in self.archives.iter().filter(|archive| !archive.is_in(folder)) {
            let made = archive.makes.join(", ");
            let from = if made.is_empty() { made } else { format!("{made} from ") };
            let size = bytes_text(archive.bytes);
            wanted += &format!("\n  Missing: {from}{} ({size}): {}", archive.file, archive.content);
        }
        let how = match self.source {
            Source::Server(_) => "Get it with",
            Source::ByHand(_) => "For how to get it, run",
        };
        let to = shell_path(folder);
        wanted += &format!("\n  {how}: fsa-bank dataset fetch {} --to {to}", self.name);
        DatasetError::MissingKnown { path, wanted }
    }
}

/// The folder that a dataset is in: `place` itself, or that of the file that `place` names.
fn folder_of(place: &Path) -> &Path {
    let is_file = !place.is_dir() && place.extension().is_some();
    let folder = if is_file { place.parent().unwrap_or(place) } else { place };
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Reports a known dataset of which nothing was found; to be asked before anything slow begins.
///
/// # Errors
/// Nothing is at the path of a dataset that `pipeline` or its kind names.
pub fn require(pipeline: &str, config: &DatasetConfig) -> Result<(), DatasetError> {
    match Known::of(pipeline, config.kind) {
        Some(known) if !config.path.exists() => {
            Err(known.missing(config.path.clone(), &config.path))
        }
        _ => Ok(()),
    }
}

/// What a [`DatasetError`] of a pipeline's dataset becomes where the dataset is a known one: a file that
/// is missing is reported with the archive that has it.
pub fn explained(error: DatasetError, pipeline: &str, config: &DatasetConfig) -> DatasetError {
    let Some(known) = Known::of(pipeline, config.kind) else {
        return error;
    };
    match error {
        DatasetError::Missing { path, .. } => known.missing(path, &config.path),
        DatasetError::TooFewClasses { path, .. } if !path.join("train").exists() => {
            known.missing(path.join("train"), &config.path)
        }
        DatasetError::Read { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            known.missing(path, &config.path)
        }
        other => other,
    }
}

/// Opens the dataset of the pipeline of this name.
///
/// # Errors
/// As [`Dataset::open`]; of a known dataset the message says which archives are missing.
pub fn open(pipeline: &str, config: &DatasetConfig) -> Result<Dataset, DatasetError> {
    require(pipeline, config)?;
    Dataset::open(config).map_err(|error| explained(error, pipeline, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipelines_name_or_kind_tells_the_dataset() {
        let of = |name, kind| Known::of(name, kind).map(|known| known.name);
        assert_eq!(of("any", DatasetKind::Cifar100), Some("cifar100"));
        assert_eq!(of("cifar100-lt-im10", DatasetKind::Cifar10), Some("cifar10"));
        assert_eq!(of("inat2018-resnet50", DatasetKind::Folder), Some("inat2018"));
        assert_eq!(of("places-lt", DatasetKind::List), Some("places-lt"));
        assert_eq!(of("inat20180", DatasetKind::Folder), None);
        assert_eq!(of("cifar10-as-files", DatasetKind::Folder), None);
        assert_eq!(Known::named("cifar100-lt-im10").unwrap().name, "cifar100");
        assert_eq!(Known::named("cifar").map(|known| known.name), None);
    }

    #[test]
    fn checksums_and_lengths_are_whole() {
        for archive in ALL.iter().flat_map(|known| known.archives) {
            assert!(archive.md5.len() == 32 && archive.md5.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(archive.bytes > 1_000_000, "{}", archive.file);
            assert_eq!(archive.makes.is_empty(), archive.unpacked_bytes == 0);
        }
    }

    #[test]
    fn what_is_missing_has_its_size_and_what_is_there_is_not_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("val2018.json"), "").unwrap();
        let known = Known::named("inat2018").unwrap();
        let message = known.missing(dir.path().join("train2018.json"), dir.path()).to_string();
        assert!(message.contains("train2018.json: no such file or directory"), "{message}");
        assert!(
            message.contains("train_val2018 from train_val2018.tar.gz (119.2 GiB)"),
            "{message}"
        );
        assert!(
            message.contains("train2018.json from train2018.json.tar.gz (20.0 MiB)"),
            "{message}"
        );
        assert!(!message.contains("val2018.json.tar.gz (1.2 MiB)"), "{message}");
        let command = format!("fsa-bank dataset fetch inat2018 --to {}", dir.path().display());
        assert!(message.contains(&command), "{message}");
    }

    #[test]
    fn the_folder_is_that_of_the_file() {
        assert_eq!(folder_of(Path::new("data/cifar-10-binary.tar.gz")), Path::new("data"));
        assert_eq!(folder_of(Path::new("cifar-10-binary.tar.gz")), Path::new("."));
        assert_eq!(folder_of(Path::new("data/inat2018")), Path::new("data/inat2018"));
    }
}
