//! What `verify` prints.

use crate::text::{bytes_text, counted, thousands};
use crate::verify::VerifyReport;

/// Findings that are listed.
const LISTED: usize = 50;

/// Whether a bank is whole; a line a finding.
pub fn verify_text(report: &VerifyReport) -> String {
    let mut text = format!("{}: ", report.bank.display());
    if report.files > 0 {
        let (files, rows) = (counted(report.files, "file"), thousands(report.rows));
        text += &format!("{files}, {rows} rows, {}: ", bytes_text(report.bytes));
    }
    let findings = &report.findings;
    text += &match findings.len() {
        0 => "every check passed\n".into(),
        n => format!(
            "{} in {}\n\n",
            counted(n, "finding"),
            counted(report.faulty_files().len(), "file")
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

/// How many rows were computed again.
fn recomputed(report: &VerifyReport) -> String {
    if report.map_rows == 0 {
        return "  no training row has a map: pooled vectors and CAMs were not computed again\n"
            .into();
    }
    let (some, all) = (thousands(report.recomputed_rows), thousands(report.map_rows));
    let more = if report.sampled { "; --sample all takes every row" } else { "" };
    format!(
        "  {some} of {all} training rows with maps: pooled vector, CAM and zero locations computed again{more}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Finding, FindingKind, Note};

    #[test]
    fn of_many_findings_the_first_are_listed() {
        let finding = |i: usize| {
            let file = format!("train-{i:05}.parquet");
            Finding::of_file(FindingKind::Missing, &file, "no such file", "1200 bytes")
        };
        let report = VerifyReport {
            bank: "shards".into(),
            name: "demo".into(),
            id: String::new(),
            files: 1200,
            rows: 1240,
            bytes: 12_300_000,
            map_rows: 1140,
            recomputed_rows: 1000,
            sampled: true,
            findings: (0..1060).map(finding).collect(),
            notes: vec![Note { file: "x".into(), text: "not of this bank".into() }],
        };
        let text = verify_text(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "shards: 1,200 files, 1,240 rows, 11.7 MiB: 1,060 findings in 1,060 files"
        );
        assert_eq!(lines[2], "  train-00000.parquet: no such file; expected 1200 bytes");
        assert_eq!(lines[52..54], ["  and 1,010 more; --json lists all", ""]);
        assert!(lines[54].starts_with("  1,000 of 1,140 training rows with maps: "), "{text}");
        assert_eq!(lines[55..], ["  x: not of this bank"]);
        let whole = verify_text(&VerifyReport { findings: vec![], ..report });
        assert!(
            whole.starts_with(
                "shards: 1,200 files, 1,240 rows, 11.7 MiB: every check passed\n  1,000"
            )
        );
    }
}
