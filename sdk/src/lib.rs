//! Write services for micro: serve, register, call, keep.
//!
//! ```no_run
//! # mod proto {
//! #     pub const DESCRIPTORS: &[u8] =
//! #         include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/caller/src/proto/descriptors.bin"));
//! #     pub mod helloworld {
//! #         include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/caller/src/proto/helloworld.rs"));
//! #     }
//! # }
//! use micro_sdk::{Context, Receiver, Result, Sender, Service, tokio};
//! use proto::helloworld::{self, CallRequest, CallResponse, HelloworldServer};
//! # use proto::helloworld::{Ping, Pong, StreamRequest, StreamResponse};
//!
//! struct Helloworld;
//!
//! impl helloworld::Helloworld for Helloworld {
//!     async fn call(&self, _cx: Context, request: CallRequest) -> Result<CallResponse> {
//!         Ok(CallResponse { msg: format!("Hello {}", request.name) })
//!     }
//! #
//! #     async fn stream(&self, _: Context, _: StreamRequest, _: Sender<StreamResponse>) -> Result<()> {
//! #         Ok(())
//! #     }
//! #
//! #     async fn ping_pong(&self, _: Context, _: Receiver<Ping>, _: Sender<Pong>) -> Result<()> {
//! #         Ok(())
//! #     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     Service::new("helloworld").handle(HelloworldServer::new(Helloworld)).run().await
//! }
//! ```
//!
//! `micro new` writes such a service, `micro gen` its `proto` module.
//!
//! # Well-known types
//!
//! A field of `google.protobuf.Timestamp` or another type that protobuf brings along is one of
//! [`prost_types`]; wrappers such as `google.protobuf.StringValue` are the bare type in an `Option`,
//! and `google.protobuf.Empty` is `()`.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use micro_sdk::prost_types::{self, Timestamp};
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let begins = Timestamp::from(SystemTime::now());
//! let ends = SystemTime::try_from(begins)? + Duration::from_secs(90);
//! let wait: prost_types::Duration = Duration::from_millis(1500).try_into()?;
//! assert_eq!(Duration::try_from(wait)?.as_secs(), 1);
//! # Ok(())
//! # }
//! # example().unwrap();
//! ```
//!
//! # Other services
//!
//! `micro gen --from helloworld` writes the client of a service that runs. It is used in a handler, or
//! beside all calls, with a [`Context`]:
//!
//! ```
//! # struct HelloworldClient(micro_sdk::Client);
//! # impl From<micro_sdk::Client> for HelloworldClient { fn from(client: micro_sdk::Client) -> Self { Self(client) } }
//! # async fn example() {
//! let service = micro_sdk::Service::new("caller");
//! let helloworld: HelloworldClient = service.context().client("helloworld");
//! # }
//! ```

mod address;
pub mod blocks;
mod channel;
mod client;
mod codec;
mod config;
mod context;
mod debug;
mod end;
mod error;
pub mod handler;
pub mod header;
mod http2;
mod kind;
mod layer;
mod listen;
pub mod local;
mod log;
mod message;
mod platform;
mod registration;
mod router;
pub mod schema;
mod service;
mod setting;
mod state;
pub mod store;
pub mod testing;
mod upload;

pub use micro_proto as proto;
pub use prost;
pub use prost_types;
pub use secrecy::{ExposeSecret, SecretString};
pub use serde;
pub use tokio;
pub use tonic;
pub use tracing;

pub use address::{Address, NODE_REFUSED};
pub use channel::{Channel, Check, Connection, Unsent};
pub use client::{Answers, Client, DEFAULT_TIMEOUT, JSON_LIMIT, MESSAGE_LIMIT};
pub use config::{Config, Watch};
pub use context::Context;
pub use error::{Error, Result, shortened, status_text};
pub use http2::{CONNECTION_WINDOW, Incoming, STREAM_WINDOW};
pub use kind::{Kind, Origin};
pub use layer::Next;
pub use message::{Receiver, Sender};
pub use router::Router;
pub use service::Service;
pub use setting::Setting;
pub use state::ServiceState;
pub use store::Store;
pub use upload::Upload;
