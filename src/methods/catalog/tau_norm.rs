//! Weights divided by a power of their norm.

use crate::classifier::{Classifier, length};
use crate::domain::LinearHead;
use crate::methods::Entry;
use crate::methods::method::{MethodFacts, computed_with_tau};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "tau-norm",
        title: "tau-norm",
        source: "Kang et al., ICLR 2020, Eq. 5",
        classifier: "w_c / ‖w_c‖^τ, no bias; τ as set, or chosen in 0, 0.1 ... 2",
        preset: "",
        way: computed_with_tau(|given| Classifier::plain(tau_norm(given.head, given.tau))),
    }),
    loss: None,
};

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
}
