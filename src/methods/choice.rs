//! Things that a pipeline names by a word, with the facts of each.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Facts that are found by their name.
pub trait Registered: Sized + 'static {
    /// The word in a pipeline.
    fn name(&self) -> &'static str;

    /// Every one, in the order of tables.
    fn all() -> &'static [Choice<Self>];
}

/// One of the registered facts: written and read as its name, and equal to those of the same name.
pub struct Choice<T: 'static>(&'static T);

impl<T: Registered> Choice<T> {
    /// The facts as a value.
    pub(super) const fn of(facts: &'static T) -> Self {
        Self(facts)
    }

    /// Every one, in the order of tables.
    pub fn all() -> impl Iterator<Item = Self> {
        T::all().iter().copied()
    }

    /// The one with this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|known| known.name() == name)
    }

    /// The one with this name, which must be registered.
    ///
    /// # Panics
    /// It is not; names that users give go through [`Choice::find`].
    pub fn named(name: &str) -> Self {
        Self::find(name).unwrap_or_else(|| panic!("{name} is not registered"))
    }

    /// The word in a pipeline.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// What is known of it.
    pub fn facts(self) -> &'static T {
        self.0
    }
}

/// The error of serde for a word that is not among those that may stand there.
pub(super) fn unknown<E: de::Error>(word: &str, known: impl Iterator<Item = &'static str>) -> E {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    E::custom(format_args!("unknown variant `{word}`, expected one of {}", known.join(", ")))
}

impl<T> Deref for Choice<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T> Clone for Choice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Choice<T> {}

impl<T: Registered> PartialEq for Choice<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<T: Registered> Eq for Choice<T> {}

impl<T: Registered> fmt::Debug for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl<T: Registered> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Registered> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::find(&word).ok_or_else(|| unknown(&word, Self::all().map(Self::name)))
    }
}
