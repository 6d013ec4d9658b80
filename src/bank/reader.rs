//! Reading a bank: the rows without their maps all at once, the maps of chosen rows as a stream.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelectionPolicy, RowSelector,
};
use parquet::file::metadata::ParquetMetaData;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::manifest::{Manifest, SplitEntry};
use super::schema::MAP_COLUMN;
use super::verified::{VerifiedShard, read_whole};
use super::{BankError, CLASSES_FILE, CLASSIFIER_FILE};
use crate::domain::{ClassCounts, LinearHead};
use crate::weights::Weights;

/// A split of a bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitName {
    /// With maps.
    Train,
    /// Held out by the dataset; not every bank has it.
    Val,
    /// For the final accuracy.
    Test,
}

impl SplitName {
    /// Its name in the manifest and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// An open bank: manifest, classes and Phase-I classifier, all checked.
pub struct Bank {
    dir: PathBuf,
    /// What the bank says of itself.
    pub manifest: Manifest,
    /// sha256 of the manifest, which names the bank: it covers every other file.
    pub id: String,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Training images of each class.
    pub class_counts: ClassCounts,
    /// The Phase-I classifier.
    pub head: LinearHead,
}

/// The rows of a split without their maps, in order of (sample, view) whatever the shards' order.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    /// Index of the image in its split.
    pub sample_ids: Vec<u32>,
    /// View of the image; 0 is clean.
    pub views: Vec<u32>,
    /// True class.
    pub labels: Vec<u32>,
    /// [n, K].
    pub pooled: Vec<f32>,
    /// [n, L], training rows only.
    pub cam: Vec<f32>,
    /// [n, L], training rows only.
    pub nonzero: Vec<bool>,
    /// Where each row is on disk.
    positions: Vec<Position>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    shard: u32,
    row_group: u32,
    row: u32,
}

impl Rows {
    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Labels and pooled vectors of the clean views (view 0), one row an image.
    pub fn clean(&self) -> (Vec<u32>, Vec<f32>) {
        let clean: Vec<usize> = (0..self.len()).filter(|&row| self.views[row] == 0).collect();
        let labels = clean.iter().map(|&row| self.labels[row]).collect();
        (labels, clean.iter().flat_map(|&row| self.pooled_of(row)).copied().collect())
    }

    /// [K] of one row.
    pub fn pooled_of(&self, row: usize) -> &[f32] {
        let channels = self.pooled.len() / self.len();
        &self.pooled[row * channels..][..channels]
    }

    /// [L] of one row.
    pub fn cam_of(&self, row: usize) -> &[f32] {
        let locations = self.cam.len() / self.len();
        &self.cam[row * locations..][..locations]
    }

    /// [L] of one row.
    pub fn nonzero_of(&self, row: usize) -> &[bool] {
        let locations = self.nonzero.len() / self.len();
        &self.nonzero[row * locations..][..locations]
    }
}

/// Rows of one request at most, so that several threads have work in one row group.
const REQUEST_ROWS: usize = 512;

/// Rows whose maps are wanted, grouped by where they are on disk.
pub struct MapRequest {
    shard: usize,
    row_group: usize,
    /// (row within the group, row in [`Rows`]), ascending.
    rows: Vec<(usize, usize)>,
}

impl MapRequest {
    /// The rows (indices into [`Rows`]) in the order their maps will come.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|(_, row)| *row)
    }
}

impl Bank {
    /// Opens a bank. No shard is read yet.
    ///
    /// # Errors
    /// The folder is no finished bank, a file is damaged, or the classifier is not the bank's.
    pub fn open(dir: &Path) -> Result<Self, BankError> {
        let (manifest, manifest_bytes) = Manifest::load(dir)?;
        let content = |name: &str| {
            let entry = manifest.files.get(name).ok_or_else(|| BankError::Manifest {
                path: dir.join(super::MANIFEST_FILE),
                found: format!("no entry for {name}"),
            })?;
            read_whole(dir, name, entry.bytes, entry.xxh3)
        };
        let path = dir.join(CLASSIFIER_FILE);
        // A classifier that was put in place of the bank's is whole, so its own hash goes first.
        let weights = Weights::load(&path)?;
        let found = weights.sha256();
        if found != manifest.classifier_sha256 {
            let expected = manifest.classifier_sha256;
            return Err(BankError::OtherClassifier { path, found, expected });
        }
        content(CLASSIFIER_FILE)?;
        let (classes, channels) = (manifest.dataset.classes, manifest.feature_shape.channels);
        let head = weights.linear_head(classes, channels, &path)?;
        let (class_names, class_counts) =
            read_classes(&dir.join(CLASSES_FILE), content(CLASSES_FILE)?, classes)?;
        let id = crate::hex(&Sha256::digest(&manifest_bytes));
        Ok(Self { dir: dir.into(), manifest, id, class_names, class_counts, head })
    }

    /// The bank's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the bank has a split.
    pub fn has(&self, split: SplitName) -> bool {
        self.manifest.splits.contains_key(split.name())
    }

    fn split(&self, split: SplitName) -> Result<&SplitEntry, BankError> {
        self.manifest.splits.get(split.name()).ok_or_else(|| BankError::Manifest {
            path: self.dir.join(super::MANIFEST_FILE),
            found: format!("this bank has no split `{}`", split.name()),
        })
    }

    /// All rows of a split without their maps.
    ///
    /// # Errors
    /// A shard is damaged or breaks the contract.
    ///
    /// # Cost
    /// n · (K + 2 L) values in memory; `feature_map` is not read.
    pub fn rows(&self, split: SplitName) -> Result<Rows, BankError> {
        let entry = self.split(split)?;
        let mut tasks = vec![];
        for (shard, shard_entry) in entry.shards.iter().enumerate() {
            let (file, metadata) = VerifiedShard::open(&self.dir, shard_entry)?;
            tasks.extend(
                (0..metadata.num_row_groups())
                    .map(|group| (shard, group, file.clone(), metadata.clone())),
            );
        }
        let parts: Vec<Rows> = tasks
            .into_par_iter()
            .map(|(shard, group, file, metadata)| {
                self.read_group(split, shard, group, file, metadata)
            })
            .collect::<Result<_, _>>()?;
        let mut rows = Rows::default();
        for part in parts {
            rows.sample_ids.extend(part.sample_ids);
            rows.views.extend(part.views);
            rows.labels.extend(part.labels);
            rows.pooled.extend(part.pooled);
            rows.cam.extend(part.cam);
            rows.nonzero.extend(part.nonzero);
            rows.positions.extend(part.positions);
        }
        self.check_rows(split, &rows)?;
        Ok(in_order(rows))
    }

    fn read_group(
        &self,
        split: SplitName,
        shard: usize,
        group: usize,
        file: VerifiedShard,
        metadata: Arc<ParquetMetaData>,
    ) -> Result<Rows, BankError> {
        let shape = self.manifest.feature_shape;
        let mut names = vec!["sample_id", "view", "label", "pooled"];
        if split == SplitName::Train {
            names.extend(["cam", "nonzero"]);
        }
        let mut rows = Rows::default();
        for batch in open_group(&file, metadata, group, &names, None)? {
            let batch = batch.map_err(|e| file.decode_error(&e))?;
            let wrong = |found| file.content(found, "the columns of schemas/bank-v1.md".into());
            rows.sample_ids.extend(ids(&batch, "sample_id").map_err(wrong)?);
            rows.views.extend(ids(&batch, "view").map_err(wrong)?);
            rows.labels.extend(ids(&batch, "label").map_err(wrong)?);
            rows.pooled.extend_from_slice(floats(&batch, "pooled", shape.channels).map_err(wrong)?);
            if split == SplitName::Train {
                rows.cam
                    .extend_from_slice(floats(&batch, "cam", shape.locations()).map_err(wrong)?);
                rows.nonzero.extend(bools(&batch, "nonzero", shape.locations()).map_err(wrong)?);
            }
        }
        let position = |row| Position { shard: shard as u32, row_group: group as u32, row };
        rows.positions = (0..rows.len() as u32).map(position).collect();
        let classes = self.manifest.dataset.classes;
        let wrong = |found: String, expected: &str| Err(file.content(found, expected.into()));
        if let Some(label) = rows.labels.iter().find(|&&l| l as usize >= classes) {
            return wrong(
                format!("label {label} in row group {group}"),
                &format!("0 to {}", classes - 1),
            );
        }
        if rows.pooled.iter().any(|v| !v.is_finite()) {
            return wrong(
                format!("a pooled value in row group {group} that is not finite"),
                "finite numbers",
            );
        }
        if rows.cam.iter().any(|v| !(0.0..=1.0).contains(v)) {
            return wrong(format!("a CAM value in row group {group} outside 0 to 1"), "0 to 1");
        }
        Ok(rows)
    }

    fn check_rows(&self, split: SplitName, rows: &Rows) -> Result<(), BankError> {
        let expected = self.split(split)?.rows;
        if rows.len() as u64 != expected {
            return Err(BankError::Content {
                path: self.dir.clone(),
                found: format!("{} rows in split {}", rows.len(), split.name()),
                expected: expected.to_string(),
            });
        }
        Ok(())
    }

    /// Groups training rows by row group, so that each is visited once, in order.
    ///
    /// `wanted` are indices into `rows`, ascending, without repetition.
    pub fn plan_maps(&self, rows: &Rows, wanted: &[usize]) -> Vec<MapRequest> {
        let mut placed: Vec<(Position, usize)> =
            wanted.iter().map(|&r| (rows.positions[r], r)).collect();
        placed.sort_unstable();
        let mut requests: Vec<MapRequest> = vec![];
        for (at, row) in placed {
            let (shard, row_group) = (at.shard as usize, at.row_group as usize);
            let fits = |r: &&mut MapRequest| {
                (r.shard, r.row_group) == (shard, row_group) && r.rows.len() < REQUEST_ROWS
            };
            match requests.last_mut().filter(fits) {
                Some(request) => request.rows.push((at.row as usize, row)),
                None => requests.push(MapRequest {
                    shard,
                    row_group,
                    rows: vec![(at.row as usize, row)],
                }),
            }
        }
        requests
    }

    /// Opens the training shards for [`MapReader::read`].
    ///
    /// # Errors
    /// A shard is missing or damaged.
    pub fn map_reader(&self) -> Result<MapReader, BankError> {
        let shards = &self.split(SplitName::Train)?.shards;
        let shards = shards.iter().map(|entry| VerifiedShard::open(&self.dir, entry));
        let values = self.manifest.feature_shape.values();
        Ok(MapReader { shards: shards.collect::<Result<_, _>>()?, values })
    }
}

/// Reads maps of chosen rows.
pub struct MapReader {
    shards: Vec<(VerifiedShard, Arc<ParquetMetaData>)>,
    values: usize,
}

/// Bytes of maps (as f32) that are decoded at a time.
const DECODE_BYTES: usize = 1 << 20;

impl MapReader {
    /// Decodes the maps of one request and hands each to `take(row, map)`, `map` being [L, K].
    ///
    /// # Errors
    /// A page is damaged, or a map holds a value that is not finite.
    ///
    /// # Cost
    /// Only the pages that hold wanted rows are read and checked, and only wanted rows decoded.
    pub fn read(
        &self,
        request: &MapRequest,
        mut take: impl FnMut(usize, &[f32]),
    ) -> Result<(), BankError> {
        let (file, metadata) = &self.shards[request.shard];
        let selection = select(&request.rows);
        let batch_rows = (DECODE_BYTES / (4 * self.values)).max(1);
        let selection = Some((selection, batch_rows));
        let mut wanted = request.rows.iter();
        for batch in
            open_group(file, metadata.clone(), request.row_group, &[MAP_COLUMN], selection)?
        {
            let batch = batch.map_err(|e| file.decode_error(&e))?;
            let maps = floats(&batch, MAP_COLUMN, self.values)
                .map_err(|found| file.content(found, "maps of the manifest's shape".into()))?;
            for (map, (_, row)) in maps.chunks_exact(self.values).zip(wanted.by_ref()) {
                if map.iter().any(|v| !v.is_finite()) {
                    let found =
                        format!("a map in row group {} that is not finite", request.row_group);
                    return Err(file.content(found, "finite numbers".into()));
                }
                take(*row, map);
            }
        }
        if wanted.next().is_some() {
            return Err(file.content("fewer rows than its footer says".into(), "all rows".into()));
        }
        Ok(())
    }
}

fn select(rows: &[(usize, usize)]) -> RowSelection {
    let mut selectors: Vec<RowSelector> = vec![];
    let mut next = 0;
    for &(row, _) in rows {
        if row > next {
            selectors.push(RowSelector::skip(row - next));
        }
        match selectors.last_mut().filter(|s| !s.skip) {
            Some(run) => run.row_count += 1,
            None => selectors.push(RowSelector::select(1)),
        }
        next = row + 1;
    }
    selectors.into()
}

type Batches = parquet::arrow::arrow_reader::ParquetRecordBatchReader;

/// A reader of some columns of one row group.
fn open_group(
    file: &VerifiedShard,
    metadata: Arc<ParquetMetaData>,
    group: usize,
    columns: &[&str],
    selection: Option<(RowSelection, usize)>,
) -> Result<Batches, BankError> {
    let build = || {
        let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
        let schema = metadata.parquet_schema();
        let leaves: Vec<usize> = (0..schema.num_columns())
            .filter(|&i| columns.contains(&schema.column(i).path().parts()[0].as_str()))
            .collect();
        let mask = ProjectionMask::leaves(schema, leaves);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata)
            .with_row_groups(vec![group])
            .with_projection(mask);
        match selection {
            None => builder.build(),
            Some((selection, batch_rows)) => builder
                .with_row_selection(selection)
                .with_row_selection_policy(RowSelectionPolicy::Selectors)
                .with_batch_size(batch_rows)
                .build(),
        }
    };
    build().map_err(|e| file.decode_error(&e))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
    if column.null_count() > 0 {
        return Err(format!("a null in column {name}"));
    }
    Ok(column)
}

fn ids(batch: &RecordBatch, name: &str) -> Result<Vec<u32>, String> {
    let column = column(batch, name)?
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(|| format!("column {name} is not INTEGER"))?;
    let id = |&v: &i32| u32::try_from(v).map_err(|_| format!("{v} in column {name}"));
    column.values().iter().map(id).collect()
}

/// The values of a list column whose lists all have `length` elements.
fn list_values<'a>(
    batch: &'a RecordBatch,
    name: &str,
    length: usize,
) -> Result<(&'a ArrayRef, usize, usize), String> {
    let lists = column(batch, name)?
        .as_list_opt::<i32>()
        .ok_or_else(|| format!("column {name} is not a list"))?;
    let offsets = lists.value_offsets();
    if offsets.windows(2).any(|pair| (pair[1] - pair[0]) as usize != length) {
        return Err(format!("a list in column {name} that has not {length} values"));
    }
    if lists.values().null_count() > 0 {
        return Err(format!("a null in a list of column {name}"));
    }
    Ok((lists.values(), offsets[0] as usize, lists.len() * length))
}

fn floats<'a>(batch: &'a RecordBatch, name: &str, length: usize) -> Result<&'a [f32], String> {
    let (values, start, count) = list_values(batch, name, length)?;
    let values = values
        .as_primitive_opt::<Float32Type>()
        .ok_or_else(|| format!("column {name} is not FLOAT[]"))?;
    Ok(&values.values()[start..start + count])
}

fn bools(batch: &RecordBatch, name: &str, length: usize) -> Result<Vec<bool>, String> {
    let (values, start, count) = list_values(batch, name, length)?;
    let values =
        values.as_boolean_opt().ok_or_else(|| format!("column {name} is not BOOLEAN[]"))?;
    Ok((start..start + count).map(|i| values.value(i)).collect())
}

/// Sorts rows by (sample, view), unless they are sorted already.
fn in_order(rows: Rows) -> Rows {
    let key = |i: usize| (rows.sample_ids[i], rows.views[i]);
    if (1..rows.len()).all(|i| key(i - 1) < key(i)) {
        return rows;
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| key(i));
    let pick = |of: &[u32]| order.iter().map(|&i| of[i]).collect();
    let gather = |of: &dyn Fn(usize) -> Vec<f32>| order.iter().flat_map(|&i| of(i)).collect();
    Rows {
        sample_ids: pick(&rows.sample_ids),
        views: pick(&rows.views),
        labels: pick(&rows.labels),
        pooled: gather(&|i| rows.pooled_of(i).to_vec()),
        cam: gather(&|i| rows.cam_of(i).to_vec()),
        nonzero: order.iter().flat_map(|&i| rows.nonzero_of(i).to_vec()).collect(),
        positions: order.iter().map(|&i| rows.positions[i]).collect(),
    }
}

fn read_classes(
    path: &Path,
    content: Vec<u8>,
    classes: usize,
) -> Result<(Vec<String>, ClassCounts), BankError> {
    let wrong = |found: String| BankError::Content {
        path: path.into(),
        found,
        expected: format!("{classes} classes with label, name and train_images"),
    };
    let read = || -> Result<(Vec<String>, Vec<u64>), String> {
        let batches = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(content))
            .and_then(|b| b.build())
            .map_err(|e| e.to_string())?;
        let (mut names, mut counts) = (vec![], vec![]);
        for batch in batches {
            let batch = batch.map_err(|e| e.to_string())?;
            let name =
                column(&batch, "name")?.as_string_opt::<i32>().ok_or("name is not VARCHAR")?;
            names.extend(name.iter().flatten().map(String::from));
            let count = column(&batch, "train_images")?
                .as_primitive_opt::<arrow::datatypes::Int64Type>()
                .ok_or("train_images is not BIGINT")?;
            counts.extend(count.values().iter().map(|&n| n.max(0) as u64));
        }
        Ok((names, counts))
    };
    let (names, counts) = read().map_err(wrong)?;
    if names.len() != classes || counts.contains(&0) {
        return Err(wrong(format!(
            "{} classes, {} of them without images",
            names.len(),
            counts.iter().filter(|&&n| n == 0).count()
        )));
    }
    Ok((names, ClassCounts(counts)))
}
