//! What several tests share; no tests are here.

pub mod bank_process;
pub mod fake_engine;
pub mod files;
pub mod fixtures;
pub mod lists;
pub mod parquet_file;
pub mod phase2;
pub mod program;
pub mod progress;
pub mod run;
#[cfg(feature = "onnx")]
pub mod tiny_onnx;
pub mod write_bank;
