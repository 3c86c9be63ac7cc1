//! The clock of the machine is set forward and back.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Backend, address};
use crate::backend::{Commit, clock::Clock, memory::Memory, sqlite::Sqlite};

const HOUR: i64 = 3_600_000;

/// Both backends, each with its clock.
async fn both() -> (tempfile::TempDir, Vec<(Backend, Clock)>) {
    let folder = tempfile::tempdir().unwrap();
    let path = address(&folder);
    let sqlite = Sqlite::open(path.trim_start_matches("sqlite:").as_ref()).await.unwrap();
    let memory = Memory::default();
    let (one, other) = (sqlite.clock().clone(), memory.clock().clone());
    let backends: Vec<(Backend, Clock)> =
        vec![(std::sync::Arc::new(sqlite), one), (std::sync::Arc::new(memory), other)];
    (folder, backends)
}

#[tokio::test]
async fn what_expires_does_so_by_the_clock_as_it_is_set() {
    let (_folder, backends) = both().await;
    for (backend, clock) in backends {
        let soon = SystemTime::now() + Duration::from_mins(30);
        backend.commit(Commit::new().put_until("t", "k", "v", soon)).await.unwrap();
        assert!(backend.get("t", b"k").await.unwrap().is_some());
        clock.set(HOUR);
        assert_eq!(backend.get("t", b"k").await, Ok(None));
        assert_eq!(backend.tables("").await, Ok(vec![]));
        backend.commit(Commit::new().require_absent("t", "k")).await.unwrap();
        clock.set(-HOUR);
        let late = SystemTime::now() - Duration::from_mins(30);
        backend.commit(Commit::new().put_until("t", "late", "v", late)).await.unwrap();
        assert!(backend.get("t", b"late").await.unwrap().is_some());
        backend.close().await;
    }
}

#[tokio::test]
async fn versions_only_grow_whatever_the_clock_does() {
    let (_folder, backends) = both().await;
    for (backend, clock) in backends {
        let mut last = 0;
        for shift in [0, HOUR, -HOUR, 0] {
            clock.set(shift);
            let version = backend.commit(Commit::new().put("t", "k", "v")).await.unwrap();
            assert!(version > last);
            assert_eq!(backend.get("t", b"k").await.unwrap().unwrap().version, version);
            last = version;
        }
        backend.close().await;
    }
}

#[tokio::test]
async fn the_times_of_a_log_never_run_backwards() {
    let (_folder, backends) = both().await;
    for (backend, clock) in backends {
        for shift in [0, HOUR, -HOUR, 2 * HOUR] {
            clock.set(shift);
            backend.append("l", vec![Bytes::from_static(b"v")]).await.unwrap();
        }
        let times: Vec<SystemTime> =
            backend.read("l", 0, 10).await.unwrap().iter().map(|record| record.time).collect();
        assert!(times[0] < times[1] && times[1] == times[2] && times[2] < times[3], "{times:?}");
        assert_eq!(backend.offset_at("l", times[1]).await, Ok(1));
        backend.trim("l", 4).await.unwrap();
        clock.set(0);
        backend.append("l", vec![Bytes::from_static(b"v")]).await.unwrap();
        assert_eq!(backend.read("l", 4, 10).await.unwrap()[0].time, times[3]);
        backend.close().await;
    }
}
