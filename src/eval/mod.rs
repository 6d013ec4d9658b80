//! Accuracy of a classifier on pooled vectors: overall, by class, and by groups of classes.

mod groups;
mod scores;

use serde::{Deserialize, Serialize};

use crate::domain::ClassCounts;

pub use groups::{GroupAccuracy, Groups};
pub(crate) use scores::argmax;
pub use scores::{LogitChunks, logits, predict, softmax};

/// How often a classifier is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Images classified.
    pub images: u64,
    /// Share classified right, in percent.
    pub top1: f64,
    /// Mean of the classes' recall, in percent, over classes that have images here.
    pub acc_macro: f64,
    /// Recall of each class, in percent; `None` for a class without images here.
    pub per_class: Vec<Option<f64>>,
}

impl Accuracy {
    /// Compares predicted with true classes.
    pub fn of(predicted: &[u32], labels: &[u32], classes: usize) -> Self {
        let totals = ClassCounts::from_labels(labels, classes).0;
        let mut hits = vec![0u64; classes];
        for (predicted, &label) in predicted.iter().zip(labels) {
            hits[label as usize] += u64::from(*predicted == label);
        }
        let percent = |hits: u64, total: u64| 100.0 * hits as f64 / total as f64;
        let recall = |(&hits, &total): (&u64, &u64)| (total > 0).then(|| percent(hits, total));
        let per_class: Vec<Option<f64>> = hits.iter().zip(&totals).map(recall).collect();
        Self {
            images: labels.len() as u64,
            top1: percent(hits.iter().sum(), labels.len().max(1) as u64),
            acc_macro: groups::mean(per_class.iter().flatten()).unwrap_or(0.0),
            per_class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_by_hand() {
        let accuracy = Accuracy::of(&[0, 0, 1, 0], &[0, 0, 1, 1], 3);
        assert_eq!(accuracy.top1, 75.0);
        assert_eq!(accuracy.acc_macro, 75.0);
        assert_eq!(accuracy.per_class, [Some(100.0), Some(50.0), None]);
    }
}
