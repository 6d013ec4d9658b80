//! Classifiers that are computed, not trained: Phase-I's own, τ-norm, logit adjustment, NCM.

use super::source::Source;
use crate::bank::BankError;
use crate::classifier::{Classifier, Input, length, normalise};
use crate::config::Method;
use crate::domain::{ClassCounts, LinearHead};

/// The strengths among which a validation split chooses τ.
pub const TAU_GRID: [f32; 21] = [
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8,
    1.9, 2.0,
];

/// The classifier of a method that has no training; `None` for a method that has.
pub(super) fn classifier(
    method: Method,
    tau: f32,
    source: &Source<'_>,
) -> Result<Option<Classifier>, BankError> {
    let (head, counts) = (&source.bank.head, &source.bank.class_counts);
    Ok(match method {
        Method::Phase1 => Some(Classifier::plain(head.clone())),
        Method::TauNorm => Some(Classifier::plain(tau_norm(head, tau))),
        Method::LogitAdjustment => Some(Classifier::plain(adjusted(head, counts, tau))),
        Method::Ncm => Some(nearest_class_mean(source)?),
        _ => None,
    })
}

/// w_c / ‖w_c‖^τ, the bias dropped (Kang et al., Eq. 5). A class without weights keeps none.
fn tau_norm(head: &LinearHead, tau: f32) -> LinearHead {
    let mut weight = head.weight.clone();
    for of_class in weight.chunks_exact_mut(head.channels()) {
        let norm = length(of_class);
        if norm > 0.0 {
            let factor = norm.powf(-tau);
            of_class.iter_mut().for_each(|w| *w *= factor);
        }
    }
    LinearHead::new(weight, vec![0.0; head.classes()]).expect("as many weights as before")
}

/// Logits − τ ln π, as a bias (Menon et al., Eq. 9); π is a class's share of the training images.
fn adjusted(head: &LinearHead, counts: &ClassCounts, tau: f32) -> LinearHead {
    let total = counts.total() as f64;
    let mut head = head.clone();
    for (bias, &images) in head.bias.iter_mut().zip(&counts.0) {
        *bias -= (f64::from(tau) * (images.max(1) as f64 / total).ln()) as f32;
    }
    head
}

/// The nearest mean of centred, L2-normalised vectors (the `cl2n` features of Kang et al.'s code): the
/// logits are −‖x − m_c‖², less ‖x‖² = 1, which is the same for all classes. Clean views count.
fn nearest_class_mean(source: &Source<'_>) -> Result<Classifier, BankError> {
    let (classes, channels) = (source.bank.class_names.len(), source.channels());
    let index = source.index();
    let clean: Vec<usize> = (0..index.len()).filter(|&row| index.views[row] == 0).collect();
    let mut sums = vec![0.0f64; channels];
    source.for_each_block(&clean, |_, vectors| {
        for vector in vectors.chunks_exact(channels) {
            sums.iter_mut().zip(vector).for_each(|(sum, v)| *sum += f64::from(*v));
        }
    })?;
    let centre: Vec<f32> =
        sums.iter().map(|sum| (sum / clean.len().max(1) as f64) as f32).collect();
    let mut sums = vec![0.0f64; classes * channels];
    let mut images = vec![0u64; classes];
    let mut centred = vec![0.0f32; channels];
    source.for_each_block(&clean, |rows, vectors| {
        for (&row, vector) in rows.iter().zip(vectors.chunks_exact(channels)) {
            let class = index.labels[row] as usize;
            images[class] += 1;
            centred.iter_mut().zip(vector.iter().zip(&centre)).for_each(|(x, (v, c))| *x = v - c);
            normalise(&mut centred);
            let sum = &mut sums[class * channels..][..channels];
            sum.iter_mut().zip(&centred).for_each(|(sum, v)| *sum += f64::from(*v));
        }
    })?;
    let means: Vec<f32> = sums
        .chunks_exact(channels)
        .zip(&images)
        .flat_map(|(sum, &n)| sum.iter().map(move |s| (s / n.max(1) as f64) as f32))
        .collect();
    let bias =
        means.chunks_exact(channels).map(|m| -m.iter().map(|v| v * v).sum::<f32>()).collect();
    let weight = means.iter().map(|m| 2.0 * m).collect();
    let head = LinearHead::new(weight, bias).expect("one mean a class");
    Ok(Classifier { input: Input::CentredDirection(centre), head })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_norm_by_hand() {
        let head = LinearHead::new(vec![3.0, 4.0, 0.0, 2.0], vec![1.0, -1.0]).unwrap();
        assert_eq!(tau_norm(&head, 0.0).weight, head.weight);
        assert_eq!(tau_norm(&head, 0.0).bias, [0.0, 0.0]);
        let unit = tau_norm(&head, 1.0).weight;
        assert!(unit.iter().zip([0.6, 0.8, 0.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-6));
        let half = tau_norm(&head, 0.5).weight;
        assert!((half[3] - 2f32.sqrt()).abs() < 1e-6);
        let dead = LinearHead::new(vec![0.0; 2], vec![0.0; 2]).unwrap();
        assert_eq!(tau_norm(&dead, 1.0).weight, [0.0, 0.0]);
    }

    #[test]
    fn logit_adjustment_by_hand() {
        let head = LinearHead::new(vec![1.0, -1.0], vec![0.5, 0.0]).unwrap();
        let found = adjusted(&head, &ClassCounts(vec![3, 1]), 2.0);
        assert_eq!(found.weight, head.weight);
        assert!((found.bias[0] - (0.5 - 2.0 * 0.75f32.ln())).abs() < 1e-6);
        assert!((found.bias[1] + 2.0 * 0.25f32.ln()).abs() < 1e-6);
    }
}
