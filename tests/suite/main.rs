//! All integration tests, as one executable.

mod bad_input;
mod bank_format;
mod cifar_python;
#[cfg(feature = "onnx")]
mod class_order;
mod command_line;
mod dataset_tools;
mod datasets;
#[cfg(feature = "torch")]
mod engine;
mod evolution;
#[cfg(all(feature = "torch", feature = "onnx"))]
mod exported;
mod fake_engine;
mod faults;
mod faulty_disks;
mod fetch;
mod finetune;
mod fixtures;
#[cfg(feature = "onnx")]
mod hostile;
mod hostile_banks;
mod hostile_tables;
mod images;
mod inaturalist;
mod layouts;
mod lists;
mod maps;
mod methods;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnx")]
mod onnx_graphs;
mod parquet_file;
mod plan;
mod project;
mod proposal;
#[cfg(feature = "onnx")]
mod references;
mod stages;
mod studies;
mod tables;
mod verify;
