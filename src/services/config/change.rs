//! A change of a tree, in a form that can be carried out again and taken back: what stood in each
//! place it touched, before and after.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{path::below, tree::Node};

/// One change of a tree.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    /// The revision of the tree after it.
    pub(super) revision: u64,
    /// The path that was set or deleted.
    pub(super) path: String,
    /// What it replaced. No slot stands above another.
    pub(super) slots: Vec<Slot>,
}

/// A place in a tree, and what stood there before and after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) path: String,
    pub(super) before: Option<Arc<Node>>,
    pub(super) after: Option<Arc<Node>>,
}

/// What stands at one path, as it was after a revision.
#[derive(Clone, Debug)]
pub(super) struct View {
    path: String,
    pub(super) node: Option<Arc<Node>>,
}

impl View {
    /// The view of a path of a tree.
    pub(super) fn new(path: &str, tree: &Arc<Node>) -> Self {
        Self { path: path.to_owned(), node: tree.at(path).cloned() }
    }

    /// Carries a change out; whether it is seen here.
    pub(super) fn redo(&mut self, change: &Change) -> bool {
        let mut seen = false;
        for slot in &change.slots {
            seen |= self.put(&slot.path, slot.after.as_ref());
        }
        seen
    }

    /// Takes a change back.
    pub(super) fn undo(&mut self, change: &Change) {
        for slot in &change.slots {
            self.put(&slot.path, slot.before.as_ref());
        }
    }

    fn put(&mut self, place: &str, new: Option<&Arc<Node>>) -> bool {
        if let Some(rest) = below(&self.path, place) {
            let new = new.and_then(|node| node.at(rest)).cloned();
            let seen = self.node.is_some() || new.is_some();
            self.node = new;
            return seen;
        }
        match (below(place, &self.path), &mut self.node) {
            (Some(rest), Some(node)) => {
                node.put(rest, new.cloned());
                true
            }
            (Some(_) | None, _) => false,
        }
    }
}
