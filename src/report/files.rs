//! Results as files beside the data of their stage.

use std::path::Path;

use super::{accuracy_svg, compare_csv, compare_markdown, sweep_csv};
use crate::atomic_file::{self, WriteError};
use crate::compare::CompareOutcome;
use crate::finetune::FinetuneOutcome;
use crate::sweep::SweepOutcome;

/// A Phase-II result as a picture.
pub const PICTURE_FILE: &str = "accuracy.svg";

/// Draws a Phase-II result into its folder; an existing result keeps its picture.
///
/// # Errors
/// The picture cannot be written.
pub fn write_finetune(outcome: &FinetuneOutcome) -> Result<(), WriteError> {
    let picture = outcome.folder.join(PICTURE_FILE);
    if outcome.already_done && picture.is_file() {
        return Ok(());
    }
    atomic_file::write(&picture, accuracy_svg(&outcome.report).as_bytes())
}

/// Writes a comparison as `compare.csv` and `compare.md` into its folder.
///
/// # Errors
/// A file cannot be written.
pub fn write_compare(outcome: &CompareOutcome) -> Result<(), WriteError> {
    let write = |name: &str, text: String| write_text(&outcome.folder, name, &text);
    write("compare.csv", compare_csv(&outcome.comparison))?;
    write("compare.md", compare_markdown(&outcome.comparison))
}

/// Writes the lines of a sweep as `sweep.csv` into its folder.
///
/// # Errors
/// The file cannot be written.
pub fn write_sweep(outcome: &SweepOutcome) -> Result<(), WriteError> {
    write_text(&outcome.folder, "sweep.csv", &sweep_csv(&outcome.sweep))
}

fn write_text(folder: &Path, name: &str, text: &str) -> Result<(), WriteError> {
    atomic_file::write(&folder.join(name), text.as_bytes())
}
