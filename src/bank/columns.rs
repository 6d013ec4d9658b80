//! The columns of a row group as numbers, each checked against the contract.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelectionPolicy, RowSelector,
};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

use super::BankError;
use super::map_spec::MapSpec;
use super::maps::MapsKept;
use super::verified::VerifiedShard;
use crate::domain::FeatureShape;
use crate::untrusted_parquet::Batches;

/// What may be read of chosen rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// `pooled` `[K]`.
    Pooled,
    /// `cam` and `nonzero` `[L]`.
    Cam,
    /// `feature_map` [L, K], of rows that have one.
    FeatureMap,
}

/// The columns of one row that were asked for; the others are empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowValues<'a> {
    /// `[K]`.
    pub pooled: &'a [f32],
    /// `[L]`.
    pub cam: &'a [f32],
    /// `[L]`.
    pub nonzero: &'a [bool],
    /// [L, K].
    pub map: &'a [f32],
}

pub(super) fn part_of(values: &[f32], length: usize, i: usize) -> &[f32] {
    values.get(i * length..(i + 1) * length).unwrap_or_default()
}

impl Column {
    /// Columns that are read by row group; those of maps are read by page.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Pooled => &["pooled"],
            Self::Cam => &["cam", "nonzero"],
            Self::FeatureMap => &[],
        }
    }
}

pub(super) fn pooled(batch: &RecordBatch, shape: FeatureShape) -> Result<&[f32], String> {
    let values = floats(batch, "pooled", shape.channels)?;
    let finite = values.iter().all(|v| v.is_finite());
    if finite { Ok(values) } else { Err("a pooled value that is not finite".into()) }
}

pub(super) fn cam(batch: &RecordBatch, shape: FeatureShape) -> Result<&[f32], String> {
    let values = floats(batch, "cam", shape.locations())?;
    let inside = values.iter().all(|v| (0.0..=1.0).contains(v));
    if inside { Ok(values) } else { Err("a CAM value outside 0 to 1".into()) }
}

/// The maps of some rows, one a row.
#[derive(Clone, Copy, Default)]
pub(super) struct Maps<'a> {
    values: &'a [f32],
    /// Where the maps begin in `values`, and where the last one ends.
    offsets: &'a [i32],
}

impl<'a> Maps<'a> {
    /// `offsets` are places in `values`, in order.
    pub(super) fn new(values: &'a [f32], offsets: &'a [i32]) -> Self {
        Self { values, offsets }
    }

    /// [L, K] of row `i`; empty where it has none.
    pub(super) fn of(&self, i: usize) -> &'a [f32] {
        match self.offsets.get(i..i + 2) {
            Some(&[start, end]) => &self.values[start as usize..end as usize],
            _ => &[],
        }
    }

    /// Whether they are what the contract says of rows of the classes `labels`: finite maps where the
    /// bank keeps them for the class, empty lists where it does not. `labels` may be empty where all
    /// rows have maps.
    pub(super) fn check(
        &self,
        map: &MapSpec,
        kept: &MapsKept,
        labels: &[u32],
    ) -> Result<(), String> {
        let length = map.shape().values();
        for (i, ends) in self.offsets.windows(2).enumerate() {
            let found = (ends[1] - ends[0]) as usize;
            let label = labels.get(i).copied();
            match label.is_none_or(|label| kept.of_class(label)) {
                true if found == length => {}
                true if found == 0 => {
                    let of = label.map_or(String::new(), |label| format!(" of class {label}"));
                    return Err(format!("a row{of} without a map"));
                }
                true => return Err(other_length(&map.name, length)),
                false if found > 0 => {
                    let label = label.unwrap_or_default();
                    return Err(format!("a map in a row of class {label}, of which none are kept"));
                }
                false => {}
            }
        }
        let ends = self.offsets.first().zip(self.offsets.last());
        let all = ends.map_or(0..0, |(a, b)| *a as usize..*b as usize);
        // To the last value even if the first is wrong: so it takes several at a time.
        let finite = self.values[all].iter().fold(true, |finite, v| finite & v.is_finite());
        if finite { Ok(()) } else { Err("a map that is not finite".into()) }
    }
}

/// The maps of a batch, whatever their lengths.
pub(super) fn feature_maps<'a>(batch: &'a RecordBatch, name: &str) -> Result<Maps<'a>, String> {
    let lists = lists(batch, name)?;
    Ok(Maps { values: float_values(lists, name)?, offsets: lists.value_offsets() })
}

pub(super) fn select(rows: &[(usize, usize)]) -> RowSelection {
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

/// Rows of some columns; `rows` says which, and how many come at a time.
pub(super) fn batches<R: ChunkReader + 'static>(
    file: R,
    metadata: Arc<ParquetMetaData>,
    group: Option<usize>,
    columns: &[&str],
    rows: Option<(RowSelection, usize)>,
) -> Result<Batches, String> {
    let build = || {
        let mut builder = builder(file, metadata, columns)?;
        if let Some(group) = group {
            builder = builder.with_row_groups(vec![group]);
        }
        if let Some((selection, batch_rows)) = rows {
            builder = builder
                .with_row_selection(selection)
                .with_row_selection_policy(RowSelectionPolicy::Selectors)
                .with_batch_size(batch_rows);
        }
        builder.build()
    };
    Batches::of(build)
}

/// A reader of some columns of one row group.
pub(super) fn open_group(
    file: &VerifiedShard,
    metadata: Arc<ParquetMetaData>,
    group: usize,
    columns: &[&str],
    selection: Option<(RowSelection, usize)>,
) -> Result<Batches, BankError> {
    batches(file.session(), metadata, Some(group), columns, selection)
        .map_err(|e| file.decode_error(&e))
}

fn builder<R: ChunkReader + 'static>(
    file: R,
    metadata: Arc<ParquetMetaData>,
    columns: &[&str],
) -> ParquetResult<ParquetRecordBatchReaderBuilder<R>> {
    let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
    let schema = metadata.parquet_schema();
    let leaves: Vec<usize> = (0..schema.num_columns())
        .filter(|&i| columns.contains(&schema.column(i).path().parts()[0].as_str()))
        .collect();
    let mask = ProjectionMask::leaves(schema, leaves);
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata).with_projection(mask))
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
    if column.null_count() > 0 {
        return Err(format!("a null in column {name}"));
    }
    Ok(column)
}

pub(super) fn ids(batch: &RecordBatch, name: &str) -> Result<Vec<u32>, String> {
    let column = column(batch, name)?
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(|| format!("column {name} is not INTEGER"))?;
    let id = |&v: &i32| u32::try_from(v).map_err(|_| format!("{v} in column {name}"));
    column.values().iter().map(id).collect()
}

fn lists<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ListArray, String> {
    let lists = column(batch, name)?
        .as_list_opt::<i32>()
        .ok_or_else(|| format!("column {name} is not a list"))?;
    if lists.values().null_count() > 0 {
        return Err(format!("a null in a list of column {name}"));
    }
    Ok(lists)
}

fn other_length(name: &str, length: usize) -> String {
    format!("a list in column {name} of other than {length} values")
}

/// A list column whose lists all have `length` elements, and where these begin and end.
fn equal_lists<'a>(
    batch: &'a RecordBatch,
    name: &str,
    length: usize,
) -> Result<(&'a ListArray, Range<usize>), String> {
    let lists = lists(batch, name)?;
    let offsets = lists.value_offsets();
    if offsets.windows(2).any(|pair| (pair[1] - pair[0]) as usize != length) {
        return Err(other_length(name, length));
    }
    let start = offsets[0] as usize;
    Ok((lists, start..start + lists.len() * length))
}

fn float_values<'a>(lists: &'a ListArray, name: &str) -> Result<&'a [f32], String> {
    let values = lists.values().as_primitive_opt::<Float32Type>();
    Ok(values.ok_or_else(|| format!("column {name} is not FLOAT[]"))?.values())
}

pub(super) fn floats<'a>(
    batch: &'a RecordBatch,
    name: &str,
    length: usize,
) -> Result<&'a [f32], String> {
    let (lists, range) = equal_lists(batch, name, length)?;
    Ok(&float_values(lists, name)?[range])
}

pub(super) fn bools(batch: &RecordBatch, name: &str, length: usize) -> Result<Vec<bool>, String> {
    let (lists, range) = equal_lists(batch, name, length)?;
    let values =
        lists.values().as_boolean_opt().ok_or_else(|| format!("column {name} is not BOOLEAN[]"))?;
    Ok(range.map(|i| values.value(i)).collect())
}
