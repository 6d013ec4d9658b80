//! Named f32 tensors in safetensors files: models, checkpoints and classifiers. `checkpoint` reads the
//! weights of other programs.

mod checkpoint;
mod stored;
mod torch_file;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};

use crate::atomic_file::{self, WriteError};
use crate::domain::LinearHead;
use crate::regular_file;

pub use checkpoint::Checkpoint;
pub use stored::{StateDict, StoredTensor};
pub use torch_file::TorchFileError;

/// One tensor: its shape and its values, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

/// The content of a safetensors file: tensors by name, and text metadata.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    /// Tensors; the names are torchvision's.
    pub tensors: BTreeMap<String, NamedTensor>,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

/// What to do about a file of something else.
const STATE_DICT: &str =
    "Give a state dict: torch.save(network.state_dict(), \"weights.pth\") writes one.";

/// What can be wrong with a file of weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not safetensors, or cut short.
    #[error("{}: not a whole safetensors file: {message}\n  Make it again.", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser found.
        message: String,
    },
    /// Neither safetensors nor a file of `torch.save`.
    #[error("{}: neither a safetensors file nor one of torch.save\n  {STATE_DICT}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// A file of `torch.save` that cannot be taken.
    #[error("{}: {source}{}", path.display(), remedy(path, source))]
    TorchFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<TorchFileError>,
    },
    /// A tensor that shows a few values again and again.
    #[error("{}: tensor `{name}` of shape {shape:?} has more values than the file has bytes", path.display())]
    Repeated {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// No FC layer, or several of which none is named `fc`.
    #[error("{}: no classifier that is known by its name; expected `fc.weight` [C, K] and `fc.bias` [C], or one other such pair\n  found: {}", path.display(), listed(found))]
    NoClassifier {
        /// The file.
        path: PathBuf,
        /// Names and shapes of its tensors.
        found: Vec<String>,
    },
    /// A negative variance.
    #[error("{}: tensor `{name}` has negative values; variances are not negative\n  The file is damaged, or not one of such a network: get it again.", path.display())]
    NegativeVariance {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor that should be there is not.
    #[error("{}: no tensor `{name}`; expected {name} {expected:?}", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A tensor of another shape.
    #[error("{}: tensor `{name}` is {found:?}; expected {expected:?}\n  The weights are of a network of another width or number of classes.", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the network has.
        expected: Vec<usize>,
    },
    /// Tensors of another network.
    #[error("{}: {} tensors differ from the network's{taken}\n  {}\n  Set [network] to the network that the file is of.", path.display(), differences.len(), listed(differences))]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// Which of the file's tensors were compared, where that is not all of them.
        taken: String,
        /// Each with its name and both shapes.
        differences: Vec<String>,
    },
    /// A tensor of a type that weights do not have.
    #[error("{}: tensor `{name}` is {found}; expected F32, F16, BF16 or F64", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its type in the file.
        found: String,
    },
    /// A NaN or infinite value.
    #[error("{}: tensor `{name}` holds a value that is not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
}

/// How to get a state dict out of a file that is not taken as it is.
fn remedy(path: &Path, error: &TorchFileError) -> String {
    let program = match error {
        TorchFileError::TorchScript => {
            "torch.save(torch.jit.load(sys.argv[1], map_location='cpu').state_dict(), sys.argv[2])"
        }
        TorchFileError::NoPickle | TorchFileError::NoStateDict { .. } => {
            return format!("\n  {STATE_DICT}");
        }
        TorchFileError::BigEndian | TorchFileError::Pickle(_) if !error.is_cut_short() => {
            "d = torch.load(sys.argv[1], map_location='cpu', weights_only=False); d = d.state_dict() \
             if hasattr(d, 'state_dict') else d.get('state_dict', d.get('model', d)); torch.save(\
             {k: v.to_dense().dequantize() for k, v in d.items() if torch.is_tensor(v)}, sys.argv[2])"
        }
        _ => return "\n  Get it again.".into(),
    };
    let word = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    format!(
        "\n  Only tensors and plain data are read here, and no code of a file runs. If you trust it, take its \
         tensors out with PyTorch and give the new file:\n  \
         python -c \"import sys, torch; {program}\" {} {}",
        word(path),
        word(&path.with_extension("tensors.pth"))
    )
}

/// The first differences; a network of another kind has hundreds.
fn listed(differences: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = differences[..differences.len().min(SHOWN)].join("\n  ");
    if differences.len() > SHOWN {
        text += &format!("\n  and {} more", differences.len() - SHOWN);
    }
    text
}

/// The values of a tensor as f32; `None` for a type that weights do not have.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = |bytes: &[u8]| bytes.as_chunks::<2>().0.to_vec();
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|w| f32::from_le_bytes(*w)).collect(),
        Dtype::F64 => {
            bytes.as_chunks::<8>().0.iter().map(|w| f64::from_le_bytes(*w) as f32).collect()
        }
        Dtype::F16 => halves(bytes).into_iter().map(|w| f16::from_le_bytes(w).to_f32()).collect(),
        Dtype::BF16 => halves(bytes).into_iter().map(|w| bf16::from_le_bytes(w).to_f32()).collect(),
        _ => return None,
    })
}

impl Weights {
    /// Reads a file, also one of `torch.save`; tensors must be finite floats (integer counters, as
    /// torchvision's `num_batches_tracked`, are passed over).
    ///
    /// # Errors
    /// See [`WeightsError`].
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let bytes = regular_file::read(path, u64::MAX)
            .map_err(|source| WeightsError::Read { path: path.into(), source })?;
        match torch_file::is_one(&bytes) {
            true => Checkpoint::from_bytes(bytes, path)?.weights(),
            false => Self::from_bytes(&bytes, path),
        }
    }

    /// Parses the content of a safetensors file; `path` is for messages.
    ///
    /// # Errors
    /// See [`WeightsError`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, WeightsError> {
        let damaged = |e: safetensors::SafeTensorError| WeightsError::Damaged {
            path: path.into(),
            message: e.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let metadata =
            header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() == Dtype::I64 {
                continue;
            }
            let Some(values) = floats(view.dtype(), view.data()) else {
                let found = format!("{:?}", view.dtype());
                return Err(WeightsError::Type { path: path.into(), name, found });
            };
            if values.iter().any(|v| !v.is_finite()) {
                return Err(WeightsError::NotFinite { path: path.into(), name });
            }
            tensors.insert(name, NamedTensor { shape: view.shape().to_vec(), values });
        }
        Ok(Self { tensors, metadata })
    }

    /// The file's bytes: the same weights give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> = self
            .tensors
            .values()
            .map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = self.tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)
                .expect("a tensor has as many values as its shape says");
            (name, view)
        });
        let metadata = self.sorted_metadata();
        safetensors::serialize(views, metadata).expect("names and sizes fit a safetensors header")
    }

    /// safetensors keeps metadata in a hash map, whose order differs from run to run; a single
    /// entry (a JSON object with its keys sorted) keeps the bytes the same.
    fn sorted_metadata(&self) -> Option<HashMap<String, String>> {
        match self.metadata.len() {
            0 => None,
            1 => Some(self.metadata.clone().into_iter().collect()),
            n => panic!("{n} metadata entries: put them into one JSON entry"),
        }
    }

    /// Writes the file aside and renames it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WriteError> {
        atomic_file::write(path, &self.to_bytes())
    }

    /// Tensor `name`, which must have `shape`.
    ///
    /// # Errors
    /// The tensor is missing or has another shape.
    pub fn tensor(&self, name: &str, shape: &[usize], path: &Path) -> Result<&[f32], WeightsError> {
        let tensor = self.tensors.get(name).ok_or_else(|| WeightsError::MissingTensor {
            path: path.into(),
            name: name.into(),
            expected: shape.into(),
        })?;
        if tensor.shape != shape {
            return Err(WeightsError::Shape {
                path: path.into(),
                name: name.into(),
                found: tensor.shape.clone(),
                expected: shape.into(),
            });
        }
        Ok(&tensor.values)
    }

    /// The final FC layer of a classifier's file: `fc.weight` [C, K] and `fc.bias` `[C]`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn linear_head(
        &self,
        classes: usize,
        channels: usize,
        path: &Path,
    ) -> Result<LinearHead, WeightsError> {
        self.named_head("fc", classes, channels, path)
    }

    /// The FC layer `layer` of a model: `LAYER.weight` [C, K] and `LAYER.bias` `[C]`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn named_head(
        &self,
        layer: &str,
        classes: usize,
        channels: usize,
        path: &Path,
    ) -> Result<LinearHead, WeightsError> {
        let weight = self.tensor(&format!("{layer}.weight"), &[classes, channels], path)?.to_vec();
        let bias = self.tensor(&format!("{layer}.bias"), &[classes], path)?.to_vec();
        LinearHead::new(weight, bias).ok_or_else(|| WeightsError::Shape {
            path: path.into(),
            name: format!("{layer}.weight"),
            found: vec![classes, channels],
            expected: vec![1, 1],
        })
    }

    /// A classifier alone.
    pub fn of_head(head: &LinearHead) -> Self {
        let weight = NamedTensor {
            shape: vec![head.classes(), head.channels()],
            values: head.weight.clone(),
        };
        let bias = NamedTensor { shape: vec![head.classes()], values: head.bias.clone() };
        let tensors = [("fc.weight".to_string(), weight), ("fc.bias".to_string(), bias)];
        Self { tensors: tensors.into(), metadata: BTreeMap::new() }
    }

    /// sha256 of the tensors (names, shapes, values), whatever the file says of itself.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (name, tensor) in &self.tensors {
            hash.update(format!("{name} {:?}\n", tensor.shape));
            tensor.values.iter().for_each(|v| hash.update(v.to_le_bytes()));
        }
        crate::text::hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Weights {
        let head = LinearHead::new(vec![1.0, 2.0, 3.0, 4.0], vec![0.5, -0.5]).unwrap();
        let mut weights = Weights::of_head(&head);
        weights.metadata.insert("fsa-bank".into(), "{\"a\":1}".into());
        weights
    }

    #[test]
    fn a_file_is_read_back_as_it_was() {
        let path = Path::new("w.safetensors");
        let bytes = sample().to_bytes();
        assert_eq!(bytes, sample().to_bytes());
        let read = Weights::from_bytes(&bytes, path).unwrap();
        assert_eq!(read, sample());
        assert_eq!(read.linear_head(2, 2, path).unwrap().bias, [0.5, -0.5]);
    }

    #[test]
    fn wrong_files_are_named_errors() {
        let path = Path::new("w.safetensors");
        let bytes = sample().to_bytes();
        let damaged = Weights::from_bytes(&bytes[..bytes.len() - 1], path).unwrap_err();
        assert!(matches!(damaged, WeightsError::Damaged { .. }));
        let shape = sample().linear_head(2, 3, path).unwrap_err().to_string();
        assert!(shape.contains("`fc.weight` is [2, 2]; expected [2, 3]"), "{shape}");
        let missing = sample().tensor("conv1.weight", &[1], path).unwrap_err();
        assert!(matches!(missing, WeightsError::MissingTensor { .. }));
        let mut nan = sample();
        nan.tensors.get_mut("fc.bias").unwrap().values[0] = f32::NAN;
        let nan = Weights::from_bytes(&nan.to_bytes(), path).unwrap_err();
        assert!(matches!(nan, WeightsError::NotFinite { .. }));
    }

    #[test]
    fn the_hash_is_of_the_tensors() {
        let mut other = sample();
        other.metadata.clear();
        assert_eq!(sample().sha256(), other.sha256());
        other.tensors.get_mut("fc.bias").unwrap().values[0] = 0.25;
        assert_ne!(sample().sha256(), other.sha256());
    }
}
