//! Other users of the machine. They run as root only, who can act as another user.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    processes::Foreground,
    support::{Home, PATIENCE, as_another_user, http},
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
