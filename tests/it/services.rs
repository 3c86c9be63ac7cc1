//! What the runtime does for services that behave: keeps them running, tells the truth about them,
//! keeps their logs, gives them their variables and an account of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use micro_sdk::local;
use serde_json::{Value, json};

use crate::{
    faulty,
    support::{Home, eventually, hello, http, outcome},
};

/// The process that answers.
fn pid(home: &Home) -> Option<String> {
    let answer = home.run(["helloworld", "call", "--name=pid", "-o", "raw"]);
    let answer: Value = serde_json::from_str(&answer.stdout).ok()?;
    Some(answer["msg"].as_str()?.to_owned())
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

fn lives(pid: &str) -> bool {
    // A zombie has ended.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_service_killed_from_outside_comes_back_and_answers() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let mut before = pid(&home).unwrap();
    // A fifth end in a row, each within a second of being ready, would be final.
    for _ in 0..4 {
        kill("-9", &before);
        before = eventually("another process to answer", || pid(&home).filter(|now| *now != before));
        assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), hello("Jane"));
    }
    eventually("the status to say running", || {
        (home.status("helloworld")["status"] == "running").then_some(())
    });
    let status = home.status("helloworld");
    assert_eq!((&status["metadata"]["restarts"], &status["restarts"]), (&json!("4"), &json!(4)));
    assert_eq!(status["instances"], json!({"running": 1, "wanted": 1}));
    let updated = status["updated"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(updated <= jiff::Timestamp::now(), "{status}");
    assert!(home.ok(["status", "helloworld"]).contains(" ago "));
}

#[test]
fn run_twice_does_nothing_unless_it_is_forced() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let first = pid(&home).unwrap();
    faulty::run(&home, &[]);
    assert_eq!(pid(&home).unwrap(), first, "the same process serves");
    faulty::run(&home, &["--force"]);
    let second = pid(&home).unwrap();
    assert_ne!(second, first);
    eventually("the replaced process to end", || (!lives(&first)).then_some(()));

    // Another wish replaces it too.
    faulty::run(&home, &["--env_vars", "GREETING=hi"]);
    assert_ne!(pid(&home).unwrap(), second);
    home.ok(["kill", "helloworld"]);
    assert_eq!(home.fails(8, ["helloworld", "call"]).lines().count(), 1, "an error that says what to do");
    home.fails(5, ["kill", "helloworld"]);
}

#[test]
fn instances_share_the_calls_and_stand_in_for_each_other() {
    let home = Home::new();
    faulty::run(&home, &["--instances", "2"]);
    let mut seen = std::collections::BTreeSet::new();
    eventually("both instances to answer", || {
        seen.insert(pid(&home).unwrap());
        (seen.len() == 2).then_some(())
    });
    let victim = seen.first().unwrap();
    kill("-9", victim);
    for _ in 0..10 {
        assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), hello("Jane"), "the other one answers");
    }
    eventually("a third process to answer", || pid(&home).filter(|pid| !seen.contains(pid)));
    eventually("the status to say that both run", || {
        (home.status("helloworld")["metadata"]["instances"] == "2/2").then_some(())
    });
}

#[test]
fn services_come_back_with_the_server_and_without_a_build() {
    let home = Home::new();
    home.ok(["new", "helloworld"]);
    let folder = home.path().join("helloworld");
    home.ok_in(&folder, ["run", "."]);
    faulty::run(&home, &["--version", "v2"]);
    let updated = |version: &str| home.ok(["status", "helloworld", version, "-o", "json"]);
    // What would fail if it were built.
    fs::write(folder.join("src/main.rs"), "this does not compile").unwrap();
    let build = |text: String| serde_json::from_str::<Value>(&text).unwrap()[0]["build"].clone();
    let before = build(updated("latest"));
    home.ok(["server", "restart"]);
    eventually("both to run", || {
        let text = home.ok(["status", "helloworld", "-o", "json"]);
        let services: Vec<Value> = serde_json::from_str(&text).unwrap();
        (services.len() == 2 && services.iter().all(|service| service["status"] == "running")).then_some(())
    });
    assert_eq!(build(updated("latest")), before);
    for version in ["latest", "v2"] {
        let words = ["helloworld", "call", "--name=Jane", "--header"];
        let header = format!("micro-version={version}");
        assert_eq!(home.ok(words.iter().copied().chain([&*header])), hello("Jane"));
    }
    // `kill -9` of the server leaves no process behind, and the next start brings them back.
    let pids: Vec<String> = eventually("the process of v2", || {
        let answer =
            home.ok(["helloworld", "call", "--name=pid", "--header", "micro-version=v2", "-o", "raw"]);
        let answer: Value = serde_json::from_str(&answer).ok()?;
        Some(vec![answer["msg"].as_str()?.to_owned()])
    });
    kill("-9", &home.state().pid.to_string());
    for pid in &pids {
        eventually("the services to end with the server", || (!lives(pid)).then_some(()));
    }
    eventually("the service to answer again", || {
        (home.run(["helloworld", "call", "--name=Jane"]).stdout == hello("Jane")).then_some(())
    });
}

#[test]
fn logs_are_exact_and_can_be_followed() {
    let home = Home::new();
    let script = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; done; echo bad >&2; sleep 1000";
    fs::write(home.path().join("talk.sh"), script).unwrap();
    home.ok(["run", ".", "--name", "talker", "--command", "sh talk.sh", "--detach"]);
    let lines = |words: &[&str]| -> Vec<String> {
        let text = home.ok(["logs", "talker"].iter().chain(words));
        text.lines().map(str::to_owned).collect()
    };
    eventually("all lines", || (lines(&[]).len() == 21).then_some(()));
    assert!(lines(&[]).contains(&"bad".to_owned()));
    for count in [0, 1, 5, 21, 1000] {
        assert_eq!(lines(&["-n", &count.to_string()]).len(), count.min(21));
    }
    assert_eq!(lines(&["--since", "1h"]).len(), 21);
    assert_eq!(lines(&["--since", "1h", "-n", "2"]).len(), 2);
    let records = lines(&["-o", "jsonl"]);
    let streams: Vec<Value> = records.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(streams.iter().filter(|record| record["stream"] == "stderr").count(), 1, "{records:?}");
    assert!(lines(&["-t", "-n", "1"])[0].starts_with("20"), "a time stands before the line");
    home.fails(2, ["logs", "talker", "-n", "many"]);
    home.fails(2, ["logs", "talker", "--since", "yesterday"]);
    assert!(home.fails(5, ["logs", "nobody"]).contains("nobody"));

    faulty::run(&home, &[]);
    fs::write(home.path().join("more"), "").unwrap();
    home.ok(["run", ".", "--name", "ticker", "--command", "tail -f more", "--detach"]);
    let mut follow = home.command(["logs", "ticker", "-f"]);
    let mut follow = Running(follow.stdout(Stdio::piped()).spawn().unwrap());
    let mut followed = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    for word in ["first", "second"] {
        let mut more = fs::OpenOptions::new().append(true).open(home.path().join("more")).unwrap();
        std::io::Write::write_all(&mut more, format!("{word}\n").as_bytes()).unwrap();
        assert_eq!(followed.next().unwrap().unwrap(), word);
    }
    home.ok(["server", "stop"]);
    // A log that is followed ends with the server, and does not hold it up.
    eventually("the follower to end", || follow.0.try_wait().unwrap());
}

#[test]
fn a_line_without_an_end_is_shown_while_the_program_runs_and_when_its_child_keeps_the_pipe() {
    let home = Home::new();
    let lines = |service: &str| home.ok(["logs", service]);
    home.ok(["run", ".", "--name", "half", "--command", "sh -c 'printf half; exec sleep 1000'", "--detach"]);
    eventually("the unfinished line", || (lines("half") == "half\n").then_some(()));
    // The child has a session of its own and the pipe of its parent, which ends.
    let script = "setsid sleep 1000 & printf last; exit 3";
    let command = format!("sh -c '{script}'");
    home.ok(["run", ".", "--name", "parent", "--restart", "never", "--command", &command, "--detach"]);
    eventually("the parent to end", || (home.status("parent")["status"] == "failed").then_some(()));
    eventually("its last words", || (lines("parent") == "last\n").then_some(()));
    home.ok(["kill", "half", "parent"]);
    assert_eq!((lines("half"), lines("parent")), ("half\n".to_owned(), "last\n".to_owned()));
}

#[test]
fn a_service_sees_its_own_variables_and_nothing_of_the_servers() {
    let home = Home::new();
    let mut start = home.command(["server", "start"]);
    // Thirty-two bytes, as the server wants them.
    let key = format!("canary{}=", "A".repeat(37));
    start.env("SERVER_SECRET", "canary").env("MICRO_CONFIG_SECRET_KEY", key).env("RUST_LOG", "x");
    let started = outcome(&mut start);
    assert_eq!(started.code, Some(0), "{started:#?}");
    faulty::run(
        &home,
        &["--env_vars", "ONE=1,x=2", "--env_vars", "TWO=a=b", "--env_vars", "EMPTY=", "--version", "v7"],
    );
    let answer = home.ok(["helloworld", "call", "--name=variables", "-o", "raw"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let variables: std::collections::BTreeMap<&str, &str> =
        answer["msg"].as_str().unwrap().lines().filter_map(|line| line.split_once('=')).collect();
    let network = home.state().network;
    let socket = format!("unix:{}", local::services_socket(&home.state().socket).display());
    for (name, value) in [
        ("ONE", "1,x=2"),
        ("TWO", "a=b"),
        ("EMPTY", ""),
        ("MICRO_SERVICE_NAME", "helloworld"),
        ("MICRO_SERVICE_VERSION", "v7"),
        ("MICRO_SERVICE_NETWORK", &network),
        ("MICRO_SERVICE_SOCKET", &socket),
        ("MICRO_SERVICE_PROFILE", "client"),
        ("MICRO_NAMESPACE", "micro"),
        ("MICRO_CLIENT_ID", "helloworld"),
    ] {
        assert_eq!(variables.get(name), Some(&value), "{name}: {variables:#?}");
    }
    assert!(variables["MICRO_CLIENT_SECRET"].len() >= 32);
    let known = [
        "ONE",
        "TWO",
        "EMPTY",
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
        "MICRO_SERVICE_NAME",
        "MICRO_SERVICE_VERSION",
        "MICRO_SERVICE_NETWORK",
        "MICRO_SERVICE_SOCKET",
        "MICRO_SERVICE_PROFILE",
        "MICRO_NAMESPACE",
        "MICRO_CLIENT_ID",
        "MICRO_CLIENT_SECRET",
        "MICRO_INSTANCE",
    ];
    let strange: Vec<_> = variables.keys().filter(|name| !known.contains(name)).collect();
    assert!(strange.is_empty(), "{strange:?} were not asked for");
    assert!(!answer.to_string().contains("canary"));
    for pair in ["NOVALUE", "=x"] {
        let said =
            home.run(["run", ".", "--name", "other", "--command", "true", "--detach", "--env_vars", pair]);
        assert!(matches!(said.code, Some(1 | 2 | 7)), "{pair}: {said:#?}");
    }
}

#[test]
fn a_service_of_another_namespace_is_seen_called_and_ended_only_there() {
    let home = Home::new();
    let program = faulty::program().to_str().unwrap();
    let run = ["run", ".", "--name", "helloworld", "--command", program];
    home.ok(["-n", "shop"].iter().chain(&run));
    assert!(home.ok(["-n", "shop", "status"]).contains("group=shop"));
    assert_eq!(home.ok(["status"]), "");
    home.fails(5, ["status", "helloworld"]);
    assert!(home.ok(["-n", "shop", "services"]).lines().any(|name| name == "helloworld"));
    assert!(!home.ok(["services"]).contains("helloworld"));

    let call = ["helloworld", "call", "--name=Jane"];
    assert_eq!(home.ok(["-n", "shop"].iter().chain(&call)), hello("Jane"));
    home.fails(5, call);
    let api = home.state().api;
    let over_http = |headers: &[(&str, &str)]| http(&api, "GET", "/helloworld/Call?name=Jane", headers, "");
    assert_eq!(over_http(&[("Micro-Namespace", "shop")]), (200, "{\"msg\":\"Hello Jane\"}".to_owned()));
    assert_eq!(over_http(&[]).0, 404);

    home.fails(5, ["kill", "helloworld"]);
    home.ok(["-n", "shop", "kill", "helloworld"]);
    assert_eq!(home.ok(["-n", "shop", "status"]), "");
}

#[test]
fn a_service_started_by_hand_is_itself_and_nobody_else() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let mut program = Command::new(faulty::program());
    program.env_clear().env("MICRO_HOME", home.path().join("home")).env("XDG_RUNTIME_DIR", home.path());
    let started = Running(program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("it to be registered and called", || {
        (home.run(["helloworld", "call", "--name=Jane"]).stdout == hello("Jane")).then_some(())
    });
    assert_eq!(home.ok(["status"]), "", "the runtime did not start it");
    let own = pid(&home).unwrap();
    assert_eq!(own, started.0.id().to_string());

    // A server that was away finds it again.
    home.ok(["server", "restart"]);
    eventually("it to be registered again", || {
        (home.run(["helloworld", "call", "--name=Jane"]).stdout == hello("Jane")).then_some(())
    });
    kill("-TERM", &own);
    eventually("it to leave the registry", || (!home.ok(["services"]).contains("helloworld")).then_some(()));
}

#[test]
fn the_account_of_a_service_may_do_little() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let api = home.state().api;
    let ask = |path: &str, headers: &[(&str, &str)], body: &Value| -> (u16, Value) {
        let (status, text) = http(&api, "POST", path, headers, &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or_default())
    };
    // What the local socket gives to a service that was started by hand, and what the runtime
    // gives to one that it starts.
    let local: Value =
        serde_json::from_str(&home.ok(["call", "auth", "Auth.Local", r#"{"service":"helloworld"}"#]))
            .unwrap();
    let refused = ask("/auth/Auth/Local", &[], &json!({"service": "helloworld"}));
    assert_eq!(refused.0, 403, "only by the socket: {refused:?}");
    let variables = ask("/helloworld/Call", &[], &json!({"name": "variables"})).1;
    let variable = |name: &str| {
        let lines = variables["msg"].as_str().unwrap().lines();
        lines.filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).unwrap().1.to_owned()
    };
    let login = json!({"id": variable("MICRO_CLIENT_ID"), "secret": variable("MICRO_CLIENT_SECRET")});
    let (status, given) = ask("/auth/Auth/Token", &[], &login);
    assert_eq!(status, 200, "{given}");
    for token in [&local["token"], &given["token"]] {
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let headers = [("Authorization", &*bearer)];
        let node = json!([{"id": "n", "address": "127.0.0.1:1"}]);
        let service = json!({"name": "helloworld"});
        for (path, request, expected) in [
            ("/registry/Registry/ListServices", json!({}), 200),
            (
                "/registry/Registry/Register",
                json!({"name": "helloworld", "version": "9", "nodes": node}),
                200,
            ),
            (
                "/registry/Registry/Deregister",
                json!({"name": "helloworld", "version": "9", "nodes": node}),
                200,
            ),
            ("/registry/Registry/Register", json!({"name": "other", "nodes": node}), 403),
            ("/registry/Registry/Deregister", json!({"name": "other", "nodes": node}), 403),
            ("/registry/Registry/ListServices", json!({"options": {"domain": "other"}}), 403),
            ("/runtime/Runtime/Logs", json!({"service": "helloworld"}), 403),
            ("/runtime/Runtime/Delete", json!({"resource": {"service": service}}), 403),
            ("/runtime/Runtime/Create", json!({"resource": {"service": service}}), 403),
            ("/auth/Auth/Generate", json!({"id": "mine"}), 403),
        ] {
            let answer = ask(path, &headers, &request);
            assert_eq!(answer.0, expected, "{path} {request}: {answer:?}");
        }
    }
    // Its secret ends with the process it was given to.
    home.ok(["kill", "helloworld"]);
    eventually("the secret to be worth nothing", || {
        (ask("/auth/Auth/Token", &[], &login).0 != 200).then_some(())
    });
}
