//! The stack machine that a pickle is a program for.

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::PickleError;
use super::names::{Dialect, Known, Role};
use super::objects::{Id, Object, Objects};
use super::text::{unescape, unquote};
use super::{numpy, torch};

/// CIFAR-100's training images have some 200,000 values, a checkpoint with its optimizer fewer.
const MOST_VALUES: usize = 1 << 20;
/// Marks that are open at once: how deeply lists and the like are nested.
const MOST_MARKS: usize = 100;

type Outcome = Result<(), PickleError>;

/// Runs the program to its end: its values, the outermost one, and how many bytes it takes.
pub(super) fn run(input: &[u8], dialect: Dialect) -> Result<(Objects<'_>, Id, usize), PickleError> {
    let mut machine = Machine {
        input,
        dialect,
        at: 0,
        objects: Objects::default(),
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
        pushed: 0,
        decodable: input.len().saturating_mul(2),
    };
    loop {
        machine.objects.at = machine.at;
        match machine.take(1)?[0] {
            b'.' => break,
            code => machine.step(code)?,
        }
    }
    let root = machine.pop()?;
    Ok((machine.objects, root, machine.at))
}

struct Machine<'a> {
    input: &'a [u8],
    dialect: Dialect,
    /// The next byte.
    at: usize,
    objects: Objects<'a>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Values that were ever put on the stack.
    pushed: usize,
    /// Characters that escapes and encodings may still give. What Python writes gives each of its
    /// bytes twice at most; a text that is encoded again and again would give any number.
    decodable: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self, code: u8) -> Outcome {
        match code {
            0x80 => self.protocol(),
            0x95 => self.frame(),
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Integer(1)),
            0x89 => self.push(Object::Integer(0)),
            b'I' | b'L' => self.number_in_text(),
            b'K' => self.number::<1>(|bytes| bytes[0].into()),
            b'M' => self.number::<2>(|bytes| u16::from_le_bytes(bytes).into()),
            b'J' => self.number::<4>(|bytes| i32::from_le_bytes(bytes).into()),
            0x8a => self.long_number::<1>(),
            0x8b => self.long_number::<4>(),
            b'F' => self.line().and_then(|_| self.push(Object::Float)),
            b'G' => self.take(8).and_then(|_| self.push(Object::Float)),
            b'S' => self.quoted(),
            b'V' => self.escaped_text(),
            b'U' | b'C' => self.bytes::<1>(),
            b'T' | b'B' => self.bytes::<4>(),
            0x8e | 0x96 => self.bytes::<8>(),
            0x8c => self.text::<1>(),
            b'X' => self.text::<4>(),
            0x8d => self.text::<8>(),
            b'(' => self.mark(),
            b'0' => self.drop_top(),
            b'1' => self.since_mark().map(drop),
            b'2' => self.top().and_then(|id| self.push_id(id)),
            b']' => self.push(Object::List(vec![])),
            b'}' => self.push(Object::Dictionary(vec![])),
            b')' => self.push(Object::Tuple(vec![])),
            b'l' => self.since_mark().and_then(|items| self.push(Object::List(items))),
            b't' => self.since_mark().and_then(|items| self.push(Object::Tuple(items))),
            b'd' => self.dictionary(),
            0x85..=0x87 => self.tuple_of(usize::from(code - 0x84)),
            b'a' => self.pop().and_then(|item| self.append(&[item])),
            b'e' => self.since_mark().and_then(|items| self.append(&items)),
            b's' => self.set_one(),
            b'u' => self.since_mark().and_then(|items| self.set(&items)),
            b'p' | b'q' | b'r' | 0x94 => self.store(code),
            b'g' | b'h' | b'j' => self.recall(code),
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            b'i' => self.instance(),
            b'Q' if self.dialect == Dialect::Torch => self.persistent(),
            b'o' | 0x81 | 0x92 => self.object(code),
            _ => Err(PickleError::Instruction { at: self.objects.at, code }),
        }
    }

    fn protocol(&mut self) -> Outcome {
        match self.take(1)?[0] {
            0..=5 => Ok(()),
            found => Err(PickleError::Protocol { found }),
        }
    }

    /// A frame only says how much may be read at once.
    fn frame(&mut self) -> Outcome {
        let length = u64::from_le_bytes(self.array()?);
        self.left(length)
    }

    // Bytes

    fn left(&self, wanted: u64) -> Outcome {
        let left = self.input.len() - self.at;
        if wanted > left as u64 {
            return Err(PickleError::CutShort { at: self.at, wanted, left });
        }
        Ok(())
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], PickleError> {
        self.left(length)?;
        let bytes = &self.input[self.at..][..length as usize];
        self.at += bytes.len();
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        Ok(self.take(N as u64)?.try_into().expect("as many as asked for"))
    }

    /// A length of N bytes and as many bytes as it says.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8], PickleError> {
        let mut length = [0; 8];
        length[..N].copy_from_slice(&self.array::<N>()?);
        self.take(u64::from_le_bytes(length))
    }

    /// What stands before the next line feed.
    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = &self.input[self.at..];
        let Some(length) = rest.iter().position(|&b| b == b'\n') else {
            let wanted = rest.len() as u64 + 1;
            return Err(PickleError::CutShort { at: self.at, wanted, left: rest.len() });
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn unreadable(&self, expected: &'static str) -> PickleError {
        PickleError::Unreadable { at: self.objects.at, expected }
    }

    // Values

    fn count(&mut self) -> Outcome {
        self.pushed += 1;
        if self.pushed > MOST_VALUES {
            let (at, most) = (self.objects.at, MOST_VALUES);
            return Err(PickleError::TooMany { at, most, what: "values" });
        }
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) -> Outcome {
        let id = self.objects.all.len() as Id;
        self.push_id(id)?;
        self.objects.all.push(object);
        Ok(())
    }

    fn push_id(&mut self, id: Id) -> Outcome {
        self.count()?;
        self.stack.push(id);
        Ok(())
    }

    fn top(&self) -> Result<Id, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(id) if self.stack.len() > floor => Ok(*id),
            _ => Err(self.objects.misplaced("an instruction without a value to work on")),
        }
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn of(&self, id: Id) -> &Object<'a> {
        self.objects.of(id)
    }

    fn mark(&mut self) -> Outcome {
        if self.marks.len() == MOST_MARKS {
            let (at, most) = (self.objects.at, MOST_MARKS);
            return Err(PickleError::TooMany { at, most, what: "lists in each other" });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self
            .marks
            .pop()
            .ok_or_else(|| self.objects.misplaced("the end of a list that has no start"))?;
        Ok(self.stack.split_off(mark))
    }

    /// Takes off the top value, or the mark where there is none above it.
    fn drop_top(&mut self) -> Outcome {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    // Numbers

    fn number<const N: usize>(&mut self, read: fn([u8; N]) -> i64) -> Outcome {
        let value = read(self.array()?);
        self.push(Object::Integer(value))
    }

    fn integer_of(&self, text: &[u8]) -> Result<i64, PickleError> {
        let text = std::str::from_utf8(text).ok().map(|t| t.trim_end_matches('L'));
        text.and_then(|t| t.parse().ok()).ok_or_else(|| self.unreadable("an integer of 64 bits"))
    }

    fn number_in_text(&mut self) -> Outcome {
        let line = self.line()?;
        let value = self.integer_of(line)?;
        self.push(Object::Integer(value))
    }

    /// Two's complement of any length.
    fn long_number<const N: usize>(&mut self) -> Outcome {
        let bytes = self.counted::<N>()?;
        if bytes.len() > 8 && self.dialect == Dialect::Torch {
            // Such as the state of a random number generator.
            return self.push(Object::Opaque);
        }
        if bytes.len() > 8 {
            return Err(self.unreadable("an integer of 64 bits"));
        }
        let negative = bytes.last().is_some_and(|&b| b >= 0x80);
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        self.push(Object::Integer(i64::from_le_bytes(all)))
    }

    // Texts

    fn bytes<const N: usize>(&mut self) -> Outcome {
        let bytes = self.counted::<N>()?;
        self.push(Object::Bytes(Cow::Borrowed(bytes)))
    }

    fn text<const N: usize>(&mut self) -> Outcome {
        let bytes = self.counted::<N>()?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.unreadable("a text in UTF-8"))?;
        self.push(Object::Text(Cow::Borrowed(text)))
    }

    /// Counts characters that are decoded or encoded.
    fn decode(&mut self, characters: usize) -> Outcome {
        match self.decodable.checked_sub(characters) {
            Some(left) => {
                self.decodable = left;
                Ok(())
            }
            None => Err(PickleError::TooMany {
                at: self.objects.at,
                most: self.input.len().saturating_mul(2),
                what: "characters of encoded text",
            }),
        }
    }

    /// A text of Python 2 as its `repr` writes it.
    fn quoted(&mut self) -> Outcome {
        let line = self.line()?;
        self.decode(line.len())?;
        let bytes = unquote(line).ok_or_else(|| self.unreadable("a text in quotes"))?;
        self.push(Object::Bytes(Cow::Owned(bytes)))
    }

    fn escaped_text(&mut self) -> Outcome {
        let line = self.line()?;
        self.decode(line.len())?;
        let text = unescape(line).ok_or_else(|| self.unreadable("a text with \\u escapes"))?;
        self.push(Object::Text(Cow::Owned(text)))
    }

    // Lists and dictionaries

    fn tuple_of(&mut self, length: usize) -> Outcome {
        let mut items = vec![];
        for _ in 0..length {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Object::Tuple(items))
    }

    fn append(&mut self, items: &[Id]) -> Outcome {
        let list = self.top()?;
        match &mut self.objects.all[list as usize] {
            Object::List(list) => list.extend_from_slice(items),
            Object::Opaque => {}
            _ => return Err(self.objects.misplaced("items for a value that is not a list")),
        }
        Ok(())
    }

    fn dictionary(&mut self) -> Outcome {
        let items = self.since_mark()?;
        self.push(Object::Dictionary(vec![]))?;
        self.set(&items)
    }

    fn set_one(&mut self) -> Outcome {
        let value = self.pop()?;
        let key = self.pop()?;
        self.set(&[key, value])
    }

    fn set(&mut self, items: &[Id]) -> Outcome {
        let dictionary = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.objects.all[dictionary as usize] {
            Object::Dictionary(entries) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            Object::Opaque if rest.is_empty() => {}
            _ => return Err(self.objects.misplaced("a key without a value or a dictionary")),
        }
        Ok(())
    }

    // The memo

    fn memo_key(&mut self, code: u8) -> Result<u32, PickleError> {
        match code {
            b'p' | b'g' => {
                let line = self.line()?;
                let key = self.integer_of(line)?;
                u32::try_from(key).map_err(|_| self.unreadable("the number of a value"))
            }
            b'q' | b'h' => Ok(self.take(1)?[0].into()),
            0x94 => Ok(self.memo.len() as u32),
            _ => Ok(u32::from_le_bytes(self.array()?)),
        }
    }

    fn store(&mut self, code: u8) -> Outcome {
        let key = self.memo_key(code)?;
        let id = self.top()?;
        if self.memo.len() == MOST_VALUES {
            let (at, most) = (self.objects.at, MOST_VALUES);
            return Err(PickleError::TooMany { at, most, what: "stored values" });
        }
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Outcome {
        let key = self.memo_key(code)?;
        let id = self.memo.get(&key).copied();
        let id = id.ok_or_else(|| self.objects.misplaced("a value that was not stored before"))?;
        self.push_id(id)
    }

    // Names and calls

    fn global(&mut self) -> Outcome {
        let (module, name) = (self.line()?, self.line()?);
        self.push(Object::Name(self.dialect.known(module, name)?))
    }

    fn stack_global(&mut self) -> Outcome {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Object::Text(module), Object::Text(name)) = (self.of(module), self.of(name)) else {
            return Err(self.objects.misplaced("a function whose name is not text"));
        };
        let known = self.dialect.known(module.as_bytes(), name.as_bytes())?;
        self.push(Object::Name(known))
    }

    /// A value outside of the pickle: the storage of a tensor.
    fn persistent(&mut self) -> Outcome {
        let id = self.pop()?;
        let storage = torch::storage(&self.objects, id)?;
        self.push(storage)
    }

    fn reduce(&mut self) -> Outcome {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Object::Name(known) = *self.of(callee) else {
            return Err(self.refused_value("a value that is not a function to be called"));
        };
        if known.role == Role::Opaque {
            return self.push(Object::Opaque);
        }
        let made = self.made(known, &self.objects.few(arguments)?)?;
        self.push(made)
    }

    /// What one of the known functions gives.
    fn made(&mut self, known: &'static Known, arguments: &[Id]) -> Result<Object<'a>, PickleError> {
        match known.role {
            Role::Encode => self.encode(arguments),
            Role::Reconstruct => numpy::reconstruct(&self.objects, arguments),
            Role::FromBuffer => numpy::from_buffer(&self.objects, arguments),
            Role::Dtype => numpy::dtype(&self.objects, arguments),
            Role::Tensor => torch::tensor(&self.objects, arguments),
            Role::Parameter => torch::parameter(&self.objects, arguments),
            Role::TensorOfType => {
                let (function, arguments) = torch::of_type(&self.objects, arguments)?;
                self.made(function, &arguments)
            }
            Role::Dictionary => self.dictionary_of(arguments),
            Role::Opaque => Ok(Object::Opaque),
            Role::Attribute => match arguments.first().map(|id| self.of(*id)) {
                Some(Object::Name(class)) if class.role == Role::Opaque => Ok(Object::Opaque),
                _ => Err(known.refused()),
            },
            Role::NdArray | Role::Storage(_) | Role::TensorType => Err(known.refused()),
        }
    }

    /// `OrderedDict()`, or with a list of pairs as Python 2 writes it; `defaultdict(...)` is empty.
    fn dictionary_of(&self, arguments: &[Id]) -> Result<Object<'a>, PickleError> {
        let wrong = || self.objects.misplaced("a dictionary of values that are not pairs");
        let pair = |id: &Id| match self.of(*id) {
            Object::List(items) | Object::Tuple(items) => match items[..] {
                [key, value] => Ok((key, value)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        };
        let entries = match arguments.first().map(|id| self.of(*id)) {
            None | Some(Object::Name(_) | Object::None) => vec![],
            Some(Object::List(items) | Object::Tuple(items)) => {
                items.iter().map(pair).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(wrong()),
        };
        Ok(Object::Dictionary(entries))
    }

    /// `_codecs.encode(text, "latin1")`
    fn encode(&mut self, arguments: &[Id]) -> Result<Object<'a>, PickleError> {
        let wrong = || self.unreadable("bytes written as Latin-1");
        let &[text, encoding] = arguments else { return Err(wrong()) };
        let (Object::Text(text), Object::Text(encoding)) = (self.of(text), self.of(encoding))
        else {
            return Err(wrong());
        };
        if encoding != "latin1" {
            return Err(wrong());
        }
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
        let bytes = bytes.ok_or_else(wrong)?;
        self.decode(bytes.len())?;
        Ok(Object::Bytes(Cow::Owned(bytes)))
    }

    fn build(&mut self) -> Outcome {
        let (state, target) = (self.pop()?, self.top()?);
        let built = match *self.of(target) {
            Object::Element(element) => {
                numpy::element_state(&self.objects, element, &self.objects.few(state)?)?
            }
            Object::Array(None) => numpy::array_state(&self.objects, &self.objects.few(state)?)?,
            // Attributes of a state dict (its `_metadata`) are no part of it.
            Object::Dictionary(_) if self.dialect == Dialect::Torch => return Ok(()),
            Object::Opaque => return Ok(()),
            _ => return Err(self.refused_value("a state for a value that has none")),
        };
        self.objects.all[target as usize] = built;
        Ok(())
    }

    fn refused_value(&self, what: &'static str) -> PickleError {
        PickleError::RefusedValue { at: self.objects.at, what }
    }

    /// An instance of a class that is named here.
    fn instance(&mut self) -> Outcome {
        let (module, name) = (self.line()?, self.line()?);
        let known = self.dialect.known(module, name)?;
        self.since_mark()?;
        self.instance_of(known)
    }

    fn instance_of(&mut self, class: &'static Known) -> Outcome {
        match class.role {
            Role::Opaque => self.push(Object::Opaque),
            _ => Err(class.refused()),
        }
    }

    /// An instance of a class that was put on the stack: before its arguments, or after a mark.
    fn object(&mut self, code: u8) -> Outcome {
        let class = if code == b'o' {
            self.since_mark()?.first().copied()
        } else {
            self.pop()?;
            if code == 0x92 {
                self.pop()?;
            }
            Some(self.pop()?)
        };
        match class.map(|id| self.of(id)) {
            Some(Object::Name(class)) => self.instance_of(class),
            _ => Err(self.refused_value("an instance of a value that is not a class")),
        }
    }
}
