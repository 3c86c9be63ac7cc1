//! Snapshots: of one moment, whole or refused.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use micro_sdk::{
    Error, Store,
    blocks::store::StoreClient,
    proto::store::{RestoreRequest, SnapshotRequest},
    store::Put,
};

use super::support::{code, every_key, files_below, owner, started, store, write};
use crate::{
    raw::{Raw, frame},
    support::{Home, eventually, outcome},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_of_one_moment_while_writing_goes_on() {
    let home = started();
    let store = store(&home);
    let (written, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (store, written, ended) = (store.clone(), written.clone(), ended.clone());
        tokio::spawn(async move {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                let value = vec![number as u8; 2000];
                store.write(write(&format!("{number:06}"), value)).await.unwrap();
                number += 1;
                written.store(number, Ordering::Relaxed);
            }
        })
    };
    while written.load(Ordering::Relaxed) < 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for round in 0..3 {
        let before = written.load(Ordering::Relaxed);
        let snapshot = copied(&store, "micro").await;
        let after = written.load(Ordering::Relaxed) + 1;
        let copy = format!("copy{round}");
        let records = restored(&store, &copy, &snapshot).await.unwrap();
        assert!(before <= records && records <= after, "{before} {records} {after}");
        let keys = every_key(&store, &copy).await;
        assert!(keys.iter().enumerate().all(|(at, key)| *key == format!("{at:06}")), "there is a gap");
        assert_eq!(keys.len() as u64, records);
    }
    ended.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    assert!(every_key(&store, "micro").await.len() as u64 == written.load(Ordering::Relaxed));
}

async fn copied(store: &StoreClient, database: &str) -> Vec<u8> {
    let mut pieces = store.snapshot(SnapshotRequest { database: database.into() }).await.unwrap();
    let mut snapshot = Vec::new();
    while let Some(piece) = pieces.next().await.unwrap() {
        assert!(piece.data.len() <= 64 << 10);
        snapshot.extend(piece.data);
    }
    snapshot
}

async fn restored(store: &StoreClient, database: &str, snapshot: &[u8]) -> Result<u64, Error> {
    let mut upload = store.restore();
    upload.send(RestoreRequest { database: database.into(), data: Vec::new() }).await?;
    for data in snapshot.chunks(50_000) {
        upload.send(RestoreRequest { data: data.to_vec(), ..RestoreRequest::default() }).await?;
    }
    Ok(upload.finish().await?.records)
}

#[tokio::test]
async fn a_restored_database_is_what_it_was() {
    let home = started();
    let store = store(&home);
    let tables = Store::new(owner(&home), "shop", "");
    tables
        .shared_bytes("a")
        .put_with("timed", &b"1".to_vec(), Put::new().ttl(Duration::from_mins(1)))
        .await
        .unwrap();
    tables
        .shared_bytes("a")
        .put_with("short", &b"1".to_vec(), Put::new().ttl(Duration::from_millis(1500)))
        .await
        .unwrap();
    tables
        .shared_bytes("a/b")
        .put_with("k", &vec![7; 1 << 20], Put::new().metadata("by", "test"))
        .await
        .unwrap();
    tables.shared_bytes("../x").put("../k", &b"2".to_vec()).await.unwrap();
    store.write(write("other", "database")).await.unwrap();
    let snapshot = copied(&store, "shop").await;
    let version = tables.shared_bytes("a/b").put("k", &b"changed".to_vec()).await.unwrap();
    tables.shared_bytes("new").put("k", &b"v".to_vec()).await.unwrap();
    tables.shared_bytes("a").delete("timed").await.unwrap();
    assert_eq!(restored(&store, "shop", &snapshot).await.unwrap(), 4);
    assert_eq!(home.ok(["store", "tables", "-d", "shop"]), "../x\na\na/b\n");
    let timed = tables.shared_bytes("a").entry("timed").await.unwrap().unwrap();
    assert!(timed.expires_in.unwrap() <= Duration::from_mins(1), "{timed:?}");
    let large = tables.shared_bytes("a/b").entry("k").await.unwrap().unwrap();
    assert!(large.value == vec![7; 1 << 20] && large.metadata["by"] == "test");
    // Who had read what was there before it cannot write over it.
    assert!(large.version > version);
    assert_eq!(tables.shared_bytes("../x").get("../k").await.unwrap(), Some(b"2".to_vec()));
    // Time goes on for what lies in a snapshot.
    eventually("a record to expire", || {
        (home.ok(["store", "list", "-d", "shop", "-t", "a"]) == "timed\n").then_some(())
    });
    assert_eq!(restored(&store, "copy", &snapshot).await.unwrap(), 3);
    let elsewhere = started();
    assert_eq!(restored(&super::support::store(&elsewhere), "copy", &snapshot).await.unwrap(), 3);
    let there = Store::new(owner(&elsewhere), "copy", "");
    assert!(there.shared_bytes("a/b").get("k").await.unwrap() == Some(vec![7; 1 << 20]));
    assert_eq!(every_key(&store, "micro").await, ["other"]);
    let empty = copied(&store, "nothing").await;
    assert_eq!(restored(&store, "shop", &empty).await.unwrap(), 0);
    assert_eq!(home.ok(["store", "tables", "-d", "shop"]), "");
}

#[tokio::test]
async fn a_snapshot_that_is_not_whole_is_refused_whole() {
    let home = started();
    let store = store(&home);
    for number in 0..50 {
        store.write(write(&format!("k{number:02}"), vec![number; 5000])).await.unwrap();
    }
    let whole = copied(&store, "micro").await;
    let mut state = 0x2545_f491_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    let mut broken: Vec<Vec<u8>> = Vec::new();
    let ends = [0, 1, 11, 12, 15, 16, 17, 29, whole.len() - 44, whole.len() - 33, whole.len() - 1];
    broken.extend(ends.map(|length| whole[..length].to_vec()));
    broken.extend((0..20).map(|_| whole[..random(whole.len())].to_vec()));
    for _ in 0..40 {
        let mut altered = whole.clone();
        altered[random(whole.len())] ^= 1 << random(8);
        broken.push(altered);
    }
    broken.push([&whole[..], b"\0"].concat());
    broken.push([&whole[..], &whole[..]].concat());
    broken.push(vec![0; 100_000]);
    broken.push(b"SQLite format 3\0 and so on, and so on".to_vec());
    store.write(write("new", "v")).await.unwrap();
    let before = every_key(&store, "micro").await;
    for snapshot in broken {
        let error = restored(&store, "micro", &snapshot).await.unwrap_err();
        assert_eq!(error.code, 400, "{error}");
        assert!(
            error.detail.starts_with("the snapshot ") && error.detail.ends_with("nothing was changed"),
            "{error}"
        );
    }
    assert_eq!(every_key(&store, "micro").await, before);
    // An upload that breaks off is none.
    let mut upload = store.restore();
    upload.send(RestoreRequest { data: whole.clone(), ..RestoreRequest::default() }).await.unwrap();
    drop(upload);
    assert_eq!(every_key(&store, "micro").await, before);
    assert_eq!(code(store.restore().finish().await), 400);
    assert_eq!(restored(&store, "micro", &whole).await.unwrap(), 50);
    assert!(
        !files_below(&home.data().join("server"))
            .iter()
            .any(|path| path.to_string_lossy().contains("restore"))
    );
}

#[test]
fn snapshots_are_files_and_pipes_and_restoring_one_is_confirmed() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    home.ok(["store", "write", "k", "v"]);
    assert_eq!(home.ok(["store", "snapshot", "copy"]), "");
    let file = home.path().join("copy");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut piped = home.command(["store", "snapshot"]);
    assert_eq!(piped.output().unwrap().stdout, fs::read(&file).unwrap());
    home.ok(["store", "write", "k", "changed"]);
    let said = home.fails(2, ["store", "restore", "copy"]);
    assert!(said.contains("--yes"), "{said}");
    assert_eq!(home.ok(["store", "read", "k"]), "changed\n");
    home.ok(["store", "restore", "copy", "--yes"]);
    assert_eq!(home.ok(["store", "read", "k"]), "v\n");
    let mut stdin = home.command(["store", "restore", "-", "-d", "shop", "-y"]);
    let restored = outcome(stdin.stdin(fs::File::open(&file).unwrap()));
    assert_eq!((restored.code, restored.stderr.as_str()), (Some(0), "database shop has 1 record\n"));
    // What is there is kept unless somebody says otherwise.
    let before = fs::read(&file).unwrap();
    let said = home.fails(2, ["store", "snapshot", "copy", "-d", "shop"]);
    assert!(said.contains("copy is there already") && said.contains("--force"), "{said}");
    assert!(fs::read(&file).unwrap() == before);
    home.ok(["store", "snapshot", "copy", "--force"]);
    home.ok(["store", "snapshot", "copy", "--yes"]);
    fs::write(&file, &fs::read(&file).unwrap()[..40]).unwrap();
    let said = home.fails(7, ["store", "restore", "copy", "-y"]);
    assert!(said.contains("cut off") && said.contains("nothing was changed"), "{said}");
    home.fails(1, ["store", "restore", "nowhere", "-y"]);
    fs::write(home.path().join("empty"), "").unwrap();
    let said = home.fails(7, ["store", "restore", "empty", "-y"]);
    assert!(
        said.contains("no snapshot: it begins with something else") || said.contains("too short"),
        "{said}"
    );
    assert_eq!(home.ok(["store", "read", "k"]), "v\n");
    let said = home.fails(1, ["store", "snapshot", "no/such/folder"]);
    assert!(said.contains("cannot write `no/such/folder`"), "{said}");
    assert!(!files_below(home.path()).iter().any(|path| path.to_string_lossy().contains("partial")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_nobody_reads_holds_neither_the_log_nor_threads_nor_other_snapshots_for_long() {
    const PROTOBUF: &str = "application/grpc";
    const SNAPSHOT: &str = "/store.Store/Snapshot";
    let home = started();
    let store = store(&home);
    for number in 0..20 {
        store.write(write(&format!("old{number}"), vec![7; 1 << 20])).await.unwrap();
    }
    let mut stalled = Vec::new();
    for _ in 0..60 {
        // A connection of its own, since those that are not read fill the window of theirs.
        let raw = Raw::local(&home.state().socket).await;
        stalled.push((raw.start(SNAPSHOT, PROTOBUF, &[], frame(b"")).await, raw));
    }
    // Four have begun; they are copied, and hold the database no longer than that takes.
    let log = home.data().join("server/micro.db-wal");
    for number in 0..12 {
        store.write(write(&format!("new{number}"), vec![8; 15 << 20])).await.unwrap();
    }
    eventually("the log to start over", || {
        let key = "again".to_owned();
        home.ok(["store", "write", &key, "x"]);
        (fs::metadata(&log).unwrap().len() < 100 << 20).then_some(())
    });
    // Those that work on files end when they have had nothing to do for a while.
    eventually("few threads to be there", || {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", home.state().pid)) else {
            return Some(());
        };
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
        (threads.trim().parse::<u32>().unwrap() < 40).then_some(())
    });
    let refused = stalled.pop().unwrap().0.end().await;
    assert_eq!(refused.failure().0, 8, "{refused:?}");
    assert!(refused.failure().2.contains("snapshots are under way"), "{refused:?}");
    // What is read later is whole, and of its moment.
    let whole = stalled.swap_remove(0).0.end().await;
    assert_eq!(whole.status, 0, "{:?}", whole.error);
    let bytes: usize = whole.messages.iter().map(bytes::Bytes::len).sum();
    assert!((20 << 20..25 << 20).contains(&bytes), "{bytes} bytes");
    drop(stalled);
    eventually("room for another one", || {
        home.run(["store", "snapshot", "-"]).code.filter(|code| *code == 0)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_that_nobody_reads_are_held_within_the_budget() {
    let home = started();
    store(&home).write(write("large", vec![7; 15 << 20])).await.unwrap();
    let socket = tokio::net::UnixStream::connect(&home.state().socket).await.unwrap();
    let raw = Raw::closed_window(socket, "localhost").await;
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(raw.whole("/store.Store/Read", "application/grpc", &[], read_request("large")).await);
    }
    if let Ok(status) = fs::read_to_string(format!("/proc/{}/status", home.state().pid)) {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() >> 10
        };
        assert!(field("VmRSS:") < 400, "{} MiB of 1500 that were asked for", field("VmRSS:"));
    }
    // Others are answered meanwhile.
    assert_eq!(home.ok(["store", "read", "-p", "none"]), "");
    drop(answers);
    drop(raw);
    eventually("it to be read", || home.run(["store", "read", "large"]).code.filter(|code| *code == 0));
}

/// A request for a record, as it goes over the wire.
fn read_request(key: &str) -> bytes::Bytes {
    use prost::Message as _;
    frame(&micro_sdk::proto::store::ReadRequest { key: key.into(), options: None }.encode_to_vec())
}
