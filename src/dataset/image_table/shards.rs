//! Which Parquet files of a folder hold which split, as Hugging Face names them:
//! `train-00000-of-00002.parquet`, `test.parquet`, `validation/0000.parquet`, also below `data/` or the
//! folder of a configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::dataset::error::DatasetError;
use crate::dataset::walk;
use crate::domain::Split;

/// One file, whose rows say their split, or the files of a folder, in order of their names.
pub(super) fn of(path: &Path) -> Result<Vec<(Option<Split>, PathBuf)>, DatasetError> {
    if path.is_file() {
        return Ok(vec![(None, path.into())]);
    }
    for folder in [path.to_path_buf(), path.join("data")] {
        if folder.is_dir() {
            let shards = in_folder(&folder)?;
            if !shards.is_empty() {
                return Ok(shards);
            }
        }
    }
    match configurations(path).as_slice() {
        [] => {
            let expected =
                "a Parquet file of images, or a folder of train-*.parquet and test-*.parquet";
            Err(DatasetError::Missing { path: path.into(), expected: expected.into() })
        }
        [only] => in_folder(only),
        several => Err(DatasetError::Configurations {
            path: path.into(),
            names: several
                .iter()
                .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into()))
                .collect(),
        }),
    }
}

/// The folders of a folder that have shards themselves: one for each of Hugging Face's configurations.
fn configurations(path: &Path) -> Vec<PathBuf> {
    let names = if path.is_dir() { walk::names(path).unwrap_or_default() } else { vec![] };
    let folders = names.into_iter().map(|name| path.join(name)).filter(|folder| folder.is_dir());
    folders.filter(|folder| has_shards(&in_folder(folder))).collect()
}

/// Whether a folder has shards of a table, itself, below `data/` or in a configuration's folder; with
/// `Some(false)`, there are Parquet files, but something is wrong with them.
pub(in crate::dataset) fn any_in(folder: &Path) -> Option<bool> {
    let found = if folder.is_dir() { of(folder) } else { return None };
    has_shards(&found).then_some(found.is_ok())
}

/// Whether there are shards, sound or not.
fn has_shards(found: &Result<Vec<(Option<Split>, PathBuf)>, DatasetError>) -> bool {
    match found {
        Ok(shards) => !shards.is_empty(),
        Err(e) => matches!(e, DatasetError::Table { .. } | DatasetError::Configurations { .. }),
    }
}

fn in_folder(folder: &Path) -> Result<Vec<(Option<Split>, PathBuf)>, DatasetError> {
    let mut shards = vec![];
    let mut stray = None;
    for name in walk::names(folder)? {
        let path = folder.join(&name);
        if path.is_dir() {
            let files = walk::names(&path)?.into_iter().map(|name| path.join(name));
            let files: Vec<PathBuf> = files.filter(|file| is_parquet(file)).collect();
            match Split::of(&name) {
                Some(split) => shards.extend(files.into_iter().map(|file| (split, file))),
                None if files.is_empty() => {}
                None => stray = Some(path),
            }
        } else if is_parquet(&path) {
            shards.push((split_of(&path, &name)?, path));
        }
    }
    // Below a folder without shards it may be a configuration's.
    if let Some(path) = stray.filter(|_| !shards.is_empty()) {
        let found = "a folder of Parquet files whose name is not a split (train, validation, test)";
        return Err(DatasetError::Table { path, found: found.into() });
    }
    for split in [Split::Train, Split::Val, Split::Test] {
        let files: Vec<&PathBuf> =
            shards.iter().filter(|(of, _)| *of == split).map(|(_, file)| file).collect();
        whole(folder, &files)?;
        without_gap(folder, &files)?;
    }
    Ok(shards.into_iter().map(|(split, file)| (Some(split), file)).collect())
}

/// What the names of files or of their folders were taken for.
pub(super) fn taken(shards: &[(Option<Split>, PathBuf)]) -> Option<String> {
    let word = |(split, file): &'_ (Option<Split>, PathBuf)| {
        let name = file.file_name()?.to_str()?;
        let word = first_word(name);
        let folder = || file.parent()?.file_name()?.to_str();
        let own = Split::of(word).is_some();
        Some((if own { word } else { folder()? }.to_string(), (*split)?))
    };
    let words: BTreeSet<(String, Split)> = shards.iter().filter_map(word).collect();
    Split::taken(words.iter().map(|(word, split)| (word.as_str(), *split)))
}

fn first_word(name: &str) -> &str {
    name.split(['-', '_', '.']).next().unwrap_or_default()
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

fn split_of(path: &Path, name: &str) -> Result<Split, DatasetError> {
    let word = first_word(name);
    Split::of(word).ok_or_else(|| DatasetError::Table {
        path: path.into(),
        found: format!(
            "its name begins with `{word}`, which is not a split (train, validation, test)\n  Give the file itself, or name it as a split."
        ),
    })
}

/// Refuses a split of which a shard is missing.
fn whole(folder: &Path, files: &[&PathBuf]) -> Result<(), DatasetError> {
    let mut numbered: Vec<(u64, u64, &PathBuf)> = files
        .iter()
        .filter_map(|file| shard_number(file).map(|(number, total)| (total, number, *file)))
        .collect();
    numbered.sort_unstable();
    let wrong = |found| Err(DatasetError::Table { path: folder.into(), found });
    for (&(total, number, file), expected) in numbered.iter().zip(0..) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if total != numbered[0].0 || number < expected {
            return wrong(format!("{name} is a shard of another export than the files before it"));
        }
        if number > expected {
            return wrong(format!(
                "shard {expected} of {total} is missing; the next one is {name}"
            ));
        }
    }
    match numbered.last() {
        Some((total, number, file)) if number + 1 != *total => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            wrong(format!("{name} is the last shard; expected {total}"))
        }
        _ => Ok(()),
    }
}

/// Refuses a split of which a shard is missing where names have no total: `train/0000.parquet`, as Hugging
/// Face converts tables, and `train-00000.parquet`.
fn without_gap(folder: &Path, files: &[&PathBuf]) -> Result<(), DatasetError> {
    let mut numbered: Vec<(bool, u64, &PathBuf)> = files
        .iter()
        .filter_map(|file| plain_number(file).map(|(alone, number)| (alone, number, *file)))
        .collect();
    numbered.sort_unstable();
    for group in numbered.chunk_by(|a, b| a.0 == b.0) {
        // Some programs count from 1.
        let first = if group[0].0 { 0 } else { group[0].1.min(1) };
        let gap = group.iter().zip(first..).find(|((_, number, _), expected)| number > expected);
        if let Some((&(_, _, file), missing)) = gap {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let found = format!("shard {missing:04} is missing; the next one is {name}");
            let folder = file.parent().unwrap_or(folder).into();
            return Err(DatasetError::Table { path: folder, found });
        }
    }
    Ok(())
}

/// 1 of `0001.parquet` and of `train-0001.parquet`, and whether the number stands alone.
fn plain_number(file: &Path) -> Option<(bool, u64)> {
    let stem = file.file_stem()?.to_str()?;
    let digits = stem.rsplit(['-', '_']).next()?;
    let rest = stem[..stem.len() - digits.len()].trim_end_matches(['-', '_']);
    let is_number = digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_shard = is_number && (rest.is_empty() || Split::of(rest).is_some());
    Some((rest.is_empty(), digits.parse().ok().filter(|_| is_shard)?))
}

/// 1 and 5 of `train-00001-of-00005-0a1b2c.parquet`.
fn shard_number(file: &Path) -> Option<(u64, u64)> {
    let stem = file.file_stem()?.to_str()?;
    let parts: Vec<&str> = stem.split('-').collect();
    let at = parts.iter().position(|part| *part == "of")?;
    let number = |at: usize| parts.get(at)?.parse().ok();
    Some((number(at.checked_sub(1)?)?, number(at + 1)?))
}
