//! `fsa-bank finetune`

use super::args::FinetuneArgs;
use super::{Context, print_json, print_text};
use crate::config;
use crate::finetune::{self, DEFAULT_MEMORY_BYTES, FinetuneRequest};
use crate::report::finetune_text;

pub(super) fn run(context: &Context, args: &FinetuneArgs) -> anyhow::Result<()> {
    let base = match &args.config {
        Some(file) => config::load(file, &[])?.pipeline.finetune,
        None => Default::default(),
    };
    let settings = args.settings.over(base);
    config::check_finetune(&settings)?;
    let request = FinetuneRequest {
        bank: &args.bank,
        config: settings,
        seed: args.seed,
        out: args.out.clone(),
        overwrite: args.overwrite,
        memory_bytes: DEFAULT_MEMORY_BYTES,
    };
    let outcome = finetune::run(&request, &context.screen, &context.interrupt)?;
    if context.json {
        return print_json(&outcome.report);
    }
    print_text(&finetune_text(&outcome.report, args.per_class));
    let made =
        if outcome.already_done { " (made earlier; --overwrite makes it again)" } else { "" };
    print_text(&format!(
        "\nThe new classifier, metrics and picture are in {}{made}\n",
        outcome.folder.display()
    ));
    Ok(())
}
