//! A service: its handlers behind a listener, its node in the registry, its end on a signal.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use micro_proto::registry::{Node, Service as Registered};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    time::timeout,
};

use crate::{
    Address, Channel, Context, Error, Next, Result, Setting, blocks,
    debug::Debug,
    end::End,
    handler::{Call, Handler, Replies},
    header,
    layer::Layer,
    listen::Listening,
    platform::{Credentials, Platform, TOKEN_LIFE, namespace, seconds, variable},
    registration::{LEASE, Registration},
    router::{DEBUG, Router},
    schema, setting,
};

/// How long calls that are under way may take after the signal to stop. A server gives its services ten
/// seconds before it kills them.
const DRAIN: Duration = Duration::from_secs(8);
/// How long the last answers may take to leave after that.
const FLUSH: Duration = Duration::from_secs(1);

/// A service about to run.
///
/// Its name, version, namespace, server and credentials come from the environment when the runtime
/// started it (`MICRO_SERVICE_NAME`, `MICRO_SERVICE_VERSION`, `MICRO_NAMESPACE`,
/// `MICRO_SERVICE_SOCKET`, `MICRO_SERVICE_NETWORK`, `MICRO_CLIENT_ID`, `MICRO_CLIENT_SECRET`).
/// Started by hand it finds the server of this home by itself.
///
/// It listens on a Unix socket that only the server's user can reach, unless another address is
/// asked for: see [`Service::address`].
pub struct Service {
    name: String,
    version: String,
    address: Option<String>,
    metadata: HashMap<String, String>,
    handlers: Vec<Box<dyn Handler>>,
    layers: Vec<Layer>,
    /// Found once, so that what is done before the service runs shares its connection and token.
    platform: OnceLock<Platform>,
    end: End,
    /// Settings that have to be known before it serves.
    settings: Mutex<Vec<watch::Receiver<bool>>>,
    is_registered: watch::Sender<bool>,
}

impl Service {
    /// A service of this name; `MICRO_SERVICE_NAME` wins over it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: variable("MICRO_SERVICE_NAME").unwrap_or_else(|| name.into()),
            version: variable("MICRO_SERVICE_VERSION").unwrap_or_else(|| header::DEFAULT_VERSION.to_owned()),
            address: variable("MICRO_SERVICE_ADDRESS"),
            metadata: HashMap::new(),
            handlers: Vec::new(),
            layers: Vec::new(),
            platform: OnceLock::new(),
            end: End::new(),
            settings: Mutex::default(),
            is_registered: watch::Sender::new(false),
        }
    }

    /// A service on this server, whatever the environment says.
    pub(crate) fn of_platform(name: &str, platform: Platform) -> Self {
        let service = Self::new(name);
        // Empty until now.
        let _ = service.platform.set(platform);
        Self { name: name.to_owned(), ..service }
    }

    /// Sets the version (default: `latest`); `MICRO_SERVICE_VERSION` wins over it.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        if variable("MICRO_SERVICE_VERSION").is_none() {
            self.version = version.into();
        }
        self
    }

    /// Listens at this address instead of a Unix socket of the server's: `host:port`, where port 0
    /// takes a free one, or `unix:/path`. `MICRO_SERVICE_ADDRESS` wins over it.
    ///
    /// Who reaches a TCP port calls the service without the server: no rule is asked, no token is
    /// looked at, and nothing is encrypted. Such a service has to look at its callers itself
    /// ([`Context::account`]), or be reachable by those alone who may call it.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address.get_or_insert(address.into());
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

    /// Puts a function around each call of the handlers, such as a check, a log or a measure. Of several, the
    /// one that was added first is the outermost. Probes of the service's health do not pass through.
    ///
    /// ```
    /// use micro_sdk::{Error, Service};
    ///
    /// let service = Service::new("catalog").wrap(|call, next| async move {
    ///     let cx = call.context().clone();
    ///     if cx.header("x-shop").is_none() {
    ///         return Err(Error::bad_request("say which shop, by the header x-shop"));
    ///     }
    ///     let begun = std::time::Instant::now();
    ///     let answers = next.run(call).await;
    ///     eprintln!("{} of {}: {:?}, ok: {}", cx.endpoint(), cx.request_id(), begun.elapsed(), answers.is_ok());
    ///     answers
    /// });
    /// ```
    #[must_use]
    pub fn wrap<F, R>(mut self, around: F) -> Self
    where
        F: Fn(Call, Next) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Replies>> + Send + 'static,
    {
        self.layers.push(Arc::new(move |call, next| Box::pin(around(call, next))));
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
        Context::outside(self.platform().ok(), self.end.clone())
    }

    /// The value at a path of the configuration as it is now, for the fields of handlers: see [`Setting`].
    /// [`Service::run`] registers the service when the value is known. Must be called within a tokio runtime.
    #[must_use]
    pub fn setting<T>(&self, path: &str) -> Setting<T>
    where
        T: DeserializeOwned + Default + Send + Sync + 'static,
    {
        let setting = self.context().config().setting(path);
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).push(setting.knowing());
        setting
    }

    /// The handlers of a service that ends otherwise than by a signal.
    #[cfg(test)]
    pub(crate) fn router_until(self, platform: Option<Platform>, end: End) -> Result<Router> {
        Self { end, ..self }.router(platform)
    }

    /// The settings that have to be known before it serves.
    pub(crate) fn take_settings(&self) -> Vec<watch::Receiver<bool>> {
        std::mem::take(&mut *self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The server to register with.
    fn platform(&self) -> Result<Platform> {
        if let Some(platform) = self.platform.get() {
            return Ok(platform.clone());
        }
        let found = find(&self.name)?;
        Ok(self.platform.get_or_init(|| found).clone())
    }

    /// Listens, registers and serves, until SIGTERM or SIGINT; then leaves the registry, and lets the
    /// calls that are under way end. Those that look at [`Context::stopping`] end when they like; what still
    /// goes on after 8 s ends with 503. Then it returns.
    ///
    /// # Errors
    /// The address is taken, two handlers have one name, or the environment is contradictory.
    pub async fn run(self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| Error::internal(e.to_string()))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Error::internal(e.to_string()))?;
        let (asked, again) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (first, second) = (asked.clone(), again.clone());
        let signals = tokio::spawn(async move {
            for notify in [first, second] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                notify.notify_one();
            }
        });
        let ended = self.serve(asked.notified(), again.notified()).await;
        signals.abort();
        ended
    }

    /// As [`Service::run`], until `stop` is ready instead of a signal.
    ///
    /// # Errors
    /// As [`Service::run`].
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<()> {
        self.serve(stop, pending()).await
    }

    /// Is ready when the service is registered for the first time, and can be called by its name. It does
    /// not keep the service: it is never ready when that ends before.
    pub fn registered(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut registered = self.is_registered.subscribe();
        async move {
            if registered.wait_for(|is| *is).await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Serves until it is asked to stop, and waits for its last calls until it is asked again.
    async fn serve(self, stop: impl Future<Output = ()>, again: impl Future<Output = ()>) -> Result<()> {
        let platform = self.platform()?;
        let server = platform.channel().address().clone();
        let descriptor_set = schema::descriptor_set(&self.handlers);
        let service = self.described(&descriptor_set);
        let (name, asked) = (self.name.clone(), self.address.clone());
        let (end, is_registered) = (self.end.clone(), self.is_registered.clone());
        let settings = self.take_settings();
        let router = self.router(Some(platform.clone()))?;

        let mut listening = Listening::new(&name, asked.clone(), server.clone(), router, end.asked());
        // Without a server of this home, nothing says yet where its nodes listen.
        if asked.is_some() || !matches!(server, Address::Home) {
            listening.address().await?;
        }
        let registration =
            Registration::new(platform, service, descriptor_set, listening, seconds(LEASE)?, is_registered);
        let asked = end.asked();
        let mut serving = tokio::spawn(async move {
            let all = async {
                for known in settings {
                    setting::wait(known).await;
                }
            };
            let mut stop = asked.clone();
            tokio::select! {
                () = setting::told(all, &name) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            registration.keep(asked).await;
        });
        stop.await;
        end.ask();
        // It ends by itself; a second signal, or the limit, ends the waiting.
        tokio::select! {
            ended = timeout(DRAIN, &mut serving) => if ended.is_ok() { return Ok(()) },
            () = again => {}
        }
        end.cut();
        if timeout(FLUSH, &mut serving).await.is_err() {
            serving.abort();
        }
        Ok(())
    }

    fn described(&self, descriptor_set: &[u8]) -> Registered {
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
            nodes: vec![Node { id: format!("{}-{instance}", self.name), metadata, ..Node::default() }],
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
        if !names.contains(&DEBUG) {
            let counted = counted.clone();
            let counts = move || counted.get().map_or((0, 0), Router::counts);
            self.handlers.push(Box::new(blocks::debug::DebugServer::new(Debug::new(counts))));
        }
        let router = Router::on(self.name, self.handlers, self.layers, platform, self.end);
        Ok(counted.get_or_init(|| router).clone())
    }
}

/// The server to register with: the one that started this process, else the one of this home.
fn find(name: &str) -> Result<Platform> {
    // On the local socket, a token of no service is the owner's.
    if name.is_empty() {
        return Err(Error::internal("a service needs a name"));
    }
    let life = seconds(TOKEN_LIFE)?;
    let server = match (variable("MICRO_SERVICE_SOCKET"), variable("MICRO_SERVICE_NETWORK")) {
        (Some(socket), _) => socket.parse()?,
        (None, Some(network)) => Address::Tcp(network),
        (None, None) => {
            let credentials = Credentials::Local { service: name.to_owned() };
            return Ok(Platform::new(Channel::new(Address::Home), namespace(), credentials, life));
        }
    };
    match (variable("MICRO_CLIENT_ID"), variable("MICRO_CLIENT_SECRET")) {
        (Some(id), Some(secret)) => {
            let credentials = Credentials::Secret { id, secret };
            Ok(Platform::new(Channel::new(server), namespace(), credentials, life))
        }
        _ => Err(Error::internal(
            "MICRO_SERVICE_SOCKET or MICRO_SERVICE_NETWORK is set, but MICRO_CLIENT_ID and MICRO_CLIENT_SECRET are not",
        )),
    }
}
