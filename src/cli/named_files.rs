//! Files that the user names for what a command writes, where one may be standard output.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::DatasetCommand;
use super::error::CliError;
use super::{Cli, Command};
use crate::atomic_file;

/// Whether standard output is one of the files, so that nothing else may be in it.
static STANDARD_OUTPUT: AtomicBool = AtomicBool::new(false);

/// Whether what is printed goes to standard error, because standard output is a file that the user named.
pub(super) fn standard_output_is_one() -> bool {
    STANDARD_OUTPUT.load(Ordering::Relaxed)
}

/// Refuses what is not a name, and two things for one standard output.
pub(super) fn check(cli: &Cli) -> Result<(), CliError> {
    let files = cli.command.named_files();
    if let Some((flag, _)) = files.iter().find(|(_, path)| *path == Path::new("-")) {
        let found =
            format!("{flag} -: not the name of a file\n  For standard output give /dev/stdout.");
        return Err(CliError::Usage(found));
    }
    let to_output: Vec<String> = files
        .into_iter()
        .filter(|(_, path)| atomic_file::names_standard_output(path))
        .map(|(flag, path)| format!("{flag} {}", path.display()))
        .collect();
    let csv = matches!(&cli.command, Command::Predict(args) if args.csv);
    let printed = [(cli.json, "--json"), (csv, "--csv")].into_iter().filter(|(asked, _)| *asked);
    let printed = printed.map(|(_, flag)| flag.to_string());
    STANDARD_OUTPUT.store(!to_output.is_empty(), Ordering::Relaxed);
    match to_output.iter().cloned().chain(printed).collect::<Vec<_>>() {
        all if !to_output.is_empty() && all.len() > 1 => Err(CliError::Usage(format!(
            "{}: standard output can be only one of them\n  Give a file for the others.",
            all.join(", ")
        ))),
        _ => Ok(()),
    }
}

impl Command {
    /// The files that it writes, with their flags.
    fn named_files(&self) -> Vec<(&'static str, &Path)> {
        let files: Vec<(&'static str, &Option<PathBuf>)> = match self {
            Self::Init(args) => vec![("--out", &args.out)],
            Self::Export(args) => vec![
                ("--onnx", &args.onnx),
                ("--safetensors", &args.safetensors),
                ("--head", &args.head),
            ],
            Self::Predict(args) => vec![("--parquet", &args.parquet)],
            Self::Dataset(DatasetCommand::Stats(args)) => vec![("--picture", &args.picture)],
            Self::Dataset(DatasetCommand::Check(_) | DatasetCommand::Fetch(_))
            | Self::Train(_)
            | Self::Features(_)
            | Self::Plan(_)
            | Self::Commit(_)
            | Self::Finetune(_)
            | Self::Compare(_)
            | Self::Sweep(_)
            | Self::Eval(_)
            | Self::Doctor(_)
            | Self::Inspect(_)
            | Self::Verify(_) => vec![],
        };
        files.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?))).collect()
    }
}
