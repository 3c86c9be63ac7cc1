//! The manners of the command line: environments, forms of output, wrong words, closed pipes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{Home, Outcome, eventually, outcome};

#[test]
fn environments_are_added_chosen_changed_and_removed() {
    let home = Home::new();
    assert_eq!(home.ok(["env", "get"]), "local\n");
    assert_eq!(home.ok(["env"]), "* local   127.0.0.1:8081   Local running Micro Server\n");
    home.ok(["env", "add", "staging", "10.0.0.1:443", "--description", "for trying"]);
    home.ok(["env", "add", "bare"]);
    assert_eq!(
        home.ok(["env", "list"]),
        "  bare      none\n\
         * local     127.0.0.1:8081   Local running Micro Server\n  \
           staging   10.0.0.1:443     for trying\n"
    );
    assert_eq!(home.ok(["env", "set", "staging"]), "");
    assert_eq!(home.ok(["env", "get"]), "staging\n");
    assert_eq!(home.ok(["-e", "bare", "env", "get"]), "bare\n");
    let mut command = home.command(["env", "get"]);
    assert_eq!(outcome(command.env("MICRO_ENV", "local")).stdout, "local\n");
    let listed: Value = serde_json::from_str(&home.ok(["-o", "json", "env"])).unwrap();
    assert_eq!(
        listed[2],
        json!({"name": "staging", "current": true, "address": "10.0.0.1:443", "description": "for trying"})
    );

    let said = home.fails(1, ["env", "del", "staging"]);
    assert!(said.contains("your current environment") && said.contains("micro env set local"), "{said}");
    home.ok(["env", "set", "local"]);
    home.ok(["env", "add", "staging", "10.0.0.2:1"]);
    assert!(home.ok(["env"]).contains("staging   10.0.0.2:1"));
    home.ok(["env", "del", "staging"]);
    home.ok(["env", "del", "bare"]);
    assert_eq!(home.ok(["env"]).lines().count(), 1);
    assert!(!home.data().exists(), "`micro env` has started a server");
}

#[test]
fn environments_that_cannot_be_are_refused() {
    let home = Home::new();
    for (code, words) in [
        (5, &["env", "set", "nowhere"][..]),
        (5, &["env", "del", "nowhere"]),
        (5, &["-e", "nowhere", "services"]),
        (2, &["env", "add", "local", "10.0.0.1:1"]),
        (2, &["env", "add", "a b", "10.0.0.1:1"]),
        (2, &["env", "add", ""]),
        (2, &["env", "del", "local"]),
        (2, &["env", "add"]),
        (2, &["env", "frobnicate"]),
    ] {
        let said = home.fails(code, words);
        assert!(said.starts_with("error: "), "{words:?}: {said}");
    }
    home.ok(["env", "add", "bare"]);
    let said = home.fails(2, ["-e", "bare", "services"]);
    assert!(said.contains("has no address") && said.contains("micro env add bare HOST:PORT"), "{said}");
    home.ok(["env", "add", "down", "127.0.0.1:1"]);
    let said = home.fails(3, ["-e", "down", "services"]);
    assert!(said.contains("cannot connect to 127.0.0.1:1") && said.contains("hint: "), "{said}");
    assert!(!home.data().exists(), "a command for another environment has started a server");
}

#[test]
fn wrong_words_are_told_with_the_next_step() {
    let home = Home::new();
    let said = home.fails(5, ["serivces"]);
    assert!(said.contains("Unrecognized micro command: serivces"), "{said}");
    assert!(said.contains("did you mean `micro services`?"), "{said}");
    let said = home.fails(5, ["invoke", "helloworld"]);
    assert!(said.contains("did you mean `micro call`?"), "{said}");
    assert!(!home.data().exists(), "a typing error has started a server");

    for (words, text) in [
        (&["services", "--bogus"][..], "unexpected argument '--bogus'"),
        (&["--timeout", "soon", "services"], "a number with a unit, such as 500ms"),
        (&["logs", "a", "--since", "x"], "a number with a unit, such as 500ms"),
        (&["user", "token", "--expires", "x"], "a number with a unit, such as 500ms"),
        (&["run", "--instances", "x"], "expected a whole number, such as 10"),
        (&["run", "--instances", "0"], "0 is not in 1..=100"),
        (&["config", "set", "a", "1", "--if-revision", "1.5"], "expected a whole number, such as 10"),
        (&[""], "the name of the command or service is empty"),
        (&["-o", "xml", "services"], "table, json, jsonl, raw"),
        (&["-n", "A/b", "services"], "`A/b`"),
        (&["user", "namespace", "set", "A/b"], "`A/b`"),
        (&["call", "helloworld"], "<ENDPOINT>"),
        (&["call", "helloworld", "Call"], "`Handler.Method`"),
        (&["call", "helloworld", "Helloworld.Call", "{name}"], "the request is not JSON"),
        (&[], "micro --help"),
    ] {
        let said = home.fails(2, words);
        assert!(said.starts_with("error: ") && said.contains(text), "{words:?}: {said}");
    }
    let mut command = home.command(["services"]);
    let refused = outcome(command.env("MICRO_NAMESPACE", "A/b"));
    assert_eq!(refused.code, Some(2), "{refused:#?}");

    let said = home.fails(5, ["nosuchservice", "call"]);
    assert!(said.contains("no service nosuchservice is registered") && said.contains("hint: "), "{said}");
    home.fails(5, ["call", "nosuchservice", "A.B"]);
    home.fails(5, ["call", "registry", "Registry.NoSuch"]);
    home.fails(5, ["get", "service", "nosuchservice"]);
    home.fails(5, ["logs", "nosuchservice"]);
    home.fails(5, ["kill", "nosuchservice"]);
    let said = home.fails(5, ["update", "nosuchservice"]);
    assert!(said.contains("micro status"), "{said}");
}

#[test]
fn flags_of_every_command_stand_anywhere() {
    let home = Home::new();
    let plain = home.ok(["-o", "json", "services"]);
    assert_eq!(home.ok(["services", "-o", "json"]), plain);
    assert_eq!(home.ok(["services", "--output=json", "--timeout", "30s", "-q"]), plain);
    let call = home.ok(["-o", "jsonl", "registry", "list-services"]);
    assert!(call.starts_with("{\""), "{call}");
    assert_eq!(home.ok(["registry", "-o", "jsonl", "list-services"]), call);
    assert_eq!(home.ok(["registry", "list-services", "-o", "jsonl"]), call);
}

#[test]
fn every_command_prints_json_when_asked() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["helloworld", "call", "--name=Jane"]);
    for words in [
        &["env"][..],
        &["env", "get"],
        &["services"],
        &["status"],
        &["status", "helloworld"],
        &["get", "service", "helloworld"],
        &["server", "status"],
        &["user"],
        &["user", "namespace"],
        &["helloworld", "call", "--name=Jane"],
        &["call", "helloworld", "Helloworld.Call", "{}"],
    ] {
        let pretty = home.ok([words, &["-o", "json"]].concat());
        let document: Value = serde_json::from_str(&pretty).expect(&pretty);
        let lines = home.ok([words, &["-o", "jsonl"]].concat());
        let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let expected = document.as_array().map_or(1, Vec::len);
        assert_eq!(parsed.len(), expected, "{words:?}: {lines}");
    }
    for words in [&["logs", "helloworld"][..], &["server", "logs"], &["helloworld", "stream", "--count=3"]] {
        let lines = home.ok([words, &["-o", "jsonl"]].concat());
        assert!(!lines.is_empty(), "{words:?}");
        for line in lines.lines() {
            serde_json::from_str::<Value>(line).expect(line);
        }
    }
    assert_eq!(home.ok(["helloworld", "stream", "--count=1000"]).lines().count(), 1000);
    let raw = home.ok(["helloworld", "call", "--name=Jane", "-o", "raw"]);
    assert_eq!(raw, "{\"msg\":\"Hello Jane\"}\n");
    let first: Value = serde_json::from_str(&home.ok(["status", "-o", "json"])).unwrap();
    assert_eq!((&first[0]["name"], &first[0]["status"]), (&json!("helloworld"), &json!("running")));
}

#[test]
fn machines_are_told_times_numbers_and_documents_and_never_words() {
    let home = Home::new();
    home.run_helloworld();
    fs::create_dir(home.path().join("shop")).unwrap();
    let folder = home.path().join("shop/eu");
    // Each changes something, or shows it; what has nothing to show prints nothing.
    for (words, shown) in [
        (&["new", "shop/eu"][..], true),
        (&["gen", "shop/eu"], true),
        (&["auth", "create", "account", "bob", "--secret", "a-long-secret", "--scopes", "a"], true),
        (&["auth", "create", "rule", "bobs", "--scope", "a", "--resource", "service:shop:*"], true),
        (&["auth", "create", "token", "--id", "bob", "--secret", "a-long-secret"], true),
        (&["auth", "list", "accounts"], true),
        (&["auth", "list", "rules"], true),
        (&["auth", "update", "secret", "bob", "--new-secret", "another-secret"], true),
        (&["auth", "audit"], true),
        (&["auth", "rotate", "key"], true),
        (&["auth", "delete", "rule", "bobs"], true),
        (&["auth", "delete", "account", "bob"], false),
        (&["user", "token"], true),
        (&["user", "config"], true),
        (&["user", "config", "get", "timeout"], true),
        (&["user", "namespace", "set", "micro"], false),
        (&["env", "add", "far", "10.0.0.1:1"], false),
        (&["env", "del", "far"], false),
        (&["config", "set", "a.b", "1"], false),
        (&["config", "get", "a"], true),
        (&["config", "list"], true),
        (&["config", "del", "a"], false),
        (&["store", "write", "k", "v", "--expiry", "1h"], false),
        (&["store", "read", "k"], true),
        (&["store", "list"], true),
        (&["store", "databases"], true),
        (&["store", "tables"], true),
        (&["store", "snapshot", "saved"], false),
        (&["store", "restore", "saved", "--yes"], false),
        (&["store", "delete", "k"], false),
        (&["store", "blob", "write", "k", "saved"], false),
        (&["store", "blob", "list"], true),
        (&["store", "blob", "delete", "k"], false),
        (&["stream", "helloworld", "Helloworld.Stream", "{\"count\": 1}"], true),
        (&["update", "helloworld", "--detach"], false),
        (&["run", ".", "--name", "other", "--command", "sleep 1000", "--detach"], false),
        (&["kill", "other"], false),
        (&["clean"], true),
        (&["login", "--username", "admin", "--password", "micro"], true),
        (&["user"], true),
        (&["user", "set", "password", "--old-password", "micro", "--new-password", "a-new-password"], false),
        (&["logout"], false),
        (&["login", "--local"], false),
        (&["server", "restart"], false),
    ] {
        let printed = home.ok(words.iter().chain(&["-o", "json"]));
        assert_eq!(!printed.is_empty(), shown, "{words:?}: {printed}");
        if shown {
            let document: Value = serde_json::from_str(&printed).expect(&printed);
            assert_times(words, "", &document);
        }
    }
    let created: Value = serde_json::from_str(&home.ok(["new", "shop/us", "-o", "json"])).unwrap();
    assert_eq!((&created["name"], &created["files"][0]), (&json!("us"), &json!(".gitignore")));
    assert!(folder.join("Cargo.toml").exists());
    home.ok(["store", "write", "k", "v", "--expiry", "1h"]);
    let read: Value = serde_json::from_str(&home.ok(["store", "read", "k", "-o", "json"])).unwrap();
    assert!(read[0]["expires"].is_string() && read[0]["expiry"].is_u64(), "{read}");
    let line = home.ok(["server", "logs", "-n", "1", "-o", "json"]);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_times(&["server", "logs"], "", &line);
    assert!(line["time"].is_string() && line["level"] == "info" && line["message"].is_string(), "{line}");
}

/// Whether what is called a time is one, down to the last field. Metadata is what others said.
fn assert_times(words: &[&str], field: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "metadata").for_each(|(name, value)| {
                assert_times(words, name, value);
            });
        }
        Value::Array(values) => values.iter().for_each(|value| assert_times(words, field, value)),
        Value::String(text) => {
            assert!(!text.ends_with(" ago") && !text.ends_with(" from now"), "{words:?}: {field} is {text}");
            let is_time = matches!(field, "time" | "created" | "updated" | "expires" | "old_key_until")
                || (field == "expiry" && words.contains(&"token"));
            if is_time {
                assert!(text.parse::<jiff::Timestamp>().is_ok(), "{words:?}: {field} is {text}");
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Runs a command whose standard output nobody reads.
fn unread(home: &Home, words: &[&str]) -> Outcome {
    let mut child = home.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Outcome { code: child.wait().unwrap().code(), stdout: String::new(), stderr }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    home.run_helloworld();
    for words in [
        &["services"][..],
        &["status"],
        &["env"],
        &["--help"],
        &["helloworld", "--help"],
        &["get", "service", "helloworld", "-o", "json"],
        &["helloworld", "stream", "--count=1000"],
        &["logs", "helloworld"],
    ] {
        let ended = unread(&home, words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn what_is_followed_ends_when_its_reader_goes_away() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["config", "set", "a", "1"]);
    home.ok(["auth", "create", "account", "--secret", "s", "jane"]);
    for words in [&["logs", "helloworld", "-f"][..], &["config", "watch", "a"], &["auth", "audit", "-f"]] {
        let mut command = home.command(words);
        let mut following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(following.stdout.take().unwrap());
        lines.read_line(&mut String::new()).unwrap();
        // Nothing more comes that it could fail to print.
        drop(lines);
        let mut said = String::new();
        following.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((following.wait().unwrap().code(), said.as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn ctrl_c_ends_a_log_that_is_followed() {
    let home = Home::new();
    home.run_helloworld();
    let mut command = home.command(["logs", "helloworld", "-f"]);
    let mut following = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    crate::processes::signal(following.id(), "INT");
    let status = eventually("`logs -f` to end", || following.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}

#[test]
fn closed_standard_input_and_output_do_no_harm() {
    let home = Home::new();
    home.ok(["server", "start"]);
    for redirection in ["<&-", ">&-", "<&- 2>&-"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}"), env!("CARGO_BIN_EXE_micro")]);
        command.arg("services").env_clear();
        for (name, value) in home.command(["services"]).get_envs() {
            command.env(name, value.unwrap());
        }
        let ended = outcome(&mut command);
        assert_eq!(ended.code, Some(0), "{redirection}: {ended:#?}");
        assert_eq!(ended.stderr, "", "{redirection}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    if cfg!(target_os = "linux") {
        let home = Home::new();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = home.command(["env"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("No space left"), "{said}");
    }
}

#[test]
fn colours_are_for_those_who_want_them() {
    let home = Home::new();
    let coloured = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = home.command(words);
        for (name, value) in variables {
            command.env(name, value);
        }
        let ended = outcome(&mut command);
        assert_eq!(ended.code, Some(5), "{ended:#?}");
        ended.stderr.contains('\u{1b}')
    };
    let wrong = ["-e", "nowhere", "services"];
    assert!(!coloured(&wrong, &[]), "colours without a terminal");
    assert!(coloured(&wrong, &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&wrong, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!coloured(&["--no-color", "-e", "nowhere", "services"], &[("CLICOLOR_FORCE", "1")]));
}

/// The help of a command and of all below it.
fn help(home: &Home, words: &[&str], whole: &mut String) {
    let text = home.ok([words, &["--help"]].concat());
    *whole += &format!("$ micro {}\n{text}\n", [words, &["--help"]].concat().join(" "));
    let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        // A line that goes on with the text of the one before is indented further.
        let Some(name) = line.strip_prefix("  ").and_then(|rest| rest.split(' ').next()) else { continue };
        if !name.is_empty() && name != "help" {
            help(home, &[words, &[name]].concat(), whole);
        }
    }
}

#[test]
fn no_help_changes_unseen() {
    let home = Home::new();
    let mut whole = String::new();
    help(&home, &[], &mut whole);
    assert!(!home.data().exists(), "help has started a server");
    insta::assert_snapshot!("help", whole);
}
