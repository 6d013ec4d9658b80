//! Accuracy of a classifier on pooled vectors: overall, by class, and by groups of classes.

mod groups;
mod reordering;

use serde::{Deserialize, Serialize};

use crate::domain::ClassCounts;

pub use crate::classifier::{
    Classifier, Input, LogitChunks, Prediction, logits, logits_into, predict, softmax,
};
pub(crate) use crate::classifier::{argmax, reserve};
pub use groups::{GroupAccuracy, Groups, ShotGroup, shot_group};
pub use reordering::{Confusion, Reordering};

/// How often a classifier is right, and how sure it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Images classified.
    pub images: u64,
    /// Share classified right, in percent.
    pub top1: f64,
    /// Mean of the classes' recall (balanced accuracy), in percent, over classes that have images here.
    pub acc_macro: f64,
    /// Mean of the classes' F1, in percent, over the same classes.
    pub f1_macro: f64,
    /// Lowest recall of a class, in percent.
    pub worst_class: f64,
    /// Expected calibration error, in percent: the gap between confidence and accuracy, over 15
    /// bins of equal width weighted by their images (Guo et al., ICML 2017, Eq. 3). `None` where
    /// confidences are not known.
    pub ece: Option<f64>,
    /// Recall of each class, in percent; `None` for a class without images here.
    pub per_class: Vec<Option<f64>>,
}

/// Accuracy of one classifier on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Overall and by class.
    pub accuracy: Accuracy,
    /// By group of classes.
    pub groups: Groups,
}

/// Bins of the expected calibration error.
const ECE_BINS: usize = 15;

impl Accuracy {
    /// Compares predicted with true classes.
    pub fn of(predicted: &[u32], labels: &[u32], classes: usize) -> Self {
        let totals = ClassCounts::from_labels(labels, classes).0;
        let claims = ClassCounts::from_labels(predicted, classes).0;
        let mut hits = vec![0u64; classes];
        for (predicted, &label) in predicted.iter().zip(labels) {
            hits[label as usize] += u64::from(*predicted == label);
        }
        let percent = |hits: u64, total: u64| 100.0 * hits as f64 / total as f64;
        let recall = |(&hits, &total): (&u64, &u64)| (total > 0).then(|| percent(hits, total));
        let per_class: Vec<Option<f64>> = hits.iter().zip(&totals).map(recall).collect();
        // F1 = 2 hits / (claims + images): of a class with images it is always defined.
        let f1: Vec<f64> = (0..classes)
            .filter(|&c| totals[c] > 0)
            .map(|c| percent(2 * hits[c], claims[c] + totals[c]))
            .collect();
        let worst = per_class.iter().flatten().copied().reduce(f64::min);
        Self {
            images: labels.len() as u64,
            top1: percent(hits.iter().sum(), labels.len().max(1) as u64),
            acc_macro: groups::mean(per_class.iter().flatten()).unwrap_or(0.0),
            f1_macro: groups::mean(f1.iter()).unwrap_or(0.0),
            worst_class: worst.unwrap_or(0.0),
            ece: None,
            per_class,
        }
    }

    /// The same with the calibration error of the confidences.
    pub fn of_predictions(predictions: &[Prediction], labels: &[u32], classes: usize) -> Self {
        let predicted: Vec<u32> = predictions.iter().map(|p| p.class).collect();
        let ece = calibration_error(predictions, labels);
        Self { ece: Some(ece), ..Self::of(&predicted, labels, classes) }
    }
}

/// Expected calibration error in percent; see [`Accuracy::ece`]. A confidence on the border of two
/// bins is in the lower one.
fn calibration_error(predictions: &[Prediction], labels: &[u32]) -> f64 {
    let mut gaps = [0.0f64; ECE_BINS];
    for (prediction, &label) in predictions.iter().zip(labels) {
        let confidence = f64::from(prediction.confidence);
        let bin = (confidence * ECE_BINS as f64).ceil() as usize;
        let right = f64::from(u8::from(prediction.class == label));
        gaps[bin.clamp(1, ECE_BINS) - 1] += right - confidence;
    }
    100.0 * gaps.iter().map(|gap| gap.abs()).sum::<f64>() / labels.len().max(1) as f64
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
        assert_eq!(accuracy.worst_class, 50.0);
        // Class 0: precision 2/3, recall 1, F1 4/5; class 1: precision 1, recall 1/2, F1 2/3.
        assert!((accuracy.f1_macro - 100.0 * (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn calibration_error_by_hand() {
        // Bin (0.8, 0.867]: two of confidence 0.85, one right: gap 0.35; bin (0.533, 0.6]: one of 0.55,
        // right: gap 0.45. Weighted by images: (2 * 0.35 + 0.45) / 3.
        let at = |class, confidence| Prediction { class, confidence };
        let error = calibration_error(&[at(0, 0.85), at(1, 0.85), at(1, 0.55)], &[0, 0, 1]);
        assert!((error - 100.0 * (0.7 + 0.45) / 3.0).abs() < 1e-4, "{error}");
        assert_eq!(calibration_error(&[at(2, 1.0)], &[2]), 0.0);
    }
}
