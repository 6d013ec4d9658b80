//! `fsa-bank dataset`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::account::WithAccount;
use super::args::{DatasetCommand, FetchArgs, ImagesArgs, StatsArgs};
use super::{Context, print_json, print_text};
use crate::check::{self, CheckError};
use crate::config::{self, ConfigError, LoadedPipeline};
use crate::dataset::Dataset;
use crate::dataset::known::{self, Source};
use crate::fetch::{self, FetchRequest, Patience};
use crate::progress::Progress;
use crate::report::{
    account_text, by_hand_text, check_text, class_sizes_svg, fetched_text, statistics_text,
};
use crate::{atomic_file, statistics};

pub(super) fn run(context: &Context, command: &DatasetCommand) -> anyhow::Result<()> {
    match command {
        DatasetCommand::Stats(args) => stats(context, args),
        DatasetCommand::Check(args) => check(context, args),
        DatasetCommand::Fetch(args) => fetch(context, args),
    }
}

/// Reads the pipeline with the changes of the command line.
pub(super) fn load(args: &ImagesArgs) -> Result<LoadedPipeline, ConfigError> {
    let mut loaded = config::load(&args.pipeline, &args.set)?;
    if let Some(data) = &args.data {
        loaded.pipeline.dataset.path = data.clone();
    }
    Ok(loaded)
}

fn stats(context: &Context, args: &StatsArgs) -> anyhow::Result<()> {
    let LoadedPipeline { name, pipeline, .. } = load(&args.images)?;
    let config = &pipeline.dataset;
    known::require(&name, config)?;
    let dataset = Dataset::list(config).map_err(|e| known::explained(e, &name, config))?;
    let statistics = statistics::of(&name, &dataset, &pipeline.finetune);
    if let Some(path) = &args.picture {
        atomic_file::write_named(path, class_sizes_svg(&statistics).as_bytes())?;
        context.screen.line(&format!("picture: {}", path.display()));
    }
    if context.json {
        return print_json(&WithAccount { result: &statistics, account: &dataset.account });
    }
    print_text(&statistics_text(&statistics, args.per_class))?;
    print_text(&format!("\n{}", account_text(&dataset.account, true)))?;
    Ok(())
}

fn check(context: &Context, args: &ImagesArgs) -> anyhow::Result<()> {
    let LoadedPipeline { name, pipeline, .. } = load(args)?;
    let config = &pipeline.dataset;
    known::require(&name, config)?;
    let report = check::run(&name, config, context.watch()).map_err(|e| match e {
        CheckError::Dataset(e) => known::explained(e, &name, config).into(),
        other => other,
    })?;
    if context.json {
        print_json(&report)?;
    } else {
        print_text(&check_text(&report))?;
    }
    Ok(report.verdict()?)
}

fn fetch(context: &Context, args: &FetchArgs) -> anyhow::Result<()> {
    let known = args.name;
    let to: PathBuf = args.to.clone().unwrap_or_else(|| known.folder.into());
    if let Source::ByHand(_) = known.source {
        return match context.json {
            true => print_json(&json!({ "dataset": known, "folder": to, "fetched": [] })),
            false => {
                print_text(&by_hand_text(known, &to))?;
                Ok(())
            }
        };
    }
    context.screen.line(&format!("{}: {}", known.title, known.terms));
    let server = args.server.as_deref();
    let request = FetchRequest { known, to: &to, server, patience: Patience::default() };
    let fetched = fetch::run(&request, context.watch())?;
    if context.json {
        return print_json(&json!({ "dataset": known, "folder": to, "fetched": fetched }));
    }
    print_text(&fetched_text(known, Path::new(&to), &fetched))?;
    Ok(())
}
