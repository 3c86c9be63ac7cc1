//! Flags and the requests they make.

use super::*;
use serde_json::json;

/// The four forms of `a` and `b` in a list: joined and apart, with and without `=`.
fn list_forms(name: &str, kind: &Kind, one: &str, two: &str, expected: &Value) {
    let service = service_with(vec![field(name, kind.clone(), true)]);
    let flag = format!("--{name}");
    let both = format!("{one},{two}");
    let forms: [&[&str]; 4] = [
        &["call", &format!("{flag}={both}")],
        &["call", &flag, &both],
        &["call", &format!("{flag}={one}"), &format!("{flag}={two}")],
        &["call", &flag, one, &flag, two],
    ];
    for form in forms {
        assert_eq!(sent(&service, form), json!({ name: expected }), "{form:?}");
    }
}

#[test]
fn lists_take_commas_and_repetition_in_both_flag_forms() {
    list_forms("ss", &Kind::String, "a", "b", &json!(["a", "b"]));
    list_forms("bs", &Kind::Bool, "true", "false", &json!([true, false]));
    list_forms("is", &Kind::Int32, "10", "20", &json!([10, 20]));
    list_forms("is", &Kind::Int64, "10", "20", &json!([10, 20]));
    list_forms("fs", &Kind::Double, "10.1", "20.2", &json!([10.1, 20.2]));
}

#[test]
fn names_with_underscores_stay_flat() {
    let text = |name| field(name, Kind::String, false);
    let email = service_with(vec![text("user_email")]);
    let expected = json!({"user_email": "someemail"});
    assert_eq!(sent(&email, &["call", "--user_email=someemail"]), expected);
    assert_eq!(sent(&email, &["call", "--user_email", "someemail"]), expected);
    let both = service_with(vec![text("user_email"), text("user_name")]);
    let expected = json!({"user_email": "someemail", "user_name": "somename"});
    assert_eq!(sent(&both, &["call", "--user_email=someemail", "--user_name=somename"]), expected);
    assert_eq!(sent(&both, &["call", "--user_email", "someemail", "--user_name", "somename"]), expected);
    let friend = service_with(vec![text("user_friend_email")]);
    assert_eq!(sent(&friend, &["call", "--user_friend_email=hi"]), json!({"user_friend_email": "hi"}));
}

#[test]
fn a_switch_needs_no_value_and_takes_one() {
    let service = service_with(vec![field("b", Kind::Bool, false)]);
    for line in [&["call", "--b"][..], &["call", "--b=T"], &["call", "--b", "true"], &["call", "--b", "1"]] {
        assert_eq!(sent(&service, line), json!({"b": true}), "{line:?}");
    }
    assert_eq!(sent(&service, &["call", "--b=false"]), json!({"b": false}));
    assert_eq!(sent(&service, &["call", "--b", "F"]), json!({"b": false}));
    assert_eq!(refused(&service, &["call", "--b="]).0, "`--b` expects true or false, not ``");
    let (message, hint) = refused(&service, &["call", "--b=maybe"]);
    assert_eq!(message, "`--b` expects true or false, not `maybe`");
    assert_eq!(hint, "for example --b=true");
}

#[test]
fn every_type_is_converted() {
    for (line, expected) in [
        (&["--name=a=b=c"][..], json!({"name": "a=b=c"})),
        (&["--name", "k=v,w"], json!({"name": "k=v,w"})),
        (&["--name="], json!({"name": ""})),
        (&["--name", "-5"], json!({"name": "-5"})),
        (&["--name=--loud"], json!({"name": "--loud"})),
        (&["--small", "-3"], json!({"small": -3})),
        (&["--small=-2147483648"], json!({"small": i32::MIN})),
        (&["--large", "-0x10"], json!({"large": -16})),
        (&["--large=9223372036854775807"], json!({"large": i64::MAX})),
        (&["--count=0b11"], json!({"count": 3})),
        (&["--total=18446744073709551615"], json!({"total": u64::MAX})),
        (&["--total=1e3"], json!({"total": 1000})),
        (&["--ratio", "-1.5"], json!({"ratio": -1.5})),
        (&["--exact", "-inf"], json!({"exact": "-Infinity"})),
        (&["--exact=1e3"], json!({"exact": 1000.0})),
        (&["--data=aGk"], json!({"data": "aGk="})),
        (&["--data=_-8="], json!({"data": "/+8="})),
        (&["--data=@picture"], json!({"data": "//79"})),
        (&["--parts=aGk=,@picture"], json!({"parts": ["aGk=", "//79"]})),
        (&["--size=very-large"], json!({"size": "VERY_LARGE"})),
        (&["--size", "Small"], json!({"size": "SMALL"})),
        (&["--size=7"], json!({"size": 7})),
        (&["--all_sizes=small,0"], json!({"all_sizes": ["SMALL", 0]})),
        (&["--created=2024-05-06T07:08:09Z"], json!({"created": "2024-05-06T07:08:09Z"})),
        (&["--limit=5"], json!({"limit": 5})),
    ] {
        let line = [&["call"], line].concat();
        assert_eq!(sent(&greeter(), &line), expected, "{line:?}");
    }
}

#[test]
fn a_list_may_be_json_and_its_elements_may_have_commas() {
    let service = greeter();
    assert_eq!(sent(&service, &["call", r#"--tags=["a,b", "c"]"#]), json!({"tags": ["a,b", "c"]}));
    assert_eq!(sent(&service, &["call", "--tags=a,b", "--tags=c"]), json!({"tags": ["a", "b", "c"]}));
    assert_eq!(sent(&service, &["call", r#"--tags=["a,b"]"#, "--tags=c"]), json!({"tags": ["a,b", "c"]}));
    assert_eq!(sent(&service, &["call", "--tags=[a,b]"]), json!({"tags": ["[a", "b]"]}));
    assert_eq!(sent(&service, &["call", "--tags=[1]"]), json!({"tags": ["[1]"]}));
    assert_eq!(sent(&service, &["call", "--tags="]), json!({"tags": []}));
    assert_eq!(sent(&service, &["call", r#"--all-sizes=["small", 2]"#]), json!({"all_sizes": ["SMALL", 2]}));
    let negative = service_with(vec![field("is", Kind::Int64, true)]);
    assert_eq!(sent(&negative, &["call", "--is", "-10,-20"]), json!({"is": [-10, -20]}));
}

#[test]
fn nested_messages_are_flags_with_dots_hyphens_or_underscores() {
    let service = greeter();
    for flag in [
        "--address.zip_code",
        "--address-zip-code",
        "--address_zip_code",
        "--address.zipCode",
        "--Address.ZIP-code",
    ] {
        let expected = json!({"address": {"zip_code": "1"}});
        assert_eq!(sent(&service, &["call", &format!("{flag}=1")]), expected, "{flag}");
        assert_eq!(sent(&service, &["call", flag, "1"]), expected, "{flag}");
    }
    let deep = ["call", "--address.place.latitude", "-1.5", "--address.lines=a,b"];
    assert_eq!(sent(&service, &deep), json!({"address": {"lines": ["a", "b"], "place": {"latitude": -1.5}}}));
}

#[test]
fn messages_and_maps_are_json_or_pairs() {
    for (line, expected) in [
        (
            &[r#"--address={"zip_code": "1"}"#, "--address.lines=a"][..],
            json!({"address": {"zip_code": "1", "lines": ["a"]}}),
        ),
        (
            &["--address.lines=a", r#"--address={"zip_code": "1"}"#],
            json!({"address": {"zip_code": "1", "lines": ["a"]}}),
        ),
        (&[r#"--addresses={"zip_code": "1,2"}"#], json!({"addresses": [{"zip_code": "1,2"}]})),
        (
            &["--addresses={}", r#"--addresses={"zip_code": "2"}"#],
            json!({"addresses": [{}, {"zip_code": "2"}]}),
        ),
        (&[r#"--addresses=[{"zip_code": "1"}, {}]"#], json!({"addresses": [{"zip_code": "1"}, {}]})),
        (&["--labels=a=1,b=2=3"], json!({"labels": {"a": "1,b=2=3"}})),
        (&["--labels", "a=1,2"], json!({"labels": {"a": "1,2"}})),
        (&["--labels=a=1,b=2", "--labels=c=3"], json!({"labels": {"a": "1,b=2", "c": "3"}})),
        (&[r#"--labels={"a": "1"}"#, "--labels=b=2"], json!({"labels": {"a": "1", "b": "2"}})),
        (&["--sizes=0x1=small"], json!({"sizes": {"1": "SMALL"}})),
        (&[r#"--homes=here={"zip_code": "1"}"#], json!({"homes": {"here": {"zip_code": "1"}}})),
    ] {
        let line = [&["call"], line].concat();
        assert_eq!(sent(&greeter(), &line), expected, "{line:?}");
    }
}

#[test]
fn a_second_entry_within_the_value_of_a_map_is_noticed() {
    let service = greeter();
    let notes = |line: &[&str]| {
        let (service, matches) = parse(&service, line).unwrap();
        let matches = matches.unwrap();
        let (endpoint, matches) = matched(&service, matches.subcommand().unwrap().1).unwrap();
        request(endpoint, matches, &read_file).unwrap().notes
    };
    assert_eq!(
        notes(&["call", "--labels=a=1,b=2"]),
        ["note: `,b=2` belongs to the value of a; another entry needs a --labels of its own"]
    );
    for quiet in ["--labels=a=1,2", r#"--homes=here={"zip_code":"1,b=2"}"#, r#"--labels={"a":"1,b=2"}"#] {
        assert_eq!(notes(&["call", quiet]), <[&str; 0]>::default(), "{quiet}");
    }
}

#[test]
fn a_message_without_fields_needs_no_value() {
    let source = r#"
        syntax = "proto3"; package foo; import "google/protobuf/empty.proto";
        service Foo { rpc Call(Request) returns (Request); }
        message Nothing {}
        message Request { google.protobuf.Empty empty = 1; Nothing nothing = 2; string name = 3; }
    "#;
    let service = schema(source, "foo", "");
    for (line, expected) in [
        (&["--empty"][..], json!({"empty": {}})),
        (&["--empty", "--nothing", "--name=x"], json!({"empty": {}, "nothing": {}, "name": "x"})),
        (&["--empty={}"], json!({"empty": {}})),
        (&["--empty", "{}"], json!({"empty": {}})),
    ] {
        assert_eq!(sent(&service, &[&["call"], line].concat()), expected, "{line:?}");
    }
    assert!(refused(&service, &["call", "--empty=x"]).0.contains("expects a JSON object (Empty), not `x`"));
}

#[test]
fn a_whole_request_is_json_and_flags_stand_above_it() {
    let service = greeter();
    let line = ["call", "--json", r#"{"name": "Jane", "large": 9007199254740993}"#, "--loud"];
    assert_eq!(
        sent(&service, &line),
        json!({"name": "Jane", "large": 9_007_199_254_740_993_i64, "loud": true})
    );
    assert_eq!(sent(&service, &["call", "--json", "-"]), json!({"name": "from stdin"}));
    let line = ["call", "--json=@request.json", "--address.zip_code=2", "--address.lines=a"];
    assert_eq!(
        sent(&service, &line),
        json!({"name": "from file", "address": {"zipCode": "2", "lines": ["a"]}})
    );
    let (message, _) = refused(&service, &["call", "--json=[1]"]);
    assert_eq!(message, "`--json` expects a JSON object: found `[1]`");
    let (message, hint) = refused(&service, &["call", "--json={"]);
    assert!(message.starts_with("`--json` expects a JSON object: EOF"), "{message}");
    assert!(hint.contains("--json=@request.json"), "{hint}");
}

#[test]
fn an_unknown_type_takes_json_or_text() {
    let unknown =
        |repeated| service_with(vec![field("access", Kind::Unknown("Access".to_owned()), repeated)]);
    assert_eq!(sent(&unknown(false), &["call", "--access=GRANTED"]), json!({"access": "GRANTED"}));
    assert_eq!(sent(&unknown(false), &["call", r#"--access={"a": 1}"#]), json!({"access": {"a": 1}}));
    assert_eq!(sent(&unknown(true), &["call", "--access=A,B"]), json!({"access": ["A", "B"]}));
    assert_eq!(
        sent(&unknown(true), &["call", r#"--access={"a": 1, "b": 2}"#]),
        json!({"access": [{"a": 1, "b": 2}]})
    );
}

#[test]
fn a_wrong_value_names_the_flag_the_type_and_an_example() {
    let service = greeter();
    for (line, message, hint) in [
        ("--small=abc", "`--small` expects a whole number (int32), not `abc`", "for example --small=42"),
        (
            "--small=2147483648",
            "`--small` expects a whole number from -2147483648 to 2147483647 (int32), not `2147483648`",
            "for example --small=42",
        ),
        (
            "--count=-1",
            "`--count` expects a whole number from 0 to 4294967295 (uint32), not `-1`",
            "for example --count=42",
        ),
        ("--ratio=x", "`--ratio` expects a number (float), not `x`", "for example --ratio=1.5"),
        (
            "--ratio=1e39",
            "`--ratio` expects a number from -3.4028235e38 to 3.4028235e38 (float), not `1e39`",
            "for example --ratio=1.5",
        ),
        (
            "--sizes=0x100000000=SMALL",
            "`--sizes` expects a whole number from -2147483648 to 2147483647 (int32), not `0x100000000`",
            "for example --sizes=42=UNKNOWN",
        ),
        (
            "--sizes=1=SMALL,2=UNKNOWN",
            "`--sizes` expects one of UNKNOWN, SMALL, VERY_LARGE, not `SMALL,2=UNKNOWN`",
            "each entry needs a flag of its own: --sizes=1=SMALL --sizes=2=UNKNOWN",
        ),
        (
            "--data=h!",
            "`--data` expects base64 text, or a file as @FILE, not `h!`",
            "for example --data=aGVsbG8=",
        ),
        (
            "--size=huge",
            "`--size` expects one of UNKNOWN, SMALL, VERY_LARGE, not `huge`",
            "for example --size=UNKNOWN",
        ),
        (
            "--address=x",
            "`--address` expects a JSON object (Address), not `x`",
            r#"for example --address='{"zip_code": …}'"#,
        ),
        (
            "--labels=x",
            "`--labels` expects KEY=VALUE, where VALUE is text, or a JSON object, not `x`",
            "for example --labels=key=text",
        ),
    ] {
        assert_eq!(refused(&service, &["call", line]), (message.to_owned(), hint.to_owned()));
    }
    let error = call(&service, &["call", "--data=@missing"]).unwrap_err();
    assert!(matches!(&error, Error::Read { path, .. } if path == "missing"), "{error:?}");
}

#[test]
fn headers_are_taken_as_they_are() {
    let service = greeter();
    let headers = |line: &[&str]| {
        let (service, matches) = parse(&service, line).unwrap();
        let matches = matches.unwrap();
        super::super::headers(matched(&service, matches.subcommand().unwrap().1).unwrap().1)
    };
    assert_eq!(headers(&["call", "--header=a=1=2,c=3", "--header", "b="]), ["a=1=2,c=3", "b="]);
    assert!(headers(&["call"]).is_empty());
}

#[test]
fn fields_with_the_names_of_other_flags_are_reachable() {
    let service = greeter();
    let line = [
        "other",
        "reset",
        "--field.json=a",
        "--field-header=b",
        "--field.help",
        "c",
        "--field.env=d",
        "--field_namespace=e",
        "--field.output=f",
        "--field.timeout=7",
        "--field.quiet",
        "--field.verbose",
        "--field.yes",
        "--field.no-color",
        "--field.version=l",
        "--env",
        "prod",
        "--no-color",
    ];
    let expected = json!({
        "json": "a", "header": "b", "help": "c", "env": "d", "namespace": "e", "output": "f", "timeout": 7, "quiet": true,
        "verbose": true, "yes": true, "no_color": true, "version": "l",
    });
    assert_eq!(sent(&service, &line), expected);
}

#[test]
fn a_spelling_of_two_fields_belongs_to_neither() {
    let service = greeter();
    assert_eq!(sent(&service, &["reset", "--a_b=1", "--a.b=2"]), json!({"a_b": "1", "a": {"b": "2"}}));
    let (message, hint) = refused(&service, &["reset", "--a-b=1"]);
    assert_eq!(message, "`--a-b` may mean several flags of `micro greeter other reset`");
    assert_eq!(hint, "say `--a_b` or `--a.b`");
    let cases =
        service_with(vec![field("userName", Kind::String, false), field("username", Kind::String, false)]);
    assert_eq!(
        sent(&cases, &["call", "--userName=1", "--username=2"]),
        json!({"userName": "1", "username": "2"})
    );
}
