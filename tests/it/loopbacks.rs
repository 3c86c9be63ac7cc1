//! Each door is open at both loopback addresses of the machine, since `localhost` is either, with the
//! same checks.

use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::{
    raw::Raw,
    support::{Home, as_another_user, http, not_run, outcome},
};

const LOGIN: &str = r#"{"id":"admin","secret":"micro"}"#;

/// The port of an address.
fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Whether this machine has `::1`; the log says so where it has not.
fn has_both() -> bool {
    let both = TcpListener::bind("[::1]:0").is_ok();
    if !both {
        not_run("this machine has no ::1");
    }
    both
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_is_open_at_both_loopback_addresses() {
    if !has_both() {
        return;
    }
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    let [api, proxy, network] = &state.also[..] else { panic!("{state:?}") };
    for (one, other) in [(&state.api, api), (&state.proxy, proxy), (&state.network, network)] {
        assert_eq!(other, &format!("[::1]:{}", port(one)));
    }
    assert_eq!(
        http(api, "GET", "/helloworld/Call?name=Jane", &[], ""),
        (200, r#"{"msg":"Hello Jane"}"#.to_owned())
    );
    for door in [proxy, network] {
        let reply = Raw::connect(door).await.json("/helloworld.Helloworld/Call", r#"{"name":"Jane"}"#).await;
        assert_eq!(reply.value(), json!({"msg": "Hello Jane"}));
    }
    let shown: Value = serde_json::from_str(&home.ok(["server", "status", "-o", "json"])).unwrap();
    assert_eq!(shown[0]["also"], json!(state.also));
    assert_eq!(shown[0]["api"], state.api);
    assert!(home.ok(["server", "status"]).contains(api));
}

#[test]
fn the_first_secret_counts_there_for_the_owner_alone() {
    if !has_both() {
        return;
    }
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = home.state();
    let login = || http(&state.also[0], "POST", "/auth/Auth/Token", &[], LOGIN);
    if let Some((status, body)) = as_another_user(login) {
        assert_eq!(status, 403, "{body}");
    }
    let (status, body) = login();
    assert!(status == 200 && body.contains("access_token"), "{status} {body}");
    let token: Value = serde_json::from_str(&body).unwrap();
    let bearer = format!("Bearer {}", token["token"]["access_token"].as_str().unwrap());
    // No door of the server is a node.
    for address in &state.also {
        let node = json!({"name": "shop", "nodes": [{"id": "1", "address": address}]});
        let headers = [("Authorization", bearer.as_str())];
        let (status, body) =
            http(&state.also[0], "POST", "/registry/Registry/Register", &headers, &node.to_string());
        assert!(status == 403 && body.contains("a door of the server itself"), "{status} {body}");
    }
}

#[test]
fn a_door_is_refused_whose_other_loopback_address_another_program_has() {
    if !has_both() {
        return;
    }
    let home = Home::new();
    let taken = TcpListener::bind("[::1]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let start = |address: &str| {
        let words = ["server", "start", "--api-address", address, "--proxy-address=localhost:0"];
        let mut command = home.command(words.iter().chain(&["--network-address=127.0.0.1:0"]));
        outcome(command.env_remove("MICRO_ISOLATED"))
    };
    let refused = start(&format!("localhost:{port}"));
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    let own = format!("(pid {}) uses the port", std::process::id());
    for words in [&format!("cannot listen on [::1]:{port}"), &own, &format!("127.0.0.1:{port}")] {
        assert!(refused.stderr.contains(words.as_str()), "no {words} in {refused:#?}");
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "half of a door is open");
    // Who asks for one address gets it.
    let started = start(&format!("127.0.0.1:{port}"));
    assert_eq!(started.code, Some(0), "{started:#?}");
    let state = home.state();
    assert_eq!(state.api, format!("127.0.0.1:{port}"));
    assert_eq!(state.also, [state.proxy.replace("127.0.0.1", "[::1]")]);
}

#[test]
fn a_machine_without_ipv6_does_without_the_other_address() {
    let home = Home::new();
    // In a network of its own, which the system may not allow.
    let without = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6";
    let run = |then: &str| {
        outcome(
            &mut home
                .shell("sh", &format!("unshare --user --map-root-user --net sh -c '{without} && {then}'")),
        )
    };
    if run("true").code != Some(0) {
        not_run("no network without IPv6 can be made here");
        return;
    }
    let started = run("micro server start && micro server status -o json");
    assert_eq!(started.code, Some(0), "{started:#?}");
    assert!(!started.stderr.contains("::1"), "{started:#?}");
    let shown: Value = serde_json::from_str(&started.stdout).unwrap();
    assert_eq!(shown[0]["also"], json!([]));
}
