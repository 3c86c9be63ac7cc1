//! What the programs of Micro v4 send, and what they rely on in the answers: its command line, services
//! on its framework, its clients in JavaScript and Go.

use std::{path::Path, process::Command};

use micro_sdk::{
    Channel, Client,
    proto::{auth, config, registry, store},
};
use prost::Message;
use serde_json::{Value, json};

use crate::{
    go_service::{Door, Node},
    raw::{Reply, frame},
    support::{Home, http, not_run, outcome},
};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A service as the Go framework registers it: `Count` is a stream, and without a schema, `Twice` says
/// that it is none.
fn gotest(name: &str, node: &Value) -> Value {
    let endpoint = |name: &str, metadata: Value| {
        json!({"name": name, "request": {"name": "Request", "type": "Request"},
            "response": {"name": "Response", "type": "Response"}, "metadata": metadata})
    };
    json!({
        "name": name, "version": "latest", "nodes": [node], "options": {"ttl": "90", "domain": "micro"},
        "endpoints": [
            endpoint("Gotest.Echo", json!({})),
            endpoint("Gotest.Fail", json!({})),
            endpoint("Gotest.Twice", json!({})),
            endpoint("Gotest.Count", json!({"stream": "true"})),
        ],
    })
}

/// A server with such a service, started by hand.
struct Original {
    home: Home,
    door: Door,
    api: String,
}

impl Original {
    async fn new() -> Self {
        let home = Home::new();
        home.ok(["server", "start"]);
        let door = Door::open(&home).await;
        let node = Node::start("go").await;
        door.register(&gotest("gotest", &node.wire("gotest-1"))).await;
        Self { api: home.state().api, home, door }
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let headers: Vec<_> = [JSON].into_iter().chain(headers.iter().copied()).collect();
        http(&self.api, "POST", path, &headers, body)
    }

    /// A call as the command line of Micro v4 makes it for its own commands.
    async fn ask<I: Message, O: Message + Default>(&self, path: &str, token: &str, request: &I) -> O {
        let reply = self.reply(path, token, request).await;
        assert_eq!(reply.status, 0, "{path}: {reply:?}");
        O::decode(reply.messages[0].clone()).unwrap()
    }

    async fn reply<I: Message>(&self, path: &str, token: &str, request: &I) -> Reply {
        let headers = [
            ("authorization", token),
            ("micro-namespace", "micro"),
            ("timeout", "60000000000"),
            ("grpc-timeout", "59999000u"),
            ("x-content-type", "application/protobuf"),
            ("user-agent", "grpc-go/1.63.2"),
        ];
        let headers = if token.is_empty() { &headers[1..] } else { &headers[..] };
        self.door.raw.body(path, "application/grpc+proto", headers, frame(&request.encode_to_vec())).await
    }
}

fn error_of((status, body): &(u16, String)) -> (u16, String) {
    let error: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no error in {body}"));
    assert_eq!(error["code"], json!(status), "{body}");
    (*status, error["detail"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_in_a_path_is_that_of_the_api_unless_a_service_is_called_so() {
    let original = Original::new().await;
    let node_of = |answer: (u16, String)| {
        assert_eq!(answer.0, 200, "{answer:?}");
        let said: Value = serde_json::from_str(&answer.1).unwrap();
        (said["node"].as_str().unwrap().to_owned(), said["path"].as_str().unwrap().to_owned())
    };
    for path in ["/v1/gotest/Echo", "/v1/gotest/Gotest/Echo", "/v2/gotest/echo"] {
        assert_eq!(
            node_of(original.post(path, &[], "{}")),
            ("go".into(), "/gotest.Gotest/Echo".into()),
            "{path}"
        );
    }
    // Where neither is known the name is the one that was asked for.
    let missing = error_of(&original.post("/v1/nothing/Call", &[], "{}"));
    assert!(missing.0 == 404 && missing.1.starts_with("service v1.nothing: "), "{missing:?}");
    // The building blocks too: the version is not part of their names.
    assert_eq!(original.post("/v1/auth/Auth/Token", &[], r#"{"id":"admin","secret":"micro"}"#).0, 200);

    let versioned = Node::start("versioned").await;
    original.door.register(&gotest("v1.gotest", &versioned.wire("v1-1"))).await;
    assert_eq!(node_of(original.post("/v1/gotest/Echo", &[], "{}")).0, "versioned");
    assert_eq!(node_of(original.post("/gotest/Echo", &[], "{}")).0, "go");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_stream_arrives_and_none_is_cut_from_what_is_taken_for_one() {
    let original = Original::new().await;
    let lines = "{\"count\":\"1\"}\n{\"count\":\"2\"}\n{\"count\":\"3\"}\n".to_owned();
    assert_eq!(original.post("/gotest/Count", &[], r#"{"count":3}"#), (200, lines.clone()));
    assert_eq!(http(&original.api, "GET", "/gotest/Count?count=3", &[], ""), (200, lines));

    let cut = error_of(&original.post("/gotest/Twice", &[], "{}"));
    assert!(cut.0 == 500 && cut.1.contains("more than one message"), "{cut:?}");
    for line in [&["call", "gotest", "Gotest.Twice", "{}"][..], &["gotest", "twice"]] {
        let failed = original.home.run(line.iter().copied());
        assert!(failed.code != Some(0) && failed.stdout.is_empty(), "{failed:?}");
        assert!(failed.stderr.contains("more than one message"), "{failed:?}");
    }
    let client = Client::new(Channel::tcp(original.home.state().proxy), "gotest").with_json();
    for endpoint in ["Gotest.Twice", "Gotest.Count"] {
        let error = client.unary_bytes(endpoint, "{}".into()).await.unwrap_err();
        assert!(error.detail.contains("more than one message"), "{error:?}");
    }
    assert!(client.unary_bytes("Gotest.Echo", "{}".into()).await.is_ok());
    assert_eq!(client.unary_bytes("Gotest.Fail", "{}".into()).await.unwrap_err().code, 409);
    // At the proxy every message is passed on, for the client to judge.
    let reply = original.door.raw.json("/gotest.Gotest/Twice", "{}").await;
    assert_eq!((reply.status, reply.messages.len()), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_refused_with_the_reason() {
    let original = Original::new().await;
    let upgrade = |connection: &'static str, upgrade: &'static str| {
        [
            ("Connection", connection),
            ("Upgrade", upgrade),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
    };
    for path in ["/gotest/Count", "/v1/gotest/Count", "/gotest/Echo"] {
        for headers in [upgrade("Upgrade", "websocket"), upgrade("keep-alive, upgrade", "WebSocket")] {
            let refused = error_of(&http(&original.api, "GET", path, &headers, ""));
            assert!(refused.0 == 501 && refused.1.contains("WebSockets are not supported"), "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_told_which_http_request_it_answers_and_nobody_else_can_say_so() {
    let original = Original::new().await;
    let metadata = |answer: (u16, String)| {
        let said: Value = serde_json::from_str(&answer.1).unwrap();
        said["metadata"].clone()
    };
    let forged = [("Method", "FORGED"), ("Url", "/forged"), ("X-Trace", "abc")];
    let said = metadata(original.post("/gotest/Echo?a=1", &forged, "{}"));
    assert_eq!(
        (&said["method"], &said["url"], &said["x-trace"]),
        (&json!("POST"), &json!("/gotest/Echo?a=1"), &json!("abc"))
    );
    assert!(said["host"].as_str().is_some_and(|host| !host.is_empty() && host != "forged"), "{said}");
    let said = metadata(http(&original.api, "GET", "/gotest/Echo", &[], ""));
    assert_eq!((&said["method"], &said["url"]), (&json!("GET"), &json!("/gotest/Echo")));

    let headers = [("method", "FORGED"), ("url", "/forged"), ("x-trace", "abc")];
    let reply = original.door.raw.unary("/gotest.Gotest/Echo", "application/grpc+json", &headers, "{}").await;
    let said = reply.value()["metadata"].clone();
    assert_eq!(
        (&said["method"], &said["url"], &said["host"]),
        (&Value::Null, &Value::Null, &Value::Null),
        "{said}"
    );
    assert_eq!(said["x-trace"], "abc");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_started_by_hand_has_no_log_here() {
    let original = Original::new().await;
    let headers = [("authorization", &*original.door.bearer)];
    let ask = |service: &str| json!({"service": service, "options": {"namespace": "micro"}}).to_string();
    let form = "application/grpc+json";
    let words = "service gotest has no log here: it was not started by this server";
    let reply = original.door.raw.unary("/runtime.Runtime/Logs", form, &headers, &ask("gotest")).await;
    // Not NotFound: the command line of Micro v4 says "Service not found" to that, whatever we say.
    assert_eq!(reply.failure(), (9, 412, words));
    let unknown = original.door.raw.unary("/runtime.Runtime/Logs", form, &headers, &ask("nothing")).await;
    assert_eq!(unknown.failure(), (5, 404, "Logs not found for service nothing"));
    let shown = original.home.run(["logs", "gotest"]);
    assert!(shown.code != Some(0) && shown.stderr.contains(words), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_called_as_flags_are_and_an_example_where_nothing_is_known() {
    let original = Original::new().await;
    let text = |name: &str| json!({"name": name, "type": "string"});
    let below = json!({"name": "address", "type": "Address", "values": [text("zip"), text("output")]});
    let counts = json!({"name": "counts", "type": "map[string]int64"});
    let mut service = gotest("words", &Node::start("words").await.wire("words-1"));
    service["endpoints"][0]["request"]["values"] =
        json!([text("help"), text("json"), text("field.help"), text("name"), below, counts]);
    original.door.register(&service).await;
    let home = &original.home;
    let line = ["words", "echo", "--field.help=a", "--field.json=b", "--name=-c", "--address.zip=d"];
    let answer: Value = serde_json::from_str(&home.ok(line)).unwrap();
    let sent: Value = serde_json::from_str(answer["request"].as_str().unwrap()).unwrap();
    assert_eq!(sent, json!({"help": "a", "json": "b", "name": "-c", "address": {"zip": "d"}}));
    let help = home.ok(["words", "echo", "--help"]);
    assert!(help.contains("--field.help <STRING>") && help.contains("because `--help` is another"), "{help}");
    assert!(home.fails(2, ["words", "echo", "--name", "-x"]).contains("--name=-x"));
    let said = home.fails(2, ["words", "echo", "--counts", "a=1", "--counts", "b=x"]);
    assert!(said.contains("a whole number (int64), not `x`") && said.contains("--counts=key=42"), "{said}");
    // Nobody has said what this one takes.
    assert!(home.ok(["gotest", "count", "--help"]).contains("--json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_of_the_original_finds_what_it_relies_on() {
    let original = Original::new().await;
    let options = || Some(auth::Options { namespace: "micro".into() });
    let login = auth::TokenRequest {
        id: "admin".into(),
        secret: "micro".into(),
        token_expiry: 60,
        options: options(),
        ..Default::default()
    };
    let answer: auth::TokenResponse = original.ask("/auth.Auth/Token", "", &login).await;
    let token = answer.token.unwrap();
    assert_eq!(token.access_token.matches('.').count(), 2, "it looks like a JWT");
    let bearer = format!("Bearer {}", token.access_token);
    let inspect = auth::InspectRequest { token: token.access_token.clone(), options: options() };
    let account: auth::InspectResponse = original.ask("/auth.Auth/Inspect", &bearer, &inspect).await;
    assert_eq!(account.account.unwrap().id, "admin");
    let refresh = auth::TokenRequest {
        refresh_token: token.refresh_token,
        token_expiry: 86_400,
        options: options(),
        ..Default::default()
    };
    let fresh: auth::TokenResponse = original.ask("/auth.Auth/Token", "", &refresh).await;
    assert!(!fresh.token.unwrap().access_token.is_empty());
    let mut wrong = login.clone();
    wrong.secret = "wrong".into();
    assert_ne!(original.reply("/auth.Auth/Token", "", &wrong).await.status, 0);

    let domain = || Some(registry::Options { domain: "micro".into(), ..Default::default() });
    let list = registry::ListRequest { options: domain(), brief: false };
    let services: registry::ListResponse =
        original.ask("/registry.Registry/ListServices", &bearer, &list).await;
    assert!(services.services.iter().any(|service| service.name == "gotest"));
    let get = registry::GetRequest { service: "gotest".into(), options: domain() };
    let found: registry::GetResponse = original.ask("/registry.Registry/GetService", &bearer, &get).await;
    assert_eq!((found.services.len(), found.services[0].nodes.len()), (1, 1));

    let record = store::Record { key: "a".into(), value: b"b".to_vec(), ..Default::default() };
    let place = store::WriteOptions { database: "micro".into(), table: "t".into(), ..Default::default() };
    let write = store::WriteRequest { record: Some(record), options: Some(place) };
    let _: store::WriteResponse = original.ask("/store.Store/Write", &bearer, &write).await;
    let place = store::ReadOptions { database: "micro".into(), table: "t".into(), ..Default::default() };
    let read = store::ReadRequest { key: "a".into(), options: Some(place.clone()) };
    let records: store::ReadResponse = original.ask("/store.Store/Read", &bearer, &read).await;
    assert_eq!(records.records[0].value, b"b");
    let missing = store::ReadRequest { key: "none".into(), options: Some(place) };
    let missing = original.reply("/store.Store/Read", &bearer, &missing).await;
    assert_eq!((missing.failure().0, missing.failure().1), (5, 404));
    let place = store::ListOptions { database: "micro".into(), table: "t".into(), ..Default::default() };
    let list = store::ListRequest { options: Some(place) };
    let keys: store::ListResponse = original.ask("/store.Store/List", &bearer, &list).await;
    assert_eq!(keys.keys, ["a"]);
    let databases: store::DatabasesResponse =
        original.ask("/store.Store/Databases", &bearer, &store::DatabasesRequest {}).await;
    assert!(databases.databases.iter().any(|name| name == "micro"));

    let set = |path: &str, data: &str, secret: bool| config::SetRequest {
        namespace: "micro".into(),
        path: path.into(),
        value: Some(config::Value { data: data.into(), format: "json".into() }),
        options: Some(config::Options { secret }),
        ..Default::default()
    };
    let get = |path: &str, secret: bool| config::GetRequest {
        namespace: "micro".into(),
        path: path.into(),
        options: Some(config::Options { secret }),
    };
    let _: config::SetResponse = original.ask("/config.Config/Set", &bearer, &set("a.b", "5", false)).await;
    let _: config::SetResponse =
        original.ask("/config.Config/Set", &bearer, &set("a.c", "\"x\"", true)).await;
    for (path, secret, shown) in [("a.b", false, "5"), ("a.c", false, "\"[secret]\""), ("a.c", true, "\"x\"")]
    {
        let value: config::GetResponse =
            original.ask("/config.Config/Get", &bearer, &get(path, secret)).await;
        assert_eq!(value.value.unwrap().data, shown, "{path}");
    }

    let rules: auth::ListResponse =
        original.ask("/auth.Rules/List", &bearer, &auth::ListRequest { options: options() }).await;
    assert!(!rules.rules.is_empty());
    let list = auth::ListAccountsRequest { options: options() };
    let accounts: auth::ListAccountsResponse = original.ask("/auth.Accounts/List", &bearer, &list).await;
    assert!(accounts.accounts.iter().any(|account| account.id == "admin"));

    // `micro call`, `micro stream`, and an error that keeps its id, code and detail.
    let call = [
        ("authorization", &*bearer),
        ("micro-namespace", "micro"),
        ("timeout", "60000000000"),
        ("x-content-type", "application/json"),
    ];
    let form = "application/grpc+json";
    let said = original.door.raw.unary("/gotest.Gotest/Echo", form, &call, r#"{"message":"hi"}"#).await;
    assert_eq!((said.status, said.header("content-type")), (0, form));
    assert_eq!(said.value()["request"], r#"{"message":"hi"}"#);
    let counted = original.door.raw.unary("/gotest.Gotest/Count", form, &call, r#"{"count":3}"#).await;
    assert_eq!(counted.messages.len(), 3);
    let failed = original.door.raw.unary("/gotest.Gotest/Fail", form, &call, "{}").await;
    assert_eq!(failed.failure(), (6, 409, "sold out, 100%"));
    assert_eq!(failed.error["id"], "shop.Shop.Fail");
    let gone = original.door.raw.unary("/nothing.Nothing/Call", form, &call, "{}").await;
    assert!(gone.failure().2.starts_with("service nothing: route not found"), "{gone:?}");
}

/// The folder with the published client; the reason when there is none and none can be made.
fn javascript() -> Result<std::path::PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let made = outcome(Command::new(root.join("scripts/js-client")).env("CARGO_TARGET_DIR", target));
    if made.code == Some(0) { Ok(target.join("js-client")) } else { Err(made.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_client_in_javascript_calls_a_service() {
    let folder = match javascript() {
        Ok(folder) => folder,
        Err(reason) => {
            return not_run(&format!("scripts/js-client failed: {reason}"));
        }
    };
    let original = Original::new().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/original/client.js");
    let run = tokio::task::spawn_blocking({
        let token = original.door.bearer.trim_start_matches("Bearer ").to_owned();
        let address = format!("http://{}/", original.api);
        move || outcome(Command::new("node").arg(script).arg(folder).arg(address).arg(token))
    });
    let run = run.await.unwrap();
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(
        run.stdout,
        "v1 {\"message\":\"hi\"}\n\
         plain {\"message\":\"hi\"}\n\
         fail 409 sold out, 100%\n\
         nothing 404\n\
         bad token 401\n"
    );
}
