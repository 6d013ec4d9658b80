//! `fsa-bank`: every command; those that need libtorch are handed to `fsa-bank-torch` beside it.

fn main() -> std::process::ExitCode {
    fsa_bank::cli::main(None)
}
