//! What a door refuses before it does any work, and what nobody can hold for themselves.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use bytes::Bytes;
use micro_sdk::MESSAGE_LIMIT;
use serde_json::{Value, json};

use crate::{
    raw::Raw,
    support::{Home, PATIENCE, eventually, http, outcome},
};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROTOBUF: (&str, &str) = ("Content-Type", "application/protobuf");

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The head of a request whose body is so long.
fn head(path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
}

/// What is answered to what is written, as far as it is read.
fn answer(mut stream: TcpStream, request: &[u8]) -> String {
    drop(stream.write_all(request));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn token(api: &str) -> String {
    let body = r#"{"id":"admin","secret":"micro"}"#;
    let (_, login) = http(api, "POST", "/auth/Auth/Token", &[JSON], body);
    let login: Value = serde_json::from_str(&login).unwrap();
    format!("Bearer {}", login["token"]["access_token"].as_str().unwrap())
}

#[tokio::test]
async fn who_may_not_call_is_told_before_a_byte_of_the_message_is_read() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = home.state();
    for path in
        ["/registry/Registry/Register", "/store/Store/Write", "/config/Config/Set", "/runtime/Runtime/Create"]
    {
        let said = answer(connect(&state.api), head(path, &[PROTOBUF], MESSAGE_LIMIT).as_bytes());
        assert!(said.starts_with("HTTP/1.1 401"), "{path}: {said}");
    }
    let raw = Raw::connect(&state.proxy).await;
    // The head of a message that never comes.
    let begun = Bytes::from_static(&[0, 1, 0, 0, 0]);
    let reply = raw.start("/registry.Registry/Register", "application/grpc", &[], begun).await.end().await;
    assert_eq!((reply.failure().0, reply.failure().1), (16, 401), "{reply:?}");
}

#[tokio::test]
async fn each_method_has_a_limit_that_fits_it_and_names_it() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = home.state();
    let long = json!({ "id": "a".repeat(5000), "secret": "b" }).to_string();
    let (status, said) = http(&state.api, "POST", "/auth/Auth/Token", &[JSON], &long);
    assert!(status == 413 && said.contains("4096 bytes"), "{status} {said}");
    for (form, length) in [("application/grpc", 5000_u32), ("application/grpc+json", 1 << 24)] {
        let raw = Raw::connect(&state.proxy).await;
        let begun = [&[0][..], &length.to_be_bytes()].concat().into();
        let reply = raw.start("/auth.Auth/Token", form, &[], begun).await.end().await;
        assert_eq!((reply.failure().0, reply.failure().1), (8, 413), "{reply:?}");
        assert!(reply.failure().2.contains("4096 bytes"), "{reply:?}");
    }
}

#[test]
fn what_is_small_on_the_wire_and_large_in_memory_is_refused() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let api = home.state().api;
    let token = token(&api);
    let authorization = ("Authorization", token.as_str());
    let send = |path: &str, form, body: &[u8]| {
        let request = [head(path, &[form, authorization], body.len()).as_bytes(), body].concat();
        answer(connect(&api), &request)
    };
    for (path, part) in [
        ("/registry/Registry/Register", &b"\x22\x00"[..]),
        ("/registry/Registry/Register", b"\x2a\x00"),
        ("/store/Store/Batch", b"\x0a\x00"),
        ("/store/Store/Batch", b"\x0a\x02\x12\x00"),
    ] {
        let said = send(path, PROTOBUF, &part.repeat((256 << 10) / part.len()));
        assert!(
            said.starts_with("HTTP/1.1 413") && said.contains("so many parts"),
            "{path} {part:?}: {said}"
        );
    }
    let many = format!("{{\"changes\":[{}]}}", vec!["{\"\":0}"; 1 << 20].join(","));
    let said = send("/store/Store/Batch", JSON, many.as_bytes());
    assert!(said.starts_with("HTTP/1.1 413") && said.contains("so many values"), "{said}");
    // What is as large in earnest goes through.
    let record = json!({ "record": { "key": "k", "value": "A".repeat(8 << 20) } }).to_string();
    assert!(send("/store/Store/Write", JSON, record.as_bytes()).starts_with("HTTP/1.1 200"));
}

#[test]
fn one_address_does_not_hold_the_memory_of_all() {
    let home = Home::new();
    home.ok(["server", "start"]);
    home.run_helloworld();
    let api = home.state().api;
    // All of a body but its end.
    let body = [head("/helloworld/Call", &[JSON], MESSAGE_LIMIT).as_bytes(), &vec![b' '; MESSAGE_LIMIT - 1]]
        .concat();
    let mut held = connect(&api);
    held.write_all(&body).unwrap();
    let refused = eventually("a refusal", || {
        let mut writes = connect(&api);
        let mut reads = writes.try_clone().unwrap();
        // Read while it is written: it is closed with some of it unread.
        let said = std::thread::scope(|scope| {
            let said = scope.spawn(move || {
                let mut answer = [0; 1024];
                let length = reads.read(&mut answer).unwrap_or_default();
                String::from_utf8_lossy(&answer[..length]).into_owned()
            });
            drop(writes.write_all(&body));
            said.join().unwrap()
        });
        said.starts_with("HTTP/1.1 503").then_some(said)
    });
    assert!(refused.to_ascii_lowercase().contains("\r\nretry-after: "), "{refused}");
    assert_eq!(home.http("/helloworld/Call?name=Jane").0, 200);
    assert!(home.ok(["helloworld", "call", "--name=Jane"]).contains("Hello Jane"));
}

#[test]
fn who_has_sent_all_there_is_still_gets_the_answer() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let mut stream = connect(&home.state().api);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test]
async fn headers_that_nobody_can_read_are_refused_and_large_ones_pass() {
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    let raw = Raw::connect(&state.proxy).await;
    let call = |name: &'static str, value: String| {
        let raw = &raw;
        async move {
            let path = "/helloworld.Helloworld/Call";
            let reply = raw.unary(path, "application/grpc+json", &[(name, value.as_str())], "{}").await;
            if reply.status == 0 { 0 } else { reply.failure().1 }
        }
    };
    for (name, value, code) in [("x-bin", "?", 400), ("grpc-timeout", "5Z", 400), ("x-bin", "AAEC", 0)] {
        assert_eq!(call(name, value.to_owned()).await, code, "{name}: {value}");
        let answer = http(&state.api, "GET", "/helloworld/Call", &[(name, value)], "");
        assert_eq!(answer.0, if code == 0 { 200 } else { 400 }, "{name}: {value}: {answer:?}");
    }
    // The limits agree along the whole way.
    assert_eq!(call("x-long", "x".repeat(20_000)).await, 0);
}

#[test]
fn a_connection_without_calls_is_closed_in_time() {
    let home = Home::new();
    home.ok(["server", "start", "--idle-timeout", "200ms"]);
    let state = home.state();
    for address in [&state.api, &state.proxy, &state.network] {
        let mut stream = connect(address);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn connections_without_calls_keep_nobody_out() {
    let home = Home::new();
    let started = outcome(&mut home.shell("sh", "ulimit -n 256 && micro server start"));
    assert_eq!(started.code, Some(0), "{started:?}");
    let state = home.state();
    let connections: Vec<TcpStream> =
        (0..400).map(|number| connect([&state.api, &state.proxy, &state.network][number % 3])).collect();
    assert_eq!(home.http("/").0, 200);
    home.ok(["store", "write", "a", "b"]);
    drop(connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_too_slowly_is_given_up() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = home.state();
    let api = state.api.clone();
    // Some of it comes all the time, and never enough.
    let trickle = tokio::task::spawn_blocking(move || {
        let mut writes = connect(&api);
        let mut reads = writes.try_clone().unwrap();
        writes.write_all(head("/auth/Auth/Token", &[JSON], 4000).as_bytes()).unwrap();
        let thread = std::thread::spawn(move || {
            while writes.write_all(b" ").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let mut said = [0; 1024];
        let length = reads.read(&mut said).unwrap();
        reads.shutdown(std::net::Shutdown::Both).unwrap();
        thread.join().unwrap();
        String::from_utf8_lossy(&said[..length]).into_owned()
    });
    let raw = Raw::connect(&state.proxy).await;
    let begun = Bytes::from_static(&[0, 0, 0, 0, 100]);
    let reply = raw.start("/auth.Auth/Token", "application/grpc", &[], begun).await.end().await;
    assert_eq!((reply.failure().0, reply.failure().1), (4, 408), "{reply:?}");
    assert!(reply.failure().2.contains("did not come in time"), "{reply:?}");
    let said = trickle.await.unwrap();
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("did not come in time"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn who_does_not_read_the_answer_is_cut_off() {
    let home = Home::new();
    home.ok(["server", "start", "--idle-timeout", "1s"]);
    let api = home.state().api;
    let token = token(&api);
    let authorization = ("Authorization", token.as_str());
    let record = json!({ "record": { "key": "k", "value": "A".repeat(14 << 20) } }).to_string();
    assert_eq!(http(&api, "POST", "/store/Store/Write", &[JSON, authorization], &record).0, 200);
    let read = r#"{"key":"k"}"#;
    let mut stream = connect(&api);
    let request = head("/store/Store/Read", &[JSON, authorization], read.len()) + read;
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1024]).unwrap();
    // The end of the server, in the table of the system, is open no more.
    let end = |address: std::net::SocketAddr| {
        let std::net::IpAddr::V4(ip) = address.ip() else { panic!("{address}") };
        format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port())
    };
    let ends = format!(" {} {} 01 ", end(stream.peer_addr().unwrap()), end(stream.local_addr().unwrap()));
    let table = || std::fs::read_to_string("/proc/net/tcp").unwrap();
    assert!(table().contains(&ends));
    eventually("the connection to be closed", || (!table().contains(&ends)).then_some(()));
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    assert!(rest.len() < 14 << 20, "all of it was sent");
    assert_eq!(home.http("/").0, 200);
}
