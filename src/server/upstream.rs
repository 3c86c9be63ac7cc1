//! Calls to the nodes of a service: the least loaded first, the next when no connection comes up.
//! Bodies pass as HTTP/2 frames, unopened, with trailers and metadata.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use micro_sdk::{Error, Incoming, Result, Unsent, header, shortened};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::hooked::{Hook, Hooked, Next};
use crate::services::registry::{CatalogNode, InFlight, Registry};

/// A deadline no call reaches, so that arithmetic on a caller's number cannot overflow.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Who says that a node is not to be trusted.
pub(super) const UNTRUSTED: &str = "micro.registry";

/// The longest text of a status, and the most details of it, that pass as a service wrote them, in bytes.
const MOST_TEXT: usize = 8 << 10;

/// Sends a call to one of the nodes. Those that turn out to be dead, or not to be trusted, get no
/// further calls.
///
/// # Errors
/// 503 when none can be reached, 408 when the caller's deadline passes. The request comes back when no
/// byte of it was sent and every node is dead: one that comes in their place may get it.
pub(super) async fn forward(
    registry: &Registry,
    mut nodes: Vec<Arc<CatalogNode>>,
    request: Request<Body>,
) -> Result<Response<Forwarded>, Unsent> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    if nodes.len() > 1 {
        // Equally loaded nodes take turns.
        let turn = TURN.fetch_add(1, Ordering::Relaxed) % nodes.len();
        nodes.rotate_left(turn);
        nodes.sort_by_key(|node| node.load());
    }
    let mut deadline = header::timeout(request.headers()).map(|left| Box::pin(sleep(left.min(FOREVER))));
    let sending = pin!(send(registry, &nodes, request));
    // One timer for all of the call.
    let (response, in_flight) = match &mut deadline {
        Some(late_at) => tokio::select! {
            biased;
            sent = sending => sent?,
            () = late_at => return Err(lost(late())),
        },
        None => sending.await?,
    };
    Ok(response.map(|body| Hooked::new(body, InTime { deadline, _in_flight: in_flight })))
}

fn late() -> Error {
    Error::timeout("the deadline of the call passed").with_id("micro.network")
}

/// An error whose request is not to be sent again.
fn lost(error: Error) -> Unsent {
    Unsent { error: error.with_id("micro.network"), request: None }
}

async fn send(
    registry: &Registry,
    nodes: &[Arc<CatalogNode>],
    mut request: Request<Body>,
) -> Result<(Response<Incoming>, InFlight), Unsent> {
    let (mut failure, mut dead) = (Error::unavailable("the service has no nodes"), !nodes.is_empty());
    for node in nodes {
        if let Some(why) = node.refusal() {
            (failure, dead) = (untrusted(node, why), false);
            continue;
        }
        match node.channel.open().await {
            Ok(mut connection) => {
                let in_flight = node.begin();
                match connection.try_send(request).await {
                    Ok(mut response) => {
                        shorten(response.headers_mut());
                        return Ok((response, in_flight));
                    }
                    Err(Unsent { error, request: None }) => return Err(lost(error)),
                    // The connection broke just before: its node may have ended.
                    Err(Unsent { error, request: Some(unsent) }) => (failure, request) = (error, *unsent),
                }
            }
            Err(error) => {
                // Apart: what it takes would be carried, and copied, by each call.
                dead &= Box::pin(registry.unreachable(node, &error)).await;
                let unavailable = || node.channel.unavailable(&error);
                failure = node.refusal().map_or_else(unavailable, |why| untrusted(node, why));
            }
        }
    }
    let request = dead.then(|| Box::new(request));
    Err(Unsent { error: failure.with_id("micro.network"), request })
}

/// Shortens the text of a status that clients would not take.
fn shorten(headers: &mut HeaderMap) {
    const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
    let is_long = |value: Option<&HeaderValue>| value.is_some_and(|value| value.len() > MOST_TEXT);
    if is_long(headers.get(Status::GRPC_MESSAGE))
        && let Some(status) = Status::from_header_map(headers)
    {
        let status = Status::new(status.code(), shortened(status.message()));
        // A status is always representable: its message is percent-encoded.
        drop(status.add_header(headers));
    }
    if is_long(headers.get(DETAILS)) {
        headers.remove(DETAILS);
    }
}

/// The error for a node that is there and gets no calls.
fn untrusted(node: &CatalogNode, why: &str) -> Error {
    let text = format!("node {} at {} gets no calls: {why}", node.id, node.address);
    Error::unavailable(text).with_id(UNTRUSTED)
}

/// The body of a response on its way.
pub(super) type Forwarded = Hooked<Incoming, InTime>;

/// Keeps the node's load right, and ends a response in trailers that say "too late" when the deadline
/// passes. It fails when the connection breaks.
pub(super) struct InTime {
    deadline: Option<Pin<Box<Sleep>>>,
    _in_flight: InFlight,
}

impl Hook<Incoming> for InTime {
    fn poll_next(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Next> {
        let polled = Pin::new(body).poll_frame(cx);
        if polled.is_pending()
            && let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Next::Last(Ok(trailers(late()))));
        }
        Poll::Ready(match ready!(polled) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    shorten(trailers);
                }
                Next::Pass(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                Next::Last(Err(Error::unavailable(error.message()).with_id("micro.network").into()))
            }
            None => Next::Pass(None),
        })
    }
}

/// The end of a response that turns out to be an error after it has begun.
pub(super) fn trailers(error: Error) -> Frame<Bytes> {
    let mut headers = HeaderMap::new();
    // A status is always representable: its message is percent-encoded.
    drop(Status::from(error).add_header(&mut headers));
    Frame::trailers(headers)
}
