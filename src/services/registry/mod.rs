//! The building block `registry`: which services run, where, and what they can be asked.

mod catalog;
mod descriptors;
mod limits;
mod node;
mod places;

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use micro_sdk::{
    Address, Context, Error, Result, Sender, blocks,
    handler::Handler,
    proto::registry::{
        DescribeRequest, DescriptorsRequest, DescriptorsResponse, EmptyResponse, GetRequest, GetResponse,
        ListRequest, ListResponse, Node, Options, Result as Event, Service, WatchRequest,
    },
};

use super::{PLATFORM, auth::Caller, namespace_or_default};
use crate::{backend::Kv, backlog::Lost, names, tasks::Tasks};

pub(crate) use catalog::Catalog;
use catalog::{Action, Change, in_domain, refuse};
pub(crate) use catalog::{Missing, Target};
pub(crate) use descriptors::Schema;
use descriptors::{Descriptors, STORED_OF_NAMESPACE, STORED_OF_SERVICE};
pub(crate) use node::{Health, InFlight, Node as CatalogNode};
pub(crate) use places::Places;

/// How often ended leases are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How often descriptors that no service has are looked for.
const SWEEP_DESCRIPTORS: Duration = Duration::from_mins(10);
/// The longest lease that is granted.
const MAX_LEASE: Duration = Duration::from_hours(24);

/// A handle on the registry, cheap to clone.
#[derive(Clone)]
pub(crate) struct Registry {
    tasks: Tasks,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) places: Arc<Places>,
    /// Held by who stores descriptors, or gives a service those that are stored: several at once would find
    /// the same room.
    storing: Arc<tokio::sync::Mutex<()>>,
}

impl Registry {
    /// Opens it, with the building blocks registered at `address`, and the nodes of services in
    /// these places.
    ///
    /// # Errors
    /// The stored descriptors cannot be read.
    pub(crate) async fn open(kv: Arc<dyn Kv>, address: &str, places: Places, tasks: &Tasks) -> Result<Self> {
        let places = Arc::new(places);
        let registry = Self {
            tasks: tasks.clone(),
            catalog: Arc::new(Catalog::new(places.clone())),
            descriptors: Arc::new(Descriptors::open(kv).await?),
            places,
            storing: Arc::default(),
        };
        if let Err(error) = registry.places.sweep().await {
            tracing::warn!(%error, "cannot look for sockets that services have left");
        }
        registry.register_blocks(address);
        let (swept, token) = (registry.clone(), tasks.token().clone());
        tasks.spawn(async move {
            let mut tick = tokio::time::interval(SWEEP);
            let mut descriptors = Instant::now();
            while token.run_until_cancelled(tick.tick()).await.is_some() {
                swept.catalog.expire(Instant::now());
                if descriptors.elapsed() >= SWEEP_DESCRIPTORS {
                    descriptors = Instant::now();
                    if let Err(error) = swept.descriptors.sweep(&swept.catalog.promised(), descriptors).await
                    {
                        tracing::warn!(%error, "cannot remove descriptors that no service has");
                    }
                }
            }
        });
        Ok(registry)
    }

    pub(crate) fn handlers(&self) -> Vec<Box<dyn Handler>> {
        vec![Box::new(blocks::registry::RegistryServer::new(self.clone()))]
    }

    /// No connection to a node came up: a dead one is taken out, one that is not proven to be of
    /// this user gets no calls. Any other failure may be over before its lease is. Whether it was
    /// taken out.
    pub(crate) async fn unreachable(&self, node: &Arc<CatalogNode>, error: &io::Error) -> bool {
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                self.catalog.take_out(node);
                if let Ok(Address::Unix(path)) = node.address.parse() {
                    self.places.sweep_socket(&path).await;
                }
                return true;
            }
            ErrorKind::PermissionDenied => {
                tracing::warn!(node = node.id, address = node.address, %error, "a node gets no calls");
                self.catalog.refuse(node, error.to_string());
            }
            _ => {}
        }
        false
    }

    /// Refuses a service of a namespace, or whichever services have promised them, descriptors of so many bytes
    /// where those of all its versions, or of the namespace, would be too many.
    ///
    /// # Errors
    /// 507 with words.
    async fn check_descriptors(
        &self,
        namespace: &str,
        name: Option<&str>,
        (hash, bytes): (&str, usize),
    ) -> Result<()> {
        if let Some(name) = name {
            let held = self.catalog.promised_in(namespace, Some(name));
            let holder = format!("service {name}");
            self.descriptors.check_room(&holder, &held, (hash, bytes), STORED_OF_SERVICE).await?;
        }
        let held = self.catalog.promised_in(namespace, None);
        let holder = format!("namespace {namespace}");
        self.descriptors.check_room(&holder, &held, (hash, bytes), STORED_OF_NAMESPACE).await
    }

    fn register_blocks(&self, address: &str) {
        let endpoints = micro_sdk::schema::endpoints_of(micro_sdk::proto::DESCRIPTORS);
        for name in names::BLOCKS {
            let own = endpoints.iter().filter(|(package, _)| package == name);
            let service = Service {
                name: name.to_owned(),
                version: names::DEFAULT_VERSION.to_owned(),
                endpoints: own.map(|(_, endpoint)| endpoint.clone()).collect(),
                nodes: vec![Node {
                    id: format!("{name}-server"),
                    address: address.to_owned(),
                    ..Node::default()
                }],
                ..Service::default()
            };
            // The catalog is empty and the names are our own.
            drop(self.catalog.register(PLATFORM, service, None, false));
        }
    }
}

/// The namespace an `options` message names.
///
/// # Errors
/// 400 for what cannot be one.
fn domain(options: Option<&Options>) -> Result<&str> {
    namespace_or_default(options.map_or("", |options| options.domain.as_str()))
}

/// The same for who only reads, also of all namespaces: `*`.
///
/// # Errors
/// As [`domain`].
fn domain_to_read(options: Option<&Options>) -> Result<&str> {
    match options {
        Some(options) if options.domain == "*" => Ok("*"),
        options => domain(options),
    }
}

impl blocks::registry::Registry for Registry {
    async fn get_service(&self, cx: Context, request: GetRequest) -> Result<GetResponse> {
        let namespace = domain_to_read(request.options.as_ref())?;
        Caller::of(&cx).may_enter(namespace)?;
        let services = self.catalog.get(namespace, &request.service);
        if services.is_empty() {
            return Err(Error::not_found(format!(
                "service {} is not registered in namespace {namespace}",
                names::shown(&request.service)
            )));
        }
        Ok(GetResponse { services })
    }

    async fn list_services(&self, cx: Context, request: ListRequest) -> Result<ListResponse> {
        let namespace = domain_to_read(request.options.as_ref())?;
        Caller::of(&cx).may_enter(namespace)?;
        let services =
            if request.brief { self.catalog.list_briefly(namespace) } else { self.catalog.list(namespace) };
        Ok(ListResponse { services })
    }

    async fn register(&self, cx: Context, mut service: Service) -> Result<EmptyResponse> {
        let options = service.options.take();
        let namespace = domain(options.as_ref())?.to_owned();
        Caller::of(&cx).may_register(&namespace, &service.name)?;
        limits::check(&mut service)?;
        for node in &service.nodes {
            let named = |error: Error| {
                let detail = format!("node `{}` of service {}: {}", node.id, service.name, error.detail);
                Error::new(error.code, detail)
            };
            self.places.check(&node.address).map_err(named)?;
        }
        let lease = options.map_or(0, |options| options.ttl);
        let lease = u64::try_from(lease)
            .map_err(|_| Error::bad_request(format!("a lease of {lease} s: it cannot be negative")))?;
        let lease = (lease != 0).then(|| Duration::from_secs(lease).min(MAX_LEASE));
        if let Some(why) = self.descriptors.unusable(&service.descriptor_hash) {
            refuse(&mut service, &why);
        }
        let described = self.descriptors.has(&service.descriptor_hash);
        let descriptors_needed = !described && !service.descriptor_hash.is_empty();
        let _storing;
        if described && !self.catalog.has_promised(&namespace, Some(&service.name), &service.descriptor_hash)
        {
            _storing = self.storing.lock().await;
            let hash = &service.descriptor_hash;
            let bytes = self.descriptors.size(hash).await?;
            self.check_descriptors(&namespace, Some(&service.name), (hash, bytes)).await?;
        }
        self.catalog.register(&namespace, service, lease, described)?;
        Ok(EmptyResponse { descriptors_needed })
    }

    async fn describe(&self, cx: Context, request: DescribeRequest) -> Result<EmptyResponse> {
        let (namespace, caller) = (domain(request.options.as_ref())?, Caller::of(&cx));
        caller.may_enter(namespace)?;
        let own = caller.service_of(namespace);
        if own.is_none() {
            caller.may_administer(namespace)?;
        }
        if !self.catalog.has_promised(namespace, own, &request.descriptor_hash) {
            let hash = names::shown(&request.descriptor_hash);
            return Err(Error::bad_request(format!(
                "no service of this account has registered descriptors with hash {hash}: register it first"
            )));
        }
        let hash = request.descriptor_hash;
        let _storing = self.storing.lock().await;
        self.check_descriptors(namespace, own, (&hash, request.descriptor_set.len())).await?;
        let stored = self.descriptors.put(&hash, request.descriptor_set).await;
        if let Some(why) = self.descriptors.unusable(&hash) {
            self.catalog.undescribed(&hash, &why);
        }
        stored?;
        self.catalog.described(&hash);
        self.descriptors.sweep(&self.catalog.promised(), Instant::now()).await?;
        Ok(EmptyResponse::default())
    }

    async fn descriptors(&self, cx: Context, request: DescriptorsRequest) -> Result<DescriptorsResponse> {
        let namespace = domain_to_read(request.options.as_ref())?;
        Caller::of(&cx).may_enter(namespace)?;
        if !self.catalog.has_promised(namespace, None, &request.descriptor_hash) {
            let hash = names::shown(&request.descriptor_hash);
            let text = format!("no service of namespace {namespace} has descriptors with hash {hash}");
            return Err(Error::not_found(text));
        }
        let descriptor_set = self.descriptors.bytes(&request.descriptor_hash).await?.to_vec();
        Ok(DescriptorsResponse { descriptor_set })
    }

    async fn deregister(&self, cx: Context, service: Service) -> Result<EmptyResponse> {
        let namespace = domain(service.options.as_ref())?;
        Caller::of(&cx).may_register(namespace, &service.name)?;
        self.catalog.deregister(namespace, &service);
        Ok(EmptyResponse::default())
    }

    async fn watch(&self, cx: Context, request: WatchRequest, replies: Sender<Event>) -> Result<()> {
        let namespace = domain_to_read(request.options.as_ref())?;
        Caller::of(&cx).may_enter(namespace)?;
        let mut changes = self.catalog.watch(namespace);
        loop {
            let change = match self.tasks.until_streams_end(changes.next()).await {
                Some(Ok(change)) => change,
                None | Some(Err(Lost::Ended)) => return Ok(()),
                Some(Err(Lost::Missed(missed))) => {
                    return Err(Error::unavailable(format!(
                        "{missed} changes were missed, since they were not read: list again, then watch again"
                    )));
                }
            };
            let wanted = (namespace == "*" || namespace == &*change.namespace)
                && (request.service.is_empty() || request.service == change.service.name);
            if wanted {
                replies.send(event(&change)).await?;
            }
        }
    }
}

fn event(change: &Change) -> Event {
    let action = match change.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    let service = in_domain(&change.service, &change.namespace);
    Event { action: action.to_owned(), service: Some(service), timestamp: 0 }
}
