//! Classes of images as a table for people, as CSV and as Parquet.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::table::csv_text;
use crate::predict::{Guess, ImageClasses};

/// A line a guess: `path,rank,class,name,probability`.
pub fn predictions_csv(found: &[ImageClasses]) -> String {
    let head = ["path", "rank", "class", "name", "probability"].map(String::from);
    let cells = |(path, rank, guess): (String, i32, &Guess)| {
        let Guess { class, name, probability } = guess;
        [path, rank.to_string(), class.to_string(), name.clone(), probability.to_string()]
    };
    csv_text(std::iter::once(head).chain(lines(found).map(cells)))
}

/// A line an image: the path, then class and percent of each guess.
pub fn predictions_text(found: &[ImageClasses]) -> String {
    let path = |image: &ImageClasses| {
        let escaped = |c: char| match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.into(),
        };
        image.path.to_string_lossy().chars().map(escaped).collect::<String>()
    };
    let width = found.iter().map(|i| path(i).chars().count()).max().unwrap_or(0);
    let guess = |g: &Guess| format!("{} {:.1} %", g.name, 100.0 * g.probability);
    let line = |image: &ImageClasses| {
        let guesses: Vec<String> = image.top.iter().map(guess).collect();
        let found = match image.error {
            Some(_) => "cannot be decoded".into(),
            None => guesses.join(", "),
        };
        format!("{:<width$}  {found}\n", path(image))
    };
    found.iter().map(line).collect()
}

/// A Parquet file with a row a guess and the columns of the CSV: `path` VARCHAR, `rank` INTEGER (from
/// 1), `class` INTEGER, `name` VARCHAR, `probability` FLOAT.
///
/// # Errors
/// The Parquet library refuses to write.
pub fn predictions_parquet(found: &[ImageClasses]) -> Result<Vec<u8>, ParquetError> {
    let lines: Vec<(String, i32, &Guess)> = lines(found).collect();
    let text = |of: &dyn Fn(&(String, i32, &Guess)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(lines.iter().map(of)))
    };
    let numbers = |of: &dyn Fn(&(String, i32, &Guess)) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(lines.iter().map(of)))
    };
    let probabilities = lines.iter().map(|(_, _, guess)| guess.probability);
    let columns = vec![
        text(&|line| line.0.clone()),
        numbers(&|line| line.1),
        numbers(&|line| line.2.class as i32),
        text(&|line| line.2.name.clone()),
        Arc::new(Float32Array::from_iter_values(probabilities)) as ArrayRef,
    ];
    let field = |name: &str, kind| Field::new(name, kind, false);
    let schema = Arc::new(Schema::new(vec![
        field("path", DataType::Utf8),
        field("rank", DataType::Int32),
        field("class", DataType::Int32),
        field("name", DataType::Utf8),
        field("probability", DataType::Float32),
    ]));
    let properties = WriterProperties::builder()
        .set_created_by(concat!("fsa-bank ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    let mut writer = ArrowWriter::try_new(vec![], schema, Some(properties))?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// Path, rank from 1, and guess.
fn lines(found: &[ImageClasses]) -> impl Iterator<Item = (String, i32, &Guess)> {
    found.iter().flat_map(|image| {
        let path = image.path.display().to_string();
        image.top.iter().enumerate().map(move |(i, guess)| (path.clone(), i as i32 + 1, guess))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_are_quoted() {
        let top = vec![Guess { class: 3, name: "a \"b\", c".into(), probability: 0.5 }];
        let image = ImageClasses { path: "x.png".into(), top, error: None, largest: None };
        let broken = ImageClasses {
            path: "y".into(),
            top: vec![],
            error: Some("cut".into()),
            largest: None,
        };
        let found = [image, broken];
        let lines = "path,rank,class,name,probability\nx.png,1,3,\"a \"\"b\"\", c\",0.5\n";
        assert_eq!(predictions_csv(&found), lines);
        let lines = "x.png  a \"b\", c 50.0 %\ny      cannot be decoded\n";
        assert_eq!(predictions_text(&found), lines);
        let odd = ImageClasses { path: "a\nb\u{1b}[31m.png".into(), ..found[1].clone() };
        let line = "a\\nb\\u{1b}[31m.png  cannot be decoded\n";
        assert_eq!(predictions_text(&[odd]), line);
    }
}
