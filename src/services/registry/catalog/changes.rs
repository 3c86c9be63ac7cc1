//! The changes of the registered services, for those who watch. Each namespace that somebody watches has a
//! row of its own, so that many changes of one push out none of another that was not read yet; those who
//! watch all of them have one too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use micro_sdk::prost::Message as _;

use super::Change;
use crate::backlog::{Backlog, Follower, Limits};

/// How many changes a watcher may be behind, and how many bytes they may have on the wire, before it
/// has to start again. All watchers of a namespace share them.
pub(super) const BACKLOG: Limits = Limits { count: 4096, bytes: 4 << 20 };
/// How many rows may have so many; where there are more, each has less.
const ROWS: usize = 16;

type Rows = HashMap<Arc<str>, Backlog<Change>>;

/// What has changed of late.
#[derive(Debug)]
pub(super) struct Changes {
    all: Backlog<Change>,
    rows: Mutex<Rows>,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self { all: Backlog::new(BACKLOG), rows: Mutex::default() }
    }

    /// Tells a change to those who watch.
    pub(super) fn tell(&self, change: Change) {
        let bytes = change.service.encoded_len();
        {
            let rows = self.rows();
            if let Some(row) = rows.get(&change.namespace) {
                let part = rows.len().div_ceil(ROWS);
                let limits = Limits { count: BACKLOG.count / part, bytes: BACKLOG.bytes / part };
                row.push_within(change.clone(), bytes, limits);
            }
        }
        self.all.push(change, bytes);
    }

    /// The changes of a namespace from now on; of all with `*`.
    pub(super) fn follow(&self, namespace: &str) -> Follower<Change> {
        if namespace == "*" {
            return self.all.follow();
        }
        let mut rows = self.rows();
        rows.retain(|_, row| row.is_followed());
        rows.entry(namespace.into()).or_insert_with(|| Backlog::new(BACKLOG)).follow()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use micro_sdk::proto::registry::Service;

    use super::{super::Action, *};
    use crate::backlog::Lost;

    fn change(namespace: &str, bytes: usize) -> Change {
        let service = Arc::new(Service { name: "s".repeat(bytes), ..Service::default() });
        Change { action: Action::Update, namespace: namespace.into(), service }
    }

    #[test]
    fn many_changes_of_a_namespace_push_out_none_of_another() {
        let changes = Changes::new();
        let (mut few, mut many) = (changes.follow("few"), changes.follow("many"));
        changes.tell(change("few", 10));
        for _ in 0..100 {
            changes.tell(change("many", 100_000));
        }
        assert_eq!(few.try_next().unwrap().unwrap().service.name.len(), 10);
        assert!(few.try_next().is_none());
        assert!(matches!(many.try_next(), Some(Err(Lost::Missed(missed))) if missed > 50));
        assert_eq!(&*many.try_next().unwrap().unwrap().namespace, "many");
    }

    #[test]
    fn all_rows_together_have_a_limit_and_go_with_those_who_follow() {
        let changes = Changes::new();
        let namespaces: Vec<String> = (0..10 * ROWS).map(|number| format!("n{number}")).collect();
        let followers: Vec<_> = namespaces.iter().map(|namespace| changes.follow(namespace)).collect();
        for namespace in &namespaces {
            for _ in 0..10 {
                changes.tell(change(namespace, 100_000));
            }
        }
        let kept: usize = followers
            .into_iter()
            .map(|mut follower| std::iter::from_fn(|| follower.try_next()).flatten().count())
            .sum();
        assert!(kept > 0 && kept * 100_000 <= ROWS * BACKLOG.bytes, "{kept}");
        let _last = changes.follow("last");
        assert_eq!(changes.rows().len(), 1);
    }
}
