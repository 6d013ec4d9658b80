//! The settings of a stage by their keys, for methods and losses that know which of them they read.

use serde::Serialize;
use toml::{Table, Value};

/// A section of a pipeline, checked.
///
/// A method or loss reads its keys when a run begins, so that a new one with a key of its own needs no
/// struct between the section and its file.
#[derive(Debug, Clone)]
pub struct Settings(Table);

impl Settings {
    /// The keys of a section: `[train]` or `[finetune]`.
    pub fn of(section: &impl Serialize) -> Self {
        Self(Table::try_from(section).expect("settings are TOML"))
    }

    /// Keys and values as a pipeline has them.
    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        Self(toml::from_str(text).expect("TOML"))
    }

    /// A number; those kept as f32 are exact.
    ///
    /// # Panics
    /// The section has no such key; a test reads those of every method and loss.
    pub fn number(&self, key: &str) -> f64 {
        as_number(self.value(key)).unwrap_or_else(|| panic!("{key} is not a number"))
    }

    /// The same in f32.
    pub fn float(&self, key: &str) -> f32 {
        self.number(key) as f32
    }

    /// The same as a count.
    pub fn count(&self, key: &str) -> usize {
        self.number(key) as usize
    }

    /// Two numbers.
    pub fn pair(&self, key: &str) -> [f64; 2] {
        let values: Option<Vec<f64>> =
            self.value(key).as_array().and_then(|values| values.iter().map(as_number).collect());
        match values.as_deref() {
            Some(&[a, b]) => [a, b],
            _ => panic!("{key} is not a pair of numbers"),
        }
    }

    fn value(&self, key: &str) -> &Value {
        self.0.get(key).unwrap_or_else(|| panic!("{key} is not a key of this section"))
    }
}

fn as_number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}
