//! What became of a service whose connection broke in the middle of a call: its callers are told
//! that it ended, and that it comes back, instead of what the connection said.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::future::BoxFuture;
use http_body::Body as _;
use micro_sdk::Error;

use super::{
    hooked::{Hook, Next},
    revocable::Granted,
    upstream::{Forwarded, UNTRUSTED, trailers},
    waiting::{ID, RETRY_AFTER},
};
use crate::services::Blocks;

/// The error of a call whose node could not be reached, or was lost, in terms of its service.
pub(super) async fn of(error: Error, blocks: &Blocks, granted: &Granted) -> Error {
    if error.code != 503 || [UNTRUSTED, ID].contains(&&*error.id) {
        return error;
    }
    let (namespace, service) = (granted.namespace.as_str(), granted.target.service.as_str());
    if let Ok(Some(outlook)) = blocks.runtime.after_break(namespace, service).await {
        let detailed = granted.caller.may_administer(namespace).is_ok();
        let error = Error::unavailable(outlook.words(detailed)).with_id(ID);
        return if outlook.is_coming() { error.with_retry_after(RETRY_AFTER) } else { error };
    }
    // Nobody ran it here, or it goes on: it closed the connection, or was replaced.
    let text = format!("{service} ended or closed the connection: {error}");
    Error::unavailable(text).with_id("micro.network")
}

/// Ends an answer in trailers which tell what became of the service when its connection breaks.
pub(super) struct Fate {
    blocks: Arc<Blocks>,
    granted: Arc<Granted>,
    telling: Option<BoxFuture<'static, Error>>,
}

impl Fate {
    pub(super) fn new(blocks: Arc<Blocks>, granted: Arc<Granted>) -> Self {
        Self { blocks, granted, telling: None }
    }
}

impl Hook<Forwarded> for Fate {
    fn poll_next(&mut self, body: &mut Forwarded, cx: &mut Context<'_>) -> Poll<Next> {
        let telling = match &mut self.telling {
            Some(telling) => telling,
            none => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Err(broken)) => {
                    let (blocks, granted) = (self.blocks.clone(), self.granted.clone());
                    none.insert(Box::pin(async move { of(broken.into(), &blocks, &granted).await }))
                }
                passing => return Poll::Ready(Next::Pass(passing)),
            },
        };
        let error = ready!(telling.as_mut().poll(cx));
        Poll::Ready(Next::Last(Ok(trailers(error))))
    }

    fn has_more(&self) -> bool {
        self.telling.is_some()
    }
}
