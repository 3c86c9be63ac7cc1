//! A connection of a client while it is open: where it comes from, what it holds of the budget, how long
//! it has had no calls, and whether somebody at its other end still reads what was asked for.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::Service};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    budget::{Budget, Purse},
    listen::Peer,
};

/// How long an answer that is not small may wait for its reader to take some more of it, at most.
const STALLED: Duration = Duration::from_mins(1);

/// An open connection; each of its requests has it in its extensions.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) purse: Arc<Purse>,
    /// Cancelled when its place is needed by another.
    pub(super) unwanted: CancellationToken,
    calls: Mutex<Calls>,
    answers: Mutex<HashMap<u64, Instant>>,
}

/// The calls that are open, and since when there are none.
#[derive(Debug)]
struct Calls {
    open: usize,
    idle_since: Instant,
}

impl Connection {
    pub(super) fn new(budget: Arc<Budget>, peer: Peer) -> Arc<Self> {
        let calls = Mutex::new(Calls { open: 0, idle_since: Instant::now() });
        let (unwanted, answers) = (CancellationToken::new(), Mutex::default());
        Arc::new(Self { peer, purse: Purse::new(budget, peer), unwanted, calls, answers })
    }

    /// Since when it has had no calls; none while it has some.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        (calls.open == 0).then_some(calls.idle_since)
    }

    /// Whether an answer waits for a reader that has taken nothing for as long as a connection may be
    /// idle, or for a minute.
    pub(super) fn is_stalled(&self, idle: Duration) -> bool {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.values().any(|progress| progress.elapsed() > STALLED.min(idle))
    }

    fn count(&self, more: bool) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.open = if more { calls.open + 1 } else { calls.open.saturating_sub(1) };
        calls.idle_since = Instant::now();
    }
}

/// An answer that is being read, for as long as this lives.
#[derive(Debug)]
pub(super) struct Reading {
    connection: Arc<Connection>,
    number: u64,
}

impl Reading {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let reading = Self { connection, number: NEXT.fetch_add(1, Ordering::Relaxed) };
        reading.goes_on();
        reading
    }

    /// The reader took some of it.
    pub(super) fn goes_on(&self) {
        let mut answers = self.connection.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(self.number, Instant::now());
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.connection.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// A call of a connection, until its answer has ended.
pub(super) struct Open(Arc<Connection>);

impl Open {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        connection.count(true);
        Self(connection.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count(false);
    }
}

/// A service whose requests carry the connection they came by, and are counted.
#[derive(Clone)]
pub(super) struct Introduced<S> {
    pub(super) service: S,
    pub(super) connection: Arc<Connection>,
}

impl<S, B> Service<Request<Incoming>> for Introduced<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = Response<Counted<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        Answering { open: Some(Open::new(&self.connection)), future: self.service.call(request) }
    }
}

pin_project! {
    /// The answer to a call on its way.
    pub(super) struct Answering<F> {
        #[pin]
        future: F,
        open: Option<Open>,
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Answering<F> {
    type Output = Result<Response<Counted<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        let open = this.open.take();
        Poll::Ready(answer.map(|answer| answer.map(|body| Counted { body, _open: open })))
    }
}

pin_project! {
    /// The body of an answer, whose call is open while it lives.
    pub(super) struct Counted<B> {
        #[pin]
        body: B,
        _open: Option<Open>,
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
