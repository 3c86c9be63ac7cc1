//! The catalog as those who register, call and watch see it.

use micro_sdk::{
    MESSAGE_LIMIT, NODE_REFUSED,
    proto::registry::{Endpoint, Node as WireNode},
};

use super::{
    space::{MOST_OF_SPACE, MOST_VERSIONS},
    *,
};

fn service(version: &str, node: &str, address: &str) -> Service {
    Service {
        name: "a".into(),
        version: version.into(),
        nodes: vec![WireNode { id: node.into(), address: address.into(), ..WireNode::default() }],
        ..Service::default()
    }
}

fn seen(changes: &mut Follower<Change>) -> Vec<(Action, String)> {
    let next = || changes.try_next().map(Result::unwrap);
    std::iter::from_fn(next).map(|change| (change.action, change.service.version.clone())).collect()
}

fn register(catalog: &Catalog, namespace: &str, service: Service, lease: Option<Duration>, described: bool) {
    catalog.register(namespace, service, lease, described).unwrap();
}

#[test]
fn registering_again_updates_everything() {
    let catalog = Catalog::new(Arc::default());
    let mut changes = catalog.watch("*");
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    let mut moved = service("1", "x", "h:2");
    moved.metadata.insert("k".into(), "v".into());
    moved.endpoints.push(Endpoint { name: "A.B".into(), ..Endpoint::default() });
    register(&catalog, "n", moved, None, false);
    let found = catalog.get("n", "a").remove(0);
    assert_eq!((found.nodes[0].address.as_str(), found.endpoints.len()), ("h:2", 1));
    assert_eq!(found.metadata["k"], "v");
    assert_eq!(seen(&mut changes), [(Action::Create, "1".into()), (Action::Update, "1".into())]);
}

#[test]
fn a_heartbeat_that_changes_nothing_is_not_announced() {
    let catalog = Catalog::new(Arc::default());
    register(&catalog, "n", service("1", "x", "h:1"), Some(Duration::from_secs(90)), false);
    let mut changes = catalog.watch("*");
    register(&catalog, "n", service("1", "x", "h:1"), Some(Duration::from_secs(90)), false);
    assert!(seen(&mut changes).is_empty());
}

#[test]
fn the_end_of_a_lease_is_announced() {
    let catalog = Catalog::new(Arc::default());
    let now = Instant::now();
    register(&catalog, "n", service("1", "x", "h:1"), Some(Duration::from_secs(10)), false);
    register(&catalog, "n", service("1", "y", "h:2"), Some(Duration::from_secs(1000)), false);
    let mut changes = catalog.watch("*");
    catalog.expire(now);
    assert!(seen(&mut changes).is_empty());
    catalog.expire(now + Duration::from_mins(1));
    assert_eq!(seen(&mut changes), [(Action::Update, "1".into())]);
    catalog.expire(now + Duration::from_secs(2000));
    assert_eq!(seen(&mut changes), [(Action::Delete, "1".into())]);
    assert!(catalog.list("*").is_empty());
}

#[test]
fn calls_go_to_the_newest_version_that_is_ready() {
    let catalog = Catalog::new(Arc::default());
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    let mut two = service("2", "y", "h:2");
    two.descriptor_hash = "hash".into();
    register(&catalog, "n", two, None, false);
    let to = |version| catalog.route("n", "a", version).map(|t| t.nodes[0].address.clone());
    assert_eq!(to(None), Ok("h:1".into()));
    assert_eq!(to(Some("2")), Err(Missing::Ready));
    catalog.described("hash");
    assert_eq!(to(None), Ok("h:2".into()));
    assert_eq!(to(Some("1")), Ok("h:1".into()));
    assert_eq!(to(Some("3")), Err(Missing::Version));
    assert_eq!(catalog.route("other", "a", None).unwrap_err(), Missing::Service);
}

#[test]
fn namespaces_do_not_see_each_other() {
    let catalog = Catalog::new(Arc::default());
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    assert!(catalog.get("m", "a").is_empty() && catalog.list("m").is_empty());
    catalog.deregister("m", &service("1", "x", "h:1"));
    assert_eq!(catalog.list("*").len(), 1);
    let [brief] = &catalog.list_briefly("*")[..] else { panic!("one version is registered") };
    assert!(brief.endpoints.is_empty() && brief.nodes.is_empty() && !brief.name.is_empty());
    assert!(brief.metadata.keys().eq(["domain"]) && brief.ready == catalog.list("*")[0].ready);
}

#[test]
fn a_refused_node_is_called_by_nobody_until_it_registers_again() {
    let catalog = Catalog::new(Arc::default());
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    register(&catalog, "n", service("1", "y", "h:2"), None, false);
    let to = || -> Vec<String> {
        let nodes = catalog.route("n", "a", None).unwrap().nodes;
        nodes.iter().map(|node| format!("{} {}", node.id, node.refusal().unwrap_or_default())).collect()
    };
    let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
    let mut changes = catalog.watch("*");
    catalog.refuse(&node, "not ours".into());
    assert_eq!(seen(&mut changes), [(Action::Update, "1".into())]);
    assert_eq!(to(), ["y "]);
    assert_eq!(catalog.get("n", "a")[0].nodes[0].metadata[NODE_REFUSED], "not ours");
    catalog.deregister("n", &service("1", "y", "h:2"));
    assert_eq!(to(), ["x not ours"], "the last one tells why there is none");
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    assert_eq!(to(), ["x "]);
    catalog.take_out(&node);
    assert_eq!(to(), ["x "], "it is another one since it registered again");
    let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
    catalog.take_out(&node);
    assert_eq!(catalog.route("n", "a", None).unwrap_err(), Missing::Service);
}

#[test]
fn calls_go_to_the_nodes_that_answer() {
    let catalog = Catalog::new(Arc::default());
    for node in ["x", "y", "z"] {
        register(&catalog, "n", service("1", node, "h:1"), None, false);
    }
    let note = |node: &str, health| catalog.note_health("n", "a", "1", node, health);
    let called = || {
        let nodes = catalog.route("n", "a", None)?.nodes;
        Ok(nodes.iter().map(|node| node.id.clone()).collect::<String>())
    };
    assert_eq!(called(), Ok("xyz".to_owned()));
    note("x", Health::Bad);
    note("y", Health::Doubtful);
    assert_eq!(called(), Ok("z".to_owned()));
    note("z", Health::Bad);
    assert_eq!(called(), Ok("y".to_owned()), "one that is doubted is better than none");
    note("y", Health::Bad);
    assert_eq!(called(), Err(Missing::Healthy));
    // Renewing the lease is no sign of health; answering is.
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    assert_eq!(called(), Err(Missing::Healthy));
    note("x", Health::Good);
    assert_eq!(called(), Ok("x".to_owned()));
}

#[test]
fn a_refused_version_does_not_hide_an_older_one() {
    let catalog = Catalog::new(Arc::default());
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    register(&catalog, "n", service("2", "y", "h:2"), None, false);
    let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
    catalog.refuse(&node, "not ours".into());
    assert_eq!(catalog.route("n", "a", None).unwrap().nodes[0].id, "x");
    assert_eq!(catalog.route("n", "a", Some("2")).unwrap().nodes[0].id, "y");
}

#[test]
fn a_node_knows_how_many_calls_it_serves() {
    let catalog = Catalog::new(Arc::default());
    register(&catalog, "n", service("1", "x", "h:1"), None, false);
    let node = catalog.route("n", "a", None).unwrap().nodes.remove(0);
    let guard = node.begin();
    assert_eq!(node.load(), 1);
    drop(guard);
    assert_eq!(node.load(), 0);
}

fn crowd(nodes: std::ops::Range<usize>) -> Service {
    let node =
        |number: usize| WireNode { id: format!("x{number}"), address: "h:1".into(), ..WireNode::default() };
    Service { nodes: nodes.map(node).collect(), ..service("1", "x", "h:1") }
}

#[test]
fn a_service_has_room_for_so_much_and_no_more() {
    let catalog = Catalog::new(Arc::default());
    let code =
        |service| catalog.register("n", service, None, false).map_or_else(|error| error.code, |()| 200);
    assert_eq!((code(crowd(0..200)), code(crowd(200..256)), code(crowd(256..257))), (200, 200, 507));
    // Those that are there are renewed all the same.
    assert_eq!(code(crowd(0..256)), 200);
    for number in 2..=MOST_VERSIONS {
        assert_eq!(code(service(&number.to_string(), "x", "h:1")), 200);
    }
    assert_eq!(code(service("last", "x", "h:1")), 507);
    catalog.deregister("n", &service("2", "x", "h:1"));
    assert_eq!(code(service("last", "x", "h:1")), 200);
    let mut heavy = Service { name: "heavy".into(), ..crowd(0..16) };
    for node in &mut heavy.nodes {
        node.metadata.insert("k".into(), "v".repeat(4000));
    }
    let rounds = (0..100).take_while(|round| {
        for (number, node) in heavy.nodes.iter_mut().enumerate() {
            node.id = format!("{round}-{number}");
        }
        heavy.version = (round / 16).to_string();
        code(heavy.clone()) == 200
    });
    assert!(rounds.count() < 70, "the bytes of a service are bounded");
}

#[test]
fn what_is_there_cannot_grow_beyond_the_room_for_it() {
    let catalog = Catalog::new(Arc::default());
    let code =
        |service| catalog.register("n", service, None, false).map_or_else(|error| error.code, |()| 200);
    let bytes = || catalog.read().get("n").map_or(0, |space| space.bytes);
    let version = |number: usize, size: usize| {
        let mut service = Service { version: number.to_string(), ..crowd(0..256) };
        for node in &mut service.nodes {
            node.metadata.insert("k".into(), "v".repeat(size));
        }
        service
    };
    for number in 0..MOST_VERSIONS {
        assert_eq!(code(version(number, 0)), 200);
    }
    let grown = (0..MOST_VERSIONS).filter(|number| code(version(*number, 900)) == 200).count();
    assert!((8..20).contains(&grown), "{grown}");
    // What is there is renewed, and may become smaller.
    assert_eq!((code(version(0, 900)), code(version(31, 900)), code(version(0, 0))), (200, 507, 200));
    let mut refused = 0;
    for number in 0..20 {
        let name = format!("other{number}");
        for label in 0..10 {
            refused += i32::from(code(Service { name: name.clone(), ..version(label, 900) }) == 507);
        }
    }
    let listed: usize = catalog.list("n").iter().map(|service| service.encoded_len() + 4).sum();
    assert!(refused > 0 && listed < MESSAGE_LIMIT, "{refused} {listed}");
    assert!(bytes() <= MOST_OF_SPACE && bytes() * 10 > listed * 9, "{}", bytes());
    catalog.remove(Some("n"), None, None, |_, _| true);
    assert_eq!((bytes(), code(version(0, 900))), (0, 200));
}

#[test]
fn a_watcher_that_reads_nothing_is_told_and_holds_no_more_than_the_limit() {
    let catalog = Catalog::new(Arc::default());
    let mut slow = catalog.watch("*");
    for number in 0..60 {
        let mut heavy = service("1", "x", "h:1");
        heavy.metadata.insert("k".into(), format!("{number}{}", "v".repeat(200_000)));
        register(&catalog, "n", heavy, None, false);
    }
    let Some(Err(Lost::Missed(missed))) = slow.try_next() else { panic!("nothing was missed") };
    let left = std::iter::from_fn(|| slow.try_next()).count();
    assert_eq!(missed as usize + left, 60);
    assert!(left * 200_000 <= changes::BACKLOG.bytes, "{left}");
}

#[test]
fn a_name_that_looks_like_one_that_is_taken_is_refused() {
    let catalog = Catalog::new(Arc::default());
    let named = |name: &str| Service { name: name.into(), ..service("1", "x", "h:1") };
    let code = |namespace, name| {
        catalog.register(namespace, named(name), None, false).map_or_else(|error| error.code, |()| 200)
    };
    assert_eq!(code("n", "shop"), 200);
    for alike in ["Shop", "sh0p", "sh\u{200b}op", "shоp"] {
        assert_eq!(code("n", alike), 409, "{alike}");
    }
    assert_eq!((code("n", "shop"), code("m", "Shop"), code("n", "shops")), (200, 200, 200));
    catalog.deregister("n", &named("shop"));
    assert_eq!((code("n", "Shop"), code("n", "shop")), (200, 409));
}
