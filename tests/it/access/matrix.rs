//! Every method, at every door, for every kind of caller: the decision is the one in the table, and
//! the same everywhere; and nothing of a namespace is seen or changed from another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::{
    doors::{CANARY, Door, Doors},
    methods::{BY_SOCKET, Caller, METHODS, Method},
};
use crate::support::{Home, eventually};

/// The key of what is kept in the namespace `shop`.
const KEY: &str = "kept";

/// A server with something in the namespace `shop`, and somebody of each kind.
struct Shop {
    doors: Doors,
    /// What each caller sends as `authorization`.
    callers: Vec<(Caller, Option<String>)>,
    _pulse: Pulse,
    _home: Home,
}

/// Registers a service over and over, for those who watch. Ends with this.
struct Pulse(AbortHandle);

impl Drop for Pulse {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pulse {
    async fn begin(home: &Home) -> Self {
        let doors = Doors::open(home).await;
        let beating = async move {
            for number in 0.. {
                register(&doors, "pulse", number).await;
                // As often as somebody who waits for it would like, and no more.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Self(tokio::spawn(beating).abort_handle())
    }
}

async fn register(doors: &Doors, name: &str, number: u32) {
    let node = json!({"id": "1", "address": "127.0.0.1:1"});
    let metadata = json!({"word": CANARY, "number": number.to_string()});
    let service = json!({"name": name, "metadata": metadata, "nodes": [node], "options": {"domain": "shop"}});
    doors.own("registry.Registry.Register", &service).await;
}

/// Puts the canary into all that a namespace can hold.
async fn fill(home: &Home, doors: &Doors) {
    let (shop, secret) = (json!({"namespace": "shop"}), STANDARD.encode(CANARY));
    let record = json!({"key": KEY, "value": secret});
    doors.own("store.Store.Write", &json!({"record": record, "options": {"database": "shop"}})).await;
    for (key, table) in [(CANARY, "micro"), (KEY, CANARY)] {
        let options = json!({"database": "shop", "table": table});
        doors.own("store.Store.Write", &json!({"record": {"key": key}, "options": options})).await;
    }
    for key in [KEY, CANARY] {
        doors.own("store.BlobStore.Write", &json!({"key": key, "blob": secret, "options": shop})).await;
    }
    for (path, secret) in [(KEY, false), ("hidden", true)] {
        let value = json!({"data": format!("\"{CANARY}\"")});
        let options = json!({ "secret": secret });
        let request = json!({"namespace": "shop", "path": path, "value": value, "options": options});
        doors.own("config.Config.Set", &request).await;
    }
    doors.own("auth.Auth.Generate", &json!({"id": CANARY, "options": shop})).await;
    let resource = json!({"type": "service", "name": "none", "endpoint": "None.None"});
    let rule = json!({"id": CANARY, "scope": "none", "access": "DENIED", "resource": resource});
    doors.own("auth.Rules.Create", &json!({"rule": rule, "options": shop})).await;
    register(doors, KEY, 0).await;
    // A program that says one thing, in a folder that says it too.
    let folder = home.path().join(CANARY);
    fs::create_dir(&folder).unwrap();
    let program = folder.join("parrot");
    fs::write(&program, format!("#!/bin/sh\necho {CANARY}\nexec sleep 3600\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (program, folder) = (program.to_str().unwrap(), folder.to_str().unwrap());
    home.ok(["-n", "shop", "run", "--detach", "--name", "parrot", "--command", program, folder]);
    eventually("the program to speak", || {
        let logs = home.run(["-n", "shop", "logs", "parrot"]);
        logs.stdout.contains(CANARY).then_some(())
    });
}

impl Shop {
    async fn open() -> Self {
        let home = Home::new();
        home.ok(["server", "start"]);
        let doors = Doors::open(&home).await;
        fill(&home, &doors).await;
        let mut callers = vec![(Caller::Nobody, None), (Caller::Invalid, Some("Bearer a.b.c".to_owned()))];
        for (caller, namespace, id, kind, scopes) in [
            (Caller::User, "shop", "jane", "user", &["staff"][..]),
            (Caller::Administrator, "shop", "boss", "user", &["admin"]),
            (Caller::Service, "shop", "orders", "service", &["service", "admin"]),
            (Caller::OtherAdministrator, "other", "boss", "user", &["admin"]),
            (Caller::OtherService, "other", "orders", "service", &["service"]),
            (Caller::PlatformUser, "micro", "jane", "user", &["staff"]),
            (Caller::Root, "micro", "root", "user", &["admin"]),
        ] {
            callers.push((caller, Some(doors.account(namespace, id, kind, scopes).await)));
        }
        let names: Vec<Caller> = callers.iter().map(|(caller, _)| *caller).collect();
        assert_eq!(names, Caller::ALL);
        Self { callers, doors, _pulse: Pulse::begin(&home).await, _home: home }
    }

    fn token(&self, caller: Caller) -> Option<&str> {
        self.callers.iter().find(|(known, _)| *known == caller).unwrap().1.as_deref()
    }

    /// All that a namespace holds, as the owner of the home sees it; what the pulse changes left out.
    async fn content(&self, namespace: &str) -> Vec<(&'static str, Vec<Value>)> {
        let mut content = Vec::new();
        for method in METHODS.iter().filter(|method| method.shows && !method.name.ends_with("Watch")) {
            let request = request(method, namespace, KEY, "micro");
            let answer = self.doors.ask(Door::Socket, method.name, &[], &request).await;
            let text = if answer.code == 200 { answer.text } else { answer.code.to_string() };
            let messages = serde_json::Deserializer::from_str(&text).into_iter();
            let messages: Vec<Value> = messages.map(|message| stable(message.unwrap())).collect();
            // The status of a program changes by itself, and so does the head of a snapshot.
            let moves = method.name.starts_with("runtime.") || method.name == "store.Store.Snapshot";
            content.push((method.name, if moves { Vec::new() } else { messages }));
        }
        content
    }
}

/// A message in the order of its fields, without what the pulse changes.
fn stable(message: Value) -> Value {
    match message {
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> =
                fields.into_iter().map(|(key, value)| (key, stable(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(mut elements) => {
            elements.retain(|element| element["name"] != "pulse");
            Value::Array(elements.into_iter().map(stable).collect())
        }
        plain => plain,
    }
}

fn request(method: &Method, namespace: &str, key: &str, table: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
    let request = method.request.replace("{n}", &number).replace("NS", namespace);
    request.replace("KEY", key).replace("TABLE", table)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_stands_in_the_table() {
    let pool = prost_reflect::DescriptorPool::decode(micro_sdk::proto::DESCRIPTORS).unwrap();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let there: BTreeSet<String> = methods.map(|method| method.full_name().to_owned()).collect();
    let known: BTreeSet<String> = METHODS.iter().map(|method| method.name.to_owned()).collect();
    let missing: Vec<_> = there.symmetric_difference(&known).collect();
    assert!(missing.is_empty(), "say in methods.rs who may call: {missing:?}");
    assert_eq!(known.len(), METHODS.len(), "a method stands there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_decision_is_the_same_at_every_door() {
    let shop = Shop::open().await;
    let mut wrong = Vec::new();
    for method in METHODS {
        for (caller, token) in &shop.callers {
            for door in Door::ALL {
                // On the local socket nobody is the owner of the home.
                if *caller == Caller::Nobody && door == Door::Socket {
                    continue;
                }
                let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
                let request = request(method, "shop", KEY, "micro");
                let answer = shop.doors.ask(door, method.name, &headers, &request).await;
                let by_socket =
                    BY_SOCKET.iter().find(|(name, _)| *name == method.name && door == Door::Socket);
                let expected = match method.open.expected(*caller, door) {
                    200 => by_socket.map_or(method.granted, |(_, code)| *code),
                    refused => refused,
                };
                if answer.code != expected {
                    wrong.push(format!(
                        "{} by {caller:?} at {door:?}: {}, expected {expected}: {}",
                        method.name, answer.code, answer.text
                    ));
                }
                let seen = answer.shows(CANARY);
                if seen != (method.shows && expected == 200) && !(seen && expected == 200) {
                    wrong.push(format!("{} by {caller:?} at {door:?}: canary {seen}", method.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// How somebody from elsewhere might name the namespace `shop`: in the request, and in the header.
const NAMESPACES: &[(&str, Option<&str>)] = &[
    ("shop", Some("shop")),
    ("", Some("shop")),
    ("other", Some("shop")),
    ("", None),
    ("..", None),
    ("shop/..", None),
    ("other/../shop", None),
    ("./shop", None),
    ("shop/", None),
    ("/shop", None),
    ("*", None),
    ("+", None),
    ("%", None),
    ("SHOP", None),
    ("Shop", Some("SHOP")),
    ("shop ", None),
    ("sh%6fp", None),
    (r"other\u0000shop", None),
    (r"shop\u0000", None),
    ("other,shop", Some("other,shop")),
    ("", Some("*")),
    ("", Some("../shop")),
    ("", Some("shop/..")),
];

/// How they might name what is kept there, from their own.
const KEYS: &[(&str, &str)] = &[
    ("../shop/micro/kept", "micro"),
    ("../../shop/micro/kept", ".."),
    ("/shop/kept", "/shop/micro"),
    ("../shop/kept", "../shop/micro"),
    ("shop/kept", "../../store/shop/micro"),
    ("shop.kept", "shop/micro"),
    ("kept", "../shop/micro"),
    ("", ""),
    ("*", "*"),
    ("%", "%"),
    ("_", "_"),
    (r"kept\u0000", r"shop\u0000"),
    ("' OR '1'='1", "micro' OR '1'='1"),
];

/// What is kept is found by keys that begin with the namespace: the service `b@x` of `a` in the version `v`
/// must not be taken for another one.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_namespace_is_refused_by_every_method() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let doors = Doors::open(&home).await;
    let mut wrong = Vec::new();
    // A token says itself to which namespace it belongs.
    let named = |method: &&Method| method.request.contains("NS") && method.name != "auth.Auth.Inspect";
    for method in METHODS.iter().filter(named) {
        for namespace in ["a/b", "a@b", "Abc", "-a", "a..b", "a b"] {
            let request = request(method, namespace, KEY, "micro");
            let answer = doors.ask(Door::Socket, method.name, &[], &request).await;
            if answer.code != 400 || !answer.text.contains(namespace) {
                wrong.push(format!("{} in {namespace:?}: {} {}", method.name, answer.code, answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_namespace_is_seen_or_changed_from_another() {
    let shop = Shop::open().await;
    let before = [shop.content("shop").await, shop.content("micro").await];
    let shown = before[0].iter().filter(|(_, messages)| format!("{messages:?}").contains(CANARY)).count();
    assert!(shown >= 8, "there is something to be seen: {before:?}");
    let mut asked = Vec::new();
    for method in METHODS {
        let mut guesses: BTreeSet<(String, Option<&str>)> = BTreeSet::new();
        for (namespace, header) in NAMESPACES {
            // Nothing ever happens there, which is what one would wait for.
            if *namespace == "other"
                && ["registry.Registry.Watch", "runtime.Runtime.Watch"].contains(&method.name)
            {
                continue;
            }
            guesses.insert((request(method, namespace, KEY, "micro").replace("made-", "m"), *header));
        }
        for (key, table) in KEYS.iter().filter(|_| method.request.contains("KEY")) {
            guesses.insert((request(method, "other", key, table), None));
        }
        for (request, header) in guesses {
            for caller in [Caller::OtherAdministrator, Caller::OtherService, Caller::Nobody] {
                asked.push((method, request.clone(), header, caller));
            }
        }
    }
    let wrong = futures::stream::iter(asked.into_iter().enumerate().map(|(number, asked)| {
        let (method, request, header, caller) = asked;
        // Protobuf carries the same requests; the doors take turns.
        let door = Door::TCP[number % Door::TCP.len()];
        let shop = &shop;
        async move {
            let token = shop.token(caller).map(|token| ("authorization", token));
            let namespace = header.map(|namespace| ("micro-namespace", namespace));
            let headers: Vec<_> = token.into_iter().chain(namespace).collect();
            let answer = shop.doors.ask(door, method.name, &headers, &request).await;
            let seen = answer.shows(CANARY);
            seen.then(|| {
                format!("{} by {caller:?} at {door:?}: {request} {header:?}: {answer:?}", method.name)
            })
        }
    }));
    let wrong: Vec<String> = wrong.buffer_unordered(16).filter_map(std::future::ready).collect().await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    let after = [shop.content("shop").await, shop.content("micro").await];
    for (before, after) in before.iter().zip(&after) {
        for ((method, before), (_, after)) in before.iter().zip(after) {
            assert_eq!(before, after, "{method} shows another content");
        }
    }
}
