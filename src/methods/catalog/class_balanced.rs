//! Cross-entropy weighted by effective numbers of samples.

use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, LossFacts, MethodFacts, Objective, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "class-balanced",
        title: "Class-balanced",
        source: "Cui et al., CVPR 2019, Eq. 9",
        classifier: "from Phase-I",
        preset: decoupling!("loss = 'class-balanced'\n"),
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: Some(LossFacts {
        name: "class-balanced",
        formula: "cross-entropy weighted by (1 − β) / (1 − β^n_y), the weights scaled to sum to C, the mean weighted too",
        // The mean is weighted as `torch.nn.functional.cross_entropy` does.
        objective: |counts, settings| Objective {
            weights: counts.effective_weights(settings.number("class_balance_beta")),
            ..Objective::default()
        },
        ..LossFacts::BOTH_PHASES
    }),
};
