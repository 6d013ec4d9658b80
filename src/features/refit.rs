//! A bank made anew from its own maps with another classifier: activation maps and scores follow from
//! it, everything else stays.

use rayon::prelude::*;

use super::pass::{Pass, append, row_head};
use super::{FeaturesError, FeaturesOutcome, clear};
use crate::bank::{Bank, BankError, Column, Manifest, RowHead, RowRequest, SplitName, TrainRow};
use crate::domain::LinearHead;
use crate::weights::Weights;

/// Requests whose maps are in memory together.
const REQUESTS_AT_A_TIME: usize = 2;

/// Writes the bank that `manifest` describes, with `head`, from the maps of `bank`.
pub(super) fn write(
    pass: &Pass<'_>,
    bank: &Bank,
    head: &LinearHead,
    manifest: Manifest,
) -> Result<FeaturesOutcome, FeaturesError> {
    let out = pass.request.out;
    clear(out)?;
    let maker = pass.row_maker(head);
    let mut writer = pass.writer(out)?;
    let dataset = pass.request.dataset;
    let splits = [
        (SplitName::Train, Some(&dataset.train)),
        (SplitName::Val, dataset.val.as_ref()),
        (SplitName::Test, Some(&dataset.test)),
    ];
    let total: u64 = bank.manifest.splits.values().map(|split| split.rows).sum();
    pass.progress.start("activation maps", total, "row");
    for (name, split) in splits {
        let Some(split) = split else { continue };
        let index = bank.index(name)?;
        let reader = bank.row_reader(name)?;
        let all: Vec<usize> = (0..index.len()).collect();
        let columns: &[Column] = match name {
            SplitName::Train => &[Column::Pooled, Column::Cam, Column::FeatureMap],
            SplitName::Val | SplitName::Test => &[Column::Pooled],
        };
        let rows_of = |request: &RowRequest| -> Result<Vec<TrainRow>, BankError> {
            let mut rows = vec![];
            reader.read(request, columns, |row, values| {
                let head = row_head(split, index.sample_ids[row], index.views[row]);
                rows.push(TrainRow {
                    head: RowHead { pooled: values.pooled.to_vec(), ..head },
                    cam: vec![],
                    nonzero: values.nonzero.to_vec(),
                    feature_map: values.map.to_vec(),
                });
            })?;
            Ok(maker.with_scores(rows))
        };
        for requests in index.plan(&all).chunks(REQUESTS_AT_A_TIME) {
            if pass.interrupt.requested() {
                return Err(FeaturesError::InterruptedFit);
            }
            let parts: Vec<Vec<TrainRow>> =
                requests.par_iter().map(rows_of).collect::<Result<_, _>>()?;
            for rows in parts {
                pass.progress.advance(rows.len() as u64);
                append(&mut writer, name.name(), rows)?;
            }
        }
    }
    let classifier_sha256 = Weights::of_head(head).sha256();
    let manifest = Manifest { classifier_sha256, ..manifest };
    pass.finish(writer, manifest, head, &bank.class_counts)
}
