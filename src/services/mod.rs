//! The building blocks: each takes a request apart, applies its rules and calls its backend.
//!
//! A building block is added by a .proto file, a service module, and two lines here.

mod absent;
pub(crate) mod auth;
pub(crate) mod config;
pub(crate) mod methods;
pub(crate) mod registry;
pub(crate) mod runtime;
pub(crate) mod secrets;
pub(crate) mod store;
pub(crate) mod transfers;

use std::sync::Arc;

use micro_sdk::{Error, Result, Router, handler::Handler};

use crate::backend::{Entry, Kv, Range};

/// The namespace the building blocks live in, and whose administrators may enter every other.
pub(crate) const PLATFORM: &str = "micro";

/// Every building block behind its router.
pub(crate) struct Blocks {
    pub(crate) auth: auth::Auth,
    pub(crate) registry: registry::Registry,
    pub(crate) runtime: runtime::Runtime,
    routers: [(&'static str, Router); 8],
}

impl Blocks {
    pub(crate) fn new(
        auth: auth::Auth,
        config: &config::Config,
        registry: registry::Registry,
        runtime: runtime::Runtime,
        store: &store::Store,
    ) -> Arc<Self> {
        let routers = [
            ("auth", auth.handlers()),
            ("broker", absent::handlers("the broker", &["Broker"])),
            ("config", config.handlers()),
            ("events", absent::handlers("the event stream", &["Stream", "Store"])),
            ("network", Vec::new()),
            ("registry", registry.handlers()),
            ("runtime", runtime.handlers()),
            ("store", store.handlers()),
        ]
        .map(|(name, handlers): (_, Vec<Box<dyn Handler>>)| (name, Router::new(name, handlers)));
        Arc::new(Self { auth, registry, runtime, routers })
    }

    /// The building block of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Router> {
        self.routers.iter().find(|(block, _)| *block == name).map(|(_, router)| router)
    }
}

/// The namespace a request means: the one it names, else `micro`.
pub(crate) fn namespace_or_default(namespace: &str) -> &str {
    if namespace.is_empty() { PLATFORM } else { namespace }
}

/// Every entry of a table whose key begins with `prefix`.
async fn every(kv: &dyn Kv, table: &str, prefix: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let range = Range::prefix(prefix);
        let range = match entries.last() {
            Some(last) => range.after(last.key.clone()),
            None => range,
        };
        let page = kv.list(table, &range).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

/// The answer of what is asked for but not built.
fn not_yet<T>(what: &str) -> Result<T> {
    Err(Error::not_implemented(format!("{what} is not available in this version of micro")))
}
