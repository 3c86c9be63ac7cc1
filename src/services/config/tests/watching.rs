//! What a watcher is told: everything, in order, once.

use super::*;
use crate::services::config::space::MAX_CHANGES;

struct Watcher(Replies);

impl Watcher {
    async fn new(bench: &Bench, path: &str, after_revision: Option<u64>) -> Self {
        let request = WatchRequest { path: path.into(), after_revision, ..WatchRequest::default() };
        Self(bench.stream(&owner(), "Watch", &request).await)
    }

    /// The revision, the value (none if there is none) and the path of the change.
    async fn next(&mut self) -> (u64, Option<String>, String) {
        let message = tokio::time::timeout(Duration::from_mins(1), self.0.next::<WatchResponse>());
        let message = message.await.unwrap().unwrap().unwrap();
        let data = message.value.unwrap().data;
        assert!(message.found || data == "null");
        (message.revision, message.found.then_some(data), message.changed)
    }
}

fn seen(revision: u64, data: &str, changed: &str) -> (u64, Option<String>, String) {
    (revision, Some(data.to_owned()), changed.to_owned())
}

#[tokio::test]
async fn the_value_comes_first_then_each_change_at_below_and_above_the_path() {
    let bench = Bench::new().await;
    let mut watcher = Watcher::new(&bench, "a.b", None).await;
    assert_eq!(watcher.next().await, (0, None, String::new()));
    bench.set("a.b.c", "1").await.unwrap();
    bench.set("a.bb", "1").await.unwrap();
    bench.set("a", "{\"b\": {\"d\": 2}}").await.unwrap();
    bench.set("a.b", "[5]").await.unwrap();
    bench.set("a", "7").await.unwrap();
    bench.set("a", "8").await.unwrap();
    bench.set("a", "{\"b\": 1}").await.unwrap();
    bench.delete("a").await.unwrap();
    bench.set("", "{\"a\": {\"b\": 9}}").await.unwrap();
    for expected in [
        seen(1, "{\"c\":1}", "a.b.c"),
        seen(3, "{\"c\":1,\"d\":2}", "a"),
        seen(4, "[5]", "a.b"),
        (5, None, "a".to_owned()),
        seen(7, "1", "a"),
        (8, None, "a".to_owned()),
        seen(9, "9", ""),
    ] {
        assert_eq!(watcher.next().await, expected);
    }
}

#[tokio::test]
async fn what_was_missed_comes_first_also_after_a_restart() {
    let bench = Bench::new().await;
    for number in 1..=20 {
        bench.set("a.n", &number.to_string()).await.unwrap();
        bench.set("b", "1").await.unwrap();
    }
    bench.delete("a.n").await.unwrap();
    let bench = bench.again().await;
    let mut watcher = Watcher::new(&bench, "a.n", Some(9)).await;
    for number in 6..=20 {
        assert_eq!(watcher.next().await, seen(2 * number - 1, &number.to_string(), "a.n"));
    }
    assert_eq!(watcher.next().await, (41, None, "a.n".to_owned()));
    bench.set("a.n", "0").await.unwrap();
    assert_eq!(watcher.next().await, seen(42, "0", "a.n"));

    let mut whole = Watcher::new(&bench, "", Some(40)).await;
    assert_eq!(whole.next().await, seen(41, "{\"b\":1}", "a.n"));
    assert_eq!(whole.next().await, seen(42, "{\"a\":{\"n\":0},\"b\":1}", "a.n"));
}

#[tokio::test]
async fn beyond_the_history_one_message_has_the_present_value() {
    let bench = Bench::new().await;
    let last = MAX_CHANGES as u64 + 10;
    for number in 1..=last {
        bench.set("a", &number.to_string()).await.unwrap();
    }
    assert_eq!(every(&*bench.kv, "config-history", "micro/").await.unwrap().len(), MAX_CHANGES);
    let bench = bench.again().await;
    let present = seen(last, &last.to_string(), "");
    // Of a database that was put back, somebody may know the future.
    for after in [9, 0, last + 5] {
        let mut watcher = Watcher::new(&bench, "a", Some(after)).await;
        assert_eq!(watcher.next().await, present, "{after}");
    }
    let mut watcher = Watcher::new(&bench, "a", Some(last - 1)).await;
    assert_eq!(watcher.next().await, seen(last, &last.to_string(), "a"));
}

#[tokio::test]
async fn a_slow_watcher_gets_everything() {
    let bench = Bench::new().await;
    let mut watcher = Watcher::new(&bench, "a", None).await;
    watcher.next().await;
    for number in 1..=500 {
        bench.set("a", &number.to_string()).await.unwrap();
    }
    for number in 1..=500 {
        assert_eq!(watcher.next().await, seen(number, &number.to_string(), "a"));
    }
}

#[tokio::test]
async fn large_changes_are_forgotten_sooner() {
    let bench = Bench::new().await;
    let large = format!("\"{}\"", "x".repeat(MAX_VALUE - 2));
    for _ in 0..20 {
        bench.set("a", &large).await.unwrap();
    }
    let history = every(&*bench.kv, "config-history", "micro/").await.unwrap();
    let bytes: usize = history.iter().map(|entry| entry.value.len()).sum();
    assert!(!history.is_empty() && bytes <= 8 << 20, "{bytes}");
    let mut watcher = Watcher::new(&bench, "a", Some(1)).await;
    assert_eq!(watcher.next().await, seen(20, &large, ""));
}

#[tokio::test]
async fn a_damaged_history_costs_no_more_than_the_history() {
    let bench = Bench::new().await;
    for number in 1..=9 {
        bench.set("a", &number.to_string()).await.unwrap();
    }
    let key = format!("micro/{:016x}", 5);
    bench.kv.commit(Commit::new().put("config-history", key.into_bytes(), "{")).await.unwrap();
    let bench = bench.again().await;
    let mut watcher = Watcher::new(&bench, "a", Some(2)).await;
    assert_eq!(watcher.next().await, seen(9, "9", ""));
    let mut watcher = Watcher::new(&bench, "a", Some(6)).await;
    assert_eq!(watcher.next().await, seen(7, "7", "a"));
}

#[tokio::test]
async fn a_watch_ends_cleanly_with_the_server_also_when_nobody_reads() {
    let bench = Bench::new().await;
    bench.set("a", "1").await.unwrap();
    let mut watcher = Watcher::new(&bench, "a", None).await;
    watcher.next().await;
    let mut stuck = Watcher::new(&bench, "a", Some(0)).await;
    for _ in 0..100 {
        bench.set("a", "1").await.unwrap();
    }
    stuck.next().await;
    bench.tasks.end_streams();
    for mut replies in [watcher.0, stuck.0] {
        while let Some(WatchResponse { .. }) = replies.next().await.unwrap() {}
    }
}
