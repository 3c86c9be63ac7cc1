//! Names that are odd, and callers that may not: neither reaches what belongs to others.

use micro_sdk::{
    Channel, Client,
    blocks::{
        auth::AuthClient,
        store::{BlobStoreClient, StoreClient},
    },
    proto::{
        auth::{GenerateRequest, Options, TokenRequest},
        store::{
            BatchRequest, BlobDeleteRequest, BlobListOptions, BlobListRequest, Change, DatabasesRequest,
            DeleteOptions, DeleteRequest, ListOptions, ListRequest, ReadOptions, RestoreRequest,
            SnapshotRequest, TablesRequest, WriteOptions, WriteRequest, change,
        },
    },
};
use serde_json::Value;

use super::support::{
    blob_options, blobs, code, files_below, get_blob, owner, put_blob, read, started, store, write,
};
use crate::support::Home;

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
    // The one content of all those blobs, and nothing else but what the server itself unpacks.
    let after = files_below(&home.data());
    let new: Vec<_> = after
        .difference(&before)
        .filter(|path| !["micro.db", "/data/sdk/"].iter().any(|other| path.to_string_lossy().contains(other)))
        .collect();
    assert_eq!(new.len(), 1, "{new:?}");
}

/// A client at the proxy with this account, made by the owner of the home.
async fn account(home: &Home, id: &str, kind: &str, scopes: &[&str], namespace: &str) -> Client {
    let token = token(home, id, kind, scopes, namespace).await;
    Client::new(Channel::tcp(home.state().proxy), "store").with_token(&token)
}

/// A token of this account, made by the owner of the home.
pub(super) async fn token(home: &Home, id: &str, kind: &str, scopes: &[&str], namespace: &str) -> String {
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
    auth.token(request).await.unwrap().token.unwrap().access_token
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
        let mut upload = store.restore();
        drop(upload.send(RestoreRequest { database: database(), data: b"nothing".to_vec() }).await);
        upload.finish().await
    };
    let change = Change { change: write("k", "v").record.map(change::Change::Write), ..Change::default() };
    let delete = DeleteOptions { database: database(), ..DeleteOptions::default() };
    let blob_list = BlobListOptions { namespace: database(), ..Default::default() };
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
    let forged = admin.clone().with_namespace("other");
    all(&answers(&forged, "other").await, 403);
    let mut blobs = BlobStoreClient::new(forged);
    assert_eq!(code(put_blob(&blobs, "", "k", "v").await), 403);
    blobs = BlobStoreClient::new(admin.with_namespace("shop"));
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
