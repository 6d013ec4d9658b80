//! `[dataset]`: where the images are, how they are read and prepared.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::range::{above, at_least, below, closed};
use super::settings::{settings, words};

/// How images are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// CIFAR-10 in its binary or its Python version, as a directory or .tar.gz, or the directory that
    /// holds it.
    Cifar10,
    /// CIFAR-100, likewise.
    Cifar100,
    /// `train/CLASS/*`, `test/CLASS/*` and, where there is one, `val/CLASS/*`; or `CLASS/*`
    /// alone, of which a fifth becomes the test split.
    Folder,
    /// Lists of image files: `.txt` (`PATH CLASS` lines), `.csv`, `.tsv`, `.parquet`, or `.json` as
    /// iNaturalist's; where none is for testing, a fifth of each class becomes the test split.
    List,
    /// A Parquet file, or a folder of them, with the columns image and label, and where there are such,
    /// split, class_name and path.
    Parquet,
}

/// How the classes of a long-tailed subset shrink, from the largest to the smallest; the classes rank
/// by their images, equal ones in label order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Imbalance {
    /// By the same factor from each class to the next.
    Exponential,
    /// The first half keeps as many as the largest class, the others that over `imbalance_ratio`; of an
    /// odd number of classes the middle one is of the others.
    Step,
}

/// Which images of a class a long-tailed subset keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// LDAM-DRW's subset, seed 0, bit for bit (Cao et al., NeurIPS 2019); of balanced images only.
    Ldam,
    /// The first images of each class in file order.
    First,
    /// Images at random, by `selection_seed`; a steeper subset is part of a gentler one.
    Random,
}

/// In which order classes that have names are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassOrder {
    /// By name, character by character: 0, 1, 10, 2.
    Name,
    /// Numbers in names as numbers, letters of either case alike, as timm does: 0, 1, 2, 10.
    Natural,
}

/// How images are scaled; both are antialiased, as PIL's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Linear.
    #[default]
    Bilinear,
    /// Cubic, with PIL's and PyTorch's antialiased coefficient a = -0.5.
    Bicubic,
}

/// How an image that is not square becomes square, in timm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropMode {
    /// The middle square of it is taken.
    #[default]
    Center,
    /// Width and height are scaled to the same.
    Squash,
    /// It is made a square by borders in the colour of `mean`.
    Border,
}

/// Order of the network's three input planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as OpenCV and Caffe have them.
    Bgr,
}

/// Of means and standard deviations of values from 0 to 1, that these are of 0 to 255: there a mean is from 0 to 1, a
/// standard deviation at most 0.5, and factors that bring values to another range leave both small.
const MOST_OF_ONE: f32 = 2.0;

/// Whether a mean or a standard deviation cannot be one of values from 0 to 1.
pub(super) fn is_of_bytes(value: f32) -> bool {
    value.abs() > MOST_OF_ONE
}

words!(DatasetKind Imbalance Selection ClassOrder Interpolation CropMode ChannelOrder);

/// What is expected of keys that other kinds of data leave unused.
const OF_LISTS: &str = "left out, or dataset.kind = \"list\"";
/// Likewise, of keys that tables use as well.
const OF_TABLES: &str = "left out, or dataset.kind = \"list\" or \"parquet\"";
const BESIDE_TRAINING: &str = "given with dataset.train_list";
const SCALE: &str = "numbers from -2 to 2, because values are from 0 to 1 here; set dataset.value_range = 255 for those of values from 0 to 255";

settings! {
/// `[dataset]`
DatasetConfig = "dataset" {
    /// How images are found.
    kind: DatasetKind = DatasetKind::Folder, note("; see below");
    /// File or folder, relative to the folder of the pipeline.
    path: PathBuf = PathBuf::new(), absent("none; required"), note("; `--data` overrides it"),
        rule(|d| is_given(&d.path), "a file or directory");
    /// List of the images to train on: relative to the folder of the pipeline or, where nothing is found
    /// there, inside `path`, which is the folder of the listed images.
    train_list: PathBuf = PathBuf::new(), absent("none"),
        rule(|d| d.is_list() || !is_given(&d.train_list), OF_LISTS);
    /// List of the images to test on.
    test_list: PathBuf = PathBuf::new(), absent("none"),
        rule(|d| d.is_list() || !is_given(&d.test_list), OF_LISTS),
        rule(|d| is_given(&d.train_list) || !is_given(&d.test_list), BESIDE_TRAINING);
    /// List of the images to make choices on.
    val_list: PathBuf = PathBuf::new(), absent("none"),
        rule(|d| d.is_list() || !is_given(&d.val_list), OF_LISTS),
        rule(|d| is_given(&d.train_list) || !is_given(&d.val_list), BESIDE_TRAINING);
    /// Column of a list that has the paths; empty: the first of the usual names.
    path_column: String = String::new(), absent("found by name"),
        rule(|d| d.has_columns() || d.path_column.is_empty(), OF_TABLES);
    /// Column of a list or table that has the labels; empty: the first of the usual names.
    label_column: String = String::new(), absent("found by name"),
        rule(|d| d.has_columns() || d.label_column.is_empty(), OF_TABLES);
    /// Column of a list or table that has the splits; empty: the first of the usual names, if there.
    split_column: String = String::new(), absent("found by name"),
        rule(|d| d.has_columns() || d.split_column.is_empty(), OF_TABLES);
    /// Beginnings of listed paths with what replaces them; the first that a path has is used.
    path_rewrites: Vec<[String; 2]> = vec![],
        note(", such as `[[\"train_256/\", \"train/\"]]`; `[\"\", \"train/\"]` is put before every path"),
        rule(|d| d.has_columns() || d.path_rewrites.is_empty(), OF_TABLES);
    /// Order of classes that have names (of folders, and of labels that are not all numbers): `name` is
    /// 0, 1, 10, 2; `natural`, as timm's, 0, 1, 2, 10.
    class_order: ClassOrder = ClassOrder::Name;
    /// At most this many classes, evenly spaced from the largest to the smallest; 0 takes all.
    max_classes: usize = 0, valid(|d| d.max_classes != 1, "0 (all), or at least 2");
    /// Largest over smallest class to cut the training images to; 1 keeps all. A class that has fewer
    /// images than the cut would keep keeps all of them, and the ratio may then be larger.
    imbalance_ratio: f64 = 1.0, range(at_least(1.0)), expected("a number of at least 1");
    /// How the classes shrink; with `step` half of them keep all.
    imbalance: Imbalance = Imbalance::Exponential;
    /// Which images the cut keeps.
    selection: Selection = Selection::Ldam,
        note(": `ldam` is LDAM-DRW's subset bit for bit, of balanced images only");
    /// Seed of `selection = "random"`; another one gives other images, and changes nothing else.
    selection_seed: u64 = 0,
        rule(|d| d.selection_seed == 0 || d.selection == Selection::Random,
            "0, unless dataset.selection is \"random\"");
    /// Share of each class's training images (after the cut) that is held out of Phase-I, as the
    /// validation split that choices are made on; 0 holds out none.
    val_fraction: f64 = 0.0, range(below(0.0, 1.0));
    /// Side of the square images that the network sees, in pixels.
    image_size: usize = 32, range(closed(8.0, 1024.0)), expected("8 to 1024 pixels");
    /// Side of the middle square of an image that is kept, as a share of its shorter side; 0.875 is
    /// usual for ImageNet networks (scaled to 256 pixels, cut to 224).
    crop_fraction: f64 = 1.0, range(above(0.0, 1.0));
    /// How an image that is not square becomes square, as timm's: `center` takes the middle square; `squash`
    /// scales width and height to the same; `border` adds borders in the colour of `mean`.
    crop_mode: CropMode = CropMode::Center;
    /// How the square is scaled, antialiased.
    interpolation: Interpolation = Interpolation::Bilinear;
    /// Bits that the values of 16-bit images have: 12 where 4095 is white; the higher 8 of them count.
    /// Those of 8-bit images have 8.
    bit_depth: u32 = 16, range(closed(8.0, 16.0)), expected("8 to 16 bits");
    /// Mean of R, G, B to subtract, in units of `value_range`; empty: that of the kind, or 0 where
    /// `value_range` is 255.
    mean: Vec<f32> = vec![], absent("that of the kind"),
        valid(|d| is_triple(&d.mean, |v| v.is_finite()), "three numbers (R, G, B)"),
        rule(|d| d.is_to_scale(&d.mean), SCALE),
        note(". With `value_range` 1, numbers beyond ±2 are refused: a mean of values from 0 to 1 is one of \
            them, and those that bring values to another range (mean 0.5, std 0.5; \
            mean 0, std 1/255) are small too; 123.675 \
            is of bytes and needs `value_range = 255`");
    /// Standard deviation of R, G, B to divide by; empty: that of the kind, or 1 where `value_range` is 255.
    std: Vec<f32> = vec![], absent("that of the kind"),
        valid(|d| is_triple(&d.std, |v| v > 0.0 && v.is_finite()), "three positive numbers (R, G, B)"),
        rule(|d| d.is_to_scale(&d.std), SCALE),
        note(". It is at most 0.5 of values from 0 to 1; 58.395 is of bytes, and refused like such a mean");
    /// What white is before `mean` and `std`: 255 for networks that take the bytes as they are.
    value_range: u32 = 1, valid(|d| [1, 255].contains(&d.value_range), "1 or 255");
    /// Order of the network's input planes; `mean` and `std` are in order R, G, B with either.
    channel_order: ChannelOrder = ChannelOrder::Rgb;
}
}

fn is_given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// Whether `values` are left out, or three for which `holds`.
fn is_triple(values: &[f32], holds: fn(f32) -> bool) -> bool {
    values.is_empty() || (values.len() == 3 && values.iter().all(|&v| holds(v)))
}

impl DatasetConfig {
    fn is_list(&self) -> bool {
        self.kind == DatasetKind::List
    }

    fn has_columns(&self) -> bool {
        matches!(self.kind, DatasetKind::List | DatasetKind::Parquet)
    }

    /// Whether these may be means or standard deviations of values up to `value_range`. What files say that
    /// were made with others stays as it is.
    fn is_to_scale(&self, values: &[f32]) -> bool {
        self.value_range != 1 || !values.iter().any(|&v| is_of_bytes(v))
    }

    /// Makes the lists that are in `folder` absolute; the others are inside `path`, which the command
    /// line may still change.
    pub(super) fn find_lists(&mut self, folder: &Path) {
        for list in [&mut self.train_list, &mut self.test_list, &mut self.val_list] {
            let here = folder.join(&*list);
            if here.is_file()
                && let Ok(here) = std::path::absolute(here)
            {
                *list = here;
            }
        }
    }
}
