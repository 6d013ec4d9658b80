//! Panics of the Parquet decoder, as texts.
//!
//! Footers and headers of pages are checked before the decoder runs, so that what it takes is bounded. What
//! is compressed in pages is not, and the decoder meets levels, lengths and bit widths in it that it takes
//! for granted: it was written to panic on some of them.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// What `decode` returns, or the message of its panic, which nothing is printed of.
pub(super) fn caught<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
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
