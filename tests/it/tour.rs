//! The README's tour with a real build of a real scaffold, and what is printed.

use std::fs;

use crate::support::{Home, eventually};

#[test]
fn the_tour_behaves_as_the_readme_shows() {
    let home = Home::new();
    home.ok(["server", "start"]);
    assert_eq!(home.ok(["env", "set", "local"]), "");
    assert_eq!(home.ok(["login", "--username", "admin", "--password", "micro"]), "Successfully logged in.\n");
    assert_eq!(home.ok(["user"]), "admin\n");
    assert_eq!(home.ok(["services"]), "auth\nbroker\nconfig\nevents\nnetwork\nregistry\nruntime\nstore\n");

    let new = home.ok(["new", "helloworld"]);
    assert!(new.starts_with("Creating service helloworld\n") && new.contains("src/handler.rs"), "{new}");
    let folder = home.path().join("helloworld");
    home.ok_in(&folder, ["run", "."]);

    let status = home.ok(["status"]);
    let rows: Vec<Vec<&str>> = status.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "VERSION", "SOURCE", "STATUS", "BUILD", "UPDATED", "METADATA"]);
    assert_eq!(rows[1][..2], ["helloworld", "latest"]);
    assert_eq!(rows[1][3], "running");
    assert!(status.contains("owner=admin, group=micro"), "{status}");
    assert!(home.ok(["services"]).contains("helloworld\n"));

    assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), "{\"msg\": \"Hello Jane\"}\n");
    assert_eq!(home.http("/helloworld/Call?name=John"), (200, "{\"msg\":\"Hello John\"}".to_owned()));
    assert!(home.ok(["logs", "helloworld"]).contains("received Helloworld.Call\n"));
    assert_eq!(home.ok(["logs", "helloworld", "-n", "1"]).lines().count(), 1);

    // A changed greeting: the old version serves until the new one is ready.
    let handler = folder.join("src/handler.rs");
    let text = fs::read_to_string(&handler).unwrap();
    fs::write(&handler, text.replace("Hello {}", "Hi {}")).unwrap();
    home.ok_in(&folder, ["run", "."]);
    assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), "{\"msg\": \"Hi Jane\"}\n");

    // A build that fails leaves the old version serving, and shows the compiler's words.
    fs::write(&handler, text.replace("Hello {}", "Hello {")).unwrap();
    let mut broken = home.command(["run", "."]);
    let outcome = crate::support::outcome(broken.current_dir(&folder));
    assert_eq!(outcome.code, Some(8), "{outcome:#?}");
    assert!(outcome.stderr.contains("src/handler.rs:"), "{outcome:#?}");
    assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), "{\"msg\": \"Hi Jane\"}\n");
    assert!(home.ok(["status", "helloworld"]).contains("src/handler.rs:"));

    home.ok(["kill", "helloworld"]);
    assert_eq!(home.ok(["status"]), "");
    eventually("helloworld to leave the registry", || {
        (!home.ok(["services"]).contains("helloworld")).then_some(())
    });
    home.ok(["server", "stop"]);
}

#[test]
fn a_home_where_no_server_ever_ran_needs_neither_start_nor_login() {
    let home = Home::new();
    let outcome = home.run(["services"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("started the micro server"), "{outcome:#?}");
    assert!(outcome.stdout.starts_with("auth\n"));
    home.run_helloworld();
    assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), "{\"msg\": \"Hello Jane\"}\n");
}
