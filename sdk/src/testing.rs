//! Serving handlers in the process of a test, over a pipe: no port, no server, no registry.

use tokio::sync::{mpsc, watch};

use crate::{Address, Channel, Client, Service, handler::Handler, listen::connection};

/// A client of a service that has this one handler. It serves as long as the client, or a clone
/// of it, is there. Must be called within a tokio runtime.
///
/// # Panics
/// Never for one handler.
#[must_use]
pub fn serve(handler: impl Handler) -> Client {
    let router = Service::new("test").handle(handler).router(None).expect("one handler has no namesake");
    let (sender, mut pipes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (_running, stop) = watch::channel(false);
        while let Some(pipe) = pipes.recv().await {
            tokio::spawn(connection(pipe, router.clone(), stop.clone()));
        }
    });
    Client::new(Channel::new(Address::Pipe(sender)), "test")
}
