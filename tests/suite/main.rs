//! All integration tests, as one executable.

mod accounts;
mod bad_input;
mod bank_files;
mod bank_format;
mod bit_depth;
mod checkpoints;
mod cifar_python;
#[cfg(feature = "onnx")]
mod class_metadata;
#[cfg(feature = "onnx")]
mod class_order;
mod command_line;
mod compare_and_sweep;
mod dataset_tools;
mod datasets;
mod dependencies;
#[cfg(feature = "onnx")]
mod documents;
#[cfg(feature = "torch")]
mod engine;
mod every_layout;
mod exit_codes;
#[cfg(all(feature = "torch", feature = "onnx"))]
mod exported;
mod faulty_disks;
mod fetch;
mod finetune;
mod floors;
mod format_versions;
#[cfg(feature = "onnx")]
mod hostile;
mod hostile_banks;
mod hostile_tables;
mod image_folders;
mod images;
mod inaturalist;
mod interrupted_banks;
mod left_out;
mod limits;
mod list_forms;
mod list_searches;
mod lists;
mod maps;
mod methods;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnx")]
mod onnx_graphs;
mod output;
mod plan;
#[cfg(feature = "onnx")]
mod preprocessing_contradictions;
#[cfg(feature = "onnx")]
mod preprocessing_round_trip;
mod project;
mod proposal;
#[cfg(feature = "onnx")]
mod references;
mod registry;
mod remedies;
mod support;
mod tables;
mod train_to_classifier;
mod verify;

#[cfg(feature = "onnx")]
use support::tiny_onnx;
use support::{fake_engine, fixtures, parquet_file, write_bank};
mod wording;
