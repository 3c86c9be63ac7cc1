//! The command line with a server of Micro v4: it answers without what this implementation adds to the wire, and what
//! is absent means an older server, never "no". The answers stand as that server gives them.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use micro_sdk::proto::{auth, config, registry, runtime, store};
use prost::Message;
use serde_json::{Value, json};
use std::convert::Infallible;
use tokio::net::TcpListener;

use crate::{raw::frame, support::Home};

/// A server of Micro v4; its address.
async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(serving);
        }
    });
    address
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    if let Some(message) = answered(head.uri.path(), &body[5..]) {
        frames.push(Ok(Frame::data(frame(&message))));
        trailers.insert("grpc-status", "0".parse().unwrap());
    } else {
        trailers.insert("grpc-status", "13".parse().unwrap());
        let error = r#"{"id":"runtime.Runtime.Delete","code":404,"detail":"not found","status":"Not Found"}"#;
        trailers.insert("grpc-message", error.parse().unwrap());
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let response = Response::builder().header("content-type", "application/grpc+proto");
    Ok(response.body(StreamBody::new(futures::stream::iter(frames))).unwrap())
}

fn answered(path: &str, request: &[u8]) -> Option<Vec<u8>> {
    Some(match path {
        "/config.Config/Get" => {
            let request = config::GetRequest::decode(request).unwrap();
            let data = if request.path == "a.b" { "\"x\"" } else { "null" };
            let value = Some(config::Value { data: data.to_owned(), ..config::Value::default() });
            config::GetResponse { value, ..config::GetResponse::default() }.encode_to_vec()
        }
        "/config.Config/Delete" | "/auth.Rules/Delete" => Vec::new(),
        "/registry.Registry/GetService" => registry::GetResponse { services: vec![shop()] }.encode_to_vec(),
        "/runtime.Runtime/Read" => runtime::ReadResponse::default().encode_to_vec(),
        "/store.Store/Read" => {
            // It does not know `after`.
            let options = store::ReadRequest::decode(request).unwrap().options.unwrap();
            let keys = (0..700_u64).skip(usize::try_from(options.offset).unwrap());
            let record = |key: u64| store::Record {
                key: format!("k{key:03}"),
                value: b"v".to_vec(),
                expiry: 60,
                ..store::Record::default()
            };
            let records = keys.take(usize::try_from(options.limit).unwrap()).map(record).collect();
            store::ReadResponse { records }.encode_to_vec()
        }
        "/auth.Auth/Inspect" => auth::InspectResponse::default().encode_to_vec(),
        _ => return None,
    })
}

fn shop() -> registry::Service {
    let node =
        registry::Node { id: "shop-1".into(), address: "10.0.0.1:9".into(), ..registry::Node::default() };
    let stream = registry::Endpoint {
        name: "Shop.Watch".into(),
        metadata: [("stream".to_owned(), "true".to_owned())].into(),
        ..registry::Endpoint::default()
    };
    registry::Service {
        name: "shop".into(),
        version: "latest".into(),
        nodes: vec![node],
        endpoints: vec![stream],
        ..registry::Service::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_server_does_not_say_is_not_taken_for_no() {
    let home = Home::new();
    let address = start().await;
    home.ok(["env", "add", "far", &address]);
    home.ok(["env", "set", "far"]);

    assert_eq!(home.ok(["config", "get", "a.b"]), "x\n");
    assert!(home.fails(5, ["config", "get", "a.none"]).contains("Not found"));
    for words in [&["config", "del", "a.b"][..], &["auth", "delete", "rule", "r"]] {
        let said = home.run(words);
        assert!(said.code == Some(0) && !said.stderr.contains("there was no"), "{said:#?}");
    }

    let shown = home.ok(["get", "service", "shop"]);
    assert!(shown.contains("version latest\n") && !shown.contains("not ready"), "{shown}");
    let shown: Value = serde_json::from_str(&home.ok(["get", "service", "shop", "-o", "json"])).unwrap();
    assert_eq!(shown[0]["ready"], json!(null));

    let said = home.fails(5, ["kill", "nosuch"]);
    assert!(said.contains("nosuch") && said.contains("micro status"), "{said}");

    let read = home.ok(["store", "read", "--prefix", "k", "-o", "json"]);
    let records: Vec<Value> = serde_json::from_str(&read).unwrap();
    assert_eq!((records.len(), &records[699]["key"]), (700, &json!("k699")));
    assert_eq!(records[0]["expiry"], json!(60_000_000_000_u64));
}
