//! What kind of dataset is at a path, told by what is there.

use std::path::Path;

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
