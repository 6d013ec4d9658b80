//! Threads where the address space of a process is limited (`ulimit -v`).
//!
//! A thread that multiplies matrices reserves twice the size of the L3 cache for it (in `faer`): hundreds of
//! MiB of addresses on a large processor, of which hardly any memory is ever touched. All products are
//! computed in the threads of one pool, so that their number is what such a limit has to be divided by.

use std::env::args_os;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(super) use crate::address_space::limit_bytes;
use crate::eval;

/// Addresses for a thread, its stack, and what the allocators reserve for it.
const THREAD_BYTES: u64 = 1 << 30;

/// The most threads within the limit; `None` where there is none.
pub(super) fn most_threads() -> Option<usize> {
    Some((limit_bytes()? / THREAD_BYTES).max(1) as usize)
}

/// What of the limit can be memory: the rest are addresses that are reserved only.
pub(super) fn most_memory_bytes() -> Option<u64> {
    const MIB: u64 = 1 << 20;
    Some(limit_bytes()? / 4 * 3 / MIB * MIB)
}

/// The allocator's own setting: how many addresses it reserves at a time.
const ARENA: &str = "MIMALLOC_ARENA_RESERVE";

/// Where there is a limit, begins this program again with an allocator that reserves little at a time: 1 GiB
/// at once would leave nothing to the libraries that are loaded later.
pub(super) fn leave_room() {
    // With less it cannot, and takes little; with much more both have room.
    let taken = limit_bytes().is_some_and(|limit| (1 << 30..8 << 30).contains(&limit));
    if !taken || std::env::var_os(ARENA).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // Where that fails, the program goes on as it is.
        let _ = Command::new(program).args(args_os().skip(1)).env(ARENA, "64MiB").exec();
    }
}

/// Has every thread of the pool reserve what it needs, before less important buffers take it.
pub(super) fn reserve() {
    rayon::broadcast(|_| eval::reserve());
}
