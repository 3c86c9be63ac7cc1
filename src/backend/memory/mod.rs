//! State that is gone with the process: for tests and for servers that keep nothing. Same rules as
//! the database, by the same conformance suite; it is not a cache of it.

mod logs;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use self::logs::Records;
use super::{
    Commit, Entry, Error, Kv, Range, Scan,
    clock::Clock,
    commit::{Change, Operation},
    expiry,
    range::{Page, names},
};

/// Expired entries removed for good with each commit; more than a commit usually adds.
const SWEPT_PER_COMMIT: usize = 64;

/// Tables in memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    state: Mutex<State>,
    clock: Clock,
}

type Table = BTreeMap<Vec<u8>, Stored>;

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<String, Table>,
    /// When, in which table, which key; in the order in which they expire.
    expiries: BTreeSet<(i64, String, Vec<u8>)>,
    version: u64,
    logs: BTreeMap<String, Records>,
    closed: bool,
}

#[derive(Debug)]
struct Stored {
    value: Bytes,
    version: u64,
    expires: Option<i64>,
}

#[async_trait]
impl Kv for Memory {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Entry>, Error> {
        let state = self.open_state()?;
        Ok(state.live(table, key, self.clock.now()).map(|stored| stored.entry(key, false)))
    }

    async fn list(&self, table: &str, range: &Range) -> Result<Vec<Entry>, Error> {
        let state = self.open_state()?;
        let Some(table) = state.tables.get(table) else {
            return Ok(Vec::new());
        };
        let now = self.clock.now();
        let bounds = range.bounds();
        if range.entries() == 0 || bounds.end.as_ref().is_some_and(|end| *end <= bounds.start) {
            return Ok(Vec::new());
        }
        let found = table.range::<[u8], _>((
            Bound::Included(bounds.start.as_slice()),
            bounds.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        ));
        Ok(if range.is_descending() { page(found.rev(), range, now) } else { page(found, range, now) })
    }

    async fn commit(&self, commit: Commit) -> Result<u64, Error> {
        commit.validate()?;
        let mut state = self.open_state()?;
        let now = self.clock.now();
        commit.check(|table, key| state.live(table, key, now).map(|stored| stored.version))?;
        if !commit.operations.is_empty() {
            state.version += 1;
        }
        for operation in commit.operations {
            state.apply(operation, now);
        }
        state.sweep(now);
        Ok(state.version)
    }

    async fn tables(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let state = self.open_state()?;
        let now = self.clock.now();
        let found = state.named(prefix).filter(|(_, table)| table.values().any(|stored| stored.is_live(now)));
        Ok(found.map(|(name, _)| name.clone()).collect())
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, Error> {
        let state = self.open_state()?;
        let now = self.clock.now();
        let entries = state.named(prefix).flat_map(|(name, table)| {
            let live = table.iter().filter(|(_, stored)| stored.is_live(now));
            live.map(|(key, stored)| Ok((name.clone(), stored.entry(key, false))))
        });
        Ok(stream::iter(entries.collect::<Vec<_>>()).boxed())
    }

    async fn replace(&self, prefix: &str, mut entries: Scan) -> Result<(u64, u64), Error> {
        let mut commit = Commit::new();
        while let Some((table, entry)) = entries.try_next().await? {
            commit = entry.put_into(commit, prefix, table)?;
        }
        let mut state = self.open_state()?;
        let now = self.clock.now();
        let old: Vec<String> = state.named(prefix).map(|(name, _)| name.clone()).collect();
        for name in old {
            state.tables.remove(&name);
            state.expiries.retain(|(_, table, _)| *table != name);
        }
        state.version += 1;
        for operation in commit.operations {
            state.apply(operation, now);
        }
        let count = state.named(prefix).map(|(_, table)| table.len() as u64).sum();
        Ok((state.version, count))
    }

    async fn close(&self) {
        self.state().closed = true;
    }
}

impl Memory {
    /// What it takes for the present, to be set in tests.
    #[cfg(test)]
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        if state.closed {
            return Err(Error::Closed);
        }
        Ok(state)
    }
}

impl State {
    fn live(&self, table: &str, key: &[u8], now: i64) -> Option<&Stored> {
        self.tables.get(table)?.get(key).filter(|stored| stored.is_live(now))
    }

    fn named(&self, prefix: &str) -> impl Iterator<Item = (&String, &Table)> {
        let (start, end) = names(prefix);
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        self.tables.range::<String, _>((Bound::Included(start.to_owned()), end))
    }

    fn apply(&mut self, operation: Operation, now: i64) {
        let Operation { table, key, change } = operation;
        self.remove(&table, &key);
        let Change::Put { value, expires } = change.at(now) else {
            return;
        };
        let stored = Stored { value: value.clone(), version: self.version, expires: *expires };
        if let Some(expires) = expires {
            self.expiries.insert((*expires, table.clone(), key.clone()));
        }
        self.tables.entry(table).or_default().insert(key, stored);
    }

    fn remove(&mut self, table: &str, key: &[u8]) {
        let Some(entries) = self.tables.get_mut(table) else {
            return;
        };
        let removed = entries.remove(key);
        if entries.is_empty() {
            self.tables.remove(table);
        }
        if let Some(expires) = removed.and_then(|stored| stored.expires) {
            self.expiries.remove(&(expires, table.to_owned(), key.to_owned()));
        }
    }

    fn sweep(&mut self, now: i64) {
        for _ in 0..SWEPT_PER_COMMIT {
            match self.expiries.first() {
                Some((expires, table, key)) if *expires <= now => {
                    let (table, key) = (table.clone(), key.clone());
                    self.remove(&table, &key);
                }
                _ => return,
            }
        }
    }
}

impl Stored {
    fn is_live(&self, now: i64) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }

    fn entry(&self, key: &[u8], keys_only: bool) -> Entry {
        Entry {
            key: key.to_vec(),
            value: if keys_only { Bytes::new() } else { self.value.clone() },
            version: self.version,
            expires_at: self.expires.map(expiry::from_millis),
        }
    }
}

fn page<'a>(found: impl Iterator<Item = (&'a Vec<u8>, &'a Stored)>, range: &Range, now: i64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut page = Page::new(range);
    for (key, stored) in found.filter(|(_, stored)| stored.is_live(now)) {
        let entry = stored.entry(key, range.is_keys_only());
        let room = page.take(entry.bytes());
        entries.push(entry);
        if !room {
            break;
        }
    }
    entries
}
