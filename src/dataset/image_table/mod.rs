//! Parquet tables: images in the file itself, as the demo's or in the layout of Hugging Face, or paths of
//! image files.

mod shards;

use std::path::Path;

pub(super) use self::shards::any_in;
use super::decode::Framing;
use super::error::DatasetError;
use super::labelled::{Classes, Columns, Entry, List, Lists, Numbering};
use super::list::Listed;
use super::list::formats::parquet_table::read_list;
use super::parts::Parts;
use super::split_images::SplitImages;
use super::table::{self, Table, Texts, batches, new_list, wrong_row};
use crate::config::DatasetConfig;
use crate::domain::Split;

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
        lists.add(list, split.unwrap_or(Split::Train));
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

/// Whether the images of a table are in it, which is false where it has a column of paths, or Hugging Face's
/// images without bytes.
fn holds_images(file: &Path, config: &DatasetConfig) -> Result<bool, DatasetError> {
    let Table { builder, names, mut columns, .. } = Table::open(file, config)?;
    let image = match table::image(builder.schema()) {
        Ok(image) => image,
        Err(_) if columns.path.is_some() => return Ok(false),
        Err(found) => return Err(DatasetError::Columns { path: file.into(), found }),
    };
    columns = Columns { path: None, name: None, split: None, ..columns };
    match batches(file, builder, &columns, Some(image))?.next() {
        Some(batch) => Ok(!table::only_paths(&batch?, &names[image])),
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
) -> Result<SplitImages, DatasetError> {
    let (mut labels, mut paths, mut images) = (vec![], vec![], vec![]);
    for list in lists {
        labels.extend(classes.labels(&list)?);
        paths.extend(list.paths);
        images.extend(list.encoded);
    }
    Ok(SplitImages::encoded(framing, path, labels, paths, images))
}

/// Reads a table of images; `split` is what the file's name says.
fn read_images(
    file: &Path,
    config: &DatasetConfig,
    split: Option<Split>,
) -> Result<List, DatasetError> {
    let Table { builder, names, mut columns, mut room } = Table::open(file, config)?;
    let table = |found| DatasetError::Columns { path: file.into(), found };
    let image = table::image(builder.schema()).map_err(table)?;
    columns.path = columns.path.filter(|&path| path != image);
    columns.split = columns.split.filter(|_| split.is_none());
    let mut list = new_list(file, &builder, &names, &columns, Numbering::Dense);
    let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for batch in batches(file, builder, &columns, Some(image))? {
        let batch = batch?;
        let before = list.paths.len() as u64;
        let wrong = |e| wrong_row(file, before, e);
        let texts = Texts::of(&batch, &names, &columns).map_err(wrong)?;
        let images = table::images(&batch, &names[image]).map_err(wrong)?;
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
