//! What must hold of any table of sockets.

use std::net::{IpAddr, SocketAddr};

use arbitrary::{Result, Unstructured};
use tokio::time::Instant;

use super::{Connection, Sockets, canonical, rows};

/// Any text as a table, and some rows as the kernel prints them: rows are read as they were printed, and
/// nobody is proven whom no row names.
pub(crate) fn sockets(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = Sockets::parse(&text, Instant::now());
    assert!(read.established.len() + read.listening.len() <= text.lines().count());
    // Where the bytes end, so does the table.
    let _ = printed(&mut Unstructured::new(input));
}

/// An address, as the kernel prints it and as it is.
fn end(choice: &mut Unstructured<'_>) -> Result<(String, SocketAddr)> {
    let address: IpAddr = match choice.int_in_range(0..=3)? {
        0 => [127, 0, 0, choice.int_in_range(0..=2)?].into(),
        1 => [0, 0, 0, 0].into(),
        2 => choice.arbitrary::<[u8; 16]>()?.into(),
        _ => [0, 0, 0, 0, 0, 0xffff, 0x7f00, choice.int_in_range(0..=2)?].into(),
    };
    let port = choice.int_in_range(0..=3)?;
    let words = |bytes: &[u8]| {
        let word = |four: &[u8]| u32::from_ne_bytes(four.try_into().expect("four bytes"));
        bytes.chunks_exact(4).map(|four| format!("{:08X}", word(four))).collect::<String>()
    };
    let printed = match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    };
    Ok((format!("{printed}:{port:04X}"), canonical(SocketAddr::new(address, port))))
}

fn printed(choice: &mut Unstructured<'_>) -> Result<()> {
    let (mut table, mut model) = ("  sl  local_address rem_address   st\n".to_owned(), Vec::new());
    for number in 0..choice.int_in_range(0..=8)? {
        let ((local, ours), (remote, theirs)) = (end(choice)?, end(choice)?);
        let state = *choice.choose(&["01", "0A", "06"])?;
        let (uid, inode) = (choice.int_in_range(0..=2_u32)?, choice.int_in_range(0..=1_u8)?);
        table.push_str(&format!(
            "{number:4}: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid:5}        0 {inode} 1 0\n"
        ));
        model.push((ours, theirs, state, uid, inode));
    }
    let read: Vec<_> =
        rows(&table).map(|row| (row.local, row.remote, row.state, row.uid, row.inode)).collect();
    assert_eq!(read.len(), model.len(), "{table}");
    for (read, (ours, theirs, state, uid, inode)) in read.iter().zip(&model) {
        assert_eq!(*read, (*ours, *theirs, *state, *uid, &*inode.to_string()), "{table}");
    }
    let sockets = Sockets::parse(&table, Instant::now());
    let (peer, ours) = (end(choice)?.1, end(choice)?.1);
    let connection = Connection::new(ours, peer);
    // Of two rows with the same ends the later one counts.
    let established = model.iter().rev().find(|row| (row.0, row.1, row.2) == (peer, ours, "01"));
    let held = established.filter(|row| row.4 != 0).map(|row| row.3);
    assert_eq!(sockets.holder(connection), held, "{table}");
    let listens = |row: &&(SocketAddr, SocketAddr, &str, u32, u8)| {
        row.2 == "0A"
            && row.0.port() == peer.port()
            && (row.0.ip() == peer.ip() || row.0.ip().is_unspecified())
    };
    let listeners: Vec<u32> = model.iter().filter(listens).map(|row| row.3).collect();
    let waiting =
        established.and(listeners.first()).filter(|first| listeners.iter().all(|uid| uid == *first));
    assert_eq!(sockets.taker(connection), held.or(waiting.copied()), "{table}");
    Ok(())
}
