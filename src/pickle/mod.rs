//! Reads a Python pickle of dictionaries, lists, texts, numbers, and numpy arrays or tensors of PyTorch:
//! CIFAR's Python version and files of `torch.save` are made of these. Nothing of a pickle runs: the few
//! functions it may name are recognised, any other is refused.

mod machine;
mod names;
mod numpy;
mod text;
mod torch;

use std::borrow::Cow;
use std::collections::BTreeMap;

use numpy::{Array, Element};

pub use names::Dialect;
pub(crate) use torch::{Storage, Tensor};

/// What can be wrong with a pickle.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// Something that Python would import and run.
    #[error("the file asks for `{module}.{name}` to be called; refused")]
    Refused {
        /// The module, as the file names it.
        module: String,
        /// The function or class.
        name: String,
    },
    /// A call of, or a state for, something that has none.
    #[error("byte {at}: the file asks for {what}; refused")]
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
    /// An instruction that plain data does not need.
    #[error(
        "byte {at}: instruction 0x{code:02x}; expected a pickle of dictionaries, lists, texts, numbers and arrays"
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
    /// More than any archive of CIFAR or state dict has.
    #[error("byte {at}: more than {most} {what}; files of this kind have fewer")]
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
    /// A tensor that is not as PyTorch writes it, or that reaches beyond its values.
    #[error("byte {at}: a tensor {found}; the file is damaged or of another kind")]
    Tensor {
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
    Name(&'static names::Known),
    Element(Element),
    /// An array; `None` until its state follows.
    Array(Option<Array>),
    Storage(Storage),
    Tensor(Tensor),
    /// Something that holds no tensor, of which nothing is kept.
    Opaque,
}

/// Text of a file for a message: short, and without what a terminal would act on.
fn printable(text: &[u8]) -> String {
    const MOST_SHOWN: usize = 80;
    let shown = String::from_utf8_lossy(&text[..text.len().min(4 * MOST_SHOWN)]);
    shown.chars().take(MOST_SHOWN).flat_map(char::escape_debug).collect()
}

/// A whole pickle.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: Id,
    length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the first pickle in `input`; long texts and arrays stay where they are.
    ///
    /// # Cost
    /// No length is believed before as many bytes are there, and the number of values is bounded.
    pub(crate) fn read(input: &'a [u8], dialect: Dialect) -> Result<Self, PickleError> {
        machine::run(input, dialect)
    }

    /// The outermost value.
    pub(crate) fn root(&self) -> Value<'_, 'a> {
        Value { pickle: self, id: self.root }
    }

    /// Its bytes; others may follow.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// All storages that tensors may lie in, under their keys.
    ///
    /// # Errors
    /// Two of one key that differ.
    pub(crate) fn storages(&self) -> Result<BTreeMap<&str, &Storage>, PickleError> {
        let mut found: BTreeMap<&str, &Storage> = BTreeMap::new();
        for object in &self.objects {
            let Object::Storage(storage) = object else { continue };
            let key = self.key_of(storage);
            if found.insert(key, storage).is_some_and(|other| !other.same_values(storage)) {
                let found = format!("in storage `{}` of two kinds", printable(key.as_bytes()));
                return Err(PickleError::Tensor { at: 0, found });
            }
        }
        Ok(found)
    }

    fn key_of(&self, storage: &Storage) -> &str {
        match self.object(storage.key) {
            Object::Text(text) => text,
            Object::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => "",
        }
    }

    fn object(&self, id: Id) -> &Object<'a> {
        &self.objects[id as usize]
    }
}

/// A value and what it refers to.
#[derive(Clone, Copy)]
pub(crate) struct Value<'p, 'a> {
    pickle: &'p Pickle<'a>,
    id: Id,
}

impl<'p, 'a> Value<'p, 'a> {
    fn object(self) -> &'p Object<'a> {
        self.pickle.object(self.id)
    }

    /// The value of a text key of a dictionary; as in Python, the last one counts.
    pub(crate) fn get(self, key: &str) -> Option<Self> {
        let Object::Dictionary(entries) = self.object() else { return None };
        let is_key = |id: Id| text_of(self.pickle.object(id)) == Some(key.as_bytes());
        let (_, id) = entries.iter().rev().find(|(id, _)| is_key(*id))?;
        Some(Self { id: *id, ..self })
    }

    /// The integers of a list, or of an array with one axis.
    pub(crate) fn integers(self) -> Option<Vec<i64>> {
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
    pub(crate) fn texts(self) -> Option<Vec<String>> {
        let (Object::List(items) | Object::Tuple(items)) = self.object() else { return None };
        let text = |id: &Id| text_of(self.pickle.object(*id));
        items.iter().map(|id| text(id).map(|t| String::from_utf8_lossy(t).into_owned())).collect()
    }

    /// Rows, columns and values, row by row, of an array of unsigned bytes with two axes.
    pub(crate) fn byte_rows(self) -> Option<(usize, usize, Cow<'p, [u8]>)> {
        let Object::Array(Some(array)) = self.object() else { return None };
        array.byte_rows(self.pickle)
    }

    /// Text keys of a dictionary with their values, in the order of the file.
    pub(crate) fn entries(self) -> Vec<(&'p str, Self)> {
        let Object::Dictionary(entries) = self.object() else { return vec![] };
        let text =
            |id: Id| text_of(self.pickle.object(id)).and_then(|t| std::str::from_utf8(t).ok());
        entries
            .iter()
            .filter_map(|(key, id)| Some((text(*key)?, Self { id: *id, ..self })))
            .collect()
    }

    /// Values of a list.
    pub(crate) fn items(self) -> Vec<Self> {
        let (Object::List(items) | Object::Tuple(items)) = self.object() else { return vec![] };
        items.iter().map(|id| Self { id: *id, ..self }).collect()
    }

    /// Whether it is a list or a dictionary.
    pub(crate) fn holds_values(self) -> bool {
        matches!(self.object(), Object::List(_) | Object::Tuple(_) | Object::Dictionary(_))
    }

    /// A number that only this value of the pickle has.
    pub(crate) fn identity(self) -> u32 {
        self.id
    }

    /// An integer.
    pub(crate) fn integer(self) -> Option<i64> {
        match self.object() {
            Object::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// A tensor, the key of its storage, and the storage.
    pub(crate) fn tensor(self) -> Option<(&'p Tensor, &'p str, &'p Storage)> {
        let Object::Tensor(tensor) = self.object() else { return None };
        let Object::Storage(storage) = self.pickle.object(tensor.storage) else { return None };
        Some((tensor, self.pickle.key_of(storage), storage))
    }

    /// What it is, for a message.
    pub(crate) fn describe(self) -> String {
        match self.object() {
            Object::None => "nothing".into(),
            Object::Integer(_) | Object::Float => "a number".into(),
            Object::Bytes(_) | Object::Text(_) => "a text".into(),
            Object::List(items) | Object::Tuple(items) => format!("a list of {}", items.len()),
            Object::Dictionary(entries) => format!("a dictionary of {}", entries.len()),
            Object::Name(_) | Object::Element(_) | Object::Array(None) => "no data".into(),
            Object::Storage(_) | Object::Opaque => "no data".into(),
            Object::Tensor(tensor) => format!("a tensor of shape {:?}", tensor.shape),
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
