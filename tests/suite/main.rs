//! All integration tests, as one executable.

mod bad_input;
mod bank_format;
mod command_line;
mod datasets;
#[cfg(feature = "torch")]
mod engine;
#[cfg(all(feature = "torch", feature = "onnx"))]
mod exported;
mod fake_engine;
mod finetune;
mod fixtures;
#[cfg(feature = "onnx")]
mod hostile;
mod inaturalist;
mod lists;
mod methods;
#[cfg(feature = "onnx")]
mod onnx;
mod project;
#[cfg(feature = "onnx")]
mod references;
mod stages;
mod studies;
mod tables;
