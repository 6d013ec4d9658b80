//! Writing a bank from rows that come in order: shards into a folder, then classes and classifier.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use super::manifest::{FileEntry, SplitEntry};
use super::shard::{Layout, RowHead, ShardFormat, ShardWriter, TrainRow, failed, float_list};
use super::{BankError, CLASSES_FILE, CLASSIFIER_FILE, schema};
use crate::atomic_file;
use crate::classifier_file::ClassifierCard;
use crate::domain::{FeatureShape, LinearHead};

/// One class, for `classes.parquet`.
#[derive(Debug, Clone)]
pub struct ClassRow {
    /// Its name.
    pub name: String,
    /// Its training images.
    pub train_images: u64,
}

/// What a finished writer has written, for the manifest.
#[derive(Debug, Clone)]
pub struct Written {
    /// The shards.
    pub splits: BTreeMap<String, SplitEntry>,
    /// The other files.
    pub files: BTreeMap<String, FileEntry>,
}

/// Writes the files of one bank, from rows in order of their splits. Nothing of it can be resumed;
/// [`crate::bank::Build`] writes shards in any order, wherever they are made.
pub struct BankWriter {
    dir: PathBuf,
    format: Arc<ShardFormat>,
    splits: BTreeMap<String, SplitEntry>,
    open: Option<(&'static str, ShardWriter)>,
}

impl BankWriter {
    /// Begins a bank in `dir`, which has no manifest yet.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(
        dir: &Path,
        shape: FeatureShape,
        layout: Layout,
        class_names: Vec<String>,
    ) -> Result<Self, BankError> {
        atomic_file::create_dir(dir)?;
        let format = ShardFormat { shape, layout, class_names }.into();
        Ok(Self { dir: dir.into(), format, splits: BTreeMap::new(), open: None })
    }

    /// The bank's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends training rows.
    ///
    /// # Errors
    /// A shard cannot be written.
    pub fn append_train(&mut self, rows: &[TrainRow], images: u64) -> Result<(), BankError> {
        self.append("train", rows, images, ShardWriter::append_train)
    }

    /// Appends rows of the `test` or `val` split.
    ///
    /// # Errors
    /// A shard cannot be written.
    pub fn append_pooled(
        &mut self,
        split: &'static str,
        rows: &[RowHead],
    ) -> Result<(), BankError> {
        self.append(split, rows, rows.len() as u64, ShardWriter::append_pooled)
    }

    /// Writes rows, closing shards at the layout's row count.
    fn append<R>(
        &mut self,
        split: &'static str,
        rows: &[R],
        images: u64,
        write: impl Fn(&mut ShardWriter, &[R]) -> Result<(), BankError>,
    ) -> Result<(), BankError> {
        let shard_rows = self.format.rows_in(self.format.layout.shard_bytes);
        let mut rest = rows;
        while !rest.is_empty() {
            let done =
                |(of, shard): &(&str, ShardWriter)| *of != split || shard.rows() == shard_rows;
            if self.open.as_ref().is_some_and(done) {
                self.close_shard()?;
            }
            let shard = match &mut self.open {
                Some((_, shard)) => shard,
                closed => {
                    let number = self.splits.get(split).map_or(0, |entry| entry.shards.len());
                    let path = self.dir.join(shard_name(split, number));
                    let shard = ShardWriter::create(&self.format, split, &path, &self.dir)?;
                    &mut closed.insert((split, shard)).1
                }
            };
            let room = (shard_rows - shard.rows()) as usize;
            let (now, later) = rest.split_at(rest.len().min(room));
            write(shard, now)?;
            rest = later;
        }
        let entry = self.splits.entry(split.into()).or_default();
        entry.rows += rows.len() as u64;
        entry.images += images;
        Ok(())
    }

    fn close_shard(&mut self) -> Result<(), BankError> {
        if let Some((split, shard)) = self.open.take() {
            let entry = shard.finish(None)?;
            self.splits.entry(split.into()).or_default().shards.push(entry);
        }
        Ok(())
    }

    /// Closes the last shard, writes the classes and the classifier, and tells what there is.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(
        mut self,
        classes: &[ClassRow],
        head: &LinearHead,
        card: &ClassifierCard,
    ) -> Result<Written, BankError> {
        self.close_shard()?;
        let classifier = card.weights(head, []).to_bytes();
        let table = classes_table(&self.format, classes, head)?;
        let mut files = BTreeMap::new();
        for (name, bytes) in [(CLASSIFIER_FILE, classifier), (CLASSES_FILE, table)] {
            atomic_file::write(&self.dir.join(name), &bytes)?;
            files.insert(name.to_string(), FileEntry::of(&bytes));
        }
        Ok(Written { splits: self.splits, files })
    }
}

/// Name of a shard.
pub(super) fn shard_name(split: &str, number: usize) -> String {
    format!("{split}-{number:05}.parquet")
}

/// The content of `classes.parquet`.
pub(super) fn classes_table(
    format: &ShardFormat,
    classes: &[ClassRow],
    head: &LinearHead,
) -> Result<Vec<u8>, BankError> {
    let encode = failed(Path::new(CLASSES_FILE));
    let columns = || -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![
            Arc::new(Int32Array::from_iter_values(0..classes.len() as i32)),
            Arc::new(StringArray::from_iter_values(classes.iter().map(|c| &c.name))),
            Arc::new(Int64Array::from_iter_values(classes.iter().map(|c| c.train_images as i64))),
            float_list(head.weight.chunks(head.channels()))?,
            Arc::new(Float32Array::from(head.bias.clone())),
        ])
    };
    let schema = schema::classes_schema();
    let batch = columns()
        .and_then(|columns| RecordBatch::try_new(schema.clone(), columns))
        .map_err(|e| encode(e.into()))?;
    let options = ArrowWriterOptions::new()
        .with_properties(format.properties())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(&encode)?;
    writer.write(&batch).map_err(&encode)?;
    writer.into_inner().map_err(&encode)
}
