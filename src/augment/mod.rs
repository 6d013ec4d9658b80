//! The arithmetic of feature space augmentation: activation maps, masks, confusing classes and
//! fused vectors. Nothing here reads a file or draws a batch.

mod cam;
mod confusing;
mod fusion;
mod nearest;

pub use cam::{activation, by_location, nonzero, normalise, pooled};
pub use confusing::{CONFUSING_BYTES, ConfusingClasses, confusing_classes, confusing_of_tail};
pub use fusion::{MapValue, Mask, draw_locations, sum_locations};
pub use nearest::nearest;
