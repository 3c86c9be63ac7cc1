//! Expiry: what has expired is absent, whatever the clock does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Backend, fill, keys, soon};
use crate::backend::{Commit, Range};

on_every_backend! {
    an_entry_expires_by_itself
    a_put_in_the_past_leaves_the_key_absent
    a_put_without_expiry_lifts_an_earlier_one
    an_expiry_is_kept_in_milliseconds
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
