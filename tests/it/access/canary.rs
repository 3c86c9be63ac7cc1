//! What is secret stands nowhere: not in a log, in an error, in the list of processes, in a file that
//! tells the state of things, nor in clear in the database.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::doors::{Door, Doors};
use crate::{
    faulty,
    support::{Home, eventually, outcome},
};

/// Every file below a folder that holds one of these texts.
fn holders(folder: &Path, secrets: &[(&str, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(holders(&entry.path(), secrets));
            continue;
        }
        // What is no file, or is gone meanwhile, cannot be read.
        let content = fs::read(entry.path()).unwrap_or_default();
        for (what, secret) in secrets {
            if content.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                found.push(format!("{} holds the {what}", entry.path().display()));
            }
        }
    }
    found
}

/// The arguments of every process, and with `all` their environment.
fn processes(all: bool) -> String {
    let output = Command::new("ps").args(if all { &["axeww"][..] } else { &["axww"] }).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What can be asked with secrets, well and badly.
fn requests(
    password: &str,
    wrong: &str,
    generated: &str,
    refresh: &str,
    token: &str,
    value: &Value,
) -> Vec<(&'static str, Value)> {
    vec![
        ("auth.Auth.Token", json!({"id": "jane", "secret": wrong})),
        ("auth.Auth.Token", json!({"id": "nobody", "secret": password})),
        ("auth.Auth.Token", json!({"id": "made", "secret": format!("{generated}x")})),
        ("auth.Auth.Token", json!({"refresh_token": format!("{refresh}x")})),
        ("auth.Auth.Token", json!({"refresh_token": refresh, "options": {"namespace": "shop"}})),
        ("auth.Auth.Inspect", json!({"token": format!("{token}x")})),
        ("auth.Auth.Inspect", json!({"token": refresh})),
        ("auth.Accounts.ChangeSecret", json!({"id": "jane", "old_secret": wrong, "new_secret": wrong})),
        ("auth.Accounts.ChangeSecret", json!({"id": "none", "new_secret": password})),
        ("auth.Auth.Generate", json!({"id": "jane", "secret": password})),
        ("auth.Auth.Generate", json!({"id": "", "secret": password})),
        ("auth.Accounts.List", json!({})),
        ("auth.Rules.List", json!({})),
        ("config.Config.Get", json!({"path": "a"})),
        ("config.Config.Get", json!({"path": "a.secret"})),
        ("config.Config.Read", json!({"path": ""})),
        ("config.Config.List", json!({})),
        ("config.Config.Watch", json!({"path": "a"})),
        (
            "config.Config.Set",
            json!({"path": "a.secret", "value": value, "options": {"secret": true}, "if_revision": "99"}),
        ),
        ("config.Config.Set", json!({"path": "a..b", "value": value, "options": {"secret": true}})),
        ("config.Config.Set", json!({"path": "", "value": value, "options": {"secret": true}})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_stands_in_no_log_error_list_or_file() {
    let home = Home::new();
    let started = outcome(home.command(["server", "start"]).env("MICRO_LOG_LEVEL", "trace"));
    assert_eq!(started.code, Some(0), "{started:#?}");
    let doors = Doors::open(&home).await;
    let variable = "canary-variable-7a31c8".to_owned();
    faulty::run(&home, &["--env_vars", &format!("DB_PASSWORD={variable}")]);
    let password = "canary-password-19e4b7".to_owned();
    let setting = "canary-setting-55d0a1".to_owned();
    let wrong = "canary-guess-0c77f2".to_owned();
    doors.own("auth.Auth.Generate", &json!({"id": "jane", "secret": password, "scopes": ["admin"]})).await;
    let (bearer, refresh) = doors.log_in("micro", "jane", &password).await;
    let token = bearer.strip_prefix("Bearer ").unwrap().to_owned();
    let made = doors.own("auth.Auth.Generate", &json!({"id": "made"})).await;
    let made: Value = serde_json::from_str(&made.text).unwrap();
    let generated = made["account"]["secret"].as_str().unwrap().to_owned();
    let value = json!({"data": json!(setting).to_string()});
    let secret = json!({"path": "a.secret", "value": value, "options": {"secret": true}});
    doors.own("config.Config.Set", &secret).await;
    let secrets = [
        ("password", password.clone()),
        ("setting", setting.clone()),
        ("guess", wrong.clone()),
        ("variable", variable),
        ("refresh token", refresh.clone()),
        ("token", token.clone()),
        ("generated secret", generated.clone()),
    ];

    home.fails(4, ["login", "--username", "jane", "--password", &wrong]);
    home.ok(["login", "--username", "jane", "--password", &password]);
    for words in
        [&["user"][..], &["status"], &["services"], &["config", "list"], &["auth", "list", "accounts"]]
    {
        let said = home.run(words);
        for (what, secret) in &secrets {
            let said = format!("{}{}", said.stdout, said.stderr);
            assert!(!said.contains(secret.as_str()), "{words:?} shows the {what}: {said}");
        }
    }
    home.ok(["logout"]);
    home.ok(["login", "--local"]);

    // Everything that can be done with them, well and badly, at every door.
    let broken = format!("Bearer {}.{wrong}", token.rsplit_once('.').unwrap().0);
    let requests = requests(&password, &wrong, &generated, &refresh, &token, &value);
    for door in Door::TCP {
        for authorization in [&*bearer, &broken] {
            for (method, request) in &requests {
                let headers = [("authorization", authorization)];
                let answer = doors.ask(door, method, &headers, &request.to_string()).await;
                for (what, secret) in &secrets {
                    assert!(!answer.shows(secret), "{method} {request} shows the {what}: {answer:?}");
                }
            }
        }
    }
    // What is not even JSON is told where it is wrong, not what it is.
    let halves = format!(r#"{{"path":"a.secret","value":{{"data":"{setting}","#);
    for door in [Door::Api, Door::ProxyJson] {
        let path = if door == Door::Api { "/config/Config/Set" } else { "/config.Config/Set" };
        let answer = doors.send(door, path, &[("authorization", &bearer)], halves.as_bytes(), false).await;
        assert!(answer.code == 400 && !answer.shows(&setting), "{answer:?}");
    }
    let headers = [("authorization", &*bearer)];
    let panicked = doors.send(Door::Api, "/helloworld/Call", &headers, br#"{"name":"panic"}"#, false).await;
    assert_eq!(panicked.code, 500);
    eventually("the server to have written its log", || {
        let log = fs::read_to_string(home.data().join("logs/server.log")).ok()?;
        log.contains("the server is ready").then_some(())
    });

    for all in [false, true] {
        let listed = processes(all);
        assert!(listed.contains("micro"), "there is a list");
        // The variables of a service's process are what it was given.
        for (what, secret) in secrets.iter().filter(|(what, _)| !all || *what != "variable") {
            assert!(!listed.contains(secret.as_str()), "the list of processes shows the {what}");
        }
    }
    assert_eq!(holders(home.path(), &secrets), Vec::<String>::new());
    home.ok(["server", "stop"]);
    assert_eq!(holders(home.path(), &secrets), Vec::<String>::new());
    assert!(
        !holders(home.path(), &[("name", "jane".to_owned())]).is_empty(),
        "the search finds what is there"
    );
}
