//! How a server was started is remembered: it comes back as it was, however it ended, until something
//! else is said.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::{
    processes::{descendants, signal},
    support::{Home, Outcome, eventually, outcome},
};

/// A command to which no variable says how a server is started.
fn plain(home: &Home, words: &[&str]) -> Outcome {
    let mut command = home.command(words);
    let outcome = outcome(command.env_remove("MICRO_ISOLATED"));
    assert_eq!(outcome.code, Some(0), "{words:?}: {outcome:#?}");
    outcome
}

fn doors(home: &Home) -> [String; 3] {
    let state = home.state();
    [state.api, state.proxy, state.network]
}

fn arguments(home: &Home) -> Value {
    let text = home.ok(["server", "status", "-o", "json"]);
    serde_json::from_str::<Value>(&text).unwrap()[0]["arguments"].take()
}

/// Has a server come back by a command, until no other program has taken one of its ports meanwhile.
fn comes_back(home: &Home, end: impl Fn(), words: &[&str]) {
    eventually("the server to have its ports again", || {
        let (pid, before) = (home.state().pid, doors(home));
        end();
        plain(home, words);
        assert_ne!(home.state().pid, pid);
        (doors(home) == before).then_some(())
    });
}

#[test]
fn a_server_comes_back_with_its_options_and_its_ports() {
    let home = Home::new();
    plain(&home, &["server", "start", "--isolated", "--grace=3s"]);
    let expected = json!(["--isolated", "--grace=3s"]);
    assert_eq!(arguments(&home), expected);
    let table = home.ok(["server", "status"]);
    assert!(table.contains("OPTIONS") && table.contains("--isolated --grace=3s"), "{table}");

    let kill = || signal(home.state().pid, "KILL");
    let stop = || drop(home.ok(["server", "stop"]));
    comes_back(&home, kill, &["services"]);
    comes_back(&home, stop, &["services"]);
    comes_back(&home, stop, &["server", "start"]);
    comes_back(&home, || (), &["server", "restart"]);
    assert_eq!(arguments(&home), expected);

    // What is said wins, and is remembered too.
    plain(&home, &["server", "restart", "--grace=4s"]);
    assert_eq!(arguments(&home), json!(["--isolated", "--grace=4s"]));
    stop();
    plain(&home, &["services"]);
    assert_eq!(arguments(&home), json!(["--isolated", "--grace=4s"]));
    // The variable of the test says where.
    home.ok(["server", "restart", "--fresh"]);
    assert_eq!(arguments(&home), json!(["--isolated"]));
}

#[test]
fn a_start_that_cannot_be_read_is_as_good_as_none() {
    let home = Home::new();
    home.ok(["server", "start", "--grace=3s"]);
    home.ok(["server", "stop"]);
    let file = home.data().join("server/start.json");
    for text in ["", "{", "[]", r#"{"arguments": "x"}"#] {
        fs::write(&file, text).unwrap();
        home.ok(["services"]);
        assert_eq!(arguments(&home), json!(["--isolated"]), "{text}");
        home.ok(["server", "stop"]);
    }
    fs::write(&file, r#"{"arguments": ["--of-another-version"]}"#).unwrap();
    let started = home.run(["services"]);
    assert_eq!(started.code, Some(0), "{started:#?}");
    assert!(started.stderr.contains("--of-another-version"), "{started:#?}");
}

/// Where the system shows the descriptors of a process (proc(5)).
#[test]
#[cfg(target_os = "linux")]
fn what_a_shell_has_open_reaches_neither_the_server_in_the_background_nor_services() {
    let home = Home::new();
    let held = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|file| file.ends_with("held"))
    };
    let started = outcome(&mut home.shell("sh", "exec 9>held; micro server start"));
    assert_eq!(started.code, Some(0), "{started:#?}");
    assert!(!held(home.state().pid), "the server has it");
    home.ok(["server", "stop"]);

    let mut shell = home.shell("sh", "exec 9>held; exec micro server");
    let mut server = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the server to be ready", || (home.run(["server", "status"]).code == Some(0)).then_some(()));
    assert!(held(server.id()), "nothing was given to it");
    home.run_helloworld();
    let services = descendants(server.id());
    assert!(!services.is_empty());
    for pid in services {
        assert!(!held(pid), "the service has it");
    }
    home.ok(["server", "stop"]);
    server.wait().unwrap();
}

#[test]
fn options_for_a_server_that_runs_already_are_not_lost_without_a_word() {
    let home = Home::new();
    let first = home.run(["server", "start", "--idle-timeout", "7m"]);
    assert!(first.code == Some(0) && !first.stderr.contains("keeps the options"), "{first:#?}");
    let same = home.run(["server", "start"]);
    assert!(same.code == Some(0) && !same.stderr.contains("keeps the options"), "{same:#?}");
    let other = home.run(["server", "start", "--idle-timeout", "8m"]);
    assert!(other.code == Some(0) && other.stderr.contains("keeps the options"), "{other:#?}");
}
