//! One running instance of a service, as the server calls it.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicUsize, Ordering},
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
    refusal: OnceLock<String>,
    health: AtomicU8,
}

/// How a node answers those who look after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Health {
    /// It answers, or nobody looks after it.
    Good,
    /// It did not answer the last time: others are called first.
    Doubtful,
    /// It has not answered for a while: it is not called.
    Bad,
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
            health: AtomicU8::new(Health::Good as u8),
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

    /// Says that no call is to be sent to it, and why; false if that was said before.
    pub(super) fn refuse(&self, why: String) -> bool {
        self.refusal.set(why).is_ok()
    }

    /// Notes how it answers.
    pub(super) fn note_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }

    /// How it answered when it was looked after last.
    pub(super) fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Good,
            1 => Health::Doubtful,
            _ => Health::Bad,
        }
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
