//! What kind of dataset is at a path, told by what is there.

use std::path::Path;

use super::{folder, table};
use crate::config::DatasetKind;

/// The kind that reads what is at `path`: a file is a table of images or else a list, a folder one of
/// shards or else of images.
pub fn kind_at(path: &Path) -> DatasetKind {
    let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    match path.is_file() {
        true if is_parquet && table::is_table(path) => DatasetKind::Parquet,
        true => DatasetKind::List,
        false if table::has_any(path) && !folder::has_classes(path) => DatasetKind::Parquet,
        false if is_parquet => DatasetKind::Parquet,
        false => DatasetKind::Folder,
    }
}
