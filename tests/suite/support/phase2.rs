//! Phase-II over a bank, and the classifier that it wrote.

use std::path::Path;

use fsa_bank::config::FinetuneConfig;
use fsa_bank::finetune::{self, FinetuneError, FinetuneOutcome, FinetuneRequest, Selection};
use fsa_bank::progress::{Interrupt, Silent, Watch};

/// Runs Phase-II with seed 5, over an existing result too.
pub fn try_run(
    bank: &Path,
    config: FinetuneConfig,
    selection: Selection,
    memory_bytes: u64,
) -> Result<FinetuneOutcome, FinetuneError> {
    let (seed, out, overwrite) = (5, None, true);
    let request = FinetuneRequest { bank, config, seed, selection, out, overwrite, memory_bytes };
    finetune::run(&request, Watch::new(&Silent, &Interrupt::default()))
}

/// Bytes of the classifier of a run.
pub fn classifier(outcome: &FinetuneOutcome) -> Vec<u8> {
    std::fs::read(outcome.folder.join("classifier.safetensors")).unwrap()
}
