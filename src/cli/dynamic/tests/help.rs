//! The command as clap shows it: help, completion, and no conflict whatever the schema.

use super::*;
use clap::Command;
use std::ffi::OsString;

fn built(service: &Service) -> Command {
    let mut command = root().subcommand(command(service));
    command.build();
    command
}

fn shown(schema: &Schema, line: &[&str]) -> String {
    parse(schema, line).unwrap().1.unwrap_err().to_string()
}

fn completed(line: &[&str]) -> Vec<String> {
    let mut command = root().subcommand(completable(&greeter(), &words(line), &root()));
    let words: Vec<OsString> = ["micro", "greeter"].iter().chain(line).map(OsString::from).collect();
    let last = words.len() - 1;
    let candidates = clap_complete::engine::complete(&mut command, words, last, Some(&folder())).unwrap();
    candidates.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
}

fn message(name: &str, fields: Vec<Field>) -> Kind {
    let first = fields.first().map(|field| field.name.clone()).unwrap_or_default();
    Kind::Message { name: name.to_owned(), fields, first }
}

#[test]
fn rich_schemas_make_a_valid_command() {
    for endpoint in ["Greeter.Call", "Stream.Publish", "Other.Reset"] {
        built(&whole(&greeter(), endpoint)).debug_assert();
    }
    let odd =
        ["Foo.Get_User", "Foo.GetUser", "Foo.Stream", "Stream.Publish", "Foo.help", "NoHandler", "a.b.C.D"];
    let fields = vec![
        field("a.b", Kind::String, false),
        field("a", message("A", vec![field("b", Kind::Bool, true)]), false),
        field("field", message("F", vec![field("json", Kind::Bool, false)]), false),
        field("json", Kind::String, false),
        field("Json", Kind::String, false),
        field("not a flag", Kind::String, false),
        field("-x", Kind::String, false),
    ];
    let endpoints =
        odd.map(|name| Endpoint { name: name.to_owned(), fields: fields.clone(), ..Endpoint::default() });
    let service = Service { name: "foo".to_owned(), endpoints: endpoints.to_vec(), ..Service::default() };
    built(&service).debug_assert();
    let service = Schema::Whole(service);
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
        ["Greets people", "Endpoints:", "call", "Say hello", "ping-pong", "Keeps watch: publish, status"]
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
        "--address <JSON>",
        "; or its fields, as `--address.zip_code`",
        "`--help=all` lists the fields of messages too",
        "--addresses <JSON>",
        "--labels <STRING=STRING>",
        "--sizes <INT32=SIZE>",
        "; repeat it for more",
        "--created <TIMESTAMP>",
        "--limit <INT64>",
        "--json <JSON|@FILE|->",
        "--header <NAME=VALUE>",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
    assert!(!help.contains("--address.zip_code <") && !help.contains("address-zip-code"), "{help}");
    let all = shown(&greeter(), &["call", "--help=all"]);
    assert!(all.contains("--address.zip_code <STRING>") && all.contains("--address.place.latitude"), "{all}");
    // A message that holds itself is listed once, with a word on how to go on.
    let tree = shown(&greeter(), &["publish", "--help=all"]);
    assert!(
        tree.contains("; or its fields, as `--left.label`") && !tree.contains("--left.label <"),
        "{tree}"
    );
    assert!(shown(&greeter(), &["call", "--help"]).contains("At length."));
    assert!(
        shown(&greeter(), &["ping-pong", "--help"]).contains("one JSON request a line from standard input")
    );
    let reserved = shown(&greeter(), &["other", "reset", "-h"]);
    assert!(reserved.contains("--field.json <STRING>"), "{reserved}");
    assert!(reserved.contains("`--json` is another flag"), "{reserved}");
}

#[test]
fn the_type_of_an_enum_has_the_article_it_takes() {
    for (name, expected) in [("Availability", "An Availability"), ("Color", "A Color"), ("E", "An E")] {
        let kind = Kind::Enum { name: name.to_owned(), values: vec!["ZERO".to_owned()] };
        let help = shown(&service_with(vec![field("kind", kind, false)]), &["call", "--help"]);
        assert!(help.contains(expected), "{expected} in {help}");
    }
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
    assert_eq!(completed(&["call", "--address.z"]), ["--address.zip_code"]);
    let below = completed(&["call", "--address."]);
    assert!(below.contains(&"--address.zip_code".to_owned()), "{below:?}");
    let deep = completed(&["publish", "--left.left."]);
    assert!(deep.contains(&"--left.left.label".to_owned()), "{deep:?}");
    assert_eq!(completed(&["publish", "--left.left.la"]), ["--left.left.label"]);
    assert_eq!(completed(&["call", "--size", "S"]), ["SMALL"]);
    assert_eq!(completed(&["call", "--loud="]), ["--loud=true", "--loud=false"]);
    assert_eq!(completed(&["call", "--all_sizes=SMALL,V"]), ["--all_sizes=SMALL,VERY_LARGE"]);
}

#[test]
fn a_message_inside_itself_is_json_or_flags_as_deep_as_one_likes() {
    let service = whole(&greeter(), "Stream.Publish");
    let publish = service.endpoints.iter().find(|endpoint| endpoint.name == "Stream.Publish").unwrap();
    let nested = Kind::Message { name: "Tree".to_owned(), fields: Vec::new(), first: "label".to_owned() };
    assert_eq!(
        publish.fields,
        [
            field("label", Kind::String, false),
            field("left", nested.clone(), false),
            field("right", nested, false)
        ]
    );
    let line = ["publish", r#"--left={"left": {"label": "x"}}"#];
    assert_eq!(sent(&greeter(), &line), serde_json::json!({"left": {"left": {"label": "x"}}}));
    let line = ["publish", "--left.left.right.left.left.right.left.label=x", "--left-label=y"];
    let deep = sent(&greeter(), &line);
    let left = &deep["left"];
    assert_eq!(
        (&left["label"], &left["left"]["right"]["left"]["left"]["right"]["left"]["label"]),
        (&"y".into(), &"x".into())
    );
}

#[test]
fn streams_are_known_from_descriptors() {
    let service = greeter().outline(false);
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
    let service = whole(&greeter(), "Greeter.Call");
    let cached = serde_json::to_vec(&service).unwrap();
    assert_eq!(serde_json::from_slice::<Service>(&cached).unwrap(), service);
}

#[test]
fn endpoints_that_are_not_registered_are_dropped() {
    let service = greeter().outline(false).only(&["Stream.Publish"]);
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
    let service = schema(&source, "wide", "");
    let flags =
        command(&whole(&service, "Wide.Call")).find_subcommand("call").unwrap().get_arguments().count();
    assert!((12..1100).contains(&flags), "{flags}");
    assert_eq!(sent(&service, &["call", r#"--f12={"f1": {}}"#]), serde_json::json!({"f12": {"f1": {}}}));
    let deep = sent(&service, &["call", "--f1.f2.f3.f4.f5.f6.f7.f8.f9.end=x"]);
    assert_eq!(deep["f1"]["f2"]["f3"]["f4"]["f5"]["f6"]["f7"]["f8"]["f9"]["end"], "x");
    // A line costs what it names: the flags of one level, and those on the way to what was typed.
    let resolved = resolve(&service, &words(&["call", "--f1.f2={}"]), &root()).unwrap();
    let flags = command(&resolved.service).find_subcommand("call").unwrap().get_arguments().count();
    assert!(flags < 40, "{flags}");
}

#[test]
fn a_service_of_google_or_of_one_handler_has_its_methods() {
    let source = r#"
        syntax = "proto3"; package google;
        // Finds things.
        service Search { rpc Web(Query) returns (Query); rpc Call(Query) returns (Query); }
        message Query { string q = 1; oneof paging { int32 page = 2; string token = 3; } optional bool safe = 4; }
    "#;
    let service = schema(source, "google", "");
    assert!(shown(&service, &[]).contains("\n  web "), "{}", shown(&service, &[]));
    assert_eq!(sent(&service, &["web", "--q=x"]), serde_json::json!({"q": "x"}));
    let help = shown(&service, &["web", "-h"]);
    assert!(help.contains("; excludes `--token`") && help.contains("; excludes `--page`"), "{help}");
    assert_eq!(help.matches("excludes").count(), 2, "{help}");
    assert_eq!(super::super::example_call(&service).unwrap(), "micro google call --q=text --page=42");
}

#[test]
fn help_of_what_has_no_schema_begins_with_an_example() {
    let watch = Endpoint { name: "Shop.Watch".to_owned(), is_unknown: true, ..Endpoint::default() };
    let service = Service { name: "shop".to_owned(), endpoints: vec![watch], ..Service::default() };
    let help = shown(&Schema::Whole(service), &["watch", "--help"]);
    let example = help.find(r#"micro shop watch --json='{"name": "Jane"}'"#).unwrap();
    assert!(example < help.find("Usage:").unwrap(), "{help}");
}

#[test]
fn a_value_that_looks_like_a_flag_is_told_how_to_be_given() {
    let service = service_with(vec![field("s", Kind::String, false), field("help", Kind::String, false)]);
    let (message, hint) = refused(&service, &["call", "--s", "-x"]);
    assert_eq!(message, "`--s` needs a value, and `-x` is taken for a flag");
    assert_eq!(hint, "a value that begins with `-` is given as --s=-x");
    assert_eq!(
        sent(&service, &["call", "--s=-x", "--help=me"]),
        serde_json::json!({"s": "-x", "help": "me"})
    );
}
