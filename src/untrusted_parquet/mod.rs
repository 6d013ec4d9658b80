//! Parquet files that are not trusted: whoever made them may have meant harm. What a footer and the headers
//! of pages promise is compared with the file's real bytes before the decoder sees it, and a panic of
//! the decoder is an error.
//!
//! `thrift` reads their structs with bounds. A bank's files have a contract (`footer`, `pages`): any other
//! column, codec or layout is refused. Tables of images may be anything that fits the file (`bounds`).
//! `batches` runs the decoder.

mod batches;
mod bounds;
mod footer;
mod format;
mod pages;
mod panics;
mod thrift;

pub(crate) use batches::{Batches, most_text, opened, text_rows};
pub(crate) use bounds::check as check_table;
pub(crate) use footer::{Chunk, Column, Contract, Footer, Group, Page};
pub(crate) use format::{MAGIC, MOST_EXPANSION};
pub(crate) use pages::{SplitPage, check as check_pages};
