//! The real binary, real builds, real sockets. Each test has a home of its own and free ports, so
//! they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod completion;
mod faulty;
mod generated;
mod http_api;
mod layering;
mod messages;
mod raw;
mod support;
mod tour;
mod wire;
