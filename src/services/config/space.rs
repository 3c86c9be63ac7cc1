//! The tree of one namespace: in memory for reads, in the database for good. Changes are
//! made one after the other, each in one commit with its entry in the history.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use micro_sdk::{Error, Result};
use tokio::sync::{Mutex, watch};

use super::{
    change::Change,
    tree::{Node, Slot},
};
use crate::{
    backend::{Commit, Entry, Kv},
    services::{encode, every},
};

/// The trees, by namespace.
pub(super) const TREES: &str = "config";
/// What was changed, by namespace and revision.
const HISTORY: &str = "config-history";
/// Changes of a tree that are kept.
pub(super) const MAX_CHANGES: usize = 1000;
/// Bytes of changes of a tree that are kept; the last change always is.
const MAX_CHANGES_BYTES: usize = 8 << 20;
/// Bytes of a tree as it is stored.
pub(super) const MAX_TREE: usize = 8 << 20;

/// A namespace and its tree.
pub(super) struct Space {
    namespace: String,
    kv: Arc<dyn Kv>,
    /// The version of the stored tree, none if none is stored. Locked while the tree changes.
    stored: Mutex<Option<u64>>,
    state: RwLock<State>,
    revision: watch::Sender<u64>,
}

struct State {
    tree: Arc<Node>,
    /// None until it is needed.
    history: Option<History>,
}

/// The last changes with their stored sizes, without a gap up to the present.
#[derive(Default)]
struct History {
    changes: VecDeque<(Arc<Change>, usize)>,
    bytes: usize,
}

/// What happened after a revision, and the tree as it is now.
pub(super) struct Since {
    pub(super) tree: Arc<Node>,
    /// None if the history does not reach back.
    pub(super) changes: Option<Vec<Arc<Change>>>,
}

impl Space {
    /// A namespace that has nothing stored.
    pub(super) fn empty(namespace: &str, kv: Arc<dyn Kv>) -> Self {
        Self::with(namespace.to_owned(), kv, Node::nothing(), None)
    }

    /// A namespace with the tree that is stored for it.
    ///
    /// # Errors
    /// 500 for a tree that is damaged.
    pub(super) fn stored(namespace: &str, entry: &Entry, kv: Arc<dyn Kv>) -> Result<Self> {
        match serde_json::from_slice(&entry.value) {
            Ok(tree @ Node::Object(..)) => {
                Ok(Self::with(namespace.to_owned(), kv, tree, Some(entry.version)))
            }
            Ok(Node::Value(..) | Node::Secret(..)) | Err(_) => Err(Error::internal(format!(
                "the stored config of namespace {namespace} is damaged: restore the database from a backup"
            ))),
        }
    }

    fn with(namespace: String, kv: Arc<dyn Kv>, tree: Node, stored: Option<u64>) -> Self {
        Self {
            namespace,
            kv,
            stored: Mutex::new(stored),
            revision: watch::Sender::new(tree.revision()),
            state: RwLock::new(State { tree: Arc::new(tree), history: None }),
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // What is behind this lock is replaced whole, so a panic elsewhere cannot have torn it.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree as it is now.
    pub(super) fn tree(&self) -> Arc<Node> {
        self.state().tree.clone()
    }

    /// Changes each time the tree has changed.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Changes the tree: `edit` is given a copy and the revision it will have, and returns what it
    /// replaced; nothing means that there is nothing to do. Returns the revision of the tree.
    ///
    /// It must not be dropped half-way, or memory and database would disagree.
    ///
    /// # Errors
    /// What `edit` fails with; 413 for a tree over the limit; the database fails.
    pub(super) async fn change(
        &self,
        path: &str,
        edit: impl FnOnce(&mut Arc<Node>, u64) -> Result<Vec<Slot>> + Send,
    ) -> Result<u64> {
        let mut stored = self.stored.lock().await;
        self.load_history_of(*stored).await?;
        let mut tree = self.tree();
        let revision = tree.revision() + 1;
        let slots = edit(&mut tree, revision)?;
        let key = self.namespace.as_bytes();
        let commit = match *stored {
            Some(version) => Commit::new().require_version(TREES, key, version),
            None => Commit::new().require_absent(TREES, key),
        };
        if slots.is_empty() {
            // After a failure the database may be in doubt of what it holds: it has to be sure of it.
            self.kv.commit(commit).await?;
            return Ok(revision - 1);
        }
        let change = Change { revision, path: path.to_owned(), slots };
        let (value, record) = (encode(&tree)?, encode(&change)?);
        if value.len() > MAX_TREE {
            return Err(Error::too_large(format!(
                "the config of namespace {} would have {} bytes; the limit is {MAX_TREE}",
                self.namespace,
                value.len()
            )));
        }
        let mut commit = commit.put(TREES, key, value);
        let forgotten = self.forgotten(record.len());
        for change in &forgotten {
            commit = commit.delete(HISTORY, self.history_key(change.revision));
        }
        let size = record.len();
        *stored = Some(self.kv.commit(commit.put(HISTORY, self.history_key(revision), record)).await?);

        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.tree = tree;
        let history = state.history.get_or_insert_default();
        for _ in forgotten {
            history.bytes -= history.changes.pop_front().map_or(0, |(_, size)| size);
        }
        history.changes.push_back((Arc::new(change), size));
        history.bytes += size;
        drop(state);
        self.revision.send_replace(revision);
        Ok(revision)
    }

    /// The changes that have to go when one of this size comes.
    fn forgotten(&self, size: usize) -> Vec<Arc<Change>> {
        let state = self.state();
        let Some(History { changes, bytes }) = &state.history else { return Vec::new() };
        let (mut count, mut bytes) = (changes.len() + 1, bytes + size);
        let has_to_go = |(_, size): &&(Arc<Change>, usize)| {
            let goes = count > MAX_CHANGES || bytes > MAX_CHANGES_BYTES;
            (count, bytes) = (count - 1, bytes - size);
            goes
        };
        changes.iter().take_while(has_to_go).map(|(change, _)| change.clone()).collect()
    }

    /// What happened after a revision.
    pub(super) fn since(&self, after: u64) -> Since {
        let state = self.state();
        let tree = state.tree.clone();
        let newer = tree.revision().checked_sub(after).and_then(|count| usize::try_from(count).ok());
        let changes = newer.and_then(|newer| {
            let known = state.history.as_ref().map_or(0, |history| history.changes.len());
            let skipped = known.checked_sub(newer)?;
            let history = state.history.iter().flat_map(|history| &history.changes);
            Some(history.skip(skipped).map(|(change, _)| change.clone()).collect())
        });
        Since { tree, changes }
    }

    /// Reads the history, unless it is known.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) async fn load_history(&self) -> Result<()> {
        let stored = self.stored.lock().await;
        self.load_history_of(*stored).await
    }

    async fn load_history_of(&self, stored: Option<u64>) -> Result<()> {
        if stored.is_none() || self.state().history.is_some() {
            return Ok(());
        }
        let mut history = History::default();
        let mut next = None;
        for entry in every(&*self.kv, HISTORY, &format!("{}/", self.namespace)).await? {
            let change = serde_json::from_slice::<Change>(&entry.value);
            let change = change.ok().filter(|change| next.is_none_or(|next| next == change.revision));
            let Some(change) = change else {
                tracing::error!(namespace = self.namespace, "the history of the config is damaged");
                (history, next) = (History::default(), None);
                continue;
            };
            next = Some(change.revision + 1);
            history.bytes += entry.value.len();
            history.changes.push_back((Arc::new(change), entry.value.len()));
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if next.is_some_and(|next| next != state.tree.revision() + 1) {
            history = History::default();
        }
        state.history = Some(history);
        Ok(())
    }

    fn history_key(&self, revision: u64) -> Vec<u8> {
        format!("{}/{revision:016x}", self.namespace).into_bytes()
    }
}
