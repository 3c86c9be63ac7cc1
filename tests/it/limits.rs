//! What a server does when the system gives it less than it needs: it says so, and goes on.

use std::{net::TcpStream, time::Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    processes::{Foreground, signal},
    support::{Home, eventually, outcome},
};

fn limit(server: &Foreground, resource: Resource, to: Option<u64>) {
    let pid = Pid::from_raw(server.pid().cast_signed());
    let maximum = getrlimit(resource).maximum;
    prlimit(pid, resource, Rlimit { current: to, maximum }).unwrap();
}

#[test]
fn a_server_without_file_descriptors_answers_again_when_it_has_some() {
    let home = Home::new();
    let server = Foreground::start(&home, &[]);
    let api = home.state().api;
    assert_eq!(home.http("/").0, 200);
    limit(&server, Resource::Nofile, Some(64));
    // The system holds those that the server cannot take yet.
    let connections: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&api).unwrap()).collect();
    server.says("cannot accept a connection");
    drop(connections);
    eventually("an answer", || (home.http("/").0 == 200).then_some(()));
    home.ok(["store", "write", "a", "b"]);
}

#[test]
#[expect(clippy::print_stderr, reason = "whoever reads the log of the tests has to know what was not run")]
fn a_home_that_is_read_only_is_refused_with_its_reason() {
    let home = Home::new();
    home.ok(["store", "write", "kept", "value"]);
    home.ok(["server", "stop"]);
    // In a mount namespace of its own, which the system may not allow.
    let read_only = |then: &str| {
        let mounts = r#"mount --bind "$MICRO_HOME" "$MICRO_HOME" && mount -o remount,bind,ro "$MICRO_HOME""#;
        let script = format!("unshare --user --map-root-user --mount sh -c '{mounts} && {then}'");
        outcome(&mut home.shell("sh", &script))
    };
    if read_only("true").code != Some(0) {
        eprintln!("not run: no file system can be mounted here");
        return;
    }
    let said = read_only("exec micro server");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("Read-only file system") && said.stderr.lines().count() == 1, "{said:#?}");
    assert_eq!(home.ok(["store", "read", "kept"]), "value\n");
}

#[test]
fn a_limit_on_the_size_of_files_fails_what_is_written_and_kills_nothing() {
    let home = Home::new();
    let server = Foreground::start(&home, &[]);
    home.ok(["store", "write", "kept", "value"]);
    limit(&server, Resource::Fsize, Some(1 << 20));
    let large = home.path().join("large");
    std::fs::write(&large, vec![b'x'; 4 << 20]).unwrap();
    let large = large.to_str().unwrap();
    for words in
        [&["store", "write", "large", &format!("@{large}")][..], &["store", "blob", "write", "large", large]]
    {
        let said = home.fails(7, words);
        assert!(!said.contains("broke"), "{said}");
    }
    assert_eq!(home.ok(["store", "read", "kept"]), "value\n");
    limit(&server, Resource::Fsize, getrlimit(Resource::Fsize).maximum);
    home.ok(["store", "blob", "write", "large", large]);
    home.ok(["store", "write", "large", &format!("@{large}")]);
}

#[test]
fn a_server_that_was_suspended_goes_on_with_the_time_it_is() {
    let home = Home::new();
    let server = Foreground::start(&home, &[]);
    home.ok(["login", "--username", "admin", "--password", "micro"]);
    home.ok(["store", "write", "kept", "value"]);
    home.ok(["store", "write", "short", "value", "--expiry", "1s"]);
    let written = Instant::now();
    signal(server.pid(), "STOP");
    eventually("its life to end", || (written.elapsed().as_millis() > 1100).then_some(()));
    signal(server.pid(), "CONT");
    home.fails(5, ["store", "read", "short"]);
    assert_eq!(home.ok(["store", "read", "kept"]), "value\n");
    assert_eq!(home.ok(["user"]), "admin\n");
}
