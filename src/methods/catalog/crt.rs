//! Classifier re-training: a new classifier on class-balanced batches.

use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, Form, MethodFacts, Start, Trained, Way};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "crt",
        title: "cRT",
        source: "Kang et al., ICLR 2020, Sec. 4.1",
        classifier: "new, uniform within ±1/√K",
        preset: decoupling!(""),
        way: Way::Trained(Trained {
            batches: Batches::ClassBalanced,
            start: Start::New,
            form: Form::Linear,
        }),
    }),
    loss: None,
};
