//! Softmax cross-entropy, what is minimised unless another loss is asked for.

use crate::methods::{Entry, LossFacts};

pub(super) static ENTRY: Entry = Entry {
    method: None,
    loss: Some(LossFacts { name: "cross-entropy", formula: "−ln p_y", ..LossFacts::BOTH_PHASES }),
};
