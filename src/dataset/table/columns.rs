//! The columns of a Parquet table as text and as encoded images, whatever types a writer gave them.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;

use crate::dataset::labelled::{Columns, Entry, Labels, ListError, Place, Sought, class_of};

/// Names that columns of images have.
const IMAGES: [&str; 7] = ["image", "img", "picture", "photo", "jpg", "jpeg", "png"];
/// Fields of Hugging Face's images.
const BYTES: &str = "bytes";
const PATH: &str = "path";

/// What is wrong with a column, and in which of the rows at hand.
pub(in crate::dataset) struct Wrong {
    pub(in crate::dataset) row: Option<usize>,
    pub(in crate::dataset) found: String,
}

/// Columns of some rows as text.
pub(in crate::dataset) struct Texts {
    path: Option<StringArray>,
    /// The column of labels, or those of the classes, with their names.
    labels: Vec<(String, StringArray)>,
    name: Option<StringArray>,
    split: Option<StringArray>,
}

impl Texts {
    /// The columns of `batch`, which holds those that `columns` finds among `names`.
    pub(in crate::dataset) fn of(
        batch: &RecordBatch,
        names: &[String],
        columns: &Columns,
    ) -> Result<Self, Wrong> {
        let text = |column: usize| text(batch, &names[column]);
        let labels = match &columns.label {
            Labels::Column(label) => vec![(names[*label].clone(), text(*label)?)],
            Labels::OneHot(columns) => columns
                .iter()
                .map(|&column| Ok((names[column].clone(), lenient(batch, &names[column])?)))
                .collect::<Result<_, Wrong>>()?,
        };
        Ok(Self {
            path: columns.path.map(|column| paths(batch, &names[column])).transpose()?,
            labels,
            name: columns.name.map(text).transpose()?,
            split: columns.split.map(text).transpose()?,
        })
    }

    /// What row `i`, with `before` rows of the table before these, says; its path is empty where no
    /// column has paths.
    pub(in crate::dataset) fn entry(
        &self,
        i: usize,
        before: u64,
        columns: &Columns,
    ) -> Result<Entry<'_>, (Place, ListError)> {
        let number = before + i as u64 + 1;
        let label = match columns.label {
            Labels::Column(_) => self.labels[0].1.value(i),
            Labels::OneHot(_) => {
                let fields = self.labels.iter().map(|(name, text)| (name.as_str(), text.value(i)));
                class_of(fields).map_err(|wrong| (Place::Row(number), wrong))?
            }
        };
        let split = self.split.as_ref().map(|split| columns.split_word(split.value(i)));
        Ok(Entry {
            path: self.path.as_ref().map_or("", |path| path.value(i)),
            label,
            name: self.name.as_ref().map(|name| name.value(i)),
            split,
            number,
        })
    }
}

/// Leaves out columns whose values are neither text nor numbers.
pub(super) fn keep_scalars(sought: &mut dyn Sought, schema: &Schema) {
    sought.retain(&|column| is_scalar(schema.field(column).data_type()));
}

/// Passes rows to columns that are known by their values.
pub(super) fn pass_rows(sought: &mut dyn Sought, batch: &RecordBatch, names: &[&str]) {
    let texts: HashMap<usize, StringArray> = sought
        .columns()
        .into_iter()
        .filter_map(|column| Some((column, lenient(batch, names[column]).ok()?)))
        .collect();
    // What is not text is not known either.
    let field = |row: usize, column: usize| texts.get(&column).map_or("?", |text| text.value(row));
    (0..batch.num_rows()).for_each(|row| sought.row(&|column| field(row, column)));
}

/// A column as text, whatever its values; nulls are empty.
fn lenient(batch: &RecordBatch, name: &str) -> Result<StringArray, Wrong> {
    let column = column(batch, name)?;
    let wrong = || Wrong { row: None, found: format!("column `{name}` is {}", column.data_type()) };
    if !is_scalar(column.data_type()) {
        return Err(wrong());
    }
    let text = cast(column, &DataType::Utf8).map_err(|_| wrong())?;
    Ok(text.as_string::<i32>().iter().map(|text| Some(text.unwrap_or_default())).collect())
}

/// The paths of a column of text, or of images that have no bytes.
fn paths(batch: &RecordBatch, name: &str) -> Result<StringArray, Wrong> {
    let Some(group) = column(batch, name)?.as_struct_opt() else { return text(batch, name) };
    let wrong = |row, found| Wrong { row, found };
    let in_table = "has bytes, not paths: such a table is of dataset.kind = \"parquet\"";
    let paths = own_paths(group).filter(|_| only_paths(batch, name));
    let paths = paths.ok_or_else(|| wrong(None, format!("column `{name}` {in_table}")))?;
    match (0..paths.len()).find(|&row| paths.is_null(row)) {
        None => Ok(paths),
        row => Err(wrong(row, format!("neither bytes nor a path in column `{name}`"))),
    }
}

/// Whether the images of a column have paths and no bytes.
pub(in crate::dataset) fn only_paths(batch: &RecordBatch, name: &str) -> bool {
    let group = batch.column_by_name(name).and_then(|column| column.as_struct_opt());
    let Some(group) = group.filter(|group| !group.is_empty()) else { return false };
    let no_bytes =
        group.column_by_name(BYTES).is_none_or(|bytes| bytes.null_count() == bytes.len());
    no_bytes && own_paths(group).is_some_and(|paths| paths.null_count() < paths.len())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Wrong> {
    let found = || Wrong { row: None, found: format!("no column `{name}`") };
    batch.column_by_name(name).ok_or_else(found)
}

fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, Wrong> {
    let column = column(batch, name)?;
    let wrong = |found: String| Wrong { row: None, found };
    if !is_scalar(column.data_type()) {
        return Err(wrong(format!(
            "column `{name}` is {}, not text or integers{}",
            column.data_type(),
            if holds_images(column.data_type()) {
                ": images in a table are of dataset.kind = \"parquet\""
            } else {
                ""
            }
        )));
    }
    let text = cast(column, &DataType::Utf8).map_err(|e| wrong(format!("column `{name}`: {e}")))?;
    let text = text.as_string::<i32>().clone();
    if let Some(row) = (0..text.len()).find(|&i| text.is_null(i)) {
        return Err(Wrong { row: Some(row), found: format!("a null in column `{name}`") });
    }
    // Programs write integers as such where some are missing.
    let fraction = |i: &usize| text.value(*i).strip_suffix(".0").is_none();
    match (0..text.len()).filter(|_| column.data_type().is_floating()).find(fraction) {
        None => Ok(text),
        Some(row) => Err(Wrong {
            row: Some(row),
            found: format!("{} in column `{name}`, not text or an integer", text.value(row)),
        }),
    }
}

fn is_scalar(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_scalar(values),
        kind => is_text(kind) || kind.is_numeric() || *kind == DataType::Boolean,
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The column of images: of a known name, or the only one of such a type.
pub(in crate::dataset) fn image(schema: &Schema) -> Result<usize, String> {
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
pub(in crate::dataset) fn images(
    batch: &RecordBatch,
    name: &str,
) -> Result<Vec<(Bytes, Option<String>)>, Wrong> {
    let column = column(batch, name)?;
    let group = column.as_struct_opt();
    let encoded = group.and_then(|group| group.column_by_name(BYTES)).unwrap_or(column);
    let null = |row: usize| Wrong {
        row: Some(row),
        found: format!("no bytes in column `{name}`, where rows before it have some"),
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
    let paths = group.column_by_name(PATH).filter(|paths| is_text(paths.data_type()))?;
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
