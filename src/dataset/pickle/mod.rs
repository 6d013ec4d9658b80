//! Reads a Python pickle of dictionaries, lists, texts, numbers and numpy arrays, which CIFAR's Python
//! version is made of. Nothing of a pickle runs: the few functions it may name are recognised, any
//! other is refused.

mod machine;
mod numpy;

use std::borrow::Cow;

use numpy::{Array, Element};

/// What can be wrong with a pickle.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// Something that Python would import and run.
    #[error(
        "the file asks for `{module}.{name}` to be called; refused\n  No code of a file is run here. Fetch the archive again from a place that you trust."
    )]
    Refused {
        /// The module, as the file names it.
        module: String,
        /// The function or class.
        name: String,
    },
    /// A call of, or a state for, something that has none.
    #[error(
        "byte {at}: the file asks for {what}; refused\n  No code of a file is run here. Fetch the archive again from a place that you trust."
    )]
    RefusedValue {
        /// Where, from 0.
        at: usize,
        /// What it asks for.
        what: &'static str,
    },
    /// The file ends too early.
    #[error("byte {at}: {wanted} bytes should follow, {left} do; the file is cut short or damaged")]
    CutShort {
        /// Where, from 0.
        at: usize,
        /// Bytes that were promised.
        wanted: u64,
        /// Bytes that are there.
        left: usize,
    },
    /// A protocol that Python did not have.
    #[error("protocol {found} of Python's pickles; expected 0 to 5")]
    Protocol {
        /// Its number.
        found: u8,
    },
    /// An instruction that an archive of CIFAR does not need.
    #[error(
        "byte {at}: instruction 0x{code:02x}; expected a pickle of dictionaries, lists, texts, numbers and numpy arrays"
    )]
    Instruction {
        /// Where, from 0.
        at: usize,
        /// The instruction.
        code: u8,
    },
    /// An instruction that does not find the values that it works on.
    #[error("byte {at}: {found}; the file is damaged")]
    Misplaced {
        /// Where, from 0.
        at: usize,
        /// What was found.
        found: &'static str,
    },
    /// A number or a text that is none.
    #[error("byte {at}: not {expected}; the file is damaged")]
    Unreadable {
        /// Where, from 0.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// More than any archive of CIFAR has.
    #[error("byte {at}: more than {most} {what}; expected a file of CIFAR's Python version")]
    TooMany {
        /// Where, from 0.
        at: usize,
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// A numpy array that is not as numpy writes it.
    #[error("byte {at}: a numpy array {found}; the file is damaged or of another kind")]
    Array {
        /// Where, from 0.
        at: usize,
        /// What is wrong.
        found: String,
    },
}

/// The number of a value; values refer to each other by it, so that neither nesting nor sharing takes
/// more memory than the bytes that describe it.
type Id = u32;

/// A value of a pickle.
#[derive(Debug)]
enum Object<'a> {
    None,
    /// Truth values are 0 and 1, as in Python.
    Integer(i64),
    Float,
    /// Bytes, or a text of Python 2.
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    Name(Name),
    Element(Element),
    /// An array; `None` until its state follows.
    Array(Option<Array>),
}

/// The functions and classes that a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// `numpy.core.multiarray._reconstruct`: an array whose state follows.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array of protocol 5.
    FromBuffer,
    /// `numpy.ndarray`, an argument of `_reconstruct`.
    NdArray,
    /// `numpy.dtype`
    Dtype,
    /// `_codecs.encode`: how Python 3 writes bytes in the protocols of Python 2.
    Encode,
}

impl Name {
    const ALL: [(&'static str, &'static str, Self); 7] = [
        ("numpy.core.multiarray", "_reconstruct", Self::Reconstruct),
        ("numpy._core.multiarray", "_reconstruct", Self::Reconstruct),
        ("numpy.core.numeric", "_frombuffer", Self::FromBuffer),
        ("numpy._core.numeric", "_frombuffer", Self::FromBuffer),
        ("numpy", "ndarray", Self::NdArray),
        ("numpy", "dtype", Self::Dtype),
        ("_codecs", "encode", Self::Encode),
    ];

    fn known(module: &[u8], name: &[u8]) -> Result<Self, PickleError> {
        let same = |(m, n, _): &&(&str, &str, Self)| m.as_bytes() == module && n.as_bytes() == name;
        Self::ALL.iter().find(same).map(|(.., known)| *known).ok_or_else(|| PickleError::Refused {
            module: printable(module),
            name: printable(name),
        })
    }

    fn refused(self) -> PickleError {
        let (module, name, _) =
            Self::ALL.iter().find(|(.., known)| *known == self).expect("every name is listed");
        PickleError::Refused { module: (*module).into(), name: (*name).into() }
    }
}

/// Text of a file for a message: short, and without what a terminal would act on.
fn printable(text: &[u8]) -> String {
    const MOST_SHOWN: usize = 80;
    let shown = String::from_utf8_lossy(&text[..text.len().min(4 * MOST_SHOWN)]);
    shown.chars().take(MOST_SHOWN).flat_map(char::escape_debug).collect()
}

/// A whole pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads the first pickle in `input`; long texts and arrays stay where they are.
    ///
    /// # Cost
    /// No length is believed before as many bytes are there, and the number of values is bounded.
    pub(super) fn read(input: &'a [u8]) -> Result<Self, PickleError> {
        machine::run(input)
    }

    /// The outermost value.
    pub(super) fn root(&self) -> Value<'_, 'a> {
        Value { pickle: self, id: self.root }
    }

    fn object(&self, id: Id) -> &Object<'a> {
        &self.objects[id as usize]
    }
}

/// A value and what it refers to.
#[derive(Clone, Copy)]
pub(super) struct Value<'p, 'a> {
    pickle: &'p Pickle<'a>,
    id: Id,
}

impl<'p, 'a> Value<'p, 'a> {
    fn object(self) -> &'p Object<'a> {
        self.pickle.object(self.id)
    }

    /// The value of a text key of a dictionary; as in Python, the last one counts.
    pub(super) fn get(self, key: &str) -> Option<Self> {
        let Object::Dictionary(entries) = self.object() else { return None };
        let is_key = |id: Id| text_of(self.pickle.object(id)) == Some(key.as_bytes());
        let (_, id) = entries.iter().rev().find(|(id, _)| is_key(*id))?;
        Some(Self { id: *id, ..self })
    }

    /// The integers of a list, or of an array with one axis.
    pub(super) fn integers(self) -> Option<Vec<i64>> {
        match self.object() {
            Object::List(items) | Object::Tuple(items) => {
                let integer = |id: &Id| match self.pickle.object(*id) {
                    Object::Integer(value) => Some(*value),
                    _ => None,
                };
                items.iter().map(integer).collect()
            }
            Object::Array(Some(array)) => array.integers(self.pickle),
            _ => None,
        }
    }

    /// The texts of a list.
    pub(super) fn texts(self) -> Option<Vec<String>> {
        let (Object::List(items) | Object::Tuple(items)) = self.object() else { return None };
        let text = |id: &Id| text_of(self.pickle.object(*id));
        items.iter().map(|id| text(id).map(|t| String::from_utf8_lossy(t).into_owned())).collect()
    }

    /// Rows, columns and values, row by row, of an array of unsigned bytes with two axes.
    pub(super) fn byte_rows(self) -> Option<(usize, usize, Cow<'p, [u8]>)> {
        let Object::Array(Some(array)) = self.object() else { return None };
        array.byte_rows(self.pickle)
    }

    /// What it is, for a message.
    pub(super) fn describe(self) -> String {
        match self.object() {
            Object::None => "nothing".into(),
            Object::Integer(_) | Object::Float => "a number".into(),
            Object::Bytes(_) | Object::Text(_) => "a text".into(),
            Object::List(items) | Object::Tuple(items) => format!("a list of {}", items.len()),
            Object::Dictionary(entries) => format!("a dictionary of {}", entries.len()),
            Object::Name(_) | Object::Element(_) | Object::Array(None) => "no data".into(),
            Object::Array(Some(array)) => array.to_string(),
        }
    }
}

fn text_of<'o>(object: &'o Object<'_>) -> Option<&'o [u8]> {
    match object {
        Object::Bytes(bytes) => Some(bytes),
        Object::Text(text) => Some(text.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
