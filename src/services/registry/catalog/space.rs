//! The services of a namespace in the catalog, and how much there may be of them.

use std::collections::{BTreeMap, HashMap};

use micro_sdk::{Error, MESSAGE_LIMIT, Result, proto::registry::Node as WireNode};

use super::version::Version;
use crate::names;

/// How many versions one service has at a time.
pub(super) const MOST_VERSIONS: usize = 32;
/// How many nodes one version has.
pub(super) const MOST_NODES: usize = 256;
/// Bytes that the versions of one service take, with their nodes and endpoints.
const MOST_BYTES: usize = 4 << 20;
/// Bytes that all services of a namespace take, so that an answer has room for a list of them.
pub(super) const MOST_OF_SPACE: usize = MESSAGE_LIMIT / 4 * 3;

/// The versions of a service, by their names.
pub(super) type Versions = BTreeMap<String, Version>;

/// The services of a namespace.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) services: BTreeMap<String, Versions>,
    /// The names by what they look like.
    pub(super) looks: HashMap<String, String>,
    /// What a list of them takes on the wire.
    pub(super) bytes: usize,
}

/// What a version of so many bytes takes in a list, where it tells its namespace.
pub(super) fn listed(bytes: usize, namespace: &str) -> usize {
    bytes + namespace.len() + 16
}

impl Space {
    pub(super) fn version(&mut self, name: &str, label: &str) -> Option<&mut Version> {
        self.services.get_mut(name)?.get_mut(label)
    }

    /// Refuses a new name that looks like another one.
    pub(super) fn check_look(&self, name: &str) -> Result<()> {
        match names::looks(name).iter().find_map(|look| self.looks.get(look)) {
            Some(other) if !self.services.contains_key(name) => {
                Err(Error::conflict(names::Refused::Alike(name.to_owned(), other.clone()).to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what would make a service, or the namespace, have too much of something.
    pub(super) fn check_room(
        &self,
        name: &str,
        label: &str,
        nodes: &[WireNode],
        arriving: usize,
    ) -> Result<()> {
        let full = |text: String| Err(Error::new(507, text));
        let none = Versions::new();
        let versions = self.services.get(name).unwrap_or(&none);
        let known = versions.get(label);
        if known.is_none() && versions.len() >= MOST_VERSIONS {
            let text =
                format!("the service has {MOST_VERSIONS} versions, the most there can be: stop one first");
            return full(text);
        }
        let is_new = |id: &str| known.is_none_or(|version| !version.nodes.contains_key(id));
        let new = nodes.iter().filter(|node| is_new(&node.id)).count();
        if new + known.map_or(0, |version| version.nodes.len()) > MOST_NODES {
            return full(format!("a version of a service has {MOST_NODES} nodes at most"));
        }
        // What is there already is brought up to date in place.
        let replaced = || known.map_or(0, |version| version.replaced_by(nodes));
        let of_service = versions.values().map(|version| version.bytes).sum();
        for (present, most, what) in [
            (of_service, MOST_BYTES, "a service registers"),
            (self.bytes, MOST_OF_SPACE, "the services of a namespace register"),
        ] {
            let bytes: usize = present + arriving;
            if bytes > most && bytes.saturating_sub(replaced()) > most {
                return full(format!("what {what} takes {most} bytes at most"));
            }
        }
        Ok(())
    }

    /// Forgets a version without nodes, and what is left empty.
    pub(super) fn forget(&mut self, name: &str, label: &str) {
        let Some(versions) = self.services.get_mut(name) else { return };
        versions.remove(label);
        if versions.is_empty() {
            self.services.remove(name);
            for look in names::looks(name) {
                if self.looks.get(&look).is_some_and(|known| known == name) {
                    self.looks.remove(&look);
                }
            }
        }
    }
}
