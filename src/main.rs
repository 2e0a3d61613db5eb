//! The binary: takes the command line to the library and its exit code back.

use std::process::ExitCode;

/// Fewer instructions an allocation than glibc's; see `benches/README.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    scoregate::cli::main()
}
