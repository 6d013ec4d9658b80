//! `fsa-bank`: every command; those that need libtorch are handed to `fsa-bank-torch` beside it.

/// Decoding maps allocates and frees megabytes all the time; glibc gives such blocks back to the
/// kernel at once, which cost a quarter of Phase-II's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    fsa_bank::cli::main(None)
}
