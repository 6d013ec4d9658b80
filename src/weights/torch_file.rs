//! Files of `torch.save`: a zip archive (since PyTorch 1.6) or pickles in a row (before). Both have a
//! pickle that says which tensors there are, and their values outside of it. Nothing of the pickle runs,
//! nothing is unpacked: a tensor is a place in the file.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::stored::{StateDict, StoredTensor};
use crate::pickle::{Dialect, Pickle, PickleError, Value};

/// What can be wrong with a file of `torch.save`.
#[derive(Debug, thiserror::Error)]
pub enum TorchFileError {
    /// The pickle cannot be read, or asks for something that is not plain data.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// A program with its weights, as `torch.jit.save` writes it.
    #[error("a TorchScript program; expected a state dict")]
    TorchScript,
    /// A zip archive of something else.
    #[error(
        "a zip archive without `data.pkl`; expected a file of torch.save, or one that ends in .safetensors (`export --head` writes a classifier as that too)"
    )]
    NoPickle,
    /// Not a whole zip archive.
    #[error("not a whole zip archive: {0}; the file is cut short or damaged")]
    Zip(#[from] zip::result::ZipError),
    /// A member that `torch.save` does not write.
    #[error("its member `{name}` {found}; torch.save does not write such")]
    Member {
        /// Its name.
        name: String,
        /// What is wrong.
        found: &'static str,
    },
    /// Written on a machine of another byte order.
    #[error("its values are big-endian; expected little-endian")]
    BigEndian,
    /// Values that the pickle refers to and that are missing.
    #[error("no values `{key}`; the file is cut short or damaged")]
    Missing {
        /// Their name.
        key: String,
    },
    /// Values that are fewer, or more, than the pickle says.
    #[error("`{key}` should be {values} values of {bytes_each} bytes; found {found} bytes")]
    Length {
        /// Their name.
        key: String,
        /// How many there should be.
        values: u64,
        /// Bytes of each.
        bytes_each: u64,
        /// What was found.
        found: u64,
    },
    /// What follows the pickle of an old file is not what should.
    #[error("{found}; the file is cut short or damaged")]
    Legacy {
        /// What is wrong.
        found: String,
    },
    /// No tensors under names.
    #[error("{found}; expected a dictionary with tensors")]
    NoStateDict {
        /// What was found.
        found: String,
    },
}

impl TorchFileError {
    pub(super) fn is_cut_short(&self) -> bool {
        matches!(self, Self::Pickle(PickleError::CutShort { .. }))
    }
}

/// What the zip form begins with.
const ZIP: &[u8] = b"PK\x03\x04";
/// The end of the first pickle of the older form: a number.
const MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// State dicts that are compared, the outermost first.
const MOST_STATE_DICTS: usize = 64;
/// Dictionaries in each other.
const MOST_DEPTH: usize = 8;

/// Places in the file, under the keys that the pickle names them by.
type Places = HashMap<String, Range<usize>>;

/// The state dicts of a file, the outermost first; `None` where it is not of `torch.save`.
pub(super) fn read(bytes: &[u8]) -> Option<Result<Vec<StateDict>, TorchFileError>> {
    match magic_end(bytes) {
        Some(at) => Some(of_pickles(bytes, at)),
        None => bytes.starts_with(ZIP).then(|| of_zip(bytes)),
    }
}

/// Whether a file begins as those of `torch.save` do.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || magic_end(bytes).is_some()
}

/// Where the first pickle of the older form ends.
fn magic_end(bytes: &[u8]) -> Option<usize> {
    let head = &bytes[..bytes.len().min(32)];
    let magic = head.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    Some(magic + MAGIC.len())
}

fn of_zip(bytes: &[u8]) -> Result<Vec<StateDict>, TorchFileError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let (mut members, mut top) = (HashMap::new(), None);
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index)?;
        let name = String::from_utf8_lossy(member.name_raw()).into_owned();
        let wrong = |found| TorchFileError::Member { name: shown(&name), found };
        if name.starts_with('/') || name.contains('\\') || name.split('/').any(|part| part == "..")
        {
            return Err(wrong("leads out of the archive"));
        }
        let plain = member.compression() == CompressionMethod::Stored && !member.encrypted();
        let start = member.data_start().and_then(|start| usize::try_from(start).ok());
        let length = usize::try_from(member.size()).ok();
        let range = start.zip(length).and_then(|(start, n)| Some(start..start.checked_add(n)?));
        let range = range.filter(|r| r.end <= bytes.len());
        if let Some(folder) = name.strip_suffix("data.pkl") {
            top.get_or_insert(folder.to_owned());
        }
        members.insert(name, (plain, range));
    }
    let top = top.ok_or(TorchFileError::NoPickle)?;
    if members.contains_key(&format!("{top}constants.pkl")) {
        return Err(TorchFileError::TorchScript);
    }
    // The place of a member's content; `None` where it is missing.
    let place = |name: &str| {
        let name = format!("{top}{name}");
        let wrong = |found| TorchFileError::Member { name: shown(&name), found };
        match members.get(&name) {
            None => Ok(None),
            Some((false, _)) => Err(wrong("is compressed or encrypted")),
            Some((true, None)) => Err(wrong("is longer than the file")),
            Some((true, Some(range))) => Ok(Some(range.clone())),
        }
    };
    if place("byteorder")?.is_some_and(|range| &bytes[range] != b"little") {
        return Err(TorchFileError::BigEndian);
    }
    let pickle = place("data.pkl")?.ok_or(TorchFileError::NoPickle)?;
    let pickle = Pickle::read(&bytes[pickle], Dialect::Torch)?;
    let mut places = Places::new();
    for (key, storage) in pickle.storages()? {
        let place = place(&format!("data/{key}"))?;
        let place = place.ok_or_else(|| TorchFileError::Missing { key: shown(key) })?;
        let bytes_each = storage.dtype.bitsize() as u64 / 8;
        let found = place.len() as u64;
        if storage.values.checked_mul(bytes_each) != Some(found) {
            let (key, values) = (shown(key), storage.values);
            return Err(TorchFileError::Length { key, values, bytes_each, found });
        }
        places.insert(key.into(), place);
    }
    state_dicts(&pickle, &places)
}

/// The form before: version, machine, pickle, keys of the values, then the values of each key.
fn of_pickles(bytes: &[u8], mut at: usize) -> Result<Vec<StateDict>, TorchFileError> {
    let wrong = |found: &str| TorchFileError::Legacy { found: found.into() };
    let mut next = || {
        let pickle = Pickle::read(&bytes[at..], Dialect::Torch)?;
        at += pickle.length();
        Ok::<_, PickleError>(pickle)
    };
    next()?.root().integer().ok_or_else(|| wrong("no version"))?;
    let machine = next()?;
    if machine.root().get("little_endian").and_then(Value::integer) == Some(0) {
        return Err(TorchFileError::BigEndian);
    }
    let pickle = next()?;
    let keys = next()?.root().texts().ok_or_else(|| wrong("no list of the values"))?;
    let storages = pickle.storages()?;
    let mut places = Places::new();
    for key in keys {
        let named = storages.get(key.as_str());
        let storage =
            named.ok_or_else(|| wrong(&format!("values `{}` of no tensor", shown(&key))))?;
        let (length, rest) = bytes[at..].split_first_chunk().ok_or_else(|| {
            wrong(&format!("the length of the values `{}` is missing", shown(&key)))
        })?;
        let (said, bytes_each) = (u64::from_le_bytes(*length), storage.dtype.bitsize() as u64 / 8);
        let wanted = storage.values.checked_mul(bytes_each).filter(|&n| n <= rest.len() as u64);
        let (Some(wanted), true) = (wanted, said == storage.values) else {
            let (values, found) = (storage.values.max(said), rest.len() as u64);
            return Err(TorchFileError::Length { key: shown(&key), values, bytes_each, found });
        };
        let start = at + length.len();
        at = start + wanted as usize;
        places.insert(key, start..at);
    }
    state_dicts(&pickle, &places)
}

/// A name of the file for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}

/// Dictionaries with tensors, from the outside in.
fn state_dicts(pickle: &Pickle, places: &Places) -> Result<Vec<StateDict>, TorchFileError> {
    let (mut found, mut seen) = (vec![], HashSet::from([pickle.root().identity()]));
    let mut queue = VecDeque::from([(pickle.root(), String::new(), 0)]);
    while let Some((value, place, depth)) = queue.pop_front() {
        let mut dict = StateDict { place: place.clone(), tensors: Default::default() };
        let items = value.items().into_iter().enumerate();
        let items: Vec<(String, Value)> = items.map(|(i, item)| (i.to_string(), item)).collect();
        let entries = value.entries().into_iter().map(|(key, item)| (key.to_string(), item));
        for (key, item) in entries.chain(items) {
            if let Some((tensor, of, storage)) = item.tensor() {
                let range =
                    places.get(of).ok_or_else(|| TorchFileError::Missing { key: shown(of) })?;
                let tensor = StoredTensor {
                    shape: tensor.shape.clone(),
                    dtype: storage.dtype,
                    range: range.clone(),
                    offset: tensor.offset,
                    strides: tensor.strides.clone(),
                };
                dict.tensors.insert(key, tensor);
            } else if depth < MOST_DEPTH && item.holds_values() && seen.insert(item.identity()) {
                let place = if place.is_empty() { key } else { format!("{place}.{key}") };
                queue.push_back((item, place, depth + 1));
            }
        }
        if !dict.tensors.is_empty() && found.len() < MOST_STATE_DICTS {
            found.push(dict);
        }
    }
    match found.is_empty() {
        true => Err(TorchFileError::NoStateDict { found: pickle.root().describe() }),
        false => Ok(found),
    }
}
