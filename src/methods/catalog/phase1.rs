//! The bank's own classifier, for comparison.

use crate::classifier::Classifier;
use crate::methods::Entry;
use crate::methods::method::{MethodFacts, computed};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "phase1",
        title: "Phase-I",
        source: "the bank's own classifier",
        classifier: "the bank's",
        preset: "",
        way: computed(|given| Classifier::plain(given.head.clone())),
    }),
    loss: None,
};
