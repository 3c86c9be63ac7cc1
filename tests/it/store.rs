//! The store, driven through the binary: records, snapshots and blobs, who may what, and what is left
//! after things went wrong.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use micro_sdk::{
    Channel, Client, Error, MESSAGE_LIMIT, Store, Upload,
    blocks::{
        auth::AuthClient,
        store::{BlobStoreClient, StoreClient},
    },
    proto::{
        auth::{GenerateRequest, Options, TokenRequest},
        store::{
            BatchRequest, BlobDeleteRequest, BlobListRequest, BlobOptions, BlobReadRequest, BlobWriteRequest,
            Change, DatabasesRequest, DeleteOptions, DeleteRequest, Field, ListOptions, ListRequest,
            ReadOptions, ReadRequest, Record, RestoreRequest, SnapshotRequest, TablesRequest, WriteOptions,
            WriteRequest, change,
        },
    },
    store::{Put, Records},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    keeper,
    processes::{Foreground, signal},
    support::{Home, PATIENCE, eventually, outcome},
};

/// A home whose server runs.
fn started() -> Home {
    let home = Home::new();
    home.ok(["server", "start"]);
    home
}

/// A client as the owner of the home.
fn owner(home: &Home) -> Client {
    Client::new(Channel::unix(home.state().socket), "store")
}

fn store(home: &Home) -> StoreClient {
    StoreClient::new(owner(home))
}

fn blobs(home: &Home) -> BlobStoreClient {
    BlobStoreClient::new(owner(home))
}

fn write(key: &str, value: impl Into<Vec<u8>>) -> WriteRequest {
    let record = Record { key: key.into(), value: value.into(), ..Record::default() };
    WriteRequest { record: Some(record), options: None }
}

fn read(key: &str, options: ReadOptions) -> ReadRequest {
    ReadRequest { key: key.into(), options: Some(options) }
}

fn code<T>(result: Result<T, Error>) -> i32 {
    result.map_or_else(|e| e.code, |_| 200)
}

async fn listed(store: &StoreClient, options: ListOptions) -> Vec<String> {
    let mut pages = store.list(ListRequest { options: Some(options) }).await.unwrap();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        assert!(page.keys.len() <= 1000, "{} keys in one message", page.keys.len());
        keys.extend(page.keys);
    }
    keys
}

async fn every_key(store: &StoreClient, database: &str) -> Vec<String> {
    listed(store, ListOptions { database: database.into(), ..ListOptions::default() }).await
}

#[test]
fn records_are_written_read_listed_and_deleted() {
    let home = Home::new();
    let said = home.fails(5, ["store", "read", "somekey"]);
    assert!(said.contains("Not found"), "{said}");
    assert_eq!(home.ok(["store", "write", "somekey", "val1"]), "");
    assert_eq!(home.ok(["store", "read", "somekey"]), "val1\n");
    assert_eq!(home.ok(["store", "delete", "somekey"]), "");
    assert_eq!(home.ok(["store", "delete", "somekey"]), "");
    assert!(home.fails(5, ["store", "read", "somekey"]).contains("Not found"));
    home.ok(["store", "write", "somekey1", "val1"]);
    home.ok(["store", "write", "somekey2", "val2"]);
    assert!(home.fails(5, ["store", "read", "somekey"]).contains("Not found"));
    assert_eq!(home.ok(["store", "read", "--prefix", "somekey"]), "val1\nval2\n");
    assert_eq!(home.ok(["store", "read", "-p", "somekey", "--order", "desc"]), "val2\nval1\n");
    assert_eq!(home.ok(["store", "read", "--suffix", "2"]), "val2\n");
    assert_eq!(home.ok(["store", "read", "-p", "somekey", "-l", "1", "--offset", "1"]), "val2\n");
    assert_eq!(
        home.ok(["store", "read", "-v", "--prefix", "somekey"]),
        "KEY        VALUE   EXPIRY\nsomekey1   val1    None\nsomekey2   val2    None\n"
    );
    assert_eq!(home.ok(["store", "list"]), "somekey1\nsomekey2\n");
    assert_eq!(home.ok(["store", "list", "-s", "1", "-o", "json"]), "[\n  \"somekey1\"\n]\n");
    assert_eq!(home.ok(["store", "read", "-p", "nothing"]), "");
}

#[test]
fn values_are_words_files_and_standard_input() {
    let home = Home::new();
    home.ok(["store", "write", "words", "two", "words", "-5"]);
    assert_eq!(home.ok(["store", "read", "words"]), "two words -5\n");
    let bytes: Vec<u8> = (0..=255).collect();
    fs::write(home.path().join("bytes"), &bytes).unwrap();
    home.ok(["store", "write", "bytes", "@bytes", "--expiry", "59m"]);
    let mut raw = home.command(["store", "read", "bytes", "-o", "raw"]);
    assert_eq!(raw.output().unwrap().stdout, bytes);
    let table = home.ok(["store", "read", "-v", "bytes"]);
    assert!(table.contains("0x000102030405060708090a0b0c0d0e0f10111213 "), "{table}");
    assert!(table.contains("58 minutes from now") || table.contains("59 minutes from now"), "{table}");
    let mut piped = home.command(["store", "write", "piped", "-"]);
    let piped = outcome(piped.stdin(fs::File::open(home.path().join("bytes")).unwrap()));
    assert_eq!((piped.code, piped.stdout.as_str(), piped.stderr.as_str()), (Some(0), "", ""));
    let document: Value = serde_json::from_str(&home.ok(["store", "read", "piped", "-o", "json"])).unwrap();
    let version = document[0]["version"].as_u64().unwrap();
    let value = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    assert!(document[0]["value"].as_str().unwrap().starts_with(value), "{document}");
    assert_eq!(document[0]["metadata"], json!({}));
    assert!(document[0].get("expiry").is_none());
    let line: Value = serde_json::from_str(&home.ok(["store", "read", "bytes", "-o", "jsonl"])).unwrap();
    assert!(line["expiry"].as_u64().unwrap() > 3_000_000_000_000, "nanoseconds: {line}");

    let said = home.fails(7, ["store", "write", "piped", "x", "--if-version", "0"]);
    assert!(said.contains("has a record `piped` already"), "{said}");
    home.fails(7, ["store", "write", "piped", "x", "--if-version", &(version + 1).to_string()]);
    home.ok(["store", "write", "piped", "x", "--if-version", &version.to_string()]);
    home.fails(7, ["store", "delete", "piped", "--if-version", &version.to_string()]);
    assert_eq!(home.ok(["store", "read", "piped"]), "x\n");
    for words in [
        &["store", "write", "k"][..],
        &["store", "write", "k", "v", "--expiry", "soon"],
        &["store", "write", "k", "v", "--expiry", "0s"],
        &["store", "read"],
        &["store", "read", "k", "--order", "up"],
        &["store", "list", "--limit", "-1"],
        &["store", "frobnicate"],
        &["store"],
    ] {
        home.fails(2, words);
    }
    let said = home.fails(1, ["store", "write", "k", "@nowhere"]);
    assert!(said.contains("cannot read `nowhere`"), "{said}");
    let large = fs::File::create(home.path().join("large")).unwrap();
    large.set_len(MESSAGE_LIMIT as u64 + 1).unwrap();
    let said = home.fails(7, ["store", "write", "k", "@large"]);
    assert!(said.contains(&MESSAGE_LIMIT.to_string()) && said.contains("micro store blob write"), "{said}");
    large.set_len(MESSAGE_LIMIT as u64 - 500).unwrap();
    let said = home.fails(7, ["store", "write", "k", "@large"]);
    assert!(said.contains("bytes") && said.contains("micro store blob write"), "{said}");
    large.set_len(MESSAGE_LIMIT as u64 - 2048).unwrap();
    home.ok(["store", "write", "k", "@large"]);
    let mut raw = home.command(["store", "read", "k", "-o", "raw"]);
    assert_eq!(raw.output().unwrap().stdout.len(), MESSAGE_LIMIT - 2048);
}

#[test]
fn databases_and_tables_are_chosen_and_listed() {
    let home = Home::new();
    home.ok(["store", "write", "k", "micro/micro"]);
    home.ok(["store", "write", "k", "micro/users", "-t", "users"]);
    home.ok(["store", "write", "k", "shop/micro", "-d", "shop"]);
    home.ok(["-n", "shop-b", "store", "write", "k", "shop-b/we ird", "-t", "../we ird"]);
    for (words, value) in [
        (&["store", "read", "k"][..], "micro/micro\n"),
        (&["store", "read", "k", "--table", "users"], "micro/users\n"),
        (&["-n", "shop", "store", "read", "k"], "shop/micro\n"),
        (&["store", "read", "k", "--database", "shop-b", "--table", "../we ird"], "shop-b/we ird\n"),
        (&["store", "databases"], "micro\nshop\nshop-b\n"),
        (&["store", "tables"], "micro\nusers\n"),
        (&["store", "tables", "-d", "shop-b"], "../we ird\n"),
        (&["-n", "shop", "store", "tables"], "micro\n"),
        (&["-n", "empty", "store", "tables"], ""),
        (&["-n", "empty", "store", "list"], ""),
    ] {
        assert_eq!(home.ok(words), value, "{words:?}");
    }
    home.ok(["store", "delete", "k", "-t", "users"]);
    assert_eq!(home.ok(["store", "tables"]), "micro\n");
    for (code, words) in
        [(7, &["store", "read", "k", "-d", "../x"][..]), (7, &["store", "list", "-t", "a\nb"])]
    {
        home.fails(code, words);
    }
}

#[test]
fn a_service_has_its_own_tables_and_blobs_and_no_others() {
    let home = Home::new();
    keeper::run(&home);
    for name in ["tables", "batch", "expiry", "pages", "blobs", "others"] {
        home.ok(["helloworld", "call", &format!("--name={name}")]);
    }
    assert!(home.ok(["logs", "helloworld"]).contains("Read from blob store: world"));
    // Who administers the namespace sees what it keeps, and under which names.
    assert_eq!(home.ok(["store", "tables"]), "helloworld\n");
    let keys = home.ok(["store", "list", "-t", "helloworld", "-p", "users/"]);
    assert_eq!(keys, "users/ada\nusers/bob\nusers/jane\nusers/john\n");
    assert_eq!(home.ok(["store", "read", "-t", "helloworld", "users/ada"]), "{\"age\":1}\n");
    assert_eq!(home.ok(["store", "blob", "list"]), "helloworld/deep/large\nhelloworld/k\n");
    assert_eq!(home.ok(["store", "blob", "read", "helloworld/k"]), "v");
}

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

#[tokio::test]
async fn names_are_data_or_refused_and_never_paths() {
    let home = started();
    let store = store(&home);
    let before = files_below(&home.data());
    let at = |database: &str, table: &str| WriteOptions {
        database: database.into(),
        table: table.into(),
        ..WriteOptions::default()
    };
    let longest = "k".repeat(4096);
    for key in ["/", "..", "../../x", "a\nb", " ", "%2e%2e", "käse", "\u{7f}", &longest] {
        for table in ["..", "../../other/secret", "/etc/passwd", "a/b", "käse", &"t".repeat(255)] {
            let request = WriteRequest { options: Some(at("micro", table)), ..write(key, "v") };
            store.write(request).await.unwrap();
            let options = ReadOptions { table: table.into(), ..ReadOptions::default() };
            assert_eq!(store.read(read(key, options)).await.unwrap().records[0].key, key);
        }
    }
    for key in ["", "a\0b", &"k".repeat(4097), &"k".repeat(10 << 10)] {
        let error = store.write(write(key, "v")).await.unwrap_err();
        assert!(error.code == 400 && error.detail.len() < 300, "{error}");
        assert_eq!(code(store.read(read(key, ReadOptions::default())).await), 400);
        assert_eq!(code(store.delete(DeleteRequest { key: key.into(), options: None }).await), 400);
    }
    for (database, table) in [
        ("..", "t"),
        ("a/b", "t"),
        ("A", "t"),
        ("micro", "a\0b"),
        ("micro", "a\nb"),
        ("micro", &"t".repeat(256)),
    ] {
        let request = WriteRequest { options: Some(at(database, table)), ..write("k", "v") };
        assert_eq!(code(store.write(request).await), 400, "{database:?} {table:?}");
    }
    // A message that is no text is refused before it reaches anybody.
    let bytes = [&b"\x0a\x05\x0a\x03"[..], &[0xff, 0xfe, 0xfd]].concat();
    assert_eq!(code(owner(&home).unary_bytes("Store.Write", bytes.into()).await), 400);
    let blobs = blobs(&home);
    for key in ["..", "../../x", "a/../b", "a\nb", "/a", "//a", &"k".repeat(1024)] {
        put_blob(&blobs, "", key, "v").await.unwrap();
        assert_eq!(get_blob(&blobs, "", key).await.unwrap(), b"v", "{key:?}");
    }
    for key in ["", "/", "//", "a\0", &"k".repeat(1025)] {
        assert_eq!(code(put_blob(&blobs, "", key, "v").await), 400, "{key:?}");
        assert_eq!(code(get_blob(&blobs, "", key).await), 400, "{key:?}");
    }
    for namespace in ["..", "a/b", "A"] {
        assert_eq!(code(put_blob(&blobs, namespace, "k", "v").await), 400, "{namespace}");
    }
    // The one content of all those blobs, and nothing else.
    let after = files_below(&home.data());
    let new: Vec<_> =
        after.difference(&before).filter(|path| !path.to_string_lossy().contains("micro.db")).collect();
    assert_eq!(new.len(), 1, "{new:?}");
}

fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.insert(entry.path());
        }
    }
    found
}

/// The files of the blobs of a home.
fn contents(home: &Home) -> BTreeSet<PathBuf> {
    files_below(&home.data().join("server/blobs"))
}

fn blob_options(namespace: &str) -> BlobOptions {
    BlobOptions { namespace: namespace.into(), ..BlobOptions::default() }
}

async fn put_blob(
    blobs: &BlobStoreClient,
    namespace: &str,
    key: &str,
    content: impl Into<Vec<u8>>,
) -> Result<String, Error> {
    let mut upload = Upload::new(blobs.write());
    let options = Some(blob_options(namespace));
    upload.send(BlobWriteRequest { key: key.into(), options, blob: content.into() }).await?;
    Ok(upload.finish().await?.info.unwrap().digest)
}

async fn get_blob(blobs: &BlobStoreClient, namespace: &str, key: &str) -> Result<Vec<u8>, Error> {
    let request = BlobReadRequest { key: key.into(), options: Some(blob_options(namespace)) };
    let mut pieces = blobs.read(request).await?;
    let mut content = Vec::new();
    while let Some(piece) = pieces.next().await? {
        content.extend(piece.blob);
    }
    Ok(content)
}

/// A client at the proxy with this account, made by the owner of the home.
async fn account(home: &Home, id: &str, kind: &str, scopes: &[&str], namespace: &str) -> Client {
    let options = Some(Options { namespace: namespace.into() });
    let auth = AuthClient::new(Client::new(Channel::unix(home.state().socket), "auth"));
    let request = GenerateRequest {
        id: id.into(),
        r#type: kind.into(),
        secret: "a long secret".into(),
        scopes: scopes.iter().map(|&scope| scope.into()).collect(),
        options: options.clone(),
        ..GenerateRequest::default()
    };
    auth.generate(request).await.unwrap();
    let request =
        TokenRequest { id: id.into(), secret: "a long secret".into(), options, ..TokenRequest::default() };
    let token = auth.token(request).await.unwrap().token.unwrap().access_token;
    Client::new(Channel::tcp(home.state().proxy), "store").with_token(&token).unwrap()
}

/// What each method answers to a caller, for the things of a namespace.
async fn answers(client: &Client, namespace: &str) -> Vec<(&'static str, i32)> {
    let (store, blobs) = (StoreClient::new(client.clone()), BlobStoreClient::new(client.clone()));
    let database = || namespace.to_owned();
    let options = WriteOptions { database: database(), ..WriteOptions::default() };
    let list = ListRequest { options: Some(ListOptions { database: database(), ..ListOptions::default() }) };
    let listed = async { store.list(list).await?.next().await };
    let copied = async { store.snapshot(SnapshotRequest { database: database() }).await?.next().await };
    let restored = async {
        let mut upload = Upload::new(store.restore());
        drop(upload.send(RestoreRequest { database: database(), data: b"nothing".to_vec() }).await);
        upload.finish().await
    };
    let change = Change { change: write("k", "v").record.map(change::Change::Write), ..Change::default() };
    let delete = DeleteOptions { database: database(), ..DeleteOptions::default() };
    let blob_list = micro_sdk::proto::store::BlobListOptions { namespace: database(), ..Default::default() };
    vec![
        (
            "Read",
            code(store.read(read("k", ReadOptions { database: database(), ..ReadOptions::default() })).await),
        ),
        ("Write", code(store.write(WriteRequest { options: Some(options), ..write("k", "v") }).await)),
        ("Delete", code(store.delete(DeleteRequest { key: "k".into(), options: Some(delete) }).await)),
        ("List", code(listed.await)),
        ("Tables", code(store.tables(TablesRequest { database: database() }).await)),
        ("Batch", code(store.batch(BatchRequest { changes: vec![change], database: database() }).await)),
        ("Snapshot", code(copied.await)),
        ("Restore", code(restored.await)),
        ("Databases", code(store.databases(DatabasesRequest {}).await)),
        ("BlobStore.Write", code(put_blob(&blobs, namespace, "k", "v").await)),
        ("BlobStore.Read", code(get_blob(&blobs, namespace, "k").await)),
        (
            "BlobStore.Delete",
            code(
                blobs
                    .delete(BlobDeleteRequest { key: "k".into(), options: Some(blob_options(namespace)) })
                    .await,
            ),
        ),
        ("BlobStore.List", code(blobs.list(BlobListRequest { options: Some(blob_list) }).await)),
    ]
}

#[tokio::test]
async fn namespaces_are_kept_apart_at_every_method() {
    let home = started();
    let all = |answers: &[(&'static str, i32)], expected: i32| {
        let others: Vec<_> = answers.iter().filter(|(_, code)| *code != expected).copied().collect();
        assert!(others.is_empty(), "expected {expected}: {others:?}");
    };
    let nobody = Client::new(Channel::tcp(home.state().proxy), "store");
    for namespace in ["micro", "shop", ""] {
        all(&answers(&nobody, namespace).await, 401);
    }
    let admin = account(&home, "jane", "user", &["admin"], "shop").await;
    let expected = |answers: Vec<(&str, i32)>, but: &[(&str, i32)]| {
        for (method, code) in answers {
            let expected = but.iter().find(|(name, _)| *name == method).map_or(200, |(_, code)| *code);
            assert_eq!(code, expected, "{method}");
        }
    };
    // The record is not there yet; what is sent to be restored is no snapshot.
    expected(answers(&admin, "shop").await, &[("Read", 404), ("Restore", 400), ("Databases", 403)]);
    for namespace in ["micro", "other"] {
        all(&answers(&admin, namespace).await, 403);
    }
    // A header names a namespace for who is looked up, and opens none.
    let forged = admin.clone().with_namespace("other").unwrap();
    all(&answers(&forged, "other").await, 403);
    let mut blobs = BlobStoreClient::new(forged);
    assert_eq!(code(put_blob(&blobs, "", "k", "v").await), 403);
    blobs = BlobStoreClient::new(admin.with_namespace("shop").unwrap());
    put_blob(&blobs, "", "k", "v").await.unwrap();
    assert_eq!(home.ok(["-n", "shop", "store", "blob", "list"]), "k\n");
    assert_eq!(home.ok(["store", "blob", "list"]), "");
    all(&answers(&account(&home, "john", "user", &[], "shop").await, "shop").await, 403);
    // The super-admins of Micro v4: services of the platform's namespace.
    let service = account(&home, "users", "service", &["service", "admin"], "micro").await;
    all(&answers(&service, "shop").await, 403);
    let own = answers(&service, "micro").await;
    assert!(
        own.iter().all(|(method, code)| *code == if method.starts_with("BlobStore") { 200 } else { 403 }),
        "{own:?}"
    );
    let root = account(&home, "root", "user", &["admin"], "micro").await;
    expected(answers(&root, "shop").await, &[("Restore", 400)]);
    let (status, body) = home.http("/store/list");
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()["code"].as_i64()), (401, Some(401)));
}

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
    let mut upload = Upload::new(store.restore());
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
    let mut upload = Upload::new(store.restore());
    upload.send(RestoreRequest { data: whole.clone(), ..RestoreRequest::default() }).await.unwrap();
    drop(upload);
    assert_eq!(every_key(&store, "micro").await, before);
    assert_eq!(code(Upload::new(store.restore()).finish().await), 400);
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
    fs::write(&file, &fs::read(&file).unwrap()[..40]).unwrap();
    let said = home.fails(7, ["store", "restore", "copy", "-y"]);
    assert!(said.contains("cut off") && said.contains("nothing was changed"), "{said}");
    home.fails(1, ["store", "restore", "nowhere", "-y"]);
    fs::write(home.path().join("empty"), "").unwrap();
    let said = home.fails(7, ["store", "restore", "empty", "-y"]);
    assert!(said.contains("is none"), "{said}");
    assert_eq!(home.ok(["store", "read", "k"]), "v\n");
    let said = home.fails(1, ["store", "snapshot", "no/such/folder"]);
    assert!(said.contains("cannot write `no/such/folder`"), "{said}");
    assert!(!files_below(home.path()).iter().any(|path| path.to_string_lossy().contains("partial")));
}

/// Bytes that repeat late, so that what is lost or doubled shows.
fn long_content(megabytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let numbers = (0..megabytes << 18).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()
    });
    numbers.flatten().collect()
}

#[test]
fn a_large_blob_is_streamed_both_ways() {
    let home = Home::new();
    let content = long_content(64);
    fs::write(home.path().join("in"), &content).unwrap();
    let said = home.fails(5, ["store", "blob", "read", "large"]);
    assert!(said.contains("Blob not found"), "{said}");
    let write = ["store", "blob", "write", "large", "in", "--content-type", "application/octet-stream"];
    assert_eq!(home.ok(write), "");
    assert_eq!(home.ok(["store", "blob", "read", "large", "--to", "out"]), "");
    assert!(fs::read(home.path().join("out")).unwrap() == content);
    let listed: Value = serde_json::from_str(&home.ok(["store", "blob", "list", "-o", "json"])).unwrap();
    let digest = hex::encode(Sha256::digest(&content));
    assert_eq!(
        listed,
        json!([{"key": "large", "size": 64 << 20, "digest": digest, "content_type": "application/octet-stream"}])
    );
    assert_eq!(home.ok(["store", "blob", "list"]), "large\n");
    assert!(home.ok(["store", "blob", "list", "-v"]).ends_with(&format!("{digest}\n")));
    let mut piped = home.command(["store", "blob", "write", "piped", "-"]);
    assert_eq!(outcome(piped.stdin(fs::File::open(home.path().join("in")).unwrap())).code, Some(0));
    let read = home.command(["store", "blob", "read", "piped"]).output().unwrap();
    assert!(read.stdout == content);
    // One content, two keys.
    assert_eq!(contents(&home).len(), 1);
    home.ok(["store", "blob", "delete", "large"]);
    assert_eq!(contents(&home).len(), 1);
    home.ok(["store", "blob", "delete", "piped"]);
    home.ok(["store", "blob", "delete", "piped"]);
    assert_eq!(contents(&home).len(), 0);
    home.fails(1, ["store", "blob", "write", "k", "nowhere"]);
}

#[tokio::test]
async fn blobs_are_listed_page_by_page_and_replaced_whole() {
    let home = started();
    let blobs = blobs(&home);
    for number in 0..30 {
        put_blob(&blobs, "", &format!("k/{number:02}"), format!("content {}", number % 3)).await.unwrap();
    }
    assert_eq!(contents(&home).len(), 3);
    let list = |prefix: &str, limit, after: &str| {
        let options = micro_sdk::proto::store::BlobListOptions {
            prefix: prefix.into(),
            limit,
            after: after.into(),
            ..Default::default()
        };
        blobs.list(BlobListRequest { options: Some(options) })
    };
    assert_eq!(list("", 0, "").await.unwrap().keys.len(), 30);
    assert_eq!(list("k/1", 0, "").await.unwrap().keys.len(), 10);
    assert_eq!(list("k/", 2, "k/27").await.unwrap().keys, ["k/28", "k/29"]);
    let page = list("k/0", 1, "k/03").await.unwrap();
    assert_eq!((page.keys[0].as_str(), page.blobs[0].size), ("k/04", 9));
    put_blob(&blobs, "", "k/00", "new").await.unwrap();
    put_blob(&blobs, "", "empty", "").await.unwrap();
    assert_eq!(get_blob(&blobs, "", "k/00").await.unwrap(), b"new");
    assert_eq!(get_blob(&blobs, "", "empty").await.unwrap(), b"");
    assert_eq!(contents(&home).len(), 5);
    // The first message says what the blob is, and needs no options; the others only bring bytes.
    let mut upload = Upload::new(blobs.write());
    for (key, blob) in [("two", "a"), ("other", "b"), ("", "c")] {
        upload.send(BlobWriteRequest { key: key.into(), blob: blob.into(), options: None }).await.unwrap();
    }
    assert_eq!(upload.finish().await.unwrap().info.unwrap().key, "two");
    assert_eq!(get_blob(&blobs, "", "two").await.unwrap(), b"abc");
    let error = Upload::new(blobs.write()).finish().await.unwrap_err();
    assert_eq!((error.code, error.detail.as_str()), (400, "No blob was sent"));
    let error = put_blob(&blobs, "", "", "v").await.unwrap_err();
    assert_eq!((error.code, error.detail.as_str()), (400, "Missing key"));
    assert_eq!(code(get_blob(&blobs, "", "other").await), 404);
    assert!(!blobs.delete(BlobDeleteRequest { key: "other".into(), options: None }).await.unwrap().existed);
}

#[tokio::test]
async fn an_upload_that_breaks_off_changes_nothing() {
    let home = started();
    let blobs = blobs(&home);
    put_blob(&blobs, "", "k", "old").await.unwrap();
    let drafts = home.data().join("server/blobs/drafts");
    let begun = |blobs: BlobStoreClient| async move {
        let mut upload = Upload::new(blobs.write());
        let mut request = BlobWriteRequest { key: "k".into(), blob: vec![1; 10_000], options: None };
        while files_below(&drafts).is_empty() {
            upload.send(std::mem::take(&mut request)).await.unwrap();
            request.blob = vec![1; 10_000];
            tokio::task::yield_now().await;
        }
        upload
    };
    drop(begun(blobs.clone()).await);
    let gone = || files_below(&home.data().join("server/blobs/drafts")).is_empty().then_some(());
    let waited = tokio::time::timeout(PATIENCE, async {
        while gone().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("what was sent is removed");
    assert_eq!(get_blob(&blobs, "", "k").await.unwrap(), b"old");
    assert_eq!(contents(&home).len(), 1);
}

#[tokio::test]
async fn what_a_killed_server_left_is_swept_and_what_was_acknowledged_is_there() {
    let home = Home::new();
    let server = Foreground::start(&home, &["--isolated"]);
    let blobs = blobs(&home);
    let digest = put_blob(&blobs, "", "k", "wanted").await.unwrap();
    store(&home).write(write("k", "v")).await.unwrap();
    let mut upload = Upload::new(blobs.write());
    let drafts = home.data().join("server/blobs/drafts");
    while files_below(&drafts).is_empty() {
        drop(upload.send(BlobWriteRequest { key: "half".into(), blob: vec![1; 1000], options: None }).await);
        tokio::task::yield_now().await;
    }
    signal(server.pid(), "KILL");
    server.wait();
    drop(upload);
    assert_eq!(files_below(&drafts).len(), 1);
    // Content that was kept just before its key was to be written.
    let unwanted = hex::encode(Sha256::digest(b"unwanted"));
    let folder = home.data().join("server/blobs").join(&unwanted[..2]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&unwanted[2..]), "unwanted").unwrap();
    home.ok(["server", "start"]);
    eventually("what nobody has to be removed", || (contents(&home).len() == 1).then_some(()));
    let wanted = home.data().join("server/blobs").join(&digest[..2]).join(&digest[2..]);
    assert!(wanted.is_file());
    assert_eq!(home.ok(["store", "blob", "read", "k"]), "wanted");
    assert_eq!(home.ok(["store", "read", "k"]), "v\n");
    home.fails(5, ["store", "blob", "read", "half"]);
}

#[test]
fn a_blob_that_is_damaged_on_disk_is_never_given_out_as_whole() {
    let home = Home::new();
    let content = long_content(1);
    fs::write(home.path().join("in"), &content).unwrap();
    home.ok(["store", "blob", "write", "k", "in"]);
    let path = contents(&home).into_iter().next().unwrap();
    let mut damaged = content.clone();
    damaged[1000] ^= 1;
    for damaged in [&damaged[..], &content[..content.len() - 1]] {
        fs::write(&path, damaged).unwrap();
        let said = home.fails(7, ["store", "blob", "read", "k", "--to", "out"]);
        assert!(said.contains("damaged"), "{said}");
        assert!(!home.path().join("out").exists());
    }
    fs::remove_file(&path).unwrap();
    home.fails(7, ["store", "blob", "read", "k"]);
    home.ok(["store", "blob", "write", "k", "in"]);
    home.ok(["store", "blob", "read", "k", "--to", "out"]);
    assert!(fs::read(home.path().join("out")).unwrap() == content);
}

#[tokio::test]
async fn one_content_may_be_written_and_deleted_by_many_at_once() {
    let home = started();
    let blobs = blobs(&home);
    let callers = (0..8).map(|number| {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            let key = format!("k{number}");
            for _ in 0..10 {
                put_blob(&blobs, "", &key, "the same").await.unwrap();
                assert_eq!(get_blob(&blobs, "", &key).await.unwrap(), b"the same");
                let request = BlobDeleteRequest { key: key.clone(), options: None };
                assert!(blobs.delete(request).await.unwrap().existed);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(contents(&home).len(), 0);
}
