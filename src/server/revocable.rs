//! What comes and goes in a call whose caller may lose their rights while it lasts: a stream, either
//! way, ends within a moment when the token it was opened with ceases to count, or the rules do not
//! allow it any more.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use micro_sdk::{Error, Result, proto::registry::Service};
use tokio_util::sync::ReusableBoxFuture;
use tonic::{Code, Status};

use super::{
    hooked::{Hook, Next},
    inbound::Meter,
    target::Target,
    upstream::trailers,
};
use crate::services::{
    auth::{Auth, Caller, Resource},
    rules_of,
};

/// A call that was allowed.
pub(super) struct Granted {
    pub(super) auth: Auth,
    pub(super) caller: Caller,
    /// [`Auth::epoch`] at the last check that passed.
    pub(super) epoch: AtomicU64,
    /// The namespace that was asked for.
    pub(super) namespace: String,
    /// A building block answers, by the rules of the platform; else a service of the namespace.
    pub(super) block: bool,
    pub(super) target: Target,
    /// The version of the service, where no building block answers.
    pub(super) service: Option<Arc<Service>>,
    /// What it holds of the budget, until it ends.
    pub(super) meter: Arc<Meter>,
}

impl Granted {
    /// # Errors
    /// 401 or 403 when it would not be allowed any more; why its request was broken off, if it was.
    pub(super) fn still(&self) -> Result<()> {
        if let Some(error) = self.meter.refused() {
            return Err(error.clone());
        }
        let epoch = self.auth.epoch();
        if epoch == self.epoch.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.auth.still_counts(&self.caller) {
            return Err(Error::unauthorized("the token was revoked: log in again").with_id("auth"));
        }
        let Target { service, endpoint } = &self.target;
        let namespace = rules_of(self.block, &self.namespace);
        let resource = Resource { namespace, service, endpoint };
        self.auth.authorise(&self.caller, resource).map_err(|e| e.with_id("auth"))?;
        self.epoch.store(epoch, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for the next revocation of any account.
    fn next_revocation(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.auth.revocations();
        async move {
            // The sender lives as long as the building block.
            drop(changes.changed().await);
        }
    }

    /// Notes it if these headers or trailers say that a building block refused the call.
    pub(super) fn note_if_refused(&self, headers: &HeaderMap) {
        let refused =
            |status: Status| matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated);
        if self.block && Status::from_header_map(headers).is_some_and(refused) {
            let Target { service, endpoint } = &self.target;
            let endpoint = format!("{service}.{endpoint}");
            self.auth.note_refusal(&self.caller, &self.namespace, &endpoint, "the building block");
        }
    }
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the building block or service: it breaks off, so that half of it is not taken for the whole.
    In,
    /// To the caller: it ends in trailers that say why.
    Out,
}

/// Ends a body with an error when its caller may not go on.
pub(super) struct Revocable {
    way: Way,
    granted: Arc<Granted>,
    /// Waits for the next revocation of any account; begun when the body first has to be waited for.
    revoked: Option<ReusableBoxFuture<'static, ()>>,
    /// It has begun: some of it has passed.
    begun: bool,
}

impl Revocable {
    pub(super) fn new(way: Way, granted: Arc<Granted>) -> Self {
        Self { way, granted, revoked: None, begun: false }
    }

    fn end(&self, error: Error) -> Poll<Next> {
        Poll::Ready(Next::Last(match self.way {
            Way::In => Err(error.into()),
            Way::Out => Ok(trailers(error)),
        }))
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Hook<B> for Revocable {
    fn poll_next(&mut self, body: &mut B, cx: &mut Context<'_>) -> Poll<Next> {
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let goes_on = match frame.trailers_ref() {
                Some(end) if self.granted.block => {
                    if self.way == Way::Out {
                        self.granted.note_if_refused(end);
                    }
                    Ok(())
                }
                // A service's answer breaks off when its request does: that is told by its reason.
                Some(_) => self.granted.still(),
                // The answer to the call by which a caller ends their own rights is theirs; of what has more
                // parts, there may always be another one.
                None if self.begun => self.granted.still(),
                None => Ok(()),
            };
            self.begun = true;
            if let Err(error) = goes_on {
                return self.end(error);
            }
        }
        if let Poll::Ready(passing) = polled {
            return Poll::Ready(Next::Pass(passing));
        }
        loop {
            if let Some(revoked) = &mut self.revoked
                && revoked.poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            let next = self.granted.next_revocation();
            match &mut self.revoked {
                Some(revoked) => revoked.set(next),
                none => *none = Some(ReusableBoxFuture::new(next)),
            }
            // Looked at after the waiting has begun, so that none can be missed.
            if let Err(error) = self.granted.still() {
                return self.end(error);
            }
        }
    }
}
