//! What comes of .proto files: code, or an error with its place. That the code compiles is tested
//! where a service is built, `tests/it/typed`.

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

mod foreign;
mod options;

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
    assert_eq!(
        refused(&of("message M { map<string, inu64> m = 1; }")),
        "proto/a.proto:3:25: name 'inu64' is not defined"
    );
    let two =
        [("a.proto", "syntax = \"proto3\"; package a; import \"b/b.proto\";"), ("b/b.proto", "package ;")];
    assert!(refused(&project(&two)).starts_with("proto/b/b.proto:1:9: "));
    let error = refused(&project(&[("a.proto", "// New.\nedition = \"2023\";")]));
    assert_eq!(
        error,
        "proto/a.proto:2:1: editions of protobuf are not supported; write `syntax = \"proto3\";` instead"
    );
    let circle = |other: &str| format!("syntax = \"proto3\";\npackage a;\n\nimport \"{other}\";");
    let error = refused(&project(&[("a.proto", &circle("b.proto")), ("b.proto", &circle("a.proto"))]));
    assert_eq!(error, "proto/b.proto:4:1: import cycle detected: a.proto -> b.proto -> a.proto");
}

#[test]
fn an_error_without_a_place_of_its_own_shows_where_the_file_ends_or_is_no_text() {
    assert_eq!(
        refused(&of("message M {\n  string s = 1;\n\n")),
        "proto/a.proto:4:16: expected a message field, oneof, reserved range, enum, message, option or '}', but reached end of file"
    );
    let project = of("message M {}");
    fs::write(project.path().join("proto/a.proto"), b"syntax = \"proto3\";\n// \xff").unwrap();
    assert_eq!(refused(&project), "proto/a.proto:2:4: file 'a.proto' is not valid utf-8");
    let twice = "syntax = \"proto3\"; package a; package b;";
    let error = refused(&self::project(&[("a.proto", twice)]));
    assert!(error.starts_with("proto/a.proto: "), "{error}");
}

#[test]
fn a_mark_before_the_text_is_skipped() {
    let project = project(&[("a.proto", "\u{feff}syntax = \"proto3\"; package a; message M {}")]);
    assert!(code(&project, "a.rs").contains("pub struct M"));
}

#[test]
fn errors_that_help_nobody_are_put_in_other_words() {
    for (declarations, expected) in [
        ("message M { string s = 1; string s = 2; }", "the field `s` is declared twice"),
        ("message M { string ab = 1; string a_b = 2; }", "the fields `ab` and `a_b` differ only in case"),
        ("message M { string _ = 1; string __ = 2; }", "have no letter or digit: rename them"),
        (
            "message M { google.protobuf.Timestamp at = 1; }",
            "write `import \"google/protobuf/timestamp.proto\";`",
        ),
        ("message M { google.protobuf.Struct s = 1; }", "write `import \"google/protobuf/struct.proto\";`"),
    ] {
        let error = refused(&of(declarations));
        assert!(error.starts_with("proto/a.proto:3:") && error.contains(expected), "{declarations}: {error}");
    }
    let other = ("b/money.proto", "syntax = \"proto3\"; package b; message Money {}");
    let user = ("a.proto", "syntax = \"proto3\"; package a; message M { b.Money of = 1; }");
    assert!(refused(&project(&[user, other])).contains("write `import \"b/money.proto\";`"));
    let copy = (
        "third_party/google/protobuf/timestamp.proto",
        "syntax = \"proto3\"; package google.protobuf; message Timestamp {}",
    );
    let user = (
        "a.proto",
        "syntax = \"proto3\"; package a; import \"google/protobuf/timestamp.proto\";
         message M { google.protobuf.Timestamp at = 1; }",
    );
    let error = refused(&project(&[user, copy]));
    assert!(error.contains("delete `proto/third_party/google/protobuf/timestamp.proto`"), "{error}");
}

#[test]
fn the_package_of_protobuf_itself_is_refused() {
    let mine = ("mine.proto", "syntax = \"proto3\";\npackage google.protobuf; message Mine {}");
    let error = refused(&project(&[mine]));
    assert!(error.starts_with("proto/mine.proto:2:1: the package `google.protobuf` is that of"), "{error}");
}

#[test]
fn what_is_no_file_is_refused_and_not_read() {
    let project = of("message M {}");
    let pipe = project.path().join("proto/pipe.proto");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let error = refused(&project);
    assert!(error.contains("proto/pipe.proto` is no file that can be read"), "{error}");
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
        "proto/a.proto:3:1: import 'money.proto' not found; put the file at `proto/money.proto`, \
         or name its folder in `include` of `[package.metadata.micro]` in Cargo.toml"
    );
    let error = refused(&project(&[
        ("a.proto", &import("money.proto")),
        ("common/money.proto", "syntax = \"proto3\"; package common;"),
    ]));
    assert!(error.contains("write `import \"common/money.proto\";`"), "{error}");
    for (name, better) in [
        ("./b.proto", "b.proto"),
        ("../proto/b.proto", "b.proto"),
        ("/etc/x.proto", "etc/x.proto"),
        ("x//b.proto", "x/b.proto"),
        ("x\\\\b.proto", "x/b.proto"),
    ] {
        let error = refused(&project(&[("a.proto", &import(name))]));
        assert_eq!(
            error,
            format!(
                "proto/a.proto:3:8: imports are named from `proto/` on, without `.`, `..`, `//` or `\\`: write `import \"{better}\";`"
            )
        );
    }
    let error = refused(&project(&[("a.proto", &import("google/protobuf/timestmp.proto"))]));
    assert!(error.ends_with("; did you mean `google/protobuf/timestamp.proto`?"), "{error}");
    let error = refused(&project(&[("a.proto", &import("buf/validate/validate.proto"))]));
    assert!(error.contains("https://github.com/bufbuild/protovalidate"), "{error}");
    let error = refused(&project(&[("a.proto", &import("google/api/annotations.proto"))]));
    assert!(error.contains("put the file at `proto/google/api/annotations.proto`"), "{error}");
    assert!(error.contains("https://github.com/googleapis/googleapis"), "{error}");
}

#[test]
fn an_import_that_no_file_can_have_is_told_with_its_place() {
    let project = of(&format!("import \"{}\";", "x".repeat(300)));
    let error = refused(&project);
    assert!(error.starts_with("proto/a.proto:3:1: import 'xxx") && error.contains("not found"), "{error}");
}

#[test]
fn of_the_files_of_libraries_only_those_that_are_imported_are_compiled() {
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
        (
            "gogoproto/gogo.proto",
            "syntax = \"proto2\"; package gogoproto; import \"github.com/missing.proto\";",
        ),
    ]);
    assert!(code(&project, "google.type.rs").contains("pub struct Date"));
}

#[test]
fn well_known_types_are_those_of_the_sdk() {
    let project = of("import \"google/protobuf/timestamp.proto\";
        import \"google/protobuf/wrappers.proto\";
        message M { google.protobuf.Timestamp at = 1; google.protobuf.StringValue name = 2; }");
    let code = code(&project, "a.rs");
    for expected in [
        "pub at: ::core::option::Option<::micro_sdk::prost_types::Timestamp>",
        "pub name: ::core::option::Option<::micro_sdk::prost::alloc::string::String>",
    ] {
        assert!(code.contains(expected), "{expected} is missing in {code}");
    }
    let files = fs::read_dir(project.path().join("src/proto")).unwrap().count();
    assert_eq!(files, 3, "nothing of google.protobuf is generated");
}

#[test]
fn the_messages_of_descriptors_are_generated_with_all_they_have_by_now() {
    let project = of("import \"google/protobuf/descriptor.proto\";
        message M { google.protobuf.FeatureSet features = 1; google.protobuf.FieldOptions.EditionDefault edition = 2;
          google.protobuf.FieldDescriptorProto.Type type = 3; google.protobuf.FileDescriptorProto file = 4; }");
    let own = code(&project, "a.rs");
    for expected in
        ["FeatureSet", "field_options::EditionDefault", "field_descriptor_proto::Type", "FileDescriptorProto"]
    {
        assert!(
            own.contains(&format!("super::google::protobuf::{expected}")),
            "{expected} is missing in {own}"
        );
    }
    let generated = code(&project, "google.protobuf.rs");
    for expected in ["pub edition: ", "pub features: ", "pub retention: "] {
        assert!(generated.contains(expected), "{expected} is missing in {generated}");
    }
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
        ("enum K { Z = 0; }\nmessage M { K kind = 1; optional string set_kind = 2; }", "`set_kind`"),
        ("enum K { Z = 0; }\nmessage M { repeated K k = 1; optional bool push_k = 2; }", "`push_k`"),
        (
            "enum K { Z = 0; }\nmessage M { map<string, K> type = 1; K get_type_ = 2; map<string, K> k = 3; K get_k = 4; }",
            "`get_k`",
        ),
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
}

#[test]
fn names_are_refused_only_where_functions_of_both_are_generated() {
    let project = of("enum K { Z = 0; }
        message M { K kind = 1; string set_kind = 2; repeated K list = 3; string push_list = 4;
          map<string, K> type = 5; string get_type = 6; bytes insert_type = 7; }
        service Self { rpc Call(M) returns (M); }");
    let code = code(&project, "a.rs");
    for expected in
        ["pub set_kind:", "pub push_list:", "pub type_:", "pub trait Self_:", "pub struct SelfServer<"]
    {
        assert!(code.contains(expected), "{expected} is missing in {code}");
    }
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

#[test]
fn messages_too_deep_for_rustc_are_refused_until_it_is_told() {
    // The depths are those that `tests/it/typed` compiles, and one more.
    for (field, most) in [("M", 47), ("repeated M", 23), ("map<string, M", 19)] {
        let end = if field.starts_with("map") { ">" } else { "" };
        let deep = |depth: usize| {
            let held = |n: usize| format!("message M{n} {{ {field}{}{end} m = 1; }}\n", n + 1);
            let chain: String = (0..depth).map(held).collect();
            of(&format!("{chain}message M{depth} {{}}\nservice S {{ rpc Call(M0) returns (M{depth}); }}"))
        };
        code(&deep(most), "a.rs");
        let project = deep(most + 1);
        let error = refused(&project);
        assert!(error.contains("below `a.M0` hold each other deeper"), "{field}: {error}");
        assert!(error.starts_with(&format!("proto/a.proto:{}:13: ", most + 5)), "{field}: {error}");
        fs::create_dir_all(project.path().join("src")).unwrap();
        fs::write(project.path().join("src/main.rs"), "#![recursion_limit = \"1024\"]\n").unwrap();
        code(&project, "a.rs");
    }
    let ring = |n: usize| format!("message M{n} {{ M{} next = 1; M0 first = 2; }}\n", (n + 1) % 60);
    let ring: String = (0..60).map(ring).collect();
    assert!(refused(&of(&format!("{ring}service S {{ rpc Call(M0) returns (M0); }}"))).contains("deeper"));
    let star: String = (1..60).map(|n| format!("message M{n} {{ M0 m = 1; }}\n")).collect();
    let fields: String = (1..60).map(|n| format!("M{n} f{n} = {n}; ")).collect();
    code(&of(&format!("{star}message M0 {{ {fields} }} service S {{ rpc Call(M0) returns (M0); }}")), "a.rs");
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
