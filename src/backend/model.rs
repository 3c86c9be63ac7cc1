//! Generated steps taken by the database and by the memory: the two must agree on every answer, the
//! versions included.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::{
    Commit, Entry, Error, Range,
    conformance::{Backend, address},
    open,
};

/// A step both backends take; keys and versions come from few, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Together(Vec<Vec<Part>>),
    List { prefix: Vec<u8>, after: Option<Vec<u8>>, limit: usize, descending: bool },
}

#[derive(Debug, Clone)]
enum Part {
    Put(Vec<u8>, Vec<u8>),
    PutUntil(Vec<u8>, bool),
    PutLarge(Vec<u8>, u8),
    Delete(Vec<u8>),
    RequireAbsent(Vec<u8>),
    RequireVersion(Vec<u8>, u64),
}

fn a_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&[0, b'a', u8::MAX][..]), 0..3)
}

fn a_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => (a_key(), prop::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(key, value)| Part::Put(key, value)),
        2 => (a_key(), any::<bool>()).prop_map(|(key, past)| Part::PutUntil(key, past)),
        1 => (a_key(), any::<u8>()).prop_map(|(key, byte)| Part::PutLarge(key, byte)),
        2 => a_key().prop_map(Part::Delete),
        1 => a_key().prop_map(Part::RequireAbsent),
        1 => (a_key(), 0..12_u64).prop_map(|(key, version)| Part::RequireVersion(key, version)),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let commits = prop::collection::vec(prop::collection::vec(a_part(), 0..5), 1..6);
    let list = (a_key(), prop::option::of(a_key()), 0..6_usize, any::<bool>());
    prop_oneof![
        3 => commits.prop_map(Step::Together),
        2 => list.prop_map(|(prefix, after, limit, descending)| Step::List {
            prefix,
            after,
            limit,
            descending,
        }),
    ]
}

fn commit_of(parts: &[Part]) -> Commit {
    let (past, future) = (UNIX_EPOCH + Duration::from_secs(1), UNIX_EPOCH + Duration::from_hours(1_139_568));
    parts.iter().cloned().fold(Commit::new(), |commit, part| {
        let large = 70_000;
        match part {
            Part::Put(key, value) => commit.put("t", key, value),
            Part::PutUntil(key, true) => commit.put_until("t", key, "past", past),
            Part::PutUntil(key, false) => commit.put_until("t", key, "future", future),
            Part::PutLarge(key, byte) => commit.put("t", key, vec![byte; large]),
            Part::Delete(key) => commit.delete("t", key),
            Part::RequireAbsent(key) => commit.require_absent("t", key),
            Part::RequireVersion(key, version) => commit.require_version("t", key, version),
        }
    })
}

async fn take(kv: &Backend, step: &Step) -> (Vec<Result<u64, Error>>, Vec<Entry>) {
    match step {
        Step::Together(commits) => {
            let waiting = commits.iter().map(|parts| kv.commit(commit_of(parts)));
            let results = futures::future::join_all(waiting).await;
            (results, kv.list("t", &Range::all()).await.unwrap())
        }
        Step::List { prefix, after, limit, descending } => {
            let mut range = Range::prefix(prefix).limit(*limit);
            if let Some(after) = after {
                range = range.after(after.clone());
            }
            if *descending {
                range = range.descending();
            }
            (Vec::new(), kv.list("t", &range).await.unwrap())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_database_does_what_the_memory_does(steps in prop::collection::vec(a_step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let sqlite = open(&address(&folder)).await.unwrap();
            let memory = open("memory:").await.unwrap();
            for step in &steps {
                prop_assert_eq!(take(&sqlite, step).await, take(&memory, step).await);
            }
            sqlite.close().await;
            Ok(())
        })?;
    }
}
