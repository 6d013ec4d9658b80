//! Focal loss.

use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, LossFacts, MethodFacts, Objective, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "focal",
        title: "Focal",
        source: "Lin et al., ICCV 2017, Eq. 4",
        classifier: "from Phase-I",
        preset: decoupling!("loss = 'focal'\n"),
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: Some(LossFacts {
        name: "focal",
        formula: "−(1 − p_y)^γ ln p_y",
        objective: |_, settings| Objective {
            focal_gamma: settings.number("focal_gamma"),
            ..Objective::default()
        },
        ..LossFacts::BOTH_PHASES
    }),
};
