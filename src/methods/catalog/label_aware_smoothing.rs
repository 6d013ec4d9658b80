//! Label-aware smoothing with learnt scales.

use std::f64::consts::FRAC_PI_2;

use crate::domain::ClassCounts;
use crate::methods::{
    Batches, Entry, Form, LossFacts, MethodFacts, Objective, Settings, Start, Trained, Way,
};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "label-aware-smoothing",
        title: "Label-aware sm.",
        source: "Zhong et al., CVPR 2021, Eq. 3 to 5",
        classifier: "f_c (w_c · x + b_c), all learnt, w and b at half the rate",
        preset: "learning_rate = 0.1\nschedule = 'cosine'\nweight_decay = 2e-4\n\
            loss = 'label-aware-smoothing'\n",
        way: Way::Trained(Trained {
            batches: Batches::ClassBalanced,
            start: Start::Phase1,
            form: Form::Scaled { learn_weight: true },
        }),
    }),
    loss: Some(LossFacts {
        name: "label-aware-smoothing",
        formula: "−(1 − ε_y) ln p_y − ε_y mean of ln p; ε rises from the smallest to the largest class as sin(π/2 (n_y − min n) / (max n − min n))",
        objective: |counts, settings| Objective {
            smoothing: smoothing(counts, settings),
            ..Objective::default()
        },
        ..LossFacts::PHASE2
    }),
};

/// `[C]`, a quarter of a sine wave from the smallest to the largest class: the concave form.
fn smoothing(counts: &ClassCounts, settings: &Settings) -> Vec<f32> {
    let widen = |(low, high): (f64, f64), n: f64| (low.min(n), high.max(n));
    let (min, max) = counts.at_least_one().fold((f64::INFINITY, 0.0), widen);
    let [head, tail] = settings.pair("smoothing");
    let place = |n: f64| if max > min { (n - min) / (max - min) } else { 0.0 };
    let share = |n: f64| (tail + (head - tail) * (place(n) * FRAC_PI_2).sin()) as f32;
    counts.at_least_one().map(share).collect()
}
