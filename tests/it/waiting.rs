//! A service that does not run is known all the same: what is on its way is waited for, what ended,
//! failed or was stopped is told as such, to people and to programs, and never as something that
//! nobody knows.

use std::{
    fs,
    io::Write as _,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    completion::{candidates, has},
    faulty,
    go_service::{Door, Node, node, shop},
    raw::{Raw, soon},
    support::{Home, eventually, hello, outcome},
};

const CALL: [&str; 3] = ["helloworld", "call", "--name=Jane"];

/// Runs `helloworld` behind a gate: its process waits for a file `open` before it begins.
fn run_gated(home: &Home, detach: bool) {
    let program = faulty::program().display();
    let gate = format!("sh -c 'while [ ! -e open ]; do sleep 0.02; done; exec {program}'");
    let words = ["run", ".", "--name", "helloworld", "--command", &gate];
    home.ok(words.iter().chain(detach.then_some(&"--detach")));
}

fn open(home: &Home) {
    fs::write(home.path().join("open"), "").unwrap();
}

fn close(home: &Home) {
    fs::remove_file(home.path().join("open")).unwrap();
}

fn starting(home: &Home) {
    eventually("the service to be starting", || {
        let starts = home.run(["status", "helloworld", "-o", "json"]).stdout.contains("\"starting\"");
        starts.then_some(())
    });
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills a process. When this returns, its connections are closed: the signal alone does not say that.
fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    let stat = format!("/proc/{pid}/stat");
    eventually("the process to end", || {
        let is_gone = std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        is_gone.then_some(())
    });
}

fn pid(home: &Home) -> String {
    let answer = home.ok(["helloworld", "call", "--name=pid", "-o", "raw"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["msg"].as_str().unwrap().to_owned()
}

/// A request to the HTTP API with a header: status, `Retry-After` and body.
async fn get(url: &str, timeout: &str) -> (u16, Option<String>, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(url).header("timeout", timeout).send().await.unwrap();
    let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), retry, response.text().await.unwrap())
}

#[test]
fn the_first_calls_after_the_server_was_away_wait_for_the_service() {
    let home = Home::new();
    open(&home);
    run_gated(&home, false);
    home.ok(CALL);
    home.ok(["server", "stop"]);
    close(&home);
    // The first one starts the server too.
    let mut callers = vec![spawn(&mut home.command(CALL))];
    starting(&home);
    let direct = ["call", "helloworld", "Helloworld.Call", r#"{"name": "Jane"}"#];
    let stream = ["stream", "helloworld", "Helloworld.Stream", r#"{"count": 0}"#];
    callers.push(spawn(&mut home.command(direct)));
    let streaming = spawn(&mut home.command(stream));
    let api = home.state().api;
    let over_http =
        thread::spawn(move || crate::support::http(&api, "GET", "/helloworld/Call?name=Jane", &[], ""));
    // Meanwhile completion knows what it can be asked.
    assert!(has(&candidates(&home, &["micro", "helloworld", ""]), &["call", "stream"]));
    let impatient = home.fails(6, CALL.iter().chain(&["--timeout", "200ms"]));
    assert!(
        impatient.contains("it is starting") && impatient.contains("micro status helloworld"),
        "{impatient}"
    );
    open(&home);
    for caller in callers {
        let ended = caller.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stdout), hello("Jane"), "{ended:?}");
    }
    assert_eq!(streaming.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(over_http.join().unwrap(), (200, "{\"msg\":\"Hello Jane\"}".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_no_longer_than_its_caller_does() {
    let home = Home::new();
    home.ok(["server", "start"]);
    run_gated(&home, true);
    starting(&home);
    let state = home.state();
    let url = format!("http://{}/helloworld/Call?name=Jane", state.api);
    let (status, retry, body) = get(&url, "100000000").await;
    assert_eq!((status, retry.as_deref()), (503, Some("1")), "{body}");
    assert!(body.contains("helloworld is starting"), "{body}");
    let proxy = Raw::connect(&state.proxy).await;
    let headers = [("grpc-timeout", "100m")];
    let reply = proxy.unary("/helloworld.Helloworld/Call", "application/grpc+json", &headers, "{}").await;
    assert_eq!(reply.error["code"], 503, "{reply:?}");
    assert_eq!(reply.header("retry-after"), "1");

    // No more than so many wait at a time; the others are sent away at once.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let url = url.clone();
        calls.spawn(async move { get(&url, "60000000000").await });
    }
    let (status, _, body) = soon("a call that finds no place", calls.join_next()).await.unwrap().unwrap();
    assert!(status == 503 && body.contains("256 calls wait"), "{status} {body}");
    open(&home);
    let mut answered = 0;
    while let Some(call) = soon("the others", calls.join_next()).await {
        let (status, _, body) = call.unwrap();
        assert!(status == 200 || (status == 503 && body.contains("256 calls wait")), "{status} {body}");
        answered += usize::from(status == 200);
    }
    assert_eq!(answered, 256);
}

#[test]
fn what_failed_or_was_stopped_is_told_as_such_and_its_output_to_administrators_alone() {
    let home = Home::new();
    home.fails(8, ["run", ".", "--name", "helloworld", "--command", "sh -c 'echo last words; exit 3'"]);
    let failed = |said: &str| {
        let words = ["helloworld has failed: exited with code 3", "last words", "`micro logs helloworld`"];
        for word in words {
            assert!(said.contains(word), "no {word} in {said}");
        }
    };
    failed(&home.fails(8, CALL));
    failed(&home.fails(8, ["call", "helloworld", "Helloworld.Call", "{}"]));
    failed(&home.fails(8, ["stream", "helloworld", "Helloworld.Stream", "{}"]));
    let (status, body) = home.http("/helloworld/Call");
    assert!(status == 503 && body.contains("helloworld has failed"), "{status} {body}");
    assert!(!body.contains("last words") && !body.contains("exited"), "a stranger reads the log: {body}");

    home.ok(["kill", "helloworld"]);
    for _ in 0..2 {
        let said = home.fails(8, CALL);
        assert!(said.contains("was stopped by `micro kill`; run it again with `micro run"), "{said}");
        let (status, body) = home.http("/helloworld/Call");
        assert!(
            status == 503 && body.contains("was stopped") && !body.contains("micro run"),
            "{status} {body}"
        );
        assert_eq!(home.ok(["status"]), "", "it is not wanted any more");
        // That is remembered.
        home.ok(["server", "restart"]);
    }
    let said = home.fails(5, ["xyzzy", "call"]);
    assert!(said.contains("Unrecognized micro command: xyzzy"), "{said}");
    assert_eq!(home.http("/xyzzy/Call").0, 404);
    assert_eq!(home.http("/helloworld%2fx/Call").0, 400, "no name has a slash");

    faulty::run(&home, &[]);
    assert_eq!(home.ok(CALL), hello("Jane"));
}

#[test]
fn a_service_that_ends_in_a_call_is_not_taken_for_the_server() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let said = home.fails(8, ["helloworld", "call", "--name=exit"]);
    assert!(
        said.contains("helloworld ended (exited with code 3)") && said.contains("`micro logs helloworld`"),
        "{said}"
    );
    assert_eq!(home.ok(CALL), hello("Jane"), "the next call waits for it");

    let stream = || {
        let words = ["stream", "helloworld", "Helloworld.PingPong"];
        let mut stream = spawn(home.command(words).stdin(Stdio::piped()));
        stream.stdin.as_mut().unwrap().write_all(b"{\"stroke\": 1}\n").unwrap();
        let mut line = String::new();
        let mut answers = std::io::BufReader::new(stream.stdout.as_mut().unwrap());
        std::io::BufRead::read_line(&mut answers, &mut line).unwrap();
        assert!(line.contains("stroke"), "{line}");
        stream
    };
    let open = stream();
    kill(&pid(&home));
    let ended = open.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(8), "{said}");
    assert!(
        said.contains("helloworld ended (killed by SIGKILL") && said.contains("is being restarted"),
        "{said}"
    );

    // It is the server that ends.
    let open = stream();
    kill(&home.state().pid.to_string());
    let ended = open.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn a_service_by_hand_that_ends_in_a_call_is_not_taken_for_the_server() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let mut program = Command::new(faulty::program());
    program.env_clear().env("MICRO_HOME", home.path().join("home")).env("XDG_RUNTIME_DIR", home.path());
    let mut started = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it to be called", || (home.run(CALL).stdout == hello("Jane")).then_some(()));
    let said = home.fails(7, ["helloworld", "call", "--name=exit"]);
    assert!(said.contains("helloworld ended or closed the connection"), "{said}");
    started.wait().unwrap();
}

#[test]
fn nobody_is_told_that_a_service_is_unknown_while_it_is_brought_back() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let victim = pid(&home);
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let api = home.state().api;
            thread::spawn(move || {
                let call = || crate::support::http(&api, "GET", "/helloworld/Call?name=Jane", &[], "");
                (0..50).map(|_| call()).collect::<Vec<_>>()
            })
        })
        .collect();
    kill(&victim);
    for (status, body) in callers.into_iter().flat_map(|caller| caller.join().unwrap()) {
        assert!(status == 200 || (status == 503 && body.contains("helloworld ended")), "{status} {body}");
    }
    let ended = outcome(&mut home.command(CALL));
    assert_eq!(ended.stdout, hello("Jane"), "{ended:?}");
}

#[test]
fn a_call_whose_nodes_are_all_dead_is_held_until_one_is_back() {
    let home = Home::new();
    open(&home);
    run_gated(&home, false);
    let victim = pid(&home);
    close(&home);
    // Its process may not come back before it is let, so no call finds it alive after this.
    kill(&victim);
    let calls: Vec<_> = (0..8).map(|_| spawn(&mut home.command(CALL))).collect();
    let api = home.state().api;
    let over_http =
        thread::spawn(move || crate::support::http(&api, "GET", "/helloworld/Call?name=Jane", &[], ""));
    starting(&home);
    open(&home);
    for call in calls {
        let ended = call.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stdout), hello("Jane"), "{ended:?}");
    }
    assert_eq!(over_http.join().unwrap(), (200, "{\"msg\":\"Hello Jane\"}".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_dead_node_that_nobody_runs_goes_to_the_one_in_its_place() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = free.local_addr().unwrap().to_string();
    drop(free);
    let register = |nodes: &[Value]| shop("latest", "90", nodes);
    door.register(&register(&[node("1", &dead)])).await;
    // No longer than its caller waits.
    let reply =
        door.raw.unary("/shop.Shop/Buy", "application/grpc+json", &[("grpc-timeout", "300m")], "{}").await;
    assert!(reply.failure().0 == 14 && reply.failure().2.contains(&dead), "{reply:?}");
    assert_eq!(reply.header("retry-after"), "1");

    door.register(&register(&[node("1", &dead)])).await;
    let (called, ()) = tokio::join!(door.call("/shop.Shop/Buy", ""), async {
        let gone = || async {
            let found = door.registry("GetService", &serde_json::json!({"service": "shop"})).await;
            found.failure().1 == 404
        };
        soon("the dead node to be taken out", async {
            while !gone().await {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let alive = Node::start("alive").await;
        door.register(&register(&[alive.wire("2")])).await;
    });
    assert_eq!(called.value()["node"], "alive");
}
