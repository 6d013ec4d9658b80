//! `fsa-bank train`

use std::path::{Path, PathBuf};

use super::account::{self, WithAccount};
use super::args::{RunArgs, TrainArgs};
use super::{Context, engine_process, print_json, print_text};
use crate::backbone::EngineOptions;
use crate::config::{self, Arithmetic, ConfigError, LoadedPipeline};
use crate::dataset::{Cut, Dataset, Skipped, known};
use crate::progress::Progress;
use crate::shell::quoted;
use crate::train::{self, TrainRequest};

pub(super) fn run(context: &Context, args: &TrainArgs) -> anyhow::Result<()> {
    let loaded = load(&args.pipeline, &args.common.set, &args.common)?;
    known::require(&loaded.name, &loaded.pipeline.dataset)?;
    let Some(engine) = context.engine else {
        return engine_process::hand_over();
    };
    let out = run_folder(&args.common, &loaded);
    let dataset = open_dataset(context, &loaded, Some(args.common.max_skipped), Some(&out))?;
    let request = TrainRequest {
        pipeline: &loaded.pipeline,
        dataset: &dataset,
        out: &out,
        resume: args.resume,
        overwrite: args.common.overwrite,
        engine: engine_options(context, &args.common, &loaded, loaded.pipeline.train.arithmetic),
    };
    let outcome = train::run(&request, engine, &context.screen, &context.interrupt)?;
    if context.json {
        return print_json(&WithAccount { result: &outcome, account: &dataset.account });
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
        quoted(&loaded.file),
        args.common.same_flags()
    ))?;
    Ok(())
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

/// Opens the images, and says which ones they are; a list of the others is left in `folder`. Where all splits
/// are to be read, at most `max_skipped` of each may be undecodable.
pub(super) fn open_dataset(
    context: &Context,
    loaded: &LoadedPipeline,
    max_skipped: Option<f64>,
    folder: Option<&Path>,
) -> anyhow::Result<Dataset> {
    open_dataset_of(context, loaded, max_skipped, folder, |_| false)
}

/// The same; `is_named`: whether a network has the classes of these names, so that the order of the images' does not
/// matter.
pub(super) fn open_dataset_of(
    context: &Context,
    loaded: &LoadedPipeline,
    max_skipped: Option<f64>,
    folder: Option<&Path>,
    is_named: impl Fn(&[String]) -> bool,
) -> anyhow::Result<Dataset> {
    let mut dataset = known::open(&loaded.name, &loaded.pipeline.dataset)?;
    dataset.skipped = max_skipped.map_or_else(Skipped::default, Skipped::at_most);
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
    if max_skipped.is_some() {
        dataset.skip_undecodable()?;
    }
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
