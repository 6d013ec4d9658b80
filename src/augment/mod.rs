//! The arithmetic of feature space augmentation: activation maps, masks, confusing classes and
//! fused vectors. Nothing here reads a file or draws a batch.

mod cam;
mod confusing;
mod fusion;

pub use cam::{activation, by_location, nonzero, normalise, pooled};
pub use confusing::{ConfusingClasses, confusing_classes, rank_confusing};
pub use fusion::{MapValue, Mask, draw_locations, sum_locations};
