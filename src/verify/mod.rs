//! A whole bank against its manifest and its contract: every byte and every value. Unlike a reader, this
//! goes on past a fault and lists what it finds.

mod classes;
mod findings;
mod keys;
mod pass;
mod rows;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bank::{BankError, BankFiles, FolderFiles, MANIFEST_FILE, Manifest, SplitEntry};
use crate::domain::Split;
use crate::progress::Watch;
use crate::rng::{KeyedRng, Stage};
use crate::text::counted;
use classes::Classes;
pub use findings::{Finding, FindingKind, Note};
use pass::Pass;

/// Training rows whose pooled vector, activation map and `nonzero` are computed from their map again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// This many, spread over all shards.
    Rows(u64),
    /// Every row.
    All,
}

impl Default for Sample {
    fn default() -> Self {
        Self::Rows(1000)
    }
}

impl Sample {
    /// Of how many of `rows` rows this is, where `with_map` of them have a map: the others are drawn in
    /// vain.
    fn of_rows(self, with_map: u64, rows: u64) -> u64 {
        match self {
            Self::Rows(wanted) if wanted < with_map => {
                let drawn = u128::from(wanted) * u128::from(rows);
                drawn.div_ceil(u128::from(with_map)) as u64
            }
            _ => rows,
        }
    }
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse().map(Self::Rows).map_err(|_| "a number of rows, or all".into())
    }
}

/// How thoroughly a bank is verified.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Rows that are computed again. Every byte and every value is checked in any case.
    pub sample: Sample,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The bank's folder.
    pub bank: PathBuf,
    /// Name of its pipeline; empty where its manifest is damaged, as the figures below are 0.
    pub name: String,
    /// sha256 of its manifest.
    pub id: String,
    /// Files that belong to it, the manifest included.
    pub files: usize,
    /// Rows of all splits.
    pub rows: u64,
    /// Bytes of all its files, the manifest included.
    pub bytes: u64,
    /// Training rows that should have a map.
    pub map_rows: u64,
    /// Those whose pooled vector, activation map and `nonzero` were computed again.
    pub recomputed_rows: u64,
    /// Whether the sample left some out; else the missing ones are damaged.
    pub sampled: bool,
    /// What is wrong, file by file: the manifest first, then classes and classifier, then the shards of
    /// train, val and test in their order.
    pub findings: Vec<Finding>,
    /// What else there is to know.
    pub notes: Vec<Note>,
}

impl VerifyReport {
    /// Files that something is wrong with.
    pub fn faulty_files(&self) -> BTreeSet<&str> {
        self.findings.iter().map(|finding| finding.file.as_str()).collect()
    }

    /// Whether the bank is whole.
    ///
    /// # Errors
    /// [`VerifyError::Faulty`] with anything found.
    pub fn verdict(&self) -> Result<(), VerifyError> {
        if self.findings.is_empty() {
            return Ok(());
        }
        let (findings, files) = (self.findings.len(), self.faulty_files().len());
        // What the files should be only the manifest says.
        let remedy = match self.faulty_files().contains(MANIFEST_FILE) {
            true => {
                "Restore the manifest from a copy, or make the bank again: the same `fsa-bank features` with --overwrite."
            }
            false => {
                "Restore what is damaged from a copy, or make it again: --repair PIPELINE, or --repair --onnx NETWORK --images IMAGES."
            }
        };
        Err(VerifyError::Faulty { dir: self.bank.clone(), findings, files, remedy })
    }
}

/// Why a bank was not verified, or that it is not whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no bank, or one of a newer format.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// The user stopped it.
    #[error(
        "stopped after {percent} % of the bank, with {}\n  Run the same command to begin again.",
        counted(*findings, "finding")
    )]
    Interrupted {
        /// Share of the bytes that were checked.
        percent: u64,
        /// What was found until then.
        findings: usize,
    },
    /// It was verified, and something is wrong.
    #[error(
        "{}: {} in {}\n  {remedy}",
        dir.display(),
        counted(*findings, "finding"),
        counted(*files, "file")
    )]
    Faulty {
        /// The bank's folder.
        dir: PathBuf,
        /// What was found.
        findings: usize,
        /// Files it is in.
        files: usize,
        /// What to do.
        remedy: &'static str,
    },
}

/// Verifies the bank in `dir`, on all threads.
///
/// # Errors
/// There is no bank, it is of a newer format, or the user stops it; what is wrong with the bank is in the
/// report.
///
/// # Determinism
/// The report is the same for any number of threads.
///
/// # Cost
/// Reads each shard once, and where the manifest has its sha256 once more, while its pages are in
/// memory. A row group a thread in memory, and 36 bytes a row.
pub fn run(
    dir: &Path,
    options: &VerifyOptions,
    watch: Watch<'_>,
) -> Result<VerifyReport, VerifyError> {
    of_files(&FolderFiles::new(dir), Manifest::load(dir), options, watch)
}

/// Verifies a bank that lies anywhere, as [`run`] does.
///
/// # Errors
/// As [`run`].
pub fn run_on(
    files: &dyn BankFiles,
    options: &VerifyOptions,
    watch: Watch<'_>,
) -> Result<VerifyReport, VerifyError> {
    of_files(files, Manifest::read(files), options, watch)
}

fn of_files(
    files: &dyn BankFiles,
    manifest: Result<(Manifest, Vec<u8>), BankError>,
    options: &VerifyOptions,
    watch: Watch<'_>,
) -> Result<VerifyReport, VerifyError> {
    let mut report = VerifyReport {
        bank: files.place().into(),
        name: String::new(),
        id: String::new(),
        files: 0,
        rows: 0,
        bytes: 0,
        map_rows: 0,
        recomputed_rows: 0,
        sampled: false,
        findings: vec![],
        notes: vec![],
    };
    let (manifest, text) = match manifest {
        Ok(loaded) => loaded,
        Err(error @ (BankError::Manifest { .. } | BankError::Damaged { .. })) => {
            report.findings.push(Finding::of_error(MANIFEST_FILE, 0, error));
            return Ok(report);
        }
        Err(error) => return Err(error.into()),
    };
    report.name.clone_from(&manifest.name);
    report.id = crate::text::hex(&Sha256::digest(&text));
    report.rows = manifest.splits.values().map(|split| split.rows).sum();
    report.bytes = manifest.total_bytes() + text.len() as u64;
    report.findings.extend(other_text(&manifest, &text));
    let classes = Classes::read(files, &manifest, &mut report.findings);
    let pass = Pass::new(files, &manifest, &classes, watch);
    watch.progress.start("verifying", manifest.total_bytes(), "byte");
    pass.advance(manifest.files.values().map(|file| file.bytes).sum());
    pass.tell(report.findings.len());
    for (name, split) in in_order(&manifest) {
        let train = name == Split::Train.name();
        let mut sampled = vec![];
        if train {
            report.map_rows = classes.map_rows(&manifest).min(split.rows);
            let sample = options.sample.of_rows(report.map_rows, split.rows);
            report.sampled = sample < split.rows;
            sampled = sampled_rows(split.rows, sample);
        }
        let (mut keys, checked) = pass.split(name, &sampled)?;
        report.findings.extend(checked.findings);
        report.recomputed_rows += checked.recomputed;
        report.files += split.shards.len();
        let views = if train { manifest.views.count } else { 1 };
        let views_of = |label| if train { manifest.maps.views_of(label, views) } else { 1 };
        report.findings.extend(keys.check(name, split, views, views_of));
        if train && keys.complete() {
            let counts = keys.class_counts(manifest.dataset.classes);
            report.findings.extend(classes.check_counts(&counts));
        }
    }
    watch.progress.finish();
    report.files += manifest.files.len() + 1;
    report.notes = other_files(files, &manifest);
    sort(&mut report.findings, &manifest);
    Ok(report)
}

/// The splits of a bank in the order of its files.
fn in_order(manifest: &Manifest) -> Vec<(&str, &SplitEntry)> {
    let mut splits: Vec<_> =
        manifest.splits.iter().map(|(name, split)| (name.as_str(), split)).collect();
    let place = |name: &str| Split::ALL.iter().position(|known| known.name() == name);
    splits.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
    splits
}

/// Format 1 seals the manifest's values only; its text must be the one that is written of them, or the
/// bank has another id.
fn other_text(manifest: &Manifest, text: &[u8]) -> Option<Finding> {
    if manifest.version != 1 {
        return None;
    }
    let (text, written) = (String::from_utf8_lossy(text), manifest.text());
    if text == written {
        return None;
    }
    let differs = |((found, written), _): &((&str, &str), usize)| found != written;
    let (found, expected) = match text.lines().zip(written.lines()).zip(1..).find(differs) {
        Some(((found, written), line)) => {
            (format!("line {line} is `{found}`"), format!("`{written}`"))
        }
        None => (format!("{} bytes", text.len()), written.len().to_string()),
    };
    Some(Finding::of_file(FindingKind::Damaged, MANIFEST_FILE, found, expected))
}

/// `parts` of `rows` rows, ascending: one of each of equally long parts, drawn, so that no period of the
/// rows (such as their views) goes with theirs.
fn sampled_rows(rows: u64, parts: u64) -> Vec<u64> {
    if parts >= rows {
        return (0..rows).collect();
    }
    let begin = |part: u64| (u128::from(part) * u128::from(rows) / u128::from(parts)) as u64;
    let draw = |part: u64| {
        let length = u32::try_from(begin(part + 1) - begin(part)).unwrap_or(u32::MAX);
        begin(part) + u64::from(KeyedRng::new(0, Stage::VerifiedRows, (part, 0)).below(length))
    };
    (0..parts).map(draw).collect()
}

/// What lies in the folder and is not of the bank.
fn other_files(files: &dyn BankFiles, manifest: &Manifest) -> Vec<Note> {
    let shards = manifest.splits.values().flat_map(|split| &split.shards);
    let mut known: BTreeSet<&str> = shards.map(|shard| shard.file.as_str()).collect();
    known.extend(manifest.files.keys().map(String::as_str));
    known.insert(MANIFEST_FILE);
    let names = files.list().unwrap_or_default().into_iter();
    let mut others: Vec<String> = names.filter(|name| !known.contains(name.as_str())).collect();
    others.sort_unstable();
    let note = |file: String| {
        let text = match file.ends_with(".tmp") {
            true => "left by a run that was stopped; unless one is writing here, it can be removed",
            false => "not of this bank",
        };
        Note { file, text: text.into() }
    };
    others.into_iter().map(note).collect()
}

/// Orders findings by file, then by place.
fn sort(findings: &mut [Finding], manifest: &Manifest) {
    let shards = in_order(manifest).into_iter().flat_map(|(_, split)| &split.shards);
    let shards: Vec<&str> = shards.map(|shard| shard.file.as_str()).collect();
    findings.sort_by_key(|f| {
        let shard = shards.iter().position(|shard| *shard == f.file);
        let file = shard.map_or((0, f.file != MANIFEST_FILE), |at| (at + 1, false));
        (file, f.row_group, f.row, f.bytes)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_a_row_of_every_part() {
        assert_eq!(sampled_rows(4, 4), [0, 1, 2, 3]);
        assert!(sampled_rows(4, 0).is_empty());
        let rows = sampled_rows(1003, 100);
        let parts: Vec<u64> = rows.iter().map(|row| (row * 100 + 99) / 1003).collect();
        assert_eq!(parts, (0..100).collect::<Vec<u64>>());
        // Two views an image: both are drawn.
        assert!(rows.iter().any(|row| row % 2 == 0) && rows.iter().any(|row| row % 2 == 1));
    }

    #[test]
    fn a_sample_is_a_number_or_all() {
        assert_eq!(Sample::All.of_rows(4, 9), 9);
        assert_eq!(Sample::Rows(4).of_rows(4, 9), 9);
        // Half the rows have a map.
        assert_eq!(Sample::Rows(3).of_rows(10, 20), 6);
        assert_eq!(Sample::Rows(3).of_rows(0, 20), 20);
        assert_eq!("all".parse(), Ok(Sample::All));
        assert_eq!("50".parse(), Ok(Sample::Rows(50)));
        assert!("some".parse::<Sample>().is_err() && "-1".parse::<Sample>().is_err());
    }
}
