//! Tensors as a file has them: where their values lie, not yet read.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype;

/// Tensors under names.
#[derive(Debug, Clone)]
pub struct StateDict {
    /// The keys that lead to it, joined by dots; empty for the file itself.
    pub place: String,
    /// Its tensors.
    pub tensors: BTreeMap<String, StoredTensor>,
}

/// A tensor in a file.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The type of its values.
    pub dtype: Dtype,
    /// Bytes of the file that it is a view of.
    pub(super) range: Range<usize>,
    /// The place of its first value there.
    pub(super) offset: usize,
    /// Values from one to the next along each axis.
    pub(super) strides: Vec<usize>,
}

impl StoredTensor {
    /// Number of values; their places were found to be in the file, so that it is a number.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn bytes_each(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size <= 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        })
    }

    /// Its values where they lie in a row.
    pub(super) fn contiguous<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (each, len) = (self.bytes_each(), self.len());
        if len == 0 { Some(&[]) } else { bytes.get(self.offset * each..(self.offset + len) * each) }
    }

    /// Its values in row-major order.
    pub(super) fn gathered(&self, bytes: &[u8]) -> Vec<u8> {
        let (each, len) = (self.bytes_each(), self.len());
        let mut gathered = Vec::with_capacity(len * each);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..len {
            let steps = index.iter().zip(&self.strides).map(|(i, stride)| i * stride);
            let at = (self.offset + steps.sum::<usize>()) * each;
            gathered.extend_from_slice(&bytes[at..at + each]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        gathered
    }
}
