//! The formats of lists: each is a file here and a row in [`ALL`].

mod coco;
mod delimited;
mod lines;
pub(in crate::dataset) mod parquet_table;
mod text;

use std::path::Path;

use crate::config::DatasetConfig;
use crate::dataset::error::DatasetError;
use crate::dataset::image_kind::has_picture_extension;
use crate::dataset::labelled::{List, ListError, Place, in_list};

/// A format, which the extension of a file tells.
pub(in crate::dataset) struct Format {
    /// In lower case; the first one goes into messages.
    extensions: &'static [&'static str],
    /// What a file of it is called.
    pub(in crate::dataset) called: &'static str,
    /// Whether each image has a record with named fields: such a file is taken for a list where nobody
    /// says so.
    is_table: bool,
    /// Reads a file, whose paths begin in a folder.
    read: fn(&Path, &Path, &DatasetConfig) -> Result<List, DatasetError>,
}

const ALL: &[Format] = &[
    Format {
        extensions: &["txt", "lst", "list", ""],
        called: "a text file",
        is_table: false,
        read: text::read,
    },
    Format {
        extensions: &["csv"],
        called: "a table of comma-separated values",
        is_table: true,
        read: delimited::read_commas,
    },
    Format {
        extensions: &["tsv"],
        called: "a table of tab-separated values",
        is_table: true,
        read: delimited::read_tabs,
    },
    Format { extensions: &["json"], called: "a file of JSON", is_table: true, read: coco::read },
    Format {
        extensions: &["parquet"],
        called: "a Parquet table",
        is_table: true,
        read: parquet_table::read,
    },
];

fn extension(file: &Path) -> String {
    file.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// The format that the extension of a file tells.
pub(in crate::dataset) fn of(file: &Path) -> Option<&'static Format> {
    let extension = extension(file);
    ALL.iter().find(|format| format.extensions.contains(&extension.as_str()))
}

/// Whether a file has the extension of a table.
pub(in crate::dataset) fn is_table(file: &Path) -> bool {
    of(file).is_some_and(|format| format.is_table)
}

/// `.txt, .csv or .parquet`
pub(super) fn extensions() -> String {
    let all: Vec<String> = ALL.iter().map(|format| format!(".{}", format.extensions[0])).collect();
    let [first @ .., last] = all.as_slice() else { return String::new() };
    format!("{} or {last}", first.join(", "))
}

/// Reads one list by its extension; its paths begin in `root`.
pub(super) fn read(file: &Path, root: &Path, config: &DatasetConfig) -> Result<List, DatasetError> {
    if !file.is_file() {
        let expected = "a list of images: beside the pipeline file, or inside dataset.path".into();
        return Err(DatasetError::Missing { path: file.into(), expected });
    }
    let Some(format) = of(file) else {
        let wrong = match has_picture_extension(file) {
            true => ListError::IsImage,
            false => unknown(file),
        };
        return Err(in_list(file, Place::Whole, wrong));
    };
    let list = (format.read)(file, root, config)?;
    if list.paths.is_empty() {
        return Err(list.wrong(Place::Whole, ListError::Empty));
    }
    Ok(list)
}

fn unknown(file: &Path) -> ListError {
    let known: Vec<&str> = ALL.iter().map(|format| format.extensions[0]).collect();
    ListError::UnknownFormat { extension: extension(file), known: known.join(", ") }
}
