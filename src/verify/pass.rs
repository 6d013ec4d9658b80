//! One pass over the shards of a bank, row group by row group, on all threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::VerifyError;
use super::classes::Classes;
use super::findings::{Finding, FindingKind, RowFaults};
use super::keys::Keys;
use super::rows::{self, Key, SplitContract};
use crate::bank::{BankFiles, ExaminedShard, Manifest, ShardEntry};
use crate::domain::Split;
use crate::progress::Watch;
use crate::text::counted;

/// One pass over a bank.
pub(super) struct Pass<'a> {
    files: &'a dyn BankFiles,
    manifest: &'a Manifest,
    classes: &'a Classes,
    watch: Watch<'a>,
    /// Bytes checked.
    done: AtomicU64,
    /// Findings so far.
    found: AtomicUsize,
}

/// The result for a part of a bank.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    /// Rows that were computed again.
    pub(super) recomputed: u64,
}

/// The keys of a row group; `None` where they are not known.
type GroupKeys = Option<Vec<Key>>;

impl<'a> Pass<'a> {
    pub(super) fn new(
        files: &'a dyn BankFiles,
        manifest: &'a Manifest,
        classes: &'a Classes,
        watch: Watch<'a>,
    ) -> Self {
        let (done, found) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { files, manifest, classes, watch, done, found }
    }

    /// Counts bytes that were checked.
    pub(super) fn advance(&self, bytes: u64) {
        self.watch.progress.advance(bytes);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts findings and shows how many there are.
    pub(super) fn tell(&self, findings: usize) {
        if findings > 0 {
            let found = findings + self.found.fetch_add(findings, Ordering::Relaxed);
            self.watch.progress.status(&counted(found, "finding"));
        }
    }

    fn go_on(&self) -> Result<(), VerifyError> {
        if !self.watch.interrupted() {
            return Ok(());
        }
        let total = self.manifest.total_bytes().max(1);
        Err(VerifyError::Interrupted {
            percent: (100 * u128::from(self.done.load(Ordering::Relaxed)) / u128::from(total))
                as u64,
            findings: self.found.load(Ordering::Relaxed),
        })
    }

    /// The shards of a split; `sampled` are rows of the split.
    pub(super) fn split(
        &self,
        name: &str,
        sampled: &[u64],
    ) -> Result<(Keys, Checked), VerifyError> {
        let split = &self.manifest.splits[name];
        let contract = SplitContract {
            manifest: self.manifest,
            train: name == Split::Train.name(),
            head: self.classes.head.as_ref(),
            names: self.classes.names(),
        };
        let firsts = starts(split.shards.iter().map(|shard| shard.rows));
        let shards: Vec<(Vec<GroupKeys>, Checked)> = split
            .shards
            .par_iter()
            .zip(firsts)
            .map(|(shard, first)| self.shard(&contract, shard, rows_of(sampled, first, shard.rows)))
            .collect::<Result<_, _>>()?;
        let (mut keys, mut all) = (Keys::default(), Checked::default());
        for (number, (entry, (of_shard, checked))) in split.shards.iter().zip(shards).enumerate() {
            if of_shard.len() == entry.row_groups.len() {
                keys.reserve(entry.rows as usize);
            } else {
                keys.lack();
            }
            for (group, of_group) in of_shard.into_iter().enumerate() {
                keys.extend(number, group, of_group);
            }
            all.findings.extend(checked.findings);
            all.recomputed += checked.recomputed;
        }
        Ok((keys, all))
    }

    /// One shard; `sampled` are rows of it.
    fn shard(
        &self,
        contract: &SplitContract<'_>,
        entry: &ShardEntry,
        sampled: Vec<u64>,
    ) -> Result<(Vec<GroupKeys>, Checked), VerifyError> {
        self.go_on()?;
        let mut all = Checked::default();
        let split = if contract.train { Split::Train } else { Split::Test };
        let maps = self.manifest.map_specs();
        let shard = match ExaminedShard::open(self.files, entry, split, &maps) {
            Ok(shard) => shard,
            Err(error) => {
                all.findings.push(Finding::of_error(&entry.file, entry.bytes, error));
                self.tell(1);
                self.advance(entry.bytes);
                return Ok((vec![], all));
            }
        };
        all.findings.extend(whole_file(&shard, entry));
        self.tell(all.findings.len());
        // What is not in a row group.
        self.advance(entry.bytes - entry.footer_offset + 4.min(entry.footer_offset));
        let (whole, groups) = rayon::join(
            || self.sha256(&shard, entry),
            || self.groups(contract, &shard, entry, &sampled),
        );
        let mut keys = vec![];
        for (of_group, checked) in groups? {
            keys.push(of_group);
            all.findings.extend(checked.findings);
            all.recomputed += checked.recomputed;
        }
        // Damage whose place is known is reported once.
        let placed = |f: &Finding| f.kind == FindingKind::Damaged;
        all.findings.extend(whole?.filter(|_| !all.findings.iter().any(placed)));
        Ok((keys, all))
    }

    /// The sha256 of the whole file, where the manifest has it.
    fn sha256(
        &self,
        shard: &ExaminedShard,
        entry: &ShardEntry,
    ) -> Result<Option<Finding>, VerifyError> {
        if entry.sha256.is_empty() {
            return Ok(None);
        }
        let finding = match shard.sha256(&|| self.watch.interrupted()) {
            Ok(found) => {
                self.go_on()?;
                let found = found.filter(|found| *found != entry.sha256);
                found.map(|found| {
                    let found = format!("the file has sha256 {found}");
                    Finding::of_file(FindingKind::Damaged, &entry.file, found, &entry.sha256)
                })
            }
            Err(error) => Some(Finding::of_error(&entry.file, entry.bytes, error)),
        };
        Ok(finding)
    }

    /// The row groups of a shard; `sampled` are rows of it.
    fn groups(
        &self,
        contract: &SplitContract<'_>,
        shard: &ExaminedShard,
        entry: &ShardEntry,
        sampled: &[u64],
    ) -> Result<Vec<(GroupKeys, Checked)>, VerifyError> {
        let firsts = starts(entry.row_groups.iter().map(|group| group.rows));
        entry
            .row_groups
            .par_iter()
            .zip(firsts)
            .enumerate()
            .map(|(group, (of, first))| {
                let sampled = rows_of(sampled, first, of.rows);
                self.group(contract, shard, entry, group, first, &sampled)
            })
            .collect()
    }

    /// One row group, which begins with row `first` of its shard; `sampled` are rows of it.
    fn group(
        &self,
        contract: &SplitContract<'_>,
        shard: &ExaminedShard,
        entry: &ShardEntry,
        group: usize,
        first: u64,
        sampled: &[u64],
    ) -> Result<(GroupKeys, Checked), VerifyError> {
        self.go_on()?;
        let bytes = match shard.read_group(group) {
            Ok(bytes) => bytes,
            Err(error) => {
                let finding = Finding::of_error(&entry.file, entry.bytes, error);
                let findings = vec![Finding { row_group: Some(group), ..finding }];
                self.tell(1);
                return Ok((None, Checked { findings, recomputed: 0 }));
            }
        };
        let faults = RowFaults::new(&entry.file, group, first);
        let mut found: Vec<Finding> = bytes
            .damaged()
            .iter()
            .map(|range| Finding {
                row_group: Some(group),
                column: Some(range.column.clone()),
                bytes: Some(range.bytes),
                ..Finding::of_file(
                    FindingKind::Damaged,
                    &entry.file,
                    format!("damaged: checksum {}", range.found),
                    range.expected.to_string(),
                )
            })
            .collect();
        let sampled: Vec<usize> = sampled.iter().map(|&row| row as usize).collect();
        let (checked, faults) = rows::check(contract, &bytes, &sampled, faults);
        found.extend(faults);
        self.tell(found.len());
        self.advance(bytes.bytes());
        Ok((checked.keys, Checked { findings: found, recomputed: checked.recomputed }))
    }
}

/// Where each of some runs of rows begins.
fn starts(lengths: impl Iterator<Item = u64>) -> Vec<u64> {
    let begin = |next: &mut u64, length| Some(std::mem::replace(next, next.saturating_add(length)));
    lengths.scan(0, begin).collect()
}

/// Of ascending rows those in `first..first + rows`, counted from `first`.
fn rows_of(all: &[u64], first: u64, rows: u64) -> Vec<u64> {
    let place = |row: u64| all.partition_point(|&r| r < row);
    all[place(first)..place(first.saturating_add(rows))].iter().map(|row| row - first).collect()
}

/// What is wrong with a shard as a whole.
fn whole_file(shard: &ExaminedShard, entry: &ShardEntry) -> Vec<Finding> {
    let of =
        |kind, found: String, expected: &str| Finding::of_file(kind, &entry.file, found, expected);
    let mut findings = vec![];
    match shard.uncovered() {
        Ok(gaps) => findings.extend(gaps.into_iter().map(|bytes| {
            let finding = match bytes {
                [0, 4] => of(FindingKind::Damaged, "damaged".into(), "`PAR1`"),
                _ => of(FindingKind::Schema, "no checksum covers them".into(), "one"),
            };
            Finding { bytes: Some(bytes), ..finding }
        })),
        Err(error) => findings.push(Finding::of_error(&entry.file, entry.bytes, error)),
    }
    findings
}
