//! Many tables at once: reading them as they are at one moment, putting others in their place, and closing.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Backend, fill, soon, value};
use crate::backend::{Commit, Entry, Error, MAX_VALUE, Range, Scan};

on_every_backend! {
    a_scan_sees_one_moment
    what_replaces_tables_replaces_all_of_them
    a_replacement_that_fails_changes_nothing
    a_closed_backend_says_so
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
