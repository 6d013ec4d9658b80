//! Logits of pooled vectors, and what follows from them.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::domain::LinearHead;

/// Rows of one matrix product: logits are made and used chunk by chunk, never all at once.
const CHUNK_ROWS: usize = 256;

/// `pooled · weightᵀ + bias` of `rows` vectors: [rows, C].
///
/// # Determinism
/// One thread; each row's result depends on that row alone.
pub fn logits(pooled: &[f32], head: &LinearHead) -> Vec<f32> {
    let mut logits = vec![0.0; pooled.len() / head.channels() * head.classes()];
    logits_into(pooled, head, &mut logits);
    logits
}

/// The same into existing memory: `logits` [rows, C].
pub fn logits_into(pooled: &[f32], head: &LinearHead, logits: &mut [f32]) {
    let (classes, channels) = (head.classes(), head.channels());
    let rows = pooled.len() / channels;
    logits.chunks_exact_mut(classes).for_each(|row| row.copy_from_slice(&head.bias));
    let product = || {
        matmul(
            MatMut::from_row_major_slice_mut(logits, rows, classes),
            Accum::Add,
            MatRef::from_row_major_slice(pooled, rows, channels),
            MatRef::from_row_major_slice(&head.weight, classes, channels).transpose(),
            1.0,
            Par::Seq,
        )
    };
    in_pool(product);
}

/// Runs `work` in a thread of the pool; where this is one, in this. Each thread that multiplies matrices
/// reserves a large buffer for it.
pub(crate) fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    match rayon::current_thread_index() {
        Some(_) => work(),
        None => rayon::scope(|_| work()),
    }
}

/// Has this thread reserve its buffer for products of matrices.
pub(crate) fn reserve() {
    const SIDE: usize = 64;
    let head = LinearHead::new(vec![0.0; SIDE * SIDE], vec![0.0; SIDE]);
    logits(&[0.0; SIDE * SIDE], &head.expect("as many weights as its sides say"));
}

/// Visits pooled vectors in chunks, in parallel.
pub trait LogitChunks {
    /// Applies `of_row` to the logits of each row; results are in order of the rows.
    fn map_logits<T: Send>(
        &self,
        head: &LinearHead,
        of_row: impl Fn(&mut [f32]) -> T + Sync,
    ) -> Vec<T>;
}

impl LogitChunks for [f32] {
    fn map_logits<T: Send>(
        &self,
        head: &LinearHead,
        of_row: impl Fn(&mut [f32]) -> T + Sync,
    ) -> Vec<T> {
        self.par_chunks(CHUNK_ROWS * head.channels())
            .flat_map_iter(|chunk| {
                let mut logits = logits(chunk, head);
                logits.chunks_mut(head.classes()).map(&of_row).collect::<Vec<T>>()
            })
            .collect()
    }
}

/// The class of the highest score of each row; the first of equal ones.
pub fn predict(pooled: &[f32], head: &LinearHead) -> Vec<u32> {
    pooled.map_logits(head, |row| argmax(row) as u32)
}

pub(crate) fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Turns logits into probabilities, in place.
pub fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - max).exp();
        sum += *value;
    }
    row.iter_mut().for_each(|value| *value /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_by_hand() {
        let head = LinearHead::new(vec![1.0, 2.0, -1.0, 0.5], vec![0.25, -0.25]).unwrap();
        assert_eq!(logits(&[1.0, 1.0, 2.0, 0.0], &head), [3.25, -0.75, 2.25, -2.25]);
        assert_eq!(predict(&[1.0, 1.0, -3.0, 0.0], &head), [0, 1]);
    }

    #[test]
    fn softmax_sums_to_one_and_survives_large_logits() {
        let mut row = [1000.0, 1000.0, -1000.0];
        softmax(&mut row);
        assert_eq!(row, [0.5, 0.5, 0.0]);
    }
}
