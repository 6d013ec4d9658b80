//! What can be wrong with an ONNX file or with the library that runs it.

use std::path::PathBuf;

use crate::text::bytes_text;

/// What can be wrong with an ONNX file or with the library that runs it.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not an ONNX file, or cut short.
    #[error("{}: not a whole ONNX file: {found}\n  Export it again.", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser found.
        found: String,
    },
    /// Weights in a file beside the model that cannot be used.
    #[error("{}: tensor `{tensor}` is stored outside, in `{location}`: {found}\n  Keep the files of an export together, in one folder.", path.display())]
    External {
        /// The model.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where its values should be.
        location: String,
        /// What is wrong.
        found: String,
    },
    /// A graph that does not take images.
    #[error("{}: the inputs are {found}; expected one of images, [n, 3, height, width] or [n, height, width, 3], in float, float16 or uint8\n  Export it again with such an input.", path.display())]
    Input {
        /// The model.
        path: PathBuf,
        /// The inputs.
        found: String,
    },
    /// A network that does not end in pooling and one FC layer.
    #[error("{}: the network must end in global average pooling and one FC layer, and this one does not: {found}\n  {remedy}", path.display())]
    NotPooled {
        /// The model.
        path: PathBuf,
        /// What it ends in.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A network of 8-bit integers whose map or classifier does not compute with floats.
    #[error("{}: this network is int8-quantised: {found}\n  Give the float model that it was quantised from.", path.display())]
    Quantised {
        /// The model.
        path: PathBuf,
        /// What shows it.
        found: String,
    },
    /// The logits that follow from map and classifier are not the network's.
    #[error("{}: from the map `{map}` and the classifier `{classifier}` follow logits that differ by {difference:.3} (of {scale:.3}) from the network's own; there is more between them than pooling and one FC layer", path.display())]
    OtherLogits {
        /// The model.
        path: PathBuf,
        /// The value taken for the feature map.
        map: String,
        /// The tensor taken for the classifier's weight.
        classifier: String,
        /// Largest difference.
        difference: f32,
        /// Largest logit.
        scale: f32,
    },
    /// An output that is not the mean of the map.
    #[error("{}: the output `{output}` differs by {difference:.3} from the mean of the map `{map}`; there is more between them than pooling", path.display())]
    OtherPooling {
        /// The model.
        path: PathBuf,
        /// The output.
        output: String,
        /// The value taken for the feature map.
        map: String,
        /// Largest difference.
        difference: f32,
    },
    /// What this program once wrote into the file's metadata cannot be read.
    #[error("{}: its metadata entry `{key}` cannot be read: {found}\n  Export it again, with a version of fsa-bank that is not newer than this one.", path.display())]
    Metadata {
        /// The model.
        path: PathBuf,
        /// The entry.
        key: &'static str,
        /// What is wrong.
        found: String,
    },
    /// onnxruntime was not found.
    #[error(
        "onnxruntime: {found}\n  Install it (pip install onnxruntime, into .venv or the active environment), or set ORT_DYLIB_PATH to libonnxruntime.so."
    )]
    Library {
        /// Where was looked, and what was found.
        found: String,
    },
    /// onnxruntime has no room.
    #[error("onnxruntime: the address space is limited to {} (ulimit -v), and it needs {}\n  Raise the limit: ulimit -v {}.", bytes_text(*limit), bytes_text(*needed), needed >> 10)]
    AddressSpace {
        /// Bytes of the limit.
        limit: u64,
        /// Bytes that it needs.
        needed: u64,
    },
    /// onnxruntime refused or failed.
    #[error("{}: onnxruntime: {operation}: {message}", path.display())]
    Runtime {
        /// The model.
        path: PathBuf,
        /// What it was doing.
        operation: &'static str,
        /// Its message.
        message: String,
    },
}
