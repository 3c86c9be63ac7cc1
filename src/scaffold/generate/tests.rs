//! What comes of .proto files: code, or an error with its place. That the code compiles is tested
//! where a service is built, `tests/it/typed`.

use proptest::prelude::*;

use super::*;

/// A project with these files below `proto/`.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join("proto").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// A project with one file `a.proto` of the package `a`.
fn of(declarations: &str) -> tempfile::TempDir {
    project(&[("a.proto", &format!("syntax = \"proto3\";\npackage a;\n{declarations}"))])
}

fn code(project: &tempfile::TempDir, file: &str) -> String {
    generate(project.path()).unwrap();
    fs::read_to_string(project.path().join("src/proto").join(file)).unwrap()
}

fn refused(project: &tempfile::TempDir) -> String {
    format!("{:#}", generate(project.path()).unwrap_err())
}

#[test]
fn a_second_run_changes_nothing() {
    let project = of("message M { string s = 1; }");
    assert_eq!(generate(project.path()).unwrap().len(), 3);
    assert!(is_generated(project.path()));
    assert!(generate(project.path()).unwrap().is_empty());
}

#[test]
fn an_error_shows_its_place() {
    assert_eq!(refused(&of("message M { strin s = 1; }")), "proto/a.proto:3:13: name 'strin' is not defined");
    let two =
        [("a.proto", "syntax = \"proto3\"; package a; import \"b/b.proto\";"), ("b/b.proto", "package ;")];
    assert!(refused(&project(&two)).starts_with("proto/b/b.proto:1:9: "));
    assert!(refused(&project(&[("a.proto", "edition = \"2023\";")])).starts_with("proto/a.proto:1:1: "));
}

#[test]
fn a_file_without_a_package_is_refused_with_the_remedy() {
    let error = refused(&project(&[("a.proto", "syntax = \"proto3\"; message M { string s = 1; }")]));
    assert!(error.starts_with("proto/a.proto") && error.contains("package helloworld;"), "{error}");
}

#[test]
fn a_missing_import_is_told_where_to_lie() {
    let import = |name: &str| format!("syntax = \"proto3\";\npackage a;\nimport \"{name}\";");
    assert_eq!(
        refused(&project(&[("a.proto", &import("money.proto"))])),
        "proto/a.proto:3:1: import 'money.proto' not found; put the file at `proto/money.proto`"
    );
    let error = refused(&project(&[
        ("a.proto", &import("money.proto")),
        ("common/money.proto", "syntax = \"proto3\"; package common;"),
    ]));
    assert!(error.contains("write `import \"common/money.proto\";`"), "{error}");
    let error = refused(&project(&[("a.proto", &import("google/api/annotations.proto"))]));
    assert!(error.contains("put the file at `proto/google/api/annotations.proto`"), "{error}");
    assert!(error.contains("https://github.com/googleapis/googleapis"), "{error}");
}

#[test]
fn of_the_files_of_google_only_those_that_are_imported_are_compiled() {
    let project = project(&[
        (
            "a.proto",
            "syntax = \"proto3\"; package a; import \"google/type/date.proto\"; message M { google.type.Date on = 1; }",
        ),
        ("google/type/date.proto", "syntax = \"proto3\"; package google.type; message Date {}"),
        (
            "google/api/log.proto",
            "syntax = \"proto3\"; package google.api; import \"google/logging/entry.proto\";",
        ),
    ]);
    assert!(code(&project, "google.type.rs").contains("pub struct Date"));
}

#[test]
fn well_known_types_are_those_of_the_sdk() {
    let project = of("import \"google/protobuf/timestamp.proto\";
        import \"google/protobuf/wrappers.proto\";
        import \"google/protobuf/descriptor.proto\";
        message M { google.protobuf.Timestamp at = 1; google.protobuf.StringValue name = 2;
          google.protobuf.FieldDescriptorProto.Type type = 3; google.protobuf.FileDescriptorProto file = 4; }");
    let code = code(&project, "a.rs");
    for expected in [
        "pub at: ::core::option::Option<::micro_sdk::prost_types::Timestamp>",
        "pub name: ::core::option::Option<::micro_sdk::prost::alloc::string::String>",
        "::micro_sdk::prost_types::field_descriptor_proto::Type",
        "::micro_sdk::prost_types::FileDescriptorProto",
    ] {
        assert!(code.contains(expected), "{expected} is missing in {code}");
    }
    let files = fs::read_dir(project.path().join("src/proto")).unwrap().count();
    assert_eq!(files, 3, "nothing of google.protobuf is generated");
}

#[test]
fn what_the_sdk_lacks_of_descriptor_proto_is_generated() {
    let project = of("import \"google/protobuf/descriptor.proto\";
        message M { google.protobuf.FeatureSet features = 1; google.protobuf.Edition edition = 2; }");
    let code = code(&project, "a.rs");
    assert!(code.contains("super::google::protobuf::FeatureSet"), "{code}");
    assert!(project.path().join("src/proto/google.protobuf.rs").exists());
}

#[test]
fn names_that_are_one_in_rust_are_refused_with_both_places() {
    for (declarations, name) in [
        ("message FooBar {}\nmessage foo_bar {}", "`FooBar`"),
        ("enum E { A = 0; }\nmessage e {}", "`E`"),
        ("message M {\n  string Foo = 1; oneof foo { string bar = 2; } }", "`foo`"),
        ("message M {\n  oneof foo { string bar = 2; } oneof Foo { string baz = 3; } }", "`foo`"),
        ("enum E { X = 0;\n  E_X = 1; }", "`X`"),
        ("enum K { Z = 0; }\nmessage M { K kind = 1; K set_kind = 2; }", "`set_kind`"),
        ("message M {}\nservice S { rpc GetIt(M) returns (M); rpc get_it(M) returns (M); }", "`get_it`"),
        ("message M {\n  message _1 { message N {} } }", "`_1`"),
    ] {
        let error = refused(&of(declarations));
        assert!(error.starts_with("proto/a.proto:"), "{declarations}: {error}");
        assert!(error.contains(&format!("are both {name} in Rust")), "{declarations}: {error}");
    }
    // The compiler of protobuf refuses it itself in files of version 3.
    let old = "syntax = \"proto2\"; package a; message M { optional string fooBAR = 1; optional string foo_bar = 2; }";
    assert!(refused(&project(&[("a.proto", old)])).contains("are both `foo_bar` in Rust"));
    let error = refused(&project(&[
        ("a.proto", "syntax = \"proto3\"; package a; message Foo { message Bar {} }"),
        ("b.proto", "syntax = \"proto3\"; package a.foo; message Baz {}"),
    ]));
    assert!(error.contains("package a.foo") && error.contains("are both `foo` in Rust"), "{error}");
    for declarations in ["message _ {}", "message M { string __ = 1; }", "enum E { _ = 0; }", "service _ {}"]
    {
        let error = refused(&of(declarations));
        assert!(error.contains("has no letter or digit"), "{declarations}: {error}");
    }
    let error = refused(&of("enum K { Z = 0; } message M { map<string, K> type = 1; }"));
    assert!(error.contains("is a word of Rust"), "{error}");
}

#[test]
fn what_is_generated_gives_way_to_what_is_declared() {
    let project = of("message shop {} message ShopServer {} message ShopClient {} message ShopClient_ {}");
    assert!(refused(&project).contains("are both `ShopClient` in Rust"));
    let project = of("message M {} message shop {} message ShopClient {}
        service Shop { rpc New(M) returns (M); rpc Clone(M) returns (M); } service Nothing {}");
    let code = code(&project, "a.rs");
    for expected in ["pub trait Shop_:", "pub struct ShopServer<T_>", "pub struct ShopClient_(", "fn new_("] {
        assert!(code.contains(expected), "{expected} is missing in {code}");
    }
}

#[test]
fn each_kind_of_method_has_its_form() {
    let project = project(&[(
        "a.proto",
        "syntax = \"proto3\"; package a.b; message M {} service S {
           // Says something.
           rpc One(M) returns (M); rpc Down(M) returns (stream M);
           rpc Up(stream M) returns (M); rpc Both(stream M) returns (stream M); }",
    )]);
    let code = code(&project, "a.b.rs");
    for part in [
        "Says something.",
        ".unary(",
        ".server_stream(",
        ".client_stream(",
        ".stream(",
        "super::super::DESCRIPTORS",
    ] {
        assert!(code.contains(part), "{part} is missing in {code}");
    }
    let index = fs::read_to_string(project.path().join("src/proto/mod.rs")).unwrap();
    assert!(index.contains("pub mod a {"), "{index}");
}

#[test]
fn a_panic_becomes_an_error_that_names_the_file() {
    let error = contained(|working_on| {
        working_on("proto/b.proto");
        panic!("nobody thought of it")
    });
    assert_eq!(error.unwrap_err().to_string(), "`proto/b.proto` cannot be compiled: nobody thought of it");
}

#[test]
fn what_goes_deep_ends_in_an_error_or_in_code() {
    let nested = format!("{}{}", "message M {".repeat(5000), "}".repeat(5000));
    assert!(refused(&of(&nested)).contains("proto/a.proto:"));
    let value = format!("{}{}", "{a:".repeat(5000), "}".repeat(5000));
    refused(&of(&format!("option (x) = {value};")));
    let chain: String = (0..200).map(|n| format!("message M{n} {{ M{} m = 1; }}\n", n + 1)).collect();
    code(&of(&format!("{chain}message M200 {{}}")), "a.rs");
}

/// Text that is nearly a .proto file.
fn nearly() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "message",
        "enum",
        "service",
        "rpc",
        "oneof",
        "optional",
        "repeated",
        "map<string, M>",
        "returns",
        "stream",
        "reserved",
        "extensions",
        "extend",
        "option",
        "import",
        "public",
        "package",
        "group",
        "string",
        "M",
        "type",
        "Self",
        "_",
        "a.b",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "=",
        ";",
        "<",
        ">",
        ",",
        ".",
        "0",
        "1",
        "-1",
        "536870912",
        "1.5e400",
        "nan",
        "\"\\x\"",
        "\"\\400\"",
        "'\u{202e}'",
        "\"",
        "/*",
        "//",
        "default",
        "deprecated = true",
        "packed",
        "json_name",
        "max",
        "to",
        "\n",
        "M m = 1;",
        "message M {",
        "enum E { A = 0;",
        "service S {",
        "rpc A(M) returns (M);",
        "oneof o {",
        "optional bytes b = 2 [default = \"\\",
    ]);
    (any::<bool>(), prop::collection::vec(word, 0..40)).prop_map(|(proto3, words)| {
        let syntax = if proto3 { "proto3" } else { "proto2" };
        format!("syntax = \"{syntax}\"; package a; message M {{}} {}", words.join(" "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_text_makes_it_panic(text in nearly()) {
        let project = project(&[("a.proto", &text)]);
        if let Err(error) = generate(project.path()) {
            let error = format!("{error:#}");
            prop_assert!(!error.contains("cannot be compiled") && !error.contains("can be generated"), "{error}");
        }
    }
}
