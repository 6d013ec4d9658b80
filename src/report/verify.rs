//! What `verify` prints.

use super::dataset::{counted, thousands};
use crate::dataset::known::size_text;
use crate::verify::VerifyReport;

/// Findings that are listed.
const LISTED: usize = 50;

/// Whether a bank is whole; a line a finding.
pub fn verify_text(report: &VerifyReport) -> String {
    let mut text = format!("{}: ", report.bank.display());
    if report.files > 0 {
        let (files, rows) = (counted(report.files, "file", "files"), thousands(report.rows));
        text += &format!("{files}, {rows} rows, {}: ", size_text(report.bytes));
    }
    let findings = &report.findings;
    text += &match findings.len() {
        0 => "everything holds\n".into(),
        n => format!(
            "{} in {}\n\n",
            counted(n, "finding", "findings"),
            counted(report.faulty_files().len(), "file", "files")
        ),
    };
    for finding in findings.iter().take(LISTED) {
        text += &format!("  {finding}\n");
    }
    if findings.len() > LISTED {
        let more = thousands((findings.len() - LISTED) as u64);
        text += &format!("  and {more} more; --json lists all\n");
    }
    if !findings.is_empty() && (report.files > 0 || !report.notes.is_empty()) {
        text.push('\n');
    }
    if report.files > 0 {
        text += &recomputed(report);
    }
    for note in &report.notes {
        text += &format!("  {}: {}\n", note.file, note.text);
    }
    text
}

/// How many rows were computed anew.
fn recomputed(report: &VerifyReport) -> String {
    let (some, all) = (thousands(report.recomputed_rows), thousands(report.train_rows));
    let more =
        if report.chosen_rows < report.train_rows { "; --sample all takes every row" } else { "" };
    format!(
        "  {some} of {all} training rows: pooled vector, CAM and zero locations computed anew from the map{more}\n"
    )
}
