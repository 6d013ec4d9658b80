//! The table of settings: a section of a pipeline declares each key once, with its type, default, range,
//! flag and meaning.
//!
//! `settings!` makes of a table the struct with its defaults, and a [`Setting`] for each key, from which
//! follow the check of its value, its flag with help, its row in the documents and, in `[finetune]`,
//! whether batches depend on it.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::de::value::Error as WordError;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use toml::{Table, Value};

use super::ConfigError;
use super::range::Range;
use crate::methods::{Choice, Registered, TrainLoss};
use crate::text::{nearest, one_of};

/// A section of a pipeline.
pub trait Section: Sized + 'static {
    /// Its keys, in order.
    const SETTINGS: &'static [Setting<Self>];
}

/// A condition on a section, and its words.
type Rule<S> = (fn(&S) -> bool, &'static str);

/// A key of a section, and all that is known of it.
pub struct Setting<S> {
    /// The key.
    pub key: &'static str,
    /// The key with its section.
    path: &'static str,
    doc: &'static str,
    note: &'static str,
    /// The paper's symbol; empty where there is none.
    pub symbol: &'static str,
    /// Names of the flag's values, with spaces between them; none of a key without a flag.
    pub value_names: Option<&'static str>,
    /// A value of a flag as one of TOML.
    pub parse: fn(&str) -> Result<Value, String>,
    words: fn() -> Vec<&'static str>,
    value: fn(&S) -> &dyn SettingValue,
    take: fn(&mut S, &S),
    range: Option<Range>,
    own: Option<fn(&S) -> bool>,
    expected: &'static str,
    rules: [Option<Rule<S>>; 2],
    absent: &'static str,
    /// Whether methods may bring another default.
    pub is_by_method: bool,
    decides_batches: bool,
}

/// What the table can say of a key, in addition to its type and default.
impl<S> Setting<S> {
    pub(super) const fn new<T: SettingValue>(
        (key, path): (&'static str, &'static str),
        doc: &'static str,
        value: fn(&S) -> &dyn SettingValue,
        take: fn(&mut S, &S),
    ) -> Self {
        Self {
            key,
            path,
            doc,
            note: "",
            symbol: "",
            value_names: None,
            parse: T::parse,
            words: T::words,
            value,
            take,
            range: None,
            own: None,
            expected: "",
            rules: [None; 2],
            absent: "",
            is_by_method: false,
            decides_batches: true,
        }
    }

    /// The numbers that it may be.
    pub(super) const fn range(mut self, range: Range) -> Self {
        self.range = Some(range);
        self
    }

    /// What messages call its range, in place of the bounds.
    pub(super) const fn expected(mut self, expected: &'static str) -> Self {
        self.expected = expected;
        self
    }

    /// A condition on the value alone.
    pub(super) const fn valid(mut self, holds: fn(&S) -> bool, expected: &'static str) -> Self {
        (self.own, self.expected) = (Some(holds), expected);
        self
    }

    /// A condition on the value that depends on other keys, or on what the section is for; two at most.
    pub(super) const fn rule(mut self, holds: fn(&S) -> bool, expected: &'static str) -> Self {
        let free = self.rules[0].is_some() as usize;
        self.rules[free] = Some((holds, expected));
        self
    }

    /// The paper's symbol.
    pub(super) const fn symbol(mut self, symbol: &'static str) -> Self {
        self.symbol = symbol;
        self
    }

    /// It has a flag, with values of these names.
    pub(super) const fn flag(mut self, value_names: &'static str) -> Self {
        self.value_names = Some(value_names);
        self
    }

    /// What the documents say in addition to its meaning.
    pub(super) const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    /// What the documents show as its default, if that is not a value.
    pub(super) const fn absent(mut self, text: &'static str) -> Self {
        self.absent = text;
        self
    }

    /// Methods may bring another default.
    pub(super) const fn by_method(mut self) -> Self {
        self.is_by_method = true;
        self
    }

    /// Runs that differ in it alone draw the same batches.
    pub(super) const fn same_batches(mut self) -> Self {
        self.decides_batches = false;
        self
    }
}

/// What follows from it.
impl<S: Default> Setting<S> {
    /// Its flag, without the hyphens in front.
    pub fn flag_name(&self) -> String {
        self.key.replace('_', "-")
    }

    /// What it is, in the words of `--help`.
    pub fn help(&self) -> String {
        let symbol = match self.symbol {
            "" => String::new(),
            symbol => format!("{symbol}: "),
        };
        let words = match (self.words)() {
            none if none.is_empty() => String::new(),
            words => format!(" [values: {}]", words.join(", ")),
        };
        let meaning = self.doc.trim().trim_end_matches('.').replace('`', "");
        let default = match self.absent {
            "" => (self.value)(&S::default()).on_command_line(),
            text => text.into(),
        };
        let of_methods = self.or_the_methods();
        in_latin(&format!("{symbol}{meaning}{words} [default: {default}{of_methods}]"))
    }

    fn or_the_methods(&self) -> &'static str {
        if self.is_by_method { ", or the method's" } else { "" }
    }

    /// What it is, for the documents.
    pub fn meaning(&self) -> String {
        format!("{}{}", self.doc.trim().trim_end_matches('.'), self.note)
    }

    /// Its default, for the documents.
    pub fn default_text(&self) -> String {
        let value = match self.absent {
            "" => format!("`{}`", (self.value)(&S::default()).in_toml()),
            text => text.into(),
        };
        value + self.or_the_methods()
    }

    /// What it may be, for messages and documents; empty where its type says all.
    pub fn expected_text(&self) -> String {
        match (self.expected, self.range, (self.words)()) {
            ("", Some(range), _) => range.text(),
            ("", None, words) => one_of(words.iter().map(|word| format!("`{word}`"))),
            (text, ..) => text.into(),
        }
    }

    fn found(&self, section: &S, file: &Path, expected: String) -> ConfigError {
        let found = (self.value)(section).shown();
        ConfigError::OutOfRange { file: file.into(), key: self.path, found, expected }
    }

    /// Checks the value alone.
    fn check_value(&self, file: &Path, section: &S) -> Result<(), ConfigError> {
        let in_range = self
            .range
            .is_none_or(|range| (self.value)(section).number().is_some_and(|v| range.has(v)));
        if in_range && self.own.is_none_or(|holds| holds(section)) {
            Ok(())
        } else {
            Err(self.found(section, file, self.expected_text()))
        }
    }

    /// Checks it against other keys.
    fn check_rules(&self, file: &Path, section: &S) -> Result<(), ConfigError> {
        match self.rules.iter().flatten().find(|(holds, _)| !holds(section)) {
            Some((_, expected)) => Err(self.found(section, file, (*expected).into())),
            None => Ok(()),
        }
    }
}

/// Checks each value alone.
pub(super) fn check_values<S: Section + Default>(file: &Path, of: &S) -> Result<(), ConfigError> {
    S::SETTINGS.iter().try_for_each(|setting| setting.check_value(file, of))
}

/// Checks a section.
pub(super) fn check<S: Section + Default>(file: &Path, section: &S) -> Result<(), ConfigError> {
    check_values(file, section)?;
    S::SETTINGS.iter().try_for_each(|setting| setting.check_rules(file, section))
}

/// Puts the settings that decide no batches at their defaults.
pub(super) fn keep_what_decides_batches<S: Section + Default>(section: &mut S) {
    let plain = S::default();
    let others = S::SETTINGS.iter().filter(|setting| !setting.decides_batches);
    others.for_each(|setting| (setting.take)(section, &plain));
}

/// Greek letters by their names, which every terminal shows.
fn in_latin(text: &str) -> String {
    let letters = [("τ", "tau"), ("γ", "gamma"), ("β", "beta"), ("α", "alpha"), ("ε", "epsilon")];
    let letters = letters.into_iter().chain([("λ", "lambda")]);
    letters.fold(text.into(), |text, (letter, name)| text.replace(letter, name))
}

/// A value in TOML syntax; a bare word is a string.
pub fn value_of(text: &str) -> Value {
    toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(text.into()))
}

/// A type that settings have.
pub trait SettingValue: Debug {
    /// The value as messages show it.
    fn shown(&self) -> String {
        format!("{self:?}")
    }

    /// The value in a pipeline.
    fn in_toml(&self) -> String {
        format!("{self:?}")
    }

    /// The value on a command line.
    fn on_command_line(&self) -> String {
        self.shown()
    }

    /// The value as a number, if it is one.
    fn number(&self) -> Option<f64> {
        None
    }

    /// A value of its flag as one of TOML.
    ///
    /// # Errors
    /// It is of another type.
    fn parse(text: &str) -> Result<Value, String>
    where
        Self: Sized,
    {
        Ok(value_of(text))
    }

    /// The words that it may be; none where it is not a word.
    fn words() -> Vec<&'static str>
    where
        Self: Sized,
    {
        vec![]
    }
}

macro_rules! numbers {
    ($($type:ty)*) => { $(
        impl SettingValue for $type {
            fn shown(&self) -> String {
                self.to_string()
            }

            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }

            fn parse(text: &str) -> Result<Value, String> {
                let number = text.parse::<$type>().map_err(|e| e.to_string())?;
                Value::try_from(number).map_err(|e| e.to_string())
            }
        }
    )* };
}

numbers!(usize u32 u64 i32 f32 f64);

impl<T: SettingValue> SettingValue for [T; 2] {
    fn on_command_line(&self) -> String {
        self.each_ref().map(T::on_command_line).join(" ")
    }

    fn parse(text: &str) -> Result<Value, String> {
        T::parse(text)
    }
}

impl SettingValue for bool {}

impl<T: Debug> SettingValue for Vec<T> {}

impl SettingValue for String {
    fn shown(&self) -> String {
        if self.is_empty() { "\"\"".into() } else { self.clone() }
    }
}

impl SettingValue for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string().shown()
    }
}

/// What is registered under a name.
macro_rules! named {
    ($([$($generics:tt)*] $type:ty;)*) => { $(
        impl<$($generics)*> SettingValue for $type {
            fn shown(&self) -> String {
                self.name().into()
            }

            fn in_toml(&self) -> String {
                format!("\"{}\"", self.name())
            }

            fn parse(text: &str) -> Result<Value, String> {
                word::<Self>(text).map(|found| found.name().into())
            }

            fn words() -> Vec<&'static str> {
                Self::all().map(Self::name).collect()
            }
        }
    )* };
}

named! { [T: Registered] Choice<T>; [] TrainLoss; }

/// Enums whose values are words.
macro_rules! words {
    ($($type:ty)*) => { $(
        impl $crate::config::settings::SettingValue for $type {
            fn shown(&self) -> String {
                $crate::config::settings::word_of(self)
            }

            fn in_toml(&self) -> String {
                format!("\"{}\"", $crate::config::settings::word_of(self))
            }

            fn parse(text: &str) -> Result<toml::Value, String> {
                $crate::config::word::<Self>(text)?;
                Ok(toml::Value::String(text.into()))
            }

            fn words() -> Vec<&'static str> {
                $crate::config::settings::words_of::<Self>().to_vec()
            }
        }
    )* };
}
pub(super) use words;

/// The word of a value in a pipeline.
pub(super) fn word_of(value: &(impl Serialize + Debug)) -> String {
    match Value::try_from(value) {
        Ok(Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}

/// The value that a word of a pipeline stands for.
///
/// # Errors
/// There is no such word; the message has the known ones, and the nearest.
pub fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    Value::String(text.into()).try_into().map_err(|e| {
        let message = e.to_string();
        let message = message.lines().next().unwrap_or_default();
        // The word, then the known ones.
        match nearest(text, message.split('`').skip(1).step_by(2).skip(1)) {
            Some(known) => format!("{message}; did you mean `{known}`?"),
            None => message.into(),
        }
    })
}

/// All words of an enum in the order of its variants, as serde names them; none of another type.
pub(super) fn words_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Names<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = WordError;

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _name: &'static str,
            variants: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, WordError> {
            *self.0 = variants;
            Err(WordError::custom("names alone"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, WordError> {
            Err(WordError::custom("no enum"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }

    let mut names: &'static [&'static str] = &[];
    // It never gives a value.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// A section: its struct, its defaults and its [`Setting`]s. A row is
/// `/// meaning` and `key: type = default, range(...), flag(...), ...;`, where what follows the default is
/// in any order, and is named for the functions of [`Setting`].
macro_rules! settings {
    ($(#[$meta:meta])* $name:ident = $section:literal {
        $($(#[doc = $doc:literal])+
        $key:ident: $type:ty = $default:expr $(, $option:ident($($value:expr),*))*;)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $crate::config::settings::Section for $name {
            const SETTINGS: &'static [$crate::config::settings::Setting<Self>] = &[$(
                $crate::config::settings::Setting::<Self>::new::<$type>(
                    (stringify!($key), concat!($section, ".", stringify!($key))),
                    concat!($($doc),+),
                    |section| &section.$key,
                    |to, from| to.$key = from.$key.clone(),
                )$(.$option($($value),*))*,
            )*];
        }
    };
}
pub(super) use settings;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::range::{POSITIVE, above, at_least, at_most, below, closed, open};
    use crate::config::{DatasetConfig, FinetuneConfig, TrainConfig};

    fn setting<S: Section>(key: &str) -> &'static Setting<S> {
        S::SETTINGS.iter().find(|setting| setting.key == key).unwrap()
    }

    #[test]
    fn help_says_symbol_words_and_default() {
        let help = |key| setting::<FinetuneConfig>(key).help();
        assert_eq!(
            help("tau_specific"),
            "tau_s: A location is class-specific where the normalised CAM is above it [default: 0.5]"
        );
        assert!(help("head_sampling").ends_with("[values: class, instance] [default: class]"));
        assert!(help("learning_rate").ends_with("[default: 0.001, or the method's]"));
        assert!(help("gamma_range").ends_with("[default: 0 1]"));
        assert!(help("method").contains("[values: phase1, no-aug, fsa, "));
    }

    #[test]
    fn documents_show_defaults_as_pipelines_have_them() {
        let train = |key| setting::<TrainConfig>(key).default_text();
        let found = ["weight_decay", "schedule", "crop_scale", "flip"].map(train);
        assert_eq!(found, ["`0.0005`", "`\"step\"`", "`[0.08, 1.0]`", "`true`"]);
        assert_eq!(setting::<DatasetConfig>("mean").default_text(), "that of the kind");
        let words = setting::<DatasetConfig>("interpolation").expected_text();
        assert_eq!(words, "`bilinear` or `bicubic`");
    }

    #[test]
    fn ranges_have_their_bounds_and_words() {
        let cases = [
            (closed(1.0, 2.0), "1 to 2", [true, true]),
            (open(1.0, 2.0), "between 1 and 2, both excluded", [false, false]),
            (below(1.0, 2.0), "1 up to, not including, 2", [true, false]),
            (above(1.0, 2.0), "above 1, at most 2", [false, true]),
            (at_least(2.0), "at least 2", [false, true]),
            (at_least(0.0), "0 or more", [true, true]),
            (at_most(1.0), "at most 1", [true, false]),
            (POSITIVE, "a positive number", [true, true]),
        ];
        for (range, text, has) in cases {
            assert_eq!((range.text().as_str(), [1.0, 2.0].map(|v| range.has(v))), (text, has));
            assert!(!range.has(f64::NAN) && !range.has(f64::INFINITY), "{text}");
        }
    }

    #[test]
    fn what_is_no_word_is_told_those_that_are() {
        let message = word::<crate::config::Interpolation>("bicubik").unwrap_err();
        assert_eq!(
            message,
            "unknown variant `bicubik`, expected `bilinear` or `bicubic`; did you mean `bicubic`?"
        );
        assert!(words_of::<f64>().is_empty());
    }
}
