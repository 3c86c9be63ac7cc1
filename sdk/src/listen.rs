//! Where a service listens: on a Unix socket in the folder that the server of this machine keeps
//! for its nodes, which other users cannot reach, or at the address that was asked for.

use std::{
    fs,
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tonic::body::Body;

use crate::{
    Address, CONNECTION_WINDOW, Error, Result, STREAM_WINDOW, local, log, platform::variable, router::Router,
};

/// How many calls one connection may have open at once.
const MAX_STREAMS: u32 = 4096;
/// How soon a connection is accepted again after that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How often it is looked whether the file of a Unix socket is still there.
const LOOK: Duration = Duration::from_secs(2);

/// A service behind the address it listens at, which may change while it runs.
pub(crate) struct Listening {
    /// What was asked for; none leaves it to the server's folder.
    asked: Option<String>,
    /// The way to the server.
    server: Address,
    /// The file name of a Unix socket.
    name: String,
    router: Router,
    stop: watch::Receiver<bool>,
    open: Option<Open>,
}

/// The file of a Unix socket.
#[derive(Clone)]
struct File {
    path: PathBuf,
    /// Tells it from one that took its place.
    inode: u64,
}

/// A listener that is served.
struct Open {
    address: String,
    /// The file of a Unix socket.
    file: Option<File>,
    /// Dropped, it ends the serving.
    _over: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Listening {
    /// Listens nowhere yet. Ends when `stop` says so.
    pub(crate) fn new(
        service: &str,
        asked: Option<String>,
        server: Address,
        router: Router,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let instance = variable("MICRO_INSTANCE").unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("{service}-{}-{}", std::process::id(), now.as_nanos())
        });
        let name = local::node_socket(&instance);
        Self { asked, server, name, router, stop, open: None }
    }

    /// The address to register, at which the service listens when this returns. A Unix socket whose
    /// file was removed, or whose server has moved to another folder, is made anew.
    ///
    /// # Errors
    /// The service cannot listen there, or nothing says where.
    pub(crate) async fn address(&mut self) -> Result<String> {
        let wanted = match &self.asked {
            Some(asked) if !asked.starts_with("unix:") => return self.tcp(asked.clone()).await,
            Some(asked) => match asked.parse()? {
                Address::Unix(path) => path,
                Address::Tcp(_) | Address::Home | Address::Pipe(_) => return Err(nowhere()),
            },
            None => self.folder()?.join(&self.name),
        };
        let there = |open: &&Open| open.file.as_ref().is_some_and(|f| f.path == wanted && f.is_there());
        if let Some(open) = self.open.as_ref().filter(there) {
            return Ok(open.address.clone());
        }
        let address = Address::Unix(wanted.clone()).to_string();
        let (listener, file) = bind(wanted).map_err(|e| cannot(&address, &e))?;
        Ok(self.serve(listener, address, Some(file)))
    }

    /// Waits until the file of the Unix socket it listens at is gone; for ever where there is none.
    pub(crate) async fn lost(&self) {
        let Some(file) = self.open.as_ref().and_then(|open| open.file.as_ref()) else {
            return pending().await;
        };
        while file.is_there() {
            sleep(LOOK).await;
        }
    }

    /// Waits until the calls under way have ended, once `stop` says so.
    pub(crate) async fn ended(self) {
        if let Some(open) = self.open {
            // It ends by itself; how does not matter.
            drop(open.serving.await);
        }
    }

    /// The server's folder for the sockets of its nodes.
    fn folder(&self) -> Result<PathBuf> {
        let socket = match &self.server {
            Address::Unix(socket) => socket.clone(),
            Address::Home => {
                let state = local::data_folder().and_then(|data| local::State::read(&data));
                let none =
                    |_| Error::unavailable("no micro server runs here; start it with `micro server start`");
                state.map_err(none)?.socket
            }
            Address::Tcp(_) | Address::Pipe(_) => return Err(nowhere()),
        };
        Ok(local::nodes_folder(&socket))
    }

    async fn tcp(&mut self, asked: String) -> Result<String> {
        if let Some(open) = &self.open {
            return Ok(open.address.clone());
        }
        // As Go writes "every address of this machine".
        let full = if asked.starts_with(':') { format!("0.0.0.0{asked}") } else { asked.clone() };
        let listener = TcpListener::bind(&full).await.map_err(|e| cannot(&asked, &e))?;
        let mut at = listener.local_addr().map_err(|e| cannot(&asked, &e))?;
        if at.ip().is_unspecified() {
            at.set_ip(self.own_address(at).await.map_err(|e| cannot(&asked, &e))?);
        }
        Ok(self.serve(listener, at.to_string(), None))
    }

    /// The address of this machine that the server can reach it at, for one that listens at all.
    async fn own_address(&self, at: SocketAddr) -> io::Result<IpAddr> {
        let Address::Tcp(server) = &self.server else {
            let here = if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            return Ok(here);
        };
        // Nothing is sent: the system chooses the address it would send from.
        let socket = UdpSocket::bind(SocketAddr::new(at.ip(), 0)).await?;
        socket.connect(server).await?;
        Ok(socket.local_addr()?.ip())
    }

    fn serve(&mut self, listener: impl Listener, address: String, file: Option<File>) -> String {
        let (over, ended) = watch::channel(false);
        let mut stop = self.stop.clone();
        let (router, own) = (self.router.clone(), file.clone());
        let serving = tokio::spawn(async move {
            // The connections end with the listener, whichever of the two ends it.
            let (sender, either) = watch::channel(false);
            let mut replaced = ended;
            let ends = async {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => {}
                    _ = replaced.changed() => {}
                }
                if let Some(file) = own {
                    file.remove();
                }
                sender.send_replace(true);
            };
            tokio::join!(ends, accept(listener, router, either));
        });
        self.open = Some(Open { address: address.clone(), file, _over: over, serving });
        address
    }
}

impl File {
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// Removes it, unless another has taken its place.
    fn remove(&self) {
        if self.is_there() {
            // What stays is removed by the server.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn cannot(address: &str, error: &io::Error) -> Error {
    Error::internal(format!("cannot listen on {address}: {error}"))
}

fn nowhere() -> Error {
    Error::internal(
        "nothing says where the service is to listen: the runtime sets MICRO_SERVICE_SOCKET for a server of this \
         machine; beside MICRO_SERVICE_NETWORK alone, set MICRO_SERVICE_ADDRESS to a host:port the server reaches",
    )
}

/// Opens a Unix socket that only this user may connect to. One that a dead process left is
/// replaced.
///
/// # Errors
/// Its folder is not this user's alone, or it cannot be made.
fn bind(path: PathBuf) -> io::Result<(UnixListener, File)> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    local::private_folder(folder)?;
    let new = local::unfinished(&path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    // Whatever the umask took away or left.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    let inode = fs::metadata(&new)?.ino();
    fs::rename(&new, &path)?;
    Ok((listener, File { path, inode }))
}

/// A listener of either kind.
trait Listener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Without it small answers wait for the other side's acknowledgement. A connection that is
        // gone already shows when it is read.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

async fn accept(listener: impl Listener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
        };
        match stream {
            Ok(stream) => {
                let router = router.clone();
                let serve = move |request| {
                    let router = router.clone();
                    async move { router.serve(request).await }
                };
                connections.spawn(connection(stream, serve, stop.clone()));
            }
            // Out of file descriptors: one is free again when a connection, or something else, ends.
            Err(error) => {
                log::line(format_args!("cannot accept a connection: {error}"));
                tokio::select! {
                    () = sleep(ACCEPT_AGAIN) => {}
                    Some(_) = connections.join_next() => {}
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it, or the service, ends.
pub(crate) async fn connection<S, F, R>(stream: S, serve: F, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let service = hyper::service::service_fn(|request| {
        let answer = serve(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(crate::header::MOST)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How a connection ended is the caller's concern.
        ended = connection.as_mut() => return drop(ended),
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}
