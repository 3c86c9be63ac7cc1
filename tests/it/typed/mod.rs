//! A service with every well-known type, and with .proto files of every sort beside it: one build shows
//! that what is generated from them compiles, and calls show that the types work on the whole way.

use std::{fs, path::Path, path::PathBuf, sync::OnceLock};

use serde_json::{Value, json};

use crate::{
    faulty,
    support::{Home, eventually, http, mirror, outcome},
};

/// The folder with the programs `typed`, `caller` whose client was fetched from a running service, and the
/// other examples of the SDK.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/typed");
        faulty::build_changed("typed", |fresh| {
            for made in ["src", "proto"] {
                fs::remove_dir_all(fresh.join(made)).unwrap();
            }
            fs::create_dir_all(fresh.join("src/bin")).unwrap();
            mirror(&sources.join("proto"), &fresh.join("proto"));
            mirror(&sources.join("main.rs"), &fresh.join("src/main.rs"));
            let mut foreign = protox::Compiler::new([sources.join("foreign")]).unwrap();
            foreign.include_imports(true).open_file("nameless.proto").unwrap();
            fs::write(fresh.join("proto/far.away.binpb"), foreign.encode_file_descriptor_set()).unwrap();
            let config = fs::read(fresh.join(".cargo/config.toml")).unwrap();
            let home = Home::new();
            home.run_helloworld();
            let said = home.ok_in(fresh, ["gen", "--from", "helloworld"]);
            assert!(
                said.contains("proto/helloworld.binpb") && said.contains("src/proto/helloworld.rs"),
                "{said}"
            );
            assert_eq!(home.ok_in(fresh, ["gen", "--from", "helloworld"]), "", "nothing has changed");
            // The SDK of a home that is about to go was named there.
            fs::write(fresh.join(".cargo/config.toml"), config).unwrap();
            let caller = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/examples/caller/src/main.rs");
            let caller = fs::read_to_string(caller).unwrap();
            let caller = caller.replace("mod proto;", "#[path = \"../proto/mod.rs\"]\nmod proto;");
            fs::write(fresh.join("src/bin/caller.rs"), caller).unwrap();
            for example in ["settings", "counter"] {
                let main = format!("sdk/examples/{example}/src/main.rs");
                let main = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(main)).unwrap();
                fs::write(fresh.join(format!("src/bin/{example}.rs")), main).unwrap();
            }
        })
    })
}

fn run(home: &Home, name: &str) {
    home.ok(["run", ".", "--name", name, "--command", programs().join(name).to_str().unwrap()]);
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const AT: &str = "2026-11-26T10:00:00Z";

#[test]
fn well_known_types_work_in_flags_and_help() {
    let home = Home::new();
    run(&home, "typed");
    let flags = [
        "--at=2026-11-26T10:00:00Z",
        "--wait=1.5s",
        "--data={\"a\": [1, null]}",
        "--value=true",
        "--list=[1, \"b\"]",
        "--mask=a.b,c",
        "--title=Jane",
        "--big=9007199254740993",
        "--flag",
        "--blob=aGVsbG8=",
        "--ratio=0.5",
        "--times=now=2026-11-26T10:00:00Z",
        "--titles=1=one",
        "--waits=1s,2s",
        "--exactly=1970-01-01T00:00:00Z",
        "--type=TYPE_BOOL",
        "--any={\"@type\": \"type.googleapis.com/google.protobuf.Duration\", \"value\": \"3s\"}",
    ];
    let answer = json(&home.ok(["typed", "echo"].iter().chain(&flags)));
    for (field, expected) in [
        ("at", json!(AT)),
        ("wait", json!("1.500s")),
        ("data", json!({"a": [1, null]})),
        ("value", json!(true)),
        ("list", json!([1, "b"])),
        ("mask", json!("a.b,c")),
        ("title", json!("Jane")),
        ("big", json!("9007199254740993")),
        ("flag", json!(true)),
        ("blob", json!("aGVsbG8=")),
        ("ratio", json!(0.5)),
        ("times", json!({"now": AT})),
        ("titles", json!({"1": "one"})),
        ("waits", json!(["1s", "2s"])),
        ("exactly", json!("1970-01-01T00:00:00Z")),
        ("type", json!("TYPE_BOOL")),
        ("any", json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"})),
    ] {
        assert!(alike(&answer[field], &expected), "{field}: {} instead of {expected}", answer[field]);
    }
    for (flag, wanted) in
        [("--at=yesterday", "a time"), ("--wait=soon", "in seconds"), ("--big=much", "whole number")]
    {
        let said = home.run(["typed", "echo", flag]);
        assert!(
            matches!(said.code, Some(2 | 7))
                && said.stderr.contains(flag.split('=').next().unwrap().trim_start_matches("--")),
            "{flag}: {wanted}: {said:#?}"
        );
    }
    let help = home.ok(["typed", "echo", "--help"]);
    for flag in [
        "--at <TIMESTAMP>",
        "--wait <DURATION>",
        "--title <STRING>",
        "--big <INT64>",
        "--mask <FIELD_MASK>",
        "When it begins",
    ] {
        assert!(help.contains(flag), "{flag} is missing in {help}");
    }

    for (method, request, expected) in [
        ("Later", "\"2026-11-26T10:00:00Z\"", "\"2026-11-26T11:00:00Z\""),
        ("Nothing", "{}", "{}"),
        ("Free", "{\"a\": {\"b\": \"c\"}}", "{\"a\": {\"b\": \"c\"}}"),
    ] {
        let answer = json(&home.ok(["call", "typed", &format!("Typed.{method}"), request]));
        assert!(alike(&answer, &json(expected)), "{method}: {answer}");
    }
    assert_eq!(home.ok(["typed", "nothing"]).split_whitespace().collect::<String>(), "{}");
    let file = json(&home.ok(["typed", "file", "--name=a", "--number=1", "--type=TYPE_BYTES"]));
    assert_eq!(
        (&file["name"], &file["number"], &file["type"]),
        (&json!("a"), &json!(1), &json!("TYPE_BYTES"))
    );
    let ticks = home.ok(["typed", "tick", "--json", "2"]);
    assert_eq!(ticks, "\"1970-01-01T00:00:00Z\"\n\"1970-01-01T00:00:01Z\"\n");
}

#[test]
fn text_stands_for_a_scalar_by_the_same_rules_in_a_flag_in_json_and_in_a_query() {
    let home = Home::new();
    run(&home, "typed");
    let api = home.state().api;
    for (field, text, expected) in [
        ("big", "0x1F", Some(json!("31"))),
        ("big", "1e3", Some(json!("1000"))),
        ("big", "5.0", Some(json!("5"))),
        ("big", "1_000", None),
        ("big", "0x_ff", None),
        ("big", "1.5", None),
        ("flag", "T", Some(json!(true))),
        ("flag", "0", Some(json!(false))),
        ("flag", "on", Some(json!(true))),
        ("flag", "yes", None),
        ("ratio", "-Infinity", Some(json!("-Infinity"))),
        ("ratio", "1e999", None),
        ("blob", "_-8", Some(json!("/+8="))),
        ("blob", "a", None),
        ("type", "type-bool", Some(json!("TYPE_BOOL"))),
        ("type", "Type_Bool", Some(json!("TYPE_BOOL"))),
        ("type", "8", Some(json!("TYPE_BOOL"))),
        ("type", "bool", None),
    ] {
        let flag = home.run(["typed", "echo", &format!("--{field}={text}"), "-o", "json"]);
        let body = json!({field: text}).to_string();
        let (posted, in_json) = http(&api, "POST", "/typed/Echo", &[], &body);
        let (queried, in_query) = http(&api, "GET", &format!("/typed/Echo?{field}={text}"), &[], "");
        if let Some(expected) = expected {
            assert_eq!((flag.code, posted, queried), (Some(0), 200, 200), "{field}={text}: {flag:#?}");
            for answer in [&flag.stdout, &in_json, &in_query] {
                assert_eq!(json(answer)[field], expected, "{field}={text}: {answer}");
            }
        } else {
            assert_eq!((flag.code, posted, queried), (Some(2), 400, 400), "{field}={text}: {flag:#?}");
            assert!(flag.stderr.contains(&format!("`--{field}` expects")), "{flag:#?}");
        }
    }
    // Nothing at all is no truth value; only a form sends it, for an input that was left empty.
    assert_eq!(home.run(["typed", "echo", "--flag="]).code, Some(2));
    assert_eq!(http(&api, "POST", "/typed/Echo", &[], r#"{"flag":""}"#).0, 400);
    let (status, answer) = http(&api, "GET", "/typed/Echo?flag=", &[], "");
    assert!(status == 200 && json(&answer)["flag"].is_null(), "{status} {answer}");
    let zeros = home.ok(["typed", "echo", "--list=[-0, -0.0, 1]", "--value=-0", "-o", "raw"]);
    assert!(zeros.contains(r#""list":[-0,-0,1]"#) && zeros.contains(r#""value":-0,"#), "{zeros}");
    let again = home.ok(["typed", "echo", "--json", &zeros, "-o", "raw"]);
    assert_eq!(again, zeros, "what was printed is taken back");
}

/// Whether two values are the same, numbers by their values.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| alike(value, other)))
        }
        (Value::String(one), Value::String(other)) if one.ends_with('s') && other.ends_with('s') => {
            // A duration may be written with more or fewer zeros.
            let number = |text: &str| text.trim_end_matches('s').parse::<f64>().ok();
            one == other || (number(one).is_some() && number(one) == number(other))
        }
        _ => one == other,
    }
}

#[test]
fn well_known_types_work_over_http() {
    let home = Home::new();
    run(&home, "typed");
    let api = home.state().api;
    let get = |path: &str| {
        let (status, body) = http(&api, "GET", path, &[], "");
        assert_eq!(status, 200, "{path}: {body}");
        json(&body)
    };
    let query = "/typed/Echo?at=2026-11-26T10:00:00Z&wait=1.5s&title=Jane&big=9007199254740993&flag=true\
                 &mask=a,b&value=text&after=2s&times.now=2026-11-26T10:00:00Z";
    let answer = get(query);
    for (field, expected) in [
        ("at", json!(AT)),
        ("wait", json!("1.5s")),
        ("title", json!("Jane")),
        ("big", json!("9007199254740993")),
        ("flag", json!(true)),
        ("mask", json!("a,b")),
        ("value", json!("text")),
        ("after", json!("2s")),
        ("times", json!({"now": AT})),
    ] {
        assert!(alike(&answer[field], &expected), "{field}: {} instead of {expected}", answer[field]);
    }
    // What JSON may look like, and what it has to look like.
    for (body, part) in [
        ("\u{feff}{\"title\": \"a\"}", r#""title":"a""#),
        (r#"{"ratio": "NaN"}"#, r#""ratio":"NaN""#),
        (r#"{"ratio": "-Infinity"}"#, r#""ratio":"-Infinity""#),
        (r#"{"ratio": 2.0, "data": {"b": 1.0, "a": [2, 2.5]}}"#, r#""data":{"a":[2,2.5],"b":1}"#),
        (r#"{"titles": {"10": "x", "9": "y", "-1": "z"}}"#, r#""titles":{"-1":"z","9":"y","10":"x"}"#),
        (r#"{"blob": "aGVs\r\nbG8="}"#, r#""blob":"aGVsbG8=""#),
        (r#"{"any": {"@type": "type.googleapis.com/google.protobuf.Empty"}}"#, "google.protobuf.Empty\""),
        (r#"{"any": {}}"#, r#""any":{}"#),
    ] {
        let (status, answer) = http(&api, "POST", "/typed/Echo", &[], body);
        assert!(status == 200 && answer.contains(part), "{body}: {status} {answer}");
    }
    let (status, body) = http(&api, "GET", "/typed/Echo?at=noon", &[], "");
    assert!(status == 400 && body.contains("2006-01-02T15:04:05Z"), "{status} {body}");
    for (query, field, expected) in [
        ("mask=a&mask=b", "mask", json!("a,b")),
        ("list=1&list=x", "list", json!([1, "x"])),
        ("waits[0]=1s&waits[1]=2s", "waits", json!(["1s", "2s"])),
        ("blob=%2B/8=", "blob", json!("+/8=")),
        ("flag=on&at=&big=&wait=&null=null", "flag", json!(true)),
        ("null=null&blob=&title=", "title", json!("")),
    ] {
        let answer = get(&format!("/typed/Echo?{query}"));
        assert!(alike(&answer[field], &expected), "{query}: {} instead of {expected}", answer[field]);
    }
    let (status, body) = http(&api, "GET", "/typed/Echo?blob=+/8=", &[], "");
    assert!(status == 400 && body.contains("%2B"), "a digit is not lost: {status} {body}");

    // A request that has no fields is the whole body, or nothing at all.
    let begin = json!("1970-01-01T01:00:00Z");
    assert_eq!(get("/typed/Later"), begin);
    for (path, body, expected) in [
        ("/typed/Later", "\"2026-11-26T10:00:00Z\"", json!("2026-11-26T11:00:00Z")),
        ("/typed/Later", "", begin.clone()),
        ("/typed/Later", "null", begin.clone()),
        ("/typed/Tick", "2", json!("1970-01-01T00:00:00Z")),
        ("/typed/Nothing", "", json!({})),
        ("/typed/Free?a=1&b=x", "", json!({"a": 1, "b": "x"})),
    ] {
        let (status, text) = http(&api, "POST", path, &[], body);
        assert_eq!(status, 200, "{path} {body}: {text}");
        assert!(alike(&json(text.lines().next().unwrap()), &expected), "{path} {body}: {text}");
    }
    assert_eq!(json(&home.ok(["typed", "later"])), begin);
    assert_eq!(json(&home.ok(["call", "typed", "Typed.Later"])), begin);
    for (path, words) in [
        ("/typed/Later?value=2026-11-26T10:00:00Z", "send it as the JSON body"),
        ("/typed/Nothing?a=1", "unknown field `a`"),
    ] {
        let (status, body) = http(&api, "GET", path, &[], "");
        assert!(status == 400 && body.contains(words), "{path}: {status} {body}");
    }
    // What is read at the deepest comes back.
    let nested = |levels: usize| format!("{{\"value\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
    let (status, body) = http(&api, "POST", "/typed/Echo", &[], &nested(49));
    assert!(status == 200 && body.contains(&"[".repeat(49)), "{status} {body}");
    let (status, body) = http(&api, "POST", "/typed/Echo", &[], &nested(50));
    assert!(status == 400 && body.contains("nested deeper than 100 levels"), "{status} {body}");

    let (status, body) = http(&api, "POST", "/typed/Echo", &[], r#"{"wait": "-1s"}"#);
    assert!(status == 400, "the handler's own error: {status} {body}");

    // The types stand in what is registered, as a Go program of the original would have it.
    let service = json(&home.ok(["get", "service", "typed", "-o", "json"]));
    let text = service.to_string();
    assert!(text.contains("Timestamp") && text.contains("seconds"), "{text}");
}

#[test]
fn a_client_that_cannot_be_generated_leaves_the_project_as_it_was() {
    let home = Home::new();
    home.run_helloworld();
    let project = home.path().join("other");
    fs::create_dir_all(project.join("proto")).unwrap();
    let own = project.join("proto/own.proto");
    fs::write(&own, "syntax = \"proto3\"; package helloworld; message CallRequest {}").unwrap();
    home.ok_in(&project, ["gen"]);
    let said = outcome(home.command(["gen", "--from", "helloworld"]).current_dir(&project));
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("`CallRequest`") && said.stderr.contains("remove yours"), "{said:#?}");
    assert!(!project.join("proto/helloworld.binpb").exists());
    assert_eq!(home.ok_in(&project, ["gen"]), "", "nothing has changed");
    fs::write(&own, "syntax = \"proto3\"; package own; message CallRequest {}").unwrap();
    let written = home.ok_in(&project, ["gen", "--from", "helloworld"]);
    assert!(written.contains("proto/helloworld.binpb"), "{written}");
}

#[test]
fn a_service_without_methods_calls_another_whatever_becomes_of_that() {
    let home = Home::new();
    run(&home, "caller");
    let last = |home: &Home| home.ok(["logs", "caller", "-n", "1"]);
    let says = |what: &str, words: &str| {
        eventually(what, || last(&home).contains(words).then_some(()));
    };
    says("the caller to miss it", "cannot call helloworld: 404");
    assert_eq!(home.status("caller")["status"], "running");
    faulty::run(&home, &[]);
    says("the caller to find it", "Hello Jane");
    faulty::run(&home, &["--force"]);
    says("the caller to reach the new one", "Hello Jane");
    let log = home.ok(["logs", "caller", "-n", "1000"]);
    let after = log.split("Hello Jane").skip(1).collect::<String>();
    assert!(!after.contains("cannot call"), "no call fails during an update: {log}");
    home.ok(["kill", "helloworld"]);
    says("the caller to miss it again", "cannot call helloworld");
    faulty::run(&home, &[]);
    says("the caller to find it again", "Hello Jane");
    assert_eq!(home.status("caller")["metadata"]["restarts"].as_str().unwrap_or("0"), "0");
    assert!(home.ok(["services"]).contains("caller"));
}

#[test]
fn the_example_of_the_config_prints_each_greeting() {
    let home = Home::new();
    run(&home, "settings");
    let says = |line: &str| {
        eventually(line, || home.ok(["logs", "settings"]).lines().any(|said| said == line).then_some(()));
    };
    says("no greeting is set");
    home.ok(["config", "set", "greeting", r#"{"text": "Hello", "times": 2}"#]);
    says("Hello Hello");
    home.ok(["config", "set", "greeting.times", "1"]);
    says("Hello");
    // What is no greeting is told, and the next one counts again.
    home.ok(["config", "set", "greeting.times", "often"]);
    home.ok(["config", "set", "greeting", r#"{"text": "Bye", "times": 1}"#]);
    says("Bye");
}

#[test]
fn the_example_of_the_store_loses_no_number() {
    let home = Home::new();
    let program = programs().join("counter");
    let program = program.to_str().unwrap();
    home.ok(["run", ".", "--name", "counter", "--instances", "3", "--command", program]);
    let counted = || {
        let said = home.ok(["logs", "counter"]);
        said.lines().filter_map(|line| line.strip_prefix("counted to ")?.parse().ok()).collect::<Vec<u64>>()
    };
    eventually("some rounds", || (counted().len() >= 9).then_some(()));
    home.ok(["kill", "counter"]);
    let total: u64 = home.ok(["store", "read", "--table", "counter", "runs/total"]).trim().parse().unwrap();
    let mut counted = counted();
    counted.sort_unstable();
    let all = counted.len();
    counted.dedup();
    assert_eq!(counted.len(), all, "a number was counted twice");
    // An instance may have been stopped between counting and saying so.
    assert!(counted.last().is_some_and(|last| *last <= total), "{total} {counted:?}");
}
