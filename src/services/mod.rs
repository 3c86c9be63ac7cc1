//! The building blocks: each takes a request apart, applies its rules and calls its backend.
//!
//! A building block is added by a .proto file, a service module, and two lines in [`Blocks::open`].

mod absent;
pub(crate) mod auth;
pub(crate) mod config;
pub(crate) mod methods;
pub(crate) mod registry;
pub(crate) mod runtime;
pub(crate) mod secrets;
pub(crate) mod store;
pub(crate) mod transfers;

use std::{path::PathBuf, sync::Arc, time::Duration};

use micro_sdk::{Error, Result, Router, handler::Handler};
use serde::Serialize;

use crate::{
    backend::{self, Database, Entry, Kv, Range},
    names,
    tasks::Tasks,
};

/// The namespace the building blocks live in, and whose administrators may enter every other.
pub(crate) const PLATFORM: &str = names::DEFAULT_NAMESPACE;

/// The namespace whose rules decide about a call: that of the platform for a building block, which serves
/// every namespace, else that of the service.
pub(crate) const fn rules_of(is_block: bool, namespace: &str) -> &str {
    if is_block { PLATFORM } else { namespace }
}

/// What is stored of a value, as JSON.
///
/// # Errors
/// 500 for a value that JSON has no form for.
fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal(format!("cannot be stored: {error}")))
}

/// What the building blocks are opened with.
pub(crate) struct Settings {
    /// Where their state is kept, all of it but for files.
    pub(crate) database: Arc<dyn Database>,
    /// The folder for their files: keys, blobs, what is being restored. It must be there.
    pub(crate) folder: PathBuf,
    /// Where nodes of services may be.
    pub(crate) places: registry::Places,
    pub(crate) runtime: runtime::Settings,
    /// How many file descriptors the process may have.
    pub(crate) descriptors: usize,
}

/// Every building block behind its router, and what the server needs of some to route calls.
pub(crate) struct Blocks {
    pub(crate) auth: auth::Auth,
    pub(crate) registry: registry::Registry,
    pub(crate) runtime: runtime::Runtime,
    secrets: Arc<secrets::Secrets>,
    database: Arc<dyn Database>,
    routers: [(&'static str, Router); 8],
    tasks: Tasks,
}

impl Blocks {
    /// Opens all of them. No service runs until [`runtime::Runtime::restore`].
    ///
    /// # Errors
    /// A key, a folder or what is stored cannot be read.
    pub(crate) async fn open(settings: Settings) -> anyhow::Result<Arc<Self>> {
        let Settings { database, folder, places, runtime, descriptors } = settings;
        let (tasks, kv): (_, Arc<dyn Kv>) = (Tasks::default(), database.clone());
        let keys = folder.join("keys");
        let auth = auth::Auth::open(&database, &keys, &tasks).await?;
        let secrets = Arc::new(secrets::Secrets::open(&keys, std::env::var_os(secrets::VARIABLE))?);
        let transfers = transfers::Transfers::of_files(descriptors);
        let config = config::Config::open(kv.clone(), auth.clone(), secrets.clone(), &tasks).await?;
        let network = &runtime.server.network;
        let registry = registry::Registry::open(kv.clone(), network, places, &tasks).await?;
        let runtime = runtime::Runtime::open(
            runtime,
            kv.clone(),
            secrets.clone(),
            auth.clone(),
            registry.clone(),
            transfers.clone(),
            &tasks,
        )
        .await?;
        let blobs = backend::open_blobs(backend::address("files", &folder.join("blobs"))).await?;
        let store = store::Store::open(kv, blobs, auth.clone(), &folder, transfers, &tasks);
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
        Ok(Arc::new(Self { auth, registry, runtime, secrets, database, routers, tasks }))
    }

    /// The building block of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Router> {
        self.routers.iter().find(|(block, _)| *block == name).map(|(_, router)| router)
    }

    /// Looks after what they keep: what is wrong with the database, and with each key, which is written
    /// again where its file was removed.
    pub(crate) fn look(&self) -> [anyhow::Result<()>; 3] {
        let database = self.database.trouble().map_or(Ok(()), |error| Err(error.into()));
        [database, self.auth.keep_keys(), self.secrets.keep_key()]
    }

    /// Ends the streams that follow changes: their calls would hold the server up.
    pub(crate) fn end_streams(&self) {
        self.tasks.end_streams();
    }

    /// Stops every service and what goes on in the background, which may take so long, and closes the
    /// database.
    pub(crate) async fn close(&self, limit: Duration) {
        self.runtime.stop().await;
        self.tasks.stop(limit).await;
        self.database.close().await;
    }
}

/// The namespace a request means: the one it names, else `micro`.
///
/// # Errors
/// As [`namespace_or`].
pub(crate) fn namespace_or_default(named: &str) -> Result<&str> {
    namespace_or(named, PLATFORM)
}

/// The namespace a request means: the one it names, else another.
///
/// # Errors
/// 400 for what cannot be one. Keys of what is stored begin with it: the account `y` of `shop/x` would be the
/// account `x/y` of `shop`.
fn namespace_or<'a>(named: &'a str, otherwise: &'a str) -> Result<&'a str> {
    let namespace = if named.is_empty() { otherwise } else { named };
    names::check_namespace(namespace).map_err(|e| Error::bad_request(e.to_string()))?;
    Ok(namespace)
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
