//! One running instance of a service, as the server calls it.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use micro_sdk::{Channel, NODE_REFUSED, proto::registry::Node as WireNode};

use super::places::Places;

/// One running instance of a service: an address and the connection to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) channel: Channel,
    in_flight: AtomicUsize,
    /// Why no call is sent to it, until it registers again.
    pub(super) refusal: OnceLock<String>,
}

impl Node {
    pub(super) fn new(node: WireNode, places: &Arc<Places>) -> Arc<Self> {
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

    pub(super) fn is(&self, node: &WireNode) -> bool {
        self.address == node.address && self.metadata == node.metadata && self.refusal().is_none()
    }

    pub(super) fn wire(&self) -> WireNode {
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
