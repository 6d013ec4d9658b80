//! Class-balanced loss, strong weight decay and bounded norms of the weights.

use crate::methods::{Batches, Entry, MethodFacts, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "max-norm",
        title: "MaxNorm + WD",
        source: "Alshammari et al., CVPR 2022, Eq. 5 and 6",
        classifier: "from Phase-I, ‖w_c‖ cut back to the bound after every step",
        preset: "learning_rate = 0.01\nschedule = 'cosine'\nweight_decay = 0.1\nmax_norm = 0.1\n\
            loss = 'class-balanced'\n",
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: None,
};
