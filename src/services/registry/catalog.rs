//! What is registered now, in memory: namespaces, services, versions, nodes and their leases.
//! Calls are routed by it, so reading takes a lock for a moment and touches no disk.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use micro_sdk::{
    Channel, NODE_REFUSED,
    proto::registry::{Endpoint, Node as WireNode, Service},
};
use tokio::sync::broadcast::{self, error::RecvError};

use super::places::Places;

/// How many changes a watcher may be behind before it has to start again.
const WATCH_BACKLOG: usize = 4096;

/// One running instance of a service: an address and the connection to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) channel: Channel,
    in_flight: AtomicUsize,
    /// Why no call is sent to it, until it registers again.
    refusal: OnceLock<String>,
}

impl Node {
    fn new(node: WireNode, places: &Arc<Places>) -> Arc<Self> {
        let channel = places.channel(&node.address);
        Arc::new(Self {
            id: node.id,
            address: node.address,
            metadata: node.metadata,
            channel,
            in_flight: AtomicUsize::new(0),
            refusal: OnceLock::new(),
        })
    }

    /// Counts a call as being under way, until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Calls that are under way.
    pub(crate) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Why no call is sent to it, although it is registered.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.get().map(String::as_str)
    }

    fn is(&self, node: &WireNode) -> bool {
        self.address == node.address && self.metadata == node.metadata && self.refusal().is_none()
    }

    fn wire(&self) -> WireNode {
        let mut metadata = self.metadata.clone();
        metadata.extend(self.refusal().map(|why| (NODE_REFUSED.to_owned(), why.to_owned())));
        WireNode { id: self.id.clone(), address: self.address.clone(), metadata, ..WireNode::default() }
    }
}

/// A call under way on a node.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Node>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A node and the end of its lease; none for what does not expire.
#[derive(Clone, Debug)]
struct Lease {
    node: Arc<Node>,
    until: Option<Instant>,
}

impl Lease {
    fn takes_calls(&self) -> bool {
        self.node.refusal().is_none()
    }
}

#[derive(Debug)]
struct Version {
    metadata: HashMap<String, String>,
    endpoints: Vec<Endpoint>,
    descriptor_hash: String,
    described: bool,
    age: u64,
    nodes: Vec<Lease>,
}

impl Version {
    /// Nodes can be called: there are some, and the schema they promised has arrived.
    fn ready(&self) -> bool {
        !self.nodes.is_empty() && (self.described || self.descriptor_hash.is_empty())
    }

    fn wire(&self, name: &str, version: &str) -> Service {
        Service {
            name: name.to_owned(),
            version: version.to_owned(),
            metadata: self.metadata.clone(),
            endpoints: self.endpoints.clone(),
            nodes: self.nodes.iter().map(|lease| lease.node.wire()).collect(),
            descriptor_hash: self.descriptor_hash.clone(),
            ready: self.ready(),
            options: None,
        }
    }
}

/// What happened to a version of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Update,
    Delete,
}

/// A change, as watchers see it. `service` holds the nodes the change is about.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) action: Action,
    pub(crate) namespace: String,
    pub(crate) service: Service,
}

/// Where a call can go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The schema; none for services that registered without one.
    pub(crate) descriptor_hash: Option<String>,
}

/// Why a call can go nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Service,
    Version,
    Ready,
}

type Versions = BTreeMap<String, Version>;
type Services = BTreeMap<String, Versions>;

/// The registered services of all namespaces.
#[derive(Debug)]
pub(crate) struct Catalog {
    places: Arc<Places>,
    namespaces: RwLock<HashMap<String, Services>>,
    next_age: AtomicU64,
    changes: broadcast::Sender<Change>,
}

impl Catalog {
    /// An empty one, of a server whose nodes are in these places.
    pub(crate) fn new(places: Arc<Places>) -> Self {
        Self {
            places,
            namespaces: RwLock::default(),
            next_age: AtomicU64::default(),
            changes: broadcast::Sender::new(WATCH_BACKLOG),
        }
    }

    /// Registers the nodes of a service, or renews their leases, and brings everything known of
    /// the version up to date. `described` says whether its schema is here already.
    pub(crate) fn register(
        &self,
        namespace: &str,
        service: Service,
        lease: Option<Duration>,
        described: bool,
    ) {
        let until = lease.map(|lease| Instant::now() + lease);
        let Service { name, version: label, metadata, endpoints, nodes, descriptor_hash, .. } = service;
        self.edit(|namespaces| {
            let versions =
                namespaces.entry(namespace.to_owned()).or_default().entry(name.clone()).or_default();
            let mut action = None;
            let version = versions.entry(label.clone()).or_insert_with(|| {
                action = Some(Action::Create);
                Version {
                    metadata: HashMap::new(),
                    endpoints: Vec::new(),
                    descriptor_hash: String::new(),
                    described: false,
                    age: self.next_age.fetch_add(1, Ordering::Relaxed),
                    nodes: Vec::new(),
                }
            });
            let described = described && !descriptor_hash.is_empty();
            let same = version.metadata == metadata
                && version.endpoints == endpoints
                && version.descriptor_hash == descriptor_hash
                && version.described == described;
            if !same {
                (version.metadata, version.endpoints) = (metadata, endpoints);
                (version.descriptor_hash, version.described) = (descriptor_hash, described);
                action = action.or(Some(Action::Update));
            }
            for node in nodes {
                match version.nodes.iter_mut().find(|known| known.node.id == node.id) {
                    Some(known) if known.node.is(&node) => known.until = until,
                    Some(known) => {
                        *known = Lease { node: Node::new(node, &self.places), until };
                        action = action.or(Some(Action::Update));
                    }
                    None => {
                        version.nodes.push(Lease { node: Node::new(node, &self.places), until });
                        action = action.or(Some(Action::Update));
                    }
                }
            }
            let change = action.map(|action| (action, version.wire(&name, &label)));
            change
                .map(|(action, service)| Change { action, namespace: namespace.to_owned(), service })
                .into_iter()
                .collect()
        });
    }

    /// The schema with this hash has arrived: the versions that wait for it become ready.
    pub(crate) fn described(&self, hash: &str) {
        self.edit(|namespaces| {
            let mut changes = Vec::new();
            for (namespace, name, label, version) in all(namespaces) {
                if version.descriptor_hash == hash && !version.described {
                    version.described = true;
                    let service = version.wire(name, label);
                    changes.push(Change { action: Action::Update, namespace: namespace.clone(), service });
                }
            }
            changes
        });
    }

    /// Takes nodes out; unknown ones are no error.
    pub(crate) fn deregister(&self, namespace: &str, service: &Service) {
        self.remove(|at, name, label, lease| {
            at == namespace
                && name == service.name
                && (service.version.is_empty() || label == service.version)
                && service.nodes.iter().any(|node| node.id == lease.node.id)
        });
    }

    /// Takes out every node that carries this pair in its metadata, wherever it is.
    pub(crate) fn deregister_by_metadata(&self, namespace: &str, key: &str, value: &str) {
        self.remove(|at, _, _, lease| {
            at == namespace && lease.node.metadata.get(key).is_some_and(|v| v == value)
        });
    }

    /// Takes out the nodes of a version that do not say which instance they are.
    pub(crate) fn deregister_unmarked(&self, namespace: &str, name: &str, version: &str) {
        self.remove(|at, service, label, lease| {
            at == namespace
                && service == name
                && label == version
                && !lease.node.metadata.contains_key("instance")
        });
    }

    /// Takes out a node; one that has registered again since is another.
    pub(crate) fn take_out(&self, node: &Arc<Node>) {
        self.remove(|_, _, _, lease| Arc::ptr_eq(&lease.node, node));
    }

    /// Sends no calls to a node any more, and shows why, until it registers again.
    pub(crate) fn refuse(&self, node: &Arc<Node>, why: String) {
        if node.refusal.set(why).is_err() {
            return;
        }
        self.edit(|namespaces| {
            let is_its = |version: &Version| version.nodes.iter().any(|lease| Arc::ptr_eq(&lease.node, node));
            let holder = all(namespaces).find(|(.., version)| is_its(version));
            let update = |(namespace, name, label, version): (&String, &String, &String, &mut Version)| {
                let (namespace, service) = (namespace.clone(), version.wire(name, label));
                Change { action: Action::Update, namespace, service }
            };
            holder.map(update).into_iter().collect()
        });
    }

    /// Takes out the nodes whose lease has ended.
    pub(crate) fn expire(&self, now: Instant) {
        self.remove(|_, _, _, lease| lease.until.is_some_and(|until| until <= now));
    }

    /// Where a call to this service, and this version if one is named, can go. Nodes to which none
    /// may be sent are among them only when there are no others.
    pub(crate) fn route(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Target, Missing> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let versions =
            namespaces.get(namespace).and_then(|services| services.get(name)).ok_or(Missing::Service)?;
        let version = match version {
            Some(label) => versions.get(label).ok_or(Missing::Version)?,
            None => versions
                .values()
                .filter(|version| version.ready())
                .max_by_key(|version| (version.nodes.iter().any(Lease::takes_calls), version.age))
                .ok_or(Missing::Ready)?,
        };
        if !version.ready() {
            return Err(Missing::Ready);
        }
        let any = version.nodes.iter().any(Lease::takes_calls);
        let nodes = version.nodes.iter().filter(|lease| !any || lease.takes_calls());
        let nodes = nodes.map(|lease| lease.node.clone()).collect();
        let descriptor_hash = Some(version.descriptor_hash.clone()).filter(|hash| !hash.is_empty());
        Ok(Target { nodes, descriptor_hash })
    }

    /// Every version of a service, the newest first.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Vec<Service> {
        self.read(|at, service| at == namespace && service == name)
    }

    /// Every version of every service of a namespace; of all with `*`.
    pub(crate) fn list(&self, namespace: &str) -> Vec<Service> {
        self.read(|at, _| namespace == "*" || at == namespace)
    }

    /// Waits on a receiver of changes for the next one of a service.
    pub(crate) async fn next_change(changes: &mut broadcast::Receiver<Change>, namespace: &str, name: &str) {
        loop {
            match changes.recv().await {
                Ok(change) if change.namespace == namespace && change.service.name == name => return,
                Ok(_) => {}
                // Those that were missed may have concerned it.
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// The changes from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn read(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<Service> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (namespace, services) in namespaces.iter() {
            for (name, versions) in services.iter().filter(|(name, _)| wanted(namespace, name)) {
                let mut versions: Vec<_> = versions.iter().collect();
                versions.sort_by_key(|(_, version)| Reverse(version.age));
                found.extend(versions.into_iter().map(|(label, version)| {
                    let mut service = version.wire(name, label);
                    service.metadata.insert("domain".to_owned(), namespace.clone());
                    service
                }));
            }
        }
        found
    }

    /// Removes nodes, then what is left empty, and tells the watchers.
    fn remove(&self, gone: impl Fn(&str, &str, &str, &Lease) -> bool) {
        self.edit(|namespaces| {
            let mut changes = Vec::new();
            for (namespace, name, label, version) in all(namespaces) {
                let (removed, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut version.nodes)
                    .into_iter()
                    .partition(|l| gone(namespace, name, label, l));
                version.nodes = kept;
                if !removed.is_empty() {
                    let action = if version.nodes.is_empty() { Action::Delete } else { Action::Update };
                    let mut service = version.wire(name, label);
                    service.nodes = removed.iter().map(|lease| lease.node.wire()).collect();
                    changes.push(Change { action, namespace: namespace.clone(), service });
                }
            }
            if !changes.is_empty() {
                namespaces.retain(|_, services| {
                    services.retain(|_, versions| {
                        versions.retain(|_, version| !version.nodes.is_empty());
                        !versions.is_empty()
                    });
                    !services.is_empty()
                });
            }
            changes
        });
    }

    /// Edits under the lock and sends the changes in the order of the edits.
    fn edit(&self, edit: impl FnOnce(&mut HashMap<String, Services>) -> Vec<Change>) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        for change in edit(&mut namespaces) {
            // Nobody watching is no failure.
            drop(self.changes.send(change));
        }
    }
}

fn all(
    namespaces: &mut HashMap<String, Services>,
) -> impl Iterator<Item = (&String, &String, &String, &mut Version)> {
    namespaces.iter_mut().flat_map(|(namespace, services)| {
        services.iter_mut().flat_map(move |(name, versions)| {
            versions.iter_mut().map(move |(label, version)| (namespace, name, label, version))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(version: &str, node: &str, address: &str) -> Service {
        Service {
            name: "a".into(),
            version: version.into(),
            nodes: vec![WireNode { id: node.into(), address: address.into(), ..WireNode::default() }],
            ..Service::default()
        }
    }

    fn seen(changes: &mut broadcast::Receiver<Change>) -> Vec<(Action, String)> {
        std::iter::from_fn(|| changes.try_recv().ok()).map(|c| (c.action, c.service.version)).collect()
    }

    #[test]
    fn registering_again_updates_everything() {
        let catalog = Catalog::new(Arc::default());
        let mut changes = catalog.watch();
        catalog.register("n", service("1", "x", "h:1"), None, false);
        let mut moved = service("1", "x", "h:2");
        moved.metadata.insert("k".into(), "v".into());
        moved.endpoints.push(Endpoint { name: "A.B".into(), ..Endpoint::default() });
        catalog.register("n", moved, None, false);
        let found = catalog.get("n", "a").remove(0);
        assert_eq!((found.nodes[0].address.as_str(), found.endpoints.len()), ("h:2", 1));
        assert_eq!(found.metadata["k"], "v");
        assert_eq!(seen(&mut changes), [(Action::Create, "1".into()), (Action::Update, "1".into())]);
    }

    #[test]
    fn a_heartbeat_that_changes_nothing_is_not_announced() {
        let catalog = Catalog::new(Arc::default());
        catalog.register("n", service("1", "x", "h:1"), Some(Duration::from_secs(90)), false);
        let mut changes = catalog.watch();
        catalog.register("n", service("1", "x", "h:1"), Some(Duration::from_secs(90)), false);
        assert!(seen(&mut changes).is_empty());
    }

    #[test]
    fn the_end_of_a_lease_is_announced() {
        let catalog = Catalog::new(Arc::default());
        let now = Instant::now();
        catalog.register("n", service("1", "x", "h:1"), Some(Duration::from_secs(10)), false);
        catalog.register("n", service("1", "y", "h:2"), Some(Duration::from_secs(1000)), false);
        let mut changes = catalog.watch();
        catalog.expire(now);
        assert!(seen(&mut changes).is_empty());
        catalog.expire(now + Duration::from_mins(1));
        assert_eq!(seen(&mut changes), [(Action::Update, "1".into())]);
        catalog.expire(now + Duration::from_secs(2000));
        assert_eq!(seen(&mut changes), [(Action::Delete, "1".into())]);
        assert!(catalog.list("*").is_empty());
    }

    #[test]
    fn calls_go_to_the_newest_version_that_is_ready() {
        let catalog = Catalog::new(Arc::default());
        catalog.register("n", service("1", "x", "h:1"), None, false);
        let mut two = service("2", "y", "h:2");
        two.descriptor_hash = "hash".into();
        catalog.register("n", two, None, false);
        let to = |version| catalog.route("n", "a", version).map(|t| t.nodes[0].address.clone());
        assert_eq!(to(None), Ok("h:1".into()));
        assert_eq!(to(Some("2")), Err(Missing::Ready));
        catalog.described("hash");
        assert_eq!(to(None), Ok("h:2".into()));
        assert_eq!(to(Some("1")), Ok("h:1".into()));
        assert_eq!(to(Some("3")), Err(Missing::Version));
        assert_eq!(catalog.route("other", "a", None).unwrap_err(), Missing::Service);
    }

    #[test]
    fn namespaces_do_not_see_each_other() {
        let catalog = Catalog::new(Arc::default());
        catalog.register("n", service("1", "x", "h:1"), None, false);
        assert!(catalog.get("m", "a").is_empty() && catalog.list("m").is_empty());
        catalog.deregister("m", &service("1", "x", "h:1"));
        assert_eq!(catalog.list("*").len(), 1);
    }

    #[test]
    fn a_refused_node_is_called_by_nobody_until_it_registers_again() {
        let catalog = Catalog::new(Arc::default());
        catalog.register("n", service("1", "x", "h:1"), None, false);
        catalog.register("n", service("1", "y", "h:2"), None, false);
        let to = || -> Vec<String> {
            let nodes = catalog.route("n", "a", None).unwrap().nodes;
            nodes.iter().map(|node| format!("{} {}", node.id, node.refusal().unwrap_or_default())).collect()
        };
        let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
        let mut changes = catalog.watch();
        catalog.refuse(&node, "not ours".into());
        assert_eq!(seen(&mut changes), [(Action::Update, "1".into())]);
        assert_eq!(to(), ["y "]);
        assert_eq!(catalog.get("n", "a")[0].nodes[0].metadata[NODE_REFUSED], "not ours");
        catalog.deregister("n", &service("1", "y", "h:2"));
        assert_eq!(to(), ["x not ours"], "the last one tells why there is none");
        catalog.register("n", service("1", "x", "h:1"), None, false);
        assert_eq!(to(), ["x "]);
        catalog.take_out(&node);
        assert_eq!(to(), ["x "], "it is another one since it registered again");
        let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
        catalog.take_out(&node);
        assert_eq!(catalog.route("n", "a", None).unwrap_err(), Missing::Service);
    }

    #[test]
    fn a_refused_version_does_not_hide_an_older_one() {
        let catalog = Catalog::new(Arc::default());
        catalog.register("n", service("1", "x", "h:1"), None, false);
        catalog.register("n", service("2", "y", "h:2"), None, false);
        let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
        catalog.refuse(&node, "not ours".into());
        assert_eq!(catalog.route("n", "a", None).unwrap().nodes[0].id, "x");
        assert_eq!(catalog.route("n", "a", Some("2")).unwrap().nodes[0].id, "y");
    }

    #[test]
    fn a_node_knows_how_many_calls_it_serves() {
        let catalog = Catalog::new(Arc::default());
        catalog.register("n", service("1", "x", "h:1"), None, false);
        let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
        let guard = node.begin();
        assert_eq!(node.load(), 1);
        drop(guard);
        assert_eq!(node.load(), 0);
    }
}
