//! Records: how long they live, how they are paged, and on which conditions they change.

use micro_sdk::{
    MESSAGE_LIMIT, Store,
    proto::store::{
        BatchRequest, Change, DeleteOptions, DeleteRequest, Field, ListOptions, ReadOptions, Record,
        WriteRequest, change,
    },
    store::Records,
};

use super::support::{code, listed, owner, read, started, store, write};
use crate::support::eventually;

#[tokio::test]
async fn a_record_expires_by_itself_and_says_when() {
    let home = started();
    let store = store(&home);
    let expiring = |key: &str, expiry, expiry_ms| {
        let record = Record { key: key.into(), value: b"v".to_vec(), expiry, expiry_ms, ..Record::default() };
        WriteRequest { record: Some(record), options: None }
    };
    store.write(expiring("seconds", 1, 0)).await.unwrap();
    store.write(expiring("milliseconds", 0, 700)).await.unwrap();
    store.write(expiring("both", 1, 3_600_000)).await.unwrap();
    store.write(expiring("never", 0, 0)).await.unwrap();
    let all = || read("", ReadOptions { prefix: true, ..ReadOptions::default() });
    let records = store.read(all()).await.unwrap().records;
    let told: Vec<_> = records.iter().map(|r| (r.key.as_str(), r.expiry)).collect();
    assert_eq!(told, [("both", 3600), ("milliseconds", 1), ("never", 0), ("seconds", 1)]);
    assert!(records[1].expiry_ms > 0 && records[1].expiry_ms <= 700, "{:?}", records[1]);
    eventually("the records to expire", || {
        let keys: Vec<String> = home.ok(["store", "list"]).lines().map(str::to_owned).collect();
        (keys == ["both", "never"]).then_some(())
    });
    assert_eq!(code(store.read(read("seconds", ReadOptions::default())).await), 404);
    let deleted = store.delete(DeleteRequest { key: "seconds".into(), options: None }).await.unwrap();
    assert!(!deleted.existed);
    for wrong in [expiring("k", -1, 0), expiring("k", 0, -1)] {
        assert_eq!(code(store.write(wrong).await), 400);
    }
}

#[tokio::test]
async fn thousands_of_records_come_page_by_page() {
    let home = started();
    let store = store(&home);
    let keys: Vec<String> = (0..2500).map(|number| format!("key/{number:04}")).collect();
    for part in keys.chunks(1250) {
        let changes = part.iter().map(|key| {
            let record = Record { key: key.clone(), value: key.clone().into_bytes(), ..Record::default() };
            Change { change: Some(change::Change::Write(record)), ..Change::default() }
        });
        store.batch(BatchRequest { changes: changes.collect(), ..BatchRequest::default() }).await.unwrap();
    }
    assert_eq!(listed(&store, ListOptions::default()).await, keys);
    let options = || ListOptions { limit: 1100, offset: 1300, ..ListOptions::default() };
    assert_eq!(listed(&store, options()).await, keys[1300..2400]);
    let descending = ListOptions { order: "desc".into(), offset: 2400, ..ListOptions::default() };
    assert_eq!(listed(&store, descending).await, keys[..100].iter().rev().cloned().collect::<Vec<_>>());
    let suffix = ListOptions { prefix: "key/".into(), suffix: "99".into(), ..ListOptions::default() };
    assert_eq!(listed(&store, suffix).await.len(), 25);
    let after = ListOptions { after: "key/2497".into(), ..ListOptions::default() };
    assert_eq!(listed(&store, after).await, keys[2498..]);
    assert_eq!(listed(&store, ListOptions { offset: 9999, ..ListOptions::default() }).await, [""; 0]);

    let prefix = || ReadOptions { prefix: true, ..ReadOptions::default() };
    assert_eq!(store.read(read("key/", prefix())).await.unwrap().records.len(), 2500);
    let last = ReadOptions { limit: 3, offset: 2498, ..prefix() };
    let last = store.read(read("key/", last)).await.unwrap().records;
    assert_eq!(last.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["key/2498", "key/2499"]);
    let both = ReadOptions { suffix: true, ..prefix() };
    store.write(write("ab", "v")).await.unwrap();
    store.write(write("abab", "v")).await.unwrap();
    assert_eq!(store.read(read("ab", both)).await.unwrap().records.len(), 2);
    assert_eq!(code(store.read(read("", ReadOptions { order: "up".into(), ..prefix() })).await), 400);
    let mut pages = Records::new(store.clone(), read("key/", ReadOptions { limit: 1700, ..prefix() }));
    let mut count = 0;
    while let Some(record) = pages.next().await.unwrap() {
        assert_eq!(record.key, keys[count]);
        count += 1;
    }
    assert_eq!(count, 1700);
}

#[tokio::test]
async fn what_is_more_than_a_message_is_refused_with_the_way_out() {
    let home = started();
    let store = store(&home);
    for number in 0..17 {
        store.write(write(&format!("large/{number:02}"), vec![number; 1 << 20])).await.unwrap();
    }
    let prefix = || ReadOptions { prefix: true, ..ReadOptions::default() };
    let error = store.read(read("large/", prefix())).await.unwrap_err();
    assert_eq!(error.code, 413);
    assert!(error.detail.contains(&MESSAGE_LIMIT.to_string()) && error.detail.contains("`after`"), "{error}");
    let page = ReadOptions { limit: 15, ..prefix() };
    assert_eq!(store.read(read("large/", page)).await.unwrap().records.len(), 15);
    let mut all = Records::new(store, read("large/", prefix()));
    let mut count = 0;
    while let Some(record) = all.next().await.unwrap() {
        assert!(record.value == vec![count; 1 << 20]);
        count += 1;
    }
    assert_eq!(count, 17);
}

#[tokio::test]
async fn metadata_keeps_its_types() {
    let home = started();
    let store = store(&home);
    let field = |kind: &str, value: &str| Field { r#type: kind.into(), value: value.into() };
    let metadata =
        [("name", field("string", "Jane")), ("age", field("int", "30")), ("odd", field("", "\0ä"))];
    let metadata = metadata.map(|(name, field)| (name.to_owned(), field)).into();
    let record = Record { key: "k".into(), metadata, ..Record::default() };
    let request = WriteRequest { record: Some(record.clone()), options: None };
    store.write(request).await.unwrap();
    let read = store.read(read("k", ReadOptions::default())).await.unwrap().records.remove(0);
    assert_eq!((read.metadata, read.value), (record.metadata, Vec::new()));
}

#[tokio::test]
async fn conditions_hold_or_nothing_is_changed() {
    let home = started();
    let store = store(&home);
    let put = |key: &str, value: &str, if_version| Change {
        table: "t".into(),
        change: write(key, value).record.map(change::Change::Write),
        if_version,
    };
    let delete = |key: &str, if_version| Change {
        table: "t".into(),
        change: Some(change::Change::Delete(key.into())),
        if_version,
    };
    let batch = |changes: Vec<Change>| store.batch(BatchRequest { changes, ..BatchRequest::default() });
    let first = batch(vec![put("a", "1", Some(0)), put("b", "1", None)]).await.unwrap().version;
    let get = async |key: &str| {
        let options = ReadOptions { table: "t".into(), ..ReadOptions::default() };
        let records = store.read(read(key, options)).await.map(|response| response.records);
        records.ok().map(|mut records| records.remove(0))
    };
    assert_eq!(get("a").await.unwrap().version, first);
    for (changes, word) in [
        (vec![put("c", "1", None), put("a", "2", Some(0))], "already"),
        (vec![delete("b", None), put("a", "2", Some(first + 1))], "any more"),
        (vec![put("a", "2", Some(first)), delete("missing", Some(first))], "missing"),
    ] {
        let error = batch(changes).await.unwrap_err();
        assert!(error.code == 412 && error.detail.contains(word), "{error}");
        assert_eq!(
            (get("a").await.unwrap().value, get("b").await.is_some(), get("c").await.is_none()),
            (b"1".to_vec(), true, true)
        );
    }
    for (changes, word) in [
        (vec![], "1 to 2000"),
        (vec![put("c", "1", None); 2001], "1 to 2000"),
        (vec![put("c", "1", None), Change::default()], "change 2"),
        (vec![put("c", "1", None), put("", "1", None)], "change 2: a key is required"),
    ] {
        let error = batch(changes).await.unwrap_err();
        assert!(error.code == 400 && error.detail.contains(word), "{error}");
        assert!(get("c").await.is_none());
    }
    let second = batch(vec![put("a", "2", Some(first)), delete("b", Some(first))]).await.unwrap().version;
    assert!(second > first && get("b").await.is_none());

    let remove = |if_version| {
        let options = DeleteOptions { table: "t".into(), if_version, ..DeleteOptions::default() };
        store.delete(DeleteRequest { key: "a".into(), options: Some(options) })
    };
    assert_eq!((code(remove(Some(first)).await), code(remove(Some(0)).await)), (412, 412));
    assert!(remove(Some(second)).await.unwrap().existed);
    assert!(!remove(None).await.unwrap().existed);
    assert!(!remove(Some(0)).await.unwrap().existed);
    assert_eq!(code(remove(Some(second)).await), 412);
    assert_eq!(code(store.write(WriteRequest::default()).await), 400);
}

#[tokio::test]
async fn many_writers_lose_nothing() {
    let home = started();
    let table = Store::new(owner(&home), "micro", "").shared_table::<u64>("counters");
    let writers = (0..8).map(|_| {
        let table = table.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let entry = table.entry("count").await.unwrap();
                    let (version, count) =
                        entry.map_or((None, 0), |entry| (Some(entry.version), entry.value));
                    if table.compare_and_set("count", version, &(count + 1)).await.unwrap().is_some() {
                        break;
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(table.get("count").await.unwrap(), Some(80));
}
