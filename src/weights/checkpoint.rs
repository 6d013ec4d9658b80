//! Weights of other programs: safetensors or a file of `torch.save`, by their content. Names
//! and shapes are known once it is open; values are converted when they are asked for.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::stored::{StateDict, StoredTensor};
use super::{NamedTensor, Weights, WeightsError, floats, torch_file};
use crate::regular_file;

/// A file that holds tensors under names, in one dictionary or several.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Dictionaries with tensors, the outermost first; at least one.
    pub state_dicts: Vec<StateDict>,
}

impl Checkpoint {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, is of neither kind, is damaged, or asks for code to be run.
    ///
    /// # Cost
    /// The file's length in memory.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let bytes = regular_file::read(path, u64::MAX)
            .map_err(|source| WeightsError::Read { path: path.into(), source })?;
        Self::from_bytes(bytes, path)
    }

    /// Opens the content of a file; `path` is for messages.
    ///
    /// # Errors
    /// As those of [`Checkpoint::load`].
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, WeightsError> {
        let state_dicts = match torch_file::read(&bytes) {
            Some(found) => found
                .map_err(|e| WeightsError::TorchFile { path: path.into(), source: Box::new(e) })?,
            None => vec![of_safetensors(&bytes, path)?],
        };
        Ok(Self { path: path.into(), bytes, state_dicts })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors of the outermost state dict, integers of 64 bits left out.
    ///
    /// # Errors
    /// Others are not finite floats, or together more than the length of the file justifies.
    pub fn weights(&self) -> Result<Weights, WeightsError> {
        let (mut weights, mut left) = (Weights::default(), self.bytes.len());
        let tensors = &self.state_dicts[0].tensors;
        for (name, stored) in tensors.iter().filter(|(_, stored)| stored.dtype != Dtype::I64) {
            left = left.checked_sub(stored.len()).ok_or_else(|| self.repeated(name, stored))?;
            weights.tensors.insert(name.clone(), self.tensor(name, stored)?);
        }
        Ok(weights)
    }

    fn repeated(&self, name: &str, stored: &StoredTensor) -> WeightsError {
        let (path, name, shape) = (self.path.clone(), name.into(), stored.shape.clone());
        WeightsError::Repeated { path, name, shape }
    }

    /// The values of one of its tensors.
    ///
    /// # Errors
    /// They are not finite floats, or more than the length of the file justifies.
    pub fn tensor(&self, name: &str, stored: &StoredTensor) -> Result<NamedTensor, WeightsError> {
        let (path, name) = (self.path.clone(), name.to_owned());
        let bytes = &self.bytes[stored.range.clone()];
        let values = match stored.is_contiguous() {
            true => stored.contiguous(bytes).and_then(|bytes| floats(stored.dtype, bytes)),
            false if stored.len() > self.bytes.len() => return Err(self.repeated(&name, stored)),
            false => floats(stored.dtype, &stored.gathered(bytes)),
        };
        let Some(values) = values else {
            return Err(WeightsError::Type { path, name, found: format!("{:?}", stored.dtype) });
        };
        match values.iter().all(|v| v.is_finite()) {
            true => Ok(NamedTensor { shape: stored.shape.clone(), values }),
            false => Err(WeightsError::NotFinite { path, name }),
        }
    }
}

fn of_safetensors(bytes: &[u8], path: &Path) -> Result<StateDict, WeightsError> {
    let damaged = |e: safetensors::SafeTensorError| WeightsError::Damaged {
        path: path.into(),
        message: e.to_string(),
    };
    // A header is JSON.
    if bytes.get(8) != Some(&b'{') {
        return Err(WeightsError::Kind { path: path.into() });
    }
    let (header_bytes, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    SafeTensors::deserialize(bytes).map_err(damaged)?;
    let stored = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (start, end) = info.data_offsets;
        let begin = 8 + header_bytes;
        let tensor = StoredTensor {
            shape: info.shape.clone(),
            dtype: info.dtype,
            range: begin + start..begin + end,
            offset: 0,
            strides: row_major(&info.shape),
        };
        (name, tensor)
    };
    Ok(StateDict {
        place: String::new(),
        tensors: header.tensors().into_iter().map(stored).collect(),
    })
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}
