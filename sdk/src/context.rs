//! What a handler knows of the call it serves, and its way to other services.

use std::{
    fmt,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use http::{Extensions, HeaderMap, header::AUTHORIZATION};
use micro_proto::auth::Account;

use crate::{Client, Config, Error, Result, Store, end::End, header, kind::CLIENT, platform::Platform};

/// The surroundings of one call: who calls, in which namespace, until when. Cheap to clone.
///
/// What a service does outside of a call it does with the context of [`Service::context`].
///
/// [`Service::context`]: crate::Service::context
#[derive(Clone)]
pub struct Context(Arc<Inner>);

/// The scope of administrators, who are people.
const ADMIN: &str = "admin";
/// The type of the accounts that people have.
const USER: &str = "user";

struct Inner {
    metadata: HeaderMap,
    deadline: Option<Instant>,
    platform: Option<Platform>,
    extensions: Extensions,
    /// `Handler.Method`; empty outside of a call.
    endpoint: Arc<str>,
    end: End,
    request_id: OnceLock<String>,
}

impl Context {
    /// The surroundings of a call to an endpoint, `Handler.Method`.
    pub(crate) fn new(
        metadata: HeaderMap,
        extensions: Extensions,
        platform: Option<Platform>,
        endpoint: Arc<str>,
        end: End,
    ) -> Self {
        let deadline = header::timeout(&metadata).map(|left| Instant::now() + left);
        let request_id = OnceLock::new();
        Self(Arc::new(Inner { metadata, deadline, platform, extensions, endpoint, end, request_id }))
    }

    /// What was called: `Handler.Method`, or empty outside of a call.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    pub(crate) fn end(&self) -> &End {
        &self.0.end
    }

    /// The surroundings of a service itself: no call, no caller, no deadline.
    pub(crate) fn outside(platform: Option<Platform>, end: End) -> Self {
        let mut metadata = HeaderMap::new();
        let namespace = platform.as_ref().and_then(|platform| platform.namespace().parse().ok());
        metadata.extend(namespace.map(|namespace| (header::NAMESPACE, namespace)));
        Self::new(metadata, Extensions::new(), platform, Arc::from(""), end)
    }

    /// The headers of the call, names in lower case.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.0.metadata
    }

    /// A header of the call, by its name in any case; none if it is not there, empty or no text.
    ///
    /// ```
    /// # fn example(cx: &micro_sdk::Context) {
    /// let language = cx.header("accept-language").unwrap_or("en");
    /// # }
    /// ```
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header::text(&self.0.metadata, name.parse().ok()?)
    }

    /// The namespace the call was made in; `micro` unless the caller said otherwise.
    #[must_use]
    pub fn namespace(&self) -> &str {
        header::text(&self.0.metadata, header::NAMESPACE).unwrap_or(header::DEFAULT_NAMESPACE)
    }

    /// When the caller stops waiting; none for a call without a deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// How long the caller will still wait.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.0.deadline.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// What tells this request from others, in all services that take part in it: the header `x-request-id`
    /// of the call, or else one that is made up here. Calls made by [`Context::client`] carry it on.
    #[must_use]
    pub fn request_id(&self) -> &str {
        let made = || header::text(&self.0.metadata, header::REQUEST_ID).map_or_else(random, str::to_owned);
        self.0.request_id.get_or_init(made)
    }

    /// Waits until the service is asked to end. What goes on for long, such as a stream without an end,
    /// looks at it and finishes; eight seconds later, calls that are still under way end with 503.
    ///
    /// ```
    /// # use micro_sdk::{Context, Result, Sender, tokio};
    /// # async fn watch(cx: Context, prices: Sender<String>) -> Result<()> {
    /// # let mut changes = tokio::time::interval(std::time::Duration::from_secs(1));
    /// loop {
    ///     tokio::select! {
    ///         _ = changes.tick() => prices.send("7.50".to_owned()).await?,
    ///         () = cx.stopping() => return Ok(()),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn stopping(&self) {
        self.0.end.asking().await;
    }

    /// Whether the service was asked to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.end.is_asked()
    }

    /// The account that calls, verified by the server.
    ///
    /// # Errors
    /// 401 for an anonymous call and for a token that is not valid, 503 when the server cannot be asked.
    pub async fn caller(&self) -> Result<Account> {
        self.account().await?.ok_or_else(|| Error::unauthorized("an account is required: log in first"))
    }

    /// The account that calls, if it is of this service's namespace and has this scope, or is an administrator (a
    /// person with the scope `admin`) of this namespace or of `micro`.
    ///
    /// ```
    /// # use micro_sdk::{Context, Result};
    /// # async fn import(cx: Context) -> Result<()> {
    /// let account = cx.require_scope("shop").await?;
    /// eprintln!("{} imports products", account.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// 403 for another account, and as [`Context::caller`].
    pub async fn require_scope(&self, scope: &str) -> Result<Account> {
        let account = self.caller().await?;
        let own = self.0.platform.as_ref().map_or(header::DEFAULT_NAMESPACE, Platform::namespace);
        let is_own = account.issuer == own;
        // Administrators of the platform are so everywhere.
        let rules = is_own || account.issuer == header::DEFAULT_NAMESPACE;
        let is_admin = |has: &String| has == ADMIN && account.r#type == USER && rules;
        if account.scopes.iter().any(|has| (has == scope && is_own) || is_admin(has)) {
            return Ok(account);
        }
        Err(Error::forbidden(format!("{} of {} takes the scope `{scope}`", self.0.endpoint, self.service())))
    }

    /// The name of this service; empty where there is no server.
    fn service(&self) -> &str {
        self.0.platform.as_ref().map_or("", Platform::service)
    }

    /// The account that calls, verified by the server; none for an anonymous call.
    ///
    /// # Errors
    /// 401 for a token that is not valid, 503 when the server cannot be asked.
    pub async fn account(&self) -> Result<Option<Account>> {
        let Some(token) = header::bearer(&self.0.metadata) else {
            return Ok(None);
        };
        match &self.0.platform {
            Some(platform) => platform.inspect(token).await.map(Some),
            None => Err(not_connected()),
        }
    }

    /// A client of another service, in the namespace of this service, with this service's own
    /// identity and the deadline of this call: what it calls never takes longer than the caller waits.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use micro_sdk::{Client, Context, Result, blocks::registry::RegistryClient, proto::registry::ListRequest};
    /// # async fn example(cx: Context) -> Result<()> {
    /// let registry = cx.client::<RegistryClient>("registry").timeout(Duration::from_secs(2));
    /// let services = registry.list_services(ListRequest::default()).await?.services;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn client<C: From<Client>>(&self, service: &str) -> C {
        let client = match &self.0.platform {
            Some(platform) => platform.client(service),
            None => Client::disconnected(service),
        };
        let client = match self.deadline() {
            Some(at) => client.with_deadline(at),
            None => client,
        };
        // What a service does beside its calls is no request.
        let is_call = !self.0.endpoint.is_empty();
        C::from(if is_call {
            client.with_header(header::REQUEST_ID.as_str(), self.request_id())
        } else {
            client
        })
    }

    /// The settings of this service's namespace.
    #[must_use]
    pub fn config(&self) -> Config {
        let namespace = self.0.platform.as_ref().map_or(header::DEFAULT_NAMESPACE, Platform::namespace);
        Config::new(self.client("config"), namespace)
    }

    /// What this service keeps: its tables and its blobs.
    #[must_use]
    pub fn store(&self) -> Store {
        let (database, service) = match &self.0.platform {
            Some(platform) => (platform.namespace(), platform.service()),
            None => (header::DEFAULT_NAMESPACE, ""),
        };
        Store::new(self.client("store"), database, service)
    }

    /// What an outer layer of the server attached to the call.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.extensions.get()
    }
}

/// 16 hexadecimal digits that nobody has used.
fn random() -> String {
    // The keys of hash maps are random for each process, and differ from each other.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

pub(crate) fn not_connected() -> Error {
    Error::unavailable("this service is not connected to a micro server").with_id(CLIENT)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut metadata = self.0.metadata.clone();
        metadata.remove(AUTHORIZATION);
        f.debug_struct("Context")
            .field("metadata", &metadata)
            .field("deadline", &self.0.deadline)
            .finish_non_exhaustive()
    }
}
