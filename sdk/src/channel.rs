//! A connection to one address that mends itself: HTTP/2 over TCP, a Unix socket, or a pipe in
//! this process. It forwards whole HTTP requests; what is in them is the caller's affair.

use std::{
    fmt, io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{Request, Response, Uri, uri};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{Mutex, watch},
    time::timeout,
};
use tonic::body::Body;

use crate::{
    Address, Error, Result,
    http2::{self, Failed, Incoming, Sender},
    local,
};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Looks at a TCP connection that came up, by its own end and the other one, before anything is
/// sent on it. An error closes it and is what [`Channel::open`] ends with.
pub type Check =
    dyn Fn(SocketAddr, SocketAddr) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> + Send + Sync;

/// A lazily opened, self-mending HTTP/2 connection, cheap to clone.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    address: Address,
    check: Option<Box<Check>>,
    authority: uri::Authority,
    current: RwLock<Option<Sender>>,
    connecting: Mutex<()>,
    broken: watch::Sender<u64>,
}

impl Channel {
    /// A channel to `host:port`.
    #[must_use]
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::new(Address::Tcp(address.into()))
    }

    /// A channel to a Unix socket.
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::new(Address::Unix(path.as_ref().to_owned()))
    }

    /// A channel to a Unix socket, over a connection to it that [`local::connect`] has made.
    ///
    /// # Errors
    /// The connection breaks before HTTP/2 has begun.
    pub async fn over(path: impl AsRef<Path>, stream: UnixStream) -> io::Result<Self> {
        let channel = Self::unix(path);
        let sender = channel.handshake(stream).await?;
        *channel.0.current.write().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(channel)
    }

    /// A channel to any address. Nothing is opened until the first request.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self::with_check(address, None)
    }

    /// As [`Channel::new`]; each TCP connection is looked at before it is used.
    #[must_use]
    pub fn checked(address: Address, check: Box<Check>) -> Self {
        Self::with_check(address, Some(check))
    }

    fn with_check(address: Address, check: Option<Box<Check>>) -> Self {
        let authority = match &address {
            Address::Tcp(address) => address.parse().ok(),
            Address::Unix(_) | Address::Home | Address::Pipe(_) => None,
        };
        let authority = authority.unwrap_or_else(|| uri::Authority::from_static("localhost"));
        Self(Arc::new(Inner {
            address,
            check,
            authority,
            current: RwLock::default(),
            connecting: Mutex::default(),
            broken: watch::Sender::new(0),
        }))
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Changes each time an open connection is lost.
    #[must_use]
    pub fn broken(&self) -> watch::Receiver<u64> {
        self.0.broken.subscribe()
    }

    /// A connection that can take a request now.
    ///
    /// # Errors
    /// 503 when no connection comes up within five seconds: nothing was sent, so another node
    /// may safely be tried.
    pub async fn ready(&self) -> Result<Connection> {
        self.open().await.map_err(|error| self.unavailable(&error))
    }

    /// As [`Channel::ready`], with the reason as the system tells it.
    ///
    /// # Errors
    /// No connection comes up within five seconds, or the check refused it.
    pub async fn open(&self) -> io::Result<Connection> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        // Apart: what it takes to connect would be carried, and copied, by each call.
        Box::pin(self.connect()).await
    }

    /// What a caller is told when there is no connection.
    #[must_use]
    pub fn unavailable(&self, reason: &io::Error) -> Error {
        Error::unavailable(format!("cannot connect to {}: {reason}", self.0.address))
    }

    /// Opens the connection, unless somebody else just has. Waiting for those who try before is part
    /// of the time it may take.
    async fn connect(&self) -> io::Result<Connection> {
        let opened = timeout(CONNECT_TIMEOUT, self.connect_in_turn()).await;
        opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn connect_in_turn(&self) -> io::Result<Connection> {
        let _one_at_a_time = self.0.connecting.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let sender = self.dial().await?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.current().ok_or_else(|| io::Error::other("closed at once"))
    }

    /// The open connection; none if there is none, or it is closed.
    fn current(&self) -> Option<Connection> {
        let mut sender = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        if sender.is_closed() {
            return None;
        }
        Some(Connection { sender, authority: self.0.authority.clone() })
    }

    async fn dial(&self) -> io::Result<Sender> {
        match &self.0.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                if let Some(check) = &self.0.check {
                    check(stream.local_addr()?, stream.peer_addr()?).await?;
                }
                stream.set_nodelay(true)?;
                self.handshake(stream).await
            }
            Address::Unix(path) => self.handshake(local::connect(path).await?).await,
            Address::Home => {
                let state = local::data_folder().and_then(|data| local::State::read(&data));
                let none = |_| {
                    io::Error::new(io::ErrorKind::NotFound, "none runs; start it with `micro server start`")
                };
                self.handshake(local::connect(&state.map_err(none)?.socket).await?).await
            }
            Address::Pipe(acceptor) => {
                let (ours, theirs) = tokio::io::duplex(64 << 10);
                acceptor.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
                self.handshake(ours).await
            }
        }
    }

    async fn handshake<S>(&self, stream: S) -> io::Result<Sender>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::connect(stream).await.map_err(io::Error::other)?;
        let broken = self.0.broken.clone();
        tokio::spawn(async move {
            connection.await;
            broken.send_modify(|count| *count += 1);
        });
        Ok(sender)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.0.address).finish()
    }
}

/// Why a request has no response.
#[derive(Debug)]
pub struct Unsent {
    /// What went wrong.
    pub error: Error,
    /// The request, if no byte of it was sent.
    pub request: Option<Box<Request<Body>>>,
}

/// An open connection that was ready when it was handed out.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    authority: uri::Authority,
}

impl Connection {
    /// Sends a request, whatever authority it names, and returns the head of the response.
    ///
    /// # Errors
    /// 503 when the connection broke; the request may have been seen by the other side.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>> {
        self.try_send(request).await.map_err(|unsent| unsent.error)
    }

    /// As [`Connection::send`]; a request that was not sent comes back with the error.
    ///
    /// # Errors
    /// 503 when the connection broke.
    pub async fn try_send(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>, Unsent> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(uri::Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query.get_or_insert_with(|| uri::PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts)
            .map_err(|e| Unsent { error: Error::bad_request(e.to_string()), request: None })?;
        self.sender.send(request).await.map_err(|Failed { reason, request }| {
            let text = format!("the connection to {} broke: {reason}", self.authority);
            Unsent { error: Error::unavailable(text), request }
        })
    }
}
