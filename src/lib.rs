#![doc = include_str!("ARCHITECTURE.md")]

pub mod rng;
pub mod domain;
pub mod progress;
pub mod atomic_file;
pub mod weights;
pub mod config;
pub mod dataset;
pub mod backbone;
pub mod train;
pub mod bank;
pub mod features;
pub mod augment;
pub mod sampler;
pub mod finetune;
pub mod eval;
pub mod inspect;
pub mod report;
pub mod cli;

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
