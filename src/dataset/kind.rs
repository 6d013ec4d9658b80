//! What kind of dataset is at a path, told by what is there.

use std::path::Path;

use super::image_kind::{self, FileKind};
use super::{folder, table};
use crate::config::DatasetKind;

/// The kind that reads what is at `path`: a file is a table of images or else a list, a folder one of
/// shards or else of images.
pub fn kind_at(path: &Path) -> DatasetKind {
    let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    let is_table = match path.is_file() {
        true if !is_parquet || !table::is_table(path) => return DatasetKind::List,
        true => true,
        // Beside folders of images there may be tables of other things.
        false => match table::any_in(path) {
            Some(whole) => whole || !folder::has_classes(path),
            None => is_parquet,
        },
    };
    if is_table { DatasetKind::Parquet } else { DatasetKind::Folder }
}

/// What a file is that has the name of a list or table, and the content of no picture; `None` of another.
pub fn list_kind(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_ascii_lowercase();
    let kind = match extension.to_str()? {
        "parquet" => "a Parquet table",
        "csv" => "a table of comma-separated values",
        "tsv" => "a table of tab-separated values",
        "json" | "jsonl" => "a file of JSON",
        "txt" | "lst" | "list" => "a text file",
        _ => return None,
    };
    (path.is_file() && image_kind::of_file(path) == FileKind::NotAnImage).then_some(kind)
}
