//! What callers hold open: answers nobody reads, calls that never end, messages that are never whole,
//! connections. It is limited for each of them, and others go on.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::mpsc,
    thread,
};

use bytes::Bytes;
use http::StatusCode;
use tokio::task::JoinSet;

use crate::{
    messages::{CallRequest, Number},
    raw::{Call, Raw, frame, soon},
    support::{Home, PATIENCE, as_another_user, eventually, http, outcome},
};

const GRPC: &str = "application/grpc";
const ENDLESS: i64 = 2_000_000_000;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn message(message: &impl prost::Message) -> Bytes {
    frame(&message.encode_to_vec())
}

/// A call by the HTTP API works.
fn answers(api: &str) {
    let (status, answer) = http(api, "POST", "/helloworld/Call", &[], r#"{"name": "Jane"}"#);
    assert_eq!((status, answer.trim()), (200, r#"{"msg":"Hello Jane"}"#));
}

#[tokio::test]
async fn answers_that_nobody_reads_hold_up_no_other_call() {
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    let mut unread = Vec::new();
    for _ in 0..8 {
        let raw = Raw::connect(&state.proxy).await;
        let request = message(&Number { value: ENDLESS });
        let call = raw.whole("/helloworld.Helloworld/Stream", GRPC, &[], request).await;
        unread.push((raw, call));
    }
    let mut also = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(&state.api).unwrap();
        let request =
            format!("GET /helloworld/Stream?count={ENDLESS} HTTP/1.1\r\nHost: {}\r\n\r\n", state.api);
        stream.write_all(request.as_bytes()).unwrap();
        // It has begun.
        stream.read_exact(&mut [0; 1024]).unwrap();
        also.push(stream);
    }
    // More than it takes until the buffers of all these connections are full.
    for _ in 0..300 {
        answers(&state.api);
    }
}

/// Asks for the version.
async fn ask(raw: &Raw) -> Call {
    raw.whole("/", "application/json", &[], Bytes::from_static(b"{}")).await
}

#[tokio::test]
async fn answers_that_wait_for_their_client_to_take_them_are_counted() {
    let home = Home::new();
    home.ok(["server", "start", "--max-bytes-in-flight", "96MiB"]);
    let api = home.state().api;
    let reader = Raw::connect(&api).await;
    let (mut connections, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let stream = tokio::net::TcpStream::connect(&api).await.unwrap();
        stream.set_nodelay(true).unwrap();
        connections.push(Raw::closed_window(stream, &api).await);
    }
    // A quarter of the budget is 3,072 times what is counted for such an answer, beside its bytes. The first
    // of them are counted for all who are not yet told apart.
    for number in 0..3_400 {
        let raw = &connections[number / 1_000];
        calls.push(ask(raw).await);
    }
    let refused = &calls.last().unwrap().head;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers["retry-after"], "1");
    // What they did not read is let go of with their connections.
    drop((connections, calls));
    soon("answers to be given again", async { while ask(&reader).await.head.status != StatusCode::OK {} })
        .await;
}

#[test]
fn one_caller_opens_no_more_calls_than_a_share_and_another_goes_on() {
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    let (full, is_full) = mpsc::channel();
    let (checked, is_checked) = mpsc::channel();
    let opened = thread::scope(|scope| {
        // Calls of the user who runs the tests go on meanwhile.
        let api = state.api.as_str();
        scope.spawn(move || {
            if is_full.recv().is_ok() {
                answers(api);
                checked.send(()).unwrap();
            }
        });
        // Where it does not run, the thread above ends with it.
        let proxy = state.proxy.as_str();
        as_another_user(move || open_calls(proxy, &full, &is_checked))
    });
    let Some(opened) = opened else { return };
    assert!((1_500..=2_300).contains(&opened), "{opened} calls were open at once");
    // What they held is free again once they have gone.
    let again = || (http(&state.api, "POST", "/helloworld/Call", &[], "{}").0 == 200).then_some(());
    as_another_user(|| eventually("calls of the same user to be taken again", again));
}

/// Opens calls until one is refused, and holds them until that has been looked at. Gives how many there
/// were.
fn open_calls(proxy: &str, full: &mpsc::Sender<()>, is_checked: &mpsc::Receiver<()>) -> usize {
    runtime().block_on(async {
        let (mut connections, mut calls) = (Vec::new(), Vec::new());
        // A quarter of the budget is 2,048 times what is counted for a call, beside its head. The first
        // of them are counted for all who are not yet told apart.
        for number in 0..2_400 {
            if number % 1_000 == 0 {
                connections.push(Raw::connect(proxy).await);
            }
            let raw = connections.last().unwrap();
            let request = message(&Number { value: 1 });
            let call = raw.start("/helloworld.Helloworld/PingPong", GRPC, &[], request).await;
            if call.head.headers.contains_key("grpc-status") {
                let reply = call.end().await;
                assert_eq!((reply.status, reply.failure().1), (8, 429), "{reply:?}");
                full.send(()).unwrap();
                is_checked.recv().unwrap();
                break;
            }
            calls.push(call);
        }
        calls.len()
    })
}

#[tokio::test]
async fn messages_for_a_service_that_are_not_whole_are_counted() {
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    // Three of them are more than one caller may hold.
    let large = CallRequest { name: "x".repeat(13 << 20) };
    let whole = message(&large);
    let unfinished = whole.slice(..whole.len() - 1);
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        let raw = Raw::connect(&state.proxy).await;
        let unfinished = unfinished.clone();
        calls.spawn(async move {
            let call = raw.start("/helloworld.Helloworld/Call", GRPC, &[], unfinished).await;
            call.end().await
        });
    }
    let refused = soon("one of them to be refused", calls.join_next()).await.unwrap().unwrap();
    assert_eq!((refused.status, refused.failure().1), (8, 429), "{refused:?}");
    // Those that are small go on.
    answers(&state.api);
    calls.shutdown().await;
    // A whole one passes.
    let raw = Raw::connect(&state.proxy).await;
    let reply = raw.body("/helloworld.Helloworld/Call", GRPC, &[], whole).await;
    assert_eq!(reply.status, 0, "{}", reply.message);
}

#[test]
fn another_user_with_calls_on_all_his_connections_leaves_half_of_the_places() {
    let home = Home::new();
    // Of 256 descriptors, TCP has half.
    let started = outcome(&mut home.shell("bash", "ulimit -n 256 && micro server start"));
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let api = home.state().api;
    let held = as_another_user(|| {
        let connect = || {
            let mut stream = TcpStream::connect(&api).unwrap();
            let head =
                format!("POST /auth/Auth/Token HTTP/1.1\r\nHost: {api}\r\nContent-Length: 4000\r\n\r\n{{");
            // One that has no place is closed.
            drop(stream.write_all(head.as_bytes()));
            stream
        };
        (0..300).map(|_| connect()).collect::<Vec<_>>()
    });
    let Some(mut held) = held else { return };
    for _ in 0..3 {
        assert_eq!(http(&api, "GET", "/", &[], "").0, 200);
    }
    let last = held.last_mut().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let closed = last.read(&mut [0; 1]);
    assert!(matches!(closed, Ok(0) | Err(_)), "the last one of too many has a place");
}
