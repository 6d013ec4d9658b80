//! `fsa-bank commit`

use super::account::LEFT_OUT_FILE;
use super::args::CommitArgs;
use super::{Context, print_json, print_text};
use crate::bank::behind_links;
use crate::dataset::{SkippedList, add_skipped};
use crate::features;
use crate::text::{bytes_text, shell_path};

pub(super) fn run(context: &Context, args: &CommitArgs) -> anyhow::Result<()> {
    let outcome = features::commit(&behind_links(&args.bank), args.overwrite, context.watch())?;
    if let Some(file) = &outcome.skipped.file {
        // Each partition knows its own.
        add_skipped(&file.with_file_name(LEFT_OUT_FILE), &SkippedList::images_in(file))?;
    }
    outcome.reordering.iter().for_each(|found| context.screen.warning(&found.to_string()));
    if context.json {
        return print_json(&outcome);
    }
    let bank = outcome.bank.display();
    let skipped = outcome.skipped.told().map_or(String::new(), |text| text + "\n");
    let (rows, bytes) = (outcome.rows, bytes_text(outcome.bytes));
    let what = if outcome.already_done { ", committed already" } else { "" };
    print_text(&format!(
        "{bank}: {rows} rows, {bytes}{what}\n{skipped}Next: fsa-bank finetune {}\n",
        shell_path(&outcome.bank)
    ))?;
    Ok(())
}
