//! `fsa-bank inspect`

use super::args::InspectArgs;
use super::{Context, print_json, print_text};
use crate::bank::Bank;
use crate::config;
use crate::inspect::summarise;
use crate::report::summary_text;

pub(super) fn run(context: &Context, args: &InspectArgs) -> anyhow::Result<()> {
    let settings = config::resolve_finetune(&Default::default(), &args.settings.keys())?;
    let bank = Bank::open(&args.bank)?;
    let summary = summarise(&bank, &settings, args.engine.memory_bytes())?;
    if context.json {
        return print_json(&summary);
    }
    print_text(&summary_text(&summary))?;
    Ok(())
}
