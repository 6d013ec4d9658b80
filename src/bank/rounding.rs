//! The rounding of stored maps.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::config::Precision;

/// Rounds values to what `precision` can hold; too large a value becomes infinite.
pub(crate) fn round(values: &mut [f32], precision: Precision) {
    match precision {
        Precision::F32 => {}
        Precision::F16 => {
            let mut rounded = vec![f16::ZERO; values.len()];
            rounded.convert_from_f32_slice(values);
            rounded.convert_to_f32_slice(values);
        }
        Precision::Bf16 => {
            let mut rounded = vec![bf16::ZERO; values.len()];
            rounded.convert_from_f32_slice(values);
            rounded.convert_to_f32_slice(values);
        }
    }
}
