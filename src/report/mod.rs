//! Results as people read them: tables in text, a picture in SVG.

mod account;
mod class_sizes;
mod comparison;
mod dataset;
mod files;
mod forecast;
mod picture;
#[cfg(feature = "onnx")]
mod predictions;
mod table;
mod text;
mod verify;

pub use account::{account_lines, account_text};
pub use class_sizes::class_sizes_svg;
pub use comparison::{compare_csv, compare_markdown, compare_text, sweep_csv, sweep_text};
pub use dataset::{by_hand_text, check_text, fetched_text, statistics_text};
pub use files::{PICTURE_FILE, write_compare, write_finetune, write_sweep};
pub use forecast::forecast_text;
pub use picture::accuracy_svg;
#[cfg(feature = "onnx")]
pub use predictions::{predictions_csv, predictions_parquet, predictions_text};
pub use text::{finetune_text, score_text, summary_text};
pub use verify::verify_text;
