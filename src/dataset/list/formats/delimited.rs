//! Lists with a header row, their fields separated by commas, semicolons or tabs, quoted or not.

use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::lines::{COMMENT, comment_note, text_of};
use crate::config::DatasetConfig;
use crate::dataset::error::{DatasetError, read_file};
use crate::dataset::image_kind::has_picture_extension;
use crate::dataset::labelled::{
    Entry, Labels, List, ListError, Numbering, Place, Sought, class_of, find, in_list, no_path,
};

/// Reads a list whose separator is a comma unless its header row has none.
pub(super) fn read_commas(
    file: &Path,
    root: &Path,
    config: &DatasetConfig,
) -> Result<List, DatasetError> {
    read(file, root, config, [b',', b';', b'\t'])
}

/// As [`read_commas`], with a tab first.
pub(super) fn read_tabs(
    file: &Path,
    root: &Path,
    config: &DatasetConfig,
) -> Result<List, DatasetError> {
    read(file, root, config, [b'\t', b',', b';'])
}

/// Reads the whole list, whose separator is the first of these that its header row has, unless a line
/// `sep=;` says which.
fn read(
    file: &Path,
    root: &Path,
    config: &DatasetConfig,
    separators: [u8; 3],
) -> Result<List, DatasetError> {
    let bytes = read_file(file)?;
    let text = text_of(file, &bytes)?;
    let mut list = List::new(file, Numbering::Ids, Place::Line);
    let form = Form::of(&text, separators);
    let mut rows = form.rows();
    if !rows.next().map_err(|e| wrong_row(&list, &rows, &e))? {
        return Ok(list);
    }
    let header = rows.record.clone();
    let names: Vec<&str> = header.iter().collect();
    let in_header = |wrong| in_list(file, Place::Line(rows.line), wrong);
    if let Some(field) = names.iter().find(|name| has_picture_extension(Path::new(name))) {
        return Err(in_header(ListError::NoHeader { field: field.to_string() }));
    }
    let look = |sought: &mut dyn Sought| {
        let mut rows = form.rows();
        let empty = List::new(file, Numbering::Ids, Place::Line);
        let next = |rows: &mut Rows| rows.next().map_err(|e| wrong_row(&empty, rows, &e));
        next(&mut rows)?;
        while !sought.columns().is_empty() && next(&mut rows)? {
            sought.row(&|column| rows.field(column));
        }
        Ok(())
    };
    let found = find(config, &names, look, in_header)?;
    let path = found.path.or(found.id).ok_or_else(|| in_header(no_path(&names)))?;
    if let Labels::OneHot(columns) = &found.label {
        let classes: Vec<&str> = columns.iter().map(|&column| names[column]).collect();
        list = List::of_classes(file, &classes, Place::Line);
    }
    list.notes = found.notes(&names);
    let form = Form { comments: !form.has_images_that_look_so(path, header.len(), root), ..form };
    let mut rows = form.rows();
    let mut several_lines = None;
    rows.next().map_err(|e| wrong_row(&list, &rows, &e))?;
    while rows.next().map_err(|e| wrong_row(&list, &rows, &e))? {
        let number = rows.line;
        let field = |column: usize| rows.field(column);
        let wrong = |wrong| in_list(file, Place::Line(number), wrong);
        let label = match &found.label {
            Labels::Column(label) => field(*label),
            Labels::OneHot(columns) => {
                class_of(columns.iter().map(|&c| (names[c], field(c)))).map_err(wrong)?
            }
        };
        let (name, split) = (found.name.map(field), found.split.map(field));
        let split = split.map(|word| found.split_word(word));
        let entry = Entry { path: field(path), label, name, split, number };
        let broken = |text: &str| text.contains('\n');
        if broken(entry.path) || broken(entry.label) {
            return Err(wrong(ListError::LineBreak));
        }
        several_lines = rows.record.iter().any(broken).then_some((number, rows.at));
        list.push(&entry)?;
    }
    list.notes.extend(comment_note(rows.comments));
    // An open quote takes all rows that follow into one field.
    let open_quote = |&(_, begin): &_| {
        let text: &str = &form.text[begin..];
        !text.matches('"').count().is_multiple_of(2)
    };
    match several_lines.filter(open_quote) {
        Some((line, _)) => Err(list.wrong(Place::Line(line), ListError::LineBreak)),
        None => Ok(list),
    }
}

/// How a text is divided into rows.
struct Form<'a> {
    /// After a line `sep=;`.
    text: &'a str,
    /// The number of its first line.
    first_line: u64,
    separator: u8,
    /// Whether lines that begin with # are comments.
    comments: bool,
}

impl<'a> Form<'a> {
    fn of(text: &'a str, separators: [u8; 3]) -> Self {
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        // The separator may be a tab.
        let said = first.trim_matches([' ', '"']).strip_prefix("sep=").map(str::as_bytes);
        if let Some(&[separator]) = said {
            return Self { text: rest, first_line: 2, separator, comments: true };
        }
        let is_row = |line: &&str| !line.trim().is_empty() && !line.starts_with(COMMENT);
        let header = text.lines().find(is_row).unwrap_or_default().as_bytes();
        let found = separators.into_iter().find(|separator| header.contains(separator));
        let separator = found.unwrap_or(separators[0]);
        Self { text, first_line: 1, separator, comments: true }
    }

    fn rows(&self) -> Rows<'a> {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .delimiter(self.separator)
            .comment(self.comments.then_some(COMMENT as u8))
            .trim(Trim::All)
            .from_reader(self.text.as_bytes());
        Rows {
            reader,
            text: self.text,
            skips_comments: self.comments,
            at: 0,
            line: self.first_line,
            comments: 0,
            record: StringRecord::new(),
        }
    }

    /// Whether a line that begins with # is a row of an existing image.
    fn has_images_that_look_so(&self, path: usize, fields: usize, root: &Path) -> bool {
        let is_row = |line: &str| {
            let row: Vec<&str> = line.split(char::from(self.separator)).collect();
            let image = || row.get(path).map(|path| path.trim().trim_matches('"'));
            row.len() == fields && image().is_some_and(|image| root.join(image).is_file())
        };
        self.text.lines().filter(|line| line.starts_with(COMMENT)).any(is_row)
    }
}

/// Rows of a text, with the lines on which they begin.
struct Rows<'a> {
    reader: csv::Reader<&'a [u8]>,
    text: &'a str,
    skips_comments: bool,
    /// Where `line` begins.
    at: usize,
    /// The line of the row at hand.
    line: u64,
    /// Lines of comments so far.
    comments: u64,
    record: StringRecord,
}

impl Rows<'_> {
    /// Goes to the next row that has a field; `false` after the last one.
    fn next(&mut self) -> Result<bool, csv::Error> {
        loop {
            let read = self.reader.read_record(&mut self.record);
            let position = match &read {
                Ok(_) => self.record.position(),
                Err(e) => e.position(),
            };
            // The position is after the previous row.
            let begin = position.map_or(self.text.len(), |position| position.byte() as usize);
            self.advance(begin.min(self.text.len()));
            if !read? {
                return Ok(false);
            }
            // Spreadsheets write rows of empty fields.
            if self.record.iter().any(|field| !field.is_empty()) {
                return Ok(true);
            }
        }
    }

    /// A field; rows have as many as the header, or reading them failed.
    fn field(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    fn advance(&mut self, to: usize) {
        let passed = &self.text.as_bytes()[self.at.min(to)..to];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.at = to;
        loop {
            let rest = &self.text[self.at..];
            let is_comment = self.skips_comments && rest.starts_with(COMMENT);
            if !is_comment && !rest.starts_with('\n') {
                break;
            }
            self.comments += u64::from(is_comment);
            self.line += 1;
            self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
        }
    }
}

fn wrong_row(list: &List, rows: &Rows, error: &csv::Error) -> DatasetError {
    let wrong = match *error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            ListError::FieldCount { found: len, expected: expected_len }
        }
        // The text was checked, and memory can be read: no other kind can come.
        _ => ListError::NotUtf8,
    };
    list.wrong(Place::Line(rows.line), wrong)
}
