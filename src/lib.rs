//! The command and the server of `micro`. Not a library to build on: services use `micro-sdk`.

mod backend;
mod backlog;
mod cargo;
mod cli;
mod config;
mod editions;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod json;
mod memory;
mod names;
mod paths;
mod private;
mod scaffold;
mod server;
mod services;
mod similar;
mod sockets;
mod supervisor;
mod tasks;
mod transcode;
mod weighed;

use std::process::ExitCode;

pub use scaffold::generate::contract;

/// The program: a command, or the shim that starts the process of a service.
pub fn main() -> ExitCode {
    supervisor::descriptors::keep_from_children();
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|first| first == supervisor::shim::COMMAND) {
        return supervisor::shim::run(words);
    }
    cli::main()
}
