//! Streams that are open when their caller loses the right to them: each ends, at every door.

use std::fs;

use serde_json::json;

use super::doors::{Door, Doors};
use crate::{
    raw::{Call, Raw, frame, soon},
    support::{Home, eventually},
};

const WATCH: &str = "/config.Config/Watch";
const PING_PONG: &str = "/helloworld.Helloworld/PingPong";
const JSON: &str = "application/grpc+json";
const PROTOBUF: &str = "application/grpc";

/// What takes the right away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Logout,
    Secret,
    Deletion,
    Rule,
}

/// A stream, which has begun.
enum Open {
    Grpc(Call),
    Http(reqwest::Response),
}

impl Open {
    /// The code it ends with.
    async fn ended(self) -> i64 {
        match self {
            Self::Grpc(call) => call.end().await.error["code"].as_i64().unwrap(),
            Self::Http(response) => {
                let text = response.text().await.unwrap();
                let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
                last["code"].as_i64().unwrap_or_else(|| panic!("no error in {text}"))
            }
        }
    }
}

/// Opens streams of both kinds at every door that has them, and reads the first message of each.
async fn open(home: &Home, bearer: &str) -> Vec<(String, Open)> {
    let state = home.state();
    let headers = [("authorization", bearer)];
    let mut streams = Vec::new();
    let doors = [
        ("proxy", Raw::connect(&state.proxy).await),
        ("network", Raw::connect(&state.network).await),
        ("socket", Raw::local(&state.socket).await),
    ];
    let watch = json!({"namespace": "micro", "path": "some"}).to_string();
    for (name, door) in &doors {
        for (path, form, message) in [
            (WATCH, JSON, watch.as_bytes()),
            (WATCH, PROTOBUF, b"\x0a\x05micro\x12\x04some"),
            (PING_PONG, JSON, b"{\"stroke\":\"1\"}"),
            (PING_PONG, PROTOBUF, b"\x08\x01"),
        ] {
            let mut call = door.start(path, form, &headers, frame(message)).await;
            assert!(call.message().await.is_some(), "{path} begins");
            streams.push((format!("{path} in {form} at {name}"), Open::Grpc(call)));
        }
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.post(format!("http://{}/config/Config/Watch", state.api)).body(watch);
    let mut response = request.header("authorization", bearer).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some());
    streams.push(("a watch over HTTP".to_owned(), Open::Http(response)));
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_their_caller_loses_the_right_to_them() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["config", "set", "some", r#"{"thing": 1}"#]);
    let doors = Doors::open(&home).await;
    let stays = doors.account("micro", "stays", "user", &["admin"]).await;
    for end in [End::Logout, End::Secret, End::Deletion, End::Rule] {
        let account = json!({"id": "jane", "secret": "old", "scopes": ["admin", "staff"]});
        doors.own("auth.Auth.Generate", &account).await;
        let (bearer, refresh) = doors.log_in("micro", "jane", "old").await;
        let streams = open(&home, &bearer).await;
        // Another one of the same kind goes on.
        let other = open(&home, &stays).await;
        match end {
            End::Logout => drop(doors.own("auth.Auth.Revoke", &json!({"refresh_token": refresh})).await),
            End::Secret => {
                drop(
                    doors
                        .own("auth.Accounts.ChangeSecret", &json!({"id": "jane", "new_secret": "new"}))
                        .await,
                );
            }
            End::Deletion => drop(doors.own("auth.Accounts.Delete", &json!({"id": "jane"})).await),
            End::Rule => {
                for name in ["config", "helloworld"] {
                    let resource = json!({"type": "service", "name": name, "endpoint": "*"});
                    let rule = json!({"id": name, "scope": "staff", "access": "DENIED", "priority": 1, "resource": resource});
                    doors.own("auth.Rules.Create", &json!({ "rule": rule })).await;
                }
            }
        }
        let expected = if end == End::Rule { 403 } else { 401 };
        for (name, stream) in streams {
            let code = soon(&format!("{name} to end by {end:?}"), stream.ended()).await;
            assert_eq!(code, expected, "{name} by {end:?}");
        }
        if end != End::Deletion {
            for name in ["config", "helloworld"] {
                doors.own("auth.Rules.Delete", &json!({ "id": name })).await;
            }
            doors.own("auth.Accounts.Delete", &json!({"id": "jane"})).await;
        }
        for (name, stream) in other {
            let Open::Grpc(mut call) = stream else { continue };
            if name.starts_with(PING_PONG) {
                if name.contains(JSON) {
                    call.write(r#"{"stroke":"2"}"#).await;
                    assert_eq!(soon(&name, call.value()).await["stroke"], "2");
                }
            } else if name.contains(JSON) {
                doors.own("config.Config.Set", &json!({"path": "some.more", "value": {"data": "1"}})).await;
                assert!(soon(&name, call.message()).await.is_some(), "{name} goes on after {end:?}");
                doors.own("config.Config.Delete", &json!({"path": "some.more"})).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_not_taken_from_who_loses_the_right_to_it_meanwhile() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let doors = Doors::open(&home).await;
    let jane = doors.account("micro", "jane", "user", &["admin"]).await;
    let proxy = Raw::connect(&home.state().proxy).await;
    let first = json!({"key": "half", "blob": "aGFsZg=="}).to_string();
    let upload = tokio::spawn(async move {
        let headers = [("authorization", jane.as_str())];
        // There is an answer only when it has ended, which it never does.
        proxy.start("/store.BlobStore/Write", JSON, &headers, frame(first.as_bytes())).await.end().await
    });
    let drafts = home.data().join("server/blobs/drafts");
    eventually("the upload to begin", || fs::read_dir(&drafts).ok()?.next()?.ok());
    doors.own("auth.Accounts.Delete", &json!({"id": "jane"})).await;
    let ended = soon("the upload to end", upload).await.unwrap();
    assert_eq!(ended.failure().1, 401, "{ended:?}");
    assert_eq!(home.ok(["store", "blob", "list"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_rule_is_gone_that_allowed_it() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["config", "set", "some", r#"{"thing": 1}"#]);
    let doors = Doors::open(&home).await;
    let jane = doors.account("micro", "jane", "user", &["staff"]).await;
    // A caller that is no administrator watches the config by a rule only.
    let resource = json!({"type": "config", "name": "some", "endpoint": "Config.Watch"});
    let rule = json!({"id": "watchers", "scope": "staff", "access": "GRANTED", "resource": resource});
    doors.own("auth.Rules.Create", &json!({ "rule": rule })).await;
    let streams = open(&home, &jane).await;
    doors.own("auth.Rules.Delete", &json!({"id": "watchers"})).await;
    for (name, stream) in streams {
        if name.contains("atch") {
            assert_eq!(soon(&name, stream.ended()).await, 403, "{name}");
        }
    }
    let request = json!({"path": "some"}).to_string();
    let again =
        doors.ask(Door::ProxyJson, "config.Config.Watch", &[("authorization", &jane)], &request).await;
    assert_eq!(again.code, 403, "{again:?}");

    // Nobody in particular may call the service, until the rule that says so is gone.
    let proxy = Raw::connect(&home.state().proxy).await;
    let mut call = proxy.start(PING_PONG, JSON, &[], frame(b"{\"stroke\":\"1\"}")).await;
    assert_eq!(call.value().await["stroke"], "1");
    let resource = json!({"type": "*", "name": "*", "endpoint": "*"});
    let rule = json!({"id": "known", "scope": "*", "access": "GRANTED", "resource": resource});
    doors.own("auth.Rules.Create", &json!({ "rule": rule })).await;
    call.write(r#"{"stroke":"2"}"#).await;
    assert_eq!(call.value().await["stroke"], "2");
    doors.own("auth.Rules.Delete", &json!({"id": "default"})).await;
    assert_eq!(soon("the stream to end", call.end()).await.failure().1, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_the_home_has_no_token_that_another_secret_could_revoke() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["config", "set", "some", r#"{"thing": 1}"#]);
    let doors = Doors::open(&home).await;
    doors.own("auth.Accounts.ChangeSecret", &json!({"id": "admin", "new_secret": "another"})).await;
    doors.account("micro", "jane", "user", &["admin"]).await;
    let socket = Raw::local(&home.state().socket).await;
    let mut watch = socket.start(WATCH, JSON, &[], frame(br#"{"path": "some"}"#)).await;
    assert!(watch.message().await.is_some(), "it begins");
    // What ends something of somebody else makes each stream look whether it may go on.
    doors.own("auth.Accounts.Delete", &json!({"id": "jane"})).await;
    home.ok(["kill", "helloworld"]);
    let service = ["--name", "s", "--command", "sh -c 'echo last words; exit 3'"];
    let said = home.fails(8, ["run", "."].iter().chain(&service));
    assert!(said.contains("exited with code 3") && said.contains("last words"), "{said}");
    doors.own("config.Config.Set", &json!({"path": "some.more", "value": {"data": "1"}})).await;
    assert!(soon("the owner's watch to go on", watch.message()).await.is_some());
}
