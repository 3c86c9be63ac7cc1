//! A connection to one address that mends itself: HTTP/2 over TCP, a Unix socket, or a pipe in
//! this process. It forwards whole HTTP requests; what is in them is the caller's affair.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{Request, Response, Uri, uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpStream,
    sync::{Mutex, mpsc, watch},
    time::timeout,
};
use tonic::body::Body;

use crate::{Error, Result, local};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is checked, and how long the other side may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Flow-control windows: one stream, one connection. Large enough that loopback never waits.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// Where a [`Channel`] leads.
#[derive(Clone, Debug)]
pub enum Address {
    /// `host:port`, plain HTTP/2.
    Tcp(String),
    /// The path of a Unix socket. Each connection is made by [`local::connect`].
    Unix(PathBuf),
    /// The local socket of the server of this home, looked up and proven for each connection.
    Home,
    /// A server in this process that accepts the other ends of pipes.
    Pipe(mpsc::UnboundedSender<DuplexStream>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Home => f.write_str("the micro server of this home"),
            Self::Pipe(_) => f.write_str("this process"),
        }
    }
}

/// A lazily opened, self-mending HTTP/2 connection, cheap to clone.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: Address,
    authority: uri::Authority,
    current: RwLock<Option<SendRequest<Body>>>,
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

    /// A channel to any address. Nothing is opened until the first request.
    #[must_use]
    pub fn new(address: Address) -> Self {
        let authority = match &address {
            Address::Tcp(address) => address.parse().ok(),
            Address::Unix(_) | Address::Home | Address::Pipe(_) => None,
        };
        let authority = authority.unwrap_or_else(|| uri::Authority::from_static("localhost"));
        Self(Arc::new(Inner {
            address,
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
        if let Some(connection) = self.current().await {
            return Ok(connection);
        }
        // Apart: what it takes to connect would be carried, and copied, by each call.
        Box::pin(self.connect()).await
    }

    /// Opens the connection, unless somebody else just has.
    async fn connect(&self) -> Result<Connection> {
        let _one_at_a_time = self.0.connecting.lock().await;
        if let Some(connection) = self.current().await {
            return Ok(connection);
        }
        let failed = |e| Error::unavailable(format!("cannot connect to {}: {e}", self.0.address));
        let sender = timeout(CONNECT_TIMEOUT, self.open())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|e| failed(e.to_string()))?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.current().await.ok_or_else(|| failed("closed at once".to_owned()))
    }

    /// The open connection, once it can take a request; none if it is closed.
    async fn current(&self) -> Option<Connection> {
        let mut sender = self
            .0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .filter(|s| !s.is_closed())?;
        sender.ready().await.ok()?;
        Some(Connection { sender, authority: self.0.authority.clone() })
    }

    async fn open(&self) -> io::Result<SendRequest<Body>> {
        match &self.0.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
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

    async fn handshake<S>(&self, stream: S) -> io::Result<SendRequest<Body>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let broken = self.0.broken.clone();
        tokio::spawn(async move {
            // How it ended does not matter: each request on it learns its own fate.
            drop(connection.await);
            broken.send_modify(|count| *count += 1);
        });
        Ok(sender)
    }
}

/// An open connection that was ready when it was handed out.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Body>,
    authority: uri::Authority,
}

impl Connection {
    /// Sends a request, whatever authority it names, and returns the head of the response.
    ///
    /// # Errors
    /// 503 when the connection broke; the request may have been seen by the other side.
    pub async fn send(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or_else(|| uri::PathAndQuery::from_static("/")))
            .build()
            .map_err(|e| Error::bad_request(e.to_string()))?;
        self.sender
            .send_request(request)
            .await
            .map_err(|e| Error::unavailable(format!("the connection to {} broke: {e}", self.authority)))
    }
}
