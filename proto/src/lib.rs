//! The contract of micro: the messages of its building blocks, as Micro v4 has them on the wire.
//!
//! The .proto files stand in `proto/micro/`; the modules here are generated from them. Fields and
//! methods that Micro v4 does not have say so; such fields are numbered from 100.

#[rustfmt::skip]
pub mod auth;
#[rustfmt::skip]
pub mod broker;
#[rustfmt::skip]
pub mod config;
#[rustfmt::skip]
pub mod debug;
#[rustfmt::skip]
pub mod error;
#[rustfmt::skip]
pub mod events;
#[rustfmt::skip]
pub mod registry;
#[rustfmt::skip]
pub mod runtime;
#[rustfmt::skip]
pub mod store;

/// The descriptors of every .proto file of the contract, with their comments.
pub const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
