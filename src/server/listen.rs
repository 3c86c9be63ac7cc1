//! The doors' accept loop. It is our own since the defaults of the libraries stall on bursts of
//! connections (backlog), delay small answers (Nagle), and keep half-open connections for ever.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use micro_sdk::{CONNECTION_WINDOW, STREAM_WINDOW};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    budget::Budget,
    connection::{Connection, WithConnection},
    heads::Limits,
    outbound::TINY,
    peer::Peer,
    places::Places,
    presence::Listener,
    reader::Reader,
    settings::Place,
};
use crate::{sockets, tasks::Tasks};

/// How many connections the system may hold for us before we take them.
const BACKLOG: u32 = 4096;
/// How many ports of the system's choice are tried until one is free on both loopback addresses.
const PORTS: usize = 16;
/// How long a client may take for its first bytes, and HTTP/1 for the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How often a connection is looked at, at least.
const LOOK: Duration = Duration::from_secs(15);
/// How many connections of a door may wait for a place: whose they are is looked up for all at once.
const WAITING: usize = 64;
/// How long a connection that is told to close may take.
const PARTING: Duration = Duration::from_secs(1);
/// How often an idle HTTP/2 client is asked whether it is there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long its answer may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How many calls one connection may have open.
const MAX_STREAMS: u32 = 1024;
/// What the library may take beyond the limits of a head, so that ours come first.
const MORE_BYTES: usize = 8 << 10;

/// Opens the TCP port of a door: one listener, or one for each loopback address.
///
/// # Errors
/// It is taken (the text names the program, where the system tells), or not ours to take. One loopback
/// address is not enough where another program has the other: what is sent to `localhost` would go there.
pub(super) fn bind(place: Place) -> anyhow::Result<Vec<TcpListener>> {
    let port = match place {
        Place::At(address) => return Ok(vec![open(address).map_err(|error| cannot(address, error))?]),
        Place::Loopbacks(port) => port,
    };
    let mut tries = 1..=PORTS;
    loop {
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let four = open(four).map_err(|error| cannot(four, error))?;
        let taken = four.local_addr().context("cannot tell the port of a door")?.port();
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, taken));
        match open(six) {
            Ok(six) => return Ok(vec![four, six]),
            Err(error) if is_absent(&error) => {
                tracing::debug!(%error, "this machine has no ::1");
                return Ok(vec![four]);
            }
            // The system chose a port that is free on the first address only.
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse && tries.next().is_some() => {
            }
            Err(error) => {
                return Err(cannot(six, error)).context(format!(
                    "what is sent to localhost:{taken} could go to another program; to do without ::1, give the \
                     door the address 127.0.0.1:{taken}"
                ));
            }
        }
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn cannot(address: SocketAddr, error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(match sockets::listener(address) {
        Some(owner) => format!("cannot listen on {address}: {owner} uses the port"),
        None => format!("cannot listen on {address}"),
    })
}

/// Opens the TCP port of a door; where any free one will do, the one before, if that is free.
///
/// # Errors
/// As [`bind`].
pub(super) fn bind_like(place: Place, before: Option<SocketAddr>) -> anyhow::Result<Vec<TcpListener>> {
    let again = match (place, before) {
        (Place::At(address), Some(before)) if address.port() == 0 && before.ip() == address.ip() => {
            Some(Place::At(before))
        }
        (Place::Loopbacks(0), Some(before)) if before.ip() == Ipv4Addr::LOCALHOST => {
            Some(Place::Loopbacks(before.port()))
        }
        _ => None,
    };
    again.and_then(|again| bind(again).ok()).map_or_else(|| bind(place), Ok)
}

/// Whether a machine without IPv6, or whose loopback interface has no address of it, says so.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT];
    error.raw_os_error().is_some_and(|code| absent.iter().any(|errno| errno.raw_os_error() == code))
}

/// A door that is open.
pub(super) enum Door {
    /// Anyone who reaches the address.
    Tcp(TcpListener),
    /// The user with this id, checked for each connection, who is this peer.
    Local(Listener, u32, Peer),
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Door {
    async fn accept(&mut self) -> io::Result<Option<(Box<dyn Stream>, Peer)>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from): (TcpStream, SocketAddr) = listener.accept().await?;
                let ours = stream.local_addr()?;
                // A connection that is gone already shows when it is read.
                drop(stream.set_nodelay(true));
                Ok(Some((Box::new(stream), Peer::Program(sockets::Connection::new(ours, from)))))
            }
            Self::Local(listeners, owner, peer) => {
                let (stream, _): (UnixStream, _) = loop {
                    let listener = listeners.borrow_and_update().clone();
                    tokio::select! {
                        accepted = listener.accept() => break accepted?,
                        Ok(()) = listeners.changed() => {}
                    }
                };
                let trusted = stream.peer_cred().is_ok_and(|found| found.uid() == *owner);
                Ok(trusted.then(|| (Box::new(stream) as Box<dyn Stream>, *peer)))
            }
        }
    }

    /// Serves connections until the tasks stop; then lets the calls under way end.
    pub(super) async fn serve<S, B>(mut self, service: S, terms: Terms, tasks: Tasks)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let waiting = Arc::new(Semaphore::new(WAITING));
        loop {
            let Some(accepted) = tasks.until_stopped(self.accept()).await else { return };
            match accepted {
                Ok(Some((stream, peer))) => {
                    let Some(Ok(waits)) = tasks.until_stopped(waiting.clone().acquire_owned()).await else {
                        return;
                    };
                    let connection = Connection::new(terms.budget.clone(), peer);
                    let (terms, service, tasks) = (terms.clone(), service.clone(), tasks.clone());
                    tasks.clone().spawn(async move {
                        let Some(place) = tasks.until_stopped(terms.places.take(&connection)).await else {
                            return;
                        };
                        drop(waits);
                        let Some(place) = place else {
                            tracing::debug!(
                                ?peer,
                                "a connection was refused: its user or address has too many"
                            );
                            return;
                        };
                        serve(stream, connection, service, (terms.idle, terms.limits), tasks).await;
                        drop(place);
                    });
                }
                Ok(None) => tracing::warn!("a connection of another user to the local socket was refused"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors: some are freed when a connection ends.
                    tasks.until_stopped(tokio::time::sleep(Duration::from_millis(50))).await;
                }
            }
        }
    }
}

/// What the connections of a door are held to.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) places: Arc<Places>,
    pub(super) budget: Arc<Budget>,
    /// How long a connection may be open without calls.
    pub(super) idle: Duration,
    /// What the head of a request may have.
    pub(super) limits: Limits,
}

async fn serve<S, B>(
    stream: Box<dyn Stream>,
    connection: Arc<Connection>,
    service: S,
    (idle, limits): (Duration, Limits),
    tasks: Tasks,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        // Who has sent all there is still reads the answer.
        .half_close(true)
        .max_headers(limits.count + 1)
        .max_buf_size(limits.bytes + MORE_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(TINY)
        .max_header_list_size(u32::try_from(2 * limits.bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let stream = Reader::new(stream, limits, connection.clone(), Instant::now() + HEAD_DEADLINE);
    let stream = TokioIo::new(stream);
    let service = WithConnection { service, connection: connection.clone() };
    let mut served = std::pin::pin!(builder.serve_connection(stream, service));
    // `FuturesUnordered` polls it only when it was woken itself, not each time the connection is polled.
    let mut over: FuturesUnordered<_> = [until_over(&connection, idle, &tasks)].into_iter().collect();
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        Some(reason) = over.next() => {
            let Some(reason) = reason else {
                served.as_mut().graceful_shutdown();
                return note_early(served.await);
            };
            tracing::debug!(peer = ?connection.peer, reason, "a connection is closed");
            if connection.unwanted.is_cancelled() {
                // Its descriptor is waited for.
                return;
            }
            served.as_mut().graceful_shutdown();
            // Its other end may have a call on the way, or not read that this is the end.
            return drop(timeout(PARTING, served).await);
        }
    };
    note_early(ended);
}

fn note_early<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits until the tasks stop, or there is a reason to close the connection.
async fn until_over(connection: &Connection, idle: Duration, tasks: &Tasks) -> Option<&'static str> {
    tokio::select! {
        () = tasks.token().cancelled() => None,
        reason = outlived(connection, idle) => Some(reason),
    }
}

/// Waits until there is a reason to close the connection: its place is needed, it has had no calls for
/// too long, or its other end does not read what it asked for.
async fn outlived(connection: &Connection, idle: Duration) -> &'static str {
    // The owner of the home, and services, may keep connections for later.
    let may_idle = matches!(connection.peer, Peer::Owner | Peer::Service);
    let look = (idle / 4).clamp(Duration::from_millis(50), LOOK);
    loop {
        tokio::select! {
            () = connection.unwanted.cancelled() => return "its place is needed",
            () = tokio::time::sleep(look) => {}
        }
        if !may_idle && connection.idle_since().is_some_and(|since| since.elapsed() >= idle) {
            return "it has had no calls for too long";
        }
        if connection.is_stalled(idle) {
            return "nobody reads the answer at its other end";
        }
    }
}
