//! The client's side of an HTTP/2 connection (RFC 9113), on `h2` itself: the head of a request and the
//! first of its body leave in one write, and a call whose body is there at once needs no task of its own.

mod sending;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason, RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{
    HeaderMap, HeaderName, Request, Response,
    header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE},
};
use http_body::{Body as _, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, MutexGuard, oneshot},
    time::{sleep, timeout},
};
use tonic::{Status, body::Body};

use crate::header;
use sending::Sending;

/// The flow-control window of a stream, in bytes: the most that waits for a receiver that does not read.
pub const STREAM_WINDOW: u32 = 64 << 10;
/// The flow-control window of a connection, in bytes: the largest there is (RFC 9113, section 6.9.1),
/// so that streams which nobody reads never hold up the others of their connection.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How many bytes of a stream may wait to be written.
const SEND_BUFFER: usize = 1 << 20;
/// How many calls may be open before the other side has said how many it takes.
const FIRST_STREAMS: usize = 100;
/// How long the other side of a connection with calls may be silent.
const PATIENCE: Patience = Patience {
    look: Duration::from_secs(10),
    silence: Duration::from_secs(20),
    answer: Duration::from_secs(10),
};
/// Headers of HTTP/1 that say how a connection is used (RFC 9110, section 7.6.1), which HTTP/2 has not.
const OF_CONNECTIONS: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Sends requests on a connection.
#[derive(Clone)]
pub(crate) struct Sender {
    /// Locked until a request has its stream, so that of those beyond the limit of the other side one waits
    /// in `h2`, and the others here, where they can still be taken back.
    requests: Arc<Mutex<SendRequest<Bytes>>>,
    activity: Arc<Activity>,
}

/// How patient a connection is.
struct Patience {
    /// How often signs of life are looked for.
    look: Duration,
    /// After how long without one the other side is asked for one.
    silence: Duration,
    /// How long its answer may take.
    answer: Duration,
}

/// What tells whether the other side is still there.
#[derive(Default)]
struct Activity {
    /// How many calls are open.
    open: AtomicUsize,
    /// How many calls were begun.
    begun: AtomicU64,
    /// Grows with all that is heard of the other side.
    heard: AtomicU64,
    /// The other side was silent for too long, for which the connection was closed.
    silent: AtomicBool,
}

impl Activity {
    fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// What is wrong with the connection, or with a call.
    fn words(&self, error: &h2::Error) -> String {
        if self.silent.load(Ordering::Relaxed) { "it did not answer".to_owned() } else { error.to_string() }
    }
}

/// A call that is open.
struct Open(Arc<Activity>);

impl Open {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a request has no response.
pub(crate) struct Failed {
    pub(crate) reason: String,
    /// The request, if it is certain that nothing of it was sent.
    pub(crate) request: Option<Box<Request<Body>>>,
}

/// Begins HTTP/2 on a stream. The connection lives while the future is polled that comes with it, and ends
/// by itself when it was closed, is silent for too long, or nobody can send on it any more.
///
/// # Errors
/// The stream breaks.
pub(crate) async fn begin<S>(
    stream: S,
) -> Result<(Sender, impl Future<Output = ()> + Send + 'static), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    begin_with(stream, PATIENCE).await
}

async fn begin_with<S>(
    stream: S,
    patience: Patience,
) -> Result<(Sender, impl Future<Output = ()> + Send + 'static), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, mut connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(header::MOST)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(FIRST_STREAMS)
        .enable_push(false)
        .handshake(stream)
        .await?;
    let activity = Arc::new(Activity::default());
    let silence = silence(connection.ping_pong(), activity.clone(), patience);
    let connection = async move {
        // How it ended does not matter: each request on it learns its own fate.
        tokio::select! {
            biased;
            _ = connection => {}
            () = silence => {}
        }
    };
    Ok((Sender { requests: Arc::new(Mutex::new(requests)), activity }, connection))
}

/// Waits until the other side of a connection with calls answers nothing any more.
async fn silence(pings: Option<PingPong>, activity: Arc<Activity>, patience: Patience) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    let (mut heard, mut begun, mut quiet) = (0, 0, Duration::ZERO);
    loop {
        sleep(patience.look).await;
        let (heard_before, begun_before) = (heard, begun);
        heard = activity.heard.load(Ordering::Relaxed);
        begun = activity.begun.load(Ordering::Relaxed);
        quiet = if heard == heard_before { quiet + patience.look } else { Duration::ZERO };
        // Calls that were begun and given up meanwhile count too.
        let asked = begun != begun_before || activity.open.load(Ordering::Relaxed) > 0;
        if asked && quiet >= patience.silence {
            match timeout(patience.answer, pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => quiet = Duration::ZERO,
                Ok(Err(_)) => return,
                Err(_) => {
                    activity.silent.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

impl Sender {
    /// Whether nothing can be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        // It is in use otherwise.
        let Ok(mut requests) = self.requests.try_lock() else { return false };
        let polled = requests.poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(polled, Poll::Ready(Err(_)))
    }

    /// Sends a request and returns the head of the response. The rest of the body is sent in the background
    /// while this future, or the body that it returned, is held.
    ///
    /// # Errors
    /// The connection broke, the other side broke the call off, or the body of the request failed.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        let Call { response, open, upload } = match self.begin(request) {
            Ok(call) => call,
            Err(waits) => waits.await?,
        };
        let response = response.await.map_err(|error| self.lost(&error))?;
        open.0.hear();
        Ok(response.map(|stream| Incoming { stream, ended: false, open, _upload: upload }))
    }

    /// Begins a call at once; what it has to wait for else is boxed, since each call would carry it.
    fn begin(&self, request: Request<Body>) -> Result<Call, Begun<'_>> {
        let mut cx = Context::from_waker(Waker::noop());
        let Ok(mut requests) = self.requests.try_lock() else {
            return Err(Box::pin(async move { self.begin_with(self.requests.lock().await, request).await }));
        };
        if !matches!(requests.poll_ready(&mut cx), Poll::Ready(Ok(()))) {
            return Err(Box::pin(self.begin_with(requests, request)));
        }
        let sent = match self.send_head(&mut requests, request) {
            Ok(sent) => sent,
            Err(failed) => return Err(Box::pin(std::future::ready(Err(failed)))),
        };
        match requests.poll_ready(&mut cx) {
            Poll::Ready(Ok(())) => Ok(sent.begin_body()),
            Poll::Ready(Err(_)) | Poll::Pending => Err(Box::pin(self.begin_body_with(requests, sent))),
        }
    }

    /// Begins a call when a request can be sent.
    async fn begin_with(
        &self,
        mut requests: MutexGuard<'_, SendRequest<Bytes>>,
        request: Request<Body>,
    ) -> Result<Call, Failed> {
        if let Err(error) = poll_fn(|cx| requests.poll_ready(cx)).await {
            return Err(Failed { request: Some(Box::new(request)), ..self.lost(&error) });
        }
        let sent = self.send_head(&mut requests, request)?;
        self.begin_body_with(requests, sent).await
    }

    /// Begins to send the body of a request when it has its stream: where more calls are open than the other
    /// side takes, it waits for one.
    async fn begin_body_with(
        &self,
        mut requests: MutexGuard<'_, SendRequest<Bytes>>,
        sent: Sent,
    ) -> Result<Call, Failed> {
        poll_fn(|cx| requests.poll_ready(cx)).await.map_err(|error| self.lost(&error))?;
        drop(requests);
        Ok(sent.begin_body())
    }

    fn send_head(&self, requests: &mut SendRequest<Bytes>, request: Request<Body>) -> Result<Sent, Failed> {
        let (head, body) = request.into_parts();
        let mut head = Request::from_parts(head, ());
        strip(head.headers_mut());
        let body = Some(body).filter(|body| !body.is_end_stream());
        let sent = requests.send_request(head, body.is_none());
        let (response, stream) = sent.map_err(|error| self.lost(&error))?;
        Ok(Sent { response, stream, body, open: Open::new(&self.activity) })
    }

    /// Why a request failed that may have been seen.
    fn lost(&self, error: &h2::Error) -> Failed {
        Failed { reason: self.activity.words(error), request: None }
    }
}

/// A call that is begun later.
type Begun<'a> = Pin<Box<dyn Future<Output = Result<Call, Failed>> + Send + 'a>>;

/// A request of which the head is on its way.
struct Sent {
    response: ResponseFuture,
    stream: SendStream<Bytes>,
    /// None where there is none.
    body: Option<Body>,
    open: Open,
}

/// A request on its way.
struct Call {
    response: ResponseFuture,
    open: Open,
    /// Ends the sending of the body when it is dropped; none once all of it was sent.
    upload: Option<oneshot::Sender<()>>,
}

impl Sent {
    /// Sends what is there of the body, and the rest in a task.
    fn begin_body(self) -> Call {
        let Self { response, stream, body, open } = self;
        let mut upload = None;
        if let Some(body) = body {
            let mut sending = Sending::new(stream, body);
            // The task asks again for all that this leaves open.
            let mut cx = Context::from_waker(Waker::noop());
            if Pin::new(&mut sending).poll(&mut cx).is_pending() {
                let (wanted, unwanted) = oneshot::channel();
                tokio::spawn(sending.unless(unwanted));
                upload = Some(wanted);
            }
        }
        Call { response, open, upload }
    }
}

/// Takes out what HTTP/2 has no headers for.
fn strip(headers: &mut HeaderMap) {
    for name in &OF_CONNECTIONS {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
    if let Some(named) = headers.remove(CONNECTION) {
        for name in named.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
    }
}

/// The body of a response, as it comes in. To drop it ends the call, also while the request is being sent.
pub struct Incoming {
    stream: RecvStream,
    /// All data has come; trailers may follow.
    ended: bool,
    open: Open,
    _upload: Option<oneshot::Sender<()>>,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let me = &mut *self;
        if !me.ended {
            match ready!(me.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    me.open.0.hear();
                    // It fails for a stream that is gone, whose window does not matter.
                    drop(me.stream.flow_control().release_capacity(data.len()));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    me.ended = true;
                    return Poll::Ready(Some(Err(me.broken(&error))));
                }
                None => me.ended = true,
            }
        }
        Poll::Ready(match ready!(me.stream.poll_trailers(cx)) {
            Ok(trailers) => {
                me.open.0.hear();
                trailers.map(|trailers| Ok(Frame::trailers(trailers)))
            }
            Err(error) => Some(Err(me.broken(&error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Incoming {
    /// The status of a call whose response broke off: of the reasons that gRPC has codes for ("gRPC over
    /// HTTP/2", errors), those that say that the other side goes, or does not want the call, are all one here.
    fn broken(&self, error: &h2::Error) -> Status {
        let text = format!("the connection broke: {}", self.open.0.words(error));
        match error.reason() {
            Some(Reason::REFUSED_STREAM | Reason::CANCEL | Reason::ENHANCE_YOUR_CALM) | None => {
                Status::unavailable(text)
            }
            Some(_) if error.is_reset() => Status::internal(text),
            Some(_) => Status::unavailable(text),
        }
    }
}

#[cfg(test)]
mod tests;
