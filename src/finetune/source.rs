//! What a run reads of its bank, and how much of that it holds in memory.
//!
//! Of the training rows the index is always in memory (where each row lies, its class). Pooled vectors
//! and CAMs are held where they fit, maps too where those fit as well; what is not held is gathered
//! window by window, only for the rows the window draws.

use rayon::prelude::*;

use super::held_maps::{self, HeldMaps};
use super::memory::MemoryPlan;
use crate::augment::{ConfusingClasses, Mask, confusing_of_tail};
use crate::bank::{Bank, BankError, Column, RowIndex, RowReader, Rows};
use crate::config::{FinetuneConfig, GenericClasses};
use crate::domain::{ClassId, HeadTail, Split};

/// Pooled vectors that are gathered at a time where all are visited in order.
const BLOCK_BYTES: usize = 8 << 20;

/// The training rows of a bank, open for a run or several.
pub struct Source<'a> {
    pub(super) bank: &'a Bank,
    reader: RowReader,
    rows: Held,
    /// All maps, where several runs share them.
    pub(super) maps: Option<HeldMaps>,
}

enum Held {
    Index(RowIndex),
    Rows(Rows),
}

impl<'a> Source<'a> {
    pub(super) fn open(bank: &'a Bank, plan: MemoryPlan) -> Result<Self, BankError> {
        let rows = match plan.hold_rows {
            true => Held::Rows(bank.rows(Split::Train)?),
            false => Held::Index(bank.index(Split::Train)?),
        };
        Ok(Self { bank, reader: bank.row_reader(Split::Train)?, rows, maps: None })
    }

    /// Holds all maps of the bank if they take no more than `bytes`.
    pub(super) fn hold_maps(&mut self, bytes: usize) -> Result<(), BankError> {
        let (labels, kept) = (&self.index().labels, &self.bank.manifest.maps);
        let all: Vec<usize> = (0..labels.len()).filter(|&row| kept.of_class(labels[row])).collect();
        if self.held().is_some() && held_maps::bytes(self.bank, all.len()) <= bytes {
            self.maps = Some(HeldMaps::load(self.bank, &self.reader, self.index(), &all)?);
        }
        Ok(())
    }

    pub(super) fn index(&self) -> &RowIndex {
        match &self.rows {
            Held::Index(index) => index,
            Held::Rows(rows) => &rows.index,
        }
    }

    pub(super) fn reader(&self) -> &RowReader {
        &self.reader
    }

    /// Pooled vectors and CAMs of all rows, where they are in memory.
    pub(super) fn held(&self) -> Option<&Rows> {
        match &self.rows {
            Held::Index(_) => None,
            Held::Rows(rows) => Some(rows),
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.bank.manifest.feature_shape.channels
    }

    /// Pooled vectors of some rows (ascending): [n, K].
    pub(super) fn pooled(&self, rows: &[usize]) -> Result<Vec<f32>, BankError> {
        let mut values = vec![];
        match self.held() {
            Some(held) => {
                rows.iter().for_each(|&row| values.extend_from_slice(held.pooled_of(row)))
            }
            None => self.reader.pooled(self.index(), rows, &mut values)?,
        }
        Ok(values)
    }

    /// Visits the pooled vectors of some rows (ascending) in order, a block at a time.
    pub(super) fn for_each_block(
        &self,
        rows: &[usize],
        mut visit: impl FnMut(&[usize], &[f32]),
    ) -> Result<(), BankError> {
        let block = (BLOCK_BYTES / (4 * self.channels())).max(1);
        for rows in rows.chunks(block) {
            visit(rows, &self.pooled(rows)?);
        }
        Ok(())
    }

    /// Whether each row has a class-specific, and a class-generic, location to draw.
    pub(super) fn drawable(&self, config: &FinetuneConfig) -> Result<Vec<[bool; 2]>, BankError> {
        let of_row = |cam: &[f32], nonzero: &[bool]| {
            [
                !Mask::specific(cam, nonzero, config.tau_specific).is_empty(),
                !Mask::generic(cam, nonzero, config.tau_generic).is_empty(),
            ]
        };
        if let Some(rows) = self.held() {
            let row = |row| of_row(rows.cam_of(row), rows.nonzero_of(row));
            return Ok((0..rows.len()).into_par_iter().map(row).collect());
        }
        let all: Vec<usize> = (0..self.index().len()).collect();
        let mut drawable = vec![[false; 2]; all.len()];
        let read = |request: &crate::bank::RowRequest| {
            let mut found = vec![];
            self.reader.read(request, &[Column::Cam], |row, values| {
                found.push((row, of_row(values.cam, values.nonzero)));
            })?;
            Ok(found)
        };
        let requests = self.index().plan(&all);
        let parts: Vec<Vec<(usize, [bool; 2])>> =
            requests.par_iter().map(read).collect::<Result<_, BankError>>()?;
        parts.into_iter().flatten().for_each(|(row, found)| drawable[row] = found);
        Ok(drawable)
    }

    /// The confusing classes of every tail class, from the clean views of its samples.
    fn confusing(
        &self,
        split: &HeadTail,
        head_only: bool,
        count: usize,
    ) -> Result<Vec<ConfusingClasses>, BankError> {
        let (index, head) = (self.index(), &self.bank.head);
        let mut of_class = vec![vec![]; head.classes()];
        for row in (0..index.len()).filter(|&row| index.views[row] == 0) {
            of_class[index.labels[row] as usize].push(row);
        }
        confusing_of_tail(split, head_only, count, head, &of_class, |rows| self.pooled(rows))
    }
}

/// The classes that give class-generic vectors to each class (empty for head classes), from the ranks.
pub(super) fn generic_classes(
    config: &FinetuneConfig,
    split: &HeadTail,
    source: &Source<'_>,
) -> Result<(Vec<ConfusingClasses>, Vec<Vec<ClassId>>), BankError> {
    let head_only = config.generic_classes == GenericClasses::Head;
    let confusing = source.confusing(split, head_only, config.num_confusing)?;
    let mut ids = vec![vec![]; source.bank.class_names.len()];
    for of_class in &confusing {
        ids[of_class.class.index()] = of_class.ranked.iter().map(|(class, _)| *class).collect();
    }
    Ok((confusing, ids))
}

/// Pooled vectors of the rows a window draws, where not all are held.
pub(super) enum PooledRows<'a> {
    All(&'a Rows),
    Some { rows: Vec<usize>, values: Vec<f32>, channels: usize },
}

impl PooledRows<'_> {
    /// `[K]` of one row, which must be among those that were asked for.
    pub(super) fn of(&self, row: u32) -> &[f32] {
        let row = row as usize;
        match self {
            Self::All(rows) => rows.pooled_of(row),
            Self::Some { rows, values, channels } => {
                let place = rows.partition_point(|&r| r < row);
                &values[place * channels..][..*channels]
            }
        }
    }
}
