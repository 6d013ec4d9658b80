//! The rows of one row group against the contract, column by column, and what follows from what.

use super::findings::{FindingKind, RowFaults};
use crate::augment;
use crate::bank::{Decoded, ExaminedGroup, Lists, Manifest, MapsKept, round};
use crate::domain::{ClassId, FeatureShape, LinearHead};
use crate::eval::{argmax, logits};

/// What the rows of a split are held against.
pub(super) struct SplitContract<'a> {
    pub(super) manifest: &'a Manifest,
    /// Whether its rows have maps.
    pub(super) train: bool,
    /// The bank's classifier, where it is whole.
    pub(super) head: Option<&'a LinearHead>,
    /// Names of the classes, where they are known.
    pub(super) names: Option<&'a [String]>,
}

/// (`sample_id`, `view`, `label`) of a row.
pub(super) type Key = [u32; 3];

/// The result for the rows of a row group.
pub(super) struct RowsChecked {
    /// The keys of its rows in their order; `None` where some cannot be known.
    pub(super) keys: Option<Vec<Key>>,
    /// Rows whose pooled vector and activation map were computed again.
    pub(super) recomputed: u64,
}

/// Bytes of maps that are decoded at a time.
const DECODE_BYTES: usize = 1 << 20;
/// Rows whose logits are in memory together.
const SCORED_ROWS: usize = 256;
/// Scores are f32 sums whose order differs between machines: two probabilities are taken for the same
/// where their ratio differs from 1 by less than this ...
const SCORE_TOLERANCE: f32 = 1e-3;
/// ... and by this times the largest logit.
const LOGIT_TOLERANCE: f32 = 1e-5;

/// Checks all rows of a row group, and computes those of `sampled` again (rows of the group, ascending).
pub(super) fn check(
    contract: &SplitContract<'_>,
    group: &ExaminedGroup<'_>,
    sampled: &[usize],
    faults: RowFaults<'_>,
) -> (RowsChecked, Vec<super::Finding>) {
    let mut check = GroupCheck { contract, shape: contract.manifest.feature_shape, group, faults };
    let sample_ids = check.column("sample_id", group.integers("sample_id"), Vec::len);
    let views = check.column("view", group.integers("view"), Vec::len);
    check.faults.sample_ids = sample_ids.as_deref();
    check.faults.views = views.as_deref();
    let columns = check.heads(sample_ids.as_deref(), views.as_deref());
    check.scores(&columns);
    let recomputed = if contract.train { check.maps(&columns, sampled) } else { 0 };
    let keys = keys(sample_ids.as_deref(), views.as_deref(), columns.labels.as_deref());
    (RowsChecked { keys, recomputed }, check.faults.found)
}

/// The columns that others are checked against; `None` where one is damaged.
struct Columns {
    labels: Option<Vec<u32>>,
    predicted: Option<Vec<i32>>,
    confidence: Option<Vec<f32>>,
    pooled: Option<Lists<f32>>,
    cam: Option<Lists<f32>>,
    nonzero: Option<Lists<bool>>,
}

/// The keys, where all their parts are numbers that they can be.
fn keys(
    sample_ids: Option<&[i32]>,
    views: Option<&[i32]>,
    labels: Option<&[u32]>,
) -> Option<Vec<Key>> {
    let id = |id: &i32| u32::try_from(*id).ok();
    let rows = sample_ids?.iter().zip(views?).zip(labels?);
    rows.map(|((sample, view), label)| Some([id(sample)?, id(view)?, *label])).collect()
}

struct GroupCheck<'a, 'f> {
    contract: &'a SplitContract<'a>,
    shape: FeatureShape,
    group: &'a ExaminedGroup<'a>,
    faults: RowFaults<'f>,
}

impl GroupCheck<'_, '_> {
    /// A column with as many rows as the row group has.
    fn column<T>(&mut self, name: &str, found: Decoded<T>, len: impl Fn(&T) -> usize) -> Option<T> {
        let column = match found {
            Ok(column) => column?,
            Err(error) => {
                let found = format!("it cannot be decoded: {error}");
                self.faults.column(FindingKind::Schema, name, found, "a column of a bank".into());
                return None;
            }
        };
        let (rows, expected) = (len(&column) as u64, self.group.rows());
        if rows == expected {
            return Some(column);
        }
        let [found, expected] = [rows, expected].map(|rows| format!("{rows} rows"));
        self.faults.column(FindingKind::Rows, name, found, expected);
        None
    }

    /// Values of all columns but the maps.
    fn heads(&mut self, sample_ids: Option<&[i32]>, views: Option<&[i32]>) -> Columns {
        let group = self.group;
        let (classes, shape) = (self.contract.manifest.dataset.classes as i32, self.shape);
        let view_count =
            if self.contract.train { self.contract.manifest.views.count as i32 } else { 1 };
        self.within(FindingKind::Value, "sample_id", sample_ids, i32::MAX);
        self.within(FindingKind::Key, "view", views, view_count);
        let labels = self.column("label", group.integers("label"), Vec::len);
        let labels_fit = self.within(FindingKind::Value, "label", labels.as_deref(), classes);
        let labels = labels.filter(|_| labels_fit);
        let labels = labels.map(|labels| labels.into_iter().map(|label| label as u32).collect());
        let predicted = self.column("predicted", group.integers("predicted"), Vec::len);
        let fit = self.within(FindingKind::Value, "predicted", predicted.as_deref(), classes);
        let predicted = predicted.filter(|_| fit);
        self.class_names(labels.as_deref());
        self.column("path", group.texts("path"), Vec::len);
        let confidence = self.column("confidence", group.floats("confidence"), Vec::len);
        for (row, value) in confidence.iter().flatten().enumerate() {
            if !(0.0..=1.0).contains(value) {
                let said = || (value.to_string(), "0 to 1".into());
                self.faults.row(FindingKind::Value, "confidence", row, said);
            }
        }
        let pooled = self.column("pooled", group.float_lists("pooled"), Lists::len);
        self.lists("pooled", pooled.as_ref(), shape.channels, "a finite number", |v| v.is_finite());
        let (mut cam, mut nonzero) = (None, None);
        if self.contract.train {
            cam = self.column("cam", group.float_lists("cam"), Lists::len);
            let inside = |v: f32| (0.0..=1.0).contains(&v);
            self.lists("cam", cam.as_ref(), shape.locations(), "0 to 1", inside);
            nonzero = self.column("nonzero", group.bool_lists("nonzero"), Lists::len);
            self.lists("nonzero", nonzero.as_ref(), shape.locations(), "", |_| true);
        }
        Columns { labels, predicted, confidence, pooled, cam, nonzero }
    }

    /// Whether all values are in 0 to `end` - 1.
    fn within(
        &mut self,
        kind: FindingKind,
        column: &str,
        values: Option<&[i32]>,
        end: i32,
    ) -> bool {
        let mut fit = true;
        for (row, value) in values.into_iter().flatten().enumerate() {
            if !(0..end).contains(value) {
                fit = false;
                self.faults
                    .row(kind, column, row, || (value.to_string(), format!("0 to {}", end - 1)));
            }
        }
        fit
    }

    /// Lists of `length` values that are all as they should be.
    fn lists<T: Copy + std::fmt::Display>(
        &mut self,
        column: &str,
        lists: Option<&Lists<T>>,
        length: usize,
        expected: &str,
        good: impl Fn(T) -> bool,
    ) {
        for (row, list) in lists.into_iter().flat_map(Lists::iter).enumerate() {
            if list.len() != length {
                let said = || (format!("{} values", list.len()), length.to_string());
                self.faults.row(FindingKind::Value, column, row, said);
            } else if let Some(at) = list.iter().position(|&value| !good(value)) {
                let said = || (format!("value {at} is {}", list[at]), expected.into());
                self.faults.row(FindingKind::Value, column, row, said);
            }
        }
    }

    fn class_names(&mut self, labels: Option<&[u32]>) {
        let found = self.column("class_name", self.group.texts("class_name"), Vec::len);
        let (Some(labels), Some(names), Some(found)) = (labels, self.contract.names, found) else {
            return;
        };
        for (row, (&label, found)) in labels.iter().zip(&found).enumerate() {
            let expected = names.get(label as usize);
            if expected.is_some_and(|expected| expected != found) {
                let said = || (format!("`{found}`"), format!("`{}`", names[label as usize]));
                self.faults.row(FindingKind::Value, "class_name", row, said);
            }
        }
    }

    /// `predicted` and `confidence` against the classifier on `pooled`.
    fn scores(&mut self, columns: &Columns) {
        let (Some(head), Some(pooled)) = (self.contract.head, &columns.pooled) else {
            return;
        };
        let channels = self.shape.channels;
        let whole = |row: &usize| {
            let vector = pooled.of(*row);
            vector.len() == channels && vector.iter().all(|v| v.is_finite())
        };
        let rows: Vec<usize> = (0..pooled.len()).filter(whole).collect();
        for rows in rows.chunks(SCORED_ROWS) {
            let vectors: Vec<f32> = rows.iter().flat_map(|&row| pooled.of(row)).copied().collect();
            let scores = logits(&vectors, head);
            for (&row, scores) in rows.iter().zip(scores.chunks_exact(head.classes())) {
                let predicted = columns.predicted.as_ref().map(|of| of[row] as usize);
                let confidence = columns.confidence.as_ref().map(|of| of[row]);
                self.score(row, scores, predicted, confidence);
            }
        }
    }

    fn score(
        &mut self,
        row: usize,
        scores: &[f32],
        predicted: Option<usize>,
        confidence: Option<f32>,
    ) {
        let best = argmax(scores);
        let largest = scores.iter().fold(0f32, |largest, score| largest.max(score.abs()));
        let tolerance = SCORE_TOLERANCE + LOGIT_TOLERANCE * largest;
        let class = predicted.unwrap_or(best);
        if scores[best] - scores[class] > tolerance {
            self.faults.row(FindingKind::Predicted, "predicted", row, || {
                (
                    class.to_string(),
                    format!("{best}, by the bank's classifier on its pooled vector"),
                )
            });
            return;
        }
        let sum: f32 = scores.iter().map(|score| (score - scores[best]).exp()).sum();
        // Values outside 0 to 1 were reported already.
        let Some(confidence) = confidence.filter(|v| (0.0..=1.0).contains(v)) else {
            return;
        };
        if (confidence * sum - 1.0).abs() > tolerance {
            self.faults.row(FindingKind::Confidence, "confidence", row, || {
                let expected =
                    format!("{}, by the bank's classifier on its pooled vector", 1.0 / sum);
                (confidence.to_string(), expected)
            });
        }
    }

    /// All maps, and what was computed from those of `sampled`; the number of these.
    fn maps(&mut self, columns: &Columns, sampled: &[usize]) -> u64 {
        let (group, mut recomputed) = (self.group, 0);
        let batch_rows = (DECODE_BYTES / (4 * self.shape.values())).max(1);
        let mut rounded = vec![];
        let decoded = group.maps(batch_rows, |first, maps| {
            for (row, map) in (first..).zip(maps.iter()) {
                let whole =
                    self.map(row, map, columns.labels.as_ref().map(|of| of[row]), &mut rounded);
                if whole && sampled.binary_search(&row).is_ok() {
                    self.derived(row, map, columns);
                    recomputed += 1;
                }
            }
        });
        self.column("feature_map", decoded, |rows| *rows);
        recomputed
    }

    /// Whether a row has a map, as it should be.
    fn map(&mut self, row: usize, map: &[f32], label: Option<u32>, rounded: &mut Vec<f32>) -> bool {
        let precision = self.contract.manifest.precision;
        let (found, expected) = (map.len(), self.values_of(label));
        if expected.is_some_and(|expected| found != expected) {
            let said = || (format!("{found} values"), expected.unwrap_or_default().to_string());
            self.faults.row(FindingKind::Value, "feature_map", row, said);
            return false;
        }
        if let Some(at) = map.iter().position(|v| !v.is_finite()) {
            let said = || (format!("value {at} is {}", map[at]), "a finite number".into());
            self.faults.row(FindingKind::Value, "feature_map", row, said);
            return false;
        }
        rounded.clear();
        rounded.extend_from_slice(map);
        round(rounded, precision);
        if let Some(at) = (0..map.len()).find(|&i| map[i].to_bits() != rounded[i].to_bits()) {
            let said = || {
                (format!("value {at} is {}", map[at]), format!("a value of {}", precision.name()))
            };
            self.faults.row(FindingKind::Value, "feature_map", row, said);
        }
        found == self.shape.values()
    }

    /// Values of the map of a row with this label; `None` where it cannot be known.
    fn values_of(&self, label: Option<u32>) -> Option<usize> {
        let kept = match &self.contract.manifest.maps {
            MapsKept::All => true,
            MapsKept::None => false,
            some => some.of_class(label?),
        };
        Some(if kept { self.shape.values() } else { 0 })
    }

    /// `pooled`, `cam` and `nonzero` of a row from its map, bit for bit. Values outside their range were
    /// reported already.
    fn derived(&mut self, row: usize, map: &[f32], columns: &Columns) {
        let channels = self.shape.channels;
        let pooled = columns.pooled.as_ref().map(|of| of.of(row));
        if let Some(found) = pooled.filter(|of| of.iter().all(|v| v.is_finite())) {
            let expected = augment::pooled(map, channels);
            self.compare(
                (FindingKind::Pooled, "pooled"),
                row,
                found,
                &expected,
                "the mean of its map",
            );
        }
        let weight = self.contract.head.zip(columns.labels.as_ref());
        let weight = weight.map(|(head, labels)| head.class_weight(ClassId(labels[row])));
        let cam = columns.cam.as_ref().map(|of| of.of(row));
        let cam = cam.filter(|of| of.iter().all(|v| (0.0..=1.0).contains(v)));
        if let Some((found, weight)) = cam.zip(weight) {
            let expected = augment::normalise(&augment::activation(map, weight));
            let why = "by its map and the bank's classifier";
            self.compare((FindingKind::Cam, "cam"), row, found, &expected, why);
        }
        if let Some(found) = columns.nonzero.as_ref().map(|of| of.of(row)) {
            let expected = augment::nonzero(map, channels);
            self.compare((FindingKind::Nonzero, "nonzero"), row, found, &expected, "by its map");
        }
    }

    /// One of the columns that follow from the map.
    fn compare<T: Same>(
        &mut self,
        (kind, column): (FindingKind, &str),
        row: usize,
        found: &[T],
        expected: &[T],
        why: &str,
    ) {
        let differing = found.iter().zip(expected).position(|(a, b)| !a.same(b));
        if let Some(at) = differing.filter(|_| found.len() == expected.len()) {
            self.faults.row(kind, column, row, || {
                (format!("value {at} is {}", found[at]), format!("{}, {why}", expected[at]))
            });
        }
    }
}

/// Equal to the bit.
trait Same: std::fmt::Display {
    fn same(&self, other: &Self) -> bool;
}

impl Same for f32 {
    fn same(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl Same for bool {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}
