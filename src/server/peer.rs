//! Where a connection comes from, which decides how far it is trusted and whose share of memory it uses.

use crate::sockets;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The local socket: the user who owns the home.
    Owner,
    /// The services' socket: a program of the user who owns the home, and nobody without a token.
    Service,
    /// A program on this machine or another.
    Program(sockets::Connection),
    /// Nobody knows.
    Unknown,
}
