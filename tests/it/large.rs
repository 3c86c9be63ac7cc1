//! A service with many methods and hundreds of messages: what a line does not name costs nothing, and help stays
//! readable.

use std::fmt::Write as _;

use serde_json::json;
use sha2::Digest as _;

use crate::{
    completion::candidates,
    go_service::Node,
    support::{Home, eventually, http},
};

/// How many methods it has, each with messages of its own.
const METHODS: usize = 37;

/// The descriptors of `container`, a service with one handler of another name. Its messages hold each other.
fn descriptors(folder: &std::path::Path) -> Vec<u8> {
    let mut source =
        "syntax = \"proto3\";\npackage container;\n\n// Manages clusters.\nservice ClusterManager {\n"
            .to_owned();
    for method in 0..METHODS {
        writeln!(
            source,
            "  // Does what number {method} does.\n  rpc Do{method}(M{method}x0) returns (M{method}x1);"
        )
        .unwrap();
    }
    source.push_str("}\n");
    for method in 0..METHODS {
        for message in 0..13 {
            writeln!(source, "// A message.\nmessage M{method}x{message} {{\n  string name = 1;").unwrap();
            for field in 2..12 {
                let kind = format!("M{method}x{}", (message + field) % 13);
                writeln!(source, "  // {}\n  {kind} part{field} = {field};", "What it is for. ".repeat(8))
                    .unwrap();
            }
            source.push_str("}\n");
        }
    }
    std::fs::write(folder.join("container.proto"), source).unwrap();
    let mut compiler = protox::Compiler::new([folder]).unwrap();
    compiler.include_imports(true).include_source_info(true).open_file("container.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_api_is_called_shown_and_completed_by_what_a_line_names() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let set = descriptors(home.path());
    assert!(set.len() > 500_000, "{}", set.len());
    let node = Node::start("container").await;
    register(&home, &set, &node);

    for words in [
        &["container", "do7", "--name=Jane", "--part2.part3.name=x", "-o", "raw"][..],
        &[
            "call",
            "container",
            "ClusterManager.Do7",
            r#"{"name":"Jane","part2":{"part3":{"name":"x"}}}"#,
            "-o",
            "raw",
        ],
    ] {
        assert_eq!(home.ok(words).trim_end(), r#"{"name":"Jane","part2":{"name":"","part3":{"name":"x"}}}"#);
    }
    let body = r#"{"name":"Jane"}"#;
    let (status, answer) = http(&home.state().api, "POST", "/container/ClusterManager/Do36", &[], body);
    assert_eq!((status, answer.trim_end()), (200, body));
    assert_eq!(node.calls(), 3);

    let help = home.ok(["container", "--help"]);
    assert!(help.contains("Manages clusters") && help.contains("\n  do36 "), "{help}");
    let help = home.ok(["container", "do7", "--help"]);
    assert!(help.lines().count() < 60, "{help}");
    for part in ["--part2 <JSON>", "`--part2.name`", "`--help=all` lists", "Does what number 7 does"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    let all = home.ok(["container", "do7", "--help=all"]);
    assert!(all.lines().count() > 100 && all.contains("--part2.name <STRING>"));
    let said = home.fails(2, ["container", "do7", "--part2.part3.nme=x"]);
    assert!(said.contains("`--part2.part3.name`"), "{said}");

    for (words, expected) in [
        (&["micro", "container", "do1"][..], "do10"),
        (&["micro", "container", "do7", "--na"], "--name"),
        (&["micro", "container", "do7", "--part2.part3.na"], "--part2.part3.name"),
    ] {
        eventually("completion to answer in time", || {
            candidates(&home, words).iter().any(|candidate| candidate == expected).then_some(())
        });
    }
}

/// Registers it with these descriptors.
fn register(home: &Home, set: &[u8], node: &Node) {
    let hash = hex::encode(sha2::Sha256::digest(set));
    let endpoints: Vec<_> =
        (0..METHODS).map(|method| json!({"name": format!("ClusterManager.Do{method}")})).collect();
    let service = json!({
        "name": "container", "version": "1", "nodes": [node.wire("container-1")],
        "endpoints": endpoints, "options": {"ttl": "600"}, "descriptor_hash": hash,
    });
    home.ok(["call", "registry", "Registry.Register", &service.to_string()]);
    std::fs::write(home.path().join("set"), set).unwrap();
    let hash = format!("--descriptor_hash={hash}");
    home.ok(["registry", "describe", &hash, "--descriptor_set=@set"]);
}
