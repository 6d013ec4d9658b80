//! The columns of a Parquet table as text and as encoded images, whatever types a writer gave them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;

use crate::dataset::list::{Columns, Entry};

/// Names that columns of images have.
const IMAGES: [&str; 7] = ["image", "img", "picture", "photo", "jpg", "jpeg", "png"];
/// Fields of Hugging Face's images.
const BYTES: &str = "bytes";
const PATH: &str = "path";

/// What is wrong with a column, and in which of the rows at hand.
pub(super) struct Wrong {
    pub(super) row: Option<usize>,
    pub(super) found: String,
}

/// Columns of some rows as text.
pub(super) struct Texts {
    path: Option<StringArray>,
    label: StringArray,
    name: Option<StringArray>,
    split: Option<StringArray>,
}

impl Texts {
    /// The columns of `batch`, which holds those that `columns` finds among `names`.
    pub(super) fn of(
        batch: &RecordBatch,
        names: &[String],
        columns: &Columns,
    ) -> Result<Self, Wrong> {
        let text = |column: usize| text(batch, &names[column]);
        Ok(Self {
            path: columns.path.map(text).transpose()?,
            label: text(columns.label)?,
            name: columns.name.map(text).transpose()?,
            split: columns.split.map(text).transpose()?,
        })
    }

    /// What row `i`, with `before` rows of the table before these, says; its path is empty where no
    /// column has paths.
    pub(super) fn entry(&self, i: usize, before: u64) -> Entry<'_> {
        Entry {
            path: self.path.as_ref().map_or("", |path| path.value(i)),
            label: self.label.value(i),
            name: self.name.as_ref().map(|name| name.value(i)),
            split: self.split.as_ref().map(|split| split.value(i)),
            number: before + i as u64 + 1,
        }
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Wrong> {
    let found = || Wrong { row: None, found: format!("no column `{name}`") };
    batch.column_by_name(name).ok_or_else(found)
}

fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, Wrong> {
    let column = column(batch, name)?;
    let wrong = |found: String| Wrong { row: None, found };
    if !is_text_or_integer(column.data_type()) {
        return Err(wrong(format!(
            "column `{name}` is {}, not text or integers",
            column.data_type()
        )));
    }
    let text = cast(column, &DataType::Utf8).map_err(|e| wrong(format!("column `{name}`: {e}")))?;
    let text = text.as_string::<i32>().clone();
    match (0..text.len()).find(|&i| text.is_null(i)) {
        None => Ok(text),
        Some(row) => Err(Wrong { row: Some(row), found: format!("a null in column `{name}`") }),
    }
}

fn is_text_or_integer(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text_or_integer(values),
        kind => kind.is_integer(),
    }
}

/// The column of images: of a known name, or the only one of such a type.
pub(super) fn image(schema: &Schema) -> Result<usize, String> {
    let fields = schema.fields();
    let images: Vec<usize> =
        (0..fields.len()).filter(|&i| holds_images(fields[i].data_type())).collect();
    let called =
        |name: &&str| images.iter().find(|&&i| fields[i].name().eq_ignore_ascii_case(name));
    match (IMAGES.iter().find_map(called), images.as_slice()) {
        (Some(&named), _) => Ok(named),
        (None, &[only]) => Ok(only),
        (None, []) => Err("no column `image`, nor another one of bytes".into()),
        (None, _) => Err("several columns of bytes, none of them called `image`".into()),
    }
}

fn holds_images(kind: &DataType) -> bool {
    match kind {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Struct(fields) => {
            fields.iter().any(|field| field.name() == BYTES && is_binary(field.data_type()))
        }
        _ => false,
    }
}

fn is_binary(kind: &DataType) -> bool {
    !matches!(kind, DataType::Struct(_)) && holds_images(kind)
}

/// Each image of some rows, encoded, with the path that it has in the column itself.
pub(super) fn images(
    batch: &RecordBatch,
    name: &str,
) -> Result<Vec<(Bytes, Option<String>)>, Wrong> {
    let column = column(batch, name)?;
    let group = column.as_struct_opt();
    let encoded = group.and_then(|group| group.column_by_name(BYTES)).unwrap_or(column);
    let null = |row: usize| Wrong {
        row: Some(row),
        found: format!(
            "no bytes in column `{name}`; images that are files of their own are a list"
        ),
    };
    let bytes = binary(encoded);
    let paths = group.and_then(own_paths);
    bytes
        .into_iter()
        .enumerate()
        .map(|(row, bytes)| {
            let valid = column.is_valid(row);
            let path = paths.as_ref().filter(|paths| paths.is_valid(row));
            let path = path.map(|paths| paths.value(row).to_string());
            Ok((bytes.filter(|_| valid).ok_or_else(|| null(row))?, path))
        })
        .collect()
}

fn own_paths(group: &StructArray) -> Option<StringArray> {
    let paths = group.column_by_name(PATH).filter(|paths| is_text_or_integer(paths.data_type()))?;
    Some(cast(paths, &DataType::Utf8).ok()?.as_string::<i32>().clone())
}

/// The values of a column of bytes, copied out of the file's pages.
fn binary(column: &ArrayRef) -> Vec<Option<Bytes>> {
    let copied = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    if let Some(bytes) = column.as_binary_opt::<i32>() {
        return bytes.iter().map(copied).collect();
    }
    if let Some(bytes) = column.as_binary_opt::<i64>() {
        return bytes.iter().map(copied).collect();
    }
    match column.as_binary_view_opt() {
        Some(bytes) => bytes.iter().map(copied).collect(),
        None => vec![None; column.len()],
    }
}
