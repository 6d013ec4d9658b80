//! Commands and options.

use std::num::NonZero;
use std::path::PathBuf;

use super::settings::{InspectSettings, SettingArgs, parse_bytes};
use super::skipping::SkippingArgs;
use crate::bank::Partition;
use crate::config::KeepMaps;
use crate::dataset::known::{self, Known};
use crate::finetune::Selection;
use crate::verify::Sample;
use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  fsa-bank init photos/                      look at your images, write photos.toml for them
  fsa-bank train pipelines/demo.toml         train; the result is runs/demo/model.safetensors
  fsa-bank plan pipelines/demo.toml          how large the bank will be, and how long it takes
  fsa-bank features pipelines/demo.toml      write the bank, runs/demo/shards/
  fsa-bank finetune runs/demo/shards/        fine-tune the classifier: before and after
  fsa-bank compare runs/demo/shards/         all methods on the bank, in one table
  fsa-bank sweep runs/demo/shards/ --grid head_ratio=0.7,0.8,0.9
  fsa-bank export runs/demo --onnx demo.onnx --classifier runs/demo/finetune/.../classifier.safetensors
  fsa-bank predict demo.onnx photos/         class and probability of each image
  fsa-bank inspect runs/demo/shards/         see what the bank holds
  fsa-bank verify runs/demo/shards/          check that every byte and value of it is right
  fsa-bank dataset stats pipelines/demo.toml see how long the tail is";

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
    #[arg(long, global = true, value_name = "N", overrides_with = "threads")]
    pub threads: Option<NonZero<usize>>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at a folder or list of images, and write a pipeline for them that gives its reasons
    Init(InitArgs),
    /// Phase-I: train the network of a pipeline on all its images
    Train(TrainArgs),
    /// Write the feature bank: one pass of the trained network over all images
    Features(FeaturesCommand),
    /// What a bank will be before it is made: rows, shards, bytes, time, and whether it fits on the disk
    Plan(FeaturesArgs),
    /// Make a bank of the shards that `features --partition` made
    Commit(CommitArgs),
    /// Phase-II: fine-tune the classifier from a bank alone, and compare before and after
    Finetune(Box<FinetuneArgs>),
    /// All methods on one bank, side by side: one table, with the spread over seeds
    Compare(Box<CompareArgs>),
    /// A grid of settings: every run a row, continued where it was interrupted
    Sweep(Box<SweepArgs>),
    /// Write a model with its new classifier for other programs: ONNX, safetensors, npz
    Export(ExportArgs),
    /// Classes of images, from a model or an ONNX file
    Predict(PredictArgs),
    /// A model's accuracy on the test images of a pipeline, as finetune gives it from the bank
    Eval(EvalArgs),
    /// What was found here: libtorch, onnxruntime, GPU, threads, memory, disk
    Doctor(DoctorArgs),
    /// Show what a bank is: model, classes, head and tail, confusing classes, masks, bytes
    Inspect(InspectArgs),
    /// Check a whole bank: every byte, every value, and what follows from what
    Verify(VerifyArgs),
    /// The images themselves: class sizes (stats), what is wrong with them (check), where they come
    /// from (fetch)
    #[command(subcommand)]
    Dataset(DatasetCommand),
}

/// `dataset`
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Splits, class sizes, imbalance ratio, head and tail, shot groups; a picture of the long tail
    Stats(StatsArgs),
    /// Read and decode every image; list what is missing, undecodable or duplicated
    Check(ImagesArgs),
    /// Get a known dataset: cifar10, cifar100, inat2017 and inat2018 are downloaded, checked and
    /// unpacked; for imagenet-lt and places-lt it prints what to download, and where to put it
    Fetch(FetchArgs),
}

/// The images that `eval`, `dataset stats` and `dataset check` look at.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Pipeline file, such as pipelines/demo.toml
    pub pipeline: PathBuf,
    /// Images, in place of the pipeline's dataset.path
    #[arg(long, visible_alias = "images", value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Change a setting of the pipeline, such as dataset.imbalance_ratio=50; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// `dataset stats`
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// The images.
    #[command(flatten)]
    pub images: ImagesArgs,
    /// List every class
    #[arg(long)]
    pub per_class: bool,
    /// Write the sorted class sizes as a picture (SVG)
    #[arg(long, value_name = "FILE.svg")]
    pub picture: Option<PathBuf>,
}

/// `dataset fetch`
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// cifar10, cifar100, inat2017, inat2018, imagenet-lt or places-lt; the name of a pipeline that
    /// begins with one of these does too
    #[arg(value_parser = known)]
    pub name: &'static Known,
    /// Folder of its files [default: where its pipelines expect it, such as data/inat2018]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Address of a folder with the archives, in place of the publisher's
    #[arg(long, value_name = "URL", hide = true)]
    pub server: Option<String>,
}

/// A device's name; whether it is there, its engine says.
fn device(name: &str) -> Result<String, String> {
    let number = name.strip_prefix("cuda:").is_some_and(|n| n.parse::<u16>().is_ok());
    match number || ["auto", "cpu", "cuda"].contains(&name) {
        true => Ok(name.into()),
        false => Err("expected auto, cpu, cuda or cuda:N".into()),
    }
}

fn known(name: &str) -> Result<&'static Known, String> {
    let names = || known::ALL.map(|known| known.name).join(", ");
    Known::named(name).ok_or_else(|| format!("not a known dataset; known are {}", names()))
}

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Images: a folder (train/CLASS/**, test/CLASS/** and, optionally, val/CLASS/**; or CLASS/** alone),
    /// or a list of them
    #[arg(value_name = "DIR|LIST")]
    pub images: PathBuf,
    /// The pipeline's file [default: NAME.toml here, NAME being that of the folder or list]
    #[arg(long, value_name = "FILE.toml")]
    pub out: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    pub overwrite: bool,
}

/// What `train` and `features` share.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder of the run [default: runs/NAME, NAME being the pipeline's file name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Images, in place of the pipeline's dataset.path
    #[arg(long, visible_alias = "images", value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Where to compute: auto (the first GPU, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device, overrides_with = "device")]
    pub device: String,
    /// Change a setting of the pipeline, such as train.epochs=40; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// How many images may be undecodable.
    #[command(flatten)]
    pub skipping: SkippingArgs,
    /// Replace what an earlier run left in the folder
    #[arg(long)]
    pub overwrite: bool,
}

/// `train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Pipeline file, such as pipelines/demo.toml
    pub pipeline: PathBuf,
    /// Where and how.
    #[command(flatten)]
    pub common: RunArgs,
    /// Continue from the checkpoint of an interrupted run, if there is one
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
}

/// `features`
#[derive(Debug, Args)]
pub struct FeaturesCommand {
    /// What `plan` takes too.
    #[command(flatten)]
    pub shared: FeaturesArgs,
    /// Make nothing, and print what the bank would be: the same as `fsa-bank plan`
    #[arg(long)]
    pub dry_run: bool,
}

/// What `features` and `plan` share.
#[derive(Debug, Args)]
pub struct FeaturesArgs {
    /// Pipeline file, such as pipelines/demo.toml; not needed with --onnx and --images
    #[arg(required_unless_present_all = ["onnx", "data"])]
    pub pipeline: Option<PathBuf>,
    /// Take the network and its classifier from this ONNX file; no Phase-I is needed
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// The classifier, in place of the network's own: `fit` fits one to these images, without any
    /// training of the network; FILE has one (safetensors: fc.weight, fc.bias)
    #[arg(long, value_name = "fit|FILE")]
    pub head: Option<PathBuf>,
    /// Training rows that keep their maps: all, needed (those of the classes that FSA draws from with the
    /// pipeline's head_ratio and num_confusing) or none (for other methods) [default: all]
    #[arg(long, value_name = "WHICH", value_parser = super::settings::word::<KeepMaps>)]
    pub maps: Option<KeepMaps>,
    /// timm's config.json of the ONNX network: mean, standard deviation, size, crop and interpolation
    #[arg(long, value_name = "FILE", requires = "onnx")]
    pub preprocessing: Option<PathBuf>,
    /// Names of the network's classes in the order of its outputs, where the file has none or others: one a
    /// line, a JSON list, or a config.json with id2label or label_names
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Where and how.
    #[command(flatten)]
    pub common: RunArgs,
    /// Make only the shards of partition i of N (1/N to N/N), here or anywhere; `fsa-bank commit` makes
    /// them a bank
    #[arg(long, value_name = "i/N", value_parser = str::parse::<Partition>)]
    pub partition: Option<Partition>,
    /// Make the partitions in N processes at once; where there are GPUs, each process gets its own in turn
    #[arg(long, value_name = "N", conflicts_with_all = ["partition", "measure_forward"])]
    pub jobs: Option<NonZero<usize>>,
    /// One of the processes of --jobs: prints the rows of each batch
    #[arg(long, hide = true, requires = "partition")]
    pub worker: bool,
    /// Also time the bare forward pass over the same batches, to compare with the whole
    #[arg(long)]
    pub measure_forward: bool,
}

impl FeaturesArgs {
    /// What `--set` and `--maps` change of the pipeline.
    pub fn settings(&self) -> Vec<String> {
        let maps = self.maps.map(|maps| {
            let word = serde_json::to_string(&maps).expect("a word is JSON");
            format!("features.maps={word}")
        });
        self.common.set.iter().cloned().chain(maps).collect()
    }
}

/// `commit`
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// Folder of the bank to make, such as runs/demo/shards
    pub bank: PathBuf,
    /// Replace an existing bank that differs
    #[arg(long)]
    pub overwrite: bool,
}

/// `finetune`
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// Folder of the bank, such as runs/demo/shards
    pub bank: PathBuf,
    /// Take the settings of this pipeline's `[finetune]` section; flags override them
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the result [default: finetune/METHOD-CONFIGHASH-SEED beside the bank]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of every draw
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where the iteration and tau are chosen: none (the end of training, tau as set), val, train
    /// (biased) or test (best on test)
    #[arg(long, default_value = "none", value_name = "WHERE", value_parser = super::settings::word::<Selection>)]
    pub select: Selection,
    /// Make an existing result again
    #[arg(long)]
    pub overwrite: bool,
    /// List every class, however many there are
    #[arg(long)]
    pub per_class: bool,
    /// How memory is limited and choices are made.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The settings.
    #[command(flatten)]
    pub settings: SettingArgs,
}

/// What `finetune`, `compare`, `sweep` and `inspect` share.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Memory that the program may take, such as 512MiB or 4GiB; it changes no result
    #[arg(long, default_value = "1GiB", value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: u64,
}

impl EngineArgs {
    /// The memory to take: no more than there are addresses for.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory.min(super::address_space::most_memory_bytes().unwrap_or(u64::MAX))
    }
}

/// `compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folder of the bank, such as runs/demo/shards
    pub bank: PathBuf,
    /// Methods, such as fsa,crt,fsa+balanced-softmax [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Seeds of each method that draws: 0 up to this
    #[arg(long, default_value_t = 3, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Where the iteration and tau are chosen: none, val, train (biased) or test (best on test)
    /// [default: val where the bank has a validation split, else none]
    #[arg(long, value_name = "WHERE", value_parser = super::settings::word::<Selection>)]
    pub select: Option<Selection>,
    /// Take the settings of this pipeline's `[finetune]` section; flags override them
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of compare.json, .csv and .md [default: compare beside the bank]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How memory is limited.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The settings.
    #[command(flatten)]
    pub settings: SettingArgs,
}

/// `sweep`
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Folder of the bank, such as runs/demo/shards
    pub bank: PathBuf,
    /// Values of a setting, such as head_ratio=0.5,0.7,0.9; repeated, all combinations are run
    #[arg(long, required = true, value_name = "KEY=V1,V2,...")]
    pub grid: Vec<String>,
    /// Seeds of each combination: 0 up to this
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// What the best combination is chosen by: val, train (biased), test (best on test) or none
    #[arg(long, default_value = "val", value_name = "WHERE", value_parser = super::settings::word::<Selection>)]
    pub select: Selection,
    /// Score every run on the test images too, as for the paper's figures; nothing is chosen by it
    #[arg(long)]
    pub with_test: bool,
    /// Take the settings of this pipeline's `[finetune]` section; flags override them
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the rows [default: sweep beside the bank]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How memory is limited.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The settings.
    #[command(flatten)]
    pub settings: SettingArgs,
}

/// What is given in addition to a model.
#[derive(Debug, Args)]
pub struct GivenArgs {
    /// The classifier.safetensors of a Phase-II result, in place of the model's own
    #[arg(long, value_name = "FILE")]
    pub classifier: Option<PathBuf>,
    /// Names of the network's classes in the order of its outputs, where the file has none or others: one a
    /// line, a JSON list, or a config.json with id2label or label_names
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// timm's config.json of the network, where its file does not say how images are prepared; for export also
    /// in place of what an ONNX file's metadata says
    #[arg(long, value_name = "FILE")]
    pub preprocessing: Option<PathBuf>,
}

/// `export`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
pub struct ExportArgs {
    /// A run's folder or model.safetensors, or an ONNX file
    pub model: PathBuf,
    /// What goes with it.
    #[command(flatten)]
    pub given: GivenArgs,
    /// Write the network with the classifier as ONNX; labels and preprocessing are in its metadata
    #[arg(long, value_name = "FILE", group = "what")]
    pub onnx: Option<PathBuf>,
    /// Write the network with the classifier as safetensors, under torchvision's names
    #[arg(long, value_name = "FILE", group = "what")]
    pub safetensors: Option<PathBuf>,
    /// Write the classifier alone: a .safetensors file (fc.weight [C, K], fc.bias `[C]`) or, for numpy,
    /// an .npz file (weight, bias)
    #[arg(long, value_name = "FILE", group = "what")]
    pub head: Option<PathBuf>,
}

/// `predict`
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A run's folder or model.safetensors, or an ONNX file
    pub model: PathBuf,
    /// Images, and folders of images
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// What goes with it.
    #[command(flatten)]
    pub given: GivenArgs,
    /// Classes to show of each image
    #[arg(long, value_name = "K", default_value = "1")]
    pub top: NonZero<usize>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Write path, rank, class, name and probability to this Parquet file
    #[arg(long, value_name = "FILE")]
    pub parquet: Option<PathBuf>,
    /// Write each image with the activation map of its likeliest class over it, under this folder
    #[arg(long, value_name = "DIR")]
    pub cam: Option<PathBuf>,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A device that must be available: cuda or cuda:N; exit code 1 where an engine cannot use it
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
}

/// `eval`
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// A run's folder or model.safetensors, or an ONNX file
    pub model: PathBuf,
    /// The images.
    #[command(flatten)]
    pub images: ImagesArgs,
    /// What goes with it.
    #[command(flatten)]
    pub given: GivenArgs,
    /// How many images may be undecodable.
    #[command(flatten)]
    pub skipping: SkippingArgs,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
}

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of the bank, such as runs/demo/shards
    pub bank: PathBuf,
    /// How memory is limited.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Thresholds, head ratio and number of confusing classes.
    #[command(flatten)]
    pub settings: InspectSettings,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder of the bank, such as runs/demo/shards
    pub bank: PathBuf,
    /// Training rows whose pooled vector, activation map and zero locations are computed again from their
    /// map and the classifier: a number, spread over all shards, or `all`
    #[arg(long, value_name = "N|all", default_value = "1000")]
    pub sample: Sample,
    /// Make damaged files again with the network and images of this pipeline, given as to `features`; the
    /// others stay. With --onnx and --images no pipeline is needed
    #[arg(long, value_name = "PIPELINE", num_args = 0..=1)]
    pub repair: Option<Option<PathBuf>>,
    /// Folder of the run, where the trained model is [default: the folder that the bank is in]
    #[arg(long, value_name = "DIR", requires = "repair")]
    pub out: Option<PathBuf>,
    /// The network, where the bank was made of an ONNX file
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub onnx: Option<PathBuf>,
    /// The classifier, where the bank was made with one of a file
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub head: Option<PathBuf>,
    /// timm's config.json of the ONNX network
    #[arg(long, value_name = "FILE", requires = "onnx")]
    pub preprocessing: Option<PathBuf>,
    /// Names of the ONNX network's classes in the order of its outputs, where the file has none or others: one a
    /// line, a JSON list, or a config.json with id2label or label_names
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub labels: Option<PathBuf>,
    /// Images, in place of the pipeline's dataset.path
    #[arg(long, visible_alias = "images", value_name = "PATH", requires = "repair")]
    pub data: Option<PathBuf>,
    /// Change a setting of the pipeline; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", requires = "repair")]
    pub set: Vec<String>,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_maps_are_kept_is_a_word() {
        let parsed = |word: &str| {
            let Command::Features(args) =
                Cli::try_parse_from(["fsa-bank", "features", "p.toml", "--maps", word])?.command
            else {
                panic!("features");
            };
            assert_eq!(args.shared.settings(), [format!("features.maps=\"{word}\"")]);
            Ok::<_, clap::Error>(args.shared.maps)
        };
        let found = ["all", "needed", "none"].map(|word| parsed(word).unwrap().unwrap());
        assert_eq!(found, [KeepMaps::All, KeepMaps::Needed, KeepMaps::None]);
        assert!(parsed("some").unwrap_err().to_string().contains("`needed`"));
    }

    #[test]
    fn the_arguments_are_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
