//! What may be registered and described, through the binary: too much of anything is refused before it is
//! dealt with, and nobody makes the others wait.

use micro_sdk::{
    prost::Message as _,
    prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet},
    proto::registry,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    go_service::{Door, node, shop},
    raw::{Raw, Reply, frame, soon},
    support::Home,
};

const PROTOBUF: &str = "application/grpc";
const JSON: &str = "application/grpc+json";

/// The proxy of a server and the header of an account.
struct Account<'a> {
    raw: &'a Raw,
    bearer: Option<String>,
}

impl Account<'_> {
    async fn send(&self, method: &str, message: &[u8]) -> Reply {
        let authorization = self.bearer.as_deref().map(|bearer| ("authorization", bearer));
        let path = format!("/registry.Registry/{method}");
        self.raw.body(&path, PROTOBUF, authorization.as_slice(), frame(message)).await
    }

    async fn describe(&self, hash: &str, set: &[u8]) -> (i32, i64, String) {
        let request = registry::DescribeRequest {
            descriptor_hash: hash.to_owned(),
            descriptor_set: set.to_vec(),
            ..registry::DescribeRequest::default()
        };
        let reply = self.send("Describe", &request.encode_to_vec()).await;
        let (status, code, detail) = reply.failure();
        (status, code, detail.to_owned())
    }
}

fn hash(set: &[u8]) -> String {
    Sha256::digest(set).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `shop`, which promises descriptors with this hash.
fn promising(hash: &str) -> Value {
    let mut service = shop("latest", "90", &[node("1", "127.0.0.1:1")]);
    service["descriptor_hash"] = json!(hash);
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_are_taken_only_from_who_has_promised_them_and_only_whole() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let made = json!({"id": "jane", "secret": "a long one", "scopes": []}).to_string();
    home.ok(["call", "auth", "Auth.Generate", &made]);
    let jane = json!({"id": "jane", "secret": "a long one"}).to_string();
    let jane = door.raw.json("/auth.Auth/Token", &jane).await.value();
    let jane = format!("Bearer {}", jane["token"]["access_token"].as_str().unwrap());
    let account = |bearer| Account { raw: &door.raw, bearer };
    let (nobody, jane, admin) = (account(None), account(Some(jane)), account(Some(door.bearer.clone())));

    let good = FileDescriptorSet {
        file: vec![FileDescriptorProto { name: Some("a.proto".into()), ..Default::default() }],
    }
    .encode_to_vec();
    assert_eq!(nobody.describe(&hash(&good), &good).await.1, 401);
    assert_eq!(jane.describe(&hash(&good), &good).await.1, 403);
    let (status, code, detail) = admin.describe(&hash(&good), &good).await;
    assert!((status, code) == (3, 400) && detail.contains("register it first"), "{code} {detail}");

    let promise = |hash: String| {
        let door = &door;
        async move { assert_eq!(door.registry("Register", &promising(&hash)).await.status, 0) }
    };
    promise(hash(&good)).await;
    assert_eq!(jane.describe(&hash(&good), &good).await.1, 403, "it is not hers");
    let (_, code, detail) = admin.describe(&hash(&good), b"other").await;
    assert!(code == 400 && detail.contains("have hash"), "{code} {detail}");
    for (bad, code, words) in [
        (b"\xff\xff\xff".to_vec(), 400, "descriptors"),
        (vec![0; (4 << 20) + 1], 413, "4194304"),
        (vec![0; 7 << 20], 413, "6291456"),
    ] {
        promise(hash(&bad)).await;
        let (_, found, detail) = admin.describe(&hash(&bad), &bad).await;
        assert!(found == code && detail.contains(words), "{found} {detail}");
    }
    // Small on the wire, and large in memory.
    let messages = vec![DescriptorProto::default(); 1 << 20];
    let file =
        FileDescriptorProto { name: Some("b.proto".into()), message_type: messages, ..Default::default() };
    let many = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    assert!(many.len() < 4 << 20);
    promise(hash(&many)).await;
    let (_, code, detail) = admin.describe(&hash(&many), &many).await;
    assert!(matches!(code, 400 | 413), "{code} {detail}");
    // What is whole is taken, and the service is ready.
    promise(hash(&good)).await;
    assert_eq!(admin.describe(&hash(&good), &good).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_of_a_namespace_have_a_limit_however_many_services_register_them() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let admin = Account { raw: &door.raw, bearer: Some(door.bearer.clone()) };
    let large = |number: usize| {
        let name = format!("{number:02}{}", "a".repeat((4 << 20) - 100));
        let file = FileDescriptorProto { name: Some(name), ..Default::default() };
        FileDescriptorSet { file: vec![file] }.encode_to_vec()
    };
    let register = |number: usize, hash: &str| {
        let mut service = promising(hash);
        service["name"] = json!(format!("service{number}"));
        let door = &door;
        async move { door.registry("Register", &service).await }
    };
    let (mut stored, mut refused) = (Vec::new(), None);
    for number in 0..40 {
        let set = large(number);
        let hash = hash(&set);
        assert_eq!(register(number, &hash).await.status, 0);
        match admin.describe(&hash, &set).await {
            (0, ..) => stored.push(hash),
            (_, code, detail) => refused = refused.or(Some((number, hash, code, detail))),
        }
    }
    let (number, again, code, detail) = refused.expect("nothing was refused");
    assert!((28..=32).contains(&stored.len()), "{}", stored.len());
    assert!(
        code == 507 && detail.contains("namespace micro") && detail.contains("stop a service"),
        "{detail}"
    );
    // What another one has stored already is refused in the same way, and what is there goes on.
    assert_eq!(register(0, &stored[0]).await.status, 0);
    // A service that goes makes room.
    let mut gone = promising(&stored[0]);
    gone["name"] = json!("service0");
    assert_eq!(door.registry("Deregister", &gone).await.status, 0);
    let (status, code, detail) = admin.describe(&again, &large(number)).await;
    assert_eq!((status, code), (0, 0), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_has_limits_in_every_direction() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let admin = Account { raw: &door.raw, bearer: Some(door.bearer.clone()) };
    let with_nodes = |count: usize| {
        let node = |id: usize| registry::Node {
            id: id.to_string(),
            address: "127.0.0.1:1".into(),
            ..Default::default()
        };
        let nodes = (0..count).map(node).collect();
        registry::Service { name: "shop".into(), nodes, ..registry::Service::default() }
    };
    let many = with_nodes(100_000).encode_to_vec();
    let reply = admin.send("Register", &many).await;
    assert_eq!((reply.failure().0, reply.failure().1), (8, 413), "{reply:?}");
    assert!(reply.failure().2.contains("262144 bytes"), "{reply:?}");
    let reply = admin.send("Register", &with_nodes(257).encode_to_vec()).await;
    assert!(reply.failure().1 == 413 && reply.failure().2.contains("257 nodes"), "{reply:?}");
    let mut long = with_nodes(1);
    long.version = "v".repeat(256);
    assert_eq!(admin.send("Register", &long.encode_to_vec()).await.failure().1, 400);
    let mut wide = with_nodes(1);
    wide.metadata.insert("k".into(), "v".repeat(5000));
    assert_eq!(admin.send("Register", &wide.encode_to_vec()).await.failure().1, 413);
    assert_eq!(admin.send("Register", &with_nodes(256).encode_to_vec()).await.status, 0);
    // Nor is there more than that of all together.
    let mut more = with_nodes(1);
    more.nodes[0].id = "another".into();
    let reply = admin.send("Register", &more.encode_to_vec()).await;
    assert_eq!(reply.failure().1, 507, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_nothing_is_told_what_it_missed_and_keeps_nobody_waiting() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    // It has a connection of its own, as a program that hangs has.
    let idle = Raw::connect(&home.state().network).await;
    let request = frame(json!({"service": "shop"}).to_string().as_bytes());
    let headers = [("authorization", &*door.bearer)];
    let mut stalled = idle.start("/registry.Registry/Watch", JSON, &headers, request.clone()).await;
    let endpoints: Vec<Value> =
        (0..1000).map(|number| json!({"name": format!("Shop.{}{number}", "X".repeat(150))})).collect();
    let update = |version: usize| {
        let mut service = shop("latest", "90", &[node("1", "127.0.0.1:1")]);
        service["endpoints"] = json!(endpoints);
        service["metadata"] = json!({"update": version.to_string()});
        service
    };
    for version in 0..120 {
        door.register(&update(version)).await;
    }
    // Who reads meanwhile gets on.
    let mut reading = door.raw.start("/registry.Registry/Watch", JSON, &headers, request).await;
    door.register(&update(1000)).await;
    let change = soon("a change", reading.value()).await;
    assert_eq!(change["service"]["metadata"]["update"], "1000");
    stalled.close();
    let end = stalled.end().await;
    assert!(end.messages.len() < 120, "{} changes were kept", end.messages.len());
    assert!(
        (end.failure().0, end.failure().1) == (14, 503) && end.failure().2.contains("were missed"),
        "{end:?}"
    );
}
