//! The logarithm of the class shares taken off the logits, after training.

use crate::classifier::Classifier;
use crate::domain::{ClassCounts, LinearHead};
use crate::methods::Entry;
use crate::methods::method::{MethodFacts, computed_with_tau};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "logit-adjustment",
        title: "Logit adj.",
        source: "Menon et al., ICLR 2021, Eq. 9",
        classifier: "logits − τ ln π; τ as set, or chosen in 0, 0.1 ... 2",
        preset: "",
        way: computed_with_tau(|given| {
            Classifier::plain(adjusted(given.head, given.counts, given.tau))
        }),
    }),
    loss: None,
};

/// Logits − τ ln π, as a bias (Menon et al., Eq. 9); π is a class's share of the training images.
fn adjusted(head: &LinearHead, counts: &ClassCounts, tau: f32) -> LinearHead {
    let total = counts.total() as f64;
    let mut head = head.clone();
    for (bias, &images) in head.bias.iter_mut().zip(&counts.0) {
        *bias -= (f64::from(tau) * (images.max(1) as f64 / total).ln()) as f32;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logit_adjustment_by_hand() {
        let head = LinearHead::new(vec![1.0, -1.0], vec![0.5, 0.0]).unwrap();
        let found = adjusted(&head, &ClassCounts(vec![3, 1]), 2.0);
        assert_eq!(found.weight, head.weight);
        assert!((found.bias[0] - (0.5 - 2.0 * 0.75f32.ln())).abs() < 1e-6);
        assert!((found.bias[1] + 2.0 * 0.25f32.ln()).abs() < 1e-6);
    }
}
