//! The client's side of an HTTP/2 connection (RFC 9113), on `h2` itself: the head of a request and the
//! first of its body leave in one write, and a call whose body is there at once needs no task of its own.

mod sending;

use std::{
    fmt,
    pin::{Pin, pin},
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
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};
use tonic::{Status, body::Body};

use crate::header;
use sending::Sending;

/// How the text of a call's failure begins whose response broke off.
pub(crate) const BROKE: &str = "the connection broke";
/// The flow-control window of a stream, in bytes: the most that waits for a receiver that does not read.
pub const STREAM_WINDOW: u32 = 64 << 10;
/// The flow-control window of a connection, in bytes: the largest there is (RFC 9113, section 6.9.1),
/// so that streams which nobody reads never hold up the others of their connection.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How many bytes of a stream may wait to be written.
const SEND_BUFFER: usize = 1 << 20;
/// How often a call that waits for its turn looks whether the other side takes more by now.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
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
    requests: SendRequest<Bytes>,
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

/// What is known of a connection: its calls, and whether the other side is still there.
#[derive(Default)]
struct Activity {
    /// How many calls are open, which the other side limits.
    open: AtomicUsize,
    /// Told when one of them has ended, or the connection.
    freed: Notify,
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

    /// Why a request failed that may have been seen.
    fn lost(&self, error: &h2::Error) -> Failed {
        Failed { reason: self.words(error), request: None }
    }

    /// What is wrong with the connection, or with a call.
    fn words(&self, error: &h2::Error) -> String {
        if self.silent.load(Ordering::Relaxed) { "it did not answer".to_owned() } else { error.to_string() }
    }
}

/// A call that is open.
struct Open {
    activity: Arc<Activity>,
    ended: bool,
}

impl Open {
    /// None where as many as `most` are open.
    fn new(activity: &Arc<Activity>, most: usize) -> Option<Self> {
        let more = |open| (open < most).then_some(open + 1);
        activity.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Some(Self { activity: activity.clone(), ended: false })
    }

    /// It counts no more.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.activity.open.fetch_sub(1, Ordering::Relaxed);
            self.activity.freed.notify_waiters();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end();
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
pub(crate) async fn connect<S>(
    stream: S,
) -> Result<(Sender, impl Future<Output = ()> + Send + 'static), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    connect_with(stream, PATIENCE).await
}

async fn connect_with<S>(
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
    let ended = activity.clone();
    let connection = async move {
        // How it ended does not matter: each request on it learns its own fate.
        tokio::select! {
            biased;
            _ = connection => {}
            () = silence => {}
        }
        ended.freed.notify_waiters();
    };
    Ok((Sender { requests, activity }, connection))
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
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Sends a request and returns the head of the response. The rest of the body is sent in the background,
    /// by the runtime of tokio that this is called in, while this future, or the body that it returned, is
    /// held. Where as many calls are open as the other side takes, it waits for one to end.
    ///
    /// # Errors
    /// The connection broke, the other side broke the call off, or the body of the request failed.
    pub(crate) fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failed>> + Send {
        let begun = match self.open() {
            Some(open) => Ok(self.begin(open, request)),
            // Apart: what it takes to wait would be carried, and copied, by each call.
            None => Err(Box::pin(async move {
                let open = self.room().await;
                self.begin(open, request)
            })),
        };
        async move {
            let Call { response, open, upload } = match begun {
                Ok(call) => call?,
                Err(waits) => waits.await?,
            };
            let response = response.await.map_err(|error| open.activity.lost(&error))?;
            open.activity.hear();
            Ok(response.map(|stream| Incoming { stream, ended: false, open, _upload: upload }))
        }
    }

    /// Sends the head of a request and what is there of its body.
    fn begin(&mut self, open: Open, request: Request<Body>) -> Result<Call, Failed> {
        match self.requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                return Err(Failed { request: Some(Box::new(request)), ..self.activity.lost(&error) });
            }
            // The request before has no stream yet: another handle does not wait for that.
            Poll::Pending => self.requests = self.requests.clone(),
        }
        let (head, body) = request.into_parts();
        let mut head = Request::from_parts(head, ());
        strip(head.headers_mut());
        let body = Some(body).filter(|body| !body.is_end_stream());
        let sent = self.requests.send_request(head, body.is_none());
        let (response, stream) = sent.map_err(|error| self.activity.lost(&error))?;
        Ok(Call { response, open, upload: body.and_then(|body| upload(stream, body)) })
    }

    /// Counts a call; none if the other side takes no more.
    fn open(&self) -> Option<Open> {
        Open::new(&self.activity, self.requests.current_max_send_streams())
    }

    /// Waits until the other side takes one more call, or the connection is closed, which shows as it is used.
    /// Nothing is held meanwhile: a future that nobody polls keeps no other call from its turn.
    async fn room(&mut self) -> Open {
        let activity = self.activity.clone();
        loop {
            let mut freed = pin!(activity.freed.notified());
            // Before it is looked, so that no end is missed.
            freed.as_mut().enable();
            if let Some(open) = self.open() {
                return open;
            }
            if self.is_closed()
                && let Some(open) = Open::new(&activity, usize::MAX)
            {
                return open;
            }
            // The limit itself may change, which nobody tells.
            drop(timeout(LOOK_AGAIN, freed).await);
        }
    }
}

/// A request on its way.
struct Call {
    response: ResponseFuture,
    open: Open,
    /// None once all of the body was sent.
    upload: Option<Upload>,
}

/// A body that is being sent, for as long as this is held.
type Upload = oneshot::Sender<()>;

/// Sends what is there of a body, and the rest in a task, which ends when what is returned is dropped; none
/// if nothing is left to send.
fn upload(stream: SendStream<Bytes>, body: Body) -> Option<Upload> {
    let mut sending = Sending::new(stream, body);
    // The task asks again for all that this leaves open.
    if Pin::new(&mut sending).poll(&mut Context::from_waker(Waker::noop())).is_ready() {
        return None;
    }
    let (wanted, unwanted) = oneshot::channel();
    tokio::spawn(sending.unless(unwanted));
    Some(wanted)
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
    /// Ends the sending of the request when it is dropped.
    _upload: Option<Upload>,
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
                    me.open.activity.hear();
                    // It fails for a stream that is gone, whose window does not matter.
                    drop(me.stream.flow_control().release_capacity(data.len()));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    me.ended = true;
                    me.open.end();
                    return Poll::Ready(Some(Err(me.broken(&error))));
                }
                None => me.ended = true,
            }
        }
        let trailers = ready!(me.stream.poll_trailers(cx));
        me.open.end();
        Poll::Ready(match trailers {
            Ok(trailers) => {
                me.open.activity.hear();
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
    /// The status of a call whose response broke off. gRPC ("gRPC over HTTP/2", errors) has a code for each
    /// reason of a reset; here it is UNAVAILABLE where the other side gives the call up or the connection is
    /// lost, and INTERNAL for all other resets.
    fn broken(&self, error: &h2::Error) -> Status {
        let text = format!("{BROKE}: {}", self.open.activity.words(error));
        let gives_up = [Reason::REFUSED_STREAM, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM];
        if error.is_reset() && error.reason().is_none_or(|reason| !gives_up.contains(&reason)) {
            Status::internal(text)
        } else {
            Status::unavailable(text)
        }
    }
}

#[cfg(test)]
mod tests;
