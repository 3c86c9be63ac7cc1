//! The real binary, real builds, real sockets. Each test has a home of its own and free ports, so
//! they run in parallel.

mod generated;
mod layering;
mod support;
mod tour;
