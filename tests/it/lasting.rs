//! A service outlives its tokens and the leases of its node: both are renewed before they end.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    faulty,
    processes::signal,
    support::{Home, eventually},
};

/// Seconds that a token counts for, and that a node is kept without a word from it.
const SHORT: [(&str, &str); 2] = [("MICRO_SERVICE_TOKEN_LIFE", "2"), ("MICRO_SERVICE_LEASE", "3")];
/// Longer than both, more than once.
const LONG: Duration = Duration::from_secs(7);

/// What the service of a namespace answers to this.
fn says(home: &Home, namespace: &str, name: &str) -> String {
    let name = format!("--name={name}");
    let answer = home.ok(["-n", namespace, "helloworld", "call", &name, "-o", "raw"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["msg"].as_str().unwrap().to_owned()
}

#[test]
fn a_service_outlives_its_tokens_and_its_leases() {
    let home = Home::new();
    home.ok(["config", "set", "counter", "1"]);
    for namespace in ["micro", "hand"] {
        home.ok(["-n", namespace, "config", "set", "word", "hello"]);
    }
    let variables: Vec<String> =
        SHORT.iter().chain(&[("SETTINGS", "1")]).map(|(name, value)| format!("{name}={value}")).collect();
    let flags: Vec<&str> = variables.iter().flat_map(|pair| ["--env_vars", pair.as_str()]).collect();
    faulty::run(&home, &flags);
    let mut by_hand = Command::new(faulty::program());
    by_hand
        .env_clear()
        .env("MICRO_HOME", home.path().join("home"))
        .envs(SHORT)
        .env("MICRO_NAMESPACE", "hand");
    let mut by_hand = by_hand.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let registered = || home.run(["-n", "hand", "helloworld", "call"]).code == Some(0);
    eventually("the one by hand to be called", || registered().then_some(()));

    // In both directions: calls to it, and the calls it makes for them.
    let (since, before) = (Instant::now(), says(&home, "micro", "pid"));
    while since.elapsed() < LONG {
        for namespace in ["micro", "hand"] {
            assert_eq!(says(&home, namespace, "get word"), "hello", "{namespace}");
        }
    }
    assert_eq!(says(&home, "micro", "pid"), before, "it is the same process");
    assert_eq!(says(&home, "hand", "pid"), by_hand.id().to_string());
    // So does a stream that was opened with the first token.
    home.ok(["config", "set", "counter", "7"]);
    eventually("the watch to tell of the change", || {
        home.ok(["logs", "helloworld"]).contains("counter: 7").then_some(())
    });

    // Without a word, a node is gone when its lease ends.
    signal(by_hand.id(), "STOP");
    eventually("the lease to end", || {
        let text = home.ok(["-n", "hand", "services"]);
        (!text.contains("helloworld")).then_some(())
    });
    signal(by_hand.id(), "KILL");
    by_hand.wait().unwrap();
}
