//! `fsa-bank finetune`

use std::path::Path;

use toml::Table;

use super::args::FinetuneArgs;
use super::{Context, print_json, print_text};
use crate::config::{self, ConfigError};
use crate::finetune::{self, FinetuneError, FinetuneRequest};
use crate::report::{finetune_text, write_finetune};

pub(super) fn run(context: &Context, args: &FinetuneArgs) -> anyhow::Result<()> {
    let file = file_keys(args.config.as_deref())?;
    let request = FinetuneRequest {
        bank: &args.bank,
        config: config::resolve_finetune(&file, &args.settings.keys())?,
        seed: args.seed,
        selection: args.select,
        out: args.out.clone(),
        overwrite: args.overwrite,
        memory_bytes: args.engine.memory_bytes(),
    };
    let outcome = finetune::run(&request, context.watch())?;
    write_finetune(&outcome).map_err(FinetuneError::from)?;
    if context.json {
        return print_json(&outcome.report);
    }
    print_text(&finetune_text(&outcome.report, args.per_class))?;
    let made =
        if outcome.already_done { " (made earlier; --overwrite makes it again)" } else { "" };
    print_text(&format!(
        "\nThe new classifier, metrics and picture are in {}{made}\n",
        outcome.folder.display()
    ))?;
    Ok(())
}

/// The `[finetune]` keys of a pipeline, if one is given.
pub(super) fn file_keys(file: Option<&Path>) -> Result<Table, ConfigError> {
    match file {
        Some(file) => Ok(config::load(file, &[])?.finetune_keys),
        None => Ok(Table::new()),
    }
}
