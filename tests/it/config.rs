//! Settings: by hand, by services, and what becomes of secrets.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use micro_sdk::{
    Channel, Client,
    blocks::config::ConfigClient,
    proto::config::{SetRequest, Value as Setting},
};
use serde_json::{Value, json};

use crate::{
    faulty,
    processes::{alive, signal},
    support::{Home, Outcome, eventually, outcome},
};

const KEY: &str = "MICRO_CONFIG_SECRET_KEY";

/// Runs a command with this on its standard input.
fn with_input(home: &Home, words: &[&str], input: &[u8]) -> Outcome {
    let mut command = home.command(words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn set(home: &Home, key: &str, value: &str) {
    let outcome = home.run(["config", "set", key, value]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""), "{outcome:#?}");
}

fn not_found(home: &Home, words: &[&str]) {
    let said = home.fails(5, words);
    assert!(
        said.contains("error: Not found: nothing is set ") && said.contains("micro config list"),
        "{said}"
    );
}

#[test]
fn values_are_set_merged_replaced_read_and_deleted() {
    let home = Home::new();
    let get = |key: &str| home.ok(["config", "get", key]);
    not_found(&home, &["config", "get", "somekey"]);
    set(&home, "somekey", "val1");
    assert_eq!(get("somekey"), "val1\n");
    assert_eq!(home.run(["config", "del", "somekey"]).stderr, "");
    not_found(&home, &["config", "get", "somekey"]);
    let again = home.run(["config", "del", "somekey"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
    assert_eq!(again.stderr, "there was nothing at somekey\n");

    set(&home, "someotherkey.subkey", "otherval1");
    assert_eq!(get("someotherkey.subkey"), "otherval1\n");
    home.ok(["config", "del", "someotherkey.subkey"]);
    not_found(&home, &["config", "get", "someotherkey"]);

    set(&home, "mergekey", r#"{"a":1}"#);
    set(&home, "mergekey", r#"{"b":2}"#);
    assert_eq!(get("mergekey"), "{\"a\":1,\"b\":2}\n");

    set(&home, "jsonescape", r#""Value with <> signs""#);
    assert_eq!(get("jsonescape"), "Value with <> signs\n");

    set(&home, "complex", r#"{"a":1,"b":{"b1":2},"c":3}"#);
    set(&home, "complex", r#"{"d":4,"b":{"b2":2.2}}"#);
    assert_eq!(get("complex"), "{\"a\":1,\"b\":{\"b1\":2,\"b2\":2.2},\"c\":3,\"d\":4}\n");

    set(&home, "pod", "hi");
    set(&home, "pod", r#"{"a":1}"#);
    assert_eq!(get("pod"), "{\"a\":1}\n");
    set(&home, "pod", "hi");
    set(&home, "pod", "hello");
    assert_eq!(get("pod"), "hello\n");
}

#[test]
fn text_comes_back_as_it_was_set() {
    let home = Home::new();
    for (given, bare, json) in [
        (r#"hello "x""#, "hello \"x\"", json!("hello \"x\"")),
        (r#""say \"x\" \u00e4\n\\""#, "say \"x\" ä\n\\", json!("say \"x\" ä\n\\")),
        ("-5", "-5", json!(-5)),
        ("12345678901234567890", "12345678901234567890", json!(12_345_678_901_234_567_890_u64)),
        ("\"42\"", "42", json!("42")),
        ("", "", json!("")),
        ("null", "null", Value::Null),
        (r#"[1,{"b":2,"a":1},"x"]"#, r#"[1,{"a":1,"b":2},"x"]"#, json!([1, {"a": 1, "b": 2}, "x"])),
    ] {
        set(&home, "k", given);
        assert_eq!(home.ok(["config", "get", "k"]), format!("{bare}\n"));
        let value: Value = serde_json::from_str(&home.ok(["config", "get", "k", "-o", "json"])).unwrap();
        assert_eq!(value, json, "{given}");
    }
    let outcome = home.run(["config", "set", "k", "{\"a\": 1"]);
    assert!(outcome.code == Some(0) && outcome.stderr.contains("the value is no JSON"), "{outcome:#?}");
    assert_eq!(home.ok(["config", "get", "k"]), "{\"a\": 1\n");
    // What would not be printed as it was written is no number.
    for text in ["3.10", "1234e56", "1e3", "-0", "98765432109876543210987"] {
        let outcome = home.run(["config", "set", "k", text]);
        let told = outcome.stderr.starts_with("note: the value is kept as text");
        assert!(outcome.code == Some(0) && told && !outcome.stderr.contains(text), "{text}: {outcome:#?}");
        assert_eq!(home.ok(["config", "get", "k", "-o", "json"]), format!("\"{text}\"\n"));
    }
    for text in ["0x10", "1_000", "007", "+5", "TRUE", "v1.10"] {
        set(&home, "k", text);
        assert_eq!(home.ok(["config", "get", "k", "-o", "json"]), format!("\"{text}\"\n"));
    }
}

#[test]
fn what_has_no_keys_is_not_replaced_by_one() {
    let home = Home::new();
    set(&home, "v", r#"{"array": [1, 2], "text": "x", "number": 5, "flag": true, "nothing": null}"#);
    home.ok(["config", "set", "v.secret", "hunter2", "--secret"]);
    let before = home.ok(["config", "get", "v", "--secret"]);
    for (key, what) in [
        ("array.0", "an array"),
        ("text.x", "a text"),
        ("text.x.y", "a text"),
        ("number.x", "a number"),
        ("flag.x", "true or false"),
        ("secret.x", "a secret"),
    ] {
        let said = home.fails(7, ["config", "set", &format!("v.{key}"), "5"]);
        assert!(said.contains(what) && !said.contains("hunter2"), "{key}: {said}");
    }
    for key in ["array[0]", "array[0].x", "nowhere[0]"] {
        let said = home.fails(7, ["config", "set", &format!("v.{key}"), "5"]);
        let list = key.split('[').next().unwrap();
        assert!(said.contains(&format!("no path leads: set `v.{list}` as a whole")), "{key}: {said}");
    }
    assert_eq!(home.ok(["config", "get", "v", "--secret"]), before);
    set(&home, "v.nothing.x", "5");
    // What is set as a whole is replaced.
    set(&home, "v.text", r#"{"x": 5}"#);
    assert_eq!(home.ok(["config", "get", "v.text"]), "{\"x\":5}\n");
}

#[test]
fn a_secret_stays_one_until_it_is_told_otherwise() {
    let home = Home::new();
    home.ok(["config", "set", "db", r#"{"user": "u", "password": "p"}"#, "--secret"]);
    let is_secret = |key: &str| home.ok(["config", "get", key]) == "[secret]\n";
    for (key, value, seen) in [
        ("db.password", "q", "db.password"),
        ("db", r#"{"password": "r"}"#, "db.password"),
        ("db.password", r#"{"old": "r", "new": "s"}"#, "db.password.new"),
        ("db.password", "t", "db.password"),
    ] {
        set(&home, key, value);
        assert!(is_secret(seen), "{key} {value}");
    }
    assert_eq!(home.ok(["config", "get", "db.password", "--secret"]), "t\n");
    home.ok(["config", "set", "db.password", "open", "--secret=false"]);
    assert_eq!(home.ok(["config", "get", "db.password"]), "open\n");
    assert!(is_secret("db.user"));
    // What is new beside a secret is none.
    set(&home, "db.host", "h");
    assert_eq!(home.ok(["config", "get", "db.host"]), "h\n");
    home.fails(2, ["config", "set", "db.host", "h", "--secret=maybe"]);
}

#[test]
fn values_come_from_files_and_from_standard_input() {
    let home = Home::new();
    fs::write(home.path().join("limits.json"), "{\"most\": 3,\n \"least\": [1, 2]}\n").unwrap();
    fs::write(home.path().join("key.pem"), "-----BEGIN-----\r\nabc\r\n-----END-----\r\n").unwrap();
    fs::write(home.path().join("bytes"), [0xff, 0xfe]).unwrap();
    set(&home, "limits", "@limits.json");
    assert_eq!(home.ok(["config", "get", "limits"]), "{\"least\":[1,2],\"most\":3}\n");
    set(&home, "pem", "@key.pem");
    assert_eq!(home.ok(["config", "get", "pem"]), "-----BEGIN-----\r\nabc\r\n-----END-----\n");
    assert_eq!(with_input(&home, &["config", "set", "-s", "password", "-"], b"hunter2\n").code, Some(0));
    assert_eq!(home.ok(["config", "get", "password"]), "[secret]\n");
    assert_eq!(home.ok(["config", "get", "password", "--secret"]), "hunter2\n");
    set(&home, "at", "\"@home\"");
    assert_eq!(home.ok(["config", "get", "at"]), "@home\n");
    let said = home.fails(1, ["config", "set", "x", "@nowhere"]);
    assert!(said.contains("cannot read `nowhere`"), "{said}");
    let said = home.fails(2, ["config", "set", "x", "@bytes"]);
    assert!(said.contains("`bytes` is no UTF-8 text") && said.contains("base64"), "{said}");
}

#[test]
fn what_is_set_is_listed_with_revisions() {
    let home = Home::new();
    assert_eq!(home.ok(["config", "list"]), "");
    set(&home, "a", r#"{"text": "x", "empty": {}, "list": [1, 2]}"#);
    home.ok(["config", "set", "-s", "b.password", "hunter2"]);
    assert_eq!(
        home.ok(["config", "list"]),
        "PATH         VALUE      REVISION\n\
         a.empty      {}         1\n\
         a.list       [1,2]      1\n\
         a.text       \"x\"        1\n\
         b.password   [secret]   2\n"
    );
    let listed: Value =
        serde_json::from_str(&home.ok(["config", "list", "b", "--secret", "-o", "json"])).unwrap();
    assert_eq!(listed, json!([{"path": "b.password", "value": "hunter2", "secret": true, "revision": 2}]));
    assert_eq!(
        home.ok(["config", "get", "--all"]),
        "{\"a\":{\"empty\":{},\"list\":[1,2],\"text\":\"x\"},\"b\":{\"password\":\"[secret]\"}}\n"
    );
}

#[test]
fn wrong_words_and_values_are_told() {
    let home = Home::new();
    let said = home.fails(2, ["config", "asdasd"]);
    assert!(said.contains("Unrecognized subcommand for micro config"), "{said}");
    assert!(said.contains("micro config --help"), "{said}");
    let said = home.fails(2, ["config", "lst"]);
    assert!(said.contains("hint: did you mean `micro config list`?"), "{said}");
    let said = home.fails(2, ["user", "namespace", "frobnicate"]);
    assert!(said.contains("Unrecognized subcommand for micro user namespace: frobnicate"), "{said}");
    home.fails(2, ["config", "get"]);
    assert!(!home.data().exists(), "a typing error has started a server");
    for (key, value, text) in [
        ("a..b", "1", "has an empty key"),
        ("a", r#"{"x.y": 1}"#, "`x.y`, below `a`, cannot be a key"),
        ("", "1", "an object only"),
        (&"x".repeat(2000), "1", "the limit is 1024"),
    ] {
        let said = home.fails(7, ["config", "set", key, value]);
        assert!(said.contains(text), "{said}");
    }
    let deep = "[".repeat(128) + &"]".repeat(128);
    let said = home.fails(2, ["config", "set", "a", &deep]);
    assert!(
        said.contains("the value cannot be kept: objects and lists are nested deeper than 127"),
        "{said}"
    );
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let outcome = with_input(&home, &["config", "set", "a", "-"], large.as_bytes());
    assert!(outcome.code == Some(7) && outcome.stderr.contains("the limit is 1048576"), "{outcome:#?}");
}

#[test]
fn a_change_can_depend_on_the_revision() {
    let home = Home::new();
    home.ok(["config", "set", "a", "1", "--if-revision", "0"]);
    let said = home.fails(7, ["config", "set", "a", "2", "--if-revision", "0"]);
    assert!(said.contains("`a` has a value already, at revision 1"), "{said}");
    set(&home, "b", "1");
    home.ok(["config", "set", "a", "2", "--if-revision", "1"]);
    let said = home.fails(7, ["config", "del", "a", "--if-revision", "1"]);
    assert!(said.contains("`a` is at revision 3, not 1"), "{said}");
    home.ok(["config", "del", "a", "--if-revision", "3"]);
}

#[test]
fn namespaces_have_each_their_own() {
    let home = Home::new();
    let login = |namespace: &str| {
        home.ok(["user", "namespace", "set", namespace]);
        home.ok(["login", "--username", "admin", "--password", "micro"]);
    };
    login("micro");
    set(&home, "somekey", "val1");
    assert_eq!(home.ok(["config", "get", "somekey"]), "val1\n");
    let account =
        r#"{"id": "admin", "secret": "micro", "scopes": ["admin"], "options": {"namespace": "random"}}"#;
    home.ok(["call", "auth", "Auth.Generate", account]);
    login("random");
    not_found(&home, &["config", "get", "somekey"]);
    not_found(&home, &["config", "get", "--all"]);
    // The namespace of the request counts, and another one is closed.
    let request = r#"{"namespace": "micro", "path": "somekey"}"#;
    let forged = home.fails(4, ["call", "config", "Config.Get", request]);
    assert!(forged.contains("access denied to namespace micro"), "{forged}");
    home.ok(["user", "namespace", "set", "micro"]);
    assert_eq!(home.ok(["config", "get", "somekey"]), "val1\n");
    home.ok(["logout"]);
    for words in [&["config", "get", "somekey"][..], &["config", "list"], &["config", "watch"]] {
        home.fails(4, words);
    }
}

#[test]
fn values_set_at_once_are_all_there() {
    let home = Home::new();
    set(&home, "counts", "{}");
    thread::scope(|scope| {
        for thread in 0..16 {
            let home = &home;
            scope.spawn(move || {
                for number in 0..4 {
                    set(home, &format!("counts.t{thread}.n{number}"), "true");
                }
            });
        }
    });
    let listed: Value = serde_json::from_str(&home.ok(["config", "list", "-o", "json"])).unwrap();
    let mut revisions: Vec<u64> =
        listed.as_array().unwrap().iter().map(|entry| entry["revision"].as_u64().unwrap()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=65).collect::<Vec<u64>>());
}

#[test]
fn secrets_cannot_be_read_in_the_files_of_the_server() {
    let home = Home::new();
    let (secret, plain) = ("correct-horse-battery-staple", "in-plain-sight");
    set(&home, "a.plain", plain);
    home.ok(["config", "set", "a.secret", secret, "--secret"]);
    home.ok(["config", "set", "a.secret", &format!("{secret}-2"), "--secret"]);
    let holds = |text: &str| {
        let files = ["micro.db", "micro.db-wal"].map(|name| home.data().join("server").join(name));
        files
            .iter()
            .filter_map(|file| fs::read(file).ok())
            .any(|content| content.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(holds(plain), "the search finds what is there");
    assert!(!holds(secret));
    home.ok(["server", "stop"]);
    assert!(holds(plain) && !holds(secret));
    let key = home.data().join("server/keys/config.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(home.ok(["config", "get", "a.secret", "--secret"]), format!("{secret}-2\n"));
    let log = fs::read_to_string(home.data().join("logs/server.log")).unwrap();
    assert!(!log.contains(secret));
}

#[test]
fn a_key_that_is_given_is_used_and_never_written() {
    let home = Home::new();
    let start = |key: Option<&str>| {
        let mut command = home.command(["server", "start"]);
        outcome(command.envs(key.map(|key| (KEY, key))))
    };
    let key = STANDARD.encode([9; 32]);
    let refused = start(Some("too short"));
    assert!(refused.code == Some(1) && refused.stderr.contains("openssl rand -base64 32"), "{refused:#?}");
    assert_eq!(start(Some(&key)).code, Some(0));
    home.ok(["config", "set", "-s", "a.b", "hunter2"]);
    home.ok(["server", "stop"]);
    assert!(!home.data().join("server/keys/config.key").exists());

    assert_eq!(start(None).code, Some(0));
    let said = home.fails(7, ["config", "get", "a.b", "--secret"]);
    assert!(said.contains("`a.b` of namespace micro was encrypted with another key"), "{said}");
    assert!(said.contains(KEY) && said.contains("config.key") && !said.contains("hunter2"), "{said}");
    assert_eq!(home.ok(["config", "get", "a"]), "{\"b\":\"[secret]\"}\n");
    home.ok(["server", "stop"]);

    assert_eq!(start(Some(&key)).code, Some(0));
    assert_eq!(home.ok(["config", "get", "a.b", "--secret"]), "hunter2\n");
}

#[test]
fn a_damaged_key_is_named_with_the_way_out() {
    let home = Home::new();
    home.ok(["config", "set", "-s", "a", "hunter2"]);
    home.ok(["server", "stop"]);
    let key = home.data().join("server/keys/config.key");
    let good = fs::read(&key).unwrap();
    fs::write(&key, "garbage").unwrap();
    let refused = home.run(["server", "start"]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("config.key` is damaged"), "{refused:#?}");
    assert!(refused.stderr.contains("mv '"), "{refused:#?}");
    fs::write(&key, good).unwrap();
    assert_eq!(home.ok(["config", "get", "a", "-s"]), "hunter2\n");
}

#[test]
fn a_service_reads_its_settings_and_writes_below_its_own_name() {
    let home = Home::new();
    set(&home, "key.subkey", "val1");
    home.ok(["config", "set", "--secret", "key.subkey1", "42"]);
    home.ok(["config", "set", "--secret", "key.subkey2", "\"Micro Team <support@m3o.com>\""]);
    set(&home, "key.subkey3", "\"Micro Test <test@m3o.com>\"");
    assert!(home.ok(["config", "get", "key"]).contains("val1"));
    faulty::run(&home, &["--env_vars", "SETTINGS=1"]);
    let logs = eventually("the service to say all", || {
        let logs = home.ok(["logs", "helloworld"]);
        logs.contains("no counter: Ok(None)").then_some(logs)
    });
    for line in [
        "text: val1",
        "number: 42",
        "text: Micro Team <support@m3o.com>",
        "text: Micro Test <test@m3o.com>",
        "default: Default Hello",
    ] {
        assert!(logs.lines().any(|logged| logged == line), "{line}: {logs}");
    }
    let call = |name: &str| home.run(["helloworld", "call", "--name", name]);
    assert!(call("get key.subkey2").stdout.contains("\"msg\": \"Micro Team <support@m3o.com>\"\n"));
    assert!(call("get key.none").stdout.contains("\"msg\": \"nothing\"\n"));
    assert_eq!(call("set helloworld.state").code, Some(0));
    assert_eq!(home.ok(["config", "get", "helloworld"]), "{\"state\":\"by the service\"}\n");
    for path in ["key.subkey", "helloworld2.state", "other"] {
        let refused = call(&format!("set {path}"));
        assert_eq!(refused.code, Some(4), "{refused:#?}");
    }
    set(&home, "counter", "7");
    eventually("the change to be seen", || {
        home.ok(["logs", "helloworld"]).contains("counter: 7\n").then_some(())
    });
}

#[test]
fn a_watch_prints_each_change_and_tells_how_to_go_on() {
    let home = Home::new();
    set(&home, "a.b", "1");
    let mut command = home.command(["config", "watch", "a.b"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next(), json!({"path": "a.b", "value": 1, "revision": 1, "found": true, "changed": ""}));
    set(&home, "a", "{\"b\": {\"c\": 2}}");
    assert_eq!(
        next(),
        json!({"path": "a.b", "value": {"c": 2}, "revision": 2, "found": true, "changed": "a"})
    );
    set(&home, "other", "1");
    home.ok(["config", "del", "a"]);
    assert_eq!(next(), json!({"path": "a.b", "value": null, "revision": 4, "found": false, "changed": "a"}));
    home.ok(["server", "stop"]);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("hint: go on with `micro config watch a.b --after-revision 4`"), "{said}");
}

#[test]
fn a_watch_sees_a_thousand_changes_across_a_restart_in_order_without_a_gap() {
    let home = Home::new();
    set(&home, "counter", "0");
    let program = faulty::program();
    let mut by_hand = Command::new(program);
    by_hand.env("MICRO_HOME", home.path().join("home")).env("SETTINGS", "1");
    let mut child = by_hand.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let _running = Running(child);
    let mut seen = lines.map_while(Result::ok).filter_map(|line| {
        assert!(!line.starts_with("no counter"), "{line}");
        line.strip_prefix("counter: ")?.parse::<u64>().ok()
    });
    assert_eq!(seen.next(), Some(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let count = |numbers: std::ops::RangeInclusive<u64>| {
        let channel = Channel::unix(home.state().socket);
        runtime.block_on(async {
            let config = ConfigClient::from(Client::new(channel, "config"));
            for number in numbers {
                let value = Some(Setting { data: number.to_string(), ..Setting::default() });
                let request = SetRequest { path: "counter".into(), value, ..SetRequest::default() };
                config.set(request).await.unwrap();
            }
        });
    };
    count(1..=400);
    home.ok(["server", "stop"]);
    // What happens before the watcher is back comes later than what it has missed.
    home.ok(["server", "start"]);
    count(401..=800);
    let pid = home.state().pid;
    signal(pid, "KILL");
    eventually("the server to be gone", || (!alive(pid)).then_some(()));
    home.ok(["server", "start"]);
    count(801..=1000);
    for expected in 1..=1000 {
        assert_eq!(seen.next(), Some(expected));
    }
}
