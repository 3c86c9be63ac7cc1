//! A service: its handlers behind a listener, its node in the registry, its end on a signal.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use micro_proto::registry::{Node, Service as Registered};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Address, Channel, Context, Error, Result, blocks,
    debug::Debug,
    handler::Handler,
    log,
    platform::{Credentials, Platform, namespace, variable},
    registration::Registration,
    router::Router,
    schema,
};

/// How long calls that are under way may take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How many calls one connection may have open at once.
const MAX_STREAMS: u32 = 4096;

/// A service about to run.
///
/// Its name, version, namespace, address and credentials come from the environment when the
/// runtime started it (`MICRO_SERVICE_NAME`, `MICRO_SERVICE_VERSION`, `MICRO_NAMESPACE`,
/// `MICRO_SERVICE_ADDRESS`, `MICRO_SERVICE_NETWORK`, `MICRO_CLIENT_ID`, `MICRO_CLIENT_SECRET`).
/// Started by hand it finds the server of this home by itself.
pub struct Service {
    name: String,
    version: String,
    metadata: HashMap<String, String>,
    handlers: Vec<Box<dyn Handler>>,
    /// Found once, so that what is done before the service runs shares its connection and token.
    platform: OnceLock<Platform>,
}

impl Service {
    /// A service of this name; `MICRO_SERVICE_NAME` wins over it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: variable("MICRO_SERVICE_NAME").unwrap_or_else(|| name.into()),
            version: variable("MICRO_SERVICE_VERSION").unwrap_or_else(|| "latest".to_owned()),
            metadata: HashMap::new(),
            handlers: Vec::new(),
            platform: OnceLock::new(),
        }
    }

    /// Sets the version (default: `latest`); `MICRO_SERVICE_VERSION` wins over it.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        if variable("MICRO_SERVICE_VERSION").is_none() {
            self.version = version.into();
        }
        self
    }

    /// Adds a pair to the metadata of its node.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds a group of methods, generated from a `service` of a .proto file.
    #[must_use]
    pub fn handle(mut self, handler: impl Handler) -> Self {
        self.handlers.push(Box::new(handler));
        self
    }

    /// The surroundings of the service itself, for what it does outside of a call: reading its
    /// settings before it runs, watching them while it does, calling other services.
    ///
    /// ```no_run
    /// # async fn example() -> micro_sdk::Result<()> {
    /// let service = micro_sdk::Service::new("helloworld");
    /// let greeting = service.context().config().get_or("helloworld.greeting", "Hello".to_owned()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// In an environment that is contradictory, of which [`Service::run`] says what is wrong, every
    /// call made with it is 503.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::outside(self.platform().ok())
    }

    /// The server to register with.
    fn platform(&self) -> Result<Platform> {
        if let Some(platform) = self.platform.get() {
            return Ok(platform.clone());
        }
        let found = find(&self.name)?;
        Ok(self.platform.get_or_init(|| found).clone())
    }

    /// Listens, registers and serves, until SIGTERM or SIGINT; then leaves the registry, lets the
    /// calls that are under way end (10 s at most), and returns.
    ///
    /// # Errors
    /// The address is taken, two handlers have one name, or the environment is contradictory.
    pub async fn run(self) -> Result<()> {
        let wanted = variable("MICRO_SERVICE_ADDRESS").unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let cannot = |e| Error::internal(format!("cannot listen on {wanted}: {e}"));
        let listener = TcpListener::bind(&wanted).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?.to_string();
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| Error::internal(e.to_string()))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Error::internal(e.to_string()))?;

        let platform = self.platform()?;
        let descriptor_set = schema::descriptor_set(&self.handlers);
        let service = self.registered(address, &descriptor_set);
        let registration = Registration::new(platform.clone(), service, descriptor_set);
        let router = self.router(Some(platform))?;

        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, router, stopping.clone()));
        let registered = tokio::spawn(registration.keep(stopping));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
        // Both end by themselves; a second signal, or the limit, ends the waiting.
        let end = async { drop(tokio::join!(registered, serving)) };
        tokio::select! {
            ended = timeout(DRAIN, end) => drop(ended),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }

    fn registered(&self, address: String, descriptor_set: &[u8]) -> Registered {
        let instance = variable("MICRO_INSTANCE").unwrap_or_else(|| std::process::id().to_string());
        let mut metadata = self.metadata.clone();
        for (key, value) in [("server", "grpc"), ("transport", "grpc"), ("protocol", "grpc"), ("sdk", "rust")]
        {
            metadata.insert(key.to_owned(), value.to_owned());
        }
        metadata.insert("instance".to_owned(), instance.clone());
        Registered {
            name: self.name.clone(),
            version: self.version.clone(),
            endpoints: schema::endpoints(&self.handlers),
            nodes: vec![Node {
                id: format!("{}-{instance}", self.name),
                address,
                metadata,
                ..Node::default()
            }],
            descriptor_hash: hex::encode(Sha256::digest(descriptor_set)),
            ..Registered::default()
        }
    }

    /// The handlers, with those that every service has.
    pub(crate) fn router(mut self, platform: Option<Platform>) -> Result<Router> {
        let mut names: Vec<_> = self.handlers.iter().map(|handler| handler.name()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(pair[0])) {
            return Err(Error::internal(format!("two handlers of {} are called {twice}", self.name)));
        }
        let counted: Arc<OnceLock<Router>> = Arc::default();
        if !names.contains(&"Debug") {
            let counted = counted.clone();
            let counts = move || counted.get().map_or((0, 0), Router::counts);
            self.handlers.push(Box::new(blocks::debug::DebugServer::new(Debug::new(counts))));
        }
        let router = Router::on(self.name, self.handlers, platform);
        Ok(counted.get_or_init(|| router).clone())
    }
}

/// The server to register with: the one that started this process, else the one of this home.
fn find(name: &str) -> Result<Platform> {
    let Some(network) = variable("MICRO_SERVICE_NETWORK") else {
        let credentials = Credentials::Local { service: name.to_owned() };
        return Ok(Platform::new(Channel::new(Address::Home), namespace(), credentials));
    };
    match (variable("MICRO_CLIENT_ID"), variable("MICRO_CLIENT_SECRET")) {
        (Some(id), Some(secret)) => {
            Ok(Platform::new(Channel::tcp(network), namespace(), Credentials::Secret { id, secret }))
        }
        _ => Err(Error::internal(
            "MICRO_SERVICE_NETWORK is set, but MICRO_CLIENT_ID and MICRO_CLIENT_SECRET are not",
        )),
    }
}

async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
        };
        match stream {
            Ok((stream, _)) => {
                // Without it small answers wait for the other side's acknowledgement.
                if stream.set_nodelay(true).is_ok() {
                    connections.spawn(connection(stream, router.clone(), stop.clone()));
                }
            }
            // Out of file descriptors: wait until a connection has ended.
            Err(_) if !connections.is_empty() => drop(connections.join_next().await),
            Err(error) => {
                log::line(format_args!("cannot accept a connection: {error}"));
                tokio::task::yield_now().await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it, or the service, ends.
pub(crate) async fn connection<S>(stream: S, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let router = router.clone();
        async move { Ok::<_, std::convert::Infallible>(router.serve(request).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How a connection ended is the caller's concern.
        ended = connection.as_mut() => return drop(ended),
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}
