//! What became of the files of a dataset, printed by every command that opens one.

use std::path::Path;

use serde::Serialize;

use super::Context;
use super::screen::Screen;
use crate::dataset::{Account, Dataset, SkippedList};
use crate::domain::SkippedImage;
use crate::progress::Progress;
use crate::report::account_lines;

/// Name of the list of all files that were left out, in a run's folder.
pub(super) const LEFT_OUT_FILE: &str = "left-out.jsonl";

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
    tell_files(screen, name, account, folder, true)
}

/// The account of `dataset`'s files once images were decoded, with those of the list `skipped` left out. It is
/// printed if it differs from the one at the beginning, and listed in `folder`.
pub(super) fn settle(
    context: &Context,
    name: &str,
    dataset: &Dataset,
    skipped: &SkippedList,
    folder: Option<&Path>,
) -> anyhow::Result<Account> {
    let images = match &skipped.file {
        Some(file) => SkippedList::images_in(file),
        None => dataset.skipped.images(),
    };
    let account = dataset.account.once_decoded(images.iter().map(SkippedImage::in_account));
    if account.left_out.len() > dataset.account.left_out.len() {
        tell_files(&context.screen, name, &account, folder, false)?;
    }
    Ok(account)
}

fn tell_files(
    screen: &Screen,
    name: &str,
    account: &Account,
    folder: Option<&Path>,
    so_far: bool,
) -> anyhow::Result<()> {
    let mut lines = account_lines(account, so_far);
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
