//! LDAM with class-balanced weights late in training.

use super::ldam::margins;
use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, LossFacts, MethodFacts, Objective, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "ldam-drw",
        title: "LDAM-DRW",
        source: "Cao et al., NeurIPS 2019, Alg. 1",
        classifier: "s cos(x, w_c), from Phase-I's directions",
        preset: decoupling!("loss = 'ldam-drw'\n"),
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: Some(LossFacts {
        name: "ldam-drw",
        formula: "`ldam`, with the weights of `class-balanced` after `drw_start` of the iterations",
        cosine: true,
        objective: |counts, settings| Objective {
            margins: margins(counts, settings),
            weights: counts.effective_weights(settings.number("class_balance_beta")),
            weights_from: (settings.number("drw_start") * settings.number("iterations")).round()
                as usize,
            ..Objective::default()
        },
        ..LossFacts::PHASE2
    }),
};
