//! The command line: arguments in, one report or one error out, and an exit code.
//!
//! 0 done, 1 failed, 2 usage or settings, 3 dataset, bank or model invalid, 130 interrupted.

mod account;
mod address_space;
mod args;
mod commit;
mod compare;
mod dataset;
mod doctor;
mod engine_process;
mod error;
mod eval;
mod exit_code;
mod export;
mod features;
mod finetune;
mod init;
mod inspect;
mod model;
mod named_files;
mod predict;
mod screen;
mod settings;
mod skipping;
mod sweep;
mod train;
mod verify;

use std::io::{self, Write};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser;

use crate::backbone::Engine;
use crate::progress::{Interrupt, Watch};

pub use args::{Cli, Command};
use error::CliError;
use screen::{Screen, say};

/// What every command gets.
struct Context<'a> {
    engine: Option<&'a dyn Engine>,
    screen: Screen,
    interrupt: Interrupt,
    threads: Option<usize>,
    json: bool,
}

impl Context<'_> {
    /// What stages take.
    fn watch(&self) -> Watch<'_> {
        Watch::new(&self.screen, &self.interrupt)
    }
}

/// Runs the program; `engine` is what this executable can compute networks with.
pub fn main(engine: Option<&dyn Engine>) -> ExitCode {
    address_space::leave_room();
    let done = match Cli::try_parse() {
        Ok(cli) => run(cli, engine),
        // Help and version, which are asked for, are output.
        Err(help) if !help.use_stderr() => written(help.print()).map_err(Into::into),
        Err(usage) => usage.exit(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", error::with_causes(&error)));
            ExitCode::from(exit_code::of(&error))
        }
    }
}

fn run(cli: Cli, engine: Option<&dyn Engine>) -> anyhow::Result<()> {
    named_files::check(&cli)?;
    let wanted = cli.threads.map(NonZero::get);
    let threads = match address_space::most_threads() {
        Some(most) => Some(
            wanted.unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get)).min(most),
        ),
        None => wanted,
    };
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    if address_space::limit_bytes().is_some() && cli.command.multiplies_matrices() {
        address_space::reserve();
    }
    let context = Context {
        engine,
        screen: match &cli.command {
            Command::Features(args) if args.shared.worker => Screen::counts(),
            _ => Screen::new(cli.quiet),
        },
        interrupt: catch_interrupts(),
        threads,
        json: cli.json,
    };
    match cli.command {
        Command::Init(args) => init::run(&context, &args),
        Command::Train(args) => train::run(&context, &args),
        Command::Features(args) => features::run(&context, &args),
        Command::Plan(args) => features::plan(&context, &args),
        Command::Commit(args) => commit::run(&context, &args),
        Command::Finetune(args) => finetune::run(&context, &args),
        Command::Compare(args) => compare::run(&context, &args),
        Command::Sweep(args) => sweep::run(&context, &args),
        Command::Export(args) => export::run(&context, &args),
        Command::Predict(args) => predict::run(&context, &args),
        Command::Eval(args) => eval::run(&context, &args),
        Command::Doctor(args) => doctor::run(&context, &args),
        Command::Inspect(args) => inspect::run(&context, &args),
        Command::Verify(args) => verify::run(&context, &args),
        Command::Dataset(args) => dataset::run(&context, &args),
    }
}

/// The first Ctrl-C asks to stop, the second stops at once.
fn catch_interrupts() -> Interrupt {
    let interrupt = Interrupt::default();
    let handle = interrupt.clone();
    let mut asked = false;
    // Without a handler Ctrl-C still ends the program, only less gently.
    let _ = ctrlc::set_handler(move || {
        if std::mem::replace(&mut asked, true) {
            // Nothing is torn down that libtorch and onnxruntime are still computing with.
            signal_hook::low_level::exit(exit_code::INTERRUPTED.into());
        }
        handle.request();
    });
    interrupt
}

/// A result for machines, on one line.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print_text(&format!("{}\n", serde_json::to_string(value)?))
}

/// Writes to standard output, or to standard error where a file that the user named is standard output; a
/// reader that has gone (`| head`) is not an error, any other failure is.
fn print_text(text: &str) -> anyhow::Result<()> {
    if named_files::standard_output_is_one() {
        // Nothing is left to tell a failure to.
        let _ = io::stderr().write_all(text.as_bytes());
        return Ok(());
    }
    Ok(written(io::stdout().write_all(text.as_bytes()))?)
}

/// Whether what was written to standard output has reached it.
fn written(result: io::Result<()>) -> Result<(), CliError> {
    match result.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

impl Command {
    /// Whether it computes the scores of a classifier.
    fn multiplies_matrices(&self) -> bool {
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
