//! Columns of a table that are known by their values: which of them are left after all rows.

use std::collections::BTreeSet;

use crate::dataset::image_kind::has_picture_extension;
use crate::domain::Split;

/// Columns that rows are passed to.
pub(in crate::dataset) trait Sought {
    /// Those that may be such, still.
    fn columns(&self) -> Vec<usize>;

    /// Leaves out columns that are known to be something else.
    fn retain(&mut self, keeps: &dyn Fn(usize) -> bool);

    /// Looks at a row.
    fn row<'a>(&mut self, field: &dyn Fn(usize) -> &'a str);
}

/// Columns of values of one kind alone.
pub(super) struct OfKind {
    columns: Vec<(usize, BTreeSet<String>)>,
    /// What a value is; `None` where it is of another kind.
    kind: fn(&str) -> Option<String>,
}

impl OfKind {
    /// Columns of words that stand for splits.
    pub(super) fn splits(columns: Vec<usize>) -> Self {
        Self::new(columns, |value| Some(Split::of(value)?.name().into()))
    }

    /// Columns of names of image files.
    pub(super) fn images(columns: Vec<usize>) -> Self {
        Self::new(columns, |value| has_picture_extension(value.as_ref()).then(String::new))
    }

    fn new(columns: Vec<usize>, kind: fn(&str) -> Option<String>) -> Self {
        Self {
            columns: columns.into_iter().map(|column| (column, BTreeSet::new())).collect(),
            kind,
        }
    }

    /// The only column in which `value` is among those found.
    pub(super) fn only_with(&self, value: &str) -> Option<usize> {
        let mut found = self.columns.iter().filter(|(_, values)| values.contains(value));
        found.next().filter(|_| found.next().is_none()).map(|(column, _)| *column)
    }
}

impl Sought for OfKind {
    fn columns(&self) -> Vec<usize> {
        self.columns.iter().map(|(column, _)| *column).collect()
    }

    fn retain(&mut self, keeps: &dyn Fn(usize) -> bool) {
        self.columns.retain(|(column, _)| keeps(*column));
    }

    fn row<'a>(&mut self, field: &dyn Fn(usize) -> &'a str) {
        self.columns.retain_mut(|(column, values)| match (self.kind)(field(*column)) {
            Some(value) => {
                values.insert(value);
                true
            }
            None => false,
        });
    }
}
