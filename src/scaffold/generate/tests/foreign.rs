//! Clients that are made of the descriptors of a service elsewhere.

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::*;

/// The descriptors of one file, as a service registers them.
fn registered(name: &str, text: &str) -> Vec<u8> {
    let folder = project(&[(name, text)]);
    let mut compiler = protox::Compiler::new([folder.path().join("proto")]).unwrap();
    compiler.include_imports(true).open_file(name).unwrap();
    compiler.encode_file_descriptor_set()
}

fn fetch(project: &tempfile::TempDir, service: &str, set: &[u8]) -> Result<Vec<PathBuf>, String> {
    let fetched = fetched(service, &["S"].into(), set).map_err(|error| format!("{error:#}"))?;
    generate_with(project.path(), &[fetched]).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_cannot_be_generated_is_not_kept() {
    let project = of("message M {}");
    generate(project.path()).unwrap();
    let foreign = registered(
        "other.proto",
        "syntax = \"proto3\"; package a; message M {} service S { rpc Call(M) returns (M); }",
    );
    let error = fetch(&project, "other", &foreign).unwrap_err();
    assert!(
        error.contains("other.binpb: other.proto") && error.contains("remove yours or what was fetched"),
        "{error}"
    );
    let mut edition = FileDescriptorSet::decode(foreign.as_slice()).unwrap();
    edition.file[0].syntax = Some("editions".to_owned());
    let error = fetch(&project, "other", &edition.encode_to_vec()).unwrap_err();
    assert!(error.contains("other.proto: editions of protobuf are not supported"), "{error}");
    assert!(!project.path().join("proto/other.binpb").exists());
    assert!(generate(project.path()).unwrap().is_empty());
}

#[test]
fn a_client_is_generated_whatever_names_the_other_side_has() {
    let project = of("message M {}");
    let nameless = registered(
        "a.proto",
        "syntax = \"proto3\"; enum E { X = 0; E_X = 1; E_ = 2; }
         message M { E kind = 1; E set_kind = 2; oneof Kind { string one = 4; } string ___ = 5; }
         service S { rpc GetHTTP(M) returns (M); rpc GetHttp(M) returns (M); rpc new(M) returns (stream M); }",
    );
    let changed = fetch(&project, "shop.of-a", &nameless).unwrap();
    assert!(changed.contains(&project.path().join("proto/shop.of-a.binpb")), "{changed:?}");
    let code = code(&project, "shop_of_a.rs");
    for expected in [
        "pub struct SClient(",
        "fn get_http(",
        "fn get_http_(",
        "fn new_(",
        "\"S.GetHTTP\"",
        "\"S.GetHttp\"",
        "pub set_kind_2:",
        "pub kind_2: ::core::option::Option<m::Kind2>",
        "pub unnamed_2:",
        "pub enum E {\n    X = 0,\n    X2 = 1,",
    ] {
        assert!(code.contains(expected), "{expected} is missing in {code}");
    }
    // The same name of a file stands for another one elsewhere.
    let same_name = "syntax = \"proto3\"; package b; message M {} service S { rpc Call(M) returns (M); }";
    fetch(&project, "b", &registered("a.proto", same_name)).unwrap();
    fetch(&project, "shop.of-a", &nameless).unwrap();
}
