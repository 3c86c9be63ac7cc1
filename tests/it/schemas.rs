//! Descriptors that cannot be used: the service that has them is told why, and is called without.

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::support::Home;

#[test]
fn a_service_whose_descriptors_cannot_be_used_is_ready_without_them() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let service =
        ServiceDescriptorProto { name: Some("Lab".to_owned()), ..ServiceDescriptorProto::default() };
    let file = FileDescriptorProto {
        name: Some("lab.proto".to_owned()),
        syntax: Some("editions".to_owned()),
        service: vec![service],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let hash = hex::encode(sha2::Sha256::digest(&set));
    let registration = json!({
        "name": "lab", "version": "1", "nodes": [{"id": "1", "address": "127.0.0.1:1"}],
        "endpoints": [{"name": "Lab.Call"}], "options": {"ttl": "600"}, "descriptor_hash": hash,
    })
    .to_string();
    let register = || -> Value {
        serde_json::from_str(&home.ok(["call", "registry", "Registry.Register", &registration])).unwrap()
    };
    let ready = || {
        let text = home.ok(["get", "service", "lab", "-o", "json"]);
        let service: Value = serde_json::from_str(&text).unwrap();
        service.to_string().contains("\"ready\":true")
    };
    assert_eq!(register()["descriptors_needed"], json!(true));
    assert!(!ready());
    let said = home.fails(7, ["lab", "call"]);
    assert!(
        said.contains("service lab is registered but not ready") && !said.contains("Unrecognized"),
        "{said}"
    );
    std::fs::write(home.path().join("set"), &set).unwrap();
    let hash = format!("--descriptor_hash={hash}");
    let said = home.run(["registry", "describe", &hash, "--descriptor_set=@set"]);
    assert_eq!(said.code, Some(7), "{said:#?}");
    for part in ["`lab.proto` has the syntax `editions`", "write `syntax = \"proto3\";`"] {
        assert!(said.stderr.contains(part), "{part}: {said:#?}");
    }
    assert!(ready());
    let whys = || {
        let mut said = [home.ok(["get", "service", "lab"]), home.ok(["lab", "call", "--help"])].to_vec();
        said.push(home.fails(2, ["lab", "call", "--name=x"]));
        said
    };
    for said in whys() {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("`lab.proto` has the syntax `editions`"), "{said}");
    }
    // It is called without them, at a node that is not there.
    let said = home.run(["lab", "call", "--json={}"]);
    assert!(!said.stderr.contains("Unrecognized") && !said.stderr.contains("not ready"), "{said:#?}");
    // The registration is renewed as it was; what is known to be of no use is not asked for again.
    assert_eq!(register()["descriptors_needed"], json!(false));
    assert!(ready());
    assert!(whys().iter().all(|said| said.contains("editions")), "the reason stays");
    let log = std::fs::read_to_string(home.data().join("logs/server.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
