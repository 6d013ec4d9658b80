//! Names of classes as they are compared: in Unicode's normal form C, so that an accented letter is one
//! letter however a file system or an editor writes it.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The name in normal form C.
pub(crate) fn nfc(name: &str) -> Cow<'_, str> {
    match is_nfc(name) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(name.nfc().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accent_of_its_own_joins_its_letter() {
        assert_eq!(nfc("Cafe\u{301}"), "Caf\u{e9}");
        assert!(matches!(nfc("heron"), Cow::Borrowed(_)));
    }
}
