//! `fsa-bank-torch`: the commands of `fsa-bank` that need libtorch.
//!
//! `fsa-bank` starts this executable for `train`, `features`, `plan`, `verify --repair` and `doctor`; the
//! others never load libtorch.

mod device;
mod engine;
mod held;
mod loss;
mod network;
#[cfg(test)]
mod tests;

fn main() -> std::process::ExitCode {
    fsa_bank::cli::main(Some(&engine::TorchEngine))
}
