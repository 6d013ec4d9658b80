//! What only the command line can find wrong; everything else has the error of its stage.

use std::io;
use std::path::PathBuf;

use clap::CommandFactory;

use super::args::Cli;
use crate::config::ConfigError;

#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Standard output takes no more.
    #[error(
        "standard output: cannot be written: {0}\n  Check free space where it is redirected to."
    )]
    Output(io::Error),
    /// Arguments that do not go together, or that name nothing.
    #[error("{0}")]
    Usage(String),
    /// A method of `compare` that does not exist, or not in this combination.
    #[error("--methods {name}: {source}")]
    Method { name: String, source: Box<ConfigError> },
    /// A repair without the network.
    #[error("{}: no trained model here; files are made again with the model that the bank was made with\n  Give the folder of the run that has it with --out.", .0.display())]
    NoModelToRepair(PathBuf),
    /// An engine that is not part of this build, or not beside it.
    #[error("{0}")]
    NoEngine(String),
    /// The engine's executable exists and does not run.
    #[error("{}: cannot be started: {source}\n  Build it again with `make build`.", engine.display())]
    EngineStart { engine: PathBuf, source: io::Error },
    /// Parts that `doctor` has not found.
    #[error("missing: {0}; see above for how to fix each")]
    MissingParts(String),
}

impl CliError {
    #[cfg(not(feature = "onnx"))]
    pub(super) fn without_onnx(what: &str) -> Self {
        let remedy = "Build with the cargo feature `onnx`.";
        Self::NoEngine(format!("{what}: this build has no ONNX engine\n  {remedy}"))
    }
}

/// Ends the program as clap does where arguments do not go together.
pub(super) fn usage_error(message: &str) -> ! {
    Cli::command().error(clap::error::ErrorKind::MissingRequiredArgument, message).exit()
}

/// An error with its causes: a cause that the message above it does not contain is printed below it.
pub(super) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(cause.trim()) {
            text += &format!("\n  caused by: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let lost = || io::Error::other("no such device");
        let wrapped = Err::<(), _>(lost()).context("a.json").unwrap_err();
        assert_eq!(with_causes(&wrapped), "a.json\n  caused by: no such device");
        let typed = CliError::EngineStart { engine: "e".into(), source: lost() };
        let told = with_causes(&typed.into());
        assert!(told.starts_with("e: cannot be started: no such device\n"), "{told}");
        assert!(!told.contains("caused by"), "{told}");
    }
}
