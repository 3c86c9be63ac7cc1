//! The real binary, real builds, real sockets. Each test has a home of its own and free ports, so
//! they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod completion;
mod daemon;
mod faults;
mod generated;
mod layering;
mod login;
mod processes;
mod support;
mod tour;
