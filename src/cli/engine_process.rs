//! Hands a command to `fsa-bank-torch`, the executable that holds libtorch.
//!
//! Loading libtorch takes a third of a second and hundreds of megabytes, so only the commands that
//! need it pay for it. The engine's executable takes the same arguments and replaces this process.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::error::CliError;

const ENGINE: &str = "fsa-bank-torch";

/// Where the engine's executable should be.
pub(super) fn path() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(ENGINE))
}

/// Runs the same command line in the engine's executable; returns only if that fails.
pub(super) fn hand_over<T>() -> anyhow::Result<T> {
    let engine = path().unwrap_or_else(|| ENGINE.into());
    if !engine.is_file() {
        return Err(CliError::NoEngine(format!(
            "{}: not found; this command needs the libtorch engine\n  \
             Build it with `make build`, or with `cargo build --release` and LIBTORCH set; \
             inspect and finetune work without it.",
            engine.display()
        ))
        .into());
    }
    let source = Command::new(&engine).args(std::env::args_os().skip(1)).exec();
    Err(CliError::EngineStart { engine, source }.into())
}
