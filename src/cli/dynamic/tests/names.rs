//! Words and the endpoints they mean.

use super::*;

fn called(line: &[&str]) -> String {
    call(&greeter(), line).unwrap_or_else(|error| panic!("{line:?}: {error}")).0
}

fn resolved(line: &[&str]) -> Vec<String> {
    resolve(&greeter(), &words(line), &root()).unwrap().words
}

#[test]
fn names_match_whatever_their_case_and_hyphens() {
    for (line, expected) in [
        (&["call"][..], "Greeter.Call"),
        (&["CALL"], "Greeter.Call"),
        (&["Greeter.Call"], "Greeter.Call"),
        (&["greeter.call"], "Greeter.Call"),
        (&["greeter", "call"], "Greeter.Call"),
        (&["ping-pong"], "Greeter.PingPong"),
        (&["ping_pong"], "Greeter.PingPong"),
        (&["PingPong"], "Greeter.PingPong"),
        (&["pingpong"], "Greeter.PingPong"),
        (&["Greeter", "Ping-Pong"], "Greeter.PingPong"),
        (&["stream", "publish"], "Stream.Publish"),
        (&["Stream.Publish"], "Stream.Publish"),
        (&["publish"], "Stream.Publish"),
        (&["other", "status"], "Other.Status"),
    ] {
        assert_eq!(called(line), expected, "{line:?}");
    }
}

#[test]
fn hyphens_of_a_service_do_not_hide_its_handler() {
    let endpoints = ["FooBar.Call", "BarHandler.Method"];
    let endpoints = endpoints.map(|name| Endpoint { name: name.to_owned(), ..Endpoint::default() }).to_vec();
    let service =
        Schema::Whole(Service { name: "go.micro.foo-bar".to_owned(), endpoints, ..Service::default() });
    assert_eq!(call(&service, &["call"]).unwrap().0, "FooBar.Call");
    assert_eq!(call(&service, &["foo-bar", "call"]).unwrap().0, "FooBar.Call");
    assert_eq!(call(&service, &["bar-handler", "method"]).unwrap().0, "BarHandler.Method");
}

#[test]
fn a_name_typed_as_it_is_goes_before_one_that_folds_to_it() {
    let endpoints = ["Other.Call", "other_.Call", "other_.Only", "Lab.GetHTTP", "Lab.GetHttp"];
    let endpoints = endpoints.map(|name| Endpoint { name: name.to_owned(), ..Endpoint::default() }).to_vec();
    let service = Schema::Whole(Service { name: "lab".to_owned(), endpoints, ..Service::default() });
    for (line, expected) in [
        (&["other", "call"][..], "Other.Call"),
        (&["Other", "Call"], "Other.Call"),
        (&["Other.Call"], "Other.Call"),
        (&["other-", "call"], "other_.Call"),
        (&["other_", "call"], "other_.Call"),
        (&["other_.Call"], "other_.Call"),
        (&["other", "only"], "other_.Only"),
        (&["GetHTTP"], "Lab.GetHTTP"),
        (&["GetHttp"], "Lab.GetHttp"),
    ] {
        assert_eq!(call(&service, line).unwrap().0, expected, "{line:?}");
    }
    assert!(resolve(&service, &words(&["other-"]), &root()).unwrap().words.contains(&"other-".to_owned()));
}

#[test]
fn flags_without_a_method_call_call() {
    assert_eq!(called(&["--name=Jane"]), "Greeter.Call");
    assert_eq!(called(&["--name", "Jane", "--loud"]), "Greeter.Call");
    assert_eq!(called(&["-e", "prod", "--name=Jane"]), "Greeter.Call");
    let service = Schema::Whole(Service {
        name: "foo".to_owned(),
        endpoints: vec![Endpoint { name: "Foo.Get".to_owned(), ..Endpoint::default() }],
        ..Service::default()
    });
    let (message, hint) = refused(&service, &["--name=Jane"]);
    assert_eq!(message, "service `foo` has no `call`, so its method must be named");
    assert_eq!(hint, "`micro foo --help` lists its endpoints");
}

#[test]
fn a_service_or_a_handler_alone_asks_for_help() {
    assert_eq!(resolved(&[]), ["--help"]);
    assert_eq!(resolved(&["-e", "prod"]), ["-e", "prod", "--help"]);
    assert_eq!(resolved(&["stream"]), ["stream", "--help"]);
    assert_eq!(resolved(&["Greeter"]), ["--help"]);
    assert_eq!(resolved(&["--version"]), ["--version"]);
    assert_eq!(resolved(&["help"]), ["--help"]);
    assert_eq!(resolved(&["help", "PingPong"]), ["ping-pong", "--help"]);
    assert_eq!(resolved(&["publish", "--help"]), ["stream", "publish", "--help"]);
    assert_eq!(resolved(&["publish", "--help", "--unknown"]), ["stream", "publish", "--help"]);
    assert_eq!(resolved(&["--help", "--unknown"]), ["--help"]);
    let (message, _) = refused(&greeter(), &["stream", "--label=x"]);
    assert_eq!(message, "`stream` is a handler of service `greeter`, and its method is missing");
}

#[test]
fn global_flags_may_stand_anywhere() {
    assert_eq!(
        resolved(&[
            "-e",
            "prod",
            "call",
            "-qv",
            "--name",
            "Jane",
            "--output",
            "json",
            "--timeout=3s",
            "-nfoo",
            "--loud"
        ]),
        ["call", "-e", "prod", "-qv", "--name=Jane", "--output", "json", "--timeout=3s", "-nfoo", "--loud"],
    );
    assert_eq!(resolved(&["call", "-q", "--", "--x"]), ["call", "-q", "--", "--x"]);
}

#[test]
fn a_method_of_several_handlers_is_ambiguous() {
    let error = call(&greeter(), &["status"]).unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "{error:?}");
    assert_eq!(error.to_string(), "`status` is the name of several endpoints of service `greeter`");
    assert_eq!(error.hint(), Some("say `micro greeter stream status` or `micro greeter other status`"));
}

#[test]
fn an_unknown_endpoint_suggests_a_near_one() {
    for (line, message, hint) in [
        (&["pin-pong"][..], "pin-pong", "did you mean `micro greeter ping-pong`?"),
        (&["stream", "publsh"], "stream publsh", "did you mean `micro greeter stream publish`?"),
        (&["Greeter.Cal"], "Greeter.Cal", "did you mean `micro greeter call`?"),
        (&["explode"], "explode", "`micro greeter --help` lists its endpoints"),
    ] {
        let error = call(&greeter(), line).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("service `greeter` has no endpoint `{message}`"));
        assert_eq!(error.hint(), Some(hint));
    }
}

#[test]
fn an_unknown_flag_suggests_a_near_one() {
    let (message, hint) = refused(&greeter(), &["call", "--nmae=Jane"]);
    assert_eq!(message, "`micro greeter call` has no flag `--nmae`");
    assert_eq!(hint, "did you mean `--name`?");
    let service = service_with(vec![field("field", Kind::String, false)]);
    assert_eq!(refused(&service, &["call", "--=x"]).0, "`micro foo call` has no flag `--`");
    assert_eq!(refused(&service, &["call", "--.=x"]).0, "`micro foo call` has no flag `--.`");
    let (_, hint) = refused(&greeter(), &["call", "--address.zipp=1"]);
    assert_eq!(hint, "`micro greeter call --help` lists its flags");
    let (_, hint) = refused(&service_with(Vec::new()), &["call", "--name=Jane"]);
    assert_eq!(hint, "its fields are not known; give the request as JSON: micro foo call --json='{…}'");
}

#[test]
fn a_further_word_is_refused() {
    let (message, hint) = refused(&greeter(), &["call", "Jane"]);
    assert_eq!(message, "`micro greeter call` takes no further word, but found `Jane`");
    assert_eq!(hint, "fields are flags: micro greeter call --name=text");
}

#[test]
fn a_missing_value_is_a_usage_error_of_clap() {
    let error = parse(&greeter(), &["call", "--name"]).unwrap().1.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("a value is required for '--name <STRING>'"), "{error}");
}
