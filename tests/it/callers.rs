//! What a service learns of who calls it, and how rules and scopes tell one service from another.

use std::ffi::OsStr;

use serde_json::Value;

use crate::{
    faulty,
    support::{BINARY, Home, http},
};

/// What the `Call` of a service answers to a name.
fn said(home: &Home, service: &str, name: &str) -> String {
    let text = home.ok([service, "call", &format!("--name={name}"), "-o", "json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["msg"].as_str().unwrap().to_owned()
}

/// Runs the program that can be asked who calls under some name.
fn run(home: &Home, name: &str, flags: &[&str]) {
    let program = faulty::program().as_os_str();
    let words = ["run", "--name", name, "--command"].map(OsStr::new);
    let here = [program, home.path().as_os_str()];
    home.ok(words.into_iter().chain(here).chain(flags.iter().map(OsStr::new)));
}

#[test]
fn the_owner_of_the_home_is_its_administrator_for_services_too() {
    let home = Home::new();
    faulty::run(&home, &[]);
    assert_eq!(said(&home, "helloworld", "who"), "user admin of micro [\"admin\"]");
    // Who comes by the network without a token is nobody, and who has one is as it says.
    let call = |token: Option<&str>| {
        let authorization = token.map(|token| ("authorization", format!("Bearer {token}")));
        let headers: Vec<_> = authorization.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let headers = [&headers[..], &[("content-type", "application/json")]].concat();
        http(&home.state().api, "POST", "/helloworld/call", &headers, "{\"name\":\"who\"}")
    };
    let (code, text) = call(None);
    assert!(code == 200 && text.contains("nobody"), "{text}");
    home.ok(["auth", "create", "account", "jane", "--secret", "x", "--scopes", "shop"]);
    home.ok(["login", "--username", "jane", "--password", "x"]);
    assert_eq!(said(&home, "helloworld", "who"), "user jane of micro [\"shop\"]");
    home.ok(["login", "--local"]);

    // What says so to the service is good for nothing else: the service cannot act as the owner.
    let headers = said(&home, "helloworld", "headers");
    let token = headers.split("Bearer ").nth(1).unwrap().split('"').next().unwrap();
    let (code, text) = call(Some(token));
    assert_eq!(code, 401, "{text}");
    let inspect = format!("{{\"token\": \"{token}\"}}");
    // Nor is anybody told whose it is but the service it was made for.
    home.fails(7, ["call", "auth", "Auth.Inspect", &inspect]);
    home.ok(["user", "set", "password", "--new-password", "y"]);
    assert_eq!(said(&home, "helloworld", "who"), "user admin of micro [\"admin\"]");
}

#[test]
fn a_rule_may_name_the_account_of_one_service() {
    let home = Home::new();
    home.ok(["server", "start"]);
    for name in ["orders", "shop", "other"] {
        run(&home, name, &[]);
    }
    assert_eq!(said(&home, "shop", "via orders"), "service shop of micro [\"service:shop\"]");
    let rule = |id: &str, scope: &str, access: &str, priority: &str| {
        let (scope, access) = (format!("--scope={scope}"), format!("--access={access}"));
        let resource = "--resource=service:orders:*";
        home.ok(["auth", "create", "rule", &scope, &access, resource, "--priority", priority, id]);
    };
    rule("nobody", "", "denied", "10");
    rule("shop", "service:shop", "granted", "20");
    assert_eq!(said(&home, "shop", "via orders"), "service shop of micro [\"service:shop\"]");
    let refused = home.fails(7, ["other", "call", "--name=via orders"]);
    assert!(refused.contains("orders") && !refused.contains("service other of"), "{refused}");
}

#[test]
fn a_service_has_the_scopes_it_is_run_with() {
    let home = Home::new();
    home.ok(["server", "start"]);
    run(&home, "orders", &[]);
    run(&home, "shop", &["--scopes", "sales,stock"]);
    let expected = "service shop of micro [\"service:shop\", \"sales\", \"stock\"]";
    assert_eq!(said(&home, "shop", "via orders"), expected);
    assert_eq!(home.status("shop")["metadata"]["scopes"], "sales,stock");
    // They outlive updates and restarts, until others are named.
    home.ok(["update", "shop", "--metadata", "team=a"]);
    assert_eq!(said(&home, "shop", "via orders"), expected);
    home.ok(["server", "restart"]);
    assert_eq!(said(&home, "shop", "via orders"), expected);
    run(&home, "shop", &["--metadata", "team=b"]);
    assert_eq!(said(&home, "shop", "via orders"), expected, "run again");
    home.ok(["update", "shop", "--scopes", "stock"]);
    assert_eq!(said(&home, "shop", "via orders"), "service shop of micro [\"service:shop\", \"stock\"]");
    home.ok(["update", "shop", "--scopes", ""]);
    assert_eq!(said(&home, "shop", "via orders"), "service shop of micro [\"service:shop\"]");
    home.fails(7, ["auth", "create", "account", "x", "--scopes", "service:shop"]);
    for (flag, word) in [
        ("--scopes=service:orders", "the account of one service"),
        ("--env_vars=MICRO_CLIENT_ID=x", "is set by the runtime"),
        ("--env_vars=MICRO_NAMESPACE=x", "is set by the runtime"),
    ] {
        let refused = home.fails(7, ["run", "--name", "x", "--command", BINARY, "--detach", flag]);
        assert!(refused.contains(word), "{flag}: {refused}");
    }
}
