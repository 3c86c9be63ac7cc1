//! Who somebody is, is what their verified token says: not what any other header says, nor where they
//! say that they come from. And how often one may guess.

use std::collections::BTreeSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::doors::{Answer, Door, Doors};
use crate::{
    faulty,
    support::{Home, http},
};

const WHO: &[u8] = br#"{"name":"who"}"#;

/// Headers with which somebody claims to be somebody else, from somewhere else.
const CLAIMS: &[(&str, &str)] = &[
    ("micro-account", r#"{"id":"root","type":"user","issuer":"micro","scopes":["admin"]}"#),
    ("micro-account-id", "root"),
    ("micro-account-issuer", "micro"),
    ("micro-account-type", "user"),
    ("micro-account-scopes", "admin"),
    ("micro-id", "root"),
    ("micro-issuer", "micro"),
    ("micro-user", "root"),
    ("micro-scopes", "admin"),
    ("micro-from-id", "root"),
    ("micro-from-service", "auth"),
    ("micro-owner", "true"),
    ("micro-peer", "owner"),
    ("x-micro-account", "root"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-proto", "unix"),
    ("x-forwarded-host", "localhost"),
    ("x-real-ip", "127.0.0.1"),
    ("x-remote-user", "root"),
    ("x-original-url", "/debug/Debug/Health"),
    ("x-rewrite-url", "/debug/Debug/Health"),
    ("x-http-method-override", "GET"),
    ("forwarded", "for=unix;by=owner"),
    ("remote", "127.0.0.1:1"),
    ("remote-user", "root"),
    ("cookie", "token=x; micro-token=x; admin=1"),
    ("proxy-authorization", "Bearer a.b.c"),
    ("authorization-token", "Bearer a.b.c"),
    ("token", "a.b.c"),
];

/// The path of the service's call at a door.
fn path(door: Door) -> &'static str {
    if door == Door::Api { "/helloworld/Call" } else { "/helloworld.Helloworld/Call" }
}

/// The message of an answer of the service.
fn said(answer: &Answer) -> String {
    let body = answer.text.rfind("{\"msg\"").map(|at| &answer.text[at..]).unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no answer: {answer:?}"));
    body["msg"].as_str().unwrap().to_owned()
}

/// Tokens made of a good one, each with something else in its place.
fn forged(token: &str) -> Vec<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{token} is no token") };
    let decoded =
        |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let with = |part: &str, key: &str, value: Value| {
        let mut changed = decoded(part);
        changed[key] = value;
        encoded(&changed)
    };
    let mut forged = vec![
        format!("{header}.{claims}."),
        format!("{header}.{}.{signature}", with(claims, "sub", json!("admin"))),
        format!("{header}.{}.{signature}", with(claims, "iss", json!("shop"))),
        format!("{header}.{}.{signature}", with(claims, "exp", json!(4_102_444_800_u64))),
        format!("{header}.{}.{signature}", with(claims, "scopes", json!(["admin", "x"]))),
        format!("{}.{claims}.{signature}", with(header, "kid", json!("../../keys/signing-key"))),
        format!("{}.{claims}.{signature}", with(header, "jku", json!("http://127.0.0.1:1/keys"))),
    ];
    for algorithm in ["none", "None", "HS256", "RS256", "ES256"] {
        let header = with(header, "alg", json!(algorithm));
        for signature in ["", signature] {
            forged.push(format!("{header}.{claims}.{signature}"));
        }
    }
    forged.into_iter().map(|token| format!("Bearer {token}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_who_they_say_but_who_their_token_says() {
    let home = Home::new();
    home.ok(["server", "start"]);
    faulty::run(&home, &[]);
    let doors = Doors::open(&home).await;
    let jane = doors.account("micro", "jane", "user", &["staff"]).await;
    let root = doors.account("micro", "root", "user", &["admin"]).await;
    for door in [Door::Api, Door::ProxyJson, Door::NetworkJson] {
        for (token, expected) in [(None, "nobody"), (Some(&*jane), "user jane of micro [\"staff\"]")] {
            let authorization = token.map(|token| ("authorization", token));
            let headers: Vec<_> = authorization.into_iter().chain(CLAIMS.iter().copied()).collect();
            let answer = doors.send(door, path(door), &headers, WHO, false).await;
            assert_eq!(said(&answer), expected, "{door:?}");
            let listed = doors.ask(door, "auth.Accounts.List", &headers, "{}").await;
            assert_eq!(listed.code, if token.is_none() { 401 } else { 403 }, "{door:?}: {listed:?}");
            let local = doors.ask(door, "auth.Auth.Local", &headers, r#"{"service":"helloworld"}"#).await;
            assert_eq!(local.code, 403, "{door:?}: {local:?}");
        }
        // Two readers of two headers could each take another one.
        for two in [[&*jane, &*root], [&*root, &*jane], [&*jane, "Bearer a.b.c"], ["", &*root], [&*jane, ""]]
        {
            let headers = two.map(|token| ("authorization", token));
            let answer = doors.send(door, path(door), &headers, WHO, false).await;
            assert_eq!(answer.code, 401, "{door:?} {two:?}: {answer:?}");
            let answer = doors.ask(door, "auth.Accounts.List", &headers, "{}").await;
            assert_eq!(answer.code, 401, "{door:?} {two:?}: {answer:?}");
        }
        let token = root.strip_prefix("Bearer ").unwrap();
        for value in [
            format!("Basic {}", STANDARD.encode(format!("root:{token}"))),
            format!("Basic {}", STANDARD.encode("admin:micro")),
            format!("Basic {token}"),
            format!("Token {token}"),
            format!("Bearer: {token}"),
            format!("Bearer \"{token}\""),
            format!("Bearer Bearer {token}"),
            format!("{root}, {root}"),
            format!("{root};"),
            format!("{root} x"),
            token.to_owned(),
            String::new(),
        ] {
            let headers = [("authorization", value.as_str())];
            let answer = doors.send(door, path(door), &headers, WHO, false).await;
            assert_eq!(answer.code, 401, "{door:?} {value:?}: {answer:?}");
            assert!(value.is_empty() || !answer.shows(token), "a token is not repeated: {answer:?}");
        }
        for forged in forged(token) {
            let headers = [("authorization", forged.as_str())];
            let answer = doors.send(door, path(door), &headers, WHO, false).await;
            assert_eq!(answer.code, 401, "{door:?} {forged}: {answer:?}");
            let listed = doors.ask(door, "auth.Accounts.List", &headers, "{}").await;
            assert_eq!(listed.code, 401, "{door:?} {forged}: {listed:?}");
        }
        // A token stands in its header, not in an address that is written down on the way.
        let query =
            format!("/auth/Accounts/List?token={token}&access_token={token}&authorization=Bearer%20{token}");
        let answer = doors.send(Door::Api, &query, &[], b"", false).await;
        assert!(matches!(answer.code, 400 | 401), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_told_one_namespace_and_no_token_that_was_not_looked_at() {
    let home = Home::new();
    home.ok(["server", "start"]);
    faulty::run(&home, &[]);
    let doors = Doors::open(&home).await;
    let jane = doors.account("shop", "jane", "user", &[]).await;
    for door in [Door::Api, Door::ProxyJson, Door::NetworkJson] {
        let headers = [("authorization", &*jane), ("micro-namespace", "micro"), ("connection-id", "kept")];
        let answer = doors.send(door, path(door), &headers, br#"{"name":"headers"}"#, false).await;
        let seen = said(&answer);
        assert_eq!(seen.matches("micro-namespace").count(), 1, "{seen}");
        assert!(seen.contains(r#""micro-namespace": "micro""#), "{seen}");
        assert_eq!(seen.matches("authorization").count(), 1, "{seen}");
        assert!(seen.contains(r#""connection-id": "kept""#), "what is no header of ours travels: {seen}");
        // The namespace that is asked in is no claim to belong there.
        let answer = doors.send(door, path(door), &headers, WHO, false).await;
        assert_eq!(said(&answer), "user jane of shop []");
        for namespace in ["..", "micro/", "*", "MICRO", "mi cro", "micro, shop", "k\u{e4}se"] {
            let headers = [("authorization", &*jane), ("micro-namespace", namespace)];
            let answer = doors.send(door, path(door), &headers, WHO, false).await;
            assert_eq!(answer.code, 400, "{namespace}: {answer:?}");
            // A building block does not take it for the default either.
            let answer = doors.ask(door, "registry.Registry.ListServices", &headers, "{}").await;
            assert_eq!(answer.code, 400, "{namespace}: {answer:?}");
        }
        for (name, value) in [
            ("micro-namespace", "shop"),
            ("micro-version", "k\u{e4}se"),
            ("timeout", "10s"),
            ("timeout", "-5"),
            ("content-type", "application/grpc"),
        ] {
            let headers = [("micro-namespace", "micro"), (name, value)];
            let answer = doors.send(door, path(door), &headers, WHO, false).await;
            assert_eq!(answer.code, 400, "{name}: {value}: {answer:?}");
        }
    }
}

#[test]
fn headers_for_the_next_program_on_the_way_reach_no_service() {
    let home = Home::new();
    home.ok(["server", "start"]);
    faulty::run(&home, &[]);
    let headers = [
        ("Connection", "X-Hop, x-other"),
        ("X-Hop", "1"),
        ("X-Other", "1"),
        ("Proxy-Authorization", "Bearer a.b.c"),
        ("Keep-Alive", "timeout=5"),
        ("Micro-Account", "admin"),
        ("X-Kept", "1"),
    ];
    let body = r#"{"name":"headers"}"#;
    let (status, seen) = http(&home.state().api, "POST", "/helloworld/Call", &headers, body);
    assert_eq!(status, 200, "{seen}");
    assert!(seen.contains("x-kept"), "{seen}");
    for name in ["x-hop", "x-other", "proxy-authorization", "keep-alive", "micro-account", "connection"] {
        assert!(!seen.contains(name), "{name} has arrived: {seen}");
    }
}

/// What an error says, up to the seconds to wait.
fn detail(answer: &Answer) -> String {
    let error = answer.text.find("{\"id\"").map(|at| &answer.text[at..]).unwrap_or_default();
    let error = serde_json::Deserializer::from_str(error).into_iter::<Value>().next();
    let error = error.and_then(Result::ok).unwrap_or_else(|| panic!("no error: {answer:?}"));
    error["detail"].as_str().unwrap().split("try again in").next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slowed_at_every_door_wherever_they_say_they_come_from() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let doors = Doors::open(&home).await;
    let jane = json!({"id": "jane", "secret": "the right one"});
    doors.own("auth.Auth.Generate", &jane).await;
    let mut told = Vec::new();
    for id in ["jane", "nobody"] {
        let guess = json!({"id": id, "secret": "a guess"}).to_string();
        let (mut answers, mut free) = (BTreeSet::new(), 0);
        // On a slow machine a wait may be over before the next guess: then there are more of them.
        while !answers.iter().any(|(code, _)| *code == 429) {
            let from = format!("10.0.0.{free}");
            let headers = [("x-forwarded-for", &*from), ("x-real-ip", &from), ("forwarded", &from)];
            // One address, whichever door it comes to.
            let door = [Door::Api, Door::ProxyJson, Door::NetworkJson][free % 3];
            let answer = doors.ask(door, "auth.Auth.Token", &headers, &guess).await;
            answers.insert((answer.code, detail(&answer).replace(id, "X")));
            free += 1;
            assert!(free < 100, "nobody is slowed: {answers:?}");
        }
        assert!(free > 5, "five are free: {answers:?}");
        told.push(answers);
    }
    assert_eq!(told[0], told[1], "who is there cannot be told from who is not");
    assert_eq!(told[0].len(), 2, "{told:?}");
    // The owner is not made to wait.
    doors.own("auth.Auth.Token", &jane).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_names_of_any_form_are_taken_or_refused_with_the_limit() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let doors = Doors::open(&home).await;
    let ask = |method: &'static str, request: Value| {
        let doors = &doors;
        async move { doors.ask(Door::Socket, method, &[], &request.to_string()).await }
    };
    let odd =
        ["x", "\0", "a\nb", "käse ☃", " ", "\u{feff}", "' OR 1=1 --", &"x".repeat(1000), &"x".repeat(1024)];
    for (number, secret) in odd.iter().enumerate() {
        let account = json!({"id": format!("a{number}"), "secret": secret});
        assert_eq!(ask("auth.Auth.Generate", account.clone()).await.code, 200, "{secret:?}");
        assert_eq!(ask("auth.Auth.Token", account).await.code, 200, "{secret:?}");
        let near = json!({"id": format!("a{number}"), "secret": format!("{secret}x")});
        assert_eq!(ask("auth.Auth.Token", near).await.code, 400, "{secret:?}");
    }
    let long = "x".repeat(1025);
    let answer = ask("auth.Auth.Generate", json!({"id": "b", "secret": long})).await;
    assert!(answer.code == 400 && answer.text.contains("1024") && !answer.text.contains(&long), "{answer:?}");
    let answer =
        ask("auth.Accounts.ChangeSecret", json!({"id": "a0", "old_secret": "x", "new_secret": long})).await;
    assert!(answer.code == 400 && answer.text.contains("1024") && !answer.text.contains(&long), "{answer:?}");
    let answer =
        ask("auth.Accounts.ChangeSecret", json!({"id": "a0", "old_secret": "x", "new_secret": ""})).await;
    assert_eq!(answer.code, 400, "{answer:?}");
    // An empty secret is none: one is made, and the empty one opens nothing.
    assert_eq!(ask("auth.Auth.Generate", json!({"id": "c", "secret": ""})).await.code, 200);
    assert_eq!(ask("auth.Auth.Token", json!({"id": "c", "secret": ""})).await.code, 400);
    let three = "x".repeat(3 << 10);
    for id in ["", "\0", "a\nb", &three] {
        let answer = ask("auth.Auth.Generate", json!({ "id": id })).await;
        assert!(answer.code == 400 && answer.text.contains("255"), "{id:?}: {answer:?}");
        assert_eq!(ask("auth.Auth.Token", json!({"id": id, "secret": "x"})).await.code, 400, "{id:?}");
        let answer = ask("auth.Accounts.Delete", json!({ "id": id })).await;
        assert!(matches!(answer.code, 400 | 404), "{id:?}: {answer:?}");
        let rule =
            json!({"id": id, "access": "GRANTED", "resource": {"type": "*", "name": "*", "endpoint": "*"}});
        assert_eq!(ask("auth.Rules.Create", json!({ "rule": rule })).await.code, 400, "{id:?}");
    }
    let long = "x".repeat(256);
    for field in ["name", "type"] {
        for value in ["\0", "a\nb", &three, &long] {
            let answer = ask("auth.Auth.Generate", json!({"id": "d", field: value})).await;
            assert_eq!(answer.code, 400, "{field} {:?}: {answer:?}", &value[..value.len().min(20)]);
        }
    }
    let words = json!({"id": "d", "scopes": vec!["x".repeat(100); 30]});
    let more = json!({"id": "d", "metadata": {"note": "x".repeat(3000)}});
    for account in [json!({"id": "d", "scopes": [long]}), words, more] {
        let answer = ask("auth.Auth.Generate", account).await;
        assert!(answer.code == 400 && answer.text.contains("at most"), "{answer:?}");
    }
    // The longest that is taken makes a token that is one.
    let metadata = json!({"note": "\"".repeat(1000)});
    let account =
        json!({"id": "\"".repeat(255), "name": "☃".repeat(85), "secret": "x", "metadata": metadata});
    assert_eq!(ask("auth.Auth.Generate", account.clone()).await.code, 200);
    let (token, _) = doors.log_in("micro", account["id"].as_str().unwrap(), "x").await;
    let headers = [("authorization", &*token)];
    let listed = doors.ask(Door::ProxyJson, "registry.Registry.ListServices", &headers, "{}").await;
    assert_eq!(listed.code, 200, "{listed:?}");
    for namespace in ["..", "a/b", "A", "\0", &long] {
        let options = json!({ "namespace": namespace });
        let answer = ask("auth.Auth.Generate", json!({"id": "e", "options": options})).await;
        assert_eq!(answer.code, 400, "{namespace:?}: {answer:?}");
        let rule =
            json!({"id": "e", "access": "GRANTED", "resource": {"type": "*", "name": "*", "endpoint": "*"}});
        let answer = ask("auth.Rules.Create", json!({"rule": rule, "options": options})).await;
        assert_eq!(answer.code, 400, "{namespace:?}: {answer:?}");
    }
    // What is no text is refused before it reaches anybody.
    for (path, message) in [
        ("/auth.Auth/Generate", &b"\x0a\x02\xff\xfe"[..]),
        ("/auth.Auth/Token", b"\x0a\x01a\x12\x02\xff\xfe"),
        ("/config.Config/Get", b"\x12\x02\xff\xfe"),
        ("/registry.Registry/GetService", b"\x0a\x02\xff\xfe"),
        ("/runtime.Runtime/Logs", b"\x0a\x02\xff\xfe"),
    ] {
        let root = doors.account("micro", &format!("r{}", path.len()), "user", &["admin"]).await;
        let answer = doors.send(Door::Proxy, path, &[("authorization", &root)], message, false).await;
        assert_eq!(answer.code, 400, "{path}: {answer:?}");
    }
    for (path, text) in [("a\0b", "control"), (&*"x".repeat(2000), "1024"), (&*"x.".repeat(40), "")] {
        let value = json!({"data": "1"});
        let answer = ask("config.Config.Set", json!({"path": path, "value": value})).await;
        assert!(answer.code == 400 && answer.text.contains(text), "{path:?}: {answer:?}");
    }
    for length in [0, 1000] {
        let secret = json!({"data": json!("x".repeat(length)).to_string()});
        let request = json!({"path": "s", "value": secret, "options": {"secret": true}});
        assert_eq!(ask("config.Config.Set", request).await.code, 200);
        let answer = ask("config.Config.Get", json!({"path": "s", "options": {"secret": true}})).await;
        let got: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(got["value"]["data"], secret["data"]);
    }
}
