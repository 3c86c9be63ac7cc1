//! What became of a service whose connection broke in the middle of a call: its callers are told
//! that it ended, and that it comes back, instead of what the connection said.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use micro_sdk::Error;
use tonic::Status;

use super::{
    revocable::Granted,
    router::Router,
    upstream::{Forwarded, UNTRUSTED, trailers},
    waiting::{ID, RETRY_AFTER},
};

/// The error of a call whose node could not be reached, or was lost, in terms of its service.
pub(super) async fn of(error: Error, router: &Router, granted: &Granted) -> Error {
    if error.code != 503 || [UNTRUSTED, ID].contains(&&*error.id) {
        return error;
    }
    let (namespace, service) = (granted.namespace.as_str(), granted.target.service.as_str());
    if let Ok(Some(outlook)) = router.blocks().runtime.after_break(namespace, service).await {
        let detailed = granted.caller.may_administer(namespace).is_ok();
        let error = Error::unavailable(outlook.words(detailed)).with_id(ID);
        return if outlook.is_coming() { error.with_retry_after(RETRY_AFTER) } else { error };
    }
    // Nobody ran it here, or it goes on: it closed the connection, or was replaced.
    let text = format!("{service} ended or closed the connection: {error}");
    Error::unavailable(text).with_id("micro.network")
}

/// The body of an answer that ends in trailers which tell what became of the service when its
/// connection breaks.
pub(super) struct Fated {
    body: Forwarded,
    router: Router,
    granted: Arc<Granted>,
    telling: Option<BoxFuture<'static, Error>>,
    ended: bool,
}

impl Fated {
    pub(super) fn new(body: Forwarded, router: Router, granted: Arc<Granted>) -> Self {
        Self { body, router, granted, telling: None, ended: false }
    }
}

impl Body for Fated {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.telling.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(broken)) => {
                    let (router, granted) = (self.router.clone(), self.granted.clone());
                    self.telling = Some(Box::pin(async move { of(broken.into(), &router, &granted).await }));
                }
                passing => return Poll::Ready(passing),
            }
        }
        let Some(telling) = &mut self.telling else { return Poll::Ready(None) };
        let error = ready!(telling.as_mut().poll(cx));
        self.ended = true;
        Poll::Ready(Some(Ok(trailers(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.telling.is_none() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
