//! The scaffold with a greeting that uses the store, for what a service can rely on with no rule at
//! all.

use std::{ffi::OsStr, path::PathBuf, sync::OnceLock};

use crate::{faulty::build, support::Home};

/// What the greeting does instead, by the name it is called with. What it expects and does not get
/// is a panic, which fails the call.
const CALL: &str = r#"
        use std::{collections::BTreeMap, time::Duration};
        use micro_sdk::{blocks::store::StoreClient, proto::store, store::Put, tokio};
        let store = cx.store();
        type User = BTreeMap<String, u32>;
        let user = |age| User::from([("age".to_owned(), age)]);
        match request.name.as_str() {
            "tables" => {
                let users = store.table::<User>("users");
                let first = users.put("jane", &user(30)).await?;
                assert_eq!(users.get("jane").await?, Some(user(30)));
                assert_eq!(users.get("john").await?, None);
                let second = users.compare_and_set("jane", Some(first), &user(31)).await?.expect("nobody else");
                assert_eq!(users.compare_and_set("jane", Some(first), &user(32)).await?, None);
                assert_eq!(users.compare_and_set("jane", None, &user(32)).await?, None);
                assert!(users.compare_and_set("john", None, &user(20)).await?.is_some());
                let entry = users.entry("jane").await?.expect("it was put");
                assert_eq!((entry.version, entry.value, entry.expires_in), (second, user(31), None));
                for (name, age) in [("ada", 1), ("bob", 2), ("zoe", 3)] {
                    users.put(name, &user(age)).await?;
                }
                let keys = |entries: Vec<micro_sdk::store::Entry<User>>| -> Vec<String> {
                    entries.into_iter().map(|entry| entry.key).collect()
                };
                assert_eq!(keys(users.list("").collect().await?), ["ada", "bob", "jane", "john", "zoe"]);
                assert_eq!(keys(users.list("j").descending().collect().await?), ["john", "jane"]);
                assert_eq!(keys(users.list("").limit(2).collect().await?), ["ada", "bob"]);
                assert_eq!(keys(users.range("bob", "john").collect().await?), ["bob", "jane"]);
                assert_eq!(keys(users.range("b", "k").descending().collect().await?), ["john", "jane", "bob"]);
                assert_eq!(keys(users.range("", "b").collect().await?), ["ada"]);
                assert_eq!(keys(users.range("bob", "zz").limit(1).collect().await?), ["bob"]);
                assert!(users.range("k", "b").collect().await?.is_empty());
                assert!(users.delete("zoe").await? && !users.delete("zoe").await?);
                // Names that look like keys of one another stay apart.
                store.bytes("a/b").put("c", &b"1".to_vec()).await?;
                store.bytes("a").put("b/c", &b"2".to_vec()).await?;
                assert_eq!(store.bytes("a/b").get("c").await?, Some(b"1".to_vec()));
                assert_eq!(store.bytes("a").get("b/c").await?, Some(b"2".to_vec()));
                let put = Put::new().ttl(Duration::from_secs(3600)).if_absent().metadata("by", "test");
                store.bytes("a").put_with("timed", &vec![0, 255], put).await?;
                let timed = store.bytes("a").entry("timed").await?.expect("it was put");
                assert!(timed.expires_in.is_some_and(|left| left <= Duration::from_secs(3600)));
                assert_eq!((&timed.value[..], timed.metadata["by"].as_str()), (&[0, 255][..], "test"));
                let error = store.table::<User>("a").get("timed").await.unwrap_err();
                assert!(error.code == 500 && error.detail.contains("`timed` has another form"), "{error}");
            }
            "batch" => {
                let (users, log) = (store.table::<User>("users"), store.bytes("log"));
                let first = store.batch().put(&users, "a", &user(1)).put(&log, "1", &b"a".to_vec()).commit().await?;
                let entry = users.entry("a").await?.expect("it was put");
                assert_eq!((entry.version, log.entry("1").await?.expect("too").version), (first, first));
                let stale = store.batch().delete(&log, "1").put_with(&users, "a", &user(2), Put::new().if_absent());
                assert_eq!(stale.commit().await.unwrap_err().code, 412);
                assert!(log.get("1").await?.is_some());
                store.batch().delete_version(&users, "a", first).delete(&log, "1").commit().await?;
                assert_eq!((users.get("a").await?, log.get("1").await?), (None, None));
            }
            "expiry" => {
                let table = store.bytes("expiry");
                table.put_with("short", &b"v".to_vec(), Put::new().ttl(Duration::from_millis(300))).await?;
                assert!(table.get("short").await?.is_some());
                tokio::time::sleep(Duration::from_millis(400)).await;
                assert_eq!(table.get("short").await?, None);
                assert!(table.list("").collect().await?.is_empty());
            }
            "pages" => {
                let table = store.bytes("pages");
                for thousand in 0..3 {
                    let numbers = thousand * 1000..thousand * 1000 + 1000;
                    let put = |batch: micro_sdk::store::Batch, number| {
                        batch.put(&table, &format!("{number:04}"), &vec![7; 10])
                    };
                    numbers.fold(store.batch(), put).commit().await?;
                }
                let (mut entries, mut count) = (table.list(""), 0);
                while let Some(entry) = entries.next().await? {
                    assert_eq!(entry.key, format!("{count:04}"));
                    count += 1;
                }
                assert_eq!(count, 3000);
                // Twenty of these are more than a message.
                for number in 0..20 {
                    table.put(&format!("large/{number:02}"), &vec![7; 1 << 20]).await?;
                }
                assert_eq!(table.list("large/").collect().await?.len(), 20);
            }
            "blobs" => {
                let blobs = store.blobs();
                assert!(blobs.read("hello").await?.is_none());
                let info = blobs.put("hello", "world").await?;
                assert_eq!((info.key.as_str(), info.size), ("hello", 5));
                let content = blobs.get("hello").await?.expect("it was put");
                eprintln!("Read from blob store: {}", String::from_utf8_lossy(&content));
                let mut writer = blobs.write_as("deep/large", "text/plain");
                for piece in 0..100_u8 {
                    writer.write(vec![piece; 100_000]).await?;
                }
                assert_eq!(writer.finish().await?.size, 10_000_000);
                let mut reader = blobs.read("deep/large").await?.expect("it was written");
                assert_eq!(reader.info().content_type, "text/plain");
                let (mut size, mut last) = (0, 0);
                while let Some(piece) = reader.next().await? {
                    size += piece.len();
                    last = piece.last().copied().unwrap_or(last);
                }
                assert_eq!((size, last), (10_000_000, 99));
                let keys = |page: Vec<store::BlobInfo>| -> Vec<String> { page.into_iter().map(|b| b.key).collect() };
                assert_eq!(keys(blobs.list("", "").await?), ["deep/large", "hello"]);
                assert_eq!(keys(blobs.list("", "deep/large").await?), ["hello"]);
                assert_eq!(keys(blobs.list("/helloworld/de", "").await?), ["deep/large"]);
                // What is dropped before its end was never written.
                let mut writer = blobs.write("hello");
                writer.write("half").await?;
                drop(writer);
                assert_eq!(blobs.get("hello").await?, Some(b"world".to_vec()));
                assert!(blobs.delete("hello").await? && !blobs.delete("hello").await?);
            }
            "others" => {
                let value = b"v".to_vec();
                let plain = StoreClient::new(cx.client("store"));
                let elsewhere = micro_sdk::Store::new(cx.client("store"), "shop", "helloworld");
                let (read, key) = (micro_sdk::proto::store::ReadRequest::default(), "k");
                let mut codes = vec![
                    store.shared_bytes("other").put(key, &value).await.map(drop).map_err(|e| e.code),
                    store.shared_bytes("other").get(key).await.map(drop).map_err(|e| e.code),
                    store.shared_bytes("hello").get(key).await.map(drop).map_err(|e| e.code),
                    store.shared_bytes("helloworld/x").get(key).await.map(drop).map_err(|e| e.code),
                    store.shared_bytes("").get(key).await.map(drop).map_err(|e| e.code),
                    elsewhere.bytes("t").put(key, &value).await.map(drop).map_err(|e| e.code),
                    elsewhere.bytes("t").get(key).await.map(drop).map_err(|e| e.code),
                    store.batch().put(&store.bytes("t"), key, &value)
                        .put(&store.shared_bytes("other"), key, &value).commit().await.map(drop).map_err(|e| e.code),
                    plain.read(read).await.map(drop).map_err(|e| e.code),
                    plain.databases(store::DatabasesRequest {}).await.map(drop).map_err(|e| e.code),
                    plain.tables(store::TablesRequest::default()).await.map(drop).map_err(|e| e.code),
                    elsewhere.blobs().put(key, "v").await.map(drop).map_err(|e| e.code),
                    elsewhere.blobs().get(key).await.map(drop).map_err(|e| e.code),
                    elsewhere.blobs().list("", "").await.map(drop).map_err(|e| e.code),
                ];
                for key in ["/other/k", "/hello/k", "/k", "//helloworld/k", "/../helloworld/k"] {
                    codes.push(store.blobs().put(key, "v").await.map(drop).map_err(|e| e.code));
                    codes.push(store.blobs().get(key).await.map(drop).map_err(|e| e.code));
                    codes.push(store.blobs().delete(key).await.map(drop).map_err(|e| e.code));
                }
                for prefix in ["/", "/helloworld", "/other/", "/hello/"] {
                    codes.push(store.blobs().list(prefix, "").await.map(drop).map_err(|e| e.code));
                }
                let mut snapshot = plain.snapshot(store::SnapshotRequest::default()).await?;
                codes.push(snapshot.next().await.map(drop).map_err(|e| e.code));
                let mut upload = plain.restore();
                upload.send(store::RestoreRequest::default()).await?;
                codes.push(upload.finish().await.map(drop).map_err(|e| e.code));
                assert!(codes.iter().all(|code| *code == Err(403)), "{codes:?}");
                assert_eq!(store.bytes("t").get(key).await?, None);
                // What is its own it may also name in full.
                assert!(store.shared_bytes("helloworld").get("k").await?.is_none());
                store.blobs().put("/helloworld/k", "v").await?;
                assert_eq!(store.blobs().get("k").await?, Some(b"v".to_vec()));
            }
            "scenario" => scenario::run(&cx).await?,
            "message" => drop(store.messages::<CallRequest>("asked").put("last", &request).await?),
            other => return Err(micro_sdk::Error::not_found(other)),
        }
"#;

/// What the SDK's own tests ask of a harness.
const SCENARIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/tests/scenario/mod.rs");

/// Runs it as `helloworld`.
pub(crate) fn run(home: &Home) {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        build(
            "keeper",
            &[
                ("_cx: Context, request: CallRequest", "cx: Context, request: CallRequest"),
                ("eprintln!(\"received Helloworld.Call\");", CALL),
                ("use micro_sdk::{", &format!("#[path = {SCENARIO:?}]\nmod scenario;\n\nuse micro_sdk::{{")),
            ],
            &[],
        )
    });
    let words = ["run", "--name", "helloworld", "--command"].map(OsStr::new);
    home.ok(words.into_iter().chain([program.as_os_str(), home.path().as_os_str()]));
}
