//! What is registered now, in memory: namespaces, services, versions, nodes and their leases.
//! Calls are routed by it, so reading takes a lock for a moment and touches no disk. Who looks
//! through all of it does so beside the readers; the lock of who changes it is held for one version
//! at a time.

mod changes;
mod space;
mod version;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use micro_sdk::{Result, prost::Message as _, proto::registry::Service, schema};

use self::{
    changes::Changes,
    space::{Space, Versions, listed},
    version::{Lease, Version},
};
use super::{
    node::{Health, Node},
    places::Places,
};
use crate::{
    backlog::{Follower, Lost},
    names,
};

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
    pub(crate) namespace: Arc<str>,
    pub(crate) service: Arc<Service>,
}

/// Where a call can go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The version they are of, as it is registered.
    pub(crate) service: Arc<Service>,
}

/// Why a call can go nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Service,
    Version,
    Ready,
    /// All nodes have not answered for a while.
    Healthy,
}

type Spaces = HashMap<Arc<str>, Space>;

/// Where a version stands.
struct Position {
    namespace: Arc<str>,
    name: String,
    label: String,
}

/// The registered services of all namespaces.
#[derive(Debug)]
pub(crate) struct Catalog {
    places: Arc<Places>,
    spaces: RwLock<Spaces>,
    next_age: AtomicU64,
    changes: Changes,
}

impl Catalog {
    /// An empty one, of a server whose nodes are in these places.
    pub(crate) fn new(places: Arc<Places>) -> Self {
        let changes = Changes::new();
        Self { places, spaces: RwLock::default(), next_age: AtomicU64::default(), changes }
    }

    /// Registers the nodes of a service, or renews their leases, and brings everything known of
    /// the version up to date. `described` says whether its schema is here already.
    ///
    /// # Errors
    /// 409 for a name that looks like another one, 507 when the service has too much of something.
    pub(crate) fn register(
        &self,
        namespace: &str,
        mut service: Service,
        lease: Option<Duration>,
        described: bool,
    ) -> Result<()> {
        let until = lease.map(|lease| Instant::now() + lease);
        let arriving = service.encoded_len();
        let nodes = std::mem::take(&mut service.nodes);
        let described = described && !service.descriptor_hash.is_empty();
        let (name, label) = (service.name.clone(), service.version.clone());
        let mut spaces = self.write();
        if let Some(space) = spaces.get(namespace) {
            space.check_look(&name)?;
            space.check_room(&name, &label, &nodes, arriving)?;
        }
        let namespace: Arc<str> = namespace.into();
        let space = spaces.entry(namespace.clone()).or_default();
        if !space.services.contains_key(&name) {
            space.looks.extend(names::looks(&name).map(|look| (look, name.clone())));
        }
        let versions = space.services.entry(name).or_default();
        let mut action = None;
        let version = versions.entry(label).or_insert_with(|| {
            action = Some(Action::Create);
            let age = self.next_age.fetch_add(1, Ordering::Relaxed);
            let wire = Arc::new(Service::default());
            Version { wire, bytes: 0, described: false, age, nodes: BTreeMap::new() }
        });
        let before = if action.is_some() { 0 } else { listed(version.bytes, &namespace) };
        let same = version.wire.metadata == service.metadata
            && version.wire.endpoints == service.endpoints
            && version.wire.descriptor_hash == service.descriptor_hash
            && version.described == described;
        if !same || action.is_some() {
            version.wire = Arc::new(service);
            version.described = described;
            action = action.or(Some(Action::Update));
        }
        for node in nodes {
            match version.nodes.get_mut(&node.id) {
                Some(known) if known.node.is(&node) => known.until = until,
                _ => {
                    action = action.or(Some(Action::Update));
                    let id = node.id.clone();
                    version.nodes.insert(id, Lease { node: Node::new(node, &self.places), until });
                }
            }
        }
        if let Some(action) = action {
            let service = version.refresh();
            let after = listed(version.bytes, &namespace);
            space.bytes = (space.bytes + after).saturating_sub(before);
            // Under the lock, here and below, so that changes are told in their order.
            self.changes.tell(Change { action, namespace, service });
        }
        Ok(())
    }

    /// The schema with this hash has arrived: the versions that wait for it become ready.
    pub(crate) fn described(&self, hash: &str) {
        let waits = |version: &Version| version.wire.descriptor_hash == hash && !version.described;
        for position in self.find(None, None, |_, version| waits(version)) {
            self.change(&position, |version| {
                if !waits(version) {
                    return None;
                }
                version.described = true;
                Some((Action::Update, version.refresh()))
            });
        }
    }

    /// The schema with this hash cannot be used: the versions that wait for it are called without one.
    pub(crate) fn undescribed(&self, hash: &str, why: &str) {
        let waits = |version: &Version| version.wire.descriptor_hash == hash && !version.described;
        for position in self.find(None, None, |_, version| waits(version)) {
            self.change(&position, |version| {
                if !waits(version) {
                    return None;
                }
                refuse(Arc::make_mut(&mut version.wire), why);
                Some((Action::Update, version.refresh()))
            });
        }
    }

    /// Whether a service of a namespace, or any of it, has promised the schema with this hash.
    pub(crate) fn has_promised(&self, namespace: &str, name: Option<&str>, hash: &str) -> bool {
        !self.find(Some(namespace), name, |_, version| version.wire.descriptor_hash == hash).is_empty()
    }

    /// The hashes of the schemas that are promised.
    pub(crate) fn promised(&self) -> HashSet<String> {
        hashes(self.read().values().flat_map(|space| space.services.values()))
    }

    /// Those of a namespace, or of one service there.
    pub(crate) fn promised_in(&self, namespace: &str, name: Option<&str>) -> HashSet<String> {
        let spaces = self.read();
        let services = spaces.get(namespace).into_iter().flat_map(|space| &space.services);
        let named = services.filter(|(known, _)| name.is_none_or(|name| name == *known));
        hashes(named.map(|(_, versions)| versions))
    }

    /// Takes nodes out; unknown ones are no error.
    pub(crate) fn deregister(&self, namespace: &str, service: &Service) {
        let ids: HashSet<&str> = service.nodes.iter().map(|node| node.id.as_str()).collect();
        let label = Some(service.version.as_str()).filter(|label| !label.is_empty());
        self.remove(Some(namespace), Some(&service.name), label, |node, _| ids.contains(&*node.id));
    }

    /// Takes out the nodes of a service that say they are this instance. Another service may say so too.
    pub(crate) fn deregister_instance(&self, namespace: &str, name: &str, instance: &str) {
        self.remove(Some(namespace), Some(name), None, |node, _| {
            node.metadata.get("instance").is_some_and(|own| own == instance)
        });
    }

    /// Takes out the nodes of a version that do not say which instance they are.
    pub(crate) fn deregister_unmarked(&self, namespace: &str, name: &str, version: &str) {
        let unmarked = |node: &Node, _: &Lease| !node.metadata.contains_key("instance");
        self.remove(Some(namespace), Some(name), Some(version), unmarked);
    }

    /// Takes out a node; one that has registered again since is another.
    pub(crate) fn take_out(&self, node: &Arc<Node>) {
        self.remove(None, None, None, |_, lease| Arc::ptr_eq(&lease.node, node));
    }

    /// Sends no calls to a node any more, and shows why, until it registers again.
    pub(crate) fn refuse(&self, node: &Arc<Node>, why: String) {
        if !node.refuse(why) {
            return;
        }
        let has = |version: &Version| {
            version.nodes.get(&node.id).is_some_and(|lease| Arc::ptr_eq(&lease.node, node))
        };
        for position in self.find(None, None, |_, version| has(version)) {
            self.change(&position, |version| has(version).then(|| (Action::Update, version.refresh())));
        }
    }

    /// Notes how a node of a version answers.
    pub(crate) fn note_health(&self, namespace: &str, name: &str, version: &str, node: &str, health: Health) {
        let spaces = self.read();
        let versions = spaces.get(namespace).and_then(|space| space.services.get(name));
        let lease = versions.and_then(|versions| versions.get(version)?.nodes.get(node));
        if let Some(lease) = lease {
            lease.node.note_health(health);
        }
    }

    /// Takes out the nodes whose lease has ended.
    pub(crate) fn expire(&self, now: Instant) {
        self.remove(None, None, None, |_, lease| lease.until.is_some_and(|until| until <= now));
    }

    /// Whether any version of a service is registered, ready or not.
    pub(crate) fn knows(&self, namespace: &str, name: &str) -> bool {
        self.read().get(namespace).is_some_and(|space| space.services.contains_key(name))
    }

    /// Whether an endpoint answers with a stream, as far as its registration says: in any version, as in
    /// Micro v4.
    pub(crate) fn is_stream(&self, namespace: &str, name: &str, endpoint: &str) -> bool {
        let spaces = self.read();
        let versions = spaces.get(namespace).and_then(|space| space.services.get(name));
        let versions = versions.into_iter().flat_map(BTreeMap::values);
        let mut endpoints = versions.flat_map(|version| &version.wire.endpoints);
        endpoints.any(|known| {
            known.name == endpoint && known.metadata.get("stream").is_some_and(|stream| stream == "true")
        })
    }

    /// Where a call to this service, and this version if one is named, can go. Nodes to which none
    /// may be sent are among them only when there are no others.
    pub(crate) fn route(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Target, Missing> {
        let spaces = self.read();
        let versions =
            spaces.get(namespace).and_then(|space| space.services.get(name)).ok_or(Missing::Service)?;
        let version = match version {
            Some(label) => versions.get(label).ok_or(Missing::Version)?,
            None => versions
                .values()
                .filter(|version| version.ready())
                .max_by_key(|version| (version.nodes.values().any(Lease::takes_calls), version.age))
                .ok_or(Missing::Ready)?,
        };
        if !version.ready() {
            return Err(Missing::Ready);
        }
        let nodes = version.callable().ok_or(Missing::Healthy)?;
        Ok(Target { nodes, service: version.wire.clone() })
    }

    /// Every version of a service, the newest first.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Vec<Service> {
        self.collect(namespace, Some(name))
    }

    /// Every version of every service of a namespace; of all with `*`.
    pub(crate) fn list(&self, namespace: &str) -> Vec<Service> {
        self.collect(namespace, None)
    }

    /// The same, with nothing but what tells the versions apart.
    pub(crate) fn list_briefly(&self, namespace: &str) -> Vec<Service> {
        let found = self.find_wire(namespace, None);
        found.iter().map(|(namespace, service)| in_domain(&brief(service), namespace)).collect()
    }

    /// Waits for the next change of a service.
    pub(crate) async fn next_change(changes: &mut Follower<Change>, namespace: &str, name: &str) {
        loop {
            match changes.next().await {
                Ok(change) if &*change.namespace == namespace && change.service.name == name => return,
                Ok(_) => {}
                // Those that were missed may have concerned it.
                Err(Lost::Missed(_)) => return,
                Err(Lost::Ended) => std::future::pending().await,
            }
        }
    }

    /// The changes of a namespace from now on; of all with `*`.
    pub(crate) fn watch(&self, namespace: &str) -> Follower<Change> {
        self.changes.follow(namespace)
    }

    /// Services with their namespace in the metadata. They are copied when the lock is free again.
    fn collect(&self, namespace: &str, name: Option<&str>) -> Vec<Service> {
        let found = self.find_wire(namespace, name);
        found.iter().map(|(namespace, service)| in_domain(service, namespace)).collect()
    }

    /// The versions of a namespace, or of all with `*`, and of one service if it is named, the newest first.
    fn find_wire(&self, namespace: &str, name: Option<&str>) -> Vec<(Arc<str>, Arc<Service>)> {
        let mut found = Vec::new();
        let spaces = self.read();
        for (at, space) in spaces.iter().filter(|(at, _)| namespace == "*" || &***at == namespace) {
            let named = name.into_iter().filter_map(|name| space.services.get(name));
            let every = space.services.values().filter(|_| name.is_none());
            for versions in named.chain(every) {
                let mut versions: Vec<_> = versions.values().collect();
                versions.sort_by_key(|version| Reverse(version.age));
                found.extend(versions.into_iter().map(|version| (at.clone(), version.wire.clone())));
            }
        }
        found
    }

    /// Where the wanted versions stand, of one namespace and of one service if they are named. Calls
    /// are routed meanwhile.
    fn find(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
        wanted: impl Fn(&str, &Version) -> bool,
    ) -> Vec<Position> {
        let spaces = self.read();
        let mut found = Vec::new();
        for (at, space) in
            spaces.iter().filter(|(at, _)| namespace.is_none_or(|named| named == "*" || &***at == named))
        {
            let named = name.and_then(|name| space.services.get_key_value(name));
            let every = space.services.iter().filter(|_| name.is_none());
            for (name, versions) in named.into_iter().chain(every) {
                let wanted = versions.iter().filter(|(label, version)| wanted(label, version));
                found.extend(wanted.map(|(label, _)| {
                    let (name, label) = (name.clone(), label.clone());
                    Position { namespace: at.clone(), name, label }
                }));
            }
        }
        found
    }

    /// Removes nodes, then what is left empty, and tells the watchers.
    fn remove(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
        label: Option<&str>,
        gone: impl Fn(&Node, &Lease) -> bool,
    ) {
        let gone = |lease: &Lease| gone(&lease.node, lease);
        let wanted = |at: &str, version: &Version| {
            label.is_none_or(|label| label == at) && version.nodes.values().any(&gone)
        };
        for position in self.find(namespace, name, wanted) {
            self.change(&position, |version| {
                let removed: Vec<_> = version.nodes.extract_if(.., |_, lease| gone(lease)).collect();
                let removed: Vec<_> = removed.into_iter().map(|(_, lease)| lease).collect();
                if removed.is_empty() {
                    return None;
                }
                version.refresh();
                let action = if version.nodes.is_empty() { Action::Delete } else { Action::Update };
                Some((action, version.with(&removed)))
            });
        }
    }

    /// Changes one version under the lock, and tells it.
    fn change(&self, position: &Position, edit: impl FnOnce(&mut Version) -> Option<(Action, Arc<Service>)>) {
        let Position { namespace, name, label } = position;
        let mut spaces = self.write();
        // It may have gone since it was found.
        let Some(space) = spaces.get_mut(namespace) else { return };
        let Some(version) = space.version(name, label) else { return };
        let before = listed(version.bytes, namespace);
        let Some((action, service)) = edit(version) else { return };
        let (is_empty, after) = (version.nodes.is_empty(), listed(version.bytes, namespace));
        space.bytes = (space.bytes + if is_empty { 0 } else { after }).saturating_sub(before);
        if is_empty {
            space.forget(name, label);
            if space.services.is_empty() {
                spaces.remove(namespace);
            }
        }
        self.changes.tell(Change { action, namespace: namespace.clone(), service });
    }

    fn read(&self) -> RwLockReadGuard<'_, Spaces> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Spaces> {
        self.spaces.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hashes of the schemas that versions of services promise.
fn hashes<'a>(services: impl Iterator<Item = &'a Versions>) -> HashSet<String> {
    let hashes = services.flat_map(BTreeMap::values).map(|version| &version.wire.descriptor_hash);
    hashes.filter(|hash| !hash.is_empty()).cloned().collect()
}

/// Takes the hash of descriptors that cannot be used from a service, which is then called without them, and says why.
pub(super) fn refuse(service: &mut Service, why: &str) {
    service.descriptor_hash.clear();
    service.metadata.insert(schema::REFUSED.to_owned(), why.to_owned());
}

/// What tells a version of a service apart from others.
fn brief(service: &Service) -> Service {
    let Service { name, version, descriptor_hash, ready, .. } = service;
    let (name, version, descriptor_hash) = (name.clone(), version.clone(), descriptor_hash.clone());
    Service { name, version, descriptor_hash, ready: *ready, ..Service::default() }
}

/// A service as it is answered and watched: it tells its namespace.
pub(super) fn in_domain(service: &Service, namespace: &str) -> Service {
    let mut service = service.clone();
    service.metadata.insert("domain".to_owned(), namespace.to_owned());
    service
}

#[cfg(test)]
mod tests;
