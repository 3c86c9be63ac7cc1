//! Listings: their order, their pages, and the limits of names and sizes.

use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::{Backend, fill, keys};
use crate::backend::{
    Commit, Entry, Error, MAX_COMMIT_BYTES, MAX_KEY, MAX_OPERATIONS, MAX_PAGE, MAX_TABLE, MAX_VALUE, Range,
};

on_every_backend! {
    a_listing_is_in_bytewise_order
    a_prefix_ends_where_it_should
    pages_join_without_gap_or_overlap
    a_listing_can_leave_values_out
    a_page_of_large_values_ends_early
    what_is_beyond_a_limit_is_refused
    what_is_at_a_limit_is_accepted
    tables_are_found_by_the_beginning_of_their_names
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
