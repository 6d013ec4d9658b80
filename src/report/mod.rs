//! Results as people read them: tables in text, a picture in SVG.

mod picture;
mod table;
mod text;

pub use picture::accuracy_svg;
pub use text::{bytes_text, finetune_text, summary_text};
