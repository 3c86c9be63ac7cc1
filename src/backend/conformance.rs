//! The one suite every backend passes: what [`Kv`] promises, said as tests. What only one backend
//! promises (files, formats) is tested beside it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Commit, Entry, Error, Kv, MAX_COMMIT_BYTES, MAX_KEY, MAX_OPERATIONS, MAX_PAGE, MAX_TABLE, MAX_VALUE,
    Range, Scan, open,
};

pub(super) type Backend = Arc<dyn Kv>;

/// Every test of the list as a test of each backend.
macro_rules! on_every_backend {
    ($($name:ident)+) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $name() {
                    let kv = super::open("memory:").await.unwrap();
                    super::$name(kv.clone()).await;
                    kv.close().await;
                }
            )+
        }
        mod sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let kv = super::open(&super::address(&folder)).await.unwrap();
                    super::$name(kv.clone()).await;
                    kv.close().await;
                }
            )+
        }
    };
}

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
    an_entry_expires_by_itself
    a_put_in_the_past_leaves_the_key_absent
    a_put_without_expiry_lifts_an_earlier_one
    an_expiry_is_kept_in_milliseconds
    a_listing_is_in_bytewise_order
    a_prefix_ends_where_it_should
    pages_join_without_gap_or_overlap
    a_listing_can_leave_values_out
    a_page_of_large_values_ends_early
    what_is_beyond_a_limit_is_refused
    what_is_at_a_limit_is_accepted
    tables_are_found_by_the_beginning_of_their_names
    a_scan_sees_one_moment
    what_replaces_tables_replaces_all_of_them
    a_replacement_that_fails_changes_nothing
    a_closed_backend_says_so
}

pub(super) fn address(folder: &tempfile::TempDir) -> String {
    format!("sqlite:{}", folder.path().join("state.db").display())
}

fn soon(milliseconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_millis(milliseconds)
}

async fn value(kv: &Backend, table: &str, key: &[u8]) -> Option<Bytes> {
    kv.get(table, key).await.unwrap().map(|entry| entry.value)
}

async fn keys(kv: &Backend, range: Range) -> Vec<Vec<u8>> {
    let entries = kv.list("t", &range).await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

async fn fill(kv: &Backend, keys: &[&[u8]]) {
    let commit = keys.iter().fold(Commit::new(), |commit, key| commit.put("t", *key, "value"));
    kv.commit(commit).await.unwrap();
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

async fn an_entry_expires_by_itself(kv: Backend) {
    let expires_at = soon(300);
    let commit = Commit::new().put_until("t", "k", "v", expires_at).put("t", "stays", "v");
    let version = kv.commit(commit).await.unwrap();
    let deadline = soon(10_000);
    while kv.get("t", b"k").await.unwrap().is_some() {
        assert!(SystemTime::now() < deadline, "the entry does not expire");
        tokio::task::yield_now().await;
    }
    assert!(SystemTime::now() + Duration::from_millis(1) >= expires_at);
    assert_eq!(keys(&kv, Range::all()).await, [b"stays"]);
    let stale = Commit::new().require_version("t", "k", version);
    assert!(kv.commit(stale).await.is_err());
    let create = Commit::new().require_absent("t", "k").put("t", "k", "2");
    kv.commit(create).await.unwrap();
    assert_eq!(kv.get("t", b"k").await.unwrap().unwrap().expires_at, None);
}

async fn a_put_in_the_past_leaves_the_key_absent(kv: Backend) {
    fill(&kv, &[b"k"]).await;
    for past in [UNIX_EPOCH - Duration::from_secs(1), SystemTime::now()] {
        kv.commit(Commit::new().put_until("t", "k", "v", past)).await.unwrap();
        assert_eq!(kv.get("t", b"k").await.unwrap(), None);
        assert_eq!(kv.list("t", &Range::all()).await.unwrap(), []);
    }
}

async fn a_put_without_expiry_lifts_an_earlier_one(kv: Backend) {
    kv.commit(Commit::new().put_until("t", "k", "v", soon(60_000))).await.unwrap();
    kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    assert_eq!(kv.get("t", b"k").await.unwrap().unwrap().expires_at, None);
}

async fn an_expiry_is_kept_in_milliseconds(kv: Backend) {
    let expires_at = UNIX_EPOCH + Duration::from_nanos(4_102_444_800_123_456_789);
    let kept = UNIX_EPOCH + Duration::from_millis(4_102_444_800_123);
    let commit = Commit::new().put_until("t", "k", "v", expires_at);
    kv.commit(commit).await.unwrap();
    let entry = kv.get("t", b"k").await.unwrap().unwrap();
    assert_eq!(entry.expires_at, Some(kept));
    assert_eq!(kv.list("t", &Range::all()).await.unwrap(), [entry]);
}

async fn a_listing_is_in_bytewise_order(kv: Backend) {
    let ordered: [&[u8]; 7] = [b"", b"\0", b"A", b"a", b"a\0", b"ab", b"\xff"];
    let mut shuffled = ordered;
    shuffled.reverse();
    fill(&kv, &shuffled).await;
    assert_eq!(keys(&kv, Range::all()).await, ordered);
    assert_eq!(keys(&kv, Range::all().descending()).await, shuffled);
    assert_eq!(keys(&kv, Range::all().limit(2)).await, ordered[..2]);
    let last = Range::all().descending().limit(2);
    assert_eq!(keys(&kv, last).await, shuffled[..2]);
    assert!(keys(&kv, Range::all().limit(0)).await.is_empty());
}

async fn a_prefix_ends_where_it_should(kv: Backend) {
    fill(&kv, &[b"a", b"a/", b"a/1", b"a/\xff", b"a0", b"b", b"\xff", b"\xff\xff", b"\xff\xff1"]).await;
    let inside: [&[u8]; 3] = [b"a/", b"a/1", b"a/\xff"];
    assert_eq!(keys(&kv, Range::prefix("a/")).await, inside);
    let last: [&[u8]; 2] = [b"\xff\xff", b"\xff\xff1"];
    assert_eq!(keys(&kv, Range::prefix(b"\xff\xff")).await, last);
    assert!(keys(&kv, Range::prefix("c")).await.is_empty());
    let first: &[u8] = b"a/";
    let descending = Range::prefix("a/").after("a/1").descending();
    assert_eq!(keys(&kv, descending).await, [first]);
    assert_eq!(keys(&kv, Range::prefix("a/").after("A")).await, inside);
    assert!(keys(&kv, Range::prefix("a/").after("b")).await.is_empty());
    let before = Range::prefix("a/").descending().after("A");
    assert!(keys(&kv, before).await.is_empty());
}

async fn pages_join_without_gap_or_overlap(kv: Backend) {
    let all: Vec<Vec<u8>> = (0..2_500_u16).map(|number| format!("key/{number:05}").into_bytes()).collect();
    let commit = all.iter().fold(Commit::new(), |commit, key| commit.put("t", key.clone(), "v"));
    kv.commit(commit).await.unwrap();
    assert_eq!(keys(&kv, Range::all().limit(usize::MAX)).await.len(), MAX_PAGE);
    for (limit, descending) in [(700, false), (700, true), (1000, false), (999, true)] {
        let mut range = Range::prefix("key/").limit(limit);
        if descending {
            range = range.descending();
        }
        let mut joined: Vec<Vec<u8>> = Vec::new();
        loop {
            let page = keys(&kv, range.clone()).await;
            let Some(last) = page.last() else { break };
            range = range.after(last.clone());
            joined.extend(page);
        }
        if descending {
            joined.reverse();
        }
        assert!(joined == all);
    }
}

async fn a_listing_can_leave_values_out(kv: Backend) {
    let version = kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    let expected = Entry { key: b"k".to_vec(), value: Bytes::new(), version, expires_at: None };
    let listed = kv.list("t", &Range::all().keys_only()).await.unwrap();
    assert_eq!(listed, [expected]);
}

async fn a_page_of_large_values_ends_early(kv: Backend) {
    let large = Bytes::from(vec![1; 3 * 1024 * 1024]);
    for key in ["a", "b", "c", "d"] {
        let put = Commit::new().put("t", key, large.clone());
        kv.commit(put).await.unwrap();
    }
    assert_eq!(keys(&kv, Range::all()).await, [b"a", b"b", b"c"]);
    assert_eq!(keys(&kv, Range::all().after("c")).await, [b"d"]);
    assert_eq!(keys(&kv, Range::all().keys_only()).await.len(), 4);
}

async fn what_is_beyond_a_limit_is_refused(kv: Backend) {
    let half = Bytes::from(vec![0; MAX_VALUE]);
    let too_many = (0..=MAX_OPERATIONS).fold(Commit::new(), |commit, _| commit.delete("t", "k"));
    for refused in [
        Commit::new().put("", "k", "v"),
        Commit::new().put("zero\0byte", "k", "v"),
        Commit::new().require_absent("", "k"),
        Commit::new().delete("t".repeat(MAX_TABLE + 1), "k"),
        Commit::new().put("t", vec![1; MAX_KEY + 1], "v"),
        Commit::new().put("t", "k", vec![1; MAX_VALUE + 1]),
        Commit::new().put("t", "a", half.clone()).put("t", "b", half.clone()).put("t", "c", "1"),
        too_many,
    ] {
        let result = kv.commit(refused).await;
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
    const { assert!(MAX_COMMIT_BYTES == 2 * MAX_VALUE) };
    assert_eq!(kv.list("t", &Range::all()).await.unwrap(), []);
}

async fn what_is_at_a_limit_is_accepted(kv: Backend) {
    let table = "t".repeat(MAX_TABLE);
    let key = vec![u8::MAX; MAX_KEY];
    let put = Commit::new().put(table.as_str(), key.clone(), vec![1; MAX_VALUE]);
    kv.commit(put).await.unwrap();
    for range in [Range::all(), Range::prefix(&key), Range::all().descending()] {
        let listed = kv.list(&table, &range).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].value.len(), MAX_VALUE);
    }
    let after = Range::all().after(key);
    assert_eq!(kv.list(&table, &after).await.unwrap(), []);
}

async fn tables_are_found_by_the_beginning_of_their_names(kv: Backend) {
    let names = ["a", "a/", "a/b", "a/b/c", "a/é", "a0", "b", "\u{d7ff}", "\u{10ffff}"];
    let commit =
        names.iter().fold(Commit::new(), |commit, name| commit.put(*name, "k", "v").put(*name, "l", "v"));
    kv.commit(commit.put_until("a/gone", "k", "v", UNIX_EPOCH)).await.unwrap();
    for (prefix, expected) in [
        ("", &names[..]),
        ("a/", &names[1..5]),
        ("a/b", &names[2..4]),
        ("c", &[]),
        ("\u{d7ff}", &names[7..8]),
        ("\u{10ffff}", &names[8..]),
    ] {
        assert_eq!(kv.tables(prefix).await.unwrap(), expected, "{prefix:?}");
    }
}

async fn scanned(mut scan: Scan) -> Vec<(String, Entry)> {
    let mut found = Vec::new();
    while let Some(entry) = scan.try_next().await.unwrap() {
        found.push(entry);
    }
    found
}

async fn a_scan_sees_one_moment(kv: Backend) {
    let large = Bytes::from(vec![1; 100_000]);
    let commit = (0..200_u8).fold(Commit::new(), |commit, key| commit.put("s/one", [key], large.clone()));
    let first = kv.commit(commit.put("s/two", "k", "v").put("t", "k", "v")).await.unwrap();
    let scan = kv.scan("s/").await.unwrap();
    for key in 0..200_u8 {
        kv.commit(Commit::new().put("s/one", [key], "changed").put("s/one", [key, 0], "new")).await.unwrap();
    }
    kv.commit(Commit::new().delete("s/two", "k")).await.unwrap();
    let found = scanned(scan).await;
    assert_eq!(found.len(), 201);
    assert!(found[..200].iter().enumerate().all(|(at, (table, entry))| {
        table == "s/one" && entry.key == [at as u8] && entry.value == large && entry.version == first
    }));
    assert_eq!((found[200].0.as_str(), &found[200].1.value[..]), ("s/two", &b"v"[..]));
    assert_eq!(scanned(kv.scan("s/").await.unwrap()).await.len(), 400);
}

/// An entry as somebody else made it.
fn foreign(key: &str, value: impl Into<Bytes>, expires_at: Option<SystemTime>) -> Entry {
    Entry { key: key.into(), value: value.into(), version: 1, expires_at }
}

async fn what_replaces_tables_replaces_all_of_them(kv: Backend) {
    fill(&kv, &[b"outside"]).await;
    let old = Commit::new().put("s/one", "old", "v").put_until("s/gone", "old", "v", soon(60_000));
    let before = kv.commit(old).await.unwrap();
    let large = vec![2; 100_000];
    let later = soon(60_000);
    let mut entries = vec![
        Ok(("s/one".to_owned(), foreign("k", "v", Some(later)))),
        Ok(("s/one".to_owned(), foreign("passed", "v", Some(UNIX_EPOCH)))),
        Ok(("s/two".to_owned(), foreign("large", large.clone(), None))),
    ];
    entries
        .extend((0..2000).map(|number| Ok(("s/many".to_owned(), foreign(&number.to_string(), "v", None)))));
    let (version, count) = kv.replace("s/", stream::iter(entries).boxed()).await.unwrap();
    assert!(version > before);
    assert_eq!(count, 2002);
    assert_eq!(kv.tables("").await.unwrap(), ["s/many", "s/one", "s/two", "t"]);
    let kept = kv.get("s/one", b"k").await.unwrap().unwrap();
    assert_eq!((kept.version, kept.expires_at.is_some()), (version, true));
    assert!(value(&kv, "s/two", b"large").await.as_deref() == Some(&large[..]));
    assert!(kv.commit(Commit::new().put("t", "k", "v")).await.unwrap() > version);
}

async fn a_replacement_that_fails_changes_nothing(kv: Backend) {
    kv.commit(Commit::new().put("s/one", "old", "v")).await.unwrap();
    let before = scanned(kv.scan("").await.unwrap()).await;
    let many = || (0..2000).map(|number| Ok(("s/one".to_owned(), foreign(&number.to_string(), "v", None))));
    for last in [
        Err(Error::Invalid("broken".into())),
        Ok(("t".to_owned(), foreign("k", "v", None))),
        Ok(("s/one".to_owned(), foreign("k", vec![0; MAX_VALUE + 1], None))),
    ] {
        let replaced = kv.replace("s/", stream::iter(many().chain([last])).boxed()).await;
        assert!(matches!(replaced, Err(Error::Invalid(_))), "{replaced:?}");
        assert_eq!(scanned(kv.scan("").await.unwrap()).await, before);
    }
    kv.commit(Commit::new().put("s/one", "new", "v")).await.unwrap();
}

async fn a_closed_backend_says_so(kv: Backend) {
    let accepted = kv.commit(Commit::new().put("t", "k", "v"));
    let (accepted, ()) = tokio::join!(accepted, kv.close());
    accepted.unwrap();
    kv.close().await;
    let commit = Commit::new().put("t", "k", "v");
    assert_eq!(kv.commit(commit).await, Err(Error::Closed));
    assert_eq!(kv.get("t", b"k").await, Err(Error::Closed));
    assert_eq!(kv.list("t", &Range::all()).await, Err(Error::Closed));
    assert_eq!(kv.tables("").await, Err(Error::Closed));
    assert_eq!(kv.replace("", stream::empty().boxed()).await, Err(Error::Closed));
    assert!(kv.scan("").await.is_err());
}

#[tokio::test]
async fn an_unknown_address_names_the_known_ones() {
    for url in ["", "sqlite:", "memory", "memory:x", "postgres://localhost"] {
        let Err(error) = open(url).await else {
            panic!("`{url}` was accepted");
        };
        let text = error.to_string();
        assert!(text.contains("`sqlite:<path>` or `memory:`"), "{text}");
    }
}
