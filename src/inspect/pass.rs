//! The rows of a split, gone through once: of each row what counts is kept, never its vector.

use rayon::prelude::*;

use super::MaskSummary;
use crate::augment::{CONFUSING_BYTES, ConfusingClasses, Mask, confusing_of_tail};
use crate::bank::{Bank, BankError, Column, RowIndex, RowReader, RowRequest, RowValues};
use crate::config::FinetuneConfig;
use crate::domain::{HeadTail, Split};
use crate::eval::predict;

/// Rows whose figures are in memory together.
const BLOCK_ROWS: usize = 1 << 14;
/// Rows whose values a thread has in hand; see [`RowIndex::plan`].
const ROWS_IN_HAND: usize = 512;

/// The least memory that this takes on this many threads, in bytes; what is left of more holds vectors of
/// the tail.
pub(super) fn least_bytes(bank: &Bank, threads: usize) -> u64 {
    let (shape, classes) = (bank.manifest.feature_shape, bank.class_names.len());
    let row_bytes = (4 * shape.channels + 5 * shape.locations()) as u64;
    let splits = || bank.manifest.splits.values();
    let groups = splits().flat_map(|split| &split.shards).flat_map(|shard| &shard.row_groups);
    // A row group as it is on disk and as it is read, and what is made of some of its rows.
    let group = 2 * row_bytes * groups.map(|group| group.rows).max().unwrap_or(0);
    let made = ROWS_IN_HAND as u64 * (2 * row_bytes + 4 * classes as u64);
    let in_hand = threads as u64 * (group + made);
    let rows = splits().map(|split| split.rows).max().unwrap_or(0);
    let head = 4 * bank.head.weight.len() as u64;
    bank.open_bytes() + RowIndex::bytes(rows) + head + in_hand + 2 * CONFUSING_BYTES as u64
}

/// A split's rows, and how to read them.
pub(super) struct Pass<'a> {
    bank: &'a Bank,
    pub(super) index: RowIndex,
    reader: RowReader,
}

/// What the training rows say.
pub(super) struct TrainFigures {
    pub(super) top1: f64,
    /// Of head and of tail rows.
    pub(super) masks: [MaskSummary; 2],
    pub(super) confusing: Vec<ConfusingClasses>,
}

/// What counts of one row.
struct RowFigures {
    cam_mean: f64,
    zero_locations: f64,
    specific: usize,
    generic: usize,
}

/// A row that was read.
struct Read<T> {
    row: usize,
    figures: T,
    /// Of clean views: whether the classifier is right.
    right: Option<bool>,
    /// Of clean views that are kept: the pooled vector.
    vector: Vec<f32>,
}

impl<'a> Pass<'a> {
    pub(super) fn open(bank: &'a Bank, split: Split) -> Result<Self, BankError> {
        Ok(Self { bank, index: bank.index(split)?, reader: bank.row_reader(split)? })
    }

    /// Top-1 of the Phase-I classifier on the clean views, in percent.
    pub(super) fn top1(&self) -> Result<f64, BankError> {
        let mut hits = Hits::default();
        let right = |request: &RowRequest| {
            let rows = self.read(request, &[Column::Pooled], |_| false, |_| ())?;
            Ok(rows.into_iter().map(|read| (read.row, read.right)).collect())
        };
        self.in_order(right, |_, right| hits.add(right))?;
        Ok(hits.percent())
    }

    /// What the training rows say; vectors of the tail are kept where they take no more than `spare_bytes`,
    /// else they are read again.
    pub(super) fn train(
        &self,
        split: &HeadTail,
        settings: &FinetuneConfig,
        spare_bytes: u64,
    ) -> Result<TrainFigures, BankError> {
        let (bank, index) = (self.bank, &self.index);
        let (channels, classes) = (bank.manifest.feature_shape.channels, bank.class_names.len());
        let mut is_tail = vec![false; classes];
        split.tail.iter().for_each(|class| is_tail[class.index()] = true);
        let is_tail = |row: usize| is_tail[index.labels[row] as usize];
        let tail: Vec<usize> =
            (0..index.len()).filter(|&row| index.views[row] == 0 && is_tail(row)).collect();
        // Those of a block are in memory twice.
        let kept = (tail.len() + tail.len().min(BLOCK_ROWS)) as u64 * 4 * channels as u64;
        let keeps = kept <= spare_bytes;

        let locations = bank.manifest.feature_shape.locations().max(1) as f64;
        let figures = |values: &RowValues<'_>| {
            let (cam, nonzero) = (values.cam, values.nonzero);
            RowFigures {
                cam_mean: cam.iter().map(|&m| f64::from(m)).sum::<f64>() / locations,
                zero_locations: nonzero.iter().filter(|nz| !**nz).count() as f64 / locations,
                specific: Mask::specific(cam, nonzero, settings.tau_specific).len(),
                generic: Mask::generic(cam, nonzero, settings.tau_generic).len(),
            }
        };
        let of_request = |request: &RowRequest| {
            let keep = |row: usize| keeps && is_tail(row);
            let rows = self.read(request, &[Column::Pooled, Column::Cam], keep, figures)?;
            Ok(rows.into_iter().map(|read| (read.row, read)).collect())
        };
        let mut hits = Hits::default();
        let mut vectors = Vec::with_capacity(if keeps { tail.len() * channels } else { 0 });
        let mut masks = [Sums::default(), Sums::default()];
        self.in_order(of_request, |row, read: Read<RowFigures>| {
            hits.add(read.right);
            vectors.extend_from_slice(&read.vector);
            masks[usize::from(is_tail(row))].add(&read.figures, locations);
        })?;

        let mut of_class = vec![vec![]; classes];
        tail.iter().for_each(|&row| of_class[index.labels[row] as usize].push(row));
        let pooled = |rows: &[usize]| {
            let mut values = vec![];
            if keeps {
                for row in rows {
                    let place = tail.partition_point(|tail| tail < row);
                    values.extend_from_slice(&vectors[place * channels..][..channels]);
                }
            } else {
                self.reader.pooled(index, rows, &mut values)?;
            }
            Ok::<_, BankError>(values)
        };
        let count = settings.num_confusing;
        let confusing = confusing_of_tail(split, false, count, &bank.head, &of_class, pooled)?;
        let [head, tail] = masks;
        let masks = [head.summary("head"), tail.summary("tail")];
        Ok(TrainFigures { top1: hits.percent(), masks, confusing })
    }

    /// The rows of a request, each with what `of_row` makes of it, and the vectors of those to `keep`.
    fn read<T>(
        &self,
        request: &RowRequest,
        columns: &[Column],
        keep: impl Fn(usize) -> bool,
        of_row: impl Fn(&RowValues<'_>) -> T,
    ) -> Result<Vec<Read<T>>, BankError> {
        let rows = request.rows().count();
        let values = rows * self.bank.manifest.feature_shape.channels;
        let (mut found, mut clean) = (Vec::with_capacity(rows), Vec::with_capacity(values));
        self.reader.read(request, columns, |row, values| {
            let is_clean = self.index.views[row] == 0;
            if is_clean {
                clean.extend_from_slice(values.pooled);
            }
            let vector = if is_clean && keep(row) { values.pooled.to_vec() } else { vec![] };
            found.push(Read { row, figures: of_row(&values), right: None, vector });
        })?;
        let predicted = predict(&clean, &self.bank.head);
        let is_clean = |read: &&mut Read<T>| self.index.views[read.row] == 0;
        for (read, class) in found.iter_mut().filter(is_clean).zip(predicted) {
            read.right = Some(class == self.index.labels[read.row]);
        }
        Ok(found)
    }

    /// Gives each row's figures to `take`, in the order of the rows, whatever that of the shards.
    fn in_order<T: Send>(
        &self,
        of_request: impl Fn(&RowRequest) -> Result<Vec<(usize, T)>, BankError> + Sync,
        mut take: impl FnMut(usize, T),
    ) -> Result<(), BankError> {
        for first in (0..self.index.len()).step_by(BLOCK_ROWS) {
            let rows: Vec<usize> = (first..self.index.len().min(first + BLOCK_ROWS)).collect();
            let requests = self.index.plan(&rows);
            let parts: Vec<Vec<(usize, T)>> =
                requests.par_iter().map(&of_request).collect::<Result<_, BankError>>()?;
            let mut found: Vec<(usize, T)> = parts.into_iter().flatten().collect();
            found.sort_unstable_by_key(|(row, _)| *row);
            found.into_iter().for_each(|(row, figures)| take(row, figures));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Hits {
    hits: u64,
    of: u64,
}

impl Hits {
    fn add(&mut self, right: Option<bool>) {
        self.hits += u64::from(right == Some(true));
        self.of += u64::from(right.is_some());
    }

    fn percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.of.max(1) as f64
    }
}

/// Sums over the rows of a group.
#[derive(Default)]
struct Sums {
    rows: u64,
    cam_mean: f64,
    zero_locations: f64,
    specific: f64,
    generic: f64,
    specific_empty: u64,
    generic_empty: u64,
}

impl Sums {
    fn add(&mut self, row: &RowFigures, locations: f64) {
        self.rows += 1;
        self.cam_mean += row.cam_mean;
        self.zero_locations += row.zero_locations;
        self.specific += row.specific as f64 / locations;
        self.generic += row.generic as f64 / locations;
        self.specific_empty += u64::from(row.specific == 0);
        self.generic_empty += u64::from(row.generic == 0);
    }

    fn summary(self, group: &'static str) -> MaskSummary {
        let mean = |sum: f64| sum / self.rows.max(1) as f64;
        MaskSummary {
            group,
            rows: self.rows,
            cam_mean: mean(self.cam_mean),
            zero_locations: mean(self.zero_locations),
            specific: mean(self.specific),
            specific_empty: self.specific_empty,
            generic: mean(self.generic),
            generic_empty: self.generic_empty,
        }
    }
}
