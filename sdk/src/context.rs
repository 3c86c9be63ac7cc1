//! What a handler knows of the call it serves, and its way to other services.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Extensions, HeaderMap, header::AUTHORIZATION};
use micro_proto::auth::Account;

use crate::{Client, Config, Error, Result, Store, header, platform::Platform};

/// The surroundings of one call: who calls, in which namespace, until when. Cheap to clone.
///
/// What a service does outside of a call it does with the context of [`Service::context`].
///
/// [`Service::context`]: crate::Service::context
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    metadata: HeaderMap,
    deadline: Option<Instant>,
    platform: Option<Platform>,
    extensions: Extensions,
    /// `Handler.Method`; empty outside of a call.
    endpoint: Arc<str>,
}

impl Context {
    /// The surroundings of a call to an endpoint, `Handler.Method`.
    pub(crate) fn new(
        metadata: HeaderMap,
        extensions: Extensions,
        platform: Option<Platform>,
        endpoint: Arc<str>,
    ) -> Self {
        let deadline = header::timeout(&metadata).map(|left| Instant::now() + left);
        Self(Arc::new(Inner { metadata, deadline, platform, extensions, endpoint }))
    }

    /// What was called, for what is said about it.
    pub(crate) fn endpoint(&self) -> Arc<str> {
        self.0.endpoint.clone()
    }

    /// The surroundings of a service itself: no call, no caller, no deadline.
    pub(crate) fn outside(platform: Option<Platform>) -> Self {
        let mut metadata = HeaderMap::new();
        let namespace = platform.as_ref().and_then(|platform| platform.namespace().parse().ok());
        metadata.extend(namespace.map(|namespace| (header::NAMESPACE, namespace)));
        Self::new(metadata, Extensions::new(), platform, Arc::from(""))
    }

    /// The headers of the call, names in lower case.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.0.metadata
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
    /// identity and the deadline of this call.
    #[must_use]
    pub fn client<C: From<Client>>(&self, service: &str) -> C {
        let client = match &self.0.platform {
            Some(platform) => platform.client(service),
            None => Client::disconnected(service),
        };
        C::from(match self.remaining() {
            Some(left) => client.with_timeout(left),
            None => client,
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

pub(crate) fn not_connected() -> Error {
    Error::unavailable("this service is not connected to a micro server")
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
