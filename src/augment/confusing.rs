//! Which classes a tail class is confused with: paper, Sec. 4.2.

use crate::domain::{ClassId, LinearHead};
use crate::eval::{LogitChunks, softmax};

/// The confusing classes of one class, the most confusing first.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ConfusingClasses {
    /// The class they are confused with.
    pub class: ClassId,
    /// They and their mean scores, the highest first.
    pub ranked: Vec<(ClassId, f32)>,
}

/// Ranks every other class by its mean softmax score over the samples of `class`, and keeps the
/// top `count` (fewer where there are fewer classes). Equal scores keep the order of the ids.
///
/// Shape: `pooled` is [n, K], the samples of `class`. The scores of a row of the confusion matrix
/// are ranked, never of a column: what samples of `class` are taken for.
pub fn confusing_classes(
    class: ClassId,
    pooled: &[f32],
    head: &LinearHead,
    count: usize,
) -> ConfusingClasses {
    let scores = pooled.map_logits(head, |row| {
        softmax(row);
        row.to_vec()
    });
    let mut means = vec![0.0f64; head.classes()];
    for row in &scores {
        means.iter_mut().zip(row).for_each(|(mean, &score)| *mean += f64::from(score));
    }
    let samples = scores.len().max(1) as f64;
    let means: Vec<f32> = means.iter().map(|mean| (mean / samples) as f32).collect();
    rank_confusing(class, &means, count, &|_| true)
}

/// The top `count` of the classes other than `class` by their mean scores [C], of those that `among`
/// lets in; equal scores keep the order of the ids.
pub fn rank_confusing(
    class: ClassId,
    means: &[f32],
    count: usize,
    among: &dyn Fn(ClassId) -> bool,
) -> ConfusingClasses {
    let others = (0..means.len() as u32).map(ClassId).filter(|&c| c != class && among(c));
    let mut ranked: Vec<(ClassId, f32)> = others.map(|c| (c, means[c.index()])).collect();
    let order = |a: &(ClassId, f32), b: &(ClassId, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < ranked.len() {
        ranked.select_nth_unstable_by(count, order);
        ranked.truncate(count);
        // There may be thousands of tail classes with thousands of candidates each.
        ranked.shrink_to_fit();
    }
    ranked.sort_unstable_by(order);
    ConfusingClasses { class, ranked }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits are the pooled vector itself.
    fn identity(classes: usize) -> LinearHead {
        let weight = (0..classes * classes).map(|i| f32::from(i % (classes + 1) == 0)).collect();
        LinearHead::new(weight, vec![0.0; classes]).unwrap()
    }

    #[test]
    fn other_classes_are_ranked_by_their_mean_score() {
        // Two samples of class 2: one leans to class 0, one a little to class 1.
        let pooled = [2.0, 0.0, 4.0, 0.0, 1.0, 4.0];
        let confusing = confusing_classes(ClassId(2), &pooled, &identity(3), 2);
        let order: Vec<ClassId> = confusing.ranked.iter().map(|(c, _)| *c).collect();
        assert_eq!(order, [ClassId(0), ClassId(1)]);
        assert_eq!(confusing_classes(ClassId(2), &pooled, &identity(3), 1).ranked.len(), 1);
        assert_eq!(confusing_classes(ClassId(2), &pooled, &identity(3), 9).ranked.len(), 2);
    }

    #[test]
    fn equal_scores_keep_the_order_of_the_ids() {
        let confusing = confusing_classes(ClassId(1), &[0.0; 4], &identity(4), 3);
        let order: Vec<u32> = confusing.ranked.iter().map(|(c, _)| c.0).collect();
        assert_eq!(order, [0, 2, 3]);
    }
}
