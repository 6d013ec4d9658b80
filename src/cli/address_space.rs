//! Threads where the address space of a process is limited (`ulimit -v`).
//!
//! A thread that multiplies matrices reserves twice the size of the L3 cache for it (in `faer`): hundreds of
//! MiB of addresses on a large processor, of which hardly any memory is ever touched. All products are
//! computed in the threads of one pool, so that their number is what such a limit has to be divided by.

use super::Command;
use crate::eval;

/// Addresses for a thread, its stack, and what the allocators reserve for it.
const THREAD_BYTES: u64 = 1 << 30;

/// The most threads within the limit; `None` where there is none.
pub(super) fn most_threads() -> Option<usize> {
    Some((limit_bytes()? / THREAD_BYTES).max(1) as usize)
}

/// The limit on the address space of this process.
pub(super) fn limit_bytes() -> Option<u64> {
    limit_of(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// What of the limit can be memory: the rest are addresses that are reserved only.
pub(super) fn most_memory_bytes() -> Option<u64> {
    Some(limit_bytes()? / 4 * 3)
}

/// Has every thread of the pool reserve what it needs, before less important buffers take it.
pub(super) fn reserve() {
    rayon::broadcast(|_| eval::reserve());
}

impl Command {
    /// Whether it computes the scores of a classifier.
    pub(super) fn multiplies_matrices(&self) -> bool {
        match self {
            Self::Features(_)
            | Self::Plan(_)
            | Self::Finetune(_)
            | Self::Compare(_)
            | Self::Sweep(_)
            | Self::Predict(_)
            | Self::Eval(_)
            | Self::Inspect(_)
            | Self::Verify(_) => true,
            Self::Init(_)
            | Self::Train(_)
            | Self::Commit(_)
            | Self::Export(_)
            | Self::Doctor(_)
            | Self::Dataset(_) => false,
        }
    }
}

/// `Max address space   819200000   unlimited   bytes`: the soft limit comes first.
fn limit_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read() {
        let limits = |soft| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax cpu time  7  7  s\nMax address space         {soft}            unlimited            bytes\n"
            )
        };
        assert_eq!(limit_of(&limits("819200000")), Some(819_200_000));
        assert_eq!((limit_of(&limits("unlimited")), limit_of("")), (None, None));
    }
}
