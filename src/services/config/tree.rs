//! A tree of settings: objects, and at their ends values. Each node knows the revision of the last
//! change at or below it. Nothing here knows where trees are kept, or who may read them.
//!
//! Trees share what they have in common, so a copy costs nothing until one of the two is changed.

use std::{collections::BTreeMap, sync::Arc};

use micro_sdk::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::path::{Path, keys, push};

pub(super) type Children = BTreeMap<String, Arc<Node>>;

/// A part of a tree. Its first field is the revision of the last change at or below it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Node {
    #[serde(rename = "o")]
    Object(u64, Children),
    /// JSON that is no object; an array is one value.
    #[serde(rename = "v")]
    Value(u64, Arc<str>),
    /// Such JSON, encrypted.
    #[serde(rename = "s")]
    Secret(u64, Arc<str>),
}

/// A place in a tree, and what stood there before and after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) path: String,
    pub(super) before: Option<Arc<Node>>,
    pub(super) after: Option<Arc<Node>>,
}

/// How the encrypted value at a path is shown, as JSON.
pub(super) type Open<'a> = &'a (dyn Fn(&str, &str) -> Result<String> + Sync);

impl Node {
    /// The tree of a namespace nothing was ever stored in.
    pub(super) fn nothing() -> Self {
        Self::Object(0, Children::new())
    }

    /// The node of a JSON value at `path`; `leaf` makes what is no object.
    ///
    /// # Errors
    /// 400 for a key that no path can name, and what `leaf` fails with.
    pub(super) fn build(
        value: Value,
        revision: u64,
        path: &Path,
        leaf: &dyn Fn(&str, String) -> Result<Self>,
    ) -> Result<Self> {
        let Value::Object(members) = value else {
            return leaf(path.as_str(), value.to_string());
        };
        let mut children = Children::new();
        for (key, value) in members {
            let node = Self::build(value, revision, &path.child(&key)?, leaf)?;
            children.insert(key, Arc::new(node));
        }
        Ok(Self::Object(revision, children))
    }

    /// The revision of the last change at or below it.
    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Object(revision, _) | Self::Value(revision, _) | Self::Secret(revision, _) => *revision,
        }
    }

    /// The node at a path below this one.
    pub(super) fn at<'a>(self: &'a Arc<Self>, path: &str) -> Option<&'a Arc<Self>> {
        keys(path).try_fold(self, |node, key| match &**node {
            Self::Object(_, children) => children.get(key),
            Self::Value(..) | Self::Secret(..) => None,
        })
    }

    /// Where the way to a path ends before it, and in what: a value that has no keys. `null` is as good
    /// as nothing.
    pub(super) fn end_above<'a>(self: &Arc<Self>, path: &'a str) -> Option<(&'a str, &'static str)> {
        let mut node = self;
        for (end, _) in path.match_indices('.') {
            let above = &path[..end];
            let Self::Object(_, children) = &**node else { return None };
            node = children.get(above.rsplit('.').next().unwrap_or(above))?;
            match &**node {
                Self::Object(..) => {}
                Self::Secret(..) => return Some((above, "a secret")),
                Self::Value(_, text) => {
                    return match text.as_bytes().first() {
                        Some(b'n') => None,
                        Some(b'[') => Some((above, "an array")),
                        Some(b'"') => Some((above, "a text")),
                        Some(b't' | b'f') => Some((above, "true or false")),
                        _ => Some((above, "a number")),
                    };
                }
            }
        }
        None
    }

    /// Whether what is put at a path takes the place of a secret, or of something that has one in it.
    pub(super) fn is_secret(self: &Arc<Self>, path: &str) -> bool {
        let mut node = self;
        for key in keys(path) {
            let Self::Object(_, children) = &**node else { break };
            match children.get(key) {
                Some(below) => node = below,
                None => return false,
            }
        }
        node.holds_secret()
    }

    fn holds_secret(&self) -> bool {
        match self {
            Self::Secret(..) => true,
            Self::Value(..) => false,
            Self::Object(_, children) => children.values().any(|child| child.holds_secret()),
        }
    }

    /// Puts a node at a path of this tree: objects are merged, all else replaces what is there. What
    /// it replaced is returned, nothing if an empty object was merged with another object.
    pub(super) fn set(self: &mut Arc<Self>, path: &str, node: Self) -> Vec<Slot> {
        let revision = node.revision();
        let wrapped = keys(path).rev().fold(node, |node, key| {
            Self::Object(revision, Children::from([(key.to_owned(), Arc::new(node))]))
        });
        let mut slots = Vec::new();
        if let (Some(object), Self::Object(_, members)) = (object(self), wrapped) {
            merge(object, members, revision, &mut String::new(), &mut slots);
        }
        slots
    }

    /// Takes away what stands at a path of this tree, and the objects it leaves empty.
    pub(super) fn delete(self: &mut Arc<Self>, path: &str, revision: u64) -> Option<Slot> {
        let mut cut = 0;
        let mut node = &*self;
        for (index, key) in keys(path).enumerate() {
            let Self::Object(_, children) = &**node else { return None };
            if children.len() > 1 {
                cut = index;
            }
            node = children.get(key)?;
        }
        let mut at = String::new();
        let mut place = self;
        for (index, key) in keys(path).enumerate() {
            let (own, children) = object(place)?;
            *own = revision;
            push(&mut at, key);
            if index == cut {
                return Some(Slot { path: at, before: children.remove(key), after: None });
            }
            place = children.get_mut(key)?;
        }
        None
    }

    /// Puts a node at a path, or takes away what is there, and nothing else: no merging.
    pub(super) fn put(self: &mut Arc<Self>, path: &str, new: Option<Arc<Self>>) {
        let (above, last) = path.rsplit_once('.').unwrap_or(("", path));
        let mut place = self;
        for key in keys(above) {
            let Some(below) = object(place).and_then(|(_, children)| children.get_mut(key)) else { return };
            place = below;
        }
        if let Some((_, children)) = object(place) {
            match new {
                Some(node) => drop(children.insert(last.to_owned(), node)),
                None => drop(children.remove(last)),
            }
        }
    }

    /// Writes it as JSON, with the keys in order. `path` is where it stands.
    ///
    /// # Errors
    /// What `open` fails with.
    pub(super) fn write(&self, path: &mut String, open: Open<'_>, out: &mut String) -> Result<()> {
        match self {
            Self::Value(_, text) => out.push_str(text),
            Self::Secret(_, sealed) => out.push_str(&open(path, sealed)?),
            Self::Object(_, children) => {
                for (index, (key, child)) in children.iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    out.push_str(&Value::from(key.as_str()).to_string());
                    out.push(':');
                    let length = path.len();
                    push(path, key);
                    child.write(path, open, out)?;
                    path.truncate(length);
                }
                out.push_str(if children.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }

    /// Visits all that has nothing below it, empty objects too, in the order of the paths.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub(super) fn leaves(
        &self,
        path: &mut String,
        visit: &mut dyn FnMut(&mut String, &Self) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Object(_, children) if !children.is_empty() => {
                for (key, child) in children {
                    let length = path.len();
                    push(path, key);
                    child.leaves(path, visit)?;
                    path.truncate(length);
                }
                Ok(())
            }
            Self::Object(..) | Self::Value(..) | Self::Secret(..) => visit(path, self),
        }
    }
}

/// The revision and the children of an object, to change.
fn object(node: &mut Arc<Node>) -> Option<(&mut u64, &mut Children)> {
    if !matches!(**node, Node::Object(..)) {
        return None;
    }
    match Arc::make_mut(node) {
        Node::Object(revision, children) => Some((revision, children)),
        Node::Value(..) | Node::Secret(..) => None,
    }
}

fn merge(
    (own, children): (&mut u64, &mut Children),
    members: Children,
    revision: u64,
    at: &mut String,
    slots: &mut Vec<Slot>,
) {
    let known = slots.len();
    for (key, node) in members {
        let length = at.len();
        push(at, &key);
        let below = children.get_mut(&key).and_then(object);
        if let (Some(object), Node::Object(_, members)) = (below, &*node) {
            merge(object, members.clone(), revision, at, slots);
        } else {
            let before = children.insert(key, node.clone());
            slots.push(Slot { path: at.clone(), before, after: Some(node) });
        }
        at.truncate(length);
    }
    if slots.len() > known {
        *own = revision;
    }
}
