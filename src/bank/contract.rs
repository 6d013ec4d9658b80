//! What the files of a bank must be, for readers that trust none of them.

use arrow::datatypes::Schema;

use super::schema::{self, MAP_COLUMN};
use crate::domain::FeatureShape;
use crate::untrusted_parquet::{Chunk, Column, Contract};

/// Of a shard of rows of `split` with maps of `shape`.
pub(super) fn of_shard(split: &str, shape: FeatureShape) -> Contract {
    contract(&schema::of_split(split), shape)
}

/// Of the table of classes.
pub(super) fn of_classes(shape: FeatureShape) -> Contract {
    contract(&schema::classes_schema(), shape)
}

fn contract(schema: &Schema, shape: FeatureShape) -> Contract {
    Contract::new(schema, |column| match column {
        "pooled" | "weight" => shape.channels as u64,
        "cam" | "nonzero" => shape.locations() as u64,
        _ => shape.values() as u64,
    })
}

/// The ranges of a column chunk that have a checksum each, as (start, length): the data pages of
/// `feature_map`, the whole chunk of other columns.
pub(super) fn checked_spans(chunk: &Chunk, column: &Column) -> Vec<(u64, u64)> {
    match column.name == MAP_COLUMN {
        true => chunk.pages.iter().map(|page| (page.start, page.length)).collect(),
        false => vec![(chunk.start, chunk.length)],
    }
}
