//! The wire, from outside: a client of tonic's with no code of ours, and one that writes the frames
//! of gRPC by hand.

use bytes::Bytes;
use http::uri::PathAndQuery;
use micro_sdk::MESSAGE_LIMIT;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{
    faulty,
    messages::{
        CallRequest, CallResponse, Change, Empty, InspectRequest, InspectResponse, ListResponse, Number,
        TokenRequest, TokenResponse, WatchRequest,
    },
    raw::{Raw, frame, soon},
    support::Home,
};

const CALL: &str = "/helloworld.Helloworld/Call";
const STREAM: &str = "/helloworld.Helloworld/Stream";
const PING_PONG: &str = "/helloworld.Helloworld/PingPong";
const JSON: &str = "application/grpc+json";

async fn tonic(home: &Home) -> Grpc<Channel> {
    let channel = Channel::from_shared(format!("http://{}", home.state().proxy)).unwrap();
    let mut client = Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

fn path(text: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(text)
}

/// The messages of a request whose client leaves its side open, as one of Micro v4 in Go does, and
/// what keeps it open.
fn left_open<T: Send + 'static>(message: T) -> (mpsc::Sender<T>, ReceiverStream<T>) {
    let (sender, queue) = mpsc::channel(1);
    sender.try_send(message).unwrap();
    (sender, ReceiverStream::new(queue))
}

/// A token of the default account, as a client asks for it.
async fn log_in(client: &mut Grpc<Channel>) -> String {
    let request = TokenRequest { id: "admin".into(), secret: "micro".into(), token_expiry: 60 };
    client.ready().await.unwrap();
    let codec: ProstCodec<TokenRequest, TokenResponse> = ProstCodec::default();
    let reply = client.unary(Request::new(request), path("/auth.Auth/Token"), codec).await.unwrap();
    let token = reply.into_inner().token.unwrap();
    assert_eq!(token.access_token.matches('.').count(), 2, "clients of Micro v4 want a JWT");
    assert_eq!(token.expiry - token.created, 60);
    assert!(!token.refresh_token.is_empty());
    token.access_token
}

#[tokio::test]
async fn a_client_of_tonic_calls_a_service_in_every_direction() {
    let home = Home::new();
    home.run_helloworld();
    let mut client = tonic(&home).await;

    let codec: ProstCodec<CallRequest, CallResponse> = ProstCodec::default();
    let reply = client.unary(Request::new(CallRequest { name: "Jane".into() }), path(CALL), codec);
    assert_eq!(reply.await.unwrap().into_inner().msg, "Hello Jane");

    client.ready().await.unwrap();
    let codec: ProstCodec<Number, Number> = ProstCodec::default();
    let request = Request::new(Number { value: 3 });
    let replies = client.server_streaming(request, path(STREAM), codec).await.unwrap().into_inner();
    let counts: Vec<i64> = replies.map(|reply| reply.unwrap().value).collect().await;
    assert_eq!(counts, [0, 1, 2]);

    client.ready().await.unwrap();
    let (pings, requests) = left_open(Number { value: 1 });
    let codec: ProstCodec<Number, Number> = ProstCodec::default();
    let replies = client.streaming(Request::new(requests), path(PING_PONG), codec).await.unwrap();
    let mut replies = replies.into_inner();
    assert_eq!(replies.message().await.unwrap(), Some(Number { value: 1 }));
    pings.send(Number { value: 2 }).await.unwrap();
    assert_eq!(replies.message().await.unwrap(), Some(Number { value: 2 }));
    drop(pings);
    assert_eq!(replies.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_client_of_tonic_that_leaves_its_side_open_is_answered_all_the_same() {
    let home = Home::new();
    home.run_helloworld();
    let mut client = tonic(&home).await;
    let (_open, requests) = left_open(Number { value: 3 });
    let codec: ProstCodec<Number, Number> = ProstCodec::default();
    let replies = soon("the head", client.streaming(Request::new(requests), path(STREAM), codec)).await;
    let counts = replies.unwrap().into_inner().map(|reply| reply.unwrap().value).collect::<Vec<_>>();
    assert_eq!(soon("the stream to end", counts).await, [0, 1, 2]);

    let token = log_in(&mut client).await;
    client.ready().await.unwrap();
    let (_open, requests) = left_open(WatchRequest { service: "other".into() });
    let mut request = Request::new(requests);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let codec: ProstCodec<WatchRequest, Change> = ProstCodec::default();
    let changes = soon("the head", client.streaming(request, path("/registry.Registry/Watch"), codec)).await;
    let mut changes = changes.unwrap().into_inner();
    let other = r#"{"name": "other", "version": "1", "nodes": [{"id": "1", "address": "127.0.0.1:1"}]}"#;
    home.ok(["call", "registry", "Registry.Register", other]);
    let change = soon("the change", changes.message()).await.unwrap().unwrap();
    assert_eq!((&*change.action, &*change.service.unwrap().name), ("create", "other"));
}

#[tokio::test]
async fn a_client_of_tonic_logs_in_and_calls_the_building_blocks() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let mut client = tonic(&home).await;

    let list = || -> ProstCodec<Empty, ListResponse> { ProstCodec::default() };
    let refused = client.unary(Request::new(Empty {}), path("/registry.Registry/ListServices"), list()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let error: Value = serde_json::from_str(refused.message()).unwrap();
    assert_eq!((&error["code"], &error["status"]), (&json!(401), &json!("Unauthorized")));

    let token = log_in(&mut client).await;
    client.ready().await.unwrap();
    let mut request = Request::new(Empty {});
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let reply = client.unary(request, path("/registry.Registry/ListServices"), list()).await.unwrap();
    let services = reply.into_inner().services;
    let auth = services.iter().find(|service| service.name == "auth").expect("auth is listed");
    assert_eq!(auth.version, "latest");
    assert!(auth.endpoints.iter().any(|endpoint| endpoint.name == "Auth.Token"), "{auth:?}");

    client.ready().await.unwrap();
    let codec: ProstCodec<InspectRequest, InspectResponse> = ProstCodec::default();
    let reply = client.unary(Request::new(InspectRequest { token }), path("/auth.Auth/Inspect"), codec).await;
    let account = reply.unwrap().into_inner().account.unwrap();
    assert_eq!((&*account.id, &*account.kind, &*account.issuer), ("admin", "user", "micro"));
    assert_eq!(account.scopes, ["admin"]);

    client.ready().await.unwrap();
    let request = TokenRequest { id: "admin".into(), secret: "wrong".into(), token_expiry: 60 };
    let codec: ProstCodec<TokenRequest, TokenResponse> = ProstCodec::default();
    let refused = client.unary(Request::new(request), path("/auth.Auth/Token"), codec).await.unwrap_err();
    assert!(refused.message().contains("\"code\":40"), "{refused:?}");
}

#[tokio::test]
async fn every_form_of_grpc_is_spoken_and_answered_in_kind() {
    let home = Home::new();
    home.run_helloworld();
    let raw = Raw::connect(&home.state().proxy).await;

    let reply = raw.json(CALL, r#"{"name": "Jane"}"#).await;
    assert_eq!(reply.value(), json!({"msg": "Hello Jane"}));
    assert_eq!(reply.header("content-type"), JSON);
    // What is not said is there with its default value; numbers of 64 bits are text.
    assert_eq!(raw.json(CALL, "").await.value(), json!({"msg": "Hello "}));
    let reply = raw.json(STREAM, r#"{"count": "2"}"#).await;
    assert_eq!(reply.messages, [&b"{\"count\":\"0\"}"[..], b"{\"count\":\"1\"}"]);

    for (form, answered) in [
        ("application/grpc", ["application/grpc", "application/grpc+proto"].as_slice()),
        ("application/grpc+proto", &["application/grpc", "application/grpc+proto"]),
        ("application/grpc+bytes", &["application/grpc+bytes"]),
    ] {
        let reply = raw.unary(CALL, form, &[], "\n\x04Jane").await;
        assert_eq!(reply.messages, [&b"\n\nHello Jane"[..]], "{form}: {reply:?}");
        assert!(answered.contains(&reply.header("content-type")), "{form}: {reply:?}");
    }

    let reply = raw.unary(CALL, "application/grpc+xml", &[], "<a/>").await;
    assert_eq!(reply.failure(), (13, 500, "Unsupported Content-Type: application/grpc+xml"));
    let reply = raw.unary(CALL, "application/json", &[], "{}").await;
    assert_eq!(reply.head.status, 415);
}

#[tokio::test]
async fn a_stream_is_answered_while_its_request_stays_open() {
    let home = Home::new();
    home.run_helloworld();
    let raw = Raw::connect(&home.state().proxy).await;

    // A client of Micro v4 in Go sends one message and leaves its side open.
    let mut call = raw.start(STREAM, JSON, &[], frame(br#"{"count":3}"#)).await;
    for count in ["0", "1", "2"] {
        assert_eq!(call.value().await, json!({ "count": count }));
    }
    assert!(call.message().await.is_none(), "the stream ends by itself");
    assert_eq!(call.end().await.status, 0);
    // Many small messages are not taken for an attack, in either form.
    for (form, request) in [(JSON, &br#"{"count":20000}"#[..]), ("application/grpc", b"\x08\xa0\x9c\x01")] {
        let reply = raw.body(STREAM, form, &[], frame(request)).await;
        assert_eq!((reply.status, reply.messages.len()), (0, 20_000), "{form}: {:?}", reply.error);
    }
    let call = raw.start(STREAM, "application/grpc+proto", &[], frame(b"\x08\x02")).await;
    let reply = call.end().await;
    assert_eq!((reply.status, reply.messages.len()), (0, 2));

    let mut call = raw.start(PING_PONG, JSON, &[], frame(br#"{"stroke":1}"#)).await;
    assert_eq!(call.value().await, json!({"stroke": "1"}));
    call.write(r#"{"stroke":"2"}"#).await;
    assert_eq!(call.value().await, json!({"stroke": "2"}));
    call.close();
    assert_eq!(call.end().await.status, 0);
}

#[tokio::test]
async fn a_building_block_answers_json_in_frames() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let raw = Raw::connect(&home.state().proxy).await;
    let reply = raw.json("/auth.Auth/Token", r#"{"id":"admin","secret":"micro","tokenExpiry":"60"}"#).await;
    let token = reply.value()["token"]["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let reply =
        raw.unary("/registry.Registry/ListServices", JSON, &[("authorization", &bearer)], "null").await;
    assert_eq!(reply.value()["services"].as_array().unwrap().len(), 8);

    // The whole request may have come, or still be open: a watch begins either way.
    for open in [true, false] {
        let request = frame(br#"{"service":"other"}"#);
        let mut call =
            raw.start("/registry.Registry/Watch", JSON, &[("authorization", &bearer)], request).await;
        if !open {
            call.close();
        }
        // Nothing is missed once the head of the response has come.
        let port = if open { 1 } else { 2 };
        let node = json!({ "id": "1", "address": format!("127.0.0.1:{port}") });
        let service = json!({ "name": "other", "version": "1", "nodes": [node] }).to_string();
        let headers = [("authorization", &*bearer)];
        let registered = raw.unary("/registry.Registry/Register", JSON, &headers, &service).await;
        assert_eq!(registered.status, 0, "{registered:?}");
        let seen = call.value().await;
        assert_eq!(seen["service"]["name"], "other");
    }
}

#[tokio::test]
async fn errors_name_what_is_wrong_with_the_request() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let raw = Raw::connect(&home.state().proxy).await;
    for (request, words) in [
        (r#"{"name": ["Jane"]}"#, "name"),
        (r#"{"nam": "Jane"}"#, "nam"),
        (r#"{"name": "Jane""#, "JSON"),
        ("[]", ""),
    ] {
        let reply = raw.json(CALL, request).await;
        let (status, code, detail) = reply.failure();
        assert_eq!((status, code), (3, 400), "{request}: {reply:?}");
        assert!(detail.contains(words) && !detail.is_empty(), "{request}: {detail}");
    }
    let reply = raw.json(STREAM, r#"{"count": "many"}"#).await;
    assert_eq!((reply.failure().0, reply.failure().1), (3, 400), "{reply:?}");

    // A message travels in ASCII, whatever the handler said.
    for (code, status) in [
        (400, 3),
        (401, 16),
        (403, 7),
        (404, 5),
        (408, 4),
        (409, 6),
        (412, 9),
        (500, 13),
        (501, 12),
        (503, 14),
        (402, 9),
        (410, 5),
        (422, 3),
        (502, 14),
        (504, 4),
        (418, 2),
    ] {
        let reply = raw.json(CALL, &json!({ "name": format!("error {code}") }).to_string()).await;
        assert_eq!(reply.failure(), (status, code, "100% wrong: \"ä\"\n"));
        assert!(reply.message.is_ascii() && reply.message.contains("100%25"), "{}", reply.message);
        assert_eq!(reply.error["id"].as_str().unwrap().split('.').next(), Some("helloworld"), "{reply:?}");
    }

    let reply = raw.json(CALL, r#"{"name":"panic"}"#).await;
    assert_eq!((reply.failure().0, reply.failure().1), (13, 500), "{reply:?}");
    assert_eq!(raw.json(CALL, r#"{"name":"Jane"}"#).await.value(), json!({"msg": "Hello Jane"}));
    let reply = raw.json(STREAM, r#"{"count":-1}"#).await;
    assert_eq!(reply.failure(), (6, 409, "counted backwards"));
    assert_eq!(reply.messages.len(), 1, "what came before the error arrives");
}

#[tokio::test]
async fn the_deadline_of_a_caller_is_kept_in_both_spellings() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let raw = Raw::connect(&home.state().proxy).await;
    for header in [("timeout", "50000000"), ("grpc-timeout", "50m"), ("grpc-timeout", "50000u")] {
        let reply = soon("the deadline", raw.unary(CALL, JSON, &[header], r#"{"name":"wait"}"#)).await;
        assert_eq!((reply.failure().0, reply.failure().1), (4, 408), "{header:?}: {reply:?}");
    }
    for (headers, expected) in [(&[("timeout", "60000000000")][..], "true"), (&[], "false")] {
        let reply = raw.unary(CALL, JSON, headers, r#"{"name":"deadline"}"#).await;
        assert_eq!(reply.value(), json!({ "msg": expected }), "{headers:?}");
    }
    let reply = raw.unary(CALL, JSON, &[("timeout", "soon")], "{}").await;
    assert_eq!(reply.failure().1, 400, "what cannot be read is not taken for no deadline: {reply:?}");
    assert_eq!(raw.json(CALL, r#"{"name":"Jane"}"#).await.status, 0);
}

#[tokio::test]
async fn what_is_not_there_is_told_apart() {
    let home = Home::new();
    home.run_helloworld();
    let raw = Raw::connect(&home.state().proxy).await;
    for form in [JSON, "application/grpc"] {
        for (path, status, code, words) in [
            ("/nothing.Nothing/Call", 5, 404, "service nothing: route not found"),
            ("/helloworld.Helloworld/Nothing", 12, 501, "unknown service Helloworld.Nothing"),
            ("/helloworld.Nothing/Call", 12, 501, "unknown service Nothing"),
            ("/registry.Nothing/Call", 12, 501, "unknown service Nothing"),
            ("/Helloworld/Call", 3, 400, "service name is blank"),
            ("/helloworld", 12, 501, "malformed method name: \"/helloworld\""),
            ("/a/b/c", 12, 501, "malformed method name"),
            // A path may hold anything.
            ("/%2e%2e.A/B", 5, 404, "route not found"),
        ] {
            let reply = raw.unary(path, form, &[], "").await;
            let (at, what, detail) = reply.failure();
            assert_eq!((at, what), (status, code), "{path} {form}: {reply:?}");
            assert!(detail.contains(words), "{path} {form}: {detail}");
        }
    }
    let reply = raw.unary(CALL, JSON, &[("micro-namespace", "other")], "{}").await;
    assert_eq!(reply.failure().1, 404, "{reply:?}");
    assert!(reply.failure().2.contains("namespace other"), "{reply:?}");
    let reply = raw.unary(CALL, JSON, &[("micro-version", "v9")], "{}").await;
    assert!(reply.failure().2.contains("version v9"), "{reply:?}");
    // A building block is the same in every namespace.
    let login = r#"{"id":"admin","secret":"micro"}"#;
    let reply = raw.unary("/auth.Auth/Token", JSON, &[("micro-namespace", "other")], login).await;
    assert_eq!(reply.status, 0, "{reply:?}");
    for value in ["Bearer a.b.c", "Bearer ", "Basic YWRtaW46bWljcm8=", "nonsense"] {
        let reply = raw.unary(CALL, JSON, &[("authorization", value)], "{}").await;
        assert_eq!((reply.failure().0, reply.failure().1), (16, 401), "{value}: {reply:?}");
    }
}

#[tokio::test]
async fn broken_frames_and_messages_over_the_limit_are_refused() {
    let home = Home::new();
    home.run_helloworld();
    let raw = Raw::connect(&home.state().proxy).await;
    let with_head = |flag: u8, length: usize, body: &[u8]| -> Bytes {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        [&[flag], length.as_slice(), body].concat().into()
    };
    let login = raw.json("/auth.Auth/Token", r#"{"id":"admin","secret":"micro"}"#).await.value();
    let bearer = format!("Bearer {}", login["token"]["access_token"].as_str().unwrap());
    let list = "/registry.Registry/ListServices";
    let listed = raw.unary(list, JSON, &[("authorization", &bearer)], "{}").await;
    assert_eq!(listed.status, 0, "{listed:?}");
    for path in [CALL, list] {
        for form in [JSON, "application/grpc+proto"] {
            for (what, body) in [
                ("compressed", with_head(1, 2, b"{}")),
                ("another flag", with_head(7, 2, b"{}")),
                ("longer than it is", with_head(0, 100, b"{}")),
                ("over the limit", with_head(0, MESSAGE_LIMIT + 1, b"{}")),
                ("4 GiB", with_head(0, u32::MAX as usize, b"{}")),
                ("half a head", Bytes::from_static(b"\0\0\0")),
                ("nothing", Bytes::new()),
            ] {
                let reply = raw.body(path, form, &[("authorization", &bearer)], body).await;
                // 16 would be for who asks.
                let refused = reply.status > 0 && reply.status != 16 && reply.messages.is_empty();
                assert!(refused, "{path} {form} {what}: {reply:?}");
            }
        }
    }
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(MESSAGE_LIMIT));
    let reply = raw.json(CALL, &large).await;
    assert_eq!((reply.failure().0, reply.failure().1), (8, 413), "{:?}", reply.error);
    let fits = format!("{{\"name\":\"{}\"}}", "a".repeat(MESSAGE_LIMIT - 64));
    let reply = raw.json(CALL, &fits).await;
    assert_eq!(reply.status, 0, "{:?}", reply.error);
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(raw.json(CALL, &deep).await.failure().1, 400);
    for garbage in ["\u{1}\u{2}\u{3}", "\n\u{7f}", "\u{b}\u{b}\u{b}"] {
        let reply = raw.unary(CALL, "application/grpc", &[], garbage).await;
        assert_eq!((reply.failure().0, reply.failure().1), (3, 400), "{garbage:?}: {reply:?}");
    }
    assert_eq!(raw.json(CALL, r#"{"name":"Jane"}"#).await.value(), json!({"msg": "Hello Jane"}));
}
