//! What became of the files of a dataset, told by every command that opens one.

use std::path::Path;

use serde::Serialize;

use super::Context;
use super::screen::Screen;
use crate::dataset::Account;
use crate::progress::Progress;
use crate::report::account_lines;

/// Name of the list of all files that were left out, in a run's folder.
const LEFT_OUT_FILE: &str = "left-out.jsonl";

/// A result for machines, with the account of the files that it is of.
#[derive(Serialize)]
pub(super) struct WithAccount<'a, R> {
    #[serde(flatten)]
    pub(super) result: &'a R,
    pub(super) account: &'a Account,
}

/// Tells the account of `name`'s files, louder where pictures are left out; all of them are listed in `folder`.
pub(super) fn tell(
    context: &Context,
    name: &str,
    account: &Account,
    folder: Option<&Path>,
) -> anyhow::Result<()> {
    // The process that started this one has told it.
    if let Screen::Counts(_) = context.screen {
        return Ok(());
    }
    let screen = &context.screen;
    account.notes.iter().for_each(|note| screen.line(&format!("{name}: {note}")));
    account.warnings.iter().for_each(|warning| screen.warning(&format!("{name}: {warning}")));
    let mut lines = account_lines(account);
    if let Some(folder) = folder {
        let file = folder.join(LEFT_OUT_FILE);
        if !account.left_out.is_empty() {
            crate::atomic_file::create_dir(folder)?;
            lines.push(format!("  all of them: {}", file.display()));
        }
        account.save(&file)?;
    }
    let text = format!("{name}: {}", lines.join("\n"));
    match account.loses_pictures() {
        true => screen.warning(&text),
        false => screen.line(&text),
    }
    Ok(())
}
