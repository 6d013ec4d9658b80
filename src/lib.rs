#![doc = include_str!("ARCHITECTURE.md")]

pub mod atomic_file;
pub mod augment;
pub mod backbone;
pub mod bank;
pub mod check;
pub mod classifier_file;
pub mod cli;
pub mod compare;
pub mod config;
pub mod dataset;
pub mod disk;
pub mod domain;
pub mod eval;
pub mod export;
pub mod features;
pub mod fetch;
mod file_lock;
pub mod finetune;
pub mod inspect;
mod panics;
#[cfg(feature = "onnx")]
pub mod predict;
pub mod progress;
pub mod proposal;
pub mod regular_file;
pub mod report;
pub mod rng;
pub mod sampler;
pub mod shell;
pub mod statistics;
pub mod sweep;
mod thrift;
pub mod train;
pub mod verify;
pub mod weights;

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
