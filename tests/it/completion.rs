//! What a shell is answered when somebody presses TAB, live and from what was known last.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, eventually};

/// The candidates for the last word, as fish asks for them.
pub(crate) fn candidates(home: &Home, words: &[&str]) -> Vec<String> {
    let mut command = home.command(["--"].iter().chain(words));
    let output = command.env("MICRO_COMPLETE", "fish").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "a shell shows what is said: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

pub(crate) fn has(candidates: &[String], wanted: &[&str]) -> bool {
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

/// A key press is answered from what was known last where the server does not answer: within milliseconds,
/// for which half of what a call may take is a generous bound.
#[test]
fn a_server_that_does_not_answer_holds_up_no_shell() {
    let home = Home::new();
    home.run_helloworld();
    candidates(&home, &["micro", "hel"]);
    let server = Pid::from_raw(home.state().pid.cast_signed()).unwrap();
    kill_process(server, Signal::STOP).unwrap();
    let begun = Instant::now();
    let found = candidates(&home, &["micro", "hel"]);
    let took = begun.elapsed();
    kill_process(server, Signal::CONT).unwrap();
    assert!(has(&found, &["helloworld"]), "{found:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_service_that_is_new_is_offered_and_then_remembered() {
    let home = Home::new();
    home.run_helloworld();
    let offered = || has(&candidates(&home, &["micro", "sho"]), &["shop"]);
    assert!(!offered());
    let shop = r#"{"name": "shop", "version": "1", "nodes": [{"id": "1", "address": "127.0.0.1:1"}],
        "endpoints": [{"name": "Shop.Buy"}], "options": {"ttl": "600"}}"#;
    home.ok(["call", "registry", "Registry.Register", shop]);
    // Not at once only where the server is too busy to answer a key press.
    eventually("the new service to be offered", || offered().then_some(()));
    assert!(has(&candidates(&home, &["micro", "shop", ""]), &["buy"]));
    home.ok(["server", "stop"]);
    assert!(offered());
}

#[test]
fn what_a_service_registered_is_offered_before_its_descriptors_have_come() {
    let home = Home::new();
    let service = format!(
        r#"{{"name": "early", "version": "1", "nodes": [{{"id": "1", "address": "127.0.0.1:1"}}],
        "endpoints": [{{"name": "Early.Count"}}], "descriptor_hash": "{}", "options": {{"ttl": "600"}}}}"#,
        "0".repeat(64)
    );
    home.ok(["call", "registry", "Registry.Register", &service]);
    eventually("an endpoint to be offered", || {
        has(&candidates(&home, &["micro", "early", ""]), &["count"]).then_some(())
    });
}

/// Of many services the names alone are listed; what one of them can be asked is asked for by its name.
#[test]
fn many_services_are_offered_by_their_names() {
    let home = Home::new();
    for number in 0..100 {
        let service = format!(
            r#"{{"name": "many-{number}", "version": "1", "nodes": [{{"id": "{number}", "address": "127.0.0.1:1"}}],
            "endpoints": [{{"name": "Many.Count"}}], "options": {{"ttl": "600"}}}}"#
        );
        home.ok(["call", "registry", "Registry.Register", &service]);
    }
    let brief = home.ok(["registry", "list-services", "--brief", "-o", "json"]);
    assert!(brief.contains("many-99") && !brief.contains("127.0.0.1") && !brief.contains("Many.Count"));
    assert!(home.ok(["services"]).lines().filter(|name| name.starts_with("many-")).count() == 100);
    let offered = || {
        let found = candidates(&home, &["micro", "many-"]);
        (found.iter().filter(|name| name.starts_with("many-")).count() == 100).then_some(())
    };
    eventually("all services to be offered", offered);
    eventually("an endpoint to be offered", || {
        has(&candidates(&home, &["micro", "many-7", ""]), &["count"]).then_some(())
    });
    home.ok(["server", "stop"]);
    assert!(offered().is_some());
}

#[test]
fn only_services_that_a_command_can_act_on_are_offered() {
    let home = Home::new();
    home.run_helloworld();
    let elsewhere = r#"{"name": "elsewhere", "version": "1", "nodes": [{"id": "1", "address": "127.0.0.1:1"}],
        "endpoints": [{"name": "Elsewhere.Call"}], "options": {"ttl": "600"}}"#;
    home.ok(["call", "registry", "Registry.Register", elsewhere]);
    // One whose program ends at once never registers; its log is what a user wants to see.
    home.run(["run", ".", "--name=broken", "--command=false"]);
    let offered = |words: &[&str], wanted: &[&str]| {
        let line = [&["micro"], words, &[""]].concat();
        let candidates = candidates(&home, &line);
        let names = ["broken", "elsewhere", "helloworld", "auth", "store"];
        let seen: Vec<&str> =
            names.into_iter().filter(|name| candidates.iter().any(|candidate| candidate == name)).collect();
        (seen == wanted).then_some(())
    };
    let check = |when: &str| {
        for (words, wanted) in [
            (&["kill"][..], &["broken", "helloworld"][..]),
            (&["logs"], &["broken", "helloworld"]),
            (&["status"], &["broken", "helloworld"]),
            (&["gen", "--from"], &["helloworld"]),
            (&["call"], &["elsewhere", "helloworld", "auth", "store"]),
            (&["get", "service"], &["elsewhere", "helloworld", "auth", "store"]),
        ] {
            // Not at once only where the server is too busy to answer a key press.
            eventually(&format!("{words:?} to be completed {when}"), || offered(words, wanted));
        }
    };
    check("by the server");
    home.ok(["server", "stop"]);
    check("without it");
}

#[test]
fn files_are_offered_where_a_flag_takes_one() {
    let home = Home::new();
    home.run_helloworld();
    std::fs::write(home.path().join("jane.json"), "{}").unwrap();
    for (words, wanted) in [
        (&["micro", "helloworld", "call", "--json", "@ja"][..], "@jane.json"),
        (&["micro", "helloworld", "call", "--json=@ja"], "--json=@jane.json"),
        (&["micro", "registry", "describe", "--descriptor_set", "@ja"], "@jane.json"),
        (&["micro", "registry", "describe", "--descriptor_set=@ja"], "--descriptor_set=@jane.json"),
        (&["micro", "store", "write", "k", "@ja"], "@jane.json"),
        (&["micro", "config", "set", "k", "@ja"], "@jane.json"),
    ] {
        eventually(&format!("{words:?} to be completed"), || {
            has(&candidates(&home, words), &[wanted]).then_some(())
        });
    }
    assert!(!has(&candidates(&home, &["micro", "helloworld", "call", "--name", "@ja"]), &["@jane.json"]));
}

#[test]
fn completion_starts_no_server() {
    let home = Home::new();
    assert!(has(&candidates(&home, &["micro", "s"]), &["server", "services", "status", "store", "stream"]));
    assert!(has(&candidates(&home, &["micro", "events", "stream", "publish", "--"]), &["--topic"]));
    assert!(has(&candidates(&home, &["micro", "-e", ""]), &["local"]));
    assert!(has(&candidates(&home, &["micro", "--env=lo"]), &["--env=local"]));
    assert_eq!(candidates(&home, &["micro", "nope", ""]), <[&str; 0]>::default());
    assert_eq!(candidates(&home, &["micro", "-e", "local", "nope", "s"]), <[&str; 0]>::default());
    assert_eq!(home.fails(3, ["server", "status"]).lines().count(), 2);
}

#[test]
fn keys_of_the_config_are_offered_live() {
    let home = Home::new();
    home.ok(["config", "set", "payment", r#"{"currency": "EUR", "limits": {"most": 3}}"#]);
    let wanted = ["payment", "payment.currency", "payment.limits", "payment.limits.most"];
    // Not at once only where the server is too busy to answer a key press.
    for command in ["get", "set", "del", "list", "watch"] {
        eventually("the keys to be offered", || {
            has(&candidates(&home, &["micro", "config", command, "pay"]), &wanted).then_some(())
        });
    }
}
