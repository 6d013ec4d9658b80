#![doc = include_str!("ARCHITECTURE.md")]

pub mod address_space;
pub mod atomic_file;
pub mod augment;
pub mod backbone;
pub mod bank;
pub mod check;
pub mod classifier;
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
pub mod head_training;
pub mod inspect;
pub mod labels;
pub mod methods;
mod panics;
pub mod pickle;
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

/// A number of bytes as `--memory` takes it: `512MiB`, `100KiB`, `1B`.
pub(crate) fn memory_text(bytes: u64) -> String {
    match bytes {
        0 => "0B".into(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

/// The same, of a need: in whole MiB.
pub(crate) fn need_text(bytes: u64) -> String {
    memory_text(bytes.next_multiple_of(1 << 20))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
