//! A connection of a client while it is open: where it comes from, what it holds of the budget, how long
//! it has had no calls, and whether its client still reads the answers.

use std::{
    any::Any,
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, header::RETRY_AFTER};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::Service};
use micro_sdk::Error;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    budget::{Budget, Hold, Purse},
    inbound::Meter,
    peer::Peer,
};

/// How long an answer that is not small may wait for its reader to take some more of it, at most.
const STALLED: Duration = Duration::from_mins(1);
/// What the answer of an HTTP/2 stream takes until it has been sent, where it belongs to no call: the
/// stream, its headers, and the little of its body that the library buffers.
const ANSWER: usize = 8 << 10;

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
        if calls.open == 0 {
            calls.idle_since = Instant::now();
        }
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
pub(super) struct WithConnection<S> {
    pub(super) service: S,
    pub(super) connection: Arc<Connection>,
}

impl<S, B> Service<Request<Incoming>> for WithConnection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<Counted<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        // Answers of HTTP/1 wait for each other, each for its own reader.
        let purse = (request.version() == Version::HTTP_2).then(|| self.connection.purse.clone());
        Answering { open: Some(Open::new(&self.connection)), purse, future: self.service.call(request) }
    }
}

pin_project! {
    /// The answer to a call on its way.
    pub(super) struct Answering<F> {
        #[pin]
        future: F,
        purse: Option<Arc<Purse>>,
        open: Option<Open>,
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B: Body, E> Future for Answering<F> {
    type Output = Result<Response<Counted<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.future.poll(cx))?;
        let (purse, open) = (this.purse.take(), this.open.take());
        let mut held = Ok(None);
        if let Some(purse) = purse.filter(|_| !answer.body().is_end_stream()) {
            held = hold(&mut answer, purse).map(Some);
        }
        Poll::Ready(Ok(match held {
            Ok(held) => answer.map(|body| Counted { body: Some(body), held, _open: open }),
            Err(error) => no_room(&error).map(|()| Counted { body: None, held: None, _open: open }),
        }))
    }
}

/// What counts in the budget until an answer has been sent.
type Held = Arc<dyn Any + Send + Sync>;

/// What counts until this answer has been sent: its call, or room for it alone.
fn hold<B>(answer: &mut Response<B>, purse: Arc<Purse>) -> Result<Held, Error> {
    if let Some(call) = answer.extensions_mut().remove::<Arc<Meter>>() {
        return Ok(call);
    }
    let mut hold = Hold::new(purse, None);
    hold.grow(ANSWER)?;
    Ok(Arc::new(hold))
}

/// The answer without a body that stands for one that cannot be held. It is never one of gRPC: those have a
/// call, or no body.
fn no_room(error: &Error) -> Response<()> {
    tracing::debug!(%error, "there is no room for an answer");
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    if let Some(seconds) = error.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

pin_project! {
    /// The body of an answer, whose call is open while it lives. HTTP/2 sends it when its client allows it:
    /// until then it counts in the budget of the server.
    pub(super) struct Counted<B> {
        #[pin]
        body: Option<B>,
        held: Option<Held>,
        _open: Option<Open>,
    }
}

impl<B: Body<Data = Bytes>> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(body.poll_frame(cx));
        let Some(held) = this.held else { return Poll::Ready(frame) };
        let unsent = |chunk| Bytes::from_owner(Unsent { chunk, _held: held.clone() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(unsent))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A chunk of an answer that has not been sent.
struct Unsent {
    chunk: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}
