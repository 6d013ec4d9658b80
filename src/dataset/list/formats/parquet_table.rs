//! Lists of image files in Parquet tables.

use std::path::Path;

use crate::config::DatasetConfig;
use crate::dataset::error::DatasetError;
use crate::dataset::labelled::{List, Numbering, Place, no_path};
use crate::dataset::table::{Table, Texts, batches, new_list, wrong_row};
use crate::domain::Split;

/// Reads a list.
pub(super) fn read(file: &Path, _: &Path, config: &DatasetConfig) -> Result<List, DatasetError> {
    read_list(file, config, None)
}

/// Reads a list of image files; `split` is what the file's name says.
pub(in crate::dataset) fn read_list(
    file: &Path,
    config: &DatasetConfig,
    split: Option<Split>,
) -> Result<List, DatasetError> {
    let Table { builder, names, mut columns, mut room } = Table::open(file, config)?;
    columns.path = columns.path.or(columns.id);
    columns.split = columns.split.filter(|_| split.is_none());
    let mut list = new_list(file, &builder, &names, &columns, Numbering::Ids);
    if columns.path.is_none() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(list.wrong(Place::Whole, no_path(&names)));
    }
    for batch in batches(file, builder, &columns, None)? {
        let batch = batch?;
        let before = list.paths.len() as u64;
        let texts = Texts::of(&batch, &names, &columns).map_err(|e| wrong_row(file, before, e))?;
        for i in 0..batch.num_rows() {
            let entry =
                texts.entry(i, before, &columns).map_err(|(place, e)| list.wrong(place, e))?;
            room.take(file, entry.path.len())?;
            list.push(&entry)?;
        }
    }
    Ok(list)
}
