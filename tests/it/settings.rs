//! `micro user config`: what is in effect, where it comes from, and how it is kept.

use serde_json::Value;

use crate::support::Home;

/// Value and source of each setting.
fn settings(home: &Home, flags: &[&str], variables: &[(&str, &str)]) -> Value {
    let mut command = home.command(flags.iter().copied().chain(["-o", "json", "user", "config"]));
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    rows.into_iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row)).collect()
}

#[test]
fn each_setting_tells_where_it_comes_from() {
    let home = Home::new();
    let at = |settings: &Value, name: &str| {
        let text = |key: &str| settings[name][key].as_str().unwrap().to_owned();
        (text("value"), text("source"))
    };
    let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    let fresh = settings(&home, &[], &[]);
    assert_eq!(at(&fresh, "user"), pair("admin", "owner of this home"));
    assert_eq!(at(&fresh, "environment"), pair("local", "default"));
    assert_eq!(at(&fresh, "namespace"), pair("micro", "default"));
    assert_eq!(at(&fresh, "timeout"), pair("1m", "default"));
    assert_eq!(at(&fresh, "output"), pair("json", "flag --output"));
    assert_eq!(at(&fresh, "data").1, "variable MICRO_HOME");

    home.ok(["user", "config", "set", "namespace", "shop"]);
    let file = home.path().join("home/config/config.toml").display().to_string();
    assert_eq!(at(&settings(&home, &[], &[]), "namespace"), pair("shop", &file));
    let variable = [("MICRO_NAMESPACE", "away")];
    assert_eq!(at(&settings(&home, &[], &variable), "namespace"), pair("away", "variable MICRO_NAMESPACE"));
    let flagged = settings(&home, &["-n", "here", "--timeout", "5s"], &variable);
    assert_eq!(at(&flagged, "namespace"), pair("here", "flag --namespace"));
    assert_eq!(at(&flagged, "timeout"), pair("5s", "flag --timeout"));
    assert_eq!(home.ok(["user", "config", "get", "namespace"]), "shop\n");
    assert_eq!(home.ok(["user", "namespace"]), "shop\n");
    home.ok(["user", "config", "delete", "namespace"]);
    assert_eq!(home.ok(["user", "config", "get", "namespace"]), "micro\n");

    home.ok(["env", "add", "far", "far.example.com:8081"]);
    home.ok(["user", "config", "set", "environment", "far"]);
    let far = settings(&home, &[], &[]);
    assert_eq!(at(&far, "environment"), pair("far", &file));
    assert_eq!(at(&far, "user"), pair("n/a", "default"));
    home.ok(["-e", "far", "user", "namespace", "set", "away"]);
    home.ok(["-e", "local", "user", "namespace", "set", "shop"]);
    assert_eq!(home.ok(["user", "namespace"]), "away\n");
    assert_eq!(home.ok(["-e", "local", "user", "namespace"]), "shop\n");
    assert!(home.fails(5, ["user", "config", "set", "environment", "nowhere"]).contains("micro env add"));
}

#[test]
fn the_account_that_is_logged_in_is_named() {
    let home = Home::new();
    home.ok(["auth", "create", "account", "--secret", "s", "--name", "Jane", "jane@example.com"]);
    home.ok(["login", "--username", "Jane", "--password", "s"]);
    let table = home.ok(["user", "config"]);
    assert!(table.contains("Jane") && table.contains("credentials.toml"), "{table}");
    assert_eq!(home.ok(["user"]), "Jane\n");
    home.ok(["logout"]);
    assert_eq!(home.ok(["user", "config", "get", "user"]), "n/a\n");
}

#[test]
fn a_setting_that_is_not_there_or_cannot_be_kept_is_told() {
    let home = Home::new();
    assert!(home.fails(5, ["user", "config", "get", "colour"]).contains("environment, namespace"));
    for words in [["set", "colour", "red"], ["set", "timeout", "3s"], ["set", "namespace", "No/Such"]] {
        home.fails(2, ["user", "config"].into_iter().chain(words));
    }
    home.fails(2, ["user", "config", "delete", "colour"]);
}
