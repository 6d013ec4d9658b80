//! Reads a Python pickle of dictionaries, lists, texts, numbers, and numpy arrays or tensors of PyTorch:
//! CIFAR's Python version and files of `torch.save` are made of these. Nothing of a pickle runs: the few
//! functions it may name are recognised, any other is refused.

mod error;
mod machine;
mod names;
mod numpy;
mod objects;
mod text;
mod torch;

use std::borrow::Cow;
use std::collections::BTreeMap;

use error::printable;
use objects::{Id, Object, Objects, text_of};

pub use error::PickleError;
pub use names::Dialect;
pub(crate) use objects::{Storage, Tensor};

/// A whole pickle.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    objects: Objects<'a>,
    root: Id,
    length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the first pickle in `input`; long texts and arrays stay where they are.
    ///
    /// # Cost
    /// A length is checked against the bytes that follow before memory is taken, and the number of values
    /// is bounded.
    pub(crate) fn read(input: &'a [u8], dialect: Dialect) -> Result<Self, PickleError> {
        let (objects, root, length) = machine::run(input, dialect)?;
        Ok(Self { objects, root, length })
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
        for object in &self.objects.all {
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
        self.objects.of(id)
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
            Object::Array(Some(array)) => array.integers(&self.pickle.objects),
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
        array.byte_rows(&self.pickle.objects)
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

#[cfg(test)]
mod tests;
