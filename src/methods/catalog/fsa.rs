//! Feature space augmentation: real tail, fused tail and head samples (Alg. 1). Its fusion is in `augment`,
//! `sampler` and `finetune`.

use crate::methods::{Batches, Entry, MethodFacts, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "fsa",
        title: "FSA",
        source: "Chu et al., ECCV 2020",
        classifier: "from Phase-I",
        preset: "",
        way: Trained::from_phase1(Batches::Fused),
    }),
    loss: None,
};
