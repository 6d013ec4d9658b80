//! The keys of a split: each (`sample_id`, `view`) once, each image with all its views and one class.

use std::collections::BTreeMap;

use super::findings::{Finding, FindingKind};
use super::rows::Key;
use crate::bank::{MANIFEST_FILE, SplitEntry};
use crate::text::counted;

/// Where a row is: shard in the split, row group in the shard, row in the row group.
type Place = [u32; 3];

/// The keys of a split and where their rows are.
#[derive(Default)]
pub(super) struct Keys {
    rows: Vec<(Key, Place)>,
    /// Whether the keys of some rows are not known.
    partial: bool,
}

impl Keys {
    /// Makes room for the rows of a shard.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
    }

    /// Adds the rows of a row group.
    pub(super) fn extend(&mut self, shard: usize, row_group: usize, keys: Option<Vec<Key>>) {
        self.partial |= keys.is_none();
        let keys = keys.into_iter().flatten().zip(0..);
        self.rows.extend(keys.map(|(key, row)| (key, [shard as u32, row_group as u32, row])));
    }

    /// Notes that rows are not known.
    pub(super) fn lack(&mut self) {
        self.partial = true;
    }

    /// Whether the keys of all rows are known.
    pub(super) fn complete(&self) -> bool {
        !self.partial
    }

    /// Checks the keys; each image of a class should have as many of them as `views_of` says, of the `views`
    /// of the bank. Leaves them in order.
    ///
    /// Consequences of rows that are not known are not reported: why they are not known was.
    pub(super) fn check(
        &mut self,
        name: &str,
        split: &SplitEntry,
        views: usize,
        views_of: impl Fn(u32) -> usize,
    ) -> Vec<Finding> {
        self.rows.sort_unstable();
        let mut check = Check { split, found: BTreeMap::new() };
        for &(key, place) in &self.rows {
            let item = u64::from(key[0]) * views as u64 + u64::from(key[1]);
            let items = split.shards[place[0] as usize].items;
            if let Some([from, to]) = items.filter(|&[from, to]| !(from..to).contains(&item)) {
                check.row(FindingKind::Key, "sample_id", key, place, || {
                    let [from, to] = [from, to].map(|item| {
                        let (sample, view) = (item / views as u64, item % views as u64);
                        format!("sample {sample}, view {view}")
                    });
                    ("a row of another shard".into(), format!("those from {from} up to {to}"))
                });
            }
        }
        let mut images = 0;
        for image in self.rows.chunk_by(|(a, _), (b, _)| a[0] == b[0]) {
            images += 1;
            let mut distinct = 1;
            for pair in image.windows(2) {
                let [(before, first), (key, place)] = [pair[0], pair[1]];
                if key[1] != before[1] {
                    distinct += 1;
                } else {
                    check.row(FindingKind::Key, "view", key, place, || {
                        let again = format!("the same key as {}", place_text(split, first));
                        (again, "each sample and view once".into())
                    });
                }
                if key[2] != before[2] {
                    check.row(FindingKind::Value, "label", key, place, || {
                        let other = format!(
                            "{}, and {} in {}",
                            key[2],
                            before[2],
                            place_text(split, first)
                        );
                        (other, "one class an image".into())
                    });
                }
            }
            let (key, place) = image[0];
            let (expected, (last, _)) = (views_of(key[2]), image[image.len() - 1]);
            // A view that does not exist is reported by itself.
            let last = last[1] as usize;
            let whole = distinct == expected && (last < expected || last >= views);
            if !whole && self.complete() {
                check.row(FindingKind::Key, "sample_id", key, place, || {
                    let clean = if key[1] == 0 { "" } else { ", none of them clean" };
                    let up_to = format!("{}{clean}, the last {}", counted(distinct, "view"), last);
                    (format!("an image with {up_to}"), counted(expected, "view"))
                });
            }
        }
        let mut found: Vec<Finding> = check.found.into_values().collect();
        if self.complete() && images != split.images {
            let said = |n: u64| format!("{} in split {name}", counted(n as usize, "image"));
            let (rows, manifest) = (said(images), said(split.images));
            let expected = format!("{rows}, as its rows are");
            found.push(Finding::of_file(FindingKind::Rows, MANIFEST_FILE, manifest, expected));
        }
        found
    }

    /// Images of each class, after [`Keys::check`].
    pub(super) fn class_counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for image in self.rows.chunk_by(|(a, _), (b, _)| a[0] == b[0]) {
            if let Some(count) = counts.get_mut(image[0].0[2] as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// The row of the file that a place is.
fn row_in_file(split: &SplitEntry, [shard, row_group, row]: Place) -> u64 {
    let groups = &split.shards[shard as usize].row_groups[..row_group as usize];
    groups.iter().map(|group| group.rows).sum::<u64>() + u64::from(row)
}

fn place_text(split: &SplitEntry, place: Place) -> String {
    format!("row {} of {}", row_in_file(split, place), split.shards[place[0] as usize].file)
}

/// Faults of a kind in a column of a row group are one finding.
struct Check<'a> {
    split: &'a SplitEntry,
    found: BTreeMap<(u32, u32, FindingKind, &'static str), Finding>,
}

impl Check<'_> {
    fn row(
        &mut self,
        kind: FindingKind,
        column: &'static str,
        key: Key,
        place: Place,
        said: impl FnOnce() -> (String, String),
    ) {
        let split = self.split;
        let new = || {
            let (found, expected) = said();
            Finding {
                row_group: Some(place[1] as usize),
                column: Some(column.into()),
                row: Some(row_in_file(split, place)),
                sample_id: Some(key[0] as i32),
                view: Some(key[1] as i32),
                ..Finding::of_file(kind, &split.shards[place[0] as usize].file, found, expected)
            }
        };
        self.found.entry((place[0], place[1], kind, column)).or_insert_with(new).rows += 1;
    }
}
