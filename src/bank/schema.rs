//! The columns of the bank's Parquet files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// The column that holds the maps; its pages have checksums of their own.
pub(super) const MAP_COLUMN: &str = "feature_map";
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

/// Columns of `train-*.parquet`.
pub fn train_schema() -> SchemaRef {
    let mut columns = head_columns();
    columns.push(list("cam", DataType::Float32));
    columns.push(list("nonzero", DataType::Boolean));
    columns.push(list(MAP_COLUMN, DataType::Float32));
    Arc::new(Schema::new(columns))
}

/// Columns of `test-*.parquet` and `val-*.parquet`.
pub fn pooled_schema() -> SchemaRef {
    Arc::new(Schema::new(head_columns()))
}

/// Columns of the shards of a split.
pub(super) fn of_split(split: &str) -> SchemaRef {
    match split {
        "train" => train_schema(),
        _ => pooled_schema(),
    }
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
