//! A shard of a bank under way while its rows come: what is written, and what is counted for its marker.

use std::collections::HashSet;

use super::BankError;
use super::build::{Build, ShardResult};
use super::plan::PlannedShard;
use super::shard::{ShardWriter, TrainRow};
use crate::domain::{SkippedImage, Split};

/// A shard that is being written, and what is known of it.
pub struct OpenShard<'a> {
    build: &'a Build,
    shard: &'a PlannedShard,
    writer: ShardWriter,
    /// Images that have rows in it.
    samples: HashSet<u32>,
    result: ShardResult,
}

impl<'a> OpenShard<'a> {
    /// Begins a shard of a bank under way.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn begin(build: &'a Build, shard: &'a PlannedShard) -> Result<Self, BankError> {
        let (writer, samples) = (build.writer(shard)?, HashSet::new());
        Ok(Self { build, shard, writer, samples, result: ShardResult::default() })
    }

    /// Appends rows, in order of the shard's (sample, view) pairs.
    ///
    /// # Errors
    /// The file cannot be written, or a map is neither of the bank's shape nor empty.
    pub fn append(&mut self, rows: &[TrainRow]) -> Result<(), BankError> {
        let training = self.shard.split == Split::Train;
        self.samples.extend(rows.iter().map(|row| row.head.sample_id));
        for head in rows.iter().map(|row| &row.head).filter(|head| head.view == 0) {
            self.result.images += 1;
            self.result.right += u64::from(head.predicted == head.label);
            if training {
                *self.result.class_images.entry(head.label).or_default() += 1;
                if head.predicted != head.label {
                    let of_class = self.result.mistaken.entry(head.label).or_default();
                    *of_class.entry(head.predicted).or_default() += 1;
                }
            }
        }
        self.writer.append(rows)
    }

    /// Gives it its name, then marks it as done. `skipped` are its images that were left out: with all their
    /// views, so that an image is whole in a bank or not in it.
    ///
    /// # Errors
    /// A file cannot be written, or an image has both rows and a place among those that were left out.
    pub fn finish(mut self, skipped: Vec<SkippedImage>) -> Result<ShardResult, BankError> {
        let changed = skipped.iter().find(|i| self.samples.contains(&(i.sample_id as u32)));
        if let Some(SkippedImage { path, .. }) = changed {
            let (image, shard) = (path.clone(), self.shard.file.clone());
            return Err(BankError::ImageChanged { image, shard });
        }
        self.result.shard = self.writer.finish(Some(self.shard.items))?;
        self.result.skipped = skipped;
        self.build.mark(self.shard, self.result.clone())?;
        Ok(self.result)
    }
}
