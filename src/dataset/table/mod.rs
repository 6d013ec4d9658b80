//! Parquet tables from anywhere: their rows, and their columns as text and as encoded images.

mod columns;
mod rows;

pub(super) use columns::{Texts, image, images, only_paths};
pub(super) use rows::{Table, batches, new_list, wrong_row};
