//! Networks as ONNX files: those of other programs, whose map and classifier are found in the graph,
//! and those of this crate, written from a [`super::Network`].

mod bounds;
mod constants;
mod error;
mod export;
mod file;
mod find;
mod head;
mod input;
mod nodes;
mod proto;
mod search;
#[cfg(feature = "onnx")]
mod session;

pub use error::OnnxError;
pub use export::{ModelInfo, export};
pub use file::OnnxFile;
pub use find::{End, Found, FoundHead};
pub use head::with_head;
pub use input::{Element, ImageInput, InputRange};
#[cfg(feature = "onnx")]
pub use session::{OnnxBackbone, OnnxOptions, Runtime, runtime};
