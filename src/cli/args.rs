//! Commands and options.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;

use crate::config::{FinetuneConfig, Method, Sampling, ShotRule};

const EXAMPLES: &str = "\
Examples:
  fsa-bank train pipelines/demo.toml         train; the result is runs/demo/model.safetensors
  fsa-bank features pipelines/demo.toml      write the bank, runs/demo/shards/
  fsa-bank finetune runs/demo/shards/        fine-tune the classifier and compare
  fsa-bank inspect runs/demo/shards/         see what the bank holds";

/// Feature banks for long-tailed image classification.
///
/// Train a network (train), write its feature bank once (features), then find a better classifier
/// for the rare classes from the bank alone, in seconds (finetune).
#[derive(Debug, Parser)]
#[command(name = "fsa-bank", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// Print the result as one line of JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// CPU threads [default: all]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZero<usize>>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Phase-I: train the network of a pipeline on all its images
    Train(TrainArgs),
    /// Write the feature bank: one pass of the trained network over all images
    Features(FeaturesArgs),
    /// Phase-II: fine-tune the classifier from a bank alone, and compare before and after
    Finetune(Box<FinetuneArgs>),
    /// Show what a bank is: model, classes, head and tail, confusing classes, masks, bytes
    Inspect(InspectArgs),
}

/// What `train` and `features` share.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// Pipeline file, such as pipelines/demo.toml
    pub pipeline: PathBuf,
    /// Folder of the run [default: runs/NAME, NAME being the pipeline's file name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Images, in place of the pipeline's dataset.path
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Where to compute: auto (the first GPU, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Change a setting of the pipeline, such as train.epochs=40; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Replace what an earlier run left in the folder
    #[arg(long)]
    pub overwrite: bool,
}

impl PipelineArgs {
    /// What the user's next command must have besides the pipeline.
    pub(super) fn same_flags(&self) -> String {
        let path = |flag: &str, path: &Option<PathBuf>| {
            path.as_ref().map_or(String::new(), |p| format!(" {flag} {}", p.display()))
        };
        let set: String = self.set.iter().map(|s| format!(" --set {s}")).collect();
        format!("{}{}{set}", path("--data", &self.data), path("--out", &self.out))
    }
}

/// `train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The pipeline.
    #[command(flatten)]
    pub common: PipelineArgs,
    /// Continue from the checkpoint of an interrupted run, if there is one
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
}

/// `features`
#[derive(Debug, Args)]
pub struct FeaturesArgs {
    /// The pipeline.
    #[command(flatten)]
    pub common: PipelineArgs,
    /// Also time the bare forward pass over the same batches, to compare with the whole
    #[arg(long)]
    pub measure_forward: bool,
}

/// `finetune`
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// Folder of the bank, such as runs/demo/shards
    pub bank: PathBuf,
    /// Take the settings of this pipeline's [finetune] section; flags go before them
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the result [default: finetune/METHOD-CONFIGHASH-SEED beside the bank]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of every draw
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Make the result again where it is there already
    #[arg(long)]
    pub overwrite: bool,
    /// List every class, however many there are
    #[arg(long)]
    pub per_class: bool,
    /// The settings.
    #[command(flatten)]
    pub settings: SettingArgs,
}

/// A word of a setting, as it stands in a pipeline.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::Value::String(text.into()).try_into().map_err(|e| {
        let message = e.to_string();
        message.lines().next().unwrap_or_default().into()
    })
}

/// One flag for each key of `[finetune]`; absent ones keep the pipeline's value or the default.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Settings of Phase-II (symbols as in the paper)")]
pub struct SettingArgs {
    /// fsa (feature space augmentation), or no-aug (balanced batches alone) [default: fsa]
    #[arg(long, value_name = "METHOD", value_parser = word::<Method>)]
    method: Option<Method>,
    /// tau_s: class-specific where the normalised CAM is above it [default: 0.5]
    #[arg(long, value_name = "0..1")]
    tau_specific: Option<f32>,
    /// tau_g: class-generic where the normalised CAM is below it [default: 0.5]
    #[arg(long, value_name = "0..1")]
    tau_generic: Option<f32>,
    /// h_r: the head is the fewest largest classes with this share of the images [default: 0.9]
    #[arg(long, value_name = "0..1")]
    head_ratio: Option<f64>,
    /// N_f: confusing classes of each tail class [default: 3]
    #[arg(long, value_name = "N")]
    num_confusing: Option<usize>,
    /// N_a: fused samples for each real tail sample [default: 3]
    #[arg(long, value_name = "N")]
    num_augmented: Option<usize>,
    /// N_t: real tail samples a batch; a batch has 2 N_t (1 + N_a) samples [default: 16]
    #[arg(long, value_name = "N")]
    tail_per_batch: Option<usize>,
    /// Range of gamma, the share of class-specific vectors in a fused sample [default: 0 1]
    #[arg(long, num_args = 2, value_names = ["LOW", "HIGH"])]
    gamma_range: Option<Vec<f64>>,
    /// Tail draws: class (a class, then an image) or instance (an image) [default: class]
    #[arg(long, value_name = "HOW", value_parser = word::<Sampling>)]
    tail_sampling: Option<Sampling>,
    /// Head draws: class, or instance as in the paper [default: class]
    #[arg(long, value_name = "HOW", value_parser = word::<Sampling>)]
    head_sampling: Option<Sampling>,
    /// Steps of SGD [default: 6400]
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Learning rate, fixed [default: 0.001]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,
    /// Momentum of SGD [default: 0.9]
    #[arg(long, value_name = "0..1")]
    momentum: Option<f32>,
    /// L2 penalty on the classifier [default: 0]
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f32>,
    /// Rule of many, medium and few in the report: standard, oltr or paper [default: standard]
    #[arg(long, value_name = "RULE", value_parser = word::<ShotRule>)]
    shot_rule: Option<ShotRule>,
}

impl SettingArgs {
    /// Puts the flags that were given over `base`.
    pub fn over(&self, mut base: FinetuneConfig) -> FinetuneConfig {
        macro_rules! take {
            ($($key:ident),*) => { $(if let Some(value) = self.$key { base.$key = value; })* };
        }
        take!(
            method,
            tau_specific,
            tau_generic,
            head_ratio,
            num_confusing,
            num_augmented,
            tail_per_batch,
            tail_sampling,
            head_sampling,
            iterations,
            learning_rate,
            momentum,
            weight_decay,
            shot_rule
        );
        if let Some([low, high]) = self.gamma_range.as_deref() {
            base.gamma_range = [*low, *high];
        }
        base
    }
}

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of the bank, such as runs/demo/shards
    pub bank: PathBuf,
    /// Thresholds, head ratio and number of confusing classes.
    #[command(flatten)]
    pub settings: InspectSettings,
}

/// The settings of Phase-II that decide what `inspect` counts.
#[derive(Debug, Args)]
pub struct InspectSettings {
    /// tau_s: class-specific where the normalised CAM is above it
    #[arg(long, value_name = "0..1", default_value_t = FinetuneConfig::default().tau_specific)]
    tau_specific: f32,
    /// tau_g: class-generic where the normalised CAM is below it
    #[arg(long, value_name = "0..1", default_value_t = FinetuneConfig::default().tau_generic)]
    tau_generic: f32,
    /// h_r: the head is the fewest largest classes with this share of the images
    #[arg(long, value_name = "0..1", default_value_t = FinetuneConfig::default().head_ratio)]
    head_ratio: f64,
    /// N_f: confusing classes of each tail class
    #[arg(long, value_name = "N", default_value_t = FinetuneConfig::default().num_confusing)]
    num_confusing: usize,
}

impl InspectSettings {
    /// As settings of Phase-II.
    pub fn config(&self) -> FinetuneConfig {
        FinetuneConfig {
            tau_specific: self.tau_specific,
            tau_generic: self.tau_generic,
            head_ratio: self.head_ratio,
            num_confusing: self.num_confusing,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_finetune_key_has_its_flag_and_the_flags_reach_it() {
        let keys = toml::Table::try_from(FinetuneConfig::default()).unwrap();
        let command = Cli::command();
        let finetune = command.find_subcommand("finetune").unwrap();
        for key in keys.keys() {
            let flag = key.replace('_', "-");
            assert!(finetune.get_arguments().any(|a| a.get_long() == Some(&flag)), "--{flag}");
        }
        let given = "fsa-bank finetune b --method no-aug --tau-specific 0.1 --tau-generic 0.2 \
            --head-ratio 0.3 --num-confusing 4 --num-augmented 5 --tail-per-batch 6 --gamma-range \
            0.7 0.8 --tail-sampling instance --head-sampling instance --iterations 9 \
            --learning-rate 0.01 --momentum 0.11 --weight-decay 0.12 --shot-rule paper";
        let Command::Finetune(args) = Cli::parse_from(given.split_whitespace()).command else {
            panic!("finetune");
        };
        let config = toml::Table::try_from(args.settings.over(Default::default())).unwrap();
        for (key, default) in &keys {
            assert_ne!(&config[key], default, "--{} has no effect", key.replace('_', "-"));
        }
    }
}
