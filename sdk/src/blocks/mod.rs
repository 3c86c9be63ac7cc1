//! The building blocks of the platform: for each a trait the server implements, and a client.

#[rustfmt::skip]
pub mod auth;
#[rustfmt::skip]
pub mod broker;
#[rustfmt::skip]
pub mod config;
#[rustfmt::skip]
pub mod debug;
#[rustfmt::skip]
pub mod events;
#[rustfmt::skip]
pub mod registry;
#[rustfmt::skip]
pub mod runtime;
#[rustfmt::skip]
pub mod store;
