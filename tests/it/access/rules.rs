//! Rules at every door: what they decide is what the reference says they do, however a call is spelled
//! and wherever it comes in.

use serde_json::{Value, json};

use super::doors::{Answer, Door, Doors};
use crate::{raw::Headers, support::Home};

/// A rule as the reference words it.
#[derive(Clone, Debug)]
struct Rule {
    id: String,
    scope: &'static str,
    kind: &'static str,
    name: &'static str,
    endpoint: &'static str,
    granted: bool,
    priority: i32,
}

/// A caller: a name for the test, the namespace, the scopes.
#[derive(Clone, Copy, Debug)]
struct Caller {
    namespace: &'static str,
    scopes: &'static [&'static str],
}

const CALLERS: [Option<Caller>; 4] = [
    None,
    Some(Caller { namespace: "micro", scopes: &["Staff"] }),
    Some(Caller { namespace: "micro", scopes: &[] }),
    Some(Caller { namespace: "shop", scopes: &["staff"] }),
];

/// What is called: a path over HTTP, one of gRPC, the service and the endpoint that are meant.
const CALLS: &[(&str, &str, &str, &str)] = &[
    ("/helloworld/Call", "/helloworld.Helloworld/Call", "helloworld", "Helloworld.Call"),
    ("/helloworld/call", "/helloworld.helloworld/call", "helloworld", "Helloworld.Call"),
    ("/helloworld/helloworld/CALL", "/helloworld.HELLOWORLD/CALL", "helloworld", "Helloworld.Call"),
    ("/helloworld/Helloworld/C_a-ll", "/helloworld.Hello_world/C-all", "helloworld", "Helloworld.Call"),
    ("//helloworld//call/", "/helloworld.Hello-World/_Call_", "helloworld", "Helloworld.Call"),
    ("/helloworld/Stream", "/helloworld.Helloworld/Stream", "helloworld", "Helloworld.Stream"),
    ("/helloworld/s-tream", "/helloworld.Helloworld/STREAM", "helloworld", "Helloworld.Stream"),
    ("/store/Read", "/store.Store/Read", "store", "Store.Read"),
    ("/Store/read", "/Store.Store/read", "Store", "Store.Read"),
    ("/store/store/read", "/store.store/rea_d", "store", "Store.Read"),
    ("/store/Store/W_rite", "/store.Sto-re/Wri_te", "store", "Store.Write"),
    ("/store/blob-store/list", "/store.Blob_Store/li-st", "store", "BlobStore.List"),
];

impl Rule {
    /// Whether it names the call.
    fn means(&self, service: &str, endpoint: &str) -> bool {
        let same = |rule: &str, asked: &str| rule == "*" || rule.eq_ignore_ascii_case(asked);
        same(self.kind, "service") && same(self.name, service) && same(self.endpoint, endpoint)
    }

    /// What it says to somebody; nothing if it does not concern them.
    fn says(&self, caller: Option<Caller>, namespace: &str) -> Option<bool> {
        if self.scope.is_empty() {
            return Some(self.granted);
        }
        let caller = caller?;
        if self.scope == "+" {
            return Some(self.granted);
        }
        if caller.namespace != namespace {
            return Some(false);
        }
        let holds = self.scope == "*" || caller.scopes.iter().any(|s| s.eq_ignore_ascii_case(self.scope));
        holds.then_some(self.granted)
    }
}

/// The oracle: the first by priority that concerns the caller decides.
fn allows(rules: &[Rule], caller: Option<Caller>, service: &str, endpoint: &str) -> bool {
    let mut meant: Vec<&Rule> = rules.iter().filter(|rule| rule.means(service, endpoint)).collect();
    meant.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id)));
    meant.iter().find_map(|rule| rule.says(caller, "micro")).unwrap_or(false)
}

/// Numbers that are the same in each run (xorshift).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    fn rule(&mut self, set: usize, number: usize) -> Rule {
        Rule {
            id: format!("set-{set}-{number}"),
            scope: self.one_of(&["", "", "*", "+", "+", "staff", "none"]),
            kind: self.one_of(&["service", "service", "*", "SERVICE", "config"]),
            name: self.one_of(&[
                "*",
                "*",
                "*",
                "helloworld",
                "HelloWorld",
                "store",
                "Store",
                "hello*",
                "helloworld.",
            ]),
            endpoint: self.one_of(&[
                "*",
                "*",
                "*",
                "*",
                "*",
                "Helloworld.Call",
                "helloworld.call",
                "Helloworld.*",
                "Store.Read",
                "STORE.WRITE",
                "Store.Write.",
                "Helloworld.C_all",
                "BlobStore.List",
                "/helloworld.Helloworld/Call",
            ]),
            granted: !self.next().is_multiple_of(3),
            priority: self.one_of(&[-1, 0, 1, 2]),
        }
    }
}

async fn create(doors: &Doors, rule: &Rule) {
    let resource = json!({"type": rule.kind, "name": rule.name, "endpoint": rule.endpoint});
    let access = if rule.granted { "GRANTED" } else { "DENIED" };
    let rule = json!({"id": rule.id, "scope": rule.scope, "access": access, "priority": rule.priority, "resource": resource});
    doors.own("auth.Rules.Create", &json!({ "rule": rule })).await;
}

async fn delete(doors: &Doors, id: &str) {
    doors.own("auth.Rules.Delete", &json!({ "id": id })).await;
}

/// Whether the rules refused it; what a building block itself refuses has other words.
fn refused(answer: &Answer) -> bool {
    let words = ["the rules of namespace", "is not open to everybody"];
    matches!(answer.code, 401 | 403) && words.iter().any(|words| answer.text.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide_as_the_reference_says_at_every_door_and_in_every_spelling() {
    let home = Home::new();
    home.run_helloworld();
    let doors = Doors::open(&home).await;
    let mut tokens = Vec::new();
    for (number, caller) in CALLERS.iter().enumerate() {
        tokens.push(match caller {
            None => None,
            Some(Caller { namespace, scopes }) => {
                Some(doors.account(namespace, &format!("c{number}"), "user", scopes).await)
            }
        });
    }
    let mut seeded = Seeded(0x5eed_0000_0000_0001);
    let mut wrong = Vec::new();
    let (mut old, mut granted, mut denied) = (vec!["default".to_owned()], 0, 0);
    for set in 0..16 {
        let rules: Vec<Rule> = (0..seeded.next() % 6 + 3).map(|n| seeded.rule(set, n as usize)).collect();
        for rule in &rules {
            create(&doors, rule).await;
        }
        for id in &old {
            delete(&doors, id).await;
        }
        for (caller, token) in CALLERS.iter().zip(&tokens) {
            let authorization = token.as_deref().map(|token| ("authorization", token));
            // The caller's own namespace would be looked in otherwise.
            let headers: Vec<_> = authorization.into_iter().chain([("micro-namespace", "micro")]).collect();
            for (http, grpc, service, endpoint) in CALLS {
                // A name that is another's in another case names nothing, whatever rules allow.
                let missing = *service == "Store";
                let permitted = allows(&rules, *caller, service, endpoint);
                let expected = !missing && permitted;
                for door in [Door::Api, Door::ProxyJson, Door::NetworkJson, Door::Proxy] {
                    let path = if door == Door::Api { http } else { grpc };
                    // In protobuf a name that is not the method's own is no method.
                    let exact = grpc.ends_with(&endpoint.replacen('.', "/", 1));
                    if door == Door::Proxy && !exact {
                        continue;
                    }
                    let message: &[u8] = if door == Door::Proxy { b"" } else { b"{}" };
                    let answer = doors.send(door, path, &headers, message, false).await;
                    // Only who is permitted is told that there is nothing.
                    let told = (refused(&answer), answer.code == 404);
                    let right = if missing { (!permitted, permitted) } else { (!permitted, told.1) };
                    if told != right {
                        wrong.push(format!(
                            "{path} at {door:?} by {caller:?}: {answer:?}, expected {expected}: {rules:#?}"
                        ));
                    }
                    *(if expected { &mut granted } else { &mut denied }) += 1;
                }
            }
        }
        old = rules.into_iter().map(|rule| rule.id).collect();
    }
    assert!(wrong.is_empty(), "{} are wrong, among them {:#?}", wrong.len(), &wrong[..wrong.len().min(3)]);
    assert!(granted > 300 && denied > 300, "{granted} were granted, {denied} denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_method_is_a_way_round_a_rule() {
    let home = Home::new();
    home.run_helloworld();
    let doors = Doors::open(&home).await;
    let boss = doors.account("micro", "boss", "user", &["admin"]).await;
    for (id, name, endpoint) in [("write", "store", "Store.Write"), ("call", "helloworld", "Helloworld.Call")]
    {
        let kind = "service";
        let id = id.to_owned();
        create(&doors, &Rule { id, scope: "", kind, name, endpoint, granted: false, priority: 1 }).await;
    }
    let headers: Headers<'_> = &[("authorization", &boss)];
    let record = br#"{"record":{"key":"k","value":"eA=="}}"#;
    let pieces = ["Write", "write", "WRITE", "W_rite", "Wri-te", "_Write", "Write_", "-write-", "w_r-i_t-e"];
    for handler in ["Store", "store", "STORE", "S_tore", "Sto-re", "_Store_"] {
        for method in pieces {
            let http =
                doors.send(Door::Api, &format!("/store/{handler}/{method}"), headers, record, false).await;
            assert_eq!(http.code, 403, "/store/{handler}/{method}: {http:?}");
            for door in [Door::ProxyJson, Door::NetworkJson, Door::Proxy, Door::Socket] {
                let path = format!("/store.{handler}/{method}");
                let message: &[u8] = if door == Door::Proxy { b"\x0a\x03\x0a\x01k" } else { record };
                let answer = doors.send(door, &path, headers, message, false).await;
                assert!(matches!(answer.code, 403 | 501), "{path} at {door:?}: {answer:?}");
            }
        }
    }
    // What is no name at all leads nowhere, and to nothing.
    for path in [
        "/store.Store/Write.",
        "/store.Store./Write",
        "/store.Store/",
        "/store./Write",
        "/.Store/Write",
        "/Store/Write",
        "/store..Store/Write",
        "/store.Store.Store/Write",
        "/store.Store/Write/",
        "//store.Store/Write",
        "/store.Store//Write",
        "/store.Store/*",
        "/*.Store/Write",
        "/store.*/Write",
        "/store.Store/%57rite",
        "/store%2EStore/Write",
        "/STORE.Store/Write",
        "/store.Store/Write%00",
        "/./store.Store/Write",
        "/x/../store.Store/Write",
    ] {
        for door in [Door::ProxyJson, Door::NetworkJson, Door::Proxy] {
            let message: &[u8] = if door == Door::Proxy { b"\x0a\x03\x0a\x01k" } else { record };
            let answer = doors.send(door, path, headers, message, false).await;
            assert!((400..=501).contains(&answer.code), "{path} at {door:?}: {answer:?}");
        }
    }
    for path in [
        "/store/Store/Write.",
        "/store/%53tore/Write",
        "/store/*/Write",
        "/*/Store/Write",
        "/store/Store/%2e",
    ] {
        let answer = doors.send(Door::Api, path, headers, record, false).await;
        assert!((400..=501).contains(&answer.code), "{path}: {answer:?}");
    }
    for path in ["/helloworld/call", "/helloworld/helloworld/c_all", "/helloworld/Hello-World/Call"] {
        let answer = doors.send(Door::Api, path, &[], b"{}", false).await;
        assert_eq!(answer.code, 401, "{path}: {answer:?}");
    }
    let listed = doors.own("store.Store.List", &json!({})).await;
    let listed: Value = serde_json::from_str(&listed.text).unwrap();
    assert_eq!(listed["keys"], json!([]), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_in_a_closed_namespace_is_not_told() {
    let home = Home::new();
    home.run_helloworld();
    let doors = Doors::open(&home).await;
    let open = |name| Rule {
        id: format!("open-{name}"),
        scope: "",
        kind: "service",
        name,
        endpoint: "*",
        granted: true,
        priority: 1,
    };
    create(&doors, &open("elsewhere")).await;
    delete(&doors, "default").await;
    let told = async |door: Door, path: String, name: &str| {
        let answer = doors.send(door, &path, &[], b"{}", false).await;
        assert_eq!(answer.code, 401, "{path}: {answer:?}");
        let error = answer.text.find("{\"id\"").map(|at| &answer.text[at..]).unwrap_or_default();
        let error = serde_json::Deserializer::from_str(error).into_iter::<Value>().next().unwrap().unwrap();
        let detail = error["detail"].as_str().unwrap();
        detail.to_lowercase().replace(name, "").replace("helloworld", "")
    };
    for (door, path) in [
        (Door::Api, "/NAME/hello-world/call"),
        (Door::Api, "/v1/NAME/NAME/call"),
        (Door::Api, "/v1/NAME"),
        (Door::ProxyJson, "/NAME.Hello_World/c-all"),
        (Door::ProxyJson, "/NAME.helloworld/call"),
    ] {
        let mut answers = Vec::new();
        for name in ["helloworld", "nothing"] {
            answers.push(told(door, path.replace("NAME", name), name).await);
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
    // What is open is found behind the version of the API, and a method in every spelling.
    create(&doors, &Rule { endpoint: "Helloworld.Call", ..open("helloworld") }).await;
    for path in ["/v1/helloworld/call", "/v1/helloworld/Hello-World/c_all", "/helloworld/HELLOWORLD/Call"] {
        let answer = doors.send(Door::Api, path, &[], br#"{"name":"Jane"}"#, false).await;
        assert!(answer.code == 200 && answer.text.contains("Hello Jane"), "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_comes_before_a_building_block() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let doors = Doors::open(&home).await;
    for name in ["auth", "v1.auth", "v2.store", "v1.v1.config", "v1.Auth"] {
        let service = json!({"name": name, "nodes": [{"id": "a", "address": "127.0.0.1:45871"}]});
        let answer = doors.ask(Door::Socket, "registry.Registry.Register", &[], &service.to_string()).await;
        assert_eq!(answer.code, 400, "{name}: {answer:?}");
    }
    let login = br#"{"id":"admin","secret":"micro"}"#;
    let answer = doors.send(Door::Api, "/v1/auth/Auth/Token", &[], login, false).await;
    assert!(answer.code == 200 && answer.text.contains("access_token"), "{answer:?}");
}
