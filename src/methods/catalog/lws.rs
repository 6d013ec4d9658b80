//! Learnable weight scaling: one factor a class on frozen logits.

use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, Form, MethodFacts, Start, Trained, Way};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "lws",
        title: "LWS",
        source: "Kang et al., ICLR 2020, Sec. 4.1",
        classifier: "f_c (w_c · x + b_c), only f learnt, from 1",
        preset: decoupling!(""),
        way: Way::Trained(Trained {
            batches: Batches::ClassBalanced,
            start: Start::Phase1,
            form: Form::Scaled { learn_weight: false },
        }),
    }),
    loss: None,
};
