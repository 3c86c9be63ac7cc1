//! A server in the process of a test.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, watch},
};
use tonic::body::Body;

use super::{
    auth::{AuthFake, Known},
    config::ConfigFake,
    store::{BlobsFake, StoreFake},
};
use crate::{
    Address, Channel, Client, Context, Error, Router, Service,
    blocks::{
        auth::AuthServer,
        config::ConfigServer,
        store::{BlobStoreServer, StoreServer},
    },
    end::End,
    handler::Handler,
    header::{self, DEFAULT_NAMESPACE},
    listen::connection,
    platform::{Credentials, Platform, TOKEN_LIFE},
    setting,
};

/// A server in the process of a test: a store, settings that can be watched, accounts, and other services.
/// Nothing of it touches the disk or a port, and each harness starts empty.
///
/// ```
/// use micro_sdk::{Context, Error, Result, testing::Harness, tokio};
/// use micro_sdk::{blocks::broker::{self, BrokerClient, BrokerServer}, proto::broker::{Empty, Message, PublishRequest, SubscribeRequest}, Sender};
///
/// // The service under test: it looks at its caller, a setting and its store.
/// struct Board;
///
/// impl broker::Broker for Board {
///     async fn publish(&self, cx: Context, request: PublishRequest) -> Result<Empty> {
///         let author = cx.require_scope("press").await?;
///         let most = cx.config().get_or("board.most", 1_usize).await?;
///         let posts = cx.store().table::<String>("posts");
///         if posts.list("").collect().await?.len() >= most {
///             return Err(Error::too_many("the board is full"));
///         }
///         posts.put(&request.topic, &author.id).await?;
///         Ok(Empty {})
///     }
/// #   async fn subscribe(&self, _: Context, _: SubscribeRequest, _: Sender<Message>) -> Result<()> { Ok(()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let harness = Harness::new().account("jane", ["press"]);
/// harness.set("board.most", 2);
/// let board = BrokerClient::new(harness.serve(BrokerServer::new(Board)));
/// let post = |topic: &str| PublishRequest { topic: topic.to_owned(), message: None };
///
/// board.publish(post("a")).await?;
/// board.publish(post("b")).await?;
/// assert_eq!(board.publish(post("c")).await.unwrap_err().code, 429);
///
/// // What the service has kept, by its own eyes.
/// let kept = harness.context().store().table::<String>("posts").get("a").await?;
/// assert_eq!(kept.as_deref(), Some("jane"));
///
/// // Another caller.
/// let bob = board.with(|client| client.with_token(&harness.token("bob", ["reader"])));
/// assert_eq!(bob.publish(post("c")).await.unwrap_err().code, 403);
/// # Ok(())
/// # }
/// ```
///
/// # What it does not do
/// Rules are not asked: every service may call every other, and use every table. Limits of sizes, snapshots,
/// `restore`, and the blocks that are not named above answer 501 or 404. Secrets are not encrypted. For all
/// of this there is a real server: see `docs/write-a-service.md`.
#[derive(Clone)]
pub struct Harness {
    server: Arc<Server>,
    channel: Channel,
    /// The name of the service under test.
    name: String,
    /// The token that clients have.
    token: Option<String>,
}

/// What answers in the place of a server.
struct Server {
    known: Arc<Known>,
    config: ConfigFake,
    store: StoreFake,
    routers: Mutex<HashMap<String, Served>>,
}

/// A service of a harness.
#[derive(Clone)]
struct Served {
    router: Router,
    /// What has to be known before it is called, as before it registers with a server.
    settings: Vec<watch::Receiver<bool>>,
}

impl Harness {
    /// A server without anything in it. The service under test is called `test`. Must be called within a
    /// tokio runtime.
    #[must_use]
    pub fn new() -> Self {
        let (sender, mut pipes) = mpsc::unbounded_channel::<DuplexStream>();
        let server = Arc::new(Server {
            known: Arc::default(),
            config: ConfigFake::default(),
            store: StoreFake::default(),
            routers: Mutex::default(),
        });
        let blobs = BlobsFake::default();
        let blocks: [(&str, Vec<Box<dyn Handler>>); 3] = [
            ("auth", vec![Box::new(AuthServer::new(AuthFake(server.known.clone())))]),
            ("config", vec![Box::new(ConfigServer::new(server.config.clone()))]),
            (
                "store",
                vec![Box::new(StoreServer::new(server.store.clone())), Box::new(BlobStoreServer::new(blobs))],
            ),
        ];
        server.routers().extend(blocks.map(|(name, handlers)| {
            (name.to_owned(), Served { router: Router::new(name, handlers), settings: Vec::new() })
        }));
        let serving = server.clone();
        tokio::spawn(async move {
            let end = End::new();
            while let Some(pipe) = pipes.recv().await {
                let server = serving.clone();
                let serve = move |request| {
                    let server = server.clone();
                    async move { server.serve(request).await }
                };
                tokio::spawn(connection(pipe, serve, end.asked()));
            }
        });
        let channel = Channel::new(Address::Pipe(sender));
        Self { server, channel, name: "test".to_owned(), token: None }
    }

    /// The name of the service under test, which its tables and its settings go by.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Who calls: an account with these scopes. Without it callers have no account.
    #[must_use]
    pub fn account<'a>(mut self, id: &str, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.token = Some(self.token(id, scopes));
        self
    }

    /// Another service, which the one under test calls by this name.
    ///
    /// # Panics
    /// There is a service of this name.
    #[must_use]
    pub fn service(self, name: &str, handler: impl Handler) -> Self {
        self.add(Service::new(name).handle(handler), name);
        self
    }

    /// Sets the value at a path of the configuration, also while the service runs; a [`Setting`](crate::Setting)
    /// that was followed before has it a moment later, as with a server.
    ///
    /// # Panics
    /// The value has no form in JSON.
    pub fn set(&self, path: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).expect("the value has a form in JSON");
        self.server.config.set(path, value);
    }

    /// Lets time pass for what the store keeps with a time to live.
    pub fn advance(&self, time: Duration) {
        self.server.store.advance(time);
    }

    /// A token of an account with these scopes, for `client.with_token(…)`.
    #[must_use]
    pub fn token<'a>(&self, id: &str, scopes: impl IntoIterator<Item = &'a str>) -> String {
        self.server.known.user(id, scopes.into_iter().map(str::to_owned).collect())
    }

    /// The surroundings of the service under test: its store, its settings, its clients of others.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::outside(Some(self.platform(&self.name)), End::never())
    }

    /// Serves one handler as the service under test, and returns a client of it.
    ///
    /// # Panics
    /// This harness serves already.
    #[must_use]
    pub fn serve(&self, handler: impl Handler) -> Client {
        self.run(|service| service.handle(handler))
    }

    /// Serves what `build` makes of the service under test, as the program's `main` would run it, and
    /// returns a client of it.
    ///
    /// # Panics
    /// This harness serves already, or two handlers have one name.
    #[must_use]
    pub fn run(&self, build: impl FnOnce(Service) -> Service) -> Client {
        let service = Service::of_platform(&self.name, self.platform(&self.name));
        self.add(build(service), &self.name);
        self.client(&self.name)
    }

    /// A client of a service, for the account of [`Harness::account`].
    #[must_use]
    pub fn client<C: From<Client>>(&self, service: &str) -> C {
        let client = Client::new(self.channel.clone(), service);
        C::from(match &self.token {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    fn add(&self, service: Service, name: &str) {
        let settings = service.take_settings();
        let router = service.router(Some(self.platform(name))).expect("no two handlers have one name");
        let before = self.server.routers().insert(name.to_owned(), Served { router, settings });
        assert!(before.is_none(), "there is a service `{name}` already");
    }

    fn platform(&self, name: &str) -> Platform {
        let credentials = Credentials::Local { service: name.to_owned() };
        Platform::new(self.channel.clone(), DEFAULT_NAMESPACE.to_owned(), credentials, TOKEN_LIFE.1)
    }
}

impl Default for Harness {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Server {
    fn routers(&self) -> MutexGuard<'_, HashMap<String, Served>> {
        self.routers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().trim_start_matches('/');
        let service = path.split('/').next().and_then(|first| Some(first.rsplit_once('.')?.0));
        let service = service.unwrap_or_default().to_owned();
        let served = self.routers().get(&service).cloned();
        if let Some(token) = header::bearer(request.headers())
            && !self.known.has(token)
        {
            return Error::unauthorized("the token is not valid").with_id("auth").into_response();
        }
        match served {
            Some(Served { router, settings }) => {
                for known in settings {
                    setting::wait(known).await;
                }
                router.serve(request).await
            }
            None => Error::not_found(format!("service {service}: route not found"))
                .with_id("micro.network")
                .into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_whose_token_counts_no_more_gets_another_one() {
        let harness = Harness::new();
        let table = harness.context().store().table::<u32>("t");
        table.put("a", &1).await.unwrap();
        harness.server.known.forget();
        assert_eq!(table.get("a").await.unwrap(), Some(1));
        // A caller has none but their own.
        let client: Client = harness.client("store");
        let store = crate::Store::new(client.with_token("forged"), "micro", "test");
        assert_eq!(store.table::<u32>("t").get("a").await.unwrap_err().code, 401);
    }
}
