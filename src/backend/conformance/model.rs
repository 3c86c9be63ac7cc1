//! Generated steps taken by the database and by the memory: the two must agree on every answer, the
//! versions included, also when the database is closed and opened again in between. `PROPTEST_CASES`
//! says how many such stories are tried, where a long run is wanted.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use proptest::prelude::*;

use crate::backend::{
    Commit, Entry, Error, Range, clock::Clock, conformance::Backend, memory::Memory, sqlite::Sqlite,
};

/// A step both backends take; keys, versions and offsets come from few, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Together(Vec<Write>),
    Get(Vec<u8>),
    List {
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
        descending: bool,
        keys_only: bool,
    },
    Read {
        log: &'static str,
        from: u64,
        limit: usize,
    },
    Replace(Vec<(Vec<u8>, Vec<u8>)>),
    /// The clock goes on by so many hours.
    Wait(u64),
    Restart,
}

#[derive(Debug, Clone)]
enum Write {
    Commit(Vec<Part>),
    Append(&'static str, Vec<Vec<u8>>),
    Trim(&'static str, u64),
}

#[derive(Debug, Clone)]
enum Part {
    Put(Vec<u8>, Vec<u8>),
    /// Until half past so many hours.
    PutUntil(Vec<u8>, u64),
    PutLarge(Vec<u8>, u8),
    Delete(Vec<u8>),
    RequireAbsent(Vec<u8>),
    RequireVersion(Vec<u8>, u64),
}

fn a_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&[0, b'a', u8::MAX][..]), 0..3)
}

fn a_value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..4)
}

fn a_log() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["t", "l"][..])
}

fn a_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => (a_key(), a_value()).prop_map(|(key, value)| Part::Put(key, value)),
        2 => (a_key(), 0..6_u64).prop_map(|(key, hours)| Part::PutUntil(key, hours)),
        1 => (a_key(), any::<u8>()).prop_map(|(key, byte)| Part::PutLarge(key, byte)),
        2 => a_key().prop_map(Part::Delete),
        1 => a_key().prop_map(Part::RequireAbsent),
        1 => (a_key(), 0..12_u64).prop_map(|(key, version)| Part::RequireVersion(key, version)),
    ]
}

fn a_write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => prop::collection::vec(a_part(), 0..5).prop_map(Write::Commit),
        2 => (a_log(), prop::collection::vec(a_value(), 0..4))
            .prop_map(|(log, values)| Write::Append(log, values)),
        1 => (a_log(), 0..20_u64).prop_map(|(log, below)| Write::Trim(log, below)),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let list = (a_key(), prop::option::of(a_key()), 0..6_usize, any::<bool>(), any::<bool>());
    prop_oneof![
        6 => prop::collection::vec(a_write(), 1..6).prop_map(Step::Together),
        3 => a_key().prop_map(Step::Get),
        3 => list.prop_map(|(prefix, after, limit, descending, keys_only)| Step::List {
            prefix,
            after,
            limit,
            descending,
            keys_only,
        }),
        2 => (a_log(), 0..24_u64, 0..6_usize).prop_map(|(log, from, limit)| Step::Read { log, from, limit }),
        1 => prop::collection::vec((a_key(), a_value()), 0..3).prop_map(Step::Replace),
        1 => (0..3_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// A backend under test.
struct Side {
    backend: Backend,
    clock: Clock,
    /// The database, which can be closed and opened again; none for the memory.
    path: Option<PathBuf>,
    begun: SystemTime,
    hours: u64,
}

/// All that can be seen after a step.
#[derive(Debug, PartialEq)]
struct Seen {
    answers: Vec<Result<u64, Error>>,
    entries: Vec<(String, Entry)>,
    listed: Vec<Entry>,
    records: Result<Vec<(u64, Bytes)>, Error>,
    bounds: Vec<crate::backend::Bounds>,
}

impl Side {
    async fn open(path: Option<PathBuf>, begun: SystemTime, hours: u64) -> Self {
        let (backend, clock): (Backend, Clock) = if let Some(path) = &path {
            let sqlite = Sqlite::open(path).await.unwrap();
            let clock = sqlite.clock().clone();
            (Arc::new(sqlite), clock)
        } else {
            let memory = Memory::default();
            let clock = memory.clock().clone();
            (Arc::new(memory), clock)
        };
        let side = Self { backend, clock, path, begun, hours };
        side.clock.set((side.hours * 3_600_000).cast_signed());
        side
    }

    fn commit(&self, parts: &[Part]) -> Commit {
        let until = |hours: u64| self.begun + Duration::from_mins(60 * hours + 30);
        parts.iter().cloned().fold(Commit::new(), |commit, part| match part {
            Part::Put(key, value) => commit.put("t", key, value),
            Part::PutUntil(key, 0) => commit.put_until("t", key, "past", UNIX_EPOCH),
            Part::PutUntil(key, hours) => commit.put_until("t", key, "timed", until(hours)),
            Part::PutLarge(key, byte) => commit.put("t", key, vec![byte; 70_000]),
            Part::Delete(key) => commit.delete("t", key),
            Part::RequireAbsent(key) => commit.require_absent("t", key),
            Part::RequireVersion(key, version) => commit.require_version("t", key, version),
        })
    }

    fn write(&self, write: &Write) -> BoxFuture<'static, Result<u64, Error>> {
        let backend = self.backend.clone();
        match write {
            Write::Commit(parts) => {
                let commit = self.commit(parts);
                Box::pin(async move { backend.commit(commit).await })
            }
            Write::Append(log, values) => {
                let (log, values) = (*log, values.iter().cloned().map(Bytes::from).collect());
                Box::pin(async move { backend.append(log, values).await })
            }
            Write::Trim(log, below) => {
                let (log, below) = (*log, *below);
                Box::pin(async move { backend.trim(log, below).await.map(|()| 0) })
            }
        }
    }

    async fn take(&mut self, step: &Step) -> Seen {
        let (mut answers, mut listed, mut records) = (Vec::new(), Vec::new(), Ok(Vec::new()));
        match step {
            Step::Together(writes) => {
                let waiting: Vec<_> = writes.iter().map(|write| self.write(write)).collect();
                answers = futures::future::join_all(waiting).await;
            }
            Step::Get(key) => listed.extend(self.backend.get("t", key).await.unwrap()),
            Step::List { prefix, after, limit, descending, keys_only } => {
                let mut range = Range::prefix(prefix).limit(*limit);
                range = if let Some(after) = after { range.after(after.clone()) } else { range };
                range = if *descending { range.descending() } else { range };
                range = if *keys_only { range.keys_only() } else { range };
                listed = self.backend.list("t", &range).await.unwrap();
            }
            Step::Read { log, from, limit } => {
                let read = self.backend.read(log, *from, *limit).await;
                records = read.map(|read| read.into_iter().map(|one| (one.offset, one.value)).collect());
            }
            Step::Replace(entries) => {
                let entry = |(key, value): &(Vec<u8>, Vec<u8>)| {
                    let value = Bytes::from(value.clone());
                    Ok(("t".to_owned(), Entry { key: key.clone(), value, version: 1, expires_at: None }))
                };
                let entries: Vec<_> = entries.iter().map(entry).collect();
                let replaced = self.backend.replace("t", stream::iter(entries).boxed()).await;
                answers.push(replaced.map(|(version, count)| version * 100 + count));
            }
            Step::Wait(hours) => {
                self.hours += hours;
                self.clock.set((self.hours * 3_600_000).cast_signed());
            }
            Step::Restart => {
                if self.path.is_some() {
                    self.backend.close().await;
                    *self = Self::open(self.path.clone(), self.begun, self.hours).await;
                }
            }
        }
        let entries = self.backend.scan("").await.unwrap().try_collect().await.unwrap();
        let bounds = ["t", "l"].map(|log| self.backend.bounds(log));
        let bounds = futures::future::join_all(bounds).await.into_iter().map(Result::unwrap).collect();
        Seen { answers, entries, listed, records, bounds }
    }
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 24 };
    ProptestConfig { cases, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_database_does_what_the_memory_does(steps in prop::collection::vec(a_step(), 1..32)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let begun = SystemTime::now();
            let mut sqlite = Side::open(Some(folder.path().join("state.db")), begun, 0).await;
            let mut memory = Side::open(None, begun, 0).await;
            for step in &steps {
                prop_assert_eq!(sqlite.take(step).await, memory.take(step).await, "after {:?}", step);
            }
            sqlite.backend.close().await;
            Ok(())
        })?;
    }
}
