//! What a shell is answered when somebody presses TAB, live and from what was known last.

use crate::support::Home;

/// The candidates for the last word, as fish asks for them.
fn candidates(home: &Home, words: &[&str]) -> Vec<String> {
    let mut command = home.command(["--"].iter().chain(words));
    let output = command.env("MICRO_COMPLETE", "fish").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "a shell shows what is said: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

fn has(candidates: &[String], wanted: &[&str]) -> bool {
    wanted.iter().all(|wanted| candidates.iter().any(|candidate| candidate == wanted))
}

#[test]
fn services_endpoints_and_fields_are_offered_live_and_when_the_server_is_away() {
    let home = Home::new();
    home.run_helloworld();
    let offers = |home: &Home| {
        assert!(has(&candidates(home, &["micro", "hel"]), &["helloworld", "help"]));
        assert!(has(&candidates(home, &["micro", "helloworld", ""]), &["call", "stream", "ping-pong"]));
        assert!(has(
            &candidates(home, &["micro", "helloworld", "call", "--"]),
            &["--name", "--json", "--env"]
        ));
        assert!(has(&candidates(home, &["micro", "logs", ""]), &["helloworld"]));
        let endpoints = candidates(home, &["micro", "call", "helloworld", ""]);
        assert!(has(&endpoints, &["Helloworld.Call", "Helloworld.PingPong"]), "{endpoints:?}");
    };
    offers(&home);
    home.ok(["server", "stop"]);
    offers(&home);
}

#[test]
fn completion_starts_no_server() {
    let home = Home::new();
    assert!(has(&candidates(&home, &["micro", "s"]), &["server", "services", "status", "store", "stream"]));
    assert!(has(&candidates(&home, &["micro", "events", "stream", "publish", "--"]), &["--topic"]));
    assert!(has(&candidates(&home, &["micro", "-e", ""]), &["local"]));
    assert_eq!(home.fails(3, ["server", "status"]).lines().count(), 2);
}
