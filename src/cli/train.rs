//! `fsa-bank train`

use std::path::{Path, PathBuf};

use super::account::{self, WithAccount};
use super::args::{RunArgs, TrainArgs};
use super::skipping::SkippingArgs;
use super::{Context, engine_process, print_json, print_text};
use crate::backbone::EngineOptions;
use crate::config::{self, Arithmetic, ConfigError, LoadedPipeline};
use crate::dataset::{Cut, Dataset, Skipped, known};
use crate::domain::Split;
use crate::features::FeaturesError;
use crate::progress::Progress;
use crate::text::{shell_path, shell_word};
use crate::train::{self, TrainError, TrainRequest};

pub(super) fn run(context: &Context, args: &TrainArgs) -> anyhow::Result<()> {
    let loaded = load(&args.pipeline, &args.common.set, &args.common)?;
    known::require(&loaded.name, &loaded.pipeline.dataset)?;
    let Some(engine) = context.engine else {
        return engine_process::hand_over();
    };
    let out = run_folder(&args.common, &loaded);
    let dataset = open_dataset(context, &loaded, &args.common.skipping, &Split::ALL, Some(&out))?;
    let request = TrainRequest {
        pipeline: &loaded.pipeline,
        dataset: &dataset,
        out: &out,
        resume: args.resume,
        overwrite: args.common.overwrite,
        engine: engine_options(context, &args.common, &loaded, loaded.pipeline.train.arithmetic),
    };
    let outcome = train::run(&request, engine, context.watch())?;
    let account = account::settle(context, &loaded.name, &dataset, &outcome.skipped, Some(&out))?;
    if context.json {
        return print_json(&WithAccount { result: &outcome, account: &account });
    }
    let what = if outcome.already_done { "already trained" } else { "trained" };
    let last = outcome.epochs.last();
    let top1 = last
        .and_then(|row| row.test_top1)
        .map_or(String::new(), |t| format!(", test top-1 {t:.2}"));
    let epochs = last.map_or(loaded.pipeline.train.epochs, |row| row.epoch);
    let skipped = outcome.skipped.told().map_or(String::new(), |text| text + "\n");
    print_text(&format!(
        "{}: {what}, {epochs} epochs{top1}\n{skipped}Next: fsa-bank features {}{}\n",
        outcome.model.display(),
        shell_path(&loaded.file),
        args.common.same_flags()
    ))?;
    Ok(())
}

impl RunArgs {
    /// What the user's next command needs in addition to the pipeline.
    pub(super) fn same_flags(&self) -> String {
        let path = |flag: &str, path: &Option<PathBuf>| {
            path.as_ref().map_or(String::new(), |p| format!(" {flag} {}", shell_path(p)))
        };
        let set: String = self.set.iter().map(|s| format!(" --set {}", shell_word(s))).collect();
        let skipped = self.skipping.same_flag();
        format!("{}{}{set}{skipped}", path("--data", &self.data), path("--out", &self.out))
    }

    /// An error with the command that trains what is missing, as this command would take it.
    pub(super) fn explained(&self, error: FeaturesError) -> FeaturesError {
        match error {
            FeaturesError::Model(TrainError::NoModel { path, pipeline, .. }) => {
                TrainError::NoModel { path, pipeline, flags: self.same_flags() }.into()
            }
            other => other,
        }
    }
}

/// Reads the pipeline with the changes of the command line, those of `set` among them.
pub(super) fn load(
    pipeline: &Path,
    set: &[String],
    args: &RunArgs,
) -> Result<LoadedPipeline, ConfigError> {
    let mut loaded = config::load(pipeline, set)?;
    if let Some(data) = &args.data {
        loaded.pipeline.dataset.path = data.clone();
    }
    Ok(loaded)
}

/// Where everything of the run is.
pub(super) fn run_folder(args: &RunArgs, loaded: &LoadedPipeline) -> PathBuf {
    args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&loaded.name))
}

/// Opens the images, and says which ones they are; a list of the others is left in `folder`. `splits` are those
/// that will be decoded.
pub(super) fn open_dataset(
    context: &Context,
    loaded: &LoadedPipeline,
    skipping: &SkippingArgs,
    splits: &[Split],
    folder: Option<&Path>,
) -> anyhow::Result<Dataset> {
    open_dataset_of(context, loaded, skipping, splits, folder, |_| false)
}

/// The same; `is_named`: whether a network has the classes of these names, so that the order of the images' does not
/// matter.
pub(super) fn open_dataset_of(
    context: &Context,
    loaded: &LoadedPipeline,
    skipping: &SkippingArgs,
    splits: &[Split],
    folder: Option<&Path>,
    is_named: impl Fn(&[String]) -> bool,
) -> anyhow::Result<Dataset> {
    let mut dataset = known::open(&loaded.name, &loaded.pipeline.dataset)?;
    dataset.skipped = Skipped::at_most(skipping.max_skipped);
    if is_named(&dataset.class_names) {
        dataset.settle_class_order();
    }
    let subset = dataset.train_fingerprint()?;
    context.screen.line(&format!(
        "{}: {} training and {} test images of {} classes, training set {subset}",
        loaded.name,
        dataset.train.len(),
        dataset.test.len(),
        dataset.class_names.len()
    ));
    account::tell(context, &loaded.name, &dataset.account, folder)?;
    if let Some(cut) = dataset.cut.as_ref().and_then(Cut::describe) {
        context.screen.line(&format!("{}: {cut}", loaded.name));
    }
    if let Some(held) = dataset.held_out {
        context.screen.line(&format!(
            "{}: {} images held out of training for validation; {} of {} classes are too small to give one",
            loaded.name,
            held.images,
            held.classes_without,
            dataset.class_names.len()
        ));
    }
    dataset.skip_undecodable(splits)?;
    Ok(dataset)
}

pub(super) fn engine_options(
    context: &Context,
    args: &RunArgs,
    loaded: &LoadedPipeline,
    arithmetic: Arithmetic,
) -> EngineOptions {
    EngineOptions {
        device: args.device.clone(),
        arithmetic,
        channels_last: loaded.pipeline.train.channels_last,
        threads: context.threads,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_command_that_trains_what_is_missing_has_the_same_flags() {
        let given = ["fsa-bank", "features", "r.toml", "--out=-my nets", "--set", "seed=[1, 2]"];
        let Command::Features(args) = Cli::try_parse_from(given).unwrap().command else {
            panic!("features");
        };
        let (path, pipeline) = ("m".into(), "-r.toml".into());
        let missing = TrainError::NoModel { path, pipeline, flags: String::new() };
        let told = args.shared.common.explained(missing.into()).to_string();
        let command = "fsa-bank train ./-r.toml --out './-my nets' --set 'seed=[1, 2]'";
        assert!(told.ends_with(command), "{told}");
    }
}
