//! What is noted of logins, refusals and changes, and who may read it.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::Value;

use crate::support::{Home, http};

fn records(home: &Home, flags: &[&str]) -> Vec<Value> {
    let words = ["-o", "json", "auth", "audit"].iter().chain(flags);
    serde_json::from_str(&home.ok(words)).unwrap()
}

/// Action, subject, and whether it was granted, of each record.
fn brief(records: &[Value]) -> Vec<(&str, &str, bool)> {
    records
        .iter()
        .map(|record| {
            let text = |key: &str| record[key].as_str().unwrap();
            (text("action"), text("subject"), record["granted"].as_bool().unwrap())
        })
        .collect()
}

#[test]
fn logins_refusals_and_changes_are_noted_for_the_administrators_of_the_namespace() {
    let home = Home::new();
    home.ok(["auth", "create", "account", "--secret", "s", "--scopes", "admin", "-n", "shop", "jane"]);
    home.ok(["login", "-n", "shop", "--username", "jane", "--password", "s"]);
    home.ok(["auth", "create", "account", "--secret", "t", "-n", "shop", "john"]);
    home.ok(["auth", "create", "rule", "--resource", "service:a:*", "-n", "shop", "a"]);
    home.ok(["auth", "delete", "rule", "-n", "shop", "a"]);
    home.ok(["auth", "update", "secret", "-n", "shop", "john", "--new-secret", "u"]);
    home.ok(["auth", "delete", "account", "-n", "shop", "john"]);
    home.fails(4, ["login", "-n", "shop", "--username", "jane", "--password", "wrong"]);
    // Into another namespace, at the HTTP API.
    let token = home.ok(["user", "token", "-n", "shop"]);
    let bearer = format!("Bearer {}", token.trim());
    let path = "/auth/Accounts/List?options.namespace=micro";
    for _ in 0..3 {
        let (status, _) = http(&home.state().api, "GET", path, &[("Authorization", &bearer)], "");
        assert_eq!(status, 403);
    }
    let noted = records(&home, &["-n", "shop"]);
    assert_eq!(
        brief(&noted),
        [
            ("account.create", "jane", true),
            ("login", "jane", true),
            ("account.create", "john", true),
            ("rule.create", "a", true),
            ("rule.delete", "a", true),
            ("account.secret", "john", true),
            ("account.delete", "john", true),
            ("login", "jane", false),
            ("call", "auth.Accounts.List", false),
        ]
    );
    assert_eq!(noted[0]["peer"], "local socket");
    assert_eq!((&noted[8]["account"], &noted[8]["peer"]), (&"jane".into(), &"127.0.0.1".into()));
    let lines = home.ok(["auth", "audit", "-n", "shop", "--count", "1"]);
    assert!(lines.contains("refused call auth.Accounts.List by jane of shop, 127.0.0.1"), "{lines}");

    // Not for others: an administrator of a namespace reads no other, nor does who is none.
    home.fails(4, ["auth", "audit", "-n", "shop", "--all-namespaces"]);
    home.ok(["login", "--local", "-n", "shop"]);
    assert!(records(&home, &["--all-namespaces"]).len() >= noted.len());
    home.ok(["server", "restart"]);
    assert_eq!(records(&home, &["-n", "shop"])[..9], noted[..]);
    home.ok(["logout"]);
    home.fails(4, ["auth", "audit"]);
}

#[test]
fn guesses_that_come_too_fast_are_noted_too() {
    let home = Home::new();
    home.ok(["auth", "create", "account", "--secret", "s", "jane"]);
    let guess =
        || http(&home.state().api, "POST", "/auth/Auth/Token", &[], r#"{"id":"jane","secret":"x"}"#).0;
    assert_eq!([0; 6].map(|_| guess()), [400, 400, 400, 400, 400, 429]);
    let noted = records(&home, &[]);
    let slowed = |record: &&Value| record["detail"] == "too many failed logins before it";
    let slowed = noted.iter().find(slowed).unwrap_or_else(|| panic!("{noted:?}"));
    assert_eq!((&slowed["action"], &slowed["subject"]), (&"login".into(), &"jane".into()));
}

#[test]
fn who_follows_sees_what_is_noted_later_until_the_server_stops() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let mut command = home.command(["-o", "jsonl", "auth", "audit", "--follow", "--count", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Noted before or after the stream began: it comes either way.
    home.ok(["auth", "create", "account", "--secret", "s", "jane"]);
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&first["action"], &first["subject"]), (&"account.create".into(), &"jane".into()));
    home.ok(["auth", "rotate", "key"]);
    let next: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&next["action"], &next["issuer"]), (&"key.rotate".into(), &"micro".into()));
    home.ok(["server", "stop"]);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
