//! The answer to a call whose account may lose its rights while it lasts: a stream ends within a
//! moment when the token it was opened with ceases to count.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use micro_sdk::Error;
use tokio_util::sync::ReusableBoxFuture;
use tonic::Status;

use crate::services::auth::{Auth, Caller};

/// A body that ends with 401 when its caller was revoked.
pub(super) struct Revocable {
    body: tonic::body::Body,
    auth: Auth,
    caller: Caller,
    /// Waits for the next revocation, of whomever; begun when the body first has to be waited for.
    revoked: Option<ReusableBoxFuture<'static, ()>>,
    ended: bool,
}

impl Revocable {
    pub(super) fn new(body: tonic::body::Body, auth: Auth, caller: Caller) -> Self {
        Self { body, auth, caller, revoked: None, ended: false }
    }

    fn next_revocation(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.auth.revocations();
        async move {
            // The sender lives as long as the building block.
            drop(changes.changed().await);
        }
    }
}

impl Body for Revocable {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let me = &mut *self;
        if me.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut me.body).poll_frame(cx);
        if polled.is_ready() {
            return polled;
        }
        loop {
            if let Some(revoked) = &mut me.revoked
                && revoked.poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            let next = me.next_revocation();
            match &mut me.revoked {
                Some(revoked) => revoked.set(next),
                none => *none = Some(ReusableBoxFuture::new(next)),
            }
            // Looked at after the waiting has begun, so that none can be missed.
            if !me.auth.still_counts(&me.caller) {
                me.ended = true;
                let error = Error::unauthorized("the token was revoked: log in again").with_id("auth");
                return Poll::Ready(Some(trailers(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn trailers(error: Error) -> Result<Frame<Bytes>, Status> {
    let mut trailers = http::HeaderMap::new();
    Status::from(error).add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
