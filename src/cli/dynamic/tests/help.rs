//! The command as clap shows it: help, completion, and no conflict whatever the schema.

use super::*;
use std::ffi::OsString;

fn built(service: &Service) -> Command {
    let mut command = root().subcommand(command(service));
    command.build();
    command
}

fn shown(service: &Service, line: &[&str]) -> String {
    parse(service, line).unwrap().unwrap_err().to_string()
}

fn completed(line: &[&str]) -> Vec<String> {
    let mut command = root().subcommand(command(&greeter()));
    let words: Vec<OsString> = ["micro", "greeter"].iter().chain(line).map(OsString::from).collect();
    let last = words.len() - 1;
    let candidates = clap_complete::engine::complete(&mut command, words, last, Some(&folder())).unwrap();
    candidates.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
}

#[test]
fn rich_schemas_make_a_valid_command() {
    built(&greeter()).debug_assert();
    let odd =
        ["Foo.Get_User", "Foo.GetUser", "Foo.Stream", "Stream.Publish", "Foo.help", "NoHandler", "a.b.C.D"];
    let fields = vec![
        field("a.b", Kind::String, false),
        field("a", Kind::Message { name: "A".to_owned(), fields: vec![field("b", Kind::Bool, true)] }, false),
        field(
            "field",
            Kind::Message { name: "F".to_owned(), fields: vec![field("json", Kind::Bool, false)] },
            false,
        ),
        field("json", Kind::String, false),
        field("Json", Kind::String, false),
        field("not a flag", Kind::String, false),
        field("-x", Kind::String, false),
    ];
    let endpoints =
        odd.map(|name| Endpoint { name: name.to_owned(), fields: fields.clone(), ..Endpoint::default() });
    let service = Service { name: "foo".to_owned(), endpoints: endpoints.to_vec(), ..Service::default() };
    built(&service).debug_assert();
    for (line, expected) in [
        (&["Get_User"][..], "Foo.Get_User"),
        (&["GetUser"], "Foo.GetUser"),
        (&["stream"], "Foo.Stream"),
        (&["stream", "publish"], "Stream.Publish"),
        (&["help"], "Foo.help"),
        (&["no-handler"], "NoHandler"),
    ] {
        assert_eq!(call(&service, line).unwrap().0, expected, "{line:?}");
    }
    built(&Service { name: "empty".to_owned(), ..Service::default() }).debug_assert();
}

#[test]
fn help_of_a_service_lists_endpoints_with_their_comments() {
    let help = shown(&greeter(), &[]);
    for part in
        ["Greets people", "Endpoints:", "call", "Say hello", "ping-pong", "stream", "Methods of Stream"]
    {
        assert!(help.contains(part), "{part} in {help}");
    }
    assert!(shown(&greeter(), &["stream"]).contains("publish"));
    assert_eq!(shown(&greeter(), &["--version"]), "greeter 1.0\n");
}

#[test]
fn help_of_an_endpoint_lists_fields_with_their_types() {
    let help = shown(&greeter(), &["call", "-h"]);
    for part in [
        "Request:",
        "--name <STRING>",
        "The name to greet",
        "--large <INT64>",
        "--data <BASE64|@FILE>",
        "--size <SIZE>",
        "How large",
        "[possible values: UNKNOWN, SMALL, VERY_LARGE]",
        "--address.zip_code <STRING>",
        "--addresses <JSON>",
        "--labels <KEY=VALUE>",
        "--created <TIMESTAMP>",
        "--limit <INT64>",
        "--json <JSON|@FILE|->",
        "--header <NAME=VALUE>",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
    assert!(!help.contains("address-zip-code"), "{help}");
    assert!(shown(&greeter(), &["call", "--help"]).contains("At length."));
    assert!(
        shown(&greeter(), &["ping-pong", "--help"]).contains("one JSON request a line from standard input")
    );
    let reserved = shown(&greeter(), &["other", "reset", "-h"]);
    assert!(reserved.contains("--field.json <STRING>"), "{reserved}");
    assert!(reserved.contains("`--json` is another flag"), "{reserved}");
}

#[test]
fn completion_knows_methods_fields_and_values() {
    let methods = completed(&[""]);
    assert!(
        methods.iter().any(|name| name == "ping-pong") && methods.iter().any(|name| name == "stream"),
        "{methods:?}"
    );
    assert_eq!(completed(&["stream", "p"]), ["publish"]);
    assert_eq!(completed(&["call", "--na"]), ["--name", "--namespace"]);
    assert_eq!(completed(&["call", "--size", "S"]), ["SMALL"]);
    assert_eq!(completed(&["call", "--loud="]), ["--loud=true", "--loud=false"]);
    assert_eq!(completed(&["call", "--all_sizes=SMALL,V"]), ["--all_sizes=SMALL,VERY_LARGE"]);
}

#[test]
fn a_message_inside_itself_is_json() {
    let service = greeter();
    let publish = service.endpoints.iter().find(|endpoint| endpoint.name == "Stream.Publish").unwrap();
    let nested = Kind::Message { name: "Tree".to_owned(), fields: Vec::new() };
    assert_eq!(
        publish.fields,
        [
            field("label", Kind::String, false),
            field("left", nested.clone(), false),
            field("right", nested, false)
        ]
    );
    let line = ["publish", r#"--left={"left": {"label": "x"}}"#];
    assert_eq!(sent(&service, &line), serde_json::json!({"left": {"left": {"label": "x"}}}));
}

#[test]
fn streams_are_known_from_descriptors() {
    let service = greeter();
    let streams: Vec<_> =
        service.endpoints.iter().map(|e| (e.name.as_str(), e.request_stream, e.response_stream)).collect();
    assert_eq!(
        streams,
        [
            ("Greeter.Call", false, false),
            ("Greeter.PingPong", true, true),
            ("Greeter.Nothing", false, false),
            ("Stream.Publish", false, false),
            ("Stream.Status", false, true),
            ("Other.Status", false, false),
            ("Other.Reset", false, false),
        ]
    );
}

#[test]
fn a_schema_survives_the_cache() {
    let service = greeter();
    let cached = serde_json::to_vec(&service).unwrap();
    assert_eq!(serde_json::from_slice::<Service>(&cached).unwrap(), service);
}

#[test]
fn endpoints_that_are_not_registered_are_dropped() {
    let service = greeter().only(&["Stream.Publish"]);
    assert_eq!(service.endpoints.len(), 1);
    assert_eq!(service.endpoints[0].name, "Stream.Publish");
}

#[test]
fn wide_and_deep_messages_make_a_bounded_command() {
    let mut source =
        "syntax = \"proto3\"; package wide; service Wide { rpc Call(Level0) returns (Level0); }".to_owned();
    for level in 0..9 {
        let fields = (1..=12).map(|number| format!("Level{} f{number} = {number};", level + 1));
        let message = format!("message Level{level} {{ {} }}", fields.collect::<Vec<_>>().join(" "));
        source.push_str(&message);
    }
    source.push_str("message Level9 { string end = 1; }");
    let service = Service::from_descriptors(&pool(&source), "wide", "");
    let flags = command(&service).find_subcommand("call").unwrap().get_arguments().count();
    assert!((12..1100).contains(&flags), "{flags}");
    assert_eq!(sent(&service, &["call", r#"--f12={"f1": {}}"#]), serde_json::json!({"f12": {"f1": {}}}));
    let (message, _) = refused(&service, &["call", "--f1.f1.f1.f1.f1.f1.f1={}"]);
    assert_eq!(message, "`micro wide call` has no flag `--f1.f1.f1.f1.f1.f1.f1`");
}
