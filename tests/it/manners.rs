//! What commands do with words that are half right, and with what was chosen before: nothing is
//! taken for something else, and every way out is told.

use std::{fs, io::Read as _, net::TcpListener};

use crate::{
    processes::{alive, signal},
    support::{Home, eventually, hello, helloworld, http, outcome},
};

/// A home in which this program runs under some names and versions.
fn with_services(services: &[(&str, &str)]) -> Home {
    let home = Home::new();
    let program = helloworld().join("target/debug/helloworld");
    for (name, version) in services {
        let program = program.to_str().unwrap();
        home.ok_in(helloworld(), ["run", ".", "--name", name, "--version", version, "--command", program]);
    }
    home
}

#[test]
fn flags_before_a_service_hold_also_where_others_stand_behind_it() {
    let home = Home::new();
    let plain = home.ok(["-o", "jsonl", "registry", "list-services"]);
    assert_eq!(plain.lines().count(), 1, "{plain}");
    assert_eq!(home.ok(["-o", "jsonl", "registry", "list-services", "--timeout", "5s"]), plain);
    assert_eq!(home.ok(["-o", "table", "registry", "list-services", "-q", "-o", "jsonl"]), plain);
    let said = home.run(["-v", "registry", "list-services", "--timeout=5s"]);
    assert!(said.stderr.contains("environment local at"), "{}", said.stderr);
}

#[test]
fn a_login_is_never_shown_to_another_server_of_the_same_name() {
    let home = Home::new();
    home.ok(["services"]);
    let proxy = home.state().proxy;
    let login = || home.ok(["-e", "far", "login", "--username", "admin", "--password", "micro"]);
    let forgotten = || {
        let said = home.fails(4, ["-e", "far", "user"]);
        assert!(said.contains("not logged in"), "{said}");
    };
    home.ok(["env", "add", "far", &proxy]);
    login();
    home.ok(["env", "add", "far", &proxy, "--description", "the same one"]);
    assert_eq!(home.ok(["-e", "far", "user"]), "admin\n");
    home.ok(["env", "del", "far"]);
    home.ok(["env", "add", "far", &proxy]);
    forgotten();
    login();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    home.ok(["env", "add", "far", &stranger.local_addr().unwrap().to_string()]);
    forgotten();
    home.run(["-e", "far", "--timeout", "1s", "services"]);
    while let Ok((mut stream, _)) = stranger.accept() {
        stream.set_nonblocking(true).unwrap();
        let mut sent = Vec::new();
        drop(stream.read_to_end(&mut sent));
        assert!(!String::from_utf8_lossy(&sent).to_lowercase().contains("bearer"));
    }
}

#[test]
fn an_address_that_is_none_is_refused_when_it_is_added() {
    let home = Home::new();
    for address in ["example.com", "a b:1", ":8081", "ftp://a:1", "a:99999"] {
        let said = home.fails(2, ["env", "add", "far", address]);
        assert!(said.contains("HOST:PORT"), "{address}: {said}");
    }
    home.ok(["env", "add", "far", "http://127.0.0.1:1/"]);
    assert!(home.ok(["env"]).contains("far     127.0.0.1:1"), "{}", home.ok(["env"]));
    home.ok(["env", "add", "secret", "https://example.com"]);
    let said = home.fails(1, ["-e", "secret", "services"]);
    assert!(said.contains("TLS") && said.contains("micro env add"), "{said}");
}

#[test]
fn environments_can_be_listed_although_the_chosen_one_is_not_there() {
    let home = Home::new();
    let mut command = home.command(["env"]);
    let listed = outcome(command.env("MICRO_ENV", "nope"));
    assert_eq!(listed.code, Some(0), "{listed:#?}");
    assert!(listed.stdout.contains("local") && !listed.stdout.contains('*'), "{listed:#?}");
    assert!(listed.stderr.contains("there is no environment `nope`"), "{listed:#?}");
}

#[test]
fn a_home_may_be_named_from_where_one_is() {
    let home = Home::new();
    let relative = |words: &[&str]| outcome(home.command(words).env("MICRO_HOME", "./relative"));
    let started = relative(&["server", "start"]);
    assert_eq!(started.code, Some(0), "{started:#?}");
    assert!(home.path().join("relative/data/server/state.json").is_file());
    assert_eq!(relative(&["services"]).code, Some(0));
    assert_eq!(relative(&["server", "stop"]).code, Some(0));
    assert!(!home.path().join("relative/data/server/state.json").exists());
}

#[test]
fn too_little_time_is_not_blamed_on_the_server() {
    let home = Home::new();
    home.ok(["services"]);
    let said = home.fails(6, ["--timeout", "1us", "services"]);
    assert!(said.contains("--timeout"), "{said}");
}

#[test]
fn a_killed_server_is_restarted_as_it_was_started() {
    let home = Home::new();
    home.ok(["server", "start", "--allow-host", "foo.test"]);
    let pid = home.state().pid;
    signal(pid, "KILL");
    eventually("the server to be gone", || (!alive(pid)).then_some(()));
    home.ok(["server", "restart"]);
    let (status, _) = http(&home.state().api, "GET", "/", &[("Host", "foo.test")], "");
    assert_eq!(status, 200);
}

#[test]
fn who_stops_waiting_for_a_login_is_told_why() {
    let home = Home::new();
    home.ok(["login", "--username", "admin", "--password", "micro"]);
    let pid = home.state().pid;
    let credentials = home.path().join("home/config/credentials.toml");
    let text = fs::read_to_string(&credentials).unwrap();
    let line = text.lines().find(|line| line.starts_with("expiry")).unwrap();
    fs::write(&credentials, text.replace(line, "expiry = 1")).unwrap();
    // A server that answers nothing any more has not ended the login.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    home.ok(["env", "add", "far", &silent.local_addr().unwrap().to_string()]);
    let text = fs::read_to_string(&credentials).unwrap().replace("logins.local", "logins.far");
    fs::write(&credentials, text).unwrap();
    let said = home.fails(6, ["-e", "far", "--timeout", "1s", "services"]);
    assert!(said.contains("cannot renew the login") && !said.contains("has ended"), "{said}");
    assert!(alive(pid));
}

#[test]
fn the_only_version_of_a_service_need_not_be_named() {
    let home = with_services(&[("one", "v2"), ("two", "v1"), ("two", "v2")]);
    home.ok(["logs", "one"]);
    home.ok_in(helloworld(), ["update", "one", "--instances", "2"]);
    let said = home.fails(2, ["kill", "two"]);
    assert!(said.contains("v1, v2") && said.contains("`two@v1`"), "{said}");
    home.ok(["kill", "two@v1"]);
    home.ok(["kill", "two", "one"]);
    assert_eq!(home.ok(["status"]), "");
}

#[test]
fn a_service_that_cannot_be_stopped_keeps_no_other_alive() {
    let home = with_services(&[("one", "latest"), ("two", "latest")]);
    let killed = home.run(["kill", "one", "nope", "two"]);
    assert_eq!(killed.code, Some(5), "{killed:#?}");
    assert!(killed.stderr.contains("service nope does not run"), "{killed:#?}");
    assert_eq!(home.ok(["status"]), "");
}

#[test]
fn a_service_may_be_named_nearly_as_a_command_also_while_no_server_runs() {
    let home = with_services(&[("users", "latest")]);
    home.ok(["services"]);
    home.ok(["server", "stop"]);
    let first = home.run(["users", "call", "--name=Jane"]);
    assert!(first.stderr.contains("started the micro server"), "{first:#?}");
    let answer = eventually("the service to come back", || {
        let called = home.run(["users", "call", "--name=Jane"]);
        (called.code == Some(0)).then_some(called.stdout)
    });
    assert_eq!(answer, hello("Jane"));
    home.ok(["server", "stop"]);
    let said = home.fails(5, ["usr"]);
    assert!(said.contains("did you mean `micro user`?") && !said.contains("registered"), "{said}");
}

#[test]
fn a_node_is_called_without_any_server() {
    let home = Home::new();
    let said = home.fails(3, ["call", "x", "X.Y", "--address", "127.0.0.1:1"]);
    assert!(said.contains("127.0.0.1:1"), "{said}");
    assert!(!home.data().join("server").exists(), "a server was started");
}

#[test]
fn wrong_words_are_found_before_anything_is_asked() {
    let home = Home::new();
    fs::write(home.path().join("file"), "").unwrap();
    for (words, text) in [
        (&["call", "a", "A.B", "--metadata", "foo"][..], "NAME=VALUE"),
        (&["call", "a", "A.B", "--metadata", "a b=c"], "name of a header"),
        (&["run", ".", "--name", "a", "--command", "true", "--env_vars", "2"], "NAME=VALUE"),
        (&["run", ".", "--name", "a", "--command", ""], "--command is empty"),
        (&["run", ".", "--name", "a", "--command", "a 'b"], "a quote in --command is not closed"),
        (&["run", "file", "--command", "true"], "is a file"),
    ] {
        let said = home.fails(2, words);
        assert!(said.contains(text), "{words:?}: {said}");
    }
    assert!(!home.data().join("server").exists(), "a server was started");
    let said = home.fails(1, ["run", "services/helo"]);
    assert!(!said.contains("git") && !said.contains("micro new"), "{said}");
    let said = home.fails(1, ["run", "/nope/foo"]);
    assert!(!said.contains("micro new"), "{said}");
    assert!(home.fails(1, ["run", "./helo"]).contains("`micro new helo`"));
}
