//! What a server does when the system gives it less than it needs: it says so, and goes on.

use std::{net::TcpStream, time::Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    processes::{Foreground, signal},
    support::{Home, eventually, not_run, outcome},
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
        not_run("no file system can be mounted here");
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

/// What each of these commands says while the disk that the home is on is full.
const WITHOUT_ROOM: [&str; 5] = [
    "auth rotate key",
    "config set a b --secret",
    "store write k @large",
    "store blob write k large",
    "env add elsewhere 127.0.0.1:1",
];

#[test]
fn whatever_is_written_on_a_full_disk_is_refused_with_the_way_out() {
    let home = Home::new();
    // In a mount namespace of its own, which the system may not allow.
    let mounted = |script: &str| {
        let mount = r#"mkdir -p "$MICRO_HOME" && mount -t tmpfs -o size=64m tmpfs "$MICRO_HOME""#;
        std::fs::write(home.path().join("script"), format!("{mount} || exit 77\n{script}")).unwrap();
        outcome(&mut home.shell("sh", "unshare --user --map-root-user --mount sh script"))
    };
    let commands: String =
        WITHOUT_ROOM.map(|words| format!("echo '# {words}'; micro {words}; echo \"rc $?\"\n")).concat();
    let script = format!(
        "micro server start || exit 1\n\
         micro store write kept value\n\
         # A database that is whole without its log, for the start without room.\n\
         micro server stop; mkdir saved; cp \"$MICRO_HOME\"/data/server/micro.db saved; micro server start\n\
         head -c 1000000 /dev/zero >large\n\
         (while :; do head -c 65536 /dev/zero || break; done; while :; do printf x || break; done) \
             >\"$MICRO_HOME/fill\" 2>/dev/null\n\
         exec 2>&1\n{commands}\
         echo '# store read kept'; micro store read kept; echo \"rc $?\"\n\
         echo '# server stop'; micro server stop; echo \"rc $?\"\n\
         rm -f \"$MICRO_HOME\"/data/server/micro.db*; cp saved/micro.db \"$MICRO_HOME\"/data/server/\n\
         head -c 10000000 /dev/zero >>\"$MICRO_HOME/fill\" 2>/dev/null\n\
         echo '# server start'; micro server start; echo \"rc $?\"\n\
         rm \"$MICRO_HOME/fill\"\n\
         echo '# auth rotate key again'; micro auth rotate key; echo \"rc $?\"\n\
         micro server stop\n"
    );
    let ran = mounted(&script);
    if ran.code == Some(77) || ran.stderr.contains("unshare") {
        not_run("no file system can be mounted here");
        return;
    }
    let said = |words: &str| {
        let text = ran.stdout.split(&format!("# {words}\n")).nth(1).unwrap_or_else(|| panic!("{ran:#?}"));
        text.split("# ").next().unwrap().to_owned()
    };
    for words in WITHOUT_ROOM.into_iter().chain(["server start"]) {
        let text = said(words);
        assert!(!text.contains("rc 0") && text.contains("free some disk space"), "{words}: {text}");
    }
    assert!(said("server start").contains("server/"), "{}", said("server start"));
    assert_eq!(said("store read kept"), "value\nrc 0\n");
    assert!(said("server stop").contains("rc 0"), "{}", said("server stop"));
    assert!(said("auth rotate key again").contains("rc 0"), "{}", said("auth rotate key again"));
}
