//! The registry: all methods and losses, in the order of tables.

mod balanced_softmax;
mod class_balanced;
mod class_balanced_focal;
mod cross_entropy;
mod crt;
mod focal;
mod fsa;
mod label_aware_smoothing;
mod label_over_smoothing;
mod ldam;
mod ldam_drw;
mod logit_adjusted_loss;
mod logit_adjustment;
mod lws;
mod max_norm;
mod mixup;
mod ncm;
mod no_aug;
mod phase1;
mod smote;
mod tailcalib;
mod tau_norm;

use std::sync::LazyLock;

use super::{Choice, Entry, Loss, LossFacts, Method, MethodFacts, Registered};

static ENTRIES: &[&Entry] = &[
    &cross_entropy::ENTRY,
    &phase1::ENTRY,
    &no_aug::ENTRY,
    &fsa::ENTRY,
    &crt::ENTRY,
    &lws::ENTRY,
    &tau_norm::ENTRY,
    &ncm::ENTRY,
    &logit_adjustment::ENTRY,
    &logit_adjusted_loss::ENTRY,
    &balanced_softmax::ENTRY,
    &focal::ENTRY,
    &class_balanced::ENTRY,
    &class_balanced_focal::ENTRY,
    &ldam::ENTRY,
    &ldam_drw::ENTRY,
    &label_aware_smoothing::ENTRY,
    &label_over_smoothing::ENTRY,
    &max_norm::ENTRY,
    &mixup::ENTRY,
    &smote::ENTRY,
    &tailcalib::ENTRY,
];

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    ENTRIES.iter().filter_map(|entry| entry.method.as_ref()).map(Choice::of).collect()
});

static LOSSES: LazyLock<Vec<Loss>> = LazyLock::new(|| {
    ENTRIES.iter().filter_map(|entry| entry.loss.as_ref()).map(Choice::of).collect()
});

impl Registered for MethodFacts {
    fn name(&self) -> &'static str {
        self.name
    }

    fn all() -> &'static [Method] {
        &METHODS
    }
}

impl Registered for LossFacts {
    fn name(&self) -> &'static str {
        self.name
    }

    fn all() -> &'static [Loss] {
        &LOSSES
    }
}
