//! Mixup of pooled vectors on class-balanced batches.

use std::sync::Arc;

use crate::methods::method::decoupling;
use crate::methods::{Batches, Drawn, Entry, Made, Maker, Making, MethodFacts, Samples, Trained};
use crate::rng::KeyedRng;

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "mixup",
        title: "Feature mixup",
        source: "Zhang et al., ICLR 2018, on features: Verma et al., ICML 2019",
        classifier: "from Phase-I",
        preset: decoupling!(""),
        way: Trained::from_phase1(Batches::Made(&MAKING)),
    }),
    loss: None,
};

static MAKING: Making = Making {
    name: "mixup",
    batches: "class-balanced pairs: λ x + (1 − λ) y, both labels in these shares",
    keys: &["mixup_alpha"],
    vectors: 2,
    held: None,
    input: None,
    maker: |_, settings, _| Arc::new(Mixup { alpha: settings.number("mixup_alpha") }),
};

struct Mixup {
    alpha: f64,
}

impl Maker for Mixup {
    fn plan(
        &self,
        row: u32,
        draw: &dyn Fn(&mut KeyedRng) -> u32,
        rng: &mut KeyedRng,
    ) -> Option<Made> {
        let rows = [row, draw(rng)];
        Some(Made { rows, share: rng.beta(self.alpha) as f32 })
    }

    /// Two rows of the same vector, one for each label, weighted by their shares: any loss of the mixture
    /// is the weighted sum of theirs.
    fn make(&self, drawn: &Drawn<'_>, into: &mut Samples) {
        let share = drawn.made.share;
        for (label, weight) in drawn.labels.into_iter().zip([share, 1.0 - share]) {
            into.push_between(drawn.vectors, 1.0 - share, label);
            into.weigh_last(weight);
        }
    }
}
