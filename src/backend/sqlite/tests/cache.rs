//! No reader sees anything older than what it, or a reader that it heard of, has seen before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::*;
use crate::backend::Log;

const KEYS: usize = 5;
const LONG: Duration = Duration::from_millis(1500);

/// What many tasks do to a few keys at once.
struct Race {
    kv: Sqlite,
    /// For each key, the version of the last put that was acknowledged.
    acknowledged: [AtomicU64; KEYS],
    over: AtomicBool,
}

impl Race {
    fn key(number: usize) -> [u8; 1] {
        [number as u8]
    }

    /// Puts keys, one by one and several at once, with values that tell nothing.
    async fn write(&self, begun: Instant, writer: usize) {
        let mut round = writer;
        while begun.elapsed() < LONG {
            let numbers = if round.is_multiple_of(3) { 0..KEYS } else { round % KEYS..round % KEYS + 1 };
            let commit = numbers.clone().fold(Commit::new(), |commit, number| {
                if round.is_multiple_of(7) {
                    let later = SystemTime::now() + Duration::from_hours(1);
                    commit.put_until("t", Self::key(number), vec![1; 10], later)
                } else {
                    commit.put("t", Self::key(number), vec![2; 10])
                }
            });
            let version = self.kv.commit(commit).await.unwrap();
            for number in numbers {
                self.acknowledged[number].fetch_max(version, Ordering::SeqCst);
            }
            round += 1;
        }
        self.over.store(true, Ordering::SeqCst);
    }

    /// Reads until it is over; returns how often.
    async fn read(&self) -> u64 {
        let (mut seen, mut reads) = ([0; KEYS], 0);
        while !self.over.load(Ordering::SeqCst) {
            for (number, seen) in seen.iter_mut().enumerate() {
                let acknowledged = self.acknowledged[number].load(Ordering::SeqCst);
                let entry = self.kv.get("t", &Self::key(number)).await.unwrap();
                let version = entry.map_or(0, |entry| entry.version);
                assert!(version >= acknowledged, "{version} was read after {acknowledged} was acknowledged");
                assert!(version >= *seen, "{version} was read after {seen} was read");
                *seen = version;
                reads += 1;
            }
            tokio::task::yield_now().await;
        }
        reads
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_an_older_value_than_before() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let race = Arc::new(Race { kv, acknowledged: Default::default(), over: AtomicBool::new(false) });
    let begun = Instant::now();
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let race = race.clone();
            tokio::spawn(async move { race.read().await })
        })
        .collect();
    let writers = (0..3).map(|writer| {
        let race = race.clone();
        tokio::spawn(async move { race.write(begun, writer).await })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    race.kv.close().await;
}

#[tokio::test]
async fn what_was_read_is_served_from_memory_and_follows_every_change() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    assert_eq!(kv.get("t", b"k").await, Ok(None));
    for value in ["a", "b"] {
        let version = kv.commit(Commit::new().put("t", "k", value)).await.unwrap();
        for _ in 0..3 {
            let entry = kv.get("t", b"k").await.unwrap().unwrap();
            assert_eq!((entry.version, &entry.value[..]), (version, value.as_bytes()));
        }
    }
    // Behind its back, so that only what is in memory can be right.
    let mut connection = by_hand(&path).await;
    connection.execute("DELETE FROM entries").await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    assert_eq!(kv.get("t", b"k").await.unwrap().unwrap().value, "b");
    kv.commit(Commit::new().delete("t", "k")).await.unwrap();
    assert_eq!(kv.get("t", b"k").await, Ok(None));
    let replaced = futures::StreamExt::boxed(futures::stream::empty());
    kv.commit(Commit::new().put("t", "k", "c")).await.unwrap();
    assert!(kv.get("t", b"k").await.unwrap().is_some());
    kv.replace("t", replaced).await.unwrap();
    assert_eq!(kv.get("t", b"k").await, Ok(None));
    kv.append("l", vec!["v".into()]).await.unwrap();
    kv.close().await;
    assert_eq!(kv.get("t", b"k").await, Err(Error::Closed));
}

#[tokio::test]
async fn a_clock_set_back_brings_nothing_back_that_was_removed() {
    let (_folder, path) = place();
    let opened = open::open(&path, MIGRATIONS).await.unwrap();
    let mut writer = opened.writer;
    let (clock, cache) = (writer.clock.clone(), writer.cache.clone());
    let soon = SystemTime::now() + Duration::from_mins(30);
    let put = Write::Commit(Commit::new().put_until("t", "k", "v", soon));
    let version = writer.write(&[put]).await[0].clone().unwrap();
    let super::super::cache::Known::Nothing(moment) = cache.get(("t", b"k"), 0) else { panic!("known") };
    let entry =
        crate::backend::Entry { key: b"k".to_vec(), value: "v".into(), version, expires_at: Some(soon) };
    cache.keep(("t", b"k"), Some(&entry), moment);
    clock.set(3_600_000);
    assert_eq!(writer.sweep_entries(10).await, Ok(1));
    clock.set(-3_600_000);
    let super::super::cache::Known::Nothing(_) = cache.get(("t", b"k"), clock.now()) else {
        panic!("what was removed is in memory");
    };
    let create = Write::Commit(Commit::new().require_absent("t", "k").put("t", "k", "new"));
    assert_eq!(writer.write(&[create]).await, [Ok(version + 1)]);
}
