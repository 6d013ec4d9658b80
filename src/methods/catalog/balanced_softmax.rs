//! Softmax weighted by class sizes.

use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, LossFacts, MethodFacts, Objective, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "balanced-softmax",
        title: "Balanced softmax",
        source: "Ren et al., NeurIPS 2020, Eq. 4",
        classifier: "from Phase-I",
        preset: decoupling!("loss = 'balanced-softmax'\n"),
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: Some(LossFacts {
        name: "balanced-softmax",
        formula: "cross-entropy of z + ln n",
        objective: |counts, _| Objective {
            offsets: counts.at_least_one().map(|n| n.ln() as f32).collect(),
            ..Objective::default()
        },
        ..LossFacts::BOTH_PHASES
    }),
};
