//! FSA's balanced batches with real tail samples in place of fused ones.

use crate::methods::{Batches, Entry, MethodFacts, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "no-aug",
        title: "No Aug",
        source: "Chu et al., ECCV 2020, Fig. 9",
        classifier: "from Phase-I",
        preset: "",
        way: Trained::from_phase1(Batches::HeadTail),
    }),
    loss: None,
};
