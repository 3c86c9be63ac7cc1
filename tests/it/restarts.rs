//! A server that ends while calls are made, as a client in Rust sees it.

use std::time::Duration;

use bytes::Bytes;
use micro_sdk::{Channel, Client, Kind, Origin};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::{
    faulty,
    support::{Home, PATIENCE},
};

const CALL: &str = "Helloworld.Call";

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_call_ends_with_the_server_and_works_when_that_is_back() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let client = Client::new(Channel::unix(home.state().socket), "helloworld").with_json();

    let waiting = client.clone();
    let unary = tokio::spawn(async move { waiting.unary_bytes(CALL, r#"{"name": "wait"}"#.into()).await });
    let open = async |method: &str, request: &'static str| {
        let (sender, queue) = mpsc::channel::<Bytes>(1);
        sender.send(request.into()).await.unwrap();
        let mut answers = client.stream_bytes(method, ReceiverStream::new(queue)).await.unwrap();
        in_time(answers.next()).await.unwrap().unwrap();
        (sender, answers)
    };
    let (_numbers, mut answers) = open("Helloworld.Stream", r#"{"count": "900"}"#).await;
    let (_strokes, mut pongs) = open("Helloworld.PingPong", r#"{"stroke": "1"}"#).await;
    crate::support::eventually("the call to arrive", || {
        home.ok(["logs", "helloworld"]).contains("waiting").then_some(())
    });

    let pid = home.state().pid.to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let error = in_time(unary).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.origin()), (Kind::Unreachable, Origin::Client), "{error:?}");
    let error = in_time(pongs.next()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.origin()), (Kind::Unreachable, Origin::Client), "{error:?}");
    // What was under way may still be read; then it is told that this was not all.
    let mut last = Ok(Bytes::new());
    while let Some(answer) = in_time(answers.next()).await {
        last = answer;
    }
    if let Err(error) = last {
        assert_eq!((error.kind(), error.origin()), (Kind::Unreachable, Origin::Client), "{error:?}");
    }

    // Nobody answers, and it is told within the time of the call.
    let brief = client.clone().with_timeout(Duration::from_secs(5));
    let error = brief.unary_bytes(CALL, r#"{"name": "Jane"}"#.into()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Unreachable | Kind::Deadline), "{error:?}");

    home.ok(["server", "start"]);
    let answer = in_time(client.unary_bytes(CALL, r#"{"name": "Jane"}"#.into())).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("Hello Jane"));
}
