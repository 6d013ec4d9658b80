//! Numpy's arrays, as their classes write themselves into pickles.

use std::borrow::Cow;
use std::fmt;

use super::error::{PickleError, printable};
use super::names::Role;
use super::objects::{Array, Element, Id, Object, Objects, text_of};

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Element { kind, bytes, .. } = self.element;
        write!(f, "an array of shape {:?} and type {}{bytes}", self.shape, char::from(kind))
    }
}

impl Array {
    fn values<'p>(&self, objects: &'p Objects<'_>) -> Option<&'p [u8]> {
        text_of(objects.of(self.bytes))
    }

    pub(super) fn integers(&self, objects: &Objects) -> Option<Vec<i64>> {
        if self.shape.len() != 1 || self.element.kind == b'f' {
            return None;
        }
        self.values(objects)?
            .chunks_exact(self.element.bytes)
            .map(|v| self.element.read(v))
            .collect()
    }

    pub(super) fn byte_rows<'p>(
        &self,
        objects: &'p Objects<'_>,
    ) -> Option<(usize, usize, Cow<'p, [u8]>)> {
        let (&[rows, columns], b'u', 1) = (&self.shape[..], self.element.kind, self.element.bytes)
        else {
            return None;
        };
        let values = self.values(objects)?;
        if !self.column_major {
            return Some((rows, columns, Cow::Borrowed(values)));
        }
        let at = |i: usize| values[i % columns * rows + i / columns];
        Some((rows, columns, (0..values.len()).map(at).collect()))
    }
}

impl Element {
    /// An integer of 1 to 8 bytes; `None` beyond 63 bits.
    fn read(self, value: &[u8]) -> Option<i64> {
        let mut little = value.to_vec();
        if self.big_endian {
            little.reverse();
        }
        let negative = self.kind == b'i' && little.last()? >= &0x80;
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all[..little.len()].copy_from_slice(&little);
        let value = i64::from_le_bytes(all);
        (negative || value >= 0).then_some(value)
    }
}

fn wrong(objects: &Objects, found: impl Into<String>) -> PickleError {
    PickleError::Array { at: objects.at, found: found.into() }
}

/// `numpy.dtype("u1", ...)`
pub(super) fn dtype<'a>(
    objects: &Objects<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let name = arguments.first().and_then(|id| text_of(objects.of(*id))).unwrap_or_default();
    let element = match name {
        [kind @ (b'b' | b'i' | b'u' | b'f'), size @ (b'1' | b'2' | b'4' | b'8')] => {
            Element { kind: *kind, bytes: (size - b'0').into(), big_endian: false }
        }
        _ => return Err(wrong(objects, format!("of type `{}`", printable(name)))),
    };
    Ok(Object::Element(element))
}

/// The state of a type: its byte order, and nothing else of a plain one.
pub(super) fn element_state<'a>(
    objects: &Objects<'a>,
    element: Element,
    state: &[Id],
) -> Result<Object<'a>, PickleError> {
    let (Some(order), Some(parts)) = (state.get(1), state.get(2..5)) else {
        return Err(wrong(objects, "whose type is not as numpy writes it"));
    };
    if parts.iter().any(|id| !matches!(objects.of(*id), Object::None)) {
        return Err(wrong(objects, "whose values have parts"));
    }
    let big_endian = match text_of(objects.of(*order)) {
        Some(b">") => true,
        Some(b"<" | b"|" | b"=") => false,
        _ => return Err(wrong(objects, "of unknown byte order")),
    };
    Ok(Object::Element(Element { big_endian, ..element }))
}

/// `_reconstruct(numpy.ndarray, (0,), b"b")`: an array that its state will fill.
pub(super) fn reconstruct<'a>(
    objects: &Objects<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let class = arguments.first().map(|id| objects.of(*id));
    match class {
        Some(Object::Name(known)) if known.role == Role::NdArray => Ok(Object::Array(None)),
        _ => Err(wrong(objects, "of a class that is not numpy's own")),
    }
}

/// The state of an array: version, shape, type, whether it is column-major, bytes.
pub(super) fn array_state<'a>(
    objects: &Objects<'a>,
    state: &[Id],
) -> Result<Object<'a>, PickleError> {
    let &[_, shape, element, order, bytes] = state else {
        return Err(wrong(objects, "whose state is not as numpy writes it"));
    };
    let Object::Integer(order) = objects.of(order) else {
        return Err(wrong(objects, "of unknown order"));
    };
    whole(objects, shape, element, *order != 0, bytes)
}

/// `_frombuffer(bytes, type, shape, order)`
pub(super) fn from_buffer<'a>(
    objects: &Objects<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let &[bytes, element, shape, order] = arguments else {
        return Err(wrong(objects, "whose state is not as numpy writes it"));
    };
    let column_major = match text_of(objects.of(order)) {
        Some(b"C") => false,
        Some(b"F") => true,
        _ => return Err(wrong(objects, "of unknown order")),
    };
    whole(objects, shape, element, column_major, bytes)
}

fn whole<'a>(
    objects: &Objects<'a>,
    shape: Id,
    element: Id,
    column_major: bool,
    bytes: Id,
) -> Result<Object<'a>, PickleError> {
    let Object::Element(element) = *objects.of(element) else {
        return Err(wrong(objects, "without a type"));
    };
    let shape = shape_of(objects, shape).ok_or_else(|| wrong(objects, "without a shape"))?;
    let Object::Bytes(content) = objects.of(bytes) else {
        return Err(wrong(objects, "whose values are not bytes"));
    };
    let wanted = shape.iter().try_fold(element.bytes, |product, &n| product.checked_mul(n));
    let found = content.len();
    let array = Array { shape, element, column_major, bytes };
    if wanted != Some(found) {
        return Err(wrong(objects, format!("with {found} bytes: {array}")));
    }
    Ok(Object::Array(Some(array)))
}

/// The integers of a tuple: sizes, or steps.
pub(super) fn shape_of(objects: &Objects, id: Id) -> Option<Vec<usize>> {
    /// More than any array of CIFAR or weight has.
    const MOST_AXES: usize = 8;
    let Object::Tuple(axes) = objects.of(id) else { return None };
    let axis = |id: &Id| match objects.of(*id) {
        Object::Integer(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    if axes.len() > MOST_AXES { None } else { axes.iter().map(axis).collect() }
}
