//! Names of classes as they are compared: in Unicode's normal form C, so that an accented letter is one
//! letter however a file system or an editor writes it.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::config::ClassOrder;

/// The name in normal form C.
pub(crate) fn nfc(name: &str) -> Cow<'_, str> {
    match is_nfc(name) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(name.nfc().collect()),
    }
}

/// Sorts names.
pub(super) fn sort(names: &mut [String], order: ClassOrder) {
    names.sort_unstable();
    if order == ClassOrder::Natural {
        names.sort_by_cached_key(|name| natural_key(name));
    }
}

/// The note on sorted names whose numbers have another order as numbers.
pub(super) fn unnatural(names: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    // Letters of either case count alike here: only numbers are of interest.
    let (mut by_name, mut by_number) = (names.to_vec(), names.to_vec());
    by_name.sort_by_cached_key(|name| name.to_lowercase());
    by_number.sort_by_cached_key(|name| natural_key(name));
    // Where the orders part, shown from a name before.
    let parts = by_name.iter().zip(&by_number).position(|(a, b)| a != b)?;
    let from = parts.saturating_sub(2);
    let shown = |names: &[String]| {
        let shown: Vec<&str> = names[from..].iter().take(SHOWN).map(String::as_str).collect();
        shown.join(", ")
    };
    Some(format!(
        "the classes are in order of their names, {}, not of the numbers in them, {}; a network \
         trained with the numbers in order needs dataset.class_order = \"natural\"",
        shown(&by_name),
        shown(&by_number)
    ))
}

/// Text and numbers of a name in turn; it begins with text, which may be empty.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Text(String),
    /// Digits without leading zeros, after how many they are.
    Number(usize, String),
}

/// What names are compared by for [`ClassOrder::Natural`].
pub(crate) fn natural_key(name: &str) -> Vec<Part> {
    let lower = name.to_lowercase();
    let mut parts = vec![];
    let mut rest = lower.as_str();
    while !rest.is_empty() || parts.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        parts.push(Part::Text(rest[..digits].into()));
        rest = &rest[digits..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..end].trim_start_matches('0');
        if end > 0 {
            parts.push(Part::Number(number.len(), number.into()));
        }
        rest = &rest[end..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accent_of_its_own_joins_its_letter() {
        assert_eq!(nfc("Cafe\u{301}"), "Caf\u{e9}");
        assert!(matches!(nfc("heron"), Cow::Borrowed(_)));
    }

    fn sorted(names: &[&str], order: ClassOrder) -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        sort(&mut names, order);
        names
    }

    #[test]
    fn numbers_in_names_are_in_order_as_timm_has_them() {
        // sorted(names, key=natural_key) of timm.
        let names = ["b10", "B9", "a", "10", "9", "010b2", "10b1", "", "a1.5", "a1.10"];
        let natural = ["", "9", "10", "10b1", "010b2", "a", "a1.5", "a1.10", "B9", "b10"];
        assert_eq!(sorted(&names, ClassOrder::Natural), natural);
        assert_eq!(sorted(&["a2", "A10", "a10"], ClassOrder::Name), ["A10", "a10", "a2"]);
        let huge = "9".repeat(50);
        assert_eq!(sorted(&[&huge, "10"], ClassOrder::Natural), ["10", &huge]);
    }

    #[test]
    fn only_numbers_that_stand_otherwise_are_told() {
        let told = |names: &[&str]| unnatural(&sorted(names, ClassOrder::Name));
        let text = told(&["0", "1", "2", "10", "11"]).unwrap();
        assert!(text.contains("0, 1, 10, 11, 2, not") && text.contains("natural"), "{text}");
        assert_eq!(told(&["Wren", "ant", "Bee"]), None);
        assert_eq!(told(&["001.a", "010.b", "100.c"]), None);
        assert!(told(&["class_2", "class_10"]).is_some());
    }
}
