//! Logit adjustment as a loss.

use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, LossFacts, MethodFacts, Objective, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "logit-adjusted-loss",
        title: "Logit adj. loss",
        source: "Menon et al., ICLR 2021, Eq. 10",
        classifier: "from Phase-I",
        preset: decoupling!("loss = 'logit-adjusted'\n"),
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: Some(LossFacts {
        name: "logit-adjusted",
        formula: "cross-entropy of z + τ ln π",
        objective: |counts, settings| {
            let (tau, total) = (settings.number("tau"), counts.at_least_one().sum::<f64>());
            let offset = |n: f64| (tau * (n / total).ln()) as f32;
            Objective {
                offsets: counts.at_least_one().map(offset).collect(),
                ..Objective::default()
            }
        },
        ..LossFacts::PHASE2
    }),
};
