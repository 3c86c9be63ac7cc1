//! Commands that exist because a service runs: `micro helloworld call --name=Jane`, its help, its
//! near misses and its exit codes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};

use crate::{
    faulty,
    support::{Home, Outcome, hello, outcome},
};

/// Runs the binary with this on its standard input.
fn fed(home: &Home, words: &[&str], input: &str) -> Outcome {
    let file = home.path().join("input");
    fs::write(&file, input).unwrap();
    outcome(home.command(words).stdin(fs::File::open(file).unwrap()))
}

#[test]
fn a_call_is_written_in_many_ways() {
    let home = Home::new();
    let jane = &*hello("Jane");
    home.run_helloworld();
    fs::write(home.path().join("jane.json"), r#"{"name": "Jane"}"#).unwrap();
    for words in [
        &["helloworld", "call", "--name=Jane"][..],
        &["helloworld", "call", "--name", "Jane"],
        &["helloworld", "--timeout", "30s", "call", "--name=Jane"],
        &["helloworld", "--name=Jane"],
        &["helloworld", "Call", "--name=Jane"],
        &["helloworld", "helloworld", "call", "--name=Jane"],
        &["helloworld", "Helloworld.Call", "--name=Jane"],
        &["helloworld", "call", "--Name=Jane"],
        &["helloworld", "call", "--json", r#"{"name": "Jane"}"#],
        &["helloworld", "call", "--json", "@jane.json"],
        &["helloworld", "call", "--json={\"name\": \"John\"}", "--name=Jane"],
        &["helloworld", "call", "--name=Jane", "--header", "x-a=b=c"],
        &["-o", "table", "helloworld", "call", "--name=Jane"],
        &["helloworld", "call", "--name=Jane", "--timeout", "30s"],
    ] {
        let seen = home.run(words);
        assert_eq!((seen.code, &*seen.stdout), (Some(0), jane), "{words:?}: {seen:#?}");
    }
    assert_eq!(fed(&home, &["helloworld", "call", "--json", "-"], r#"{"name":"Jane"}"#).stdout, jane);
    assert_eq!(home.ok(["helloworld", "call", "--name=a=b, c"]), hello("a=b, c"));
    assert_eq!(home.ok(["helloworld", "call", "--name="]), hello(""));
    let call = ["helloworld", "call", "--name=Jane", "-o"];
    assert_eq!(home.ok(call.iter().chain(&["raw"])).trim_end(), "{\"msg\":\"Hello Jane\"}");
    assert_eq!(home.ok(call.iter().chain(&["jsonl"])), "{\"msg\":\"Hello Jane\"}\n");
    assert_eq!(home.ok(call.iter().chain(&["json"])), jane);
    assert_eq!(home.ok(["call", "helloworld", "Helloworld.Call", r#"{"name": "Jane"}"#]), jane);
}

#[test]
fn help_shows_methods_fields_types_and_comments() {
    let home = Home::new();
    home.run_helloworld();
    let help = home.ok(["helloworld", "--help"]);
    for part in ["call", "Greets a person by name", "stream", "ping-pong", "Answers every ping"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    for words in [["helloworld", "call", "--help"], ["helloworld", "call", "-h"]] {
        let help = home.ok(words);
        for part in ["--name <STRING>", "The name that goes into the greeting", "--json"] {
            assert!(help.contains(part), "{part} in {help}");
        }
    }
    assert!(home.ok(["helloworld", "stream", "--help"]).contains("--count <INT64>"));
    for (words, same) in [
        (&["help", "helloworld"][..], &["helloworld", "--help"][..]),
        (&["-q", "help", "helloworld", "call"], &["helloworld", "call", "--help"]),
        (&["help", "registry"], &["registry", "--help"]),
        (&["help", "server", "stop"], &["server", "stop", "--help"]),
    ] {
        assert_eq!(home.ok(words), home.ok(same), "{words:?}");
    }
    assert!(home.ok(["registry", "--help"]).contains("list-services"), "building blocks too");
    assert!(home.ok(["network", "--help"]).contains("no endpoints"), "what a block without endpoints is");
}

#[test]
fn near_misses_are_told_and_exit_codes_kept() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let deep = &*("[".repeat(128) + &"]".repeat(128));
    for (words, code, parts) in [
        (&["hellowrld", "call"][..], 5, &["Unrecognized micro command", "`micro helloworld`"][..]),
        (
            &["xyzzy"],
            5,
            &["Unrecognized micro command", "the services here are helloworld", "micro services"],
        ),
        (&["ps"], 5, &["Unrecognized micro command", "did you mean `micro status`?"]),
        (&["shutdown"], 5, &["did you mean `micro server stop`?"]),
        (
            &["api"],
            5,
            &["the HTTP API is a part of `micro server`, at localhost:8080", "micro server status"],
        ),
        (&["proxy"], 5, &["the gRPC proxy is a part of `micro server`, at localhost:8081"]),
        (&["help", "xyzzy"], 5, &["Unrecognized micro command: xyzzy", "the services here are helloworld"]),
        (&["help", "helloworld", "cal"], 5, &["cal", "`micro helloworld call`"]),
        (&["helloworld", "call", "--timeout=x"], 2, &["'x' for '--timeout", "set with `--field.timeout=x`"]),
        (&["helloworld", "call", "--output", "x"], 2, &["[possible values: ", "set with `--field.output=x`"]),
        (&["helloworld", "call", "--quiet=x"], 2, &["--quiet", "set with `--field.quiet=x`"]),
        (&["helloworld", "cal"], 5, &["cal", "`micro helloworld call`"]),
        (&["helloworld", "zzz"], 5, &["zzz"]),
        (&["helloworld", "call", "--nme=Jane"], 2, &["--nme", "--name"]),
        (&["helloworld", "call", "stray"], 2, &["stray"]),
        (&["helloworld", "stream", "--count=many"], 2, &["many", "count"]),
        (&["helloworld", "call", "--json", "{"], 2, &["JSON"]),
        (&["helloworld", "call", "--json", "@nowhere"], 1, &["nowhere"]),
        (&["helloworld", "call", "--json", deep], 2, &["JSON", "nested deeper than 127 levels"]),
        (&["call", "helloworld", "Helloworld.Call", deep], 2, &["JSON", "nested deeper than 127 levels"]),
        (&["helloworld", "call", "--json", r#"{"nam": 1}"#], 7, &["nam"]),
        (&["helloworld", "call", "--name=error 409"], 7, &["100% wrong"]),
        (&["helloworld", "call", "--name=error 404"], 7, &["100% wrong"]),
        (&["helloworld", "call", "--name=error 0"], 7, &["error: 100% wrong: \"ä\"\n"]),
        (&["helloworld", "call", "--name=error -1"], 7, &["error: 100% wrong: \"ä\"\n"]),
        (&["helloworld", "call", "--name=panic"], 7, &[]),
        (&["helloworld", "call", "--name=wait", "--timeout=100ms"], 6, &["--timeout"]),
        (&["call", "helloworld", "Call"], 2, &["Handler.Method"]),
        (&["call", "helloworld", "Helloworld.Nothing"], 5, &["Helloworld.Nothing"]),
        (&["call", "nothing", "Nothing.Call"], 5, &["service nothing", "micro services"]),
        (&["call", "helloworld", "Helloworld.Call", "{"], 2, &["not JSON"]),
        (&["call", "helloworld", "Helloworld.Stream", "{}"], 2, &["micro stream"]),
        (&["get", "service", "nothing"], 5, &["nothing"]),
    ] {
        let said = home.fails(code, words);
        for part in parts {
            assert!(said.contains(part), "{words:?}: `{part}` is not in {said}");
        }
    }
}

#[test]
fn streams_print_a_document_a_line_and_read_requests_from_standard_input() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let counted = "{\"count\": \"0\"}\n{\"count\": \"1\"}\n";
    assert_eq!(home.ok(["helloworld", "stream", "--count=2"]), counted);
    assert_eq!(home.ok(["stream", "helloworld", "Helloworld.Stream", r#"{"count": 2}"#]), counted);
    // Far more than fits between the service and the reader.
    let many = home.ok(["helloworld", "stream", "--count=900"]);
    assert_eq!((many.lines().count(), many.lines().last()), (900, Some("{\"count\": \"899\"}")));
    for form in ["json", "jsonl", "raw"] {
        let lines = home.ok(["helloworld", "stream", "--count=2", "-o", form]);
        assert_eq!(lines, "{\"count\":\"0\"}\n{\"count\":\"1\"}\n", "{form}");
    }

    let pongs = fed(&home, &["helloworld", "ping-pong"], "{\"stroke\": 1}\n\n{\"stroke\": \"2\"}\n");
    assert_eq!((pongs.code, &*pongs.stdout), (Some(0), "{\"stroke\": \"1\"}\n{\"stroke\": \"2\"}\n"));
    let whole = fed(&home, &["helloworld", "ping-pong", "--json={}"], "{\"stroke\": 2}\n");
    assert_eq!((whole.code, whole.stdout.lines().count()), (Some(0), 1), "{whole:#?}");
    assert!(!whole.stdout.contains('2'), "a request given as a whole is the one sent: {whole:#?}");
    let broken = fed(&home, &["helloworld", "ping-pong"], "{\"stroke\": 1}\nnonsense\n");
    assert_eq!(broken.code, Some(2), "{broken:#?}");
    assert!(broken.stderr.contains("line 2"), "{broken:#?}");

    // What came before the error is printed, and the error ends the command.
    let failed = home.run(["helloworld", "stream", "--count=-1"]);
    assert_eq!((failed.code, &*failed.stdout), (Some(7), "{\"count\": \"0\"}\n"), "{failed:#?}");
    assert!(failed.stderr.contains("counted backwards"), "{failed:#?}");
}

#[test]
fn a_stream_ends_when_its_time_is_over() {
    let home = Home::new();
    home.run_helloworld();
    for words in [
        &["helloworld", "ping-pong", "--timeout=300ms"][..],
        &["--timeout", "300ms", "helloworld", "ping-pong"],
        &["stream", "helloworld", "Helloworld.PingPong", "--timeout=300ms"],
        &["stream", "helloworld", "Helloworld.PingPong", "--request_timeout=300ms"],
        &["config", "watch", "--timeout=300ms"],
        &["logs", "helloworld", "-f", "--timeout=300ms"],
    ] {
        // Nothing is sent, and the input stays open.
        let mut command = home.command(words);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let ended = child.wait_with_output().unwrap();
        drop(input);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(
            (ended.status.code(), said.contains("within 300ms")),
            (Some(6), true),
            "{words:?}: {said}"
        );
    }
}

#[test]
fn a_comma_in_a_header_is_data_and_a_second_pair_is_noticed() {
    let home = Home::new();
    faulty::run(&home, &["--env_vars", "HOSTS=a:1,b:2", "--env_vars", "JAVA_OPTS=-Da=1,b=2"]);
    let variables = home.ok(["helloworld", "call", "--name=variables", "-o", "raw"]);
    assert!(
        variables.contains("HOSTS=a:1,b:2\\n") && variables.contains("JAVA_OPTS=-Da=1,b=2"),
        "{variables}"
    );
    for flag in [
        "helloworld call --name=headers --header",
        "call helloworld Helloworld.Call {\"name\":\"headers\"} --metadata",
    ] {
        let words: Vec<&str> = flag.split(' ').chain(["x-a=1,x-b=2"]).collect();
        let seen = home.run(&words);
        assert_eq!(seen.code, Some(0), "{seen:#?}");
        assert!(seen.stdout.contains("1,x-b=2"), "{seen:#?}");
        assert!(seen.stderr.starts_with("note: `,x-b=2` belongs to the value of x-a"), "{seen:#?}");
        let plain: Vec<&str> = flag.split(' ').chain(["x-a=1,2"]).collect();
        assert_eq!(home.run(&plain).stderr, "");
    }
    let said = home.fails(2, ["run", ".", "--name=x", "--command=true", "--metadata=a"]);
    assert!(said.contains("NAME=VALUE"), "{said}");
}

#[test]
fn a_conversation_goes_back_and_forth() {
    let home = Home::new();
    home.run_helloworld();
    let mut talk = home.command(["helloworld", "ping-pong"]);
    let mut talk = talk.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut pings, output) = (talk.stdin.take().unwrap(), talk.stdout.take().unwrap());
    let mut answers = BufReader::new(output).lines();
    for stroke in 1..=3 {
        writeln!(pings, "{{\"stroke\": {stroke}}}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), format!("{{\"stroke\": \"{stroke}\"}}"));
    }
    drop(pings);
    assert!(answers.next().is_none());
    assert!(talk.wait().unwrap().success());

    // A reader that has seen enough is no failure.
    let mut talk = home.command(["helloworld", "stream", "--count=1000"]);
    let mut talk = talk.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(talk.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "{\"count\": \"0\"}\n");
    assert!(talk.wait().unwrap().success());
}
