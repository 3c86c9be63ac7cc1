//! Other users of the machine. They run as root only, who can act as another user.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use micro_sdk::Channel;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    processes::Foreground,
    support::{Home, PATIENCE, as_another_user, helloworld, http, outcome},
};

/// The account of a fresh server.
const LOGIN: &str = r#"{"id":"admin","secret":"micro"}"#;

/// Asks for a token, and hands over whatever comes back. The server may refuse by closing.
fn log_in(mut stream: &TcpStream, address: &str, and_then: impl FnOnce(&TcpStream)) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head =
        format!("POST /auth/Auth/Token HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}", LOGIN.len());
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{LOGIN}").as_bytes()).unwrap();
    and_then(stream);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// No token came back.
fn refused(answer: &str) {
    assert!(!answer.contains("access_token") && !answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_first_secret_is_worth_nothing_to_another_user_however_he_comes() {
    let home = Home::new();
    let server = Foreground::start(&home, &[]);
    let api = home.state().api;
    let nofile = |soft: Option<u64>| {
        let pid = Pid::from_raw(server.pid().cast_signed());
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: soft, maximum }).unwrap().current
    };
    let held = as_another_user(|| {
        let connect = || TcpStream::connect(&api).unwrap();
        let plain = log_in(&connect(), &api, |_| {});
        assert!(plain.starts_with("HTTP/1.1 403"), "{plain}");
        // The row of the connection is not in the state of an open one any more.
        refused(&log_in(&connect(), &api, |stream| stream.shutdown(Shutdown::Write).unwrap()));
        refused(&log_in(&connect(), &api, |mut stream| {
            stream.write_all(b"x").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }));
        connect()
    });
    let Some(held) = held else { return };
    // The one after it is served, so it has been accepted too. Then no descriptor is left to open
    // the tables of the system with.
    assert_eq!(home.http("/").0, 200);
    let usual = nofile(Some(8));
    refused(&log_in(&held, &api, |_| {}));
    nofile(usual);
    let (status, answer) = http(&api, "POST", "/auth/Auth/Token", &[], LOGIN);
    assert_eq!(status, 200, "{answer}");
}

/// A folder in which everybody may make others, as in `/tmp`.
fn common_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    folder
}

/// A socket of another user in the place of one of ours, in a folder of his that lets everybody in.
fn foreign_socket(socket: &Path) -> Option<UnixListener> {
    let listener = as_another_user(|| {
        let folder = socket.parent().unwrap();
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).unwrap();
        listener
    })?;
    listener.set_nonblocking(true).unwrap();
    Some(listener)
}

/// A service that somebody started in a shell, or a debugger.
struct ByHand(Child);

impl ByHand {
    fn start(home: &Home) -> Self {
        let mut service = Command::new(helloworld().join("target/debug/helloworld"));
        service.env_clear().env("MICRO_HOME", home.path().join("home"));
        Self(service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_socket_of_another_user_gets_no_connection_and_the_server_takes_another_place() {
    let (home, common) = (Home::new(), common_folder());
    let command = |words: &[&str]| {
        let mut command = home.command(words);
        command.env("XDG_RUNTIME_DIR", common.path());
        command
    };
    let run = |words: &[&str]| outcome(&mut command(words));
    let said = run(&["server", "start"]);
    assert!(!said.stderr.contains("the usual"), "{said:#?}");
    let usual = home.state().socket;
    // What a crash and a reboot leave: the state, and no folder.
    let state = fs::read(micro_sdk::local::file(&home.data())).unwrap();
    run(&["server", "stop"]);
    fs::remove_dir_all(usual.parent().unwrap()).unwrap();
    fs::write(micro_sdk::local::file(&home.data()), state).unwrap();
    let Some(listener) = foreign_socket(&usual) else { return };
    let untouched = || assert!(listener.accept().is_err(), "a program of ours has connected");

    // Nothing is sent there by a command, a completion, a service that is started by hand, the SDK.
    for words in [&["server", "status"][..], &["services"], &["login", "--local"], &["status"]] {
        let said = outcome(command(words).env("MICRO_NO_AUTOSTART", "1"));
        assert!(said.stdout.is_empty(), "{said:#?}");
        untouched();
    }
    assert_eq!(run(&["server", "stop"]).stderr, "no micro server runs\n");
    outcome(command(&["--", "micro", "call", ""]).env("MICRO_COMPLETE", "fish"));
    let _service = ByHand::start(&home);
    let refused = Channel::unix(&usual).ready().await.unwrap_err();
    assert!(refused.detail.contains("another user (uid 65534)"), "{refused}");
    untouched();

    // The server says where it goes instead, and every client finds it there.
    let said = run(&["server", "start"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stderr.contains("the usual") && said.stderr.contains("uid 65534"), "{said:#?}");
    let socket = home.state().socket;
    assert!(socket.starts_with(home.data()), "{}", socket.display());
    for words in
        [&["server", "status"][..], &["store", "write", "a", "b"], &["server", "restart"], &["status"]]
    {
        let said = run(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:#?}");
    }
    untouched();
    crate::support::eventually("the service started by hand to be found", || {
        let listed = run(&["services"]);
        listed.stdout.contains("helloworld").then_some(())
    });
}
