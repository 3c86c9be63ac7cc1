//! What services leave on disk goes when somebody asks for that, and nothing else does.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Home, outcome, project};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a program that only ends when it is told to, as a service that fails at once.
fn run(home: &Home, name: &str) {
    let folder = project(home, name, &format!("fn main() {{ println!(\"{name}\"); }}\n"));
    home.fails(8, [Path::new("run"), &folder]);
}

#[test]
fn what_is_purged_is_gone_and_what_is_left_over_is_cleaned() {
    let home = Home::new();
    for name in ["one", "two", "three"] {
        run(&home, name);
    }
    let logs = home.data().join("logs/micro");
    let targets = home.path().join("home/cache/targets");
    let programs = home.data().join("binaries");
    let counts = || (names(&logs).len(), names(&targets).len(), names(&programs).len());
    assert_eq!(counts(), (3, 3, 3));

    let killed = home.run(["kill", "--purge", "one"]);
    assert_eq!(killed.code, Some(0), "{killed:?}");
    assert!(killed.stderr.contains("nothing is left of it"), "{killed:?}");
    assert_eq!(counts(), (2, 2, 2));
    home.fails(5, ["logs", "one"]);
    assert_eq!(home.http("/one/Call").0, 404, "it is not even remembered");
    home.fails(5, ["kill", "--purge", "one"]);

    home.ok(["kill", "two"]);
    assert_eq!(counts(), (2, 2, 2));
    let asked: Vec<Value> = serde_json::from_str(&home.ok(["clean", "--dry-run", "-o", "json"])).unwrap();
    let kinds: Vec<&str> = asked.iter().map(|left| left["kind"].as_str().unwrap()).collect();
    // A program that was built just now may be about to be started.
    assert_eq!(kinds, ["build", "logs"], "{asked:?}");
    assert!(asked.iter().all(|left| left["bytes"].as_u64().unwrap() > 0), "{asked:?}");
    assert!(asked.iter().all(|left| left["path"].as_str().unwrap().contains("two@latest")), "{asked:?}");
    assert_eq!(counts(), (2, 2, 2));
    let cleaned = home.run(["clean"]);
    assert!(cleaned.stdout.contains("two@latest") && cleaned.stderr.ends_with(" deleted\n"), "{cleaned:?}");
    assert_eq!((names(&logs), names(&targets).len()), (vec!["three@latest".to_owned()], 1));
    assert!(home.data().join("logs/server.log").exists());
    let again = outcome(&mut home.command(["clean"]));
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), "nothing is left over\n"));

    // One that was killed before can still be purged.
    home.ok(["kill", "--purge", "two"]);
    assert_eq!(names(&programs).len(), 1);
    home.ok(["logs", "three"]);
    assert_eq!(home.status("three")["status"], "failed");
}
