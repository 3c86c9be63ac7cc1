//! Who a command is: the owner of the home, an account, or nobody.

use std::{
    fs,
    io::Write as _,
    process::Stdio,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use toml_edit::DocumentMut;

use crate::support::{Home, PATIENCE, http, outcome};

const LOGIN: [&str; 5] = ["login", "--username", "admin", "--password", "micro"];

fn credentials(home: &Home) -> DocumentMut {
    let path = home.path().join("home/config/credentials.toml");
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Lets the access token that is kept look as if it had ended, and returns it.
fn expire(home: &Home) -> String {
    let mut document = credentials(home);
    let login = &mut document["logins"]["local"]["micro"];
    let token = login["access_token"].as_str().unwrap().to_owned();
    login["expiry"] = toml_edit::value(1);
    fs::write(home.path().join("home/config/credentials.toml"), document.to_string()).unwrap();
    token
}

#[test]
fn a_login_with_a_wrong_password_keeps_the_old_login() {
    let home = Home::new();
    assert_eq!(home.ok(LOGIN), "Successfully logged in.\n");
    let kept = credentials(&home).to_string();
    for wrong in [
        ["login", "--username", "admin", "--password", "wrong"],
        ["login", "--username", "nobody", "--password", "micro"],
        ["login", "--username", "admin", "--password", "Micro"],
    ] {
        let said = home.fails(4, wrong);
        assert!(said.starts_with("error: no account "), "{said}");
        assert!(said.contains("hint: nothing was changed"), "{said}");
    }
    assert_eq!(credentials(&home).to_string(), kept);
    assert_eq!(home.ok(["user"]), "admin\n");
}

#[test]
fn a_login_with_nobody_to_ask_names_the_flag_that_is_missing() {
    let home = Home::new();
    let said = home.fails(2, ["login"]);
    assert!(said.starts_with("error: --username is missing"), "{said}");
    let said = home.fails(2, ["login", "--username", "admin"]);
    assert!(said.starts_with("error: --password is missing"), "{said}");
}

#[test]
fn a_password_can_come_from_standard_input() {
    let home = Home::new();
    let mut command = home.command(["login", "--username", "admin", "--password", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"micro\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Successfully logged in.\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn who_logged_out_is_nobody_until_the_next_login() {
    let home = Home::new();
    home.ok(LOGIN);
    home.ok(["logout"]);
    for words in [
        &["services"][..],
        &["status"],
        &["logs", "helloworld"],
        &["kill", "helloworld"],
        &["user"],
        &["user", "token"],
    ] {
        let said = home.fails(4, words);
        assert!(said.contains("micro login"), "{words:?}: {said}");
    }
    // To log out once more changes nothing.
    home.ok(["logout"]);
    home.fails(4, ["services"]);

    home.ok(["login", "--local"]);
    assert_eq!(home.ok(["user"]), "admin\n");
    home.ok(["services"]);
}

/// Whether a token, which has just been made, lives this many seconds.
fn lives(token: &str, seconds: u64) -> bool {
    let payload = token.trim().trim_matches('"').split('.').nth(1).unwrap();
    let claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let ends = UNIX_EPOCH + Duration::from_secs(claims["exp"].as_u64().unwrap());
    let left = ends.duration_since(SystemTime::now()).unwrap();
    (Duration::from_secs(seconds).saturating_sub(PATIENCE)..=Duration::from_secs(seconds)).contains(&left)
}

#[test]
fn the_owner_is_given_a_token_that_works_on_every_door() {
    let home = Home::new();
    let token = home.ok(["user", "token"]);
    assert!(lives(&token, 3600), "{token}");
    assert!(lives(&home.ok(["user", "token", "--expires", "90s"]), 90));
    let authorization = format!("Bearer {}", token.trim_end());
    let accounts = || {
        let headers = [("Authorization", &*authorization)];
        http(&home.state().api, "GET", "/auth/Accounts/List", &headers, "").0
    };
    assert_eq!(http(&home.state().api, "GET", "/auth/Accounts/List", &[], "").0, 401);
    assert_eq!(accounts(), 200);
    for wrong in ["0s", "25h", "soon", "-1s"] {
        home.fails(2, ["user", "token", &format!("--expires={wrong}")]);
    }
    // Nobody is logged in by it, and a new password ends it.
    assert!(!home.path().join("home/config/credentials.toml").exists());
    home.ok(["user", "set", "password", "--new-password", "another"]);
    assert_eq!(accounts(), 401);
}

#[test]
fn a_login_is_given_tokens_of_their_own_life_and_goes_on() {
    let home = Home::new();
    home.ok(LOGIN);
    let kept = credentials(&home)["logins"]["local"]["micro"]["access_token"].to_string();
    assert!(lives(&home.ok(["user", "token"]), 3600));
    assert!(lives(&home.ok(["user", "token", "--expires", "2h", "-o", "json"]), 7200));
    assert_eq!(credentials(&home)["logins"]["local"]["micro"]["access_token"].to_string(), kept);
    // The login can still be renewed.
    expire(&home);
    home.ok(["services"]);
    assert!(lives(&home.ok(["user", "token"]), 3600));
}

#[test]
fn the_owner_needs_no_server_to_know_who_they_are() {
    let home = Home::new();
    assert_eq!(home.ok(["user"]), "admin\n");
    assert_eq!(home.ok(["-o", "json", "user"]), "\"admin\"\n");
    assert_eq!(home.ok(["user", "namespace"]), "micro\n");
    assert!(!home.data().exists(), "a command that needs no server has started one");
}

#[test]
fn a_login_to_the_owners_account_is_for_the_local_environment_alone() {
    let home = Home::new();
    home.ok(["env", "add", "far", "127.0.0.1:1"]);
    let said = home.fails(2, ["-e", "far", "login", "--local"]);
    assert!(said.contains("not `far`"), "{said}");
    home.fails(2, ["login", "--local", "--username", "admin"]);
    assert!(home.fails(4, ["-e", "far", "user"]).contains("not logged in"));
}

#[test]
fn a_token_that_has_ended_is_renewed_without_a_word() {
    let home = Home::new();
    home.ok(LOGIN);
    let old = expire(&home);
    let renewed = home.run(["services"]);
    assert_eq!((renewed.code, renewed.stderr.as_str()), (Some(0), ""));
    let document = credentials(&home);
    let login = &document["logins"]["local"]["micro"];
    assert!(lives(login["access_token"].as_str().unwrap(), 900));
    assert!(login["expiry"].as_integer().unwrap() > 1);
    // Both are good until they end, so that a command under way is not cut off.
    assert_eq!(old.split('.').count(), 3);
    home.ok(["services"]);
}

#[test]
fn commands_at_once_renew_a_token_and_all_succeed() {
    let home = Home::new();
    home.ok(LOGIN);
    expire(&home);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..8).map(|_| scope.spawn(|| home.run(["services"]))).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(outcomes.iter().all(|outcome| outcome.code == Some(0)), "{outcomes:#?}");
    home.ok(["services"]);
}

#[test]
fn a_login_that_the_server_no_longer_knows_says_to_log_in_again() {
    let home = Home::new();
    home.ok(LOGIN);
    expire(&home);
    let mut document = credentials(&home);
    document["logins"]["local"]["micro"]["refresh_token"] = toml_edit::value("unknown");
    fs::write(home.path().join("home/config/credentials.toml"), document.to_string()).unwrap();
    let said = home.fails(4, ["services"]);
    assert!(said.starts_with("error: the login has ended") && said.contains("`micro login`"), "{said}");
    home.ok(LOGIN);
    home.ok(["services"]);
}

#[test]
fn logins_of_two_namespaces_stand_side_by_side() {
    let home = Home::new();
    home.ok(LOGIN);
    home.ok(["-n", "shop", "logout"]);
    assert_eq!(home.ok(["user"]), "admin\n");
    home.fails(4, ["-n", "shop", "user"]);
    home.ok(["user", "namespace", "set", "shop"]);
    assert_eq!(home.ok(["user", "namespace"]), "shop\n");
    home.fails(4, ["user"]);
    home.ok(["-n", "micro", "user"]);
    let mut command = home.command(["user", "namespace"]);
    assert_eq!(outcome(command.env("MICRO_NAMESPACE", "other")).stdout, "other\n");
}
