//! Label-distribution-aware margins on a cosine classifier.

use crate::domain::ClassCounts;
use crate::methods::method::decoupling;
use crate::methods::{Batches, Entry, LossFacts, MethodFacts, Objective, Settings, Trained};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "ldam",
        title: "LDAM",
        source: "Cao et al., NeurIPS 2019, Eq. 13",
        classifier: "s cos(x, w_c), from Phase-I's directions",
        preset: decoupling!("loss = 'ldam'\n"),
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: Some(LossFacts {
        name: "ldam",
        formula: "cross-entropy of s (cos θ_c − m_c [c = y]), m_c = `ldam_margin` (min n / n_c)^¼",
        cosine: true,
        objective: |counts, settings| Objective {
            margins: margins(counts, settings),
            ..Objective::default()
        },
        ..LossFacts::PHASE2
    }),
};

/// `[C]`, proportional to n^(−1/4); the largest is `ldam_margin` of a cosine, times `cosine_scale`.
pub(super) fn margins(counts: &ClassCounts, settings: &Settings) -> Vec<f32> {
    let smallest = counts.at_least_one().fold(f64::INFINITY, f64::min);
    let largest = f64::from(settings.float("ldam_margin") * settings.float("cosine_scale"));
    counts.at_least_one().map(|n| (largest * (smallest / n).powf(0.25)) as f32).collect()
}
