//! The real binary, real builds, real sockets. Each test has a home of its own and free ports, so
//! they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod completion;
mod dynamic;
mod faulty;
mod generated;
mod go_service;
mod http_api;
mod layering;
mod messages;
mod misbehaving;
mod python;
mod raw;
mod services;
mod support;
mod tour;
mod wire;
