//! Commits: what they change, what they require, and that those handed over together are decided one after another.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::{Backend, fill, keys, soon, value};
use crate::backend::{Commit, Entry, Error, Range};

on_every_backend! {
    what_is_put_can_be_read
    keys_and_values_are_any_bytes
    a_large_value_comes_back_whole
    large_and_small_values_share_a_commit
    the_last_change_to_a_key_counts
    deleting_what_is_not_there_succeeds
    tables_are_apart
    versions_grow_and_are_shared_within_a_commit
    a_deleted_key_comes_back_with_a_new_version
    a_failed_precondition_changes_nothing
    a_conflict_names_the_key
    a_precondition_speaks_of_the_state_before_the_commit
    a_commit_may_only_ask
    a_commit_sees_the_one_before_it
    one_of_many_creates_a_key
    concurrent_increments_are_not_lost
}

async fn what_is_put_can_be_read(kv: Backend) {
    assert_eq!(kv.get("t", b"k").await.unwrap(), None);
    let version = kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    let expected = Entry { key: b"k".to_vec(), value: Bytes::from_static(b"v"), version, expires_at: None };
    assert_eq!(kv.get("t", b"k").await.unwrap(), Some(expected.clone()));
    assert_eq!(kv.list("t", &Range::all()).await.unwrap(), [expected]);
    kv.commit(Commit::new().delete("t", "k")).await.unwrap();
    assert_eq!(kv.get("t", b"k").await.unwrap(), None);
    assert_eq!(kv.list("t", &Range::all()).await.unwrap(), []);
}

async fn keys_and_values_are_any_bytes(kv: Backend) {
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let keys: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"'\"\\", &[0xff, 0xfe], &every_byte];
    let values: [&[u8]; 3] = [b"", b"\0", &every_byte];
    for table in ["t", "42", "it's \"quoted\" \\ \n ü"] {
        for key in keys {
            for bytes in values {
                let put = Commit::new().put(table, key, bytes.to_vec());
                let version = kv.commit(put).await.unwrap();
                assert_eq!(value(&kv, table, key).await.as_deref(), Some(bytes));
                let required = Commit::new().require_version(table, key, version);
                kv.commit(required).await.unwrap();
            }
        }
        let listed = kv.list(table, &Range::all()).await.unwrap();
        assert_eq!(listed.len(), keys.len());
        for key in keys {
            kv.commit(Commit::new().delete(table, key)).await.unwrap();
        }
        assert_eq!(kv.list(table, &Range::all()).await.unwrap(), []);
    }
}

async fn a_large_value_comes_back_whole(kv: Backend) {
    for bytes in [64 * 1024, 64 * 1024 + 1, 1024 * 1024_u32] {
        let large: Bytes = (0..bytes).map(|at| (at % 251) as u8).collect();
        kv.commit(Commit::new().put("t", "k", large.clone())).await.unwrap();
        assert!(value(&kv, "t", b"k").await == Some(large));
    }
}

async fn large_and_small_values_share_a_commit(kv: Backend) {
    let large = Bytes::from(vec![7; 100_000]);
    let commit = Commit::new()
        .put("t", "large", large.clone())
        .put("t", "small", "s")
        .put_until("t", "timed", large.clone(), soon(60_000))
        .delete("t", "gone");
    kv.commit(Commit::new().put("t", "gone", large.clone())).await.unwrap();
    kv.commit(commit).await.unwrap();
    assert!(value(&kv, "t", b"large").await == Some(large.clone()));
    assert!(value(&kv, "t", b"timed").await == Some(large));
    assert_eq!(value(&kv, "t", b"small").await.as_deref(), Some(&b"s"[..]));
    assert!(value(&kv, "t", b"gone").await.is_none());
}

async fn the_last_change_to_a_key_counts(kv: Backend) {
    let commit = Commit::new()
        .put("t", "a", "first")
        .put("t", "a", "second")
        .put("t", "b", "first")
        .delete("t", "b")
        .delete("t", "c")
        .put("t", "c", "second");
    kv.commit(commit).await.unwrap();
    assert_eq!(value(&kv, "t", b"a").await.as_deref(), Some(&b"second"[..]));
    assert_eq!(value(&kv, "t", b"b").await, None);
    assert_eq!(value(&kv, "t", b"c").await.as_deref(), Some(&b"second"[..]));
}

async fn deleting_what_is_not_there_succeeds(kv: Backend) {
    kv.commit(Commit::new().delete("t", "k")).await.unwrap();
    kv.commit(Commit::new()).await.unwrap();
}

async fn tables_are_apart(kv: Backend) {
    let commit = Commit::new().put("one", "k", "1").put("two", "k", "2");
    kv.commit(commit).await.unwrap();
    kv.commit(Commit::new().delete("one", "k")).await.unwrap();
    assert_eq!(value(&kv, "one", b"k").await, None);
    assert_eq!(value(&kv, "two", b"k").await.as_deref(), Some(&b"2"[..]));
}

async fn versions_grow_and_are_shared_within_a_commit(kv: Backend) {
    let both = Commit::new().put("t", "a", "1").put("u", "b", "1");
    let first = kv.commit(both).await.unwrap();
    let second = kv.commit(Commit::new().put("t", "a", "2")).await.unwrap();
    assert!(0 < first && first < second);
    assert_eq!(kv.get("t", b"a").await.unwrap().unwrap().version, second);
    assert_eq!(kv.get("u", b"b").await.unwrap().unwrap().version, first);
}

async fn a_deleted_key_comes_back_with_a_new_version(kv: Backend) {
    let first = kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    kv.commit(Commit::new().delete("t", "k")).await.unwrap();
    kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    let stale = Commit::new().require_version("t", "k", first);
    assert!(matches!(kv.commit(stale).await, Err(Error::Conflict { .. })));
}

async fn a_failed_precondition_changes_nothing(kv: Backend) {
    let version = kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    let change = |commit: Commit| commit.put("t", "new", "x").delete("t", "k");
    for refused in [
        change(Commit::new().require_absent("t", "k")),
        change(Commit::new().require_version("t", "k", version + 1)),
        change(Commit::new().require_version("t", "missing", version)),
        change(Commit::new().require_version("t", "k", version).require_absent("t", "k")),
    ] {
        let result = kv.commit(refused).await;
        assert!(matches!(result, Err(Error::Conflict { .. })));
        assert_eq!(value(&kv, "t", b"k").await.as_deref(), Some(&b"v"[..]));
        assert_eq!(value(&kv, "t", b"new").await, None);
    }
    let accepted = Commit::new().require_version("t", "k", version).require_absent("t", "new");
    kv.commit(change(accepted)).await.unwrap();
    assert_eq!(keys(&kv, Range::all()).await, [b"new"]);
}

async fn a_conflict_names_the_key(kv: Backend) {
    fill(&kv, &[b"here"]).await;
    let commit = Commit::new().require_absent("t", "free").require_absent("t", "here");
    let error = kv.commit(commit).await.unwrap_err();
    assert_eq!(error.to_string(), "`here` in table `t` was changed meanwhile");
}

async fn a_precondition_speaks_of_the_state_before_the_commit(kv: Backend) {
    let create = || Commit::new().put("t", "k", "v").require_absent("t", "k");
    kv.commit(create()).await.unwrap();
    let delete_first = create().delete("t", "k");
    assert!(kv.commit(delete_first).await.is_err());
}

async fn a_commit_may_only_ask(kv: Backend) {
    let ask = || Commit::new().require_absent("t", "k");
    kv.commit(ask()).await.unwrap();
    let version = kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    assert!(kv.commit(ask()).await.is_err());
    kv.commit(Commit::new().require_version("t", "k", version)).await.unwrap();
}

/// Commits handed over together, in this order.
async fn together<const N: usize>(kv: &Backend, commits: [Commit; N]) -> [bool; N] {
    let waiting = commits.map(|commit| kv.commit(commit));
    let results = futures::future::join_all(waiting).await;
    std::array::from_fn(|at| results[at].is_ok())
}

async fn a_commit_sees_the_one_before_it(kv: Backend) {
    let expected = [true, false, true, true, false, true, true, false];
    let past = UNIX_EPOCH + Duration::from_secs(1);
    let commits = [
        Commit::new().require_absent("t", "k").put("t", "k", "1"),
        Commit::new().require_absent("t", "k").put("t", "k", "2"),
        Commit::new().delete("t", "k"),
        Commit::new().require_absent("t", "k").put("t", "k", "4"),
        Commit::new().require_version("t", "k", u64::MAX >> 1),
        Commit::new().put_until("t", "k", "6", past),
        Commit::new().require_absent("t", "k").put("t", "k", "7"),
        Commit::new().require_absent("t", "k").put("t", "other", "8"),
    ];
    assert_eq!(together(&kv, commits).await, expected);
    assert_eq!(value(&kv, "t", b"k").await.as_deref(), Some(&b"7"[..]));
    assert_eq!(value(&kv, "t", b"other").await, None);
}

async fn one_of_many_creates_a_key(kv: Backend) {
    for round in 0..8_u8 {
        let callers = (0..64_u8).map(|caller| {
            let kv = kv.clone();
            tokio::spawn(async move {
                let commit = Commit::new().require_absent("t", [round]).put("t", [round], vec![caller]).put(
                    "mine",
                    [round, caller],
                    "won",
                );
                kv.commit(commit).await.is_ok().then_some(caller)
            })
        });
        let answers = futures::future::join_all(callers).await;
        let winners: Vec<u8> = answers.into_iter().filter_map(Result::unwrap).collect();
        let [winner] = winners[..] else {
            panic!("{winners:?} all created the key");
        };
        assert_eq!(value(&kv, "t", &[round]).await.as_deref(), Some(&[winner][..]));
        let mine = kv.list("mine", &Range::prefix([round])).await.unwrap();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].key, [round, winner]);
    }
}

async fn concurrent_increments_are_not_lost(kv: Backend) {
    kv.commit(Commit::new().put("t", "count", vec![0])).await.unwrap();
    let callers = (0..16).map(|_| {
        let kv = kv.clone();
        tokio::spawn(async move {
            loop {
                let entry = kv.get("t", b"count").await.unwrap().unwrap();
                let commit = Commit::new().require_version("t", "count", entry.version).put(
                    "t",
                    "count",
                    vec![entry.value[0] + 1],
                );
                match kv.commit(commit).await {
                    Ok(_) => return,
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for caller in futures::future::join_all(callers).await {
        caller.unwrap();
    }
    assert_eq!(value(&kv, "t", b"count").await.as_deref(), Some(&[16][..]));
}
