//! Lists of `PATH CLASS` lines, as those of ImageNet-LT, Places-LT and iNaturalist are published.

use std::path::Path;

use super::lines::{COMMENT, comment_note, text_of};
use crate::config::DatasetConfig;
use crate::dataset::error::{DatasetError, read_file};
use crate::dataset::image_kind::has_picture_extension;
use crate::dataset::labelled::{Entry, List, ListError, Numbering, Place, are_names};

/// A tab is tried before a comma, and both before a space, which paths may have too.
const SEPARATORS: [char; 3] = ['\t', ',', ' '];
/// Reads the whole list; empty lines are skipped, and comments.
pub(super) fn read(file: &Path, root: &Path, _: &DatasetConfig) -> Result<List, DatasetError> {
    let bytes = read_file(file)?;
    let text = text_of(file, &bytes)?;
    let mut list = List::new(file, Numbering::Dense, Place::Line);
    let mut comments = 0;
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() {
            continue;
        }
        let divided = path_and_label(line);
        let is_image = || divided.as_ref().is_ok_and(|(path, _)| root.join(path).is_file());
        if line.starts_with(COMMENT) && !is_image() {
            comments += 1;
            continue;
        }
        let (path, label) = divided.map_err(|wrong| list.wrong(Place::Line(number), wrong))?;
        if number == 1 && are_names(path, label) && !root.join(path).is_file() {
            return Err(list.wrong(Place::Line(number), ListError::HeaderRow));
        }
        list.push(&Entry { path, label, name: None, split: None, number })?;
    }
    list.notes.extend(comment_note(comments));
    Ok(list)
}

/// Where an image's name ends tells which separator a line uses; of names that end in something else, the first
/// kind of separator that it has.
fn path_and_label(line: &str) -> Result<(&str, &str), ListError> {
    let is_image = |path: &str| has_picture_extension(Path::new(unquoted(path.trim_end())));
    let last = |separator| line.rsplit_once(separator).map(|split| (separator, split));
    let splits = || SEPARATORS.into_iter().filter_map(last);
    let begins_with_image =
        |separator| line.split_once(separator).is_some_and(|(path, _)| is_image(path));
    let (separator, (path, label)) = match splits().find(|(_, (path, _))| is_image(path)) {
        Some(found) => found,
        None if SEPARATORS.into_iter().any(begins_with_image) => {
            return Err(ListError::MoreColumns);
        }
        None => splits().next().ok_or(ListError::NoLabel)?,
    };
    if SEPARATORS.into_iter().take_while(|&s| s != separator).any(|s| label.contains(s)) {
        return Err(ListError::MoreColumns);
    }
    Ok((unquoted(path.trim_end()), unquoted(label.trim_start())))
}

/// A field as it is without the quotes that spreadsheets put around one with a comma.
fn unquoted(field: &str) -> &str {
    let inner = field.strip_prefix('"').and_then(|field| field.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_in_its_class() {
        let split = |line| path_and_label(line).unwrap();
        assert_eq!(split("train/a/1.jpg 5"), ("train/a/1.jpg", "5"));
        assert_eq!(split("my photos/img 1.JPEG 5"), ("my photos/img 1.JPEG", "5"));
        assert_eq!(split("Larus, adult/1.png 5"), ("Larus, adult/1.png", "5"));
        assert_eq!(split("a.jpg\tgrey heron"), ("a.jpg", "grey heron"));
        assert_eq!(split("a.jpg, grey heron"), ("a.jpg", "grey heron"));
        assert_eq!(split("a 1.jpg,3"), ("a 1.jpg", "3"));
        assert_eq!(split("\"Larus, adult/1.png\",\"5\""), ("Larus, adult/1.png", "5"));
        // Names without a known ending.
        assert_eq!(split("raw/17  4"), ("raw/17", "4"));
    }

    #[test]
    fn other_lines_are_refused() {
        assert!(matches!(path_and_label("a.jpg"), Err(ListError::NoLabel)));
        for line in
            ["a.jpg 3 train", "a.jpg,3,train", "a.jpg\t3\t0.5", "a.jpg 3,train", "a.jpg,3\t0.5"]
        {
            assert!(matches!(path_and_label(line), Err(ListError::MoreColumns)), "{line}");
        }
    }
}
