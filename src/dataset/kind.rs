//! What kind of dataset is at a path, by the files in it.

use std::path::Path;

use super::image_kind::{self, FileKind};
use super::{folder, image_table, list};
use crate::config::DatasetKind;

/// The kind that reads what is at `path`: a file is a table of images or else a list, a folder one of
/// shards or else of images.
pub fn kind_at(path: &Path) -> DatasetKind {
    let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    let is_table = match path.is_file() {
        true if !is_parquet || !image_table::is_table(path) => return DatasetKind::List,
        true => true,
        // Beside folders of images there may be tables of other things.
        false => match image_table::any_in(path) {
            Some(whole) => whole || !folder::has_classes(path),
            None => is_parquet,
        },
    };
    if is_table { DatasetKind::Parquet } else { DatasetKind::Folder }
}

/// What a file is that has the name of a list or table, and the content of no picture; `None` of another.
pub fn list_kind(path: &Path) -> Option<&'static str> {
    let is_lines = path.extension()?.eq_ignore_ascii_case("jsonl");
    let kind = match list::formats::of(path) {
        Some(format) => format.called,
        None if is_lines => "a file of JSON",
        None => return None,
    };
    (path.is_file() && image_kind::of_file(path) == FileKind::NotAnImage).then_some(kind)
}
