//! The life of the server: started once, found, stopped by signals with nothing lost, and back
//! after it was killed.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
};

use micro_sdk::local;

use crate::{
    faulty,
    processes::{Foreground, alive, descendants, of_home, signal, suspend},
    support::{Home, PATIENCE, eventually, hello, outcome},
};

/// Nothing of a server that ended tells of it any more.
fn assert_gone(home: &Home, socket: &std::path::Path) {
    assert!(!local::file(&home.data()).exists(), "state.json is left");
    assert!(!socket.exists(), "the socket is left");
    assert_eq!(home.fails(3, ["server", "status"]).lines().next(), Some("error: no micro server runs"));
}

/// A call whose request is not complete: it is under way until its body has been sent.
fn half_a_call(address: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /auth/Auth/Token HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

const LOGIN: &str = r#"{"id": "admin", "secret": "micro"}"#;

#[test]
fn a_second_server_of_a_home_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let pid = home.state().pid;
    let refused = home.fails(1, ["server"]);
    assert_eq!(
        refused,
        format!(
            "error: a server of this home runs already (pid {pid})\n\
             hint: see `micro server status`; end it with `micro server stop`\n"
        )
    );
    let again = home.run(["server", "start"]);
    assert_eq!(again.code, Some(0));
    assert!(again.stderr.starts_with(&format!("the micro server runs already (pid {pid})\n")), "{again:?}");
    assert_eq!(home.state().pid, pid);
    home.ok(["services"]);
    eventually("nothing but the first server to be there", || (of_home(&home) == [pid]).then_some(()));
}

#[test]
fn a_port_that_is_taken_leaves_no_process_and_no_door() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for doors in [["API", "PROXY", "NETWORK"], ["PROXY", "API", "NETWORK"], ["NETWORK", "API", "PROXY"]] {
        // The others are free ports: they were free a moment ago, and are tried until they still are.
        eventually("the other doors to be free", || {
            let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let addresses = [taken.clone(), free(), free()];
            let mut command = home.command(["server", "start"]);
            command.env_remove("MICRO_ISOLATED");
            for (door, address) in doors.iter().zip(&addresses) {
                command.env(format!("MICRO_{door}_ADDRESS"), address);
            }
            let refused = outcome(&mut command);
            assert_eq!(refused.code, Some(1), "{refused:#?}");
            eventually("the server to be gone", || of_home(&home).is_empty().then_some(()));
            assert!(!local::file(&home.data()).exists(), "state.json is left");
            addresses[1..].iter().all(|address| TcpListener::bind(address).is_ok()).then_some(())
        });
    }
    home.ok(["services"]);
}

#[test]
fn ten_commands_at_once_start_one_server() {
    let home = Home::new();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..10).map(|_| scope.spawn(|| home.run(["services"]))).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for outcome in &outcomes {
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert!(outcome.stdout.starts_with("auth\n"), "{outcome:#?}");
    }
    let starts = outcomes.iter().filter(|outcome| outcome.stderr.contains("started the micro server"));
    assert_eq!(starts.count(), 1, "{outcomes:#?}");
}

#[test]
fn each_signal_that_ends_a_server_ends_it_well() {
    for name in ["TERM", "INT", "HUP"] {
        let home = Home::new();
        let server = Foreground::start(&home, &[]);
        let socket = home.state().socket;
        signal(server.pid(), name);
        let ended = server.wait();
        assert_eq!(ended.code, Some(0), "{name}: {ended:#?}");
        assert_gone(&home, &socket);
    }
}

#[test]
fn a_call_under_way_is_answered_before_the_server_ends() {
    let home = Home::new();
    let server = Foreground::start(&home, &[]);
    let mut call = half_a_call(&home.state().api, LOGIN);
    signal(server.pid(), "TERM");
    server.says("stopping");
    call.write_all(LOGIN.as_bytes()).unwrap();
    let mut answer = String::new();
    call.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("access_token"), "{answer}");
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn a_second_signal_ends_a_server_that_waits_for_a_call() {
    let home = Home::new();
    let server = Foreground::start(&home, &[]);
    let socket = home.state().socket;
    let _call = half_a_call(&home.state().api, LOGIN);
    signal(server.pid(), "INT");
    server.says("stopping");
    signal(server.pid(), "INT");
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stderr.contains("stopped by a second signal"), "{ended:#?}");
    assert_gone(&home, &socket);
}

#[test]
fn a_call_that_hangs_holds_a_server_up_no_longer_than_its_grace() {
    let home = Home::new();
    let server = Foreground::start(&home, &["--grace", "1s"]);
    faulty::run(&home, &[]);
    let socket = home.state().socket;
    let mut call = home.command(["helloworld", "call", "--name=wait"]);
    let mut call = call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the call to be under way", || {
        home.ok(["logs", "helloworld"]).contains("waiting\n").then_some(())
    });
    let processes = descendants(server.pid());
    assert!(!processes.is_empty());
    signal(server.pid(), "TERM");
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let called = eventually("the call to end", || call.try_wait().unwrap());
    assert!(!called.success(), "it was not answered");
    for pid in processes {
        assert!(!alive(pid), "process {pid} of a service is left");
    }
    eventually("nothing of the home to be left", || of_home(&home).is_empty().then_some(()));
    assert_gone(&home, &socket);
}

#[test]
fn a_stop_ends_the_services_and_a_log_that_is_followed() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["helloworld", "call"]);
    let state = home.state();
    let processes = descendants(state.pid);
    assert!(!processes.is_empty());
    let mut following = home
        .command(["logs", "helloworld", "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    home.ok(["server", "stop"]);
    assert!(!alive(state.pid), "the server is left");
    for pid in processes {
        assert!(!alive(pid), "process {pid} of a service is left");
    }
    eventually("`logs -f` to end", || following.try_wait().unwrap());
    assert_gone(&home, &state.socket);
}

#[test]
fn a_server_that_was_killed_takes_its_services_along_and_comes_back_with_them() {
    let home = Home::new();
    home.run_helloworld();
    let killed = home.state().pid;
    let processes = descendants(killed);
    assert!(!processes.is_empty());
    signal(killed, "KILL");
    for pid in processes {
        eventually("the processes of services to end", || (!alive(pid)).then_some(()));
    }
    assert!(local::file(&home.data()).exists(), "a killed server cannot remove its state");

    let status = home.run(["status"]);
    assert_eq!(status.code, Some(0), "{status:#?}");
    assert!(status.stderr.contains("started the micro server"), "{status:#?}");
    assert!(status.stdout.contains("helloworld"), "{status:#?}");
    assert_ne!(home.state().pid, killed);
    eventually("helloworld to answer again", || {
        let answer = home.run(["helloworld", "call", "--name=Jane"]);
        (answer.stdout == hello("Jane")).then_some(())
    });
}

#[test]
fn a_restart_brings_the_services_back() {
    let home = Home::new();
    home.run_helloworld();
    let before = home.state().pid;
    home.ok(["server", "restart"]);
    assert_ne!(home.state().pid, before);
    eventually("helloworld to answer again", || {
        (home.run(["helloworld", "call"]).code == Some(0)).then_some(())
    });
}

#[test]
fn a_server_that_does_not_answer_is_named_and_can_still_be_stopped() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = home.state();
    home.ok(["env", "add", "network", &state.proxy]);
    suspend(state.pid);

    let silent = format!("error: the micro server (pid {}) does not answer\n", state.pid);
    for words in [&["services"][..], &["server", "start"], &["server", "status"]] {
        let said = home.fails(3, [&["--timeout", "300ms"], words].concat());
        assert!(said.starts_with(&silent) && said.contains("hint: "), "{said}");
    }
    let said = home.fails(6, ["-e", "network", "--timeout", "300ms", "services"]);
    assert!(said.contains("within 300ms") && said.contains("--timeout"), "{said}");

    // Ctrl-C ends a command that waits.
    let mut waiting =
        home.command(["-e", "network", "-v", "services"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut words = BufReader::new(waiting.stderr.take().unwrap());
    words.read_line(&mut String::new()).unwrap();
    signal(waiting.id(), "INT");
    let status = eventually("the command to end", || waiting.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));

    let mut stopping = home.command(["server", "stop"]).stderr(Stdio::null()).spawn().unwrap();
    // It may be asked to end only after the probe, so it is woken once it has been told.
    eventually("the server to be told to end", || {
        if let Some(status) = stopping.try_wait().unwrap() {
            panic!("`server stop` gave up: {status}");
        }
        pending_terminate(state.pid).then_some(())
    });
    signal(state.pid, "CONT");
    let status = eventually("`server stop` to end", || stopping.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert_gone(&home, &state.socket);
}

/// Whether SIGTERM waits for a stopped process to go on (proc(5)); where the system does not tell,
/// it may be woken at any time.
fn pending_terminate(pid: u32) -> bool {
    const TERM: u64 = 1 << 14;
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let pending = text.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    u64::from_str_radix(pending.trim(), 16).unwrap() & TERM != 0
}

#[test]
fn where_no_server_may_be_started_a_command_says_how_to_start_one() {
    let home = Home::new();
    let mut command = home.command(["services"]);
    let refused = outcome(command.env("MICRO_NO_AUTOSTART", "1"));
    assert_eq!(refused.code, Some(3));
    assert_eq!(refused.stderr, "error: no micro server runs\nhint: start one with `micro server start`\n");
    assert!(!local::file(&home.data()).exists());
    assert_eq!(home.run(["server", "stop"]).code, Some(0));
}

#[test]
fn the_log_of_a_server_is_shown_to_the_line() {
    let home = Home::new();
    assert!(home.fails(5, ["server", "logs"]).contains("there is no log"));
    home.ok(["server", "start"]);
    home.ok(["server", "restart"]);
    let all = home.ok(["server", "logs"]);
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines.len() >= 4 && lines[0].contains("the server is ready"), "{all}");
    for count in [0, 1, 2, lines.len(), 1000] {
        let shown = home.ok(["server", "logs", "-n", &count.to_string()]);
        let expected = &lines[lines.len().saturating_sub(count)..];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected, "-n {count}");
    }
    home.fails(2, ["server", "logs", "-n", "many"]);
}

#[test]
fn every_door_tells_the_version() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = home.state();
    for door in [&state.api, &state.proxy, &state.network] {
        let (status, body) = crate::support::http(door, "GET", "/", &[], "");
        let expected = format!("{{\"version\": \"v{}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!((status, body.trim_end()), (200, expected.as_str()), "{door}");
    }
}
