//! Where a caller is, as far as the throttle and the queue of logins tell places apart.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::Caller;

/// A place: all that one person can easily have many of counts as one.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Place {
    /// The user who owns the home, by the local socket.
    Owner,
    /// Another user of this machine, or the owner by a loopback address.
    User(u32),
    /// A user of this machine that the system does not name: each has 2²⁴ loopback addresses.
    Loopback,
    /// An address of the old internet.
    V4(u32),
    /// The first 64 bits of an address of the new one: a host has the rest to itself (RFC 4291,
    /// section 2.5.1).
    V6(u64),
}

impl Place {
    pub(super) async fn of(caller: &Caller) -> Self {
        let Some(connection) = caller.connection else {
            return match caller.uid().await {
                _ if caller.owner => Self::Owner,
                Some(uid) => Self::User(uid),
                None => Self::Loopback,
            };
        };
        match (Self::at(connection.peer().ip()), caller.uid().await) {
            (Self::Loopback, Some(uid)) => Self::User(uid),
            (place, _) => place,
        }
    }

    pub(super) fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            ip if ip.is_loopback() => Self::Loopback,
            IpAddr::V4(ip) => Self::V4(ip.into()),
            IpAddr::V6(ip) => Self::V6((u128::from(ip) >> 64) as u64),
        }
    }

    fn bytes(self) -> [u8; 9] {
        let (kind, number) = match self {
            Self::Owner => (0, 0),
            Self::Loopback => (1, 0),
            Self::User(uid) => (4, u64::from(uid)),
            Self::V4(ip) => (2, u64::from(ip)),
            Self::V6(prefix) => (3, prefix),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// What stands for an account at this place, and has one size however long its name is.
    pub(super) fn with(self, namespace: &str, id: &str) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.bytes());
        // A namespace has no `/`, so the two cannot be told apart otherwise.
        hash.update(namespace);
        hash.update("/");
        hash.update(id);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str) -> Place {
        Place::at(address.parse().unwrap())
    }

    #[test]
    fn what_one_person_has_many_of_is_one_place() {
        for (one, other, same) in [
            ("127.0.0.1", "127.8.9.1", true),
            ("127.0.0.1", "::1", true),
            ("127.0.0.1", "::ffff:127.0.0.2", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(place(one) == place(other), same, "{one} {other}");
        }
        assert_ne!(place("10.0.0.1").with("a", "b"), place("10.0.0.2").with("a", "b"));
        assert_ne!(place("10.0.0.1").with("a", "b"), place("10.0.0.1").with("a", "c"));
    }
}
