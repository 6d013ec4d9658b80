//! One experiment as one TOML file: read, checked, and every default declared once.
//!
//! The defaults are the `Default` values of the structs here; an unknown key is refused with the
//! nearest known one, and the known keys are those of the defaults themselves.

mod check;
mod finetune;
mod input_spec;
mod lists;
mod network;
mod ranges;
mod timm;
mod variants;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

pub use check::{ConfigError, nearest};
pub use finetune::{FinetuneConfig, GenericClasses, MaskValues, RateSchedule, Sampling, ShotRule};
pub use input_spec::{ChannelOrder, CropMode, InputSpec, Source, Statement, settled};
pub use network::{Arch, Freeze, NetworkConfig, Stem};
pub use timm::read as read_timm;
pub use variants::of as variants_of;

pub use crate::methods::{Loss, Method, TrainLoss};

/// A whole pipeline: the data, the network and the settings of the three stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Pipeline {
    /// Seed of every random choice.
    pub seed: u64,
    /// The images.
    pub dataset: DatasetConfig,
    /// The backbone.
    pub network: NetworkConfig,
    /// Phase-I.
    pub train: TrainConfig,
    /// The feature bank.
    pub features: FeaturesConfig,
    /// Phase-II.
    pub finetune: FinetuneConfig,
}

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

/// `[dataset]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatasetConfig {
    /// How images are found.
    pub kind: DatasetKind,
    /// File or directory; relative to the folder of the pipeline file.
    pub path: PathBuf,
    /// List of the images to train on, with `path` the folder of the images: relative to the folder of
    /// the pipeline file or, where nothing is there, inside `path`.
    pub train_list: PathBuf,
    /// List of the images to test on.
    pub test_list: PathBuf,
    /// List of the images to make choices on.
    pub val_list: PathBuf,
    /// Column of a list that has the paths; empty: the first of the usual names.
    pub path_column: String,
    /// Column of a list or table that has the labels; empty: the first of the usual names.
    pub label_column: String,
    /// Column of a list or table that has the splits; empty: the first of the usual names, if there.
    pub split_column: String,
    /// Beginnings of listed paths with what replaces them; the first that a path has is used.
    pub path_rewrites: Vec<[String; 2]>,
    /// Order of classes that have names: of folders, and of labels that are not all numbers.
    pub class_order: ClassOrder,
    /// At most so many classes, evenly spaced from the largest to the smallest; 0 takes all.
    pub max_classes: usize,
    /// Largest over smallest class to cut the training set to; 1 keeps all images. A class that has fewer
    /// images than the cut would keep keeps all of them, and the ratio may then be larger.
    pub imbalance_ratio: f64,
    /// How the classes shrink.
    pub imbalance: Imbalance,
    /// Which images the cut keeps.
    pub selection: Selection,
    /// Seed of `selection = "random"`; another one gives other images, and changes nothing else.
    pub selection_seed: u64,
    /// Share of each class's training images (after the cut) that is held out of Phase-I, as the
    /// validation split that choices are made on; 0 holds out none.
    pub val_fraction: f64,
    /// Side of the square images that the network sees, in pixels.
    pub image_size: usize,
    /// Side of the middle square of an image that is kept, as a share of its shorter side; 0.875 is
    /// usual for ImageNet networks (scaled to 256 pixels, cut to 224).
    pub crop_fraction: f64,
    /// How an image becomes a square.
    pub crop_mode: CropMode,
    /// How the square is scaled.
    pub interpolation: Interpolation,
    /// Bits that the values of 16-bit images have: 12 where 4095 is white. Those of 8-bit images have 8.
    pub bit_depth: u32,
    /// Mean of R, G, B to subtract, in units of `value_range`; empty: that of the kind, or 0 where
    /// `value_range` is 255.
    pub mean: Vec<f32>,
    /// Standard deviation of R, G, B to divide by; empty: that of the kind, or 1.
    pub std: Vec<f32>,
    /// What white is before `mean` and `std`: 1 or 255.
    pub value_range: u32,
    /// Order of the network's input planes.
    pub channel_order: ChannelOrder,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self {
            kind: DatasetKind::Folder,
            path: PathBuf::new(),
            train_list: PathBuf::new(),
            test_list: PathBuf::new(),
            val_list: PathBuf::new(),
            path_column: String::new(),
            label_column: String::new(),
            split_column: String::new(),
            path_rewrites: vec![],
            class_order: ClassOrder::Name,
            max_classes: 0,
            imbalance_ratio: 1.0,
            imbalance: Imbalance::Exponential,
            selection: Selection::Ldam,
            selection_seed: 0,
            val_fraction: 0.0,
            image_size: 32,
            crop_fraction: 1.0,
            crop_mode: CropMode::Center,
            interpolation: Interpolation::Bilinear,
            bit_depth: 16,
            mean: vec![],
            std: vec![],
            value_range: 1,
            channel_order: ChannelOrder::Rgb,
        }
    }
}

/// Which images make up an epoch of Phase-I.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpochSampling {
    /// Every image once.
    Instance,
    /// As many draws as images, with replacement: a class uniformly, then an image of it.
    Class,
    /// The same with classes in proportion to the square root of their images (Kang et al., ICLR 2020).
    SquareRoot,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Times `step_factor` every `step_epochs`.
    Step,
    /// Times `step_factor` after each of the epochs of `milestones`.
    Multistep,
    /// Half a cosine, from the learning rate to 0 at the last step.
    Cosine,
}

/// The number type of the network's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// bf16 where the device computes in it, f32 elsewhere.
    Auto,
    /// 32-bit floats.
    F32,
    /// Convolutions in bf16; weights, batch statistics and the loss in f32.
    Bf16,
}

/// How Phase-I cuts training images at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RandomCrop {
    /// A square of `image_size` out of the middle square with `crop_padding` black pixels around it.
    Padded,
    /// A rectangle of the original image, of an area in `crop_scale` and 3/4 to 4/3 as wide as high,
    /// scaled to the square: torchvision's `RandomResizedCrop`.
    Resized,
}

/// `[train]`: Phase-I. The defaults are the paper's CIFAR schedule (Sec. 5.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// Learning rate after warm-up.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// L2 penalty on all parameters (the paper is silent; usual for CIFAR ResNets).
    pub weight_decay: f64,
    /// Epochs over which the learning rate rises linearly from 0.
    pub warmup_epochs: usize,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Epochs between steps.
    pub step_epochs: usize,
    /// Epochs after which the learning rate steps down.
    pub milestones: Vec<usize>,
    /// Factor of a step.
    pub step_factor: f64,
    /// What training minimises.
    pub loss: TrainLoss,
    /// gamma of the focal loss.
    pub focal_gamma: f64,
    /// beta of class-balanced weights.
    pub class_balance_beta: f64,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// alpha of mixup's Beta distribution (Zhang et al., ICLR 2018); 0 mixes nothing.
    pub mixup_alpha: f64,
    /// Which images make up an epoch.
    pub sampling: EpochSampling,
    /// Share that a running average of the weights keeps of itself in each step; the average becomes the
    /// model. 0 keeps none.
    pub ema_decay: f64,
    /// How images are cut at random.
    pub crop: RandomCrop,
    /// Pixels of zero padding before the random crop; 0 does not crop.
    pub crop_padding: usize,
    /// Smallest and largest area of a resized crop, as shares of the image's.
    pub crop_scale: [f64; 2],
    /// Random horizontal flips.
    pub flip: bool,
    /// Random changes of brightness, contrast and saturation: factors lie between 1 less this and 1 plus
    /// this; 0 changes nothing, 0.4 is usual for photographs.
    pub color_jitter: f64,
    /// Number type of the convolutions.
    pub arithmetic: Arithmetic,
    /// Keep activations and weights in channels-last order, faster on most devices.
    pub channels_last: bool,
    /// Epochs between checkpoints.
    pub checkpoint_every: usize,
    /// Epochs between evaluations on the test images (shown, never used to choose); 0: at the end only.
    pub eval_every: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 300,
            batch_size: 128,
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 5e-4,
            warmup_epochs: 0,
            schedule: Schedule::Step,
            step_epochs: 150,
            milestones: vec![],
            step_factor: 0.1,
            loss: TrainLoss::default(),
            focal_gamma: 2.0,
            class_balance_beta: 0.9999,
            label_smoothing: 0.0,
            mixup_alpha: 0.0,
            sampling: EpochSampling::Instance,
            ema_decay: 0.0,
            crop: RandomCrop::Padded,
            crop_padding: 4,
            crop_scale: [0.08, 1.0],
            flip: true,
            color_jitter: 0.0,
            arithmetic: Arithmetic::F32,
            channels_last: true,
            checkpoint_every: 1,
            eval_every: 10,
        }
    }
}

/// What the values of a stored map are rounded to; the Parquet column stays FLOAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 11 significant bits, up to 65,504.
    F16,
    /// 8 significant bits, the range of f32.
    Bf16,
    /// Not rounded.
    F32,
}

impl Precision {
    /// The name in a pipeline.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }
}

/// Which training rows of a bank keep their maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepMaps {
    /// All.
    All,
    /// Those of the classes that FSA draws from with the settings of `[finetune]`: the tail, and the
    /// classes that give it class-generic vectors.
    Needed,
    /// None: a bank for methods that take pooled vectors.
    None,
}

/// `[features]`: what the bank holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeaturesConfig {
    /// Rows an image: view 0 clean, the others transformed at random as in Phase-I.
    pub views: usize,
    /// Rounding of the stored maps.
    pub precision: Precision,
    /// Which training rows keep their maps.
    pub maps: KeepMaps,
    /// With `maps = "needed"`, rows an image of the classes whose maps are not kept, the clean view first;
    /// 0 for as many as `views`.
    pub other_views: usize,
    /// Images a forward pass.
    pub batch_size: usize,
    /// Number type of the convolutions.
    pub arithmetic: Arithmetic,
    /// zstd level of the shards.
    pub compression_level: i32,
    /// Map bytes (as f32, before compression) at which a shard is closed.
    pub shard_bytes: u64,
    /// Class-balanced batches (of `train.batch_size` images, cropped and flipped as in Phase-I) that
    /// batch normalisation's running statistics are estimated anew on before the pass; 0 keeps those of
    /// Phase-I.
    pub recalibrate_batches: usize,
    /// Passes over the training rows of `--head fit`; small sets are visited more often.
    pub fit_epochs: usize,
    /// L2 penalty of `--head fit` on the weights of standardised vectors.
    pub fit_weight_decay: f32,
}

impl Default for FeaturesConfig {
    fn default() -> Self {
        Self {
            views: 1,
            precision: Precision::F16,
            maps: KeepMaps::All,
            other_views: 0,
            batch_size: 128,
            arithmetic: Arithmetic::F32,
            compression_level: 1,
            shard_bytes: 1 << 29,
            recalibrate_batches: 0,
            fit_epochs: 30,
            fit_weight_decay: 1e-4,
        }
    }
}

/// A pipeline with the place it was read from.
#[derive(Debug, Clone)]
pub struct LoadedPipeline {
    /// The file's stem, which names the run.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Its checked content; `dataset.path` is resolved.
    pub pipeline: Pipeline,
    /// The keys of its `[finetune]` section, as they stand there.
    pub finetune_keys: Table,
    /// The keys of `[dataset]` that the file has.
    pub dataset_keys: Vec<String>,
    /// Those that an override has.
    pub set_keys: Vec<String>,
}

impl LoadedPipeline {
    /// What it and its images say of a network's inputs: the keys that it names.
    pub fn statements(&self) -> Vec<Statement> {
        let dataset = &self.pipeline.dataset;
        let spec = InputSpec::of(dataset);
        let is_left_out = |key: &str| match key {
            "mean" => dataset.mean.is_empty(),
            "std" => dataset.std.is_empty(),
            _ => false,
        };
        let has = |keys: &[String], key: &str| keys.iter().any(|k| k == key) && !is_left_out(key);
        let set = |key: &str| has(&self.set_keys, key);
        let written = |key: &str| has(&self.dataset_keys, key) && !set(key);
        let said = |place, named: &dyn Fn(&str) -> bool| {
            Statement::part(Source::Pipeline, place, &spec, named)
        };
        let own = [said(Path::new("--set"), &set), said(&self.file, &written)];
        match dataset.kind {
            DatasetKind::Cifar10 | DatasetKind::Cifar100 => {
                let images = Statement::of_side(Source::Images, &dataset.path, 32);
                [images].into_iter().chain(own).collect()
            }
            DatasetKind::Folder | DatasetKind::List | DatasetKind::Parquet => own.into(),
        }
    }
}

/// Reads and checks a pipeline file, or a variant of one: `x-small.toml` is `x.toml` with its
/// `[variants.small]` in place.
///
/// `overrides` are `section.key=value` settings (values in TOML syntax; a bare word is a string)
/// applied before the check.
///
/// # Errors
/// An unreadable file, a syntax error, an unknown key (with the nearest known one), a value of the
/// wrong type or out of range: each names the file and the key.
pub fn load(file: &Path, overrides: &[String]) -> Result<LoadedPipeline, ConfigError> {
    let (written, variants) = variants::file_of(file);
    let text = std::fs::read_to_string(&written)
        .map_err(|source| ConfigError::Read { file: file.into(), source })?;
    let check::Parsed { mut pipeline, finetune_keys, dataset_keys } =
        check::parse(&written, &text, &variants, overrides)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    pipeline.dataset.path = beside(folder, &pipeline.dataset.path);
    pipeline.dataset.find_lists(folder);
    if !pipeline.network.weights.as_os_str().is_empty() {
        pipeline.network.weights = beside(folder, &pipeline.network.weights);
    }
    let name = file.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
    let (file, set_keys) = (file.into(), check::dataset_keys_of(overrides)?);
    Ok(LoadedPipeline { name, file, pipeline, finetune_keys, dataset_keys, set_keys })
}

/// `path` seen from `folder`, without `pipelines/..` in it where that is no link.
fn beside(folder: &Path, path: &Path) -> PathBuf {
    let above = path.strip_prefix("..").ok().zip(folder.parent());
    match above {
        Some((rest, parent)) if folder.file_name().is_some() && !folder.is_symlink() => {
            beside(parent, rest)
        }
        _ => folder.join(path),
    }
}

/// A pipeline that no file holds, with `overrides` applied and checked; `place` names it in messages. It
/// names the keys that the overrides have.
///
/// # Errors
/// As [`load`].
pub fn with_overrides(
    name: String,
    place: &Path,
    pipeline: Pipeline,
    overrides: &[String],
) -> Result<LoadedPipeline, ConfigError> {
    let mut sections = Table::try_from(pipeline).expect("settings are TOML");
    // Methods bring settings of their own, which explicit defaults would hide.
    sections.remove("finetune");
    let text = toml::to_string(&sections).expect("settings are TOML");
    let check::Parsed { mut pipeline, finetune_keys, .. } =
        check::parse(place, &text, "", overrides)?;
    pipeline.dataset.find_lists(Path::new(""));
    let (file, set_keys) = (place.into(), check::dataset_keys_of(overrides)?);
    let dataset_keys = vec![];
    Ok(LoadedPipeline { name, file, pipeline, finetune_keys, dataset_keys, set_keys })
}

/// The settings of Phase-II from the keys of a file's `[finetune]` section and those given on the
/// command line, which go first.
///
/// A method brings settings of its own (loss, learning rate, schedule, ...). They go before the
/// file's keys where the command line asks for another method than the file does.
///
/// # Errors
/// An unknown key (with the nearest known one), a value of the wrong type or out of range.
pub fn resolve_finetune(file: &Table, flags: &Table) -> Result<FinetuneConfig, ConfigError> {
    check::finetune(Path::new("command line"), file, flags)
}

/// A value in TOML syntax; a bare word is a string.
pub fn value_of(text: &str) -> toml::Value {
    check::value_of(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_out_of_the_pipelines_folder() {
        let of = |folder: &str, path: &str| beside(Path::new(folder), Path::new(path));
        assert_eq!(of("a/pipelines", "../data"), Path::new("a/data"));
        assert_eq!(of("a/pipelines", "../../data"), Path::new("data"));
        assert_eq!(of("pipelines", "../data"), Path::new("data"));
        assert_eq!(of("", "../data"), Path::new("../data"));
        assert_eq!(of("a/..", "../data"), Path::new("a/../../data"));
        assert_eq!(of("a", "/data"), Path::new("/data"));
        assert_eq!(of("a", "data/x"), Path::new("a/data/x"));
    }
}
