//! The service behind its router, as the server calls it, with its state in memory.

mod model;
mod watching;

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use micro_sdk::{
    Router,
    prost::Message,
    proto::auth::Account,
    tonic::{Status, body::Body},
};
use tempfile::TempDir;

use super::*;
use crate::backend::{self, Commit, Database};

/// A server with nothing but this building block.
struct Bench {
    kv: Arc<dyn Database>,
    folder: TempDir,
    tasks: Tasks,
    router: Router,
}

impl Bench {
    async fn new() -> Self {
        Self::over(backend::open("memory:").await.unwrap(), tempfile::tempdir().unwrap()).await
    }

    async fn over(kv: Arc<dyn Database>, folder: TempDir) -> Self {
        let tasks = Tasks::default();
        let auth = Auth::open(&kv, folder.path(), &tasks).await.unwrap();
        let secrets = Arc::new(Secrets::open(folder.path(), None).unwrap());
        let config = Config::open(kv.clone(), auth, secrets, &tasks).await.unwrap();
        let router = Router::new("config", config.handlers());
        Self { kv, folder, tasks, router }
    }

    /// The same after a restart.
    async fn again(self) -> Self {
        assert!(self.tasks.stop(Duration::from_mins(1)).await);
        Self::over(self.kv, self.folder).await
    }

    async fn stream<I: Message>(&self, caller: &Caller, method: &str, request: &I) -> Replies {
        let mut frame = BytesMut::from(&[0][..]);
        frame.extend_from_slice(&u32::try_from(request.encoded_len()).unwrap().to_be_bytes());
        request.encode(&mut frame).unwrap();
        let request = Request::post(format!("/config.Config/{method}"))
            .header("content-type", "application/grpc")
            .extension(caller.clone())
            .body(Full::new(frame.freeze()))
            .unwrap();
        let (head, body) = self.router.serve(request).await.into_parts();
        Replies { status: head.headers, body, buffer: BytesMut::new() }
    }

    async fn call<I: Message, O: Message + Default + 'static>(
        &self,
        caller: &Caller,
        method: &str,
        request: &I,
    ) -> Result<O> {
        let mut replies = self.stream(caller, method, request).await;
        replies.next().await.map(|reply| reply.expect("a call has an answer"))
    }

    async fn set(&self, path: &str, data: &str) -> Result<u64> {
        self.set_if(path, data, None).await
    }

    async fn set_if(&self, path: &str, data: &str, if_revision: Option<u64>) -> Result<u64> {
        let request = SetRequest { if_revision, ..set(path, data, false) };
        self.call::<_, SetResponse>(&owner(), "Set", &request).await.map(|answer| answer.revision)
    }

    /// The value, its revision, and whether it is there.
    async fn get(&self, path: &str, secret: bool) -> Result<(String, u64, bool)> {
        let request =
            GetRequest { path: path.into(), options: Some(Options { secret }), ..GetRequest::default() };
        let answer: GetResponse = self.call(&owner(), "Get", &request).await?;
        Ok((answer.value.unwrap().data, answer.revision, answer.found))
    }

    async fn delete(&self, path: &str) -> Result<DeleteResponse> {
        let request = DeleteRequest { path: path.into(), ..DeleteRequest::default() };
        self.call(&owner(), "Delete", &request).await
    }
}

/// What is answered, frame by frame.
struct Replies {
    status: HeaderMap,
    body: Body,
    buffer: BytesMut,
}

impl Replies {
    async fn next<O: Message + Default + 'static>(&mut self) -> Result<Option<O>> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Ok(Some(O::decode(self.buffer.split_to(length)).unwrap()));
                }
            }
            match self.body.frame().await.map(|frame| frame.unwrap().into_data()) {
                Some(Ok(data)) => self.buffer.extend_from_slice(&data),
                Some(Err(frame)) => self.status = frame.into_trailers().unwrap(),
                None => {
                    let status = Status::from_header_map(&self.status).unwrap();
                    return if status.code() == tonic::Code::Ok { Ok(None) } else { Err(status.into()) };
                }
            }
        }
    }
}

fn owner() -> Caller {
    Caller::owner()
}

fn service(name: &str, namespace: &str) -> Caller {
    let account =
        Account { id: name.into(), r#type: "service".into(), issuer: namespace.into(), ..Account::default() };
    Caller { account: Some(Arc::new(account)), ..Caller::default() }
}

fn set(path: &str, data: &str, secret: bool) -> SetRequest {
    SetRequest {
        path: path.into(),
        value: Some(json(data.into())),
        options: Some(Options { secret }),
        ..SetRequest::default()
    }
}

fn found(data: &str, revision: u64) -> (String, u64, bool) {
    (data.to_owned(), revision, true)
}

fn missing() -> (String, u64, bool) {
    ("null".to_owned(), 0, false)
}

fn code<T>(result: Result<T>) -> i32 {
    result.map_or_else(|error| error.code, |_| 200)
}

#[tokio::test]
async fn values_are_set_merged_replaced_and_deleted() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.get("a", false).await.unwrap_err(),
        Error::not_found("Not found").with_id("config.Config.Get")
    );
    assert_eq!(bench.set("a", "{\"z\": 1}").await.unwrap(), 1);
    assert_eq!(bench.set("a", "{\"b\": {\"c\": [1, {\"x.y\": 2}]}}").await.unwrap(), 2);
    assert_eq!(bench.get("a", false).await.unwrap(), found("{\"b\":{\"c\":[1,{\"x.y\":2}]},\"z\":1}", 2));
    assert_eq!(bench.get("a.z", false).await.unwrap(), found("1", 1));
    assert_eq!(bench.get("a.b.c.d", false).await.unwrap(), missing());
    assert_eq!(bench.set("a", "{}").await.unwrap(), 2, "nothing is changed");
    assert_eq!(bench.set("a.b", "null").await.unwrap(), 3);
    assert_eq!(bench.get("a.b", false).await.unwrap(), found("null", 3));
    assert_eq!(bench.set("", "{\"a\": {\"b\": {}}}").await.unwrap(), 4);
    assert_eq!(bench.get("", false).await.unwrap(), found("{\"a\":{\"b\":{},\"z\":1}}", 4));
    for (path, existed, revision) in [("a.z", true, 5), ("a.z", false, 5), ("a", true, 6), ("a", false, 6)] {
        assert_eq!(bench.delete(path).await.unwrap(), DeleteResponse { revision, existed });
    }
    assert_eq!(bench.get("", false).await.unwrap(), found("{}", 6));
    assert_eq!(bench.get("a", false).await.unwrap(), missing());
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let bench = Bench::new().await;
    bench.set("a.b", "\"<>&\"").await.unwrap();
    let _: SetResponse = bench.call(&owner(), "Set", &set("a.s", "42", true)).await.unwrap();
    let bench = bench.again().await;
    assert_eq!(bench.get("a", false).await.unwrap(), found("{\"b\":\"<>&\",\"s\":\"[secret]\"}", 2));
    assert_eq!(bench.get("a", true).await.unwrap(), found("{\"b\":\"<>&\",\"s\":42}", 2));
    assert_eq!(bench.set("a.c", "1").await.unwrap(), 3);
}

#[tokio::test]
async fn nothing_is_ever_stored_under_an_empty_namespace() {
    let bench = Bench::new().await;
    bench.set("a", "1").await.unwrap();
    assert!(bench.kv.get(TREES, b"").await.unwrap().is_none());
    let named = GetRequest { namespace: "micro".into(), path: "a".into(), ..GetRequest::default() };
    let answer: GetResponse = bench.call(&owner(), "Get", &named).await.unwrap();
    assert_eq!(answer.value.unwrap().data, "1");
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_limit_or_the_key_named() {
    let bench = Bench::new().await;
    let long = "x".repeat(10_000);
    let large = format!("\"{}\"", "x".repeat(MAX_VALUE));
    for (path, data, code, word) in [
        ("a", "{", 400, "Request is invalid JSON: "),
        ("a", "", 400, "invalid JSON"),
        ("", "1", 400, "an object only"),
        ("a", "{\"x.y\": 1}", 400, "`x.y`, below `a`"),
        ("a", "{\"\": 1}", 400, "cannot be a key"),
        ("a", "{\"b\": {\"\\u0000\": 1}}", 400, "`\\0`"),
        ("a", "18446744073709551616", 400, "keep it as text, \"18446744073709551616\""),
        ("a", "{\"b\": [\"1\\\\\", -9223372036854775809]}", 400, "would be rounded"),
        ("a..b", "1", 400, "empty key"),
        (&long, "1", 400, "the limit is 1024"),
        ("a", &large, 413, "the limit is 1048576"),
    ] {
        let error = bench.set(path, data).await.unwrap_err();
        assert!(error.code == code && error.detail.contains(word), "{path}: {error:?}");
    }
    let error = bench.call::<_, SetResponse>(&owner(), "Set", &SetRequest::default()).await.unwrap_err();
    assert!(error.code == 400 && error.detail.contains("invalid change"), "{error:?}");
    assert_eq!(code(bench.delete("").await), 400);
    assert_eq!(bench.delete("a").await.unwrap(), DeleteResponse::default());
    let bad = GetRequest { namespace: "A/b".into(), ..GetRequest::default() };
    assert_eq!(code(bench.call::<_, GetResponse>(&owner(), "Get", &bad).await), 400);
    assert_eq!(code(bench.get("a", false).await), 404, "nothing was stored");
    for kept in [
        "18446744073709551615",
        "-9223372036854775808",
        "{\"18446744073709551616\":\"\\\"18446744073709551616\"}",
        "[1.5e-7,-0.5,1.25]",
    ] {
        bench.set("numbers", kept).await.unwrap();
        assert_eq!(bench.get("numbers", false).await.unwrap().0, kept);
    }
}

/// What is in memory may be less than what a failed write has left on the disk.
#[tokio::test]
async fn nothing_to_do_is_only_told_by_a_database_that_works() {
    let bench = Bench::new().await;
    assert_eq!(bench.delete("a").await.unwrap(), DeleteResponse::default());
    bench.set("b", "1").await.unwrap();
    bench.kv.close().await;
    assert_eq!(code(bench.delete("a").await), 503);
    assert_eq!(code(bench.set("b", "1").await), 503);
    assert_eq!(bench.get("b", false).await.unwrap().0, "1");
}

#[tokio::test]
async fn a_tree_and_a_list_have_a_limit() {
    let bench = Bench::new().await;
    let value = format!("\"{}\"", "x".repeat(MAX_VALUE - 2));
    for number in 0..7 {
        bench.set(&format!("k{number}"), &value).await.unwrap();
    }
    let error = bench.set("k7", &value).await.unwrap_err();
    assert!(error.code == 413 && error.detail.contains("the limit is 8388608"), "{error:?}");
    assert_eq!(bench.get("k7", false).await.unwrap(), missing());
    bench.set("k0", "1").await.unwrap();

    // A long path, repeated for each of its values, is much more than the tree.
    let path = vec!["x".repeat(100); 10].join(".");
    let members: Vec<String> = (0..9000).map(|number| format!("\"{number}\":1")).collect();
    bench.set(&path, &format!("{{{}}}", members.join(","))).await.unwrap();
    let list = ListRequest { path: "x".repeat(100), ..ListRequest::default() };
    let error = bench.call::<_, ListResponse>(&owner(), "List", &list).await.unwrap_err();
    assert!(error.code == 413 && error.detail.contains("8388608 bytes, which is the limit"), "{error:?}");
}

#[tokio::test]
async fn a_change_can_depend_on_the_revision() {
    let bench = Bench::new().await;
    assert_eq!(code(bench.set_if("a.b", "1", Some(3)).await), 412);
    assert_eq!(bench.set_if("a.b", "1", Some(0)).await.unwrap(), 1);
    assert_eq!(code(bench.set_if("a.b", "2", Some(0)).await), 412);
    assert_eq!(bench.set("c", "1").await.unwrap(), 2);
    assert_eq!(bench.set_if("a", "{\"d\": 1}", Some(1)).await.unwrap(), 3);
    let error = bench.set_if("a", "1", Some(1)).await.unwrap_err();
    assert!(error.detail.contains("`a` is at revision 3, not 1"), "{error}");
    let delete = |if_revision| DeleteRequest { path: "a.b".into(), if_revision, ..DeleteRequest::default() };
    assert_eq!(code(bench.call::<_, DeleteResponse>(&owner(), "Delete", &delete(Some(3))).await), 412);
    assert_eq!(code(bench.call::<_, DeleteResponse>(&owner(), "Delete", &delete(Some(1))).await), 200);
}

#[tokio::test]
async fn changes_made_at_once_are_all_there() {
    let bench = Bench::new().await;
    let sets = (0..64).map(|number| {
        let bench = &bench;
        async move { bench.set(&format!("a.k{number}"), &number.to_string()).await.unwrap() }
    });
    let mut revisions = futures::future::join_all(sets).await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=64).collect::<Vec<u64>>());
    let bench = bench.again().await;
    let list: ListResponse = bench.call(&owner(), "List", &ListRequest::default()).await.unwrap();
    assert_eq!((list.entries.len(), list.revision), (64, 64));
}

#[tokio::test]
async fn a_change_nobody_waits_for_is_carried_out_and_does_not_harm_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("micro.db").display());
    let bench = Bench::over(backend::open(&database).await.unwrap(), folder).await;
    for number in 1..50_u64 {
        let call = bench.set("a", "1");
        tokio::select! {
            biased;
            _ = call => {}
            () = async { for _ in 0..number { tokio::task::yield_now().await } } => {}
        }
    }
    let revision = bench.set("a", "2").await.unwrap();
    let bench = bench.again().await;
    assert_eq!(bench.get("a", false).await.unwrap(), found("2", revision));
}

#[tokio::test]
async fn a_service_reads_all_of_its_namespace_and_writes_below_its_own_name() {
    let bench = Bench::new().await;
    bench.set("orders.limit", "1").await.unwrap();
    bench.set("users.key", "1").await.unwrap();
    let orders = service("orders", "micro");
    for path in ["", "users.key", "orders.limit"] {
        let get = GetRequest { path: path.into(), ..GetRequest::default() };
        assert_eq!(code(bench.call::<_, GetResponse>(&orders, "Get", &get).await), 200, "{path}");
        let read = ReadRequest { path: path.into(), ..ReadRequest::default() };
        assert_eq!(code(bench.call::<_, ReadResponse>(&orders, "Read", &read).await), 200, "{path}");
        let list = ListRequest { path: path.into(), ..ListRequest::default() };
        assert_eq!(code(bench.call::<_, ListResponse>(&orders, "List", &list).await), 200, "{path}");
    }
    for (path, expected) in
        [("orders.limit", 200), ("orders", 200), ("", 403), ("users.key", 403), ("orders2", 403), ("", 403)]
    {
        let set = set(path, "{}", false);
        assert_eq!(code(bench.call::<_, SetResponse>(&orders, "Set", &set).await), expected, "{path}");
        let delete = DeleteRequest { path: path.into(), ..DeleteRequest::default() };
        assert_eq!(
            code(bench.call::<_, DeleteResponse>(&orders, "Delete", &delete).await),
            expected,
            "{path}"
        );
    }
}

#[tokio::test]
async fn strangers_and_other_namespaces_are_kept_out_of_every_method() {
    let bench = Bench::new().await;
    bench.set("a", "1").await.unwrap();
    for (caller, expected) in [(Caller::default(), 401), (service("orders", "shop"), 403)] {
        for method in ["Get", "Set", "Delete", "Read", "List", "Watch"] {
            // The namespace and the path have the same numbers in every request.
            let request = GetRequest { namespace: "micro".into(), path: "orders".into(), options: None };
            let result = bench.call::<_, GetResponse>(&caller, method, &request).await;
            assert_eq!(code(result), expected, "{method}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_shown_where_it_is_asked_for_and_kept_encrypted() {
    let bench = Bench::new().await;
    let request = set("db", "{\"user\": \"u\", \"more\": {\"password\": \"hunter2\"}}", true);
    let _: SetResponse = bench.call(&owner(), "Set", &request).await.unwrap();
    let hidden = "{\"more\":{\"password\":\"[secret]\"},\"user\":\"[secret]\"}";
    assert_eq!(bench.get("db", false).await.unwrap().0, hidden);
    assert_eq!(bench.get("db.more.password", true).await.unwrap().0, "\"hunter2\"");
    let read: ReadResponse = bench
        .call(&owner(), "Read", &ReadRequest { path: "db".into(), ..ReadRequest::default() })
        .await
        .unwrap();
    let change = read.change.unwrap();
    assert_eq!((change.namespace.as_str(), change.path.as_str()), ("micro", "db"));
    assert_eq!(change.change_set.unwrap().data, hidden);
    for table in ["config", "config-history"] {
        for entry in every(&*bench.kv, table, "").await.unwrap() {
            let text = String::from_utf8(entry.value.to_vec()).unwrap();
            assert!(!text.contains("hunter2"), "{table}: {text}");
        }
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_named_and_harms_nothing_else() {
    let bench = Bench::new().await;
    let _: SetResponse = bench.call(&owner(), "Set", &set("a.s", "\"x\"", true)).await.unwrap();
    bench.set("a.b", "1").await.unwrap();
    let entry = bench.kv.get(TREES, b"micro").await.unwrap().unwrap();
    let text = String::from_utf8(entry.value.to_vec()).unwrap();
    let (head, tail) = text.split_once("\"s\":[1,\"").unwrap();
    let damaged = format!("{head}\"s\":[1,\"AA{}", &tail[2..]);
    bench.kv.commit(Commit::new().put(TREES, "micro", damaged)).await.unwrap();
    let bench = bench.again().await;
    let error = bench.get("a", true).await.unwrap_err();
    assert!(error.code == 500 && error.detail.contains("`a.s`"), "{error:?}");
    assert_eq!(bench.get("a", false).await.unwrap().0, "{\"b\":1,\"s\":\"[secret]\"}");
    assert_eq!(bench.get("a.b", true).await.unwrap().0, "1");
}

#[tokio::test]
async fn a_damaged_tree_is_told_and_left_alone() {
    let bench = Bench::new().await;
    bench.set("a", "1").await.unwrap();
    bench.kv.commit(Commit::new().put(TREES, "shop", "{\"v\":")).await.unwrap();
    let bench = bench.again().await;
    let named = |path: &str| GetRequest { namespace: "shop".into(), path: path.into(), options: None };
    let error = bench.call::<_, GetResponse>(&owner(), "Get", &named("a")).await.unwrap_err();
    assert!(error.code == 500 && error.detail.contains("namespace shop is damaged"), "{error:?}");
    let set = SetRequest { namespace: "shop".into(), ..set("a", "1", false) };
    assert_eq!(code(bench.call::<_, SetResponse>(&owner(), "Set", &set).await), 500);
    assert_eq!(bench.kv.get(TREES, b"shop").await.unwrap().unwrap().value, "{\"v\":");
    assert_eq!(bench.get("a", false).await.unwrap().0, "1");
}
