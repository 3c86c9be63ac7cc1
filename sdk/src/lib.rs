//! Write services for micro: serve, register, call, keep.
//!
//! ```ignore
//! mod handler;
//! mod proto;
//!
//! use micro_sdk::tokio;
//!
//! #[tokio::main]
//! async fn main() -> micro_sdk::Result<()> {
//!     micro_sdk::Service::new("helloworld")
//!         .handle(proto::helloworld::HelloworldServer::new(handler::Helloworld))
//!         .run()
//!         .await
//! }
//! ```
//!
//! `micro new` writes such a service, `micro gen` its `proto` module.

pub mod blocks;
mod channel;
mod client;
mod codec;
mod config;
mod context;
mod debug;
mod error;
pub mod handler;
pub mod header;
pub mod local;
mod log;
mod message;
mod platform;
mod registration;
mod router;
pub mod schema;
mod service;
pub mod store;
pub mod testing;
mod upload;

pub use micro_proto as proto;
pub use prost;
pub use serde;
pub use tokio;
pub use tonic;

pub use channel::{Address, Channel, Connection};
pub use client::{Client, DEFAULT_TIMEOUT, MESSAGE_LIMIT};
pub use config::{Config, Watch};
pub use context::Context;
pub use error::{Error, Result, status_text};
pub use message::{Receiver, Sender};
pub use router::Router;
pub use service::Service;
pub use store::Store;
pub use upload::Upload;
