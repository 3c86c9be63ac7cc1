//! The services that completion knows, kept on disk for when the server is away.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::{
        registry::Service as Registered,
        runtime::{ReadOptions, ReadRequest},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    context::{Connection, Context},
    discover,
    dynamic::{Schema, Service},
};
use crate::{config::LOCAL, names::BLOCKS, private};

/// In a namespace with more services than this only their names are fetched: what each of them can be
/// asked would take longer than a key press may.
const WHOLE: usize = 64;

/// What completion knows of an environment and namespace.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Known {
    pub(super) services: Vec<KnownService>,
    /// The names of the services that the runtime knows, registered or not.
    #[serde(default)]
    pub(super) run: Vec<String>,
}

/// A service that completion knows.
#[derive(Deserialize, Serialize)]
pub(super) struct KnownService {
    /// What it registered, its endpoints alone where it has descriptors; no endpoints where only its name is known.
    pub(super) service: Service,
    /// The hash of its descriptors, empty if it has none.
    pub(super) descriptor_hash: String,
}

impl KnownService {
    /// All that can be known of it.
    pub(super) fn schema(self, cx: &Context) -> Schema {
        let Self { service, descriptor_hash } = self;
        let registered = Some(&service).filter(|service| !service.endpoints.is_empty());
        let set = discover::read_descriptors(cx, &descriptor_hash);
        set.and_then(|set| discover::described(set, &service.name, &service.version, registered))
            .unwrap_or(Schema::Whole(service))
    }

    /// A service of which the name is known.
    fn named(service: &Registered) -> Self {
        let (name, version) = (service.name.clone(), service.version.clone());
        let descriptor_hash = service.descriptor_hash.clone();
        Self { service: Service { name, version, ..Service::default() }, descriptor_hash }
    }

    /// A service with what it can be asked.
    pub(super) async fn whole(cx: &Context, connection: &Connection, service: &Registered) -> Self {
        // Without its descriptors a service is still known by what it registered.
        match discover::schema(cx, connection, service, connection.namespace()).await {
            Ok(schema @ Schema::Descriptors { .. }) => {
                Self { service: schema.outline(true), descriptor_hash: service.descriptor_hash.clone() }
            }
            Ok(Schema::Whole(_)) | Err(_) => {
                Self { service: discover::from_values(service), descriptor_hash: String::new() }
            }
        }
    }

    /// Whether it is this version of the service, with these descriptors.
    fn is(&self, service: &Registered) -> bool {
        self.service.name == service.name
            && self.service.version == service.version
            && self.descriptor_hash == service.descriptor_hash
    }
}

/// Learns of the services of the user's namespace, which are listed in `brief`, and keeps what was learned.
///
/// # Errors
/// The registry cannot be asked what they can be asked.
pub(super) async fn learn(
    cx: &Context,
    connection: &Connection,
    brief: Vec<Registered>,
) -> anyhow::Result<Known> {
    let namespace = connection.namespace();
    let mut newest = newest(brief);
    let whole = newest.len() <= WHOLE;
    if whole && !newest.is_empty() {
        newest = self::newest(discover::list(connection, namespace).await?);
    }
    let mut known = remembered(cx);
    // One that does not run now keeps what it could be asked.
    known.run = run_before(connection, namespace).await.unwrap_or_default();
    let before = std::mem::take(&mut known.services);
    let mut before: BTreeMap<String, KnownService> =
        before.into_iter().map(|known| (known.service.name.clone(), known)).collect();
    for service in newest.values() {
        let before = before.remove(&service.name).filter(|known| known.is(service));
        known.services.push(match before {
            _ if whole => KnownService::whole(cx, connection, service).await,
            Some(before) => before,
            None => KnownService::named(service),
        });
    }
    let run: BTreeSet<&String> = known.run.iter().collect();
    let stopped = before.into_values().filter(|known| run.contains(&known.service.name));
    known.services.extend(stopped);
    let path = file(cx, namespace);
    if let Some(folder) = path.parent()
        && private::create_lasting_folder(folder).is_ok()
        && let Ok(text) = serde_json::to_vec(&known)
    {
        // A cache that cannot be written only costs time.
        drop(private::write_cache_file(&path, &text));
    }
    Ok(known)
}

/// The services by their names, each in its newest version, without the building blocks.
fn newest(services: Vec<Registered>) -> BTreeMap<String, Registered> {
    let mut newest = BTreeMap::new();
    for service in services {
        if !BLOCKS.contains(&service.name.as_str()) {
            newest.entry(service.name.clone()).or_insert(service);
        }
    }
    newest
}

/// The names of the services that the runtime knows, whether they run now or not.
///
/// # Errors
/// The runtime cannot be asked.
pub(super) async fn run_before(connection: &Connection, namespace: &str) -> anyhow::Result<Vec<String>> {
    let runtime: RuntimeClient = connection.block("runtime");
    let options = ReadOptions { namespace: namespace.to_owned(), ..ReadOptions::default() };
    let services = runtime.read(ReadRequest { options: Some(options) }).await?.services;
    let names: BTreeSet<String> = services.into_iter().map(|service| service.name).collect();
    Ok(names.into_iter().collect())
}

/// What was known last.
pub(super) fn remembered(cx: &Context) -> Known {
    let read = || -> anyhow::Result<Known> {
        let path = file(cx, &cx.namespace()?);
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    read().unwrap_or_default()
}

fn file(cx: &Context, namespace: &str) -> PathBuf {
    let environment = cx.environment().map_or_else(|_| LOCAL.to_owned(), |(name, _)| name);
    let safe =
        |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'), "_");
    cx.home.cache.join("services").join(format!("{}-{}.json", safe(&environment), safe(namespace)))
}
