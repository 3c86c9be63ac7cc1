//! A channel as tonic's client wants it. A call that could not be sent is tried again.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use tokio::time::sleep;
use tonic::{Status, body::Body, codegen::Service as Tower};

use crate::{Channel, Error, Unsent, http2::Incoming, kind::CLIENT};

/// The waits before the second and the third retry, and before each that follows; the first is at once
/// (reference: the back-off of Micro v4's client).
const WAITS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(600), Duration::from_millis(1900)];

/// A channel with the headers of one call.
pub(super) struct Transport {
    pub(super) channel: Channel,
    pub(super) headers: HeaderMap,
    pub(super) retries: u32,
}

impl Tower<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().extend(std::mem::take(&mut self.headers));
        let (channel, retries) = (self.channel.clone(), self.retries as usize);
        Box::pin(async move {
            let mut tried = 0;
            loop {
                let (error, unsent) = match channel.ready().await {
                    Err(error) => (error, Some(request)),
                    Ok(mut connection) => match connection.try_send(request).await {
                        Ok(response) => return Ok(response),
                        Err(Unsent { error, request }) => (error, request.map(|request| *request)),
                    },
                };
                request = match unsent {
                    Some(unsent) if tried < retries => unsent,
                    _ => return Err(said(error).into()),
                };
                sleep(WAITS[tried.min(WAITS.len() - 1)]).await;
                tried += 1;
            }
        })
    }
}

/// Nobody but this side says that the way to the server is broken.
fn said(error: Error) -> Error {
    error.with_id(CLIENT)
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::{Address, Client, Kind, Origin, Service, end::End, listen};

    /// A service that listens at a socket from some moment on.
    fn serve_after(wait: Duration, socket: &Path) {
        let (router, socket) = (Service::new("test").router(None).unwrap(), socket.to_owned());
        tokio::spawn(async move {
            sleep(wait).await;
            let listener = tokio::net::UnixListener::bind(socket).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let serve = move |request| {
                let router = router.clone();
                async move { router.serve(request).await }
            };
            listen::connection(stream, serve, End::new().asked()).await;
        });
    }

    async fn health(client: &Client) -> crate::Result<()> {
        let debug = crate::blocks::debug::DebugClient::new(client.clone());
        debug.health(micro_proto::debug::HealthRequest {}).await.map(drop)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_could_not_be_sent_is_tried_again_while_there_are_retries() {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let socket = folder.path().join("s");
        let client = Client::new(Channel::new(Address::Unix(socket.clone())), "test");
        serve_after(Duration::from_millis(500), &socket);
        // At once, at once again, and 100 ms later there is nobody.
        let error = health(&client.clone().with_retries(2)).await.unwrap_err();
        assert_eq!((error.kind(), error.origin()), (Kind::Unreachable, Origin::Client), "{error:?}");
        health(&client).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_call_ends_the_tries() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(Channel::new(Address::Unix(folder.path().join("s"))), "test");
        let error = health(&client.with_retries(u32::MAX).with_timeout(Duration::from_secs(5))).await;
        assert_eq!(error.unwrap_err().kind(), Kind::Deadline);
    }
}
