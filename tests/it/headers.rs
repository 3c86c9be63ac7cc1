//! The heads of requests and of answers: how large they may be, that they are well formed, and what who
//! goes beyond is told, at every door.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{
    faulty,
    go_service::{Door, Node, shop},
    raw::Raw,
    support::{Home, PATIENCE, http},
};

const CALL: &str = "/helloworld/Call?name=Jane";
const HELLO: &str = r#"{"msg":"Hello Jane"}"#;

/// What is answered to what is written, to the end of the connection.
fn answer(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer is whole, and the connection closed");
    String::from_utf8(answer).unwrap()
}

/// The status of an answer with an error in JSON.
fn refused(answer: &str) -> i64 {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let error: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no error: {answer}"));
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: application/json") && head.contains("connection: close"),
        "{answer}"
    );
    assert!(
        head.starts_with(&format!("http/1.1 {} ", error["code"])) && error["id"] == "micro.server",
        "{answer}"
    );
    error["code"].as_i64().unwrap()
}

fn many(count: usize) -> String {
    (0..count).map(|number| format!("x-{number}: a\r\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_told_so_at_every_door() {
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    let long = format!("x: {}\r\n", "a".repeat(70_000));
    for door in [&state.api, &state.proxy, &state.network] {
        for headers in [&long, &many(300), &long.repeat(10)] {
            let request = format!("GET {CALL} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
            assert_eq!(refused(&answer(door, &request)), 431);
        }
    }
    // Over HTTP/2, which a web client speaks too.
    let (long, body) = ("a".repeat(70_000), r#"{"name":"Jane"}"#);
    let names: Vec<String> = (0..300).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "a")).collect();
    for headers in [&[("x", long.as_str())][..], &many] {
        for door in [&state.proxy, &state.network] {
            let raw = Raw::connect(door).await;
            let reply =
                raw.unary("/helloworld.Helloworld/Call", "application/grpc+json", headers, body).await;
            assert_eq!((reply.failure().0, reply.failure().1), (8, 431), "{reply:?}");
        }
        let raw = Raw::connect(&state.api).await;
        let call = raw.whole("/helloworld/Call", "application/json", headers, body.into()).await;
        assert_eq!(call.head.status, 431);
        assert_eq!(call.head.headers["content-type"], "application/json");
    }
    // What is within the limits passes the whole way.
    let long = "a".repeat(60_000);
    let wide: Vec<_> = names.iter().take(200).map(|name| (name.as_str(), "a")).collect();
    for headers in [&[("x", long.as_str())][..], &wide] {
        assert_eq!(http(&state.api, "GET", CALL, headers, ""), (200, HELLO.to_owned()));
        let raw = Raw::connect(&state.proxy).await;
        let reply = raw.unary("/helloworld.Helloworld/Call", "application/grpc+json", headers, body).await;
        assert_eq!(reply.value(), json!({"msg": "Hello Jane"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_a_head_are_settings() {
    let home = Home::new();
    home.fails(2, ["server", "start", "--max-header-bytes", "1KiB"]);
    home.fails(2, ["server", "start", "--max-header-bytes", "1MiB"]);
    home.fails(2, ["server", "start", "--max-headers", "3"]);
    home.ok(["server", "start", "--max-header-bytes", "200KiB", "--max-headers", "1000"]);
    home.run_helloworld();
    // They are kept.
    home.ok(["server", "restart"]);
    let state = home.state();
    let request = |headers: &str| {
        format!("GET {CALL} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
    };
    let long = |bytes| format!("x: {}\r\n", "a".repeat(bytes));
    for headers in [long(190 << 10), many(990)] {
        assert!(answer(&state.api, &request(&headers)).ends_with(HELLO));
    }
    for headers in [long(200 << 10), many(1001)] {
        assert_eq!(refused(&answer(&state.api, &request(&headers))), 431);
    }
    let headers = "a".repeat(190 << 10);
    let raw = Raw::connect(&state.proxy).await;
    let path = "/helloworld.Helloworld/Call";
    let reply = raw.unary(path, "application/grpc+json", &[("x", &headers)], r#"{"name":"Jane"}"#).await;
    assert_eq!(reply.value(), json!({"msg": "Hello Jane"}));
}

#[test]
fn a_head_is_well_formed_or_refused_wherever_it_stands() {
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    let get = format!("GET {CALL} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = "POST /helloworld/Call HTTP/1.1\r\nHost: localhost\r\n";
    let fixed = format!("{post}Content-Length: 15\r\n\r\n{{\"name\":\"Jane\"}}");
    let chunked =
        format!("{post}Transfer-Encoding: chunked\r\n\r\n8\r\n{{\"name\":\r\n7\r\n\"Jane\"}}\r\n0\r\n\r\n");
    for door in [&state.api, &state.proxy] {
        for bad in [
            "GET / HTTP/1.1\nHost: localhost\n\n",
            "GET / HTTP/1.1\r\nHost: localhost\nX: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\n\r\n",
            "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert_eq!(refused(&answer(door, bad)), 400, "{bad:?}");
        }
    }
    // Behind other requests too, which are answered.
    for good in [&get, &fixed, &chunked] {
        let said = answer(&state.api, &format!("{good}{good}GET / HTTP/1.1\nHost: localhost\n\n"));
        let mut answers = said.split(HELLO);
        assert!(answers.next().unwrap().starts_with("HTTP/1.1 200"), "{said}");
        assert!(answers.next().unwrap().starts_with("HTTP/1.1 200"), "{said}");
        assert_eq!(refused(answers.next().unwrap()), 400);
    }
    // In pieces it is the same.
    let mut stream = TcpStream::connect(&state.api).unwrap();
    stream.set_nodelay(true).unwrap();
    for request in [&chunked, &fixed, &get] {
        for byte in request.as_bytes() {
            stream.write_all(&[*byte]).unwrap();
        }
        let mut said = [0; 4096];
        let length = stream.read(&mut said).unwrap();
        assert!(String::from_utf8_lossy(&said[..length]).starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_of_an_error_arrives_shortened_with_its_code() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let state = home.state();
    let is_shortened = |detail: &str| {
        let text = detail.trim_end_matches('…');
        detail.ends_with('…') && text.len() > 1000 && "much too long ".repeat(1500).starts_with(text)
    };
    let (status, body) = http(&state.api, "GET", "/helloworld/Call?name=long", &[], "");
    let error: Value = serde_json::from_str(&body).unwrap();
    assert!(status == 409 && is_shortened(error["detail"].as_str().unwrap()), "{status} {body}");
    let raw = Raw::connect(&state.proxy).await;
    let reply = raw.json("/helloworld.Helloworld/Call", r#"{"name":"long"}"#).await;
    let (status, code, detail) = reply.failure();
    assert!((status, code) == (6, 409) && is_shortened(detail), "{reply:?}");
    let said = home.fails(7, ["helloworld", "call", "--name=long"]);
    assert!(said.contains("much too long much too long") && said.contains('…'), "{said}");

    // A service of another framework sends what it likes.
    let door = Door::open(&home).await;
    let node = Node::start("long").await;
    door.register(&shop("latest", "90", &[node.wire("1")])).await;
    let reply = door.call("/shop.Shop/Long", "").await;
    let (status, code, detail) = reply.failure();
    assert!((status, code) == (6, 409) && is_shortened(detail) && reply.message.len() < 8192, "{reply:?}");
}
