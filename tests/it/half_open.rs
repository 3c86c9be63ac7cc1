//! Connections whose client stays silent, stops in the middle, or takes back all that it asked for,
//! are closed, at every door.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
};

use crate::support::{Home, PATIENCE, hello};

/// The start of HTTP/2 (RFC 9113, section 3.4), without the settings that must follow.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames, a flag and an error code of HTTP/2 (RFC 9113, sections 6 and 7).
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

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

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field without indexing, its name by the first bytes (RFC 7541, section 6.2.2).
fn header(name: &[u8], value: &str) -> Vec<u8> {
    [name, &[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

/// Begins so many calls, and takes each one back at once.
fn takes_back(address: &str, calls: u32) {
    let call = [
        // POST, http
        vec![0x83, 0x86],
        header(&[0x04], "/helloworld.Helloworld/Call"),
        header(&[0x01], "localhost"),
        header(&[0x0f, 0x10], "application/grpc"),
    ]
    .concat();
    let mut said = [PREFACE.as_bytes(), &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (0..calls).map(|number| 2 * number + 1) {
        said.extend(frame(HEADERS, END_HEADERS, stream, &call));
        said.extend(frame(RESET, 0, stream, &CANCEL.to_be_bytes()));
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // It may be closed before all of it was said.
    drop(stream.write_all(&said));
    drop(stream.read_to_end(&mut Vec::new()));
}

#[test]
fn calls_that_are_taken_back_by_the_thousand_harm_nobody_else() {
    let home = Home::new();
    home.run_helloworld();
    let state = home.state();
    for address in [&state.api, &state.proxy, &state.network] {
        takes_back(address, 2000);
        assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), hello("Jane"));
    }
    assert_eq!(home.http("/helloworld/Call?name=Jane").0, 200);
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
