//! What verifying a bank finds, and its words.

use std::io::ErrorKind;

use serde::Serialize;

use crate::bank::BankError;

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// A file that the manifest lists is missing.
    Missing,
    /// A file cannot be read.
    Unreadable,
    /// A file is shorter or longer than it was written.
    Length,
    /// Bytes are not those that were written.
    Damaged,
    /// Columns, or a file's layout, are not those of the contract.
    Schema,
    /// Rows or images are more or fewer than the manifest says.
    Rows,
    /// A value is outside its range.
    Value,
    /// (`sample_id`, `view`) occurs twice, or a view is missing.
    Key,
    /// `pooled` is not the mean of the map.
    Pooled,
    /// `cam` is not the scaled activation map of the true class.
    Cam,
    /// `nonzero` does not say where the map is not all 0.
    Nonzero,
    /// `predicted` is not the class that the bank's classifier gives.
    Predicted,
    /// `confidence` is not the probability that the bank's classifier gives.
    Confidence,
    /// `classes.parquet` disagrees with the rows or with the classifier.
    Classes,
    /// The classifier is not the one that the bank was made with.
    Classifier,
}

/// One fault. Faults of the same kind in one column of one row group are one finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What kind of fault it is.
    pub kind: FindingKind,
    /// The file, without a folder.
    pub file: String,
    /// The row group in the file, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_group: Option<usize>,
    /// The column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The bytes in the file, from and up to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<[u64; 2]>,
    /// The row in the file, from 0; of several, the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// `sample_id` of the row, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_id: Option<i32>,
    /// `view` of the row, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<i32>,
    /// Rows with this fault, where it is one of rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows: u64,
    /// What was found.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

fn is_zero(rows: &u64) -> bool {
    *rows == 0
}

/// Something to know that is not a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file, without a folder.
    pub file: String,
    /// What it is.
    pub text: String,
}

impl Finding {
    /// A fault of a file.
    pub fn of_file(
        kind: FindingKind,
        file: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            file: file.into(),
            row_group: None,
            column: None,
            bytes: None,
            row: None,
            sample_id: None,
            view: None,
            rows: 0,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// The fault in reading a file of a bank; `bytes` is its length in the manifest.
    pub(super) fn of_error(file: &str, bytes: u64, error: BankError) -> Self {
        let of = |kind, found: String, expected: String| Self::of_file(kind, file, found, expected);
        let length = |bytes: u64| format!("{bytes} bytes");
        match error {
            BankError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                of(FindingKind::Missing, "no such file".into(), length(bytes))
            }
            BankError::Read { source, .. } => {
                of(FindingKind::Unreadable, format!("cannot be read: {source}"), length(bytes))
            }
            BankError::Length { found, expected, .. } => {
                of(FindingKind::Length, length(found), length(expected))
            }
            BankError::Damaged { place, found, expected, .. } => of(
                FindingKind::Damaged,
                format!("{place} is damaged: checksum {found}"),
                expected.to_string(),
            ),
            BankError::Content { found, expected, .. } => of(FindingKind::Schema, found, expected),
            BankError::OtherClassifier { found, expected, .. } => {
                of(FindingKind::Classifier, format!("tensors of sha256 {found}"), expected)
            }
            BankError::Weights(error) => {
                let text = error.to_string();
                let found = text.lines().next().unwrap_or_default().to_string();
                of(FindingKind::Classifier, found, "the bank's classifier".into())
            }
            error => {
                let text = error.to_string();
                let found = text.lines().next().unwrap_or_default().to_string();
                of(FindingKind::Schema, found, "a file of a bank".into())
            }
        }
    }
}

impl std::fmt::Display for Finding {
    /// `train-00000.parquet, row group 1, row 12 (sample 6, view 0), column cam: 1.5; expected 0 to 1`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(group) = self.row_group {
            write!(f, ", row group {group}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        match (self.sample_id, self.view) {
            (Some(sample), Some(view)) => write!(f, " (sample {sample}, view {view})")?,
            (Some(sample), None) => write!(f, " (sample {sample})")?,
            _ => {}
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        if let Some([from, to]) = self.bytes {
            write!(f, ", bytes {from}..{to}")?;
        }
        write!(f, ": {}; expected {}", self.found, self.expected)?;
        match self.rows {
            0 | 1 => Ok(()),
            2 => write!(f, " (and 1 more row)"),
            rows => write!(f, " (and {} more rows)", rows - 1),
        }
    }
}

/// The faults of the rows of one row group: those of a kind in a column are counted, the first is reported.
pub(super) struct RowFaults<'a> {
    pub(super) file: &'a str,
    pub(super) row_group: usize,
    /// First row of the row group in the file.
    pub(super) first_row: u64,
    pub(super) sample_ids: Option<&'a [i32]>,
    pub(super) views: Option<&'a [i32]>,
    pub(super) found: Vec<Finding>,
}

impl<'a> RowFaults<'a> {
    /// None yet.
    pub(super) fn new(file: &'a str, row_group: usize, first_row: u64) -> Self {
        Self { file, row_group, first_row, sample_ids: None, views: None, found: vec![] }
    }

    /// A fault of the row `row` of the row group; `said` gives what was found and what was expected.
    pub(super) fn row(
        &mut self,
        kind: FindingKind,
        column: &str,
        row: usize,
        said: impl FnOnce() -> (String, String),
    ) {
        let same =
            |f: &&mut Finding| f.kind == kind && f.column.as_deref() == Some(column) && f.rows > 0;
        if let Some(first) = self.found.iter_mut().find(same) {
            first.rows += 1;
            return;
        }
        let (found, expected) = said();
        let of_row = |values: Option<&[i32]>| values.and_then(|values| values.get(row)).copied();
        self.found.push(Finding {
            row_group: Some(self.row_group),
            column: Some(column.into()),
            row: Some(self.first_row + row as u64),
            sample_id: of_row(self.sample_ids),
            view: of_row(self.views),
            rows: 1,
            ..Finding::of_file(kind, self.file, found, expected)
        });
    }

    /// A fault of a whole column of the row group.
    pub(super) fn column(
        &mut self,
        kind: FindingKind,
        column: &str,
        found: String,
        expected: String,
    ) {
        self.found.push(Finding {
            row_group: Some(self.row_group),
            column: Some(column.into()),
            ..Finding::of_file(kind, self.file, found, expected)
        });
    }
}
