//! The program `micro`.

use std::process::ExitCode;

/// Gives memory back after a burst; the system's allocator keeps what argon2 or 9,000 connections
/// have once used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    micro::main()
}
