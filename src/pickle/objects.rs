//! The values of a pickle, and where in the program they are being made.

use std::borrow::Cow;

use safetensors::Dtype;

use super::error::PickleError;
use super::names::Known;

/// The state of a type of numpy has the most, 9 parts.
const MOST_ARGUMENTS: usize = 9;

/// The number of a value; values refer to each other by it, so that neither nesting nor sharing takes
/// more memory than the bytes that describe it.
pub(super) type Id = u32;

/// A value of a pickle.
#[derive(Debug)]
pub(super) enum Object<'a> {
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
    Name(&'static Known),
    Element(Element),
    /// An array; `None` until its state follows.
    Array(Option<Array>),
    Storage(Storage),
    Tensor(Tensor),
    /// Something that holds no tensor, of which nothing is kept.
    Opaque,
}

/// The type of an array's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// numpy's letter: b truth value, i integer, u unsigned integer, f float.
    pub(super) kind: u8,
    pub(super) bytes: usize,
    pub(super) big_endian: bool,
}

/// An array whose bytes are as many as its shape says.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    /// The first axis varies fastest.
    pub(super) column_major: bool,
    /// The value that holds them.
    pub(super) bytes: Id,
}

/// Values in a row, outside of the pickle.
#[derive(Debug)]
pub(crate) struct Storage {
    /// The value that names it.
    pub(super) key: Id,
    /// The type of its values.
    pub(crate) dtype: Dtype,
    /// How many there are, as the pickle says.
    pub(crate) values: u64,
}

/// A view of a storage that does not reach beyond what the pickle says of its length.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(super) storage: Id,
    /// The place of its first value in the storage.
    pub(crate) offset: usize,
    /// Sizes, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Values from one to the next along each axis.
    pub(crate) strides: Vec<usize>,
}

/// All values that were made, and the instruction that is being done.
#[derive(Debug, Default)]
pub(super) struct Objects<'a> {
    pub(super) all: Vec<Object<'a>>,
    /// The byte of the instruction.
    pub(super) at: usize,
}

impl<'a> Objects<'a> {
    pub(super) fn of(&self, id: Id) -> &Object<'a> {
        &self.all[id as usize]
    }

    /// Arguments of a call, or the parts of a state.
    pub(super) fn few(&self, id: Id) -> Result<Vec<Id>, PickleError> {
        match self.of(id) {
            Object::Tuple(items) if items.len() <= MOST_ARGUMENTS => Ok(items.clone()),
            _ => Err(self.misplaced("a call without the arguments that it needs")),
        }
    }

    pub(super) fn misplaced(&self, found: &'static str) -> PickleError {
        PickleError::Misplaced { at: self.at, found }
    }
}

/// The bytes of a text.
pub(super) fn text_of<'o>(object: &'o Object<'_>) -> Option<&'o [u8]> {
    match object {
        Object::Bytes(bytes) => Some(bytes),
        Object::Text(text) => Some(text.as_bytes()),
        _ => None,
    }
}
