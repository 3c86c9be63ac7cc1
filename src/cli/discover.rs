//! What services can be asked: their schemas from the registry, by descriptors that are kept on disk for
//! the next call.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use micro_sdk::{
    Error,
    blocks::registry::RegistryClient,
    proto::{
        DESCRIPTORS,
        registry::{
            DescriptorsRequest, GetRequest, ListRequest, Options, Service as Registered, Value as WireValue,
        },
    },
    schema as wire_schema,
};

use prost_reflect::DescriptorPool;

use super::{
    arrival::{self, Arrival},
    context::{Connection, Context},
    dynamic::{self, Descriptors, Schema, Service, Value},
    failure::{Failure, exit},
    ui::harmless,
};
use crate::{
    names::{self, BLOCKS, DEFAULT_NAMESPACE, purpose},
    private,
};

/// A service that was found, and where.
pub(super) struct Found {
    pub(super) schema: Schema,
    /// The namespace its calls go to.
    pub(super) namespace: String,
}

/// Finds a service: building blocks in their namespace, others in the user's, then in `micro`.
///
/// # Errors
/// 404 when nobody knows it, 503 when it does not run.
pub(super) async fn find(cx: &Context, connection: &Connection, name: &str) -> anyhow::Result<Found> {
    if BLOCKS.contains(&name) {
        // A building block serves every namespace, and works in the one of the call.
        return Ok(Found { schema: block(name)?, namespace: connection.namespace().to_owned() });
    }
    let own = connection.namespace().to_owned();
    match find_in(cx, connection, &own, name).await {
        Err(error) if own != DEFAULT_NAMESPACE && is_missing(&error) => {
            find_in(cx, connection, DEFAULT_NAMESPACE, name).await.map_err(|_| error)
        }
        result => result,
    }
}

/// Finds a service in one namespace; one that is on its way is waited for.
async fn find_in(
    cx: &Context,
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Found> {
    let registered = match get(connection, namespace, name).await {
        Err(missing) if missing.code == 404 => match arrival::of(cx, connection, namespace, name).await? {
            Arrival::Arrived => get(connection, namespace, name).await?,
            Arrival::Unknown => return Err(missing.into()),
        },
        result => result?,
    };
    found(cx, connection, registered, namespace).await
}

/// Nobody knows the service.
pub(super) fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.code == 404)
}

async fn get(connection: &Connection, namespace: &str, name: &str) -> Result<Vec<Registered>, Error> {
    let registry: RegistryClient = connection.block("registry");
    let options = Some(Options { domain: namespace.to_owned(), ..Options::default() });
    Ok(registry.get_service(GetRequest { service: name.to_owned(), options }).await?.services)
}

/// A service of the user's namespace as it is registered, in the version that is called.
///
/// # Errors
/// 404 when it is not registered.
pub(super) async fn registered(connection: &Connection, name: &str) -> anyhow::Result<Registered> {
    called(get(connection, connection.namespace(), name).await?)
}

/// The first version is the newest; one that is ready goes before one that is not.
fn called(mut all: Vec<Registered>) -> anyhow::Result<Registered> {
    all.sort_by_key(|service| !service.ready);
    all.into_iter().next().context("the registry answered without a service")
}

async fn found(
    cx: &Context,
    connection: &Connection,
    all: Vec<Registered>,
    namespace: &str,
) -> anyhow::Result<Found> {
    let registered = called(all)?;
    let schema = schema(cx, connection, &registered, namespace).await?;
    Ok(Found { schema, namespace: namespace.to_owned() })
}

pub(super) async fn schema(
    cx: &Context,
    connection: &Connection,
    service: &Registered,
    namespace: &str,
) -> anyhow::Result<Schema> {
    let hash = &service.descriptor_hash;
    if hash.is_empty() {
        return Ok(Schema::Whole(from_values(service)));
    }
    let set = match descriptors(cx, connection, hash, namespace).await {
        // It is called without: the registry found no use for them.
        Err(missing) if is_missing(&missing) && service.ready => {
            return Ok(Schema::Whole(from_values(service)));
        }
        Err(missing) if is_missing(&missing) => return Err(not_ready(&service.name)),
        result => result?,
    };
    described(set, &service.name, &service.version, Some(&from_values(service)))
        .context("the registry has damaged descriptors")
}

/// The messages of a service, by what it has registered; none where nothing says what they are.
pub(super) async fn pool(
    cx: &Context,
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> Option<DescriptorPool> {
    let registered = called(get(connection, namespace, name).await.ok()?).ok()?;
    let set = descriptors(cx, connection, &registered.descriptor_hash, namespace).await.ok()?;
    DescriptorPool::decode(set.as_slice()).ok()
}

/// Without its descriptors, a service gets no calls.
fn not_ready(name: &str) -> anyhow::Error {
    let text = format!(
        "service {name} is registered but not ready: it has not handed its descriptors to the registry"
    );
    Failure::new(exit::SERVICE_ERROR, text)
        .hint(format!(
            "try again in a moment; what keeps it from it is in its log, `micro logs {name}`, or in that of the server, `micro server logs`"
        ))
        .into()
}

/// The schema in a set of descriptors, with the endpoints that were registered; none if it is damaged.
pub(super) fn described(
    set: Vec<u8>,
    name: &str,
    version: &str,
    registered: Option<&Service>,
) -> Option<Schema> {
    let set = Descriptors::decode(set).ok()?;
    let names = |service: &Service| service.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    let (name, version) = (name.to_owned(), version.to_owned());
    let (about, registered) = (String::new(), registered.map(names));
    Some(Schema::Descriptors { set, name, version, about, registered })
}

/// Where descriptors of this hash are kept; none for what is no hash.
fn descriptors_file(cx: &Context, hash: &str) -> Option<PathBuf> {
    let is_hash = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| cx.home.cache.join("descriptors").join(hash))
}

pub(super) fn read_descriptors(cx: &Context, hash: &str) -> Option<Vec<u8>> {
    fs::read(descriptors_file(cx, hash)?).ok()
}

/// Descriptors by hash never change, so what was fetched once is on disk.
pub(super) async fn descriptors(
    cx: &Context,
    connection: &Connection,
    hash: &str,
    namespace: &str,
) -> anyhow::Result<Vec<u8>> {
    if let Some(set) = read_descriptors(cx, hash) {
        return Ok(set);
    }
    let registry: RegistryClient = connection.block("registry");
    let options = Some(Options { domain: namespace.to_owned(), ..Options::default() });
    let request = DescriptorsRequest { descriptor_hash: hash.to_owned(), options };
    let set = registry.descriptors(request).await?.descriptor_set;
    if let Some(path) = descriptors_file(cx, hash)
        && private::create_lasting_folder(&cx.home.cache.join("descriptors")).is_ok()
    {
        // A cache that cannot be written only costs time.
        drop(private::write_cache_file(&path, &set));
    }
    Ok(set)
}

pub(super) fn from_values(service: &Registered) -> Service {
    let endpoints: Vec<_> = service
        .endpoints
        .iter()
        .map(|endpoint| dynamic::Registered {
            name: &endpoint.name,
            metadata: &endpoint.metadata,
            request: endpoint.request.clone().map(value),
        })
        .collect();
    let refused = service.metadata.get(wire_schema::REFUSED).map_or("", String::as_str);
    Service::from_values(&service.name, &service.version, &endpoints, &harmless::line(refused))
}

fn value(wire: WireValue) -> Value {
    Value { name: wire.name, type_name: wire.r#type, values: wire.values.into_iter().map(value).collect() }
}

/// The schema of a building block, which this program knows by itself.
pub(super) fn block(name: &str) -> anyhow::Result<Schema> {
    // Two blocks may have handlers of the same name.
    let set = Descriptors::decode(DESCRIPTORS.to_vec())?.of_package(name);
    let (about, version) = (purpose(name).to_owned(), names::DEFAULT_VERSION.to_owned());
    Ok(Schema::Descriptors { set, name: name.to_owned(), version, about, registered: None })
}

/// The versions of the services of a namespace, in the order of their names, with all that they registered.
///
/// # Errors
/// The registry cannot be asked.
pub(super) async fn list(connection: &Connection, namespace: &str) -> anyhow::Result<Vec<Registered>> {
    ask(connection, namespace, false).await
}

/// The same, with nothing but what tells the versions apart.
///
/// # Errors
/// The registry cannot be asked.
pub(super) async fn list_briefly(
    connection: &Connection,
    namespace: &str,
) -> anyhow::Result<Vec<Registered>> {
    ask(connection, namespace, true).await
}

async fn ask(connection: &Connection, namespace: &str, brief: bool) -> anyhow::Result<Vec<Registered>> {
    let registry: RegistryClient = connection.block("registry");
    let options = Some(Options { domain: namespace.to_owned(), ..Options::default() });
    let mut services = registry.list_services(ListRequest { options, brief }).await?.services;
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(services)
}
