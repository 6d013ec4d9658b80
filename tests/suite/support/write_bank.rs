//! Banks of rows that tests and benches make up, written by the steps that `features` takes.

use std::collections::BTreeMap;
use std::path::Path;

use fsa_bank::bank::{
    BankError, Build, BuildPlan, Committed, Layout, Manifest, OpenShard, PlannedShard,
};
use fsa_bank::classifier_file::ClassifierCard;
use fsa_bank::domain::LinearHead;

/// A bank that is to be written.
pub struct NewBank<'a> {
    /// All of the manifest but files and shards.
    pub manifest: Manifest,
    pub layout: Layout,
    pub class_names: Vec<String>,
    pub head: &'a LinearHead,
    /// Rows of each split.
    pub rows: BTreeMap<String, u64>,
}

/// Writes the bank into `dir`; `fill` appends the rows of a shard, `items` of its split.
pub fn write_bank(
    dir: &Path,
    bank: NewBank,
    mut fill: impl FnMut(&PlannedShard, &mut OpenShard) -> Result<(), BankError>,
) -> Result<Committed, BankError> {
    let NewBank { manifest, layout, class_names, head, rows } = bank;
    let plan = BuildPlan {
        manifest,
        batch_size: 1,
        compression_level: layout.compression_level,
        shard_bytes: layout.shard_bytes,
        items: rows,
    };
    let classifier = ClassifierCard::default().weights(head, []).to_bytes();
    let build = Build::begin(dir, plan, class_names, &classifier, true)?.with_layout(layout);
    let mut results = vec![];
    for shard in build.shards() {
        let mut open = OpenShard::begin(&build, shard)?;
        fill(shard, &mut open)?;
        results.push(Some(open.finish(vec![])?));
    }
    build.commit(results, true)
}
