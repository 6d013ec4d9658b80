//! Parquet tables: images in the file itself, as the demo's or in the layout of Hugging Face, and lists
//! of image files.

mod bounds;
mod columns;
mod shards;

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use self::columns::{Texts, Wrong};
pub(super) use self::shards::any_in;
use super::decode::Framing;
use super::list::{
    Classes, Columns, Entry, Labels, List, Listed, Lists, Numbering, Place, Sought, SplitName,
    find, in_list, no_path,
};
use super::{DatasetError, Parts, Split};
use crate::config::DatasetConfig;
use crate::panics::caught;
use crate::regular_file;

/// Rows read at a time: images may be large, and what is kept of them is copied.
const BATCH_ROWS: usize = 256;
/// Where Hugging Face's `datasets` says what the columns are.
const FEATURES_KEY: &str = "huggingface";

/// Reads the images of one file or of a folder of shards, encoded, or as files where the table has their
/// paths alone; rows keep their order within a split.
pub(super) fn open(config: &DatasetConfig, framing: Framing) -> Result<Parts, DatasetError> {
    let path = config.path.as_path();
    let shards = shards::of(path)?;
    let images = match shards.first() {
        Some((_, file)) => holds_images(file, config)?,
        None => true,
    };
    if images && !config.path_rewrites.is_empty() {
        let found = "dataset.path_rewrites is set, but the images are in the table itself".into();
        return Err(DatasetError::Table { path: path.into(), found });
    }
    let mut lists = Lists::default();
    lists.note(shards::taken(&shards));
    for (split, file) in shards {
        let list = match images {
            true => read_images(&file, config, split)?,
            false => read_list(&file, config, split)?,
        };
        lists.add(list, split.unwrap_or(SplitName::Train));
    }
    if lists.splits[0].is_empty() {
        let found = "no image of the split train".into();
        return Err(DatasetError::Table { path: path.into(), found });
    }
    let mut notes = vec![];
    if !images {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let mut listed = Listed::of(folder, lists, config)?;
        let what = "the table has paths and no images, which are read as files";
        listed.notes.insert(0, format!("{what} below {}", folder.display()));
        return listed.parts(framing);
    }
    let classes = lists.classes(config.class_order, &mut notes)?;
    let joined = |lists| join(path, framing, &classes, lists);
    let present = |lists: Vec<List>| (!lists.is_empty()).then(|| joined(lists)).transpose();
    let [train, val, test] = lists.splits;
    let (val, test) = (present(val)?, present(test)?);
    let train = joined(train)?;
    let mut parts = Parts::whole(classes.names, train, val, test);
    parts.account.notes = notes;
    Ok(parts)
}

/// Whether the images of a table are in it; not so where it has a column of paths, or Hugging Face's
/// images without bytes.
fn holds_images(file: &Path, config: &DatasetConfig) -> Result<bool, DatasetError> {
    let Table { builder, names, mut columns, .. } = Table::open(file, config)?;
    let image = match columns::image(builder.schema()) {
        Ok(image) => image,
        Err(_) if columns.path.is_some() => return Ok(false),
        Err(found) => return Err(DatasetError::Columns { path: file.into(), found }),
    };
    columns = Columns { path: None, name: None, split: None, ..columns };
    match batches(file, builder, &columns, Some(image))?.next() {
        Some(batch) => Ok(!columns::only_paths(&batch?, &names[image])),
        None => Ok(true),
    }
}

/// Whether a Parquet file holds images, as far as can be seen; one that cannot be read is a table.
pub(super) fn is_table(file: &Path) -> bool {
    holds_images(file, &DatasetConfig::default()).unwrap_or(true)
}

fn join(
    path: &Path,
    framing: Framing,
    classes: &Classes,
    lists: Vec<List>,
) -> Result<Split, DatasetError> {
    let (mut labels, mut paths, mut images) = (vec![], vec![], vec![]);
    for list in lists {
        labels.extend(classes.labels(&list)?);
        paths.extend(list.paths);
        images.extend(list.encoded);
    }
    Ok(Split::encoded(framing, path, labels, paths, images))
}

/// Reads a list of image files; `split` is what the file's name says.
pub(super) fn read_list(
    file: &Path,
    config: &DatasetConfig,
    split: Option<SplitName>,
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

/// Reads a table of images; `split` is what the file's name says.
fn read_images(
    file: &Path,
    config: &DatasetConfig,
    split: Option<SplitName>,
) -> Result<List, DatasetError> {
    let Table { builder, names, mut columns, mut room } = Table::open(file, config)?;
    let table = |found| DatasetError::Columns { path: file.into(), found };
    let image = columns::image(builder.schema()).map_err(table)?;
    columns.path = columns.path.filter(|&path| path != image);
    columns.split = columns.split.filter(|_| split.is_none());
    let mut list = new_list(file, &builder, &names, &columns, Numbering::Dense);
    let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for batch in batches(file, builder, &columns, Some(image))? {
        let batch = batch?;
        let before = list.paths.len() as u64;
        let wrong = |e| wrong_row(file, before, e);
        let texts = Texts::of(&batch, &names, &columns).map_err(wrong)?;
        let images = columns::images(&batch, &names[image]).map_err(wrong)?;
        for (i, (bytes, path)) in images.into_iter().enumerate() {
            let entry =
                texts.entry(i, before, &columns).map_err(|(place, e)| list.wrong(place, e))?;
            let made = || format!("{file_name}#{}", before + i as u64);
            let path = match entry.path {
                "" => path.filter(|path| !path.is_empty()).unwrap_or_else(made),
                path => path.into(),
            };
            room.take(file, path.len() + bytes.len())?;
            list.push(&Entry { path: &path, ..entry })?;
            list.encoded.push(bytes);
        }
    }
    Ok(list)
}

/// A list of no image yet, with the classes that the table declares.
fn new_list(
    file: &Path,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    names: &[String],
    columns: &Columns,
    numbering: Numbering,
) -> List {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut list = match (&columns.label, declared_classes(builder, columns)) {
        (Labels::OneHot(columns), _) => {
            let classes: Vec<&str> = columns.iter().map(|&column| names[column]).collect();
            List::of_classes(file, &classes, Place::Row)
        }
        (_, Some(classes)) => List::declared(file, classes, Place::Row),
        (_, None) => List::new(file, numbering, Place::Row),
    };
    list.notes = columns.notes(&names);
    list
}

/// A Parquet file whose columns were found.
struct Table {
    builder: ParquetRecordBatchReaderBuilder<File>,
    names: Vec<String>,
    columns: Columns,
    room: Room,
}

/// What a file may still take in memory: a dictionary can give millions of rows the same large image.
struct Room {
    rows: u64,
    bytes: u64,
}

impl Room {
    /// Of a file of `bytes`.
    fn of(bytes: u64) -> Self {
        const SLACK_BYTES: u64 = 1 << 26;
        // A thousandfold: images are compressed already.
        Self { rows: bytes, bytes: bytes.saturating_mul(1 << 10).saturating_add(SLACK_BYTES) }
    }

    /// Takes a row that takes so many bytes.
    fn take(&mut self, file: &Path, bytes: usize) -> Result<(), DatasetError> {
        let left = self.bytes.checked_sub(bytes as u64).zip(self.rows.checked_sub(1));
        let found = || "rows of more bytes than the file can hold".into();
        let left = left.ok_or_else(|| DatasetError::Table { path: file.into(), found: found() });
        (self.bytes, self.rows) = left?;
        Ok(())
    }
}

impl Table {
    fn open(file: &Path, config: &DatasetConfig) -> Result<Self, DatasetError> {
        let (opened, bytes) = regular_file::open(file)
            .map_err(|source| DatasetError::Read { path: file.into(), source })?;
        let builder = bounds::check(&opened, bytes)
            .and_then(|()| caught(|| ParquetRecordBatchReaderBuilder::try_new(opened)))
            .and_then(|builder| builder.map_err(|e| e.to_string()))
            .map_err(|found| DatasetError::Table { path: file.into(), found })?
            .with_batch_size(BATCH_ROWS);
        let names: Vec<String> =
            builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let header: Vec<&str> = names.iter().map(String::as_str).collect();
        let wrong = |wrong| in_list(file, Place::Whole, wrong);
        let look = |sought: &mut dyn Sought| {
            columns::keep_scalars(sought, builder.schema());
            for batch in rows(file, reopened(file)?, sought.columns())? {
                columns::look(sought, &batch?, &header);
                if sought.columns().is_empty() {
                    break;
                }
            }
            Ok(())
        };
        let columns = find(config, &header, look, wrong)?;
        Ok(Self { builder, names, columns, room: Room::of(bytes) })
    }
}

/// The file, which was checked, once more.
fn reopened(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, DatasetError> {
    let (opened, _) = regular_file::open(file)
        .map_err(|source| DatasetError::Read { path: file.into(), source })?;
    caught(|| ParquetRecordBatchReaderBuilder::try_new(opened))
        .and_then(|builder| builder.map_err(|e| e.to_string()))
        .map_err(|found| DatasetError::Table { path: file.into(), found })
        .map(|builder| builder.with_batch_size(BATCH_ROWS))
}

/// The rows of the columns that are used.
fn batches(
    file: &Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
    columns: &Columns,
    image: Option<usize>,
) -> Result<impl Iterator<Item = Result<RecordBatch, DatasetError>>, DatasetError> {
    let mut used = match &columns.label {
        Labels::Column(label) => vec![*label],
        Labels::OneHot(columns) => columns.clone(),
    };
    used.extend([columns.path, columns.name, columns.split, image].into_iter().flatten());
    rows(file, builder, used)
}

/// The rows of some columns.
fn rows(
    file: &Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
    used: Vec<usize>,
) -> Result<impl Iterator<Item = Result<RecordBatch, DatasetError>> + use<>, DatasetError> {
    let path = file.to_path_buf();
    let unreadable = move |found: String| DatasetError::Table { path: path.clone(), found };
    let mask = ProjectionMask::roots(builder.parquet_schema(), used);
    let reader = caught(|| builder.with_projection(mask).build())
        .and_then(|reader| reader.map_err(|e| e.to_string()))
        .map_err(&unreadable)?;
    let mut reader = Some(reader);
    Ok(std::iter::from_fn(move || {
        let mut decoder = reader.take()?;
        match caught(move || (decoder.next(), decoder)) {
            Ok((batch, decoder)) => {
                reader = Some(decoder);
                Some(batch?.map_err(|e| unreadable(e.to_string())))
            }
            Err(panic) => Some(Err(unreadable(panic))),
        }
    }))
}

fn wrong_row(file: &Path, before: u64, Wrong { row, found }: Wrong) -> DatasetError {
    let path = file.into();
    match row {
        Some(row) => {
            let found = format!("row {}: {found}", before + row as u64 + 1);
            DatasetError::Table { path, found }
        }
        None => DatasetError::Columns { path, found },
    }
}

/// Names of the classes 0 to C - 1, where Hugging Face's metadata has them and labels are numbers.
fn declared_classes(
    builder: &ParquetRecordBatchReaderBuilder<File>,
    columns: &Columns,
) -> Option<Vec<String>> {
    let Labels::Column(label) = columns.label else { return None };
    let field = builder.schema().field(label);
    if !field.data_type().is_integer() {
        return None;
    }
    let metadata = builder.metadata().file_metadata().key_value_metadata()?;
    let features = metadata.iter().find(|entry| entry.key == FEATURES_KEY)?.value.as_ref()?;
    let features: Value = serde_json::from_str(features).ok()?;
    let names = features["info"]["features"][field.name().as_str()]["names"].as_array()?;
    names.iter().map(|name| name.as_str().map(String::from)).collect()
}
