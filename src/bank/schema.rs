//! The columns of the bank's Parquet files, all of them: names, types, the lengths of their lists, and which hold
//! maps. Those of the maps follow from the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::map_spec::{MAP_COLUMN, MapSpec};
use crate::domain::{FeatureShape, Split};
use crate::untrusted_parquet::Contract;

/// Name of the elements of a list, as the Parquet specification has it.
pub(super) const LIST_ELEMENT: &str = "element";

fn column(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn list(name: &str, element: DataType) -> Field {
    column(name, DataType::List(Arc::new(Field::new(LIST_ELEMENT, element, false))))
}

fn head_columns() -> Vec<Field> {
    vec![
        column("sample_id", DataType::Int32),
        column("view", DataType::Int32),
        column("path", DataType::Utf8),
        column("label", DataType::Int32),
        column("class_name", DataType::Utf8),
        column("predicted", DataType::Int32),
        column("confidence", DataType::Float32),
        list("pooled", DataType::Float32),
    ]
}

/// Columns of a training row before its maps.
fn columns_before_maps() -> Vec<Field> {
    let mut columns = head_columns();
    columns.push(list("cam", DataType::Float32));
    columns.push(list("nonzero", DataType::Boolean));
    columns
}

fn with_maps<'a>(maps: impl Iterator<Item = &'a str>) -> SchemaRef {
    let mut columns = columns_before_maps();
    columns.extend(maps.map(|name| list(name, DataType::Float32)));
    Arc::new(Schema::new(columns))
}

/// Columns of `train-*.parquet`, of a bank with the one map that this program makes.
pub fn train_schema() -> SchemaRef {
    with_maps([MAP_COLUMN].into_iter())
}

/// Columns of `test-*.parquet` and `val-*.parquet`.
pub fn pooled_schema() -> SchemaRef {
    Arc::new(Schema::new(head_columns()))
}

/// The columns of a file of a bank, with all that its readers and writers rely on.
#[derive(Debug, Clone)]
pub(super) struct FileColumns {
    pub(super) schema: SchemaRef,
    /// Values of each list.
    lists: BTreeMap<String, u64>,
    /// Columns that hold maps: each of their pages has a checksum of its own.
    maps: BTreeSet<String>,
}

impl FileColumns {
    /// Of the shards of a split, in a bank with these maps, the main one first.
    pub(super) fn of_split(split: Split, maps: &[MapSpec]) -> Self {
        let mut columns = Self {
            schema: pooled_schema(),
            lists: maps.first().map(|main| fixed_lists(main.shape())).unwrap_or_default(),
            maps: BTreeSet::new(),
        };
        if split == Split::Train {
            columns.schema = with_maps(maps.iter().map(|map| map.name.as_str()));
            let lengths = maps.iter().map(|map| (map.name.clone(), map.shape().values() as u64));
            columns.lists.extend(lengths);
            columns.maps.extend(maps.iter().map(|map| map.name.clone()));
        }
        columns
    }

    /// Of `classes.parquet`, in a bank whose main map has the shape `shape`.
    pub(super) fn of_classes(shape: FeatureShape) -> Self {
        Self { schema: classes_schema(), lists: fixed_lists(shape), maps: BTreeSet::new() }
    }

    /// What such a file must be, for readers that do not trust it.
    pub(super) fn contract(&self) -> Contract {
        Contract::new(&self.schema, |name| self.list_length(name), |name| self.has_maps(name))
    }

    /// Values of a row of a list column.
    fn list_length(&self, column: &str) -> u64 {
        self.lists.get(column).copied().unwrap_or(0)
    }

    /// Whether a column holds maps.
    fn has_maps(&self, column: &str) -> bool {
        self.maps.contains(column)
    }
}

/// Lengths of the lists that every bank has.
fn fixed_lists(main: FeatureShape) -> BTreeMap<String, u64> {
    let (channels, locations) = (main.channels as u64, main.locations() as u64);
    let lists =
        [("pooled", channels), ("weight", channels), ("cam", locations), ("nonzero", locations)];
    lists.map(|(name, length)| (name.to_string(), length)).into()
}

/// That maps can be those of a bank whose main map has the shape `main`: the first is that one, and each has a
/// column of its own.
pub(super) fn check_maps(maps: &[MapSpec], main: FeatureShape) -> Result<(), String> {
    let Some(first) = maps.first() else { return Ok(()) };
    if first.shape() != main {
        return Err(format!("map_columns: the first is {}, feature_shape {main}", first.shape()));
    }
    let fixed = columns_before_maps();
    let mut names: BTreeSet<&str> = fixed.iter().map(|column| column.name().as_str()).collect();
    for MapSpec { name, .. } in maps {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain) {
            return Err(format!("map_columns: `{}` is not a column's name", name.escape_debug()));
        }
        if !names.insert(name) {
            return Err(format!("map_columns: there is a column `{name}` already"));
        }
    }
    Ok(())
}

/// Columns of `classes.parquet`.
pub fn classes_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        column("label", DataType::Int32),
        column("name", DataType::Utf8),
        column("train_images", DataType::Int64),
        list("weight", DataType::Float32),
        column("bias", DataType::Float32),
    ]))
}

/// `name TYPE` of each column, in SQL's words: what `schemas/` records.
pub fn describe_columns(schema: &Schema) -> Vec<String> {
    fn sql(data_type: &DataType) -> String {
        match data_type {
            DataType::Int32 => "INTEGER".into(),
            DataType::Int64 => "BIGINT".into(),
            DataType::Utf8 => "VARCHAR".into(),
            DataType::Float32 => "FLOAT".into(),
            DataType::Boolean => "BOOLEAN".into(),
            DataType::List(element) => format!("{}[]", sql(element.data_type())),
            other => other.to_string(),
        }
    }
    schema.fields().iter().map(|f| format!("{} {}", f.name(), sql(f.data_type()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::map_spec::tests::{SHAPE, tokens};
    use super::*;

    #[test]
    fn a_list_of_maps_begins_with_the_main_one_and_each_has_a_column_of_its_own() {
        assert_eq!(check_maps(&[], SHAPE), Ok(()));
        assert_eq!(check_maps(&[tokens("tokens"), MapSpec::last(SHAPE)], SHAPE), Ok(()));
        let other = FeatureShape { width: 4, ..SHAPE };
        for (maps, shape, part) in [
            (vec![tokens("tokens")], other, "the first is 3 x 1 x 5, feature_shape 3 x 1 x 4"),
            (vec![tokens("a"), tokens("b"), tokens("a")], SHAPE, "a column `a` already"),
            (vec![tokens("pooled")], SHAPE, "a column `pooled` already"),
            (vec![tokens("")], SHAPE, "`` is not a column's name"),
            (vec![tokens("a"), tokens("a.b")], SHAPE, "`a.b` is not a column's name"),
        ] {
            let found = check_maps(&maps, shape).unwrap_err();
            assert!(found.contains(part), "no `{part}` in {found}");
        }
    }

    #[test]
    fn columns_follow_from_the_maps() {
        let maps = [tokens("tokens"), MapSpec { channels: 4, ..tokens("middle") }];
        let train = FileColumns::of_split(Split::Train, &maps);
        let names: Vec<&str> = train.schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names[7..], ["pooled", "cam", "nonzero", "tokens", "middle"]);
        let lengths = ["pooled", "cam", "tokens", "middle"].map(|name| train.list_length(name));
        assert_eq!(lengths, [3, 5, 15, 20]);
        assert!(train.has_maps("middle") && !train.has_maps("pooled"));
        assert_eq!(FileColumns::of_split(Split::Test, &maps).schema, pooled_schema());
        let own = FileColumns::of_split(Split::Train, &[MapSpec::last(SHAPE)]);
        assert_eq!(own.schema, train_schema());
    }
}
