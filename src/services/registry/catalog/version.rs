//! A version of a service in the catalog, with its nodes and their leases.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use micro_sdk::{
    prost::Message,
    proto::registry::{Node as WireNode, Service},
};

use crate::services::registry::node::{Health, Node};

/// A node and the end of its lease; none for what does not expire.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) node: Arc<Node>,
    pub(super) until: Option<Instant>,
}

impl Lease {
    /// Calls may be sent to the node.
    pub(super) fn takes_calls(&self) -> bool {
        self.node.refusal().is_none()
    }
}

/// A version of a service: how it is answered, and where it runs.
#[derive(Debug)]
pub(super) struct Version {
    /// As it is answered; what asks for it shares it.
    pub(super) wire: Arc<Service>,
    /// Its bytes on the wire.
    pub(super) bytes: usize,
    pub(super) described: bool,
    pub(super) age: u64,
    pub(super) nodes: BTreeMap<String, Lease>,
}

impl Version {
    /// Nodes can be called: there are some, and the schema they promised has arrived.
    pub(super) fn ready(&self) -> bool {
        !self.nodes.is_empty() && (self.described || self.wire.descriptor_hash.is_empty())
    }

    /// Brings what is answered up to date with the nodes.
    pub(super) fn refresh(&mut self) -> Arc<Service> {
        let ready = self.ready();
        let service = Arc::make_mut(&mut self.wire);
        service.nodes = self.nodes.values().map(|lease| lease.node.wire()).collect();
        service.ready = ready;
        self.bytes = service.encoded_len();
        self.wire.clone()
    }

    /// The bytes of what a registration with these nodes takes the place of.
    pub(super) fn replaced_by(&self, nodes: &[WireNode]) -> usize {
        let ids: HashSet<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
        let stays = self.wire.nodes.iter().filter(|node| !ids.contains(node.id.as_str()));
        self.bytes.saturating_sub(stays.map(Message::encoded_len).sum())
    }

    /// The same service, with these nodes.
    pub(super) fn with(&self, nodes: &[Lease]) -> Arc<Service> {
        let mut service = Service { nodes: Vec::new(), ..(*self.wire).clone() };
        service.nodes = nodes.iter().map(|lease| lease.node.wire()).collect();
        Arc::new(service)
    }

    /// The nodes to call: those that answer best, and those to which no call may be sent only when
    /// there are no others. None when all have not answered for a while.
    pub(super) fn callable(&self) -> Option<Vec<Arc<Node>>> {
        let any = self.nodes.values().any(Lease::takes_calls);
        let takes_calls = |lease: &&Lease| !any || lease.takes_calls();
        let nodes = || self.nodes.values().filter(takes_calls).map(|lease| &lease.node);
        let best = nodes().map(|node| node.health()).min().unwrap_or(Health::Good);
        if best == Health::Bad {
            return None;
        }
        Some(nodes().filter(|node| node.health() == best).cloned().collect())
    }
}
