//! Thrift's compact protocol, in which Parquet writes footers and page headers, read with bounds: memory
//! follows from the real bytes, not from the counts that they promise.
//!
//! Source: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>, of which
//! Parquet uses neither maps, sets nor identifiers; they are refused.

/// Structs and lists within each other; a Parquet footer has 8 of them.
const DEEPEST: usize = 12;
/// A list whose count does not fit its first byte.
const LONG_LIST: u8 = 15;

/// A value.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Flag,
    Number(i64),
    Real,
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    Struct(Fields<'a>),
}

/// The fields of a struct, in order of their numbers.
#[derive(Debug, PartialEq)]
pub(super) struct Fields<'a>(Vec<(i16, Value<'a>)>);

impl<'a> Fields<'a> {
    /// The struct that `bytes` begin with, and its length.
    pub(super) fn of(bytes: &'a [u8]) -> Result<(Self, usize), String> {
        let mut reader = Reader { bytes, at: 0 };
        let fields = reader.fields(DEEPEST)?;
        Ok((fields, reader.at))
    }

    /// Numbers of the fields that exist.
    pub(super) fn ids(&self) -> impl Iterator<Item = i16> + '_ {
        self.0.iter().map(|(id, _)| *id)
    }

    fn get(&self, id: i16) -> Option<&Value<'a>> {
        self.0.iter().find(|(of, _)| *of == id).map(|(_, value)| value)
    }

    /// A field that may be left out.
    pub(super) fn optional_number(&self, id: i16) -> Result<Option<i64>, String> {
        match self.get(id) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(_) => Err(wrong(id, "a number")),
        }
    }

    pub(super) fn number(&self, id: i16) -> Result<i64, String> {
        self.optional_number(id)?.ok_or_else(|| wrong(id, "a number"))
    }

    /// A number that cannot be negative.
    pub(super) fn size(&self, id: i16) -> Result<u64, String> {
        u64::try_from(self.number(id)?).map_err(|_| wrong(id, "a size"))
    }

    pub(super) fn bytes(&self, id: i16) -> Result<&'a [u8], String> {
        match self.get(id) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(wrong(id, "a text")),
        }
    }

    pub(super) fn fields(&self, id: i16) -> Result<&Fields<'a>, String> {
        match self.get(id) {
            Some(Value::Struct(fields)) => Ok(fields),
            _ => Err(wrong(id, "a struct")),
        }
    }

    /// The elements of a list of structs.
    pub(super) fn structs(&self, id: i16) -> Result<Vec<&Fields<'a>>, String> {
        let Some(Value::List(elements)) = self.get(id) else {
            return Err(wrong(id, "a list"));
        };
        let element = |value: &'_ Value<'a>| matches!(value, Value::Struct(_));
        if !elements.iter().all(element) {
            return Err(wrong(id, "a list of structs"));
        }
        Ok(elements.iter().filter_map(Value::as_fields).collect())
    }
}

impl<'a> Value<'a> {
    fn as_fields(&self) -> Option<&Fields<'a>> {
        match self {
            Self::Struct(fields) => Some(fields),
            _ => None,
        }
    }
}

fn wrong(id: i16, expected: &str) -> String {
    format!("field {id} of its metadata is not {expected}")
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("its metadata ends within byte {}", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(format!("a number of its metadata has no end at byte {}", self.at))
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn fields(&mut self, depth: usize) -> Result<Fields<'a>, String> {
        let mut fields: Vec<(i16, Value<'a>)> = vec![];
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(Fields(fields));
            }
            let before = fields.last().map_or(0, |(id, _)| i64::from(*id));
            let id = match head >> 4 {
                0 => self.number()?,
                step => before + i64::from(step),
            };
            // In ascending order each field comes once: whoever reads them finds the same.
            let id = i16::try_from(id).ok().filter(|id| i64::from(*id) > before);
            let id = id.ok_or_else(|| format!("misplaced field at byte {}", self.at))?;
            let value = match head & 0x0f {
                1 | 2 => Value::Flag,
                kind => self.value(kind, depth)?,
            };
            fields.push((id, value));
        }
    }

    /// A value of this kind, other than a field's truth value, which has no bytes of its own.
    fn value(&mut self, kind: u8, depth: usize) -> Result<Value<'a>, String> {
        Ok(match kind {
            3 => Value::Number(i64::from(self.byte()? as i8)),
            4 => Value::Number(i64::from(self.fits::<i16>()?)),
            5 => Value::Number(i64::from(self.fits::<i32>()?)),
            6 => Value::Number(self.number()?),
            7 => {
                self.take(8)?;
                Value::Real
            }
            8 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            9 | 12 if depth == 0 => {
                return Err(format!("its metadata is nested too deep at byte {}", self.at));
            }
            9 => Value::List(self.list(depth - 1)?),
            12 => Value::Struct(self.fields(depth - 1)?),
            _ => return Err(format!("a value of unknown kind {kind} at byte {}", self.at)),
        })
    }

    fn fits<T: TryFrom<i64>>(&mut self) -> Result<T, String> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| format!("{number} at byte {} is too large", self.at))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value<'a>>, String> {
        let head = self.byte()?;
        let (kind, count) = match head >> 4 {
            LONG_LIST => (head & 0x0f, self.varint()?),
            count => (head & 0x0f, u64::from(count)),
        };
        // Every element takes a byte or more. Truth values, of which decoders disagree, none of ours has.
        if count > (self.bytes.len() - self.at) as u64 {
            return Err(format!(
                "a list of {count} elements at byte {}, which end before",
                self.at
            ));
        }
        (0..count).map(|_| self.value(kind, depth)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        Fields::of(bytes).unwrap_err()
    }

    #[test]
    fn a_struct_by_hand() {
        // 1: i32 -3, 2: "ab", 4: [1, 2] of i32, 5: {}, 20: true; then a byte of something else.
        let bytes = [0x15, 5, 0x18, 2, b'a', b'b', 0x29, 0x25, 2, 4, 0x1c, 0, 0x01, 40, 0, 0xff];
        let (fields, length) = Fields::of(&bytes).unwrap();
        assert_eq!(length, 15);
        assert_eq!(fields.ids().collect::<Vec<_>>(), [1, 2, 4, 5, 20]);
        assert_eq!((fields.number(1), fields.bytes(2)), (Ok(-3), Ok(&b"ab"[..])));
        assert_eq!(fields.get(4), Some(&Value::List(vec![Value::Number(1), Value::Number(2)])));
        assert_eq!(fields.fields(5).unwrap().ids().count(), 0);
        assert!(fields.size(1).is_err() && fields.structs(4).is_err() && fields.number(2).is_err());
        assert_eq!(fields.optional_number(3), Ok(None));
    }

    #[test]
    fn counts_and_lengths_beyond_the_bytes_are_errors() {
        // Two billion elements, a text of 2^60 bytes, a number without an end.
        assert!(error(&[0x19, 0xf6, 0xff, 0xff, 0xff, 0xff, 7, 0]).contains("2147483647 elements"));
        let long = [0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0];
        assert!(error(&long).contains("ends within"));
        assert!(error(&[&[0x16][..], &[0xff; 11]].concat()).contains("no end"));
        assert!(error(&[0x15, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]).contains("too large"));
    }

    #[test]
    fn fields_out_of_order_deep_nesting_and_foreign_kinds_are_errors() {
        assert!(error(&[0x25, 2, 0x05, 2, 2, 0]).contains("misplaced"));
        assert!(error(&[0x25, 2, 0x05, 4, 2, 0]).contains("misplaced"));
        assert!(error(&[0x1c; 100]).contains("too deep"));
        assert!(
            error(&[
                0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19, 0x19,
                0x19
            ])
            .contains("too deep")
        );
        for kind in [0x1a, 0x1b, 0x1d, 0x1e, 0x1f] {
            assert!(error(&[kind, 0, 0, 0]).contains("unknown kind"), "{kind}");
        }
        // A list of truth values.
        assert!(error(&[0x19, 0x11, 1, 0]).contains("unknown kind"));
    }
}
