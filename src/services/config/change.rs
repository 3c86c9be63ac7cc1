//! A change of a tree, in a form that can be carried out again and taken back: what stood in each
//! place it touched, before and after.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    path::below,
    tree::{Node, Slot},
};

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Databases have trees and changes in these forms: they are read for ever, and written so.
    #[test]
    fn the_stored_forms_stay() {
        let tree = r#"{"o":[3,{"a":{"v":[2,"[1,null]"]},"b":{"o":[3,{"key":{"s":[3,"AbC="]}}]}}]}"#;
        let node: Node = serde_json::from_str(tree).unwrap();
        assert_eq!((node.revision(), serde_json::to_string(&node).unwrap().as_str()), (3, tree));
        let change =
            r#"{"revision":4,"path":"b","slots":[{"path":"b.key","before":{"s":[3,"AbC="]},"after":null}]}"#;
        let read: Change = serde_json::from_str(change).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), change);
    }
}
