//! Label over-smoothing: targets just above 1 / C for the true class and just below for the others.
//!
//! The authors' second stage trains the classifier alone, from that of the first, on instances with plain
//! label smoothing of δ; rate and schedule are those of their code.

use crate::methods::{Batches, Entry, LossFacts, MethodFacts, Objective, Trained};

/// δ: the target is 1 − δ + δ / C for the true class and δ / C for the others.
const DELTA: f64 = 0.98;

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "label-over-smoothing",
        title: "Label over-sm.",
        source: "Sun et al., ICLR 2025",
        classifier: "from Phase-I",
        preset: "learning_rate = 5e-4\nschedule = 'cosine'\nloss = 'label-over-smoothing'\n",
        way: Trained::from_phase1(Batches::Instance),
    }),
    loss: Some(LossFacts {
        name: "label-over-smoothing",
        formula: "−(1 − δ) ln p_y − δ mean of ln p, δ 0.98",
        objective: |_, _| Objective { label_smoothing: DELTA, ..Objective::default() },
        ..LossFacts::BOTH_PHASES
    }),
};

#[cfg(test)]
mod tests {
    use crate::domain::ClassCounts;
    use crate::methods::{Loss, Settings};

    #[test]
    fn four_classes_by_hand() {
        let loss = Loss::named("label-over-smoothing");
        let objective = (loss.objective)(&ClassCounts(vec![9, 5, 2, 1]), &Settings::from_text(""));
        // p = 1/2, 1/4, 1/8, 1/8: −ln p is 1, 2, 3, 3 times ln 2, 9/4 in the mean, so the loss is
        // 0.02 + 0.98 · 9/4 = 2.225 times ln 2, of class 0.
        let ln2 = 2f32.ln();
        let row = objective.row(0, -ln2, 2.25 * ln2);
        assert!((row.loss - 2.225 * ln2).abs() < 1e-6, "{row:?}");
        assert_eq!((row.factor, row.smoothing), (1.0, 0.98));
    }
}
