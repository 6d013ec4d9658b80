//! One experiment as one TOML file: read, checked, and every default declared once.
//!
//! Each section has one table of its keys (`settings!` in `settings`), from which their defaults, checks,
//! flags and rows of the documents follow; an unknown key is refused with the nearest known one.

mod check;
mod dataset;
mod error;
mod features;
mod finetune;
mod input_spec;
mod network;
mod range;
mod settings;
mod timm;
mod train;
mod variants;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

pub use dataset::{
    ChannelOrder, ClassOrder, CropMode, DatasetConfig, DatasetKind, Imbalance, Interpolation,
    Selection,
};
pub use error::ConfigError;
pub use features::{FeaturesConfig, KeepMaps, Precision};
pub use finetune::{FinetuneConfig, GenericClasses, MaskValues, RateSchedule, Sampling, ShotRule};
pub use input_spec::{InputSpec, Source, Statement, settled};
pub use network::{Arch, Freeze, NetworkConfig, Stem};
pub use settings::{Section, Setting, value_of, word};
pub use timm::read as read_timm;
pub use train::{Arithmetic, EpochSampling, RandomCrop, Schedule, TrainConfig};
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

/// `path` seen from `folder`, without `pipelines/..` in it where that is not a link.
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
/// command line, which override them.
///
/// A method brings settings of its own (loss, learning rate, schedule, ...). They override the
/// file's keys where the command line asks for another method than the file does.
///
/// # Errors
/// An unknown key (with the nearest known one), a value of the wrong type or out of range.
pub fn resolve_finetune(file: &Table, flags: &Table) -> Result<FinetuneConfig, ConfigError> {
    check::finetune(Path::new("command line"), file, flags)
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
