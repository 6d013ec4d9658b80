//! The focal loss with class-balanced weights (Cui et al., CVPR 2019, Eq. 12, with a softmax).

use crate::methods::{Entry, LossFacts, Objective};

pub(super) static ENTRY: Entry = Entry {
    method: None,
    loss: Some(LossFacts {
        name: "class-balanced-focal",
        formula: "`focal` with the weights of `class-balanced`",
        objective: |counts, settings| Objective {
            weights: counts.effective_weights(settings.number("class_balance_beta")),
            focal_gamma: settings.number("focal_gamma"),
            ..Objective::default()
        },
        ..LossFacts::BOTH_PHASES
    }),
};
