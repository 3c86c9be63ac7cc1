//! A service as the Go framework of Micro v4 makes it: it registers itself over the wire, with the
//! names of Go's types and without descriptors, and reads JSON itself.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    raw::{Call, Raw, Reply, frame, soon},
    support::Home,
};

const JSON: &str = "application/grpc+json";

/// A server that answers every call with what it was sent.
pub(crate) struct Node {
    pub(crate) address: String,
    calls: Arc<AtomicUsize>,
    /// Calls to `Shop.Wait` go on when there is a permit.
    permits: Arc<Semaphore>,
}

impl Node {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), name)
    }

    /// One that listens already.
    pub(crate) fn on(listener: TcpListener, name: &'static str) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let (calls, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, waiting) = (calls.clone(), permits.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counted, waiting) = (counted.clone(), waiting.clone());
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    answer(name, request, waiting.clone())
                });
                tokio::spawn(
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, calls, permits }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn wire(&self, id: &str) -> Value {
        node(id, &self.address)
    }
}

pub(crate) fn node(id: &str, address: &str) -> Value {
    let metadata = json!({"broker": "service", "registry": "service", "server": "grpc", "transport": "grpc",
        "protocol": "grpc"});
    json!({ "id": id, "address": address, "metadata": metadata })
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(
    name: &str,
    request: Request<Incoming>,
    permits: Arc<Semaphore>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let text = |name: &str| head.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let body = body.collect().await.unwrap().to_bytes();
    if path.ends_with("/Wait") {
        permits.acquire().await.unwrap().forget();
    }
    let (form, namespace) = (text("content-type"), text("micro-namespace"));
    let metadata: serde_json::Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or_default())))
        .collect();
    let said = json!({ "node": name, "metadata": metadata, "path": path, "form": form, "namespace": namespace,
        "authorization": text("authorization"), "custom": text("x-custom"),
        "request": String::from_utf8_lossy(&body[5..]) });
    let mut frames = Vec::new();
    let mut trailers = HeaderMap::new();
    if path.ends_with("/Fail") {
        trailers.insert("grpc-status", "6".parse().unwrap());
        let error = r#"{"id":"shop.Shop.Fail","code":409,"detail":"sold out, 100%25","status":"Conflict"}"#;
        trailers.insert("grpc-message", error.parse().unwrap());
    } else if path.ends_with("/Long") {
        trailers.insert("grpc-status", "6".parse().unwrap());
        let detail = "much too long ".repeat(1500);
        let error = json!({ "id": "shop.Shop.Long", "code": 409, "detail": detail, "status": "Conflict" });
        trailers.insert("grpc-message", error.to_string().parse().unwrap());
    } else if path.ends_with("/Count") || path.ends_with("/Twice") {
        for count in ["1", "2", "3"] {
            frames.push(Ok(Frame::data(frame(json!({ "count": count }).to_string().as_bytes()))));
        }
        trailers.insert("grpc-status", "0".parse().unwrap());
    } else if form.as_deref().is_some_and(|form| form == "application/grpc" || form.ends_with("+proto")) {
        // Protobuf, which it does not know: back as it came.
        frames.push(Ok(Frame::data(body)));
        trailers.insert("grpc-status", "0".parse().unwrap());
    } else {
        frames.push(Ok(Frame::data(frame(said.to_string().as_bytes()))));
        trailers.insert("grpc-status", "0".parse().unwrap());
    }
    trailers.insert("x-trailer", "kept".parse().unwrap());
    frames.push(Ok(Frame::trailers(trailers)));
    let response = Response::builder()
        .header("content-type", form.unwrap_or_default())
        .header("x-header", "kept")
        .body(StreamBody::new(futures::stream::iter(frames)));
    Ok(response.unwrap())
}

/// The proxy of a server, and a token for it.
pub(crate) struct Door {
    pub(crate) raw: Raw,
    pub(crate) bearer: String,
}

impl Door {
    pub(crate) async fn open(home: &Home) -> Self {
        let raw = Raw::connect(&home.state().proxy).await;
        let login = raw.json("/auth.Auth/Token", r#"{"id":"admin","secret":"micro"}"#).await.value();
        let bearer = format!("Bearer {}", login["token"]["access_token"].as_str().unwrap());
        Self { raw, bearer }
    }

    pub(crate) async fn registry(&self, method: &str, request: &Value) -> Reply {
        let path = format!("/registry.Registry/{method}");
        self.raw.unary(&path, JSON, &[("authorization", &self.bearer)], &request.to_string()).await
    }

    pub(crate) async fn register(&self, service: &Value) {
        assert_eq!(self.registry("Register", service).await.value()["descriptors_needed"], json!(false));
    }

    /// A watch that has begun: it has told of a service registered for this.
    async fn watch(&self, service: &str) -> Call {
        let request = frame(json!({ "service": service }).to_string().as_bytes());
        let headers = [("authorization", &*self.bearer)];
        self.raw.start("/registry.Registry/Watch", JSON, &headers, request).await
    }

    pub(crate) async fn call(&self, path: &str, version: &str) -> Reply {
        let headers = [("micro-version", version)];
        let headers = if version.is_empty() { &headers[..0] } else { &headers[..] };
        self.raw.unary(path, JSON, headers, r#"{"name":"Jane"}"#).await
    }
}

pub(crate) fn shop(version: &str, ttl: &str, nodes: &[Value]) -> Value {
    let text = json!({"name": "name", "type": "string"});
    json!({
        "name": "shop", "version": version, "nodes": nodes,
        "endpoints": [
            {"name": "Shop.Buy", "request": {"name": "BuyRequest", "type": "BuyRequest", "values": [text]},
             "response": {"name": "BuyResponse", "type": "BuyResponse"}},
            {"name": "Shop.Fail", "request": {"name": "Empty", "type": "Empty"},
             "response": {"name": "Empty", "type": "Empty"}},
        ],
        "options": {"ttl": ttl, "domain": "micro"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_go_is_listed_described_and_called() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let go = Node::start("go").await;
    door.register(&shop("latest", "90", &[go.wire("shop-1")])).await;

    assert!(home.ok(["services"]).lines().any(|name| name == "shop"));
    let described = home.ok(["get", "service", "shop"]);
    assert!(described.contains("Shop.Buy") && described.contains(&go.address), "{described}");
    let help = home.ok(["shop", "--help"]);
    assert!(help.contains("buy") && help.contains("fail"), "{help}");

    let said = door.call("/shop.Shop/Buy", "").await;
    assert_eq!((said.header("x-header"), said.header("content-type")), ("kept", JSON));
    let said = said.value();
    assert_eq!((&said["form"], &said["path"]), (&json!(JSON), &json!("/shop.Shop/Buy")));
    assert_eq!((&said["namespace"], &said["request"]), (&json!("micro"), &json!("{\"name\":\"Jane\"}")));
    let headers = [("authorization", &*door.bearer), ("x-custom", "1")];
    let said = door.raw.unary("/shop.Shop/Buy", JSON, &headers, "{}").await.value();
    assert_eq!((&said["authorization"], &said["custom"]), (&json!(door.bearer), &json!("1")));
    let form = "application/grpc+bytes";
    let said = door.raw.unary("/shop.Shop/Buy", form, &[], "bytes").await.value();
    assert_eq!((&said["form"], &said["request"]), (&json!(form), &json!("bytes")));
    let failed = door.call("/shop.Shop/Fail", "").await;
    assert_eq!(failed.failure(), (6, 409, "sold out, 100%"));

    // The same by the command line and over HTTP: what it is sent is what was written.
    let said: Value = serde_json::from_str(&home.ok(["shop", "buy", "--name=Jane", "-o", "json"])).unwrap();
    assert_eq!(said["request"], "{\"name\":\"Jane\"}");
    let said: Value =
        serde_json::from_str(&home.ok(["call", "shop", "Shop.Buy", r#"{"other": 1}"#, "-o", "json"]))
            .unwrap();
    assert_eq!(said["request"], "{\"other\":1}");
    let (status, body) = home.http("/shop/Buy?name=Jane&count=2");
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &said["request"]), (200, &json!("{\"name\":\"Jane\",\"count\":2}")));
    assert!(home.fails(7, ["shop", "fail"]).contains("sold out, 100%"));
    assert_eq!(home.http("/shop/Fail").0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_of_every_change_and_of_the_end_of_a_lease() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    // Nothing is missed once the head of the response has come.
    let mut watch = door.watch("shop").await;
    door.register(&shop("latest", "5", &[node("shop-1", "127.0.0.1:1")])).await;
    let service = shop("latest", "90", &[node("shop-2", "127.0.0.1:2")]);
    door.register(&service).await;
    let mut other = service.clone();
    other["name"] = json!("other");
    door.register(&other).await;
    door.register(&service).await;
    let deregistered = door.registry("Deregister", &service).await;
    assert_eq!(deregistered.status, 0, "{deregistered:?}");

    let mut seen = Vec::new();
    while !seen.iter().any(|(action, _): &(String, Vec<String>)| action == "delete") {
        let event = watch.value().await;
        assert_eq!(event["service"]["name"], "shop", "{event}");
        let nodes = event["service"]["nodes"].as_array().unwrap();
        let nodes = nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
        seen.push((event["action"].as_str().unwrap().to_owned(), nodes));
    }
    // The lease of the first node may end before or after the second was taken out.
    let mut nodes: Vec<_> = seen[2..].iter().flat_map(|(_, nodes)| nodes.clone()).collect();
    nodes.sort();
    let actions: Vec<_> = seen.iter().map(|(action, _)| &**action).collect();
    assert_eq!(actions, ["create", "update", "update", "delete"], "{seen:?}");
    assert_eq!(nodes, ["shop-1", "shop-2"], "{seen:?}");

    let gone = door.registry("GetService", &json!({"service": "shop"})).await;
    assert_eq!((gone.failure().0, gone.failure().1), (5, 404));
    assert_eq!(door.call("/shop.Shop/Buy", "").await.failure().1, 404);
    let again = door.registry("Deregister", &service).await;
    assert_eq!(again.status, 0, "what is unknown is as good as gone: {again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_live_side_by_side_and_nodes_share_the_calls() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let (old, one, two) = (Node::start("old").await, Node::start("one").await, Node::start("two").await);
    door.register(&shop("v1", "90", &[old.wire("old")])).await;
    // The third refuses connections: no program of this machine is given port 1 by chance.
    let dead = "127.0.0.1:1".to_owned();
    door.register(&shop("v2", "90", &[node("dead", &dead), one.wire("one"), two.wire("two")])).await;

    for _ in 0..12 {
        assert_eq!(door.call("/shop.Shop/Buy", "").await.status, 0, "a dead node is passed over");
    }
    assert_eq!(old.calls(), 0, "calls go to the newest version");
    assert!(one.calls() >= 3 && two.calls() >= 3, "{} and {}", one.calls(), two.calls());
    assert_eq!(door.call("/shop.Shop/Buy", "v1").await.value()["node"], "old");
    assert_eq!(door.call("/shop.Shop/Buy", "v3").await.failure().1, 404);
    let both = door.registry("GetService", &json!({"service": "shop"})).await.value();
    assert_eq!(both["services"].as_array().unwrap().len(), 2);

    // Two calls hang on one node: the next ones go to the other.
    let raw = Raw::connect(&home.state().proxy).await;
    let waiting = tokio::spawn(async move { raw.json("/shop.Shop/Wait", "{}").await });
    let (before_one, before_two) = (one.calls(), two.calls());
    let busy_is_one = soon("the call to arrive", async {
        loop {
            match (one.calls() > before_one, two.calls() > before_two) {
                (true, _) => break true,
                (_, true) => break false,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let (busy, free) = if busy_is_one { (&one, &two) } else { (&two, &one) };
    let (so_far, before) = (busy.calls(), free.calls());
    for _ in 0..12 {
        assert_eq!(door.call("/shop.Shop/Buy", "").await.status, 0);
    }
    // A call whose answer has just arrived may count a moment longer, which makes the two equal.
    let (to_busy, to_free) = (busy.calls() - so_far, free.calls() - before);
    assert!(to_busy <= 2 && to_free >= 10, "the least loaded node is called, not {to_busy} of 12");
    busy.permits.add_permits(1);
    assert_eq!(soon("the call to end", waiting).await.unwrap().status, 0);

    // An address that changes is used at once; without the newest version the older one serves.
    door.register(&shop("v2", "90", &[node("one", &two.address)])).await;
    let alive = shop("v2", "90", &[one.wire("one"), two.wire("two")]);
    assert_eq!(door.registry("Deregister", &alive).await.status, 0);
    assert_eq!(door.call("/shop.Shop/Buy", "").await.value()["node"], "old", "the dead one is out");

    // A dead node is out with the first call it refuses, long before its lease ends.
    door.register(&shop("v2", "90", &[node("dead", &dead)])).await;
    let failed = door.call("/shop.Shop/Buy", "").await;
    assert_eq!((failed.failure().0, failed.failure().1), (14, 503), "{failed:?}");
    assert_eq!(door.call("/shop.Shop/Buy", "").await.value()["node"], "old");
    assert_eq!(door.call("/shop.Shop/Buy", "v2").await.failure().1, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_registered_is_refused_with_words() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let anonymous = door.raw.json("/registry.Registry/Register", &shop("1", "1", &[]).to_string()).await;
    assert_eq!((anonymous.failure().0, anonymous.failure().1), (16, 401));
    for (name, code) in
        [("auth", 400), ("store", 400), ("", 400), ("a/b", 400), ("a\nb", 400), ("API.Go_x", 0)]
    {
        let mut service = shop("latest", "90", &[node("1", "127.0.0.1:1")]);
        service["name"] = json!(name);
        let reply = door.registry("Register", &service).await;
        assert_eq!(reply.failure().1, code, "{name:?}: {reply:?}");
    }
    let mut reserved = shop("latest", "90", &[node("1", "127.0.0.1:1")]);
    reserved["name"] = json!("auth");
    reserved["options"]["domain"] = json!("other");
    assert_eq!(door.registry("Register", &reserved).await.failure().1, 400, "in every namespace");
    let mut long = shop("latest", "90", &[node("1", "127.0.0.1:1")]);
    long["name"] = json!("a".repeat(256));
    assert_eq!(door.registry("Register", &long).await.failure().1, 400);
    // A lease may be longer than time.
    for (ttl, code) in [("-1", 400), ("9223372036854775807", 0)] {
        let reply = door.registry("Register", &shop("latest", ttl, &[node("1", "127.0.0.1:1")])).await;
        assert_eq!(reply.failure().1, code, "{ttl}: {reply:?}");
    }
    assert_eq!(door.registry("ListServices", &json!({})).await.status, 0);
}
