//! What a server can be told: its addresses, who is welcome, how long it may take to stop.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, bail};
use ipnet::IpNet;

use super::{heads::Limits, origin::BrowserPolicy};
use crate::{paths::Home, services::runtime, supervisor::Folders};

/// Where a door listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this address.
    At(SocketAddr),
    /// At 127.0.0.1 and, where this machine has it, at `::1`, with this port: some clients try one
    /// first for `localhost`, some the other.
    Loopbacks(u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Loopbacks(port) => write!(f, "localhost:{port}"),
        }
    }
}

/// The settings of one server.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) home: Home,
    /// The HTTP API. Port 0 takes a free one, here and below.
    pub(crate) api: Place,
    /// The gRPC proxy.
    pub(crate) proxy: Place,
    /// The services' side.
    pub(crate) network: Place,
    pub(crate) browsers: BrowserPolicy,
    /// Networks whose hosts may have nodes of services, beside this machine.
    pub(crate) nodes_from: Vec<IpNet>,
    /// The unpacked SDK for the builds of services that need it.
    pub(crate) sdk: Option<PathBuf>,
    /// The options of the command line, for starting it again.
    pub(crate) arguments: Vec<String>,
    /// Listens beyond this machine although nothing is encrypted.
    pub(crate) insecure: bool,
    /// How long calls, and then services, may take to end.
    pub(crate) grace: Duration,
    /// How many bytes of messages are held at once.
    pub(crate) bytes: usize,
    /// How long a connection may be open without calls.
    pub(crate) idle: Duration,
    /// What the head of a request may have.
    pub(crate) heads: Limits,
}

impl Settings {
    /// What the runtime has to know.
    pub(super) fn runtime(&self, server: runtime::Server) -> runtime::Settings {
        let (data, cache) = (&self.home.data, &self.home.cache);
        runtime::Settings {
            folders: Folders {
                binaries: data.join("binaries"),
                targets: cache.join("targets"),
                logs: data.join("logs"),
                children: self.home.server().join("children"),
            },
            sdk: self.sdk.clone(),
            grace: self.grace,
            server,
        }
    }

    /// Refuses what is not safe.
    ///
    /// # Errors
    /// A door would be open to other machines.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (door, place) in [("api", self.api), ("proxy", self.proxy), ("network", self.network)] {
            let Place::At(address) = place else { continue };
            if !address.ip().to_canonical().is_loopback() && !self.insecure {
                bail!(
                    "the {door} address {address} can be reached from other machines, and nothing is encrypted yet: \
                     use localhost, or accept the risk with --insecure"
                );
            }
        }
        Ok(())
    }
}

/// Reads `host:port` or `:port`, which means every address of this machine. `localhost` is both of its
/// loopback addresses.
///
/// # Errors
/// The text is no address, or the name is unknown.
pub(crate) fn address(text: &str) -> anyhow::Result<Place> {
    if let Some((name, port)) = text.rsplit_once(':')
        && name.eq_ignore_ascii_case("localhost")
        && let Ok(port) = port.parse()
    {
        return Ok(Place::Loopbacks(port));
    }
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let mut found =
        full.to_socket_addrs().with_context(|| format!("`{text}` is no address such as 127.0.0.1:8080"))?;
    found.next().map(Place::At).with_context(|| format!("`{text}` leads nowhere"))
}

/// Reads a network such as `10.0.0.0/8`, or one address.
///
/// # Errors
/// The text is neither.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| alone()).map_err(|_| "expected a network such as 10.0.0.0/8".to_owned())
}

/// Reads a number of bytes, such as `134217728` or `128MiB`.
///
/// # Errors
/// The text is no such number.
pub(crate) fn bytes(text: &str) -> anyhow::Result<usize> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let number = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), bytes)));
    let number = number.and_then(|(number, unit)| number.parse::<usize>().ok()?.checked_mul(*unit));
    number.with_context(|| format!("`{text}` is no number of bytes such as 128MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_may_be_one_address() {
        for (text, read) in [("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("::1", "::1/128")] {
            assert_eq!(network(text).unwrap().to_string(), read);
        }
        for bad in ["", "10.0.0.0/33", "host", "10.0.0.0:80"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_of_bytes_are_read_with_their_units() {
        for (text, number) in [("1", 1), ("64KiB", 65_536), ("128MiB", 134_217_728), ("1 GiB", 1 << 30)] {
            assert_eq!(bytes(text).unwrap(), number, "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5MiB", "1MB", "99999999999GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        assert_eq!(address("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(address(":8080").unwrap().to_string(), "0.0.0.0:8080");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        for both in ["localhost:80", "LOCALHOST:80"] {
            assert_eq!(address(both).unwrap(), Place::Loopbacks(80));
        }
        for bad in ["", "8080", "localhost", "localhost:", "127.0.0.1:99999", "localhost:99999"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
