//! An ONNX file in memory, with the weights that it keeps in other files.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};
use prost::Message;
use sha2::{Digest, Sha256};

use super::bounds;
use super::error::OnnxError;
use super::proto::{Graph, Model, Tensor, data_type};

/// From this version on initialisers need not be among a graph's inputs.
const IR_OF_FREE_INITIALIZERS: i64 = 4;
/// Where a tensor's values are: `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// A parsed model with all its weights; its initialisers are constants, and none of its inputs.
#[derive(Debug, Clone)]
pub struct OnnxFile {
    pub(super) model: Model,
    path: PathBuf,
    sha256: String,
}

impl OnnxFile {
    /// Reads a model, and the files beside it that hold its weights.
    ///
    /// # Errors
    /// Unreadable or damaged files; weights outside the model's folder.
    ///
    /// # Cost
    /// The file twice in memory for a moment, then once.
    pub fn load(path: &Path) -> Result<Self, OnnxError> {
        let bytes =
            std::fs::read(path).map_err(|source| OnnxError::Read { path: path.into(), source })?;
        Self::from_bytes(&bytes, path)
    }

    /// Parses a file's content; files that hold its weights are looked for beside `path`.
    ///
    /// # Errors
    /// As [`OnnxFile::load`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, OnnxError> {
        let damaged = |found: String| OnnxError::Damaged { path: path.into(), found };
        if bounds::parts(bytes) > bounds::MOST_PARTS {
            return Err(damaged(format!("it has more than {} parts", bounds::MOST_PARTS)));
        }
        let mut model = Model::decode(bytes).map_err(|e| damaged(e.to_string()))?;
        let mut hash = Sha256::new();
        hash.update(bytes);
        let graph = model.graph.as_mut().ok_or_else(|| damaged("it holds no graph".into()))?;
        if graph.node.is_empty() {
            return Err(damaged("its graph has no operation".into()));
        }
        let mut files = HashMap::new();
        let constants =
            graph.node.iter_mut().flat_map(|n| &mut n.attribute).filter_map(|a| a.t.as_mut());
        for tensor in graph.initializer.iter_mut().chain(constants) {
            if tensor.data_location == Some(EXTERNAL) {
                take_in(tensor, path, &mut files)?;
            }
        }
        // Among the inputs they could be overridden; constants are what they are meant to be.
        let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        graph.input.retain(|input| !constants.contains(input.name.as_str()));
        model.ir_version = model.ir_version.map(|v| v.max(IR_OF_FREE_INITIALIZERS));
        let mut names: Vec<_> = files.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        names.iter().for_each(|(_, file)| hash.update(&file.bytes));
        Ok(Self { model, path: path.into(), sha256: crate::text::hex(&hash.finalize()) })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of the file, and of the files that hold its weights.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The text under a key of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.model.metadata_props.iter().find(|e| e.key == key).map(|e| e.value.as_str())
    }

    /// All keys and texts of the file's metadata.
    pub fn metadata_entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.model.metadata_props.iter().map(|e| (e.key.as_str(), e.value.as_str()))
    }

    pub(super) fn graph(&self) -> &Graph {
        self.model.graph.as_ref().expect("a model without a graph is not loaded")
    }

    /// The file's bytes, weights included.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

/// A file of weights beside the model.
struct Outside {
    bytes: Vec<u8>,
    /// Bytes that tensors took of it.
    taken: usize,
}

/// Bytes of such a file at most: ResNet-152 has a quarter of a gigabyte.
const MOST_OUTSIDE_BYTES: u64 = 16 << 30;
/// How often, on average, tensors may take the same bytes.
const MOST_SHARED: usize = 4;

/// Reads the values of a tensor that lie in another file of the model's folder.
fn take_in(
    tensor: &mut Tensor,
    model: &Path,
    files: &mut HashMap<String, Outside>,
) -> Result<(), OnnxError> {
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| &e.value);
    let location = entry("location").cloned().unwrap_or_default();
    let wrong = |found: String| OnnxError::External {
        path: model.into(),
        tensor: tensor.name.clone(),
        location: location.clone(),
        found,
    };
    let inside = Path::new(&location).components().all(|c| matches!(c, Component::Normal(_)));
    if location.is_empty() || !inside {
        return Err(wrong("not a file of the model's folder".into()));
    }
    let number = |key: &str| {
        entry(key)
            .map(|text| text.parse::<usize>().map_err(|_| wrong(format!("its {key} is `{text}`"))))
            .transpose()
    };
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    if !files.contains_key(&location) {
        let folder = model.parent().unwrap_or(Path::new(""));
        let file = folder.join(&location);
        // A link must not lead out of the folder either.
        let real = |path: &Path| path.canonicalize().map_err(|e| wrong(e.to_string()));
        let base = real(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
        if !real(&file)?.starts_with(base) {
            return Err(wrong("a link that leads out of the model's folder".into()));
        }
        let length = std::fs::metadata(&file).map_err(|e| wrong(e.to_string()))?.len();
        if length > MOST_OUTSIDE_BYTES {
            return Err(wrong(format!("it has {length} bytes, more than any CNN's weights")));
        }
        let bytes = std::fs::read(&file).map_err(|e| wrong(e.to_string()))?;
        files.insert(location.clone(), Outside { bytes, taken: 0 });
    }
    let bytes = &files[&location].bytes;
    let end = length.map_or(Some(bytes.len()), |n| offset.checked_add(n));
    let range = end.and_then(|end| bytes.get(offset..end));
    let values = range.ok_or_else(|| {
        wrong(format!("it has {} bytes; {offset} + {length:?} are needed", bytes.len()))
    })?;
    let taken = files.values().map(|file| file.taken).sum::<usize>() + values.len();
    if taken > MOST_SHARED * files.values().map(|file| file.bytes.len()).sum::<usize>() {
        return Err(wrong("more tensors share its bytes than any network has".into()));
    }
    let values = values.to_vec();
    if let Some(file) = files.get_mut(&location) {
        file.taken += values.len();
    }
    tensor.raw_data = Some(values);
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}

/// Shape and values of a tensor of floats; `None` where it is not such a tensor, or incomplete.
pub(super) fn floats(tensor: &Tensor) -> Option<(Vec<usize>, Vec<f32>)> {
    let shape: Vec<usize> =
        tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let half = |bits: u16| match tensor.data_type {
        data_type::FLOAT16 => f16::from_bits(bits).to_f32(),
        _ => bf16::from_bits(bits).to_f32(),
    };
    let values: Vec<f32> = match (tensor.data_type, &tensor.raw_data) {
        (data_type::FLOAT, Some(raw)) => {
            raw.as_chunks::<4>().0.iter().map(|w| f32::from_le_bytes(*w)).collect()
        }
        (data_type::FLOAT, None) => tensor.float_data.clone(),
        (data_type::DOUBLE, Some(raw)) => {
            raw.as_chunks::<8>().0.iter().map(|w| f64::from_le_bytes(*w) as f32).collect()
        }
        (data_type::DOUBLE, None) => tensor.double_data.iter().map(|&v| v as f32).collect(),
        (data_type::FLOAT16 | data_type::BFLOAT16, Some(raw)) => {
            raw.as_chunks::<2>().0.iter().map(|w| half(u16::from_le_bytes(*w))).collect()
        }
        (data_type::FLOAT16 | data_type::BFLOAT16, None) => {
            tensor.int32_data.iter().map(|&v| half(v as u16)).collect()
        }
        _ => return None,
    };
    (values.len() == count && values.iter().all(|v| v.is_finite())).then_some((shape, values))
}

/// The values of a tensor of 64-bit integers.
pub(super) fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    (tensor.data_type == data_type::INT64).then(|| match &tensor.raw_data {
        Some(raw) => raw.as_chunks::<8>().0.iter().map(|w| i64::from_le_bytes(*w)).collect(),
        None => tensor.int64_data.clone(),
    })
}

/// Shape and values of a tensor of integers of at most 32 bits.
pub(super) fn small_integers(tensor: &Tensor) -> Option<(Vec<usize>, Vec<i32>)> {
    let shape: Vec<usize> =
        tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let values: Vec<i32> = match (tensor.data_type, &tensor.raw_data) {
        (data_type::UINT8, Some(raw)) => raw.iter().map(|&v| v.into()).collect(),
        (data_type::INT8, Some(raw)) => raw.iter().map(|&v| (v as i8).into()).collect(),
        (data_type::INT32, Some(raw)) => {
            raw.as_chunks::<4>().0.iter().map(|w| i32::from_le_bytes(*w)).collect()
        }
        (data_type::UINT8 | data_type::INT8 | data_type::INT32, None) => tensor.int32_data.clone(),
        _ => return None,
    };
    (values.len() == count).then_some((shape, values))
}
