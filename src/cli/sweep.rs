//! `fsa-bank sweep`

use super::args::SweepArgs;
use super::finetune::file_keys;
use super::{Context, print_json, print_text};
use crate::finetune::FinetuneError;
use crate::report::{sweep_text, write_sweep};
use crate::sweep::{self, SweepRequest};

pub(super) fn run(context: &Context, args: &SweepArgs) -> anyhow::Result<()> {
    let file = file_keys(args.config.as_deref())?;
    let request = SweepRequest {
        bank: &args.bank,
        points: sweep::points(&args.grid, &file, &args.settings.keys())?,
        seeds: args.seeds,
        selection: args.select,
        with_test: args.with_test,
        out: args.out.clone(),
        memory_bytes: args.engine.memory_bytes(),
    };
    let outcome = sweep::run(&request, context.watch())?;
    write_sweep(&outcome).map_err(FinetuneError::from)?;
    if context.json {
        return print_json(&outcome.sweep);
    }
    print_text(&sweep_text(&outcome.sweep))?;
    print_text(&format!(
        "\nEvery run is a line in {}\n",
        outcome.folder.join(sweep::ROWS_FILE).display()
    ))?;
    Ok(())
}
