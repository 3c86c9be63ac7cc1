//! Connections whose client stays silent, or stops in the middle, are closed, at every door.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
};

use crate::support::{Home, PATIENCE};

/// The start of HTTP/2 (RFC 9113, section 3.4), without the settings that must follow.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Says a few bytes and waits until the other side closes the connection.
fn is_closed(address: &str, said: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(said.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Some answer first, with a bad request or the server's settings; all of them close.
    let closed = match stream.read_to_end(&mut answer) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(closed, "a connection that said {said:?} stays open at {address}");
}

#[test]
fn half_open_connections_are_closed_at_every_door() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = home.state();
    let half_preface = &PREFACE[..12];
    let half_line = "GET / HT";
    let half_head = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: ";
    thread::scope(|scope| {
        for address in [&state.api, &state.proxy, &state.network] {
            for said in ["", half_line, half_head, half_preface, PREFACE] {
                scope.spawn(move || is_closed(address, said));
            }
        }
    });
    assert_eq!(home.http("/").0, 200);
}
