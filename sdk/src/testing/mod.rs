//! Tests of services.
//!
//! [`serve`] is enough for a handler that needs nothing but its requests. [`Harness`] has a store, settings,
//! accounts and other services besides. [`Server`] is a real one, for what only that can show.

mod auth;
mod config;
mod harness;
mod server;
mod store;

use tokio::sync::mpsc;

use crate::{Address, Channel, Client, Service, end::End, handler::Handler, listen::connection};

pub use harness::Harness;
pub use server::Server;

/// A client of a service that has this one handler and no server. It serves as long as the client, or a
/// clone of it, is there. Must be called within a tokio runtime.
///
/// # Panics
/// Never for one handler.
#[must_use]
pub fn serve(handler: impl Handler) -> Client {
    let router = Service::new("test").handle(handler).router(None).expect("one handler has no namesake");
    let (sender, mut pipes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let end = End::new();
        while let Some(pipe) = pipes.recv().await {
            let router = router.clone();
            let serve = move |request| {
                let router = router.clone();
                async move { router.serve(request).await }
            };
            tokio::spawn(connection(pipe, serve, end.asked()));
        }
    });
    Client::new(Channel::new(Address::Pipe(sender)), "test")
}
