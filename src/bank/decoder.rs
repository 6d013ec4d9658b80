//! The edge to the Parquet decoder: rows of chosen columns as they come out of it, or a text that says
//! what it met.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::footer::MOST_EXPANSION;

/// Texts that are decoded at a time, in bytes.
const TEXT_BYTES: u64 = 1 << 26;

/// Rows of texts that are decoded at a time: a dictionary can give each of them all that is in its page.
pub(super) fn text_rows(largest_page_bytes: u64) -> usize {
    (TEXT_BYTES / largest_page_bytes.max(1)).clamp(1, 1024) as usize
}

/// The bytes of texts that `bytes` of a file can hold.
pub(super) fn most_text(bytes: u64) -> u64 {
    bytes.saturating_mul(MOST_EXPANSION).saturating_add(TEXT_BYTES)
}

/// The batches of a reader.
pub(super) struct Batches(Option<ParquetRecordBatchReader>);

impl Batches {
    /// Those of the reader that `build` makes.
    pub(super) fn of<E: ToString>(
        build: impl FnOnce() -> Result<ParquetRecordBatchReader, E>,
    ) -> Result<Self, String> {
        let reader = caught(build)?.map_err(|e| e.to_string())?;
        Ok(Self(Some(reader)))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.0.take()?;
        let (batch, reader) = match caught(move || (reader.next(), reader)) {
            Ok(next) => next,
            Err(panic) => return Some(Err(panic)),
        };
        self.0 = Some(reader);
        batch.map(|batch| batch.map_err(|e| e.to_string()))
    }
}

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// What `decode` returns, or the message of its panic, which nothing is printed of.
///
/// The footer and the headers of pages are checked before the decoder runs, so that what it takes is
/// bounded. Their compressed content is not, and the decoder meets levels, lengths and bit widths in it
/// that it takes for granted: it was written to panic on some of them.
fn caught<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !DECODING.get() {
                usual(panic);
            }
        }));
    });
    DECODING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(false);
    result.map_err(|panic| text_of(panic.as_ref()))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("its content is damaged").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_decoder_is_a_text() {
        assert_eq!(caught(|| 7), Ok(7));
        let empty: Vec<u8> = vec![];
        let found = caught(|| empty[std::hint::black_box(3)]).unwrap_err();
        assert!(found.contains("index out of bounds"), "{found}");
        assert!(!DECODING.get());
    }
}
