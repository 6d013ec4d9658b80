//! Lists with a header row, their fields separated by commas, semicolons or tabs, quoted or not.

use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::{Entry, List, ListError, Numbering, Place, columns};
use crate::config::DatasetConfig;
use crate::dataset::DatasetError;

/// Reads the whole list; without a `delimiter` it is the one that the header row uses.
pub(super) fn read(
    file: &Path,
    config: &DatasetConfig,
    delimiter: Option<u8>,
) -> Result<List, DatasetError> {
    let bytes = crate::dataset::read_file(file)?;
    let text = super::utf8(file, &bytes)?;
    let header = text.lines().next().unwrap_or_default();
    let semicolons = header.contains(';') && !header.contains(',');
    let delimiter = delimiter.unwrap_or(if semicolons { b';' } else { b',' });
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).trim(Trim::All).from_reader(text.as_bytes());
    let mut list = List::new(file, Numbering::Ids, Place::Line);
    let header = reader.headers().map_err(|e| wrong_row(&list, &e))?.clone();
    let names: Vec<&str> = header.iter().collect();
    let in_header = |wrong| list.wrong(Place::Line(1), wrong);
    if header.is_empty() {
        return Ok(list);
    }
    let found = columns::find(config, &names).map_err(in_header)?;
    let path = found.path.ok_or_else(|| in_header(columns::no_path(&names)))?;
    let mut record = StringRecord::new();
    let mut several_lines = None;
    while reader.read_record(&mut record).map_err(|e| wrong_row(&list, &e))? {
        let number = record.position().map_or(0, |position| position.line());
        // Rows have as many fields as the header, or reading them failed.
        let field = |column: usize| record.get(column).unwrap_or_default();
        let entry = Entry {
            path: field(path),
            label: field(found.label),
            name: found.name.map(field),
            split: found.split.map(field),
            number,
        };
        let broken = |text: &str| text.contains(['\n', '\r']);
        if broken(entry.path) || broken(entry.label) {
            return Err(list.wrong(Place::Line(number), ListError::LineBreak));
        }
        several_lines = record.iter().any(broken).then_some(number);
        list.push(&entry)?;
    }
    // An open quote takes all rows that follow into one field.
    let open_quote = !text.matches('"').count().is_multiple_of(2);
    match several_lines.filter(|_| open_quote) {
        Some(line) => Err(list.wrong(Place::Line(line), ListError::LineBreak)),
        None => Ok(list),
    }
}

fn wrong_row(list: &List, error: &csv::Error) -> DatasetError {
    let line = error.position().map_or(Place::Whole, |position| Place::Line(position.line()));
    let wrong = match *error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            ListError::FieldCount { found: len, expected: expected_len }
        }
        // The text was checked, and memory can be read: no other kind can come.
        _ => ListError::NotUtf8,
    };
    list.wrong(line, wrong)
}
