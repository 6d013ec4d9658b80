//! Columns of 0 and 1: which of a table's columns are such, and the class that a row of them says.

use super::error::ListError;
use super::sought::Sought;

/// Whether a field says yes (1) or no (0); `None` where it says something else.
pub(super) fn indicator(field: &str) -> Option<bool> {
    match field.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" => Some(true),
        "0" | "0.0" | "false" => Some(false),
        _ => None,
    }
}

/// As [`indicator`], of a column that is called as a question, where people write words and letters too.
pub(super) fn yes_or_no(field: &str) -> Option<bool> {
    match field.to_ascii_lowercase().as_str() {
        "yes" | "y" | "t" => Some(true),
        "no" | "n" | "f" => Some(false),
        _ => indicator(field),
    }
}

/// Columns that hold 0 and 1 alone, as far as rows were examined.
pub(in crate::dataset) struct Indicators {
    columns: Vec<Indicator>,
    /// A column that others are compared with.
    label: Option<usize>,
}

struct Indicator {
    column: usize,
    /// Fields that are not empty.
    values: u64,
    ones: u64,
    /// Whether a row has 1 here and in the label's column.
    with_label: bool,
}

impl Indicators {
    /// Of no row yet.
    pub(super) fn new(columns: Vec<usize>, label: Option<usize>) -> Self {
        let of = |column| Indicator { column, values: 0, ones: 0, with_label: false };
        Self { columns: columns.into_iter().map(of).collect(), label }
    }

    /// The columns of 0 and 1, without those that are empty.
    pub(super) fn found(&self) -> Vec<usize> {
        self.columns.iter().filter(|of| of.values > 0).map(|of| of.column).collect()
    }

    /// Where the label's column is of 0 and 1: the others that have a 1 in some rows, and never in one
    /// where the label's has it. It is one of several columns of a class each.
    pub(super) fn exclusive(&self) -> Vec<usize> {
        let other =
            |of: &&Indicator| Some(of.column) != self.label && of.ones > 0 && !of.with_label;
        match self.columns.iter().any(|of| Some(of.column) == self.label) {
            true => self.columns.iter().filter(other).map(|of| of.column).collect(),
            false => vec![],
        }
    }
}

impl Sought for Indicators {
    fn columns(&self) -> Vec<usize> {
        self.columns.iter().map(|of| of.column).collect()
    }

    fn retain(&mut self, keeps: &dyn Fn(usize) -> bool) {
        self.columns.retain(|of| keeps(of.column));
    }

    /// An empty field is a 0.
    fn row<'a>(&mut self, field: &dyn Fn(usize) -> &'a str) {
        let label = self.label.is_some_and(|column| indicator(field(column)) == Some(true));
        self.columns.retain_mut(|of| match field(of.column) {
            "" => true,
            text => indicator(text).is_some_and(|one| {
                of.values += 1;
                of.ones += u64::from(one);
                of.with_label |= one && label;
                true
            }),
        });
    }
}

/// The class of a row with a 1 in the column that is called as it.
pub(in crate::dataset) fn class_of<'a>(
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<&'a str, ListError> {
    let (mut ones, mut names) = (vec![], vec![]);
    for (name, field) in fields {
        names.push(name);
        if indicator(field) == Some(true) {
            ones.push(name);
        }
    }
    let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    match ones.as_slice() {
        [only] => Ok(only),
        _ => Err(ListError::NotOneHot { columns: owned(&names), ones: owned(&ones) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&[&str]], label: Option<usize>) -> Indicators {
        let mut indicators = Indicators::new((0..rows[0].len()).collect(), label);
        rows.iter().for_each(|row| indicators.row(&|column| row[column]));
        indicators
    }

    #[test]
    fn columns_of_zero_and_one_are_found() {
        let rows: [&[&str]; 3] = [
            &["1.0", "0.0", "", "", "7"],
            &["0.0", "1", "", "1", "0"],
            &["0", "True", "", "", "1"],
        ];
        assert_eq!(of(&rows, None).found(), [0, 1, 3]);
        assert_eq!(of(&rows, Some(0)).exclusive(), [1, 3]);
        assert_eq!(of(&rows, Some(1)).exclusive(), [0]);
        // A label of other values is not one of them.
        assert_eq!(of(&rows, Some(4)).exclusive(), [0; 0]);
    }

    #[test]
    fn a_row_says_one_class() {
        assert_eq!(class_of([("MEL", "0"), ("NV", "1.0")].into_iter()).unwrap(), "NV");
        for fields in [[("MEL", "0"), ("NV", "0")], [("MEL", "1"), ("NV", "1")]] {
            assert!(matches!(class_of(fields.into_iter()), Err(ListError::NotOneHot { .. })));
        }
    }
}
