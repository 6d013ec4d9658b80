//! Hands a command to `fsa-bank-torch`, the executable that holds libtorch.
//!
//! Loading libtorch takes a third of a second and hundreds of megabytes, so only the commands that
//! need it pay for it. The engine's executable takes the same arguments and replaces this process.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

const ENGINE: &str = "fsa-bank-torch";

/// Where the engine's executable should be.
pub(super) fn path() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(ENGINE))
}

/// Runs the same command line in the engine's executable; returns only if that fails.
pub(super) fn hand_over() -> anyhow::Result<()> {
    let this = std::env::current_exe().context("the path of this executable is unknown")?;
    let engine: PathBuf = this.with_file_name(ENGINE);
    if !engine.is_file() {
        bail!(
            "{}: not there; this command needs the libtorch engine\n  \
             Build it with `make build`, or with `cargo build --release` and LIBTORCH set; \
             inspect and finetune work without it.",
            engine.display()
        );
    }
    let error = Command::new(&engine).args(std::env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("{}: cannot be started", engine.display()))
}
