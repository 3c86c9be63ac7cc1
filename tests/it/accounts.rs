//! Accounts, secrets and rules as people manage them, at every door: what Micro v4's own tests of them
//! ask for, and what ends when an account loses its rights.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::Value;

use crate::support::{Home, eventually, hello, helloworld, http};

fn log_in(home: &Home, id: &str, secret: &str) {
    assert_eq!(home.ok(["login", "--username", id, "--password", secret]), "Successfully logged in.\n");
}

#[test]
fn a_namespace_has_no_account_by_itself() {
    let home = Home::new();
    log_in(&home, "admin", "micro");
    home.ok(["user", "namespace", "set", "random-namespace"]);
    let said = home.fails(4, ["login", "--email", "admin", "--password", "micro"]);
    assert!(!said.contains("Success"), "{said}");
    home.ok(["logout"]);
    let program = helloworld().join("target/debug/helloworld");
    let run = ["run", helloworld().to_str().unwrap(), "--command", program.to_str().unwrap()];
    home.fails(4, run);
    home.fails(4, ["status"]);
}

#[test]
fn an_administrator_of_a_namespace_runs_services_there_for_everybody() {
    let home = Home::new();
    let create =
        ["auth", "create", "account", "--secret", "micro", "--scopes", "admin", "-n", "shop", "admin"];
    assert!(home.ok(create).starts_with("Account created: {"));
    home.ok(["user", "namespace", "set", "shop"]);
    log_in(&home, "admin", "micro");
    home.run_helloworld();
    let called = eventually("the service to be called over HTTP", || {
        let headers = [("Micro-Namespace", "shop")];
        let (status, body) = http(&home.state().api, "GET", "/helloworld/Call?name=Jane", &headers, "");
        (status == 200).then_some(body)
    });
    assert_eq!(called, "{\"msg\":\"Hello Jane\"}");
    let status = home.ok(["status"]);
    for word in ["helloworld", "latest", "running", "owner=admin"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    assert_eq!(home.ok(["helloworld", "call", "--name=joe"]), hello("joe"));
    let headers = [("Micro-Namespace", "shop")];
    let (_, body) = http(&home.state().api, "GET", "/helloworld?name=Jane", &headers, "");
    assert_eq!(body, "{\"msg\":\"Hello Jane\"}");
    // The administrator of one namespace is nobody in another.
    let bearer = format!("Bearer {}", home.ok(["user", "token"]).trim());
    for (namespace, expected) in [("shop", 200), ("micro", 403)] {
        let path = format!("/auth/Accounts/List?options.namespace={namespace}");
        let (status, _) = http(&home.state().api, "GET", &path, &[("Authorization", &bearer)], "");
        assert_eq!(status, expected, "{namespace}");
    }
}

#[test]
fn accounts_and_rules_are_listed_and_tokens_given_out() {
    let home = Home::new();
    assert!(home.ok(["auth", "list", "accounts"]).contains("admin"));
    let rules = home.ok(["auth", "list", "rules"]);
    assert!(rules.contains("default") && rules.contains("<public>") && rules.contains("*:*:*"), "{rules}");
    let answer = home.ok(["call", "auth", "Auth.Token", r#"{"id":"admin","secret":"micro"}"#]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    for field in ["access_token", "refresh_token", "expiry"] {
        assert!(answer["token"][field].is_string(), "{answer}");
    }
    let token = home.ok(["-o", "json", "auth", "create", "token", "--id", "admin", "--secret", "micro"]);
    let token: Value = serde_json::from_str(&token).unwrap();
    assert!(token["expiry"].as_str().unwrap().ends_with('Z'), "{token}");
}

#[test]
fn a_locked_server_is_open_to_whom_a_rule_names() {
    let home = Home::new();
    home.ok(["services"]);
    for path in ["/store/list", "/registry/listServices"] {
        let (status, body) = home.http(path);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["code"]), (401, &Value::from(401)), "{path}");
    }
    log_in(&home, "admin", "micro");
    home.ok(["auth", "create", "account", "--secret", "mystrongpass", "me@email.com"]);
    home.ok(["auth", "create", "rule", "--access=granted", "--scope=*", "--resource=*:*:*", "onlyloggedin"]);
    let token =
        ["auth", "create", "rule", "--access=granted", "--resource=service:auth:Auth.Token", "authpublic"];
    assert_eq!(home.ok(token), "Rule created\n");
    let none = home.run(["auth", "delete", "rule", "admin"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert!(none.stderr.contains("there was no rule admin in namespace micro"), "{}", none.stderr);
    assert_eq!(home.ok(["auth", "delete", "rule", "default"]), "Rule deleted\n");
    let bearer = format!("Bearer {}", home.ok(["user", "token"]).trim());
    let headers = [("Authorization", bearer.as_str())];
    let listed = || http(&home.state().api, "GET", "/registry/listServices", &headers, "").0;
    assert_eq!(listed(), 200);
    assert_eq!(home.run(["logout"]).stderr, "");
    assert_eq!(listed(), 401);
    home.fails(4, ["auth", "list", "rules"]);
    for path in ["/helloworld/Call", "/registry/getService?service=auth", "/auth/Auth/Revoke"] {
        let (status, body) = home.http(path);
        assert!(matches!(status, 401 | 404), "{path}: {status} {body}");
    }
    assert_eq!(home.http("/auth/Auth/Revoke").0, 401);
    log_in(&home, "me@email.com", "mystrongpass");
    let rules = home.ok(["auth", "list", "rules"]);
    assert!(rules.contains("onlyloggedin") && rules.contains("authpublic"), "{rules}");
    home.fails(4, ["auth", "list", "accounts"]);
    home.fails(4, ["auth", "create", "rule", "mine"]);
    // The last ones keep the door ajar; who owns the home is never shut out.
    home.ok(["login", "--local"]);
    home.ok(["auth", "delete", "rule", "onlyloggedin"]);
    let said = home.fails(7, ["auth", "delete", "rule", "authpublic"]);
    assert!(said.contains("last rule"), "{said}");
    home.fails(4, ["services"]);
    home.ok(["auth", "create", "rule", "everybody"]);
    home.ok(["services"]);
}

#[test]
fn a_rule_holds_for_a_service_at_every_door_from_the_next_call_on() {
    let home = Home::new();
    home.run_helloworld();
    let call = ["helloworld", "call", "--name=Jane"];
    home.ok(call);
    home.ok([
        "auth",
        "create",
        "rule",
        "--access=denied",
        "--priority=1",
        "--resource=service:HelloWorld:*",
        "no",
    ]);
    let said = home.fails(4, call);
    assert!(said.contains("the rules of namespace micro"), "{said}");
    assert_eq!(home.http("/helloworld/Call?name=Jane").0, 401);
    assert_eq!(home.http("/helloworld/call?name=Jane").0, 401);
    home.ok(["auth", "delete", "rule", "no"]);
    home.ok(call);
    assert_eq!(home.http("/helloworld/Call?name=Jane").0, 200);
}

#[test]
fn a_password_is_changed_by_who_knows_it() {
    let home = Home::new();
    assert!(home.ok(["auth", "list", "accounts"]).contains("admin"));
    home.ok(["auth", "create", "account", "--secret", "mystrongpass", "me@email.com"]);
    log_in(&home, "me@email.com", "mystrongpass");
    let change = |old: &str| {
        home.run(["user", "set", "password", "--old-password", old, "--new-password", "shinyNewPass"])
    };
    let refused = change("micro121212");
    assert_eq!(refused.code, Some(7), "{refused:#?}");
    assert_eq!(change("mystrongpass").code, Some(0));
    // The login that changed it goes on.
    assert_eq!(home.ok(["user"]), "me@email.com\n");
    home.fails(4, ["login", "--username", "me@email.com", "--password", "mystrongpass"]);
    log_in(&home, "me@email.com", "shinyNewPass");
    // The owner of the home needs no old one; the account of a fresh server has none any more.
    home.ok(["login", "--local"]);
    home.ok(["user", "set", "password", "--new-password", "a long one"]);
    home.fails(4, ["login", "--username", "admin", "--password", "micro"]);
    log_in(&home, "admin", "a long one");
}

#[test]
fn an_account_is_known_by_its_id_and_by_its_name() {
    let home = Home::new();
    let generate = |id: &str| {
        let request =
            format!(r#"{{"id":"{id}","name":"someUsername","secret":"password","scopes":["admin"]}}"#);
        home.run(["call", "auth", "Auth.Generate", &request])
    };
    assert_eq!(generate("someID").code, Some(0));
    for id in ["someUsername", "someID"] {
        log_in(&home, id, "password");
        home.ok(["login", "--email", id, "--password", "password"]);
    }
    assert_eq!(generate("someID2").code, Some(7));
    assert!(home.ok(["auth", "list", "accounts"]).contains("someUsername"));
    assert_eq!(home.ok(["user"]), "someUsername\n");
    assert!(home.ok(["user", "config"]).contains("someUsername"));
    home.ok(["user", "set", "password", "--old-password", "password", "--new-password", "password1"]);
    log_in(&home, "someUsername", "password1");
    let said = home.fails(7, ["auth", "delete", "account", "someUsername"]);
    assert!(said.contains("own account"), "{said}");
    home.fails(5, ["auth", "delete", "account", "nobody"]);
    home.run_helloworld();
    assert!(home.ok(["status"]).contains("owner=someUsername"));
    let said = home.fails(2, ["auth", "create", "account", "--type", "servise", "x"]);
    assert!(said.contains("a similar value exists: 'service'"), "{said}");
    for expiry in ["0", "-5"] {
        home.fails(2, ["auth", "create", "token", "--id", "x", "--secret", "y", "--expiry", expiry]);
    }
    home.fails(4, ["auth", "create", "token", "--id", "someID", "--secret", "password"]);
}

#[test]
fn what_is_refused_is_not_had_as_a_part_of_something_else() {
    let home = Home::new();
    home.ok(["config", "set", "bank", "{\"name\": \"x\", \"other\": {\"a\": 1}}"]);
    home.ok(["config", "set", "bank.pin", "1234", "--secret"]);
    home.ok(["store", "write", "-t", "payroll", "boss", "99999"]);
    home.ok(["store", "write", "-t", "notes", "a", "b"]);
    let logo = home.path().join("logo");
    std::fs::write(&logo, "logo").unwrap();
    for key in ["team/open", "team/closed/a"] {
        home.ok(["store", "blob", "write", key, logo.to_str().unwrap()]);
    }
    home.ok(["auth", "create", "account", "--secret", "s", "--scopes", "staff", "jane"]);
    for (id, resource, access, priority) in [
        ("config", "config:*:*", "granted", "1"),
        ("pin", "config:bank.pin:*", "denied", "2"),
        ("table", "table:*:*", "granted", "1"),
        ("payroll", "table:payroll:*", "denied", "2"),
        ("blob", "blob:*:*", "granted", "1"),
        ("closed", "blob:team/closed:*", "denied", "2"),
    ] {
        let rule = ["auth", "create", "rule", "--scope", "staff", "--resource", resource];
        home.ok(rule.iter().chain(&["--access", access, "--priority", priority, id]));
    }
    log_in(&home, "jane", "s");
    for allowed in [
        &["config", "get", "bank.name"][..],
        &["config", "set", "bank.other", "2"],
        &["config", "list", "bank.other"],
        &["store", "read", "-t", "notes", "a"],
        &["store", "blob", "read", "team/open"],
    ] {
        home.ok(allowed);
    }
    let copy = home.path().join("copy");
    let copy = copy.to_str().unwrap();
    for (refused, part) in [
        (&["config", "get", "bank", "--secret"][..], "bank.pin"),
        (&["config", "get", ""], "bank.pin"),
        (&["config", "list"], "bank.pin"),
        (&["config", "watch", "bank"], "bank.pin"),
        (&["config", "set", "bank", "1"], "bank.pin"),
        (&["config", "del", "bank"], "bank.pin"),
        (&["config", "get", "bank.pin"], "bank.pin"),
        (&["store", "read", "-t", "payroll", "boss"], "payroll"),
        (&["store", "snapshot", copy], "payroll"),
        (&["store", "tables"], "payroll"),
        (&["store", "blob", "list"], "team/closed"),
        (&["store", "blob", "list", "--prefix", "team/"], "team/closed"),
        (&["store", "blob", "read", "team/closed/a"], "team/closed"),
    ] {
        let said = home.fails(4, refused);
        assert!(said.contains(part) && !said.contains("1234"), "{refused:?}: {said}");
    }
    assert!(!std::path::Path::new(copy).exists());
    // Administrators of the platform are not shut out.
    home.ok(["login", "--local"]);
    assert!(home.ok(["config", "get", "bank", "--secret"]).contains("1234"));
}

#[test]
fn an_account_that_is_deleted_is_out_at_once_and_so_are_its_open_streams() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["auth", "create", "account", "--secret", "s", "--scopes", "admin", "jane"]);
    home.ok(["env", "add", "far", &home.state().proxy]);
    home.ok(["-e", "far", "login", "--username", "jane", "--password", "s"]);
    let token = home.ok(["-e", "far", "user", "token"]);
    let bearer = format!("Bearer {}", token.trim());
    let listed =
        || http(&home.state().api, "GET", "/registry/listServices", &[("Authorization", &bearer)], "").0;
    assert_eq!(listed(), 200);
    let mut follow = home.command(["-e", "far", "logs", "-f", "helloworld"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(follow.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    home.ok(["auth", "delete", "account", "jane"]);
    assert_eq!(listed(), 401);
    home.fails(4, ["-e", "far", "services"]);
    let ended = eventually("the stream to end", || follow.try_wait().unwrap());
    assert_eq!(ended.code(), Some(4));
}

#[test]
fn a_logout_ends_the_token_too() {
    let home = Home::new();
    log_in(&home, "admin", "micro");
    let bearer = format!("Bearer {}", home.ok(["user", "token"]).trim());
    let listed =
        || http(&home.state().api, "GET", "/registry/listServices", &[("Authorization", &bearer)], "").0;
    assert_eq!(listed(), 200);
    home.ok(["logout"]);
    assert_eq!(listed(), 401);
}
