//! Classifiers that are computed, not trained, from what the bank has.

use std::cell::RefCell;

use super::source::Source;
use crate::bank::BankError;
use crate::classifier::Classifier;
use crate::methods::{Computed, Given, Visit};

/// The strengths among which a validation split chooses τ.
pub const TAU_GRID: [f32; 21] = [
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8,
    1.9, 2.0,
];

/// The classifier of a method that has no training.
pub(super) fn classifier(
    computed: &Computed,
    tau: f32,
    source: &Source<'_>,
) -> Result<Classifier, BankError> {
    let index = source.index();
    let clean: Vec<usize> = (0..index.len()).filter(|&row| index.views[row] == 0).collect();
    let failed = RefCell::new(None);
    let visit_vectors = |visit: Visit<'_>| {
        let read = source.for_each_block(&clean, |rows, vectors| {
            for (&row, vector) in rows.iter().zip(vectors.chunks_exact(source.channels())) {
                visit(index.labels[row], vector);
            }
        });
        if let Err(error) = read {
            failed.replace(Some(error));
        }
    };
    let (head, counts) = (&source.bank.head, &source.bank.class_counts);
    let classifier =
        (computed.classifier)(&Given { head, counts, tau, visit_vectors: &visit_vectors });
    failed.into_inner().map_or(Ok(classifier), Err)
}
