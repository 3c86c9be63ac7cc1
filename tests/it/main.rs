//! The real binary, real builds, real sockets. Each test has a home of its own and free ports, so
//! they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod accounts;
mod again;
mod api;
mod audit;
mod callers;
mod cleaning;
mod command_line;
mod completion;
mod config;
mod contract;
mod daemon;
mod debug;
mod doors;
mod dynamic;
mod faults;
mod faulty;
mod generated;
mod go_server;
mod go_service;
mod half_open;
mod headers;
mod holding;
mod homes;
mod http_api;
mod install;
mod keeper;
mod keys;
mod large;
mod lasting;
mod layering;
#[cfg(target_os = "linux")]
mod limits;
mod login;
#[cfg(target_os = "linux")]
mod loopbacks;
mod manners;
mod messages;
mod misbehaving;
mod nodes;
mod original;
mod processes;
mod programs;
mod pty;
mod python;
mod quickstart;
mod raw;
mod registrations;
mod removed;
mod repository;
mod restarts;
mod schemas;
mod services;
mod settings;
mod shells;
mod stopping;
mod store;
#[cfg(target_os = "linux")]
mod strangers;
mod support;
mod terminal;
mod tour;
mod typed;
mod updating;
mod waiting;
mod wire;
