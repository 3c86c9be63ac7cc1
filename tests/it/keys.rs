//! The keys of tokens: published, so that services verify tokens themselves, and replaced without
//! ending a login.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;

use crate::support::{Home, http, not_run};

fn key_set(home: &Home) -> Vec<Value> {
    let (status, body) = http(&home.state().api, "GET", "/.well-known/jwks.json", &[], "");
    assert_eq!(status, 200, "{body}");
    let set: Value = serde_json::from_str(&body).unwrap();
    set["keys"].as_array().unwrap().clone()
}

/// Verifies a token as a stranger would who knows the key set and RFC 7515.
fn verifies(token: &str, keys: &[Value]) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let head = URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap()).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    let Some(key) = keys.iter().find(|key| key["kid"] == head["kid"]) else { return false };
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&"OKP".into(), &"Ed25519".into(), &head["alg"]));
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).is_ok()
}

fn works(home: &Home, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let (status, _) =
        http(&home.state().api, "GET", "/auth/Accounts/List", &[("Authorization", &bearer)], "");
    status == 200
}

#[test]
fn a_stranger_verifies_tokens_with_the_key_set_across_a_rotation() {
    let home = Home::new();
    home.ok(["login", "--username", "admin", "--password", "micro"]);
    let token = || home.ok(["user", "token"]).trim().to_owned();
    let old = token();
    let before = key_set(&home);
    assert_eq!(before.len(), 1);
    assert!(verifies(&old, &before));
    let said = home.ok(["-o", "json", "auth", "rotate", "key"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let after = key_set(&home);
    assert_eq!(after.len(), 2);
    assert_eq!(after[0]["kid"], said["kid"]);
    // The old token counts, for us and for strangers; so does the login, with a new token too.
    assert!(verifies(&old, &after) && works(&home, &old));
    home.ok(["login", "--username", "admin", "--password", "micro"]);
    let new = token();
    assert!(verifies(&new, &after) && !verifies(&new, &before) && works(&home, &new));
    home.ok(["server", "restart"]);
    assert_eq!(key_set(&home), after);
    assert!(works(&home, &old) && works(&home, &new));
}

#[test]
fn only_administrators_of_the_platform_replace_the_key() {
    let home = Home::new();
    for (namespace, scopes) in [("shop", "admin"), ("micro", "staff")] {
        let create =
            ["auth", "create", "account", "--secret", "s", "--scopes", scopes, "-n", namespace, "jane"];
        home.ok(create);
        home.ok(["login", "-n", namespace, "--username", "jane", "--password", "s"]);
        home.fails(4, ["auth", "rotate", "key", "-n", namespace]);
        home.ok(["login", "--local", "-n", namespace]);
    }
    home.ok(["logout"]);
    home.fails(4, ["auth", "rotate", "key"]);
}

/// A process of another user of this machine reaches the port, but has no use of the secret that
/// every fresh server has.
#[test]
#[cfg(target_os = "linux")]
fn the_first_secret_is_taken_from_processes_of_the_owner_only() {
    use std::{os::unix::process::CommandExt as _, process::Command};

    const BODY: &str = r#"{"id":"admin","secret":"micro"}"#;
    let home = Home::new();
    home.ok(["auth", "list", "accounts"]);
    let url = format!("http://{}/auth/Auth/Token", home.state().api);
    let curl = |uid: Option<u32>| {
        let mut command = Command::new("curl");
        command.args(["-s", "-H", "Content-Type: application/json", "-d", BODY, &url]);
        if let Some(uid) = uid {
            command.uid(uid);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(curl(None).contains("access_token"));
    if !rustix::process::getuid().is_root() {
        not_run("only root can act as another user");
        return;
    }
    let refused = curl(Some(65_534));
    assert!(refused.contains("\"code\":403") && refused.contains("micro user set password"), "{refused}");
    home.ok(["user", "set", "password", "--new-password", "micro"]);
    assert!(curl(Some(65_534)).contains("access_token"));
}
