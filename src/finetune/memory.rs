//! How much memory a run takes, and how it is divided.

use super::FinetuneError;
use crate::augment::CONFUSING_BYTES;
use crate::bank::Bank;
use crate::config::FinetuneConfig;
use crate::domain::Split;
use crate::methods::Batches;

/// Bytes of one planned draw from a map.
pub(super) const PLANNED_DRAW_BYTES: usize = 16;

/// Bytes that one iteration of a window takes where nothing is held.
pub(super) fn iteration_bytes(channels: usize, config: &FinetuneConfig) -> usize {
    let batch = config.batch_size();
    let vectors = match config.method.batches() {
        // A real row, or two parts of a fused one, each.
        Some(Batches::Fused) => batch + config.tail_per_batch * config.num_augmented,
        Some(Batches::Made(making)) => making.vectors * batch,
        _ => batch,
    };
    vectors * (4 * channels + PLANNED_DRAW_BYTES + 24)
}

/// How memory is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryPlan {
    /// Pooled vectors and CAMs are held.
    pub(super) hold_rows: bool,
    /// For held maps, and for windows.
    pub(super) rest: usize,
}

/// The least memory that a run of these settings takes on a bank; more of it holds more at a time.
pub fn least_memory_bytes(bank: &Bank, config: &FinetuneConfig) -> u64 {
    let channels = bank.manifest.feature_shape.channels;
    MemoryPlan::least(bank, 1, iteration_bytes(channels, config))
}

impl MemoryPlan {
    /// What is needed whatever is held: the program, the index of the rows, the classifiers in
    /// training, buffers, and two windows of one iteration.
    fn least(bank: &Bank, trainers: usize, iteration_bytes: usize) -> u64 {
        // Weights, momentum, directions or a gradient, the best so far and the result; Phase-I's own.
        let head = (bank.head.weight.len() + bank.head.bias.len()) as u64 * 4;
        let classifiers = head * (5 * trainers as u64 + 1);
        let buffers = 2 * CONFUSING_BYTES as u64;
        let windows = 2 * iteration_bytes as u64;
        bank.open_bytes() + classifiers + buffers + windows
    }

    /// Divides `limit` for runs of `trainers` classifiers that train side by side; a window takes at
    /// least `iteration_bytes`.
    pub(super) fn new(
        bank: &Bank,
        limit: u64,
        trainers: usize,
        iteration_bytes: usize,
    ) -> Result<Self, FinetuneError> {
        let shape = bank.manifest.feature_shape;
        let rows = bank.manifest.split(Split::Train).map_or(0, |split| split.rows);
        let least = Self::least(bank, trainers, iteration_bytes);
        let Some(left) = limit.checked_sub(least) else {
            return Err(FinetuneError::Memory { limit, least });
        };
        let left = left + 2 * iteration_bytes as u64;
        let columns = rows * (4 * shape.channels + 5 * shape.locations()) as u64;
        let hold_rows = columns <= left / 2;
        let rest = if hold_rows { left - columns } else { left };
        Ok(Self { hold_rows, rest: rest as usize })
    }
}
