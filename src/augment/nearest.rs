//! Nearest vectors: neighbours within a class, the classes nearest to a vector.

use std::cmp::Ordering;

use crate::classifier::LogitChunks;
use crate::domain::LinearHead;

/// For each of `vectors` [n, K] its `count` nearest of `references` [m, K] by Euclidean distance,
/// nearest first, equal ones in order; `skip(i, j)` leaves reference j out for vector i.
///
/// ‖x − y‖² and ‖y‖² − 2 x · y rank alike, so distances are one matrix product.
pub fn nearest(
    vectors: &[f32],
    references: &[f32],
    channels: usize,
    count: usize,
    skip: impl Fn(usize, usize) -> bool + Sync,
) -> Vec<Vec<u32>> {
    let weight: Vec<f32> = references.iter().map(|v| 2.0 * v).collect();
    let square = |y: &[f32]| -> f32 { -y.iter().map(|v| v * v).sum::<f32>() };
    let bias: Vec<f32> = references.chunks_exact(channels).map(square).collect();
    let Some(closeness) = LinearHead::new(weight, bias) else {
        return vec![vec![]; vectors.len() / channels];
    };
    let scores = |row: &mut [f32]| -> Vec<u32> {
        let mut order: Vec<u32> = (0..row.len() as u32).collect();
        // One more than asked for: a vector may be among the references itself.
        let kept = (count + 1).min(order.len());
        let by_score = |a: &u32, b: &u32| -> Ordering {
            row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b))
        };
        if kept < order.len() {
            order.select_nth_unstable_by(kept, by_score);
            order.truncate(kept);
        }
        order.sort_unstable_by(by_score);
        order
    };
    let found = vectors.map_logits(&closeness, scores);
    let without = |(i, near): (usize, Vec<u32>)| {
        near.into_iter().filter(|&j| !skip(i, j as usize)).take(count).collect()
    };
    found.into_iter().enumerate().map(without).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_on_a_line_by_hand() {
        let points = [0.0, 0.0, 1.0, 0.0, 3.0, 0.0, 3.5, 0.0];
        let near = nearest(&points, &points, 2, 2, |i, j| i == j);
        assert_eq!(near, [vec![1, 2], vec![0, 2], vec![3, 1], vec![2, 1]]);
        let near = nearest(&points, &points[..2], 2, 2, |i, j| i == j);
        assert_eq!(near, [vec![], vec![0], vec![0], vec![0]]);
    }
}
