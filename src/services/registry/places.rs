//! Where nodes may be. An address that anybody registers is one the server connects to, with the
//! tokens of callers: it is taken only where it can be a node's, and before anything is sent on a
//! new connection within this machine, the system has to show that the far end is a program of the
//! server's own user.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use micro_sdk::{Address, Channel, Error, Result, local};
use tokio::net::UnixStream;

use crate::sockets::Connection;

/// Whether the system shows whose a TCP socket is.
const SHOWN: bool = cfg!(target_os = "linux");

/// Where the nodes of a server may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// The folder for the Unix sockets of nodes.
    pub(crate) folder: PathBuf,
    /// The TCP ports of the server itself.
    pub(crate) ports: Vec<u16>,
    /// Networks whose hosts may have nodes, as the server was told.
    pub(crate) networks: Vec<IpNet>,
}

impl Places {
    /// Refuses an address that cannot be a node's.
    ///
    /// # Errors
    /// 400 for what is no address, 403 for one that is not allowed; the text says why, and what to
    /// do where something can be done.
    pub(super) fn check(&self, address: &str) -> Result<()> {
        match address.parse()? {
            Address::Unix(path) => self.check_socket(&path).map_err(Error::forbidden),
            _ => self.check_host(address),
        }
    }

    fn check_socket(&self, path: &Path) -> Result<(), String> {
        let shown = path.display();
        // Links on the way are followed: what they lead to has to be the folder itself.
        let real = |path: &Path| fs::canonicalize(path).ok();
        let folder = path.parent().and_then(real);
        if folder.is_none() || folder != real(&self.folder) || path.file_name().is_none() {
            return Err(format!(
                "`{shown}` does not lie in the folder for the sockets of this server's nodes, `{}`",
                self.folder.display()
            ));
        }
        let found = fs::symlink_metadata(path).map_err(|e| format!("`{shown}` is not there: {e}"))?;
        if !found.file_type().is_socket() {
            return Err(format!("`{shown}` is not a socket"));
        }
        if found.uid() != own_uid() {
            return Err(format!("`{shown}` belongs to another user (uid {})", found.uid()));
        }
        Ok(())
    }

    fn check_host(&self, address: &str) -> Result<()> {
        let (ip, port) = host(address).ok_or_else(|| {
            Error::bad_request(format!(
                "`{address}` has a name: register the IP address, since what a name leads to may change after \
                 it was looked at"
            ))
        })?;
        let forbidden = |why: String| Err(Error::forbidden(format!("`{address}` {why}")));
        if let Some(kind) = never(ip) {
            return forbidden(format!("is {kind}, which no node has"));
        }
        let own = is_own(ip).map_err(|e| Error::internal(format!("cannot list the addresses here: {e}")))?;
        if own && self.ports.contains(&port) {
            return forbidden("is a door of the server itself".to_owned());
        }
        match (own, self.is_told(ip, own)) {
            (_, true) => Ok(()),
            (true, false) if SHOWN => Ok(()),
            (true, false) => forbidden(
                "may be another user's: this system does not show whose program listens there. Start the \
                 server with `--nodes-from 127.0.0.0/8` to trust every program of this machine"
                    .to_owned(),
            ),
            (false, false) => forbidden(format!(
                "is not an address of this machine: start the server with `--nodes-from {ip}`, or with the \
                 network of such nodes, if they are to be trusted"
            )),
        }
    }

    /// Whether the server was told to take nodes from this address without a proof. A network that
    /// reaches beyond this machine says nothing about the programs of its other users.
    fn is_told(&self, ip: IpAddr, own: bool) -> bool {
        let within = |network: &IpNet| {
            network.prefix_len() == network.max_prefix_len()
                || matches!(network, IpNet::V4(four) if four.prefix_len() >= 8 && four.addr().is_loopback())
        };
        self.networks.iter().any(|network| network.contains(&ip) && (!own || within(network)))
    }

    /// A channel to a node. The far end of each new connection is looked at before it is used.
    pub(crate) fn channel(self: &Arc<Self>, address: &str) -> Channel {
        if let Ok(unix @ Address::Unix(_)) = address.parse() {
            return Channel::new(unix);
        }
        // What is not an address leads nowhere; it was refused when it was registered.
        let tcp = Address::Tcp(address.to_owned());
        let places = self.clone();
        Channel::checked(
            tcp,
            Box::new(move |ours, peer| {
                let places = places.clone();
                Box::pin(async move { places.prove(ours, peer).await })
            }),
        )
    }

    /// Whether the far end of a connection to a node may be trusted.
    ///
    /// # Errors
    /// It is not proven to be a program of this user, and the server was not told to trust it.
    async fn prove(&self, ours: SocketAddr, peer: SocketAddr) -> io::Result<()> {
        let ip = peer.ip().to_canonical();
        if self.is_told(ip, is_own(ip)?) {
            return Ok(());
        }
        let own = own_uid();
        let why = match Connection::new(ours, peer).listener_uid().await {
            Some(uid) if uid == own => return Ok(()),
            Some(uid) => format!("another user's program (uid {uid}) listens there"),
            None => "the system does not show whose program listens there".to_owned(),
        };
        let text = format!(
            "{why}, so no call is sent to it; if it is to be trusted, start the server with `--nodes-from {ip}`"
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// Removes the socket of an instance that has ended.
    pub(crate) fn forget_instance(&self, instance: &str) {
        // One that stopped by itself has removed it.
        drop(fs::remove_file(self.folder.join(local::node_socket(instance))));
    }

    /// Removes the file of a socket on which nobody listens any more.
    pub(crate) async fn sweep_socket(&self, path: &Path) {
        let connected = UnixStream::connect(path).await;
        let dead = connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if dead && path.parent() == Some(&self.folder) {
            // Its service makes another when it registers next.
            drop(fs::remove_file(path));
        }
    }

    /// Removes what services that died have left.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) async fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                self.sweep_socket(&entry.path()).await;
            }
        }
        Ok(())
    }
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// The IP address and port of `host:port`; `localhost` needs no looking up.
fn host(address: &str) -> Option<(IpAddr, u16)> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Some((address.ip().to_canonical(), address.port()));
    }
    let (name, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    name.eq_ignore_ascii_case("localhost").then_some((Ipv4Addr::LOCALHOST.into(), port))
}

/// Whether an address is one of this machine's.
fn is_own(ip: IpAddr) -> io::Result<bool> {
    Ok(ip.is_loopback() || if_addrs::get_if_addrs()?.iter().any(|interface| interface.ip() == ip))
}

/// What an address is that no node has, whatever the server was told.
fn never(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(four) if four.octets()[0] == 0 => Some("the address of no machine"),
        IpAddr::V4(four) if four.is_link_local() => Some("a link-local address"),
        IpAddr::V4(four) if four.is_multicast() || four.is_broadcast() => Some("the address of a group"),
        IpAddr::V6(six) if six.is_unspecified() => Some("the address of no machine"),
        IpAddr::V6(six) if six.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(six) if six.is_multicast() => Some("the address of a group"),
        IpAddr::V4(_) | IpAddr::V6(Ipv6Addr::LOCALHOST) => None,
        IpAddr::V6(six) => embedded(six).and_then(|four| never(four.into())),
    }
}

/// The IPv4 address that is reached by way of this IPv6 one: compatible (RFC 4291), translated
/// (RFC 6052), 6to4 (RFC 3056).
fn embedded(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let four = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match six.segments() {
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(four(high, low))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    fn places(networks: &[&str]) -> Places {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Places { ports: vec![8080], networks, ..Places::default() }
    }

    fn refusal(places: &Places, address: &str) -> String {
        match places.check(address) {
            Ok(()) => String::new(),
            Err(error) => error.detail,
        }
    }

    #[test]
    fn an_address_is_taken_only_where_a_node_can_be() {
        let own = if_addrs::get_if_addrs().unwrap().into_iter().map(|found| found.ip());
        let own = own.filter(|ip| ip.is_ipv4() && never(*ip).is_none()).map(|ip| format!("{ip}:1"));
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"]
            .map(str::to_owned)
            .into_iter()
            .chain(own)
        {
            let refused = refusal(&places(&[]), &address);
            assert!(refused.is_empty() == SHOWN, "{address}: {refused}");
            assert_eq!(refusal(&places(&["127.0.0.0/8"]), "127.0.0.1:1"), "");
        }
        for (address, reason) in [
            ("169.254.169.254:80", "link-local"),
            ("[::ffff:169.254.169.254]:80", "link-local"),
            ("[::169.254.169.254]:80", "link-local"),
            ("[64:ff9b::a9fe:a9fe]:80", "link-local"),
            ("[2002:a9fe:a9fe::1]:80", "link-local"),
            ("[fe80::1]:80", "link-local"),
            ("[febf::1]:80", "link-local"),
            ("0.0.0.0:80", "no machine"),
            ("0.1.2.3:80", "no machine"),
            ("[::]:80", "no machine"),
            ("224.0.0.1:80", "a group"),
            ("255.255.255.255:80", "a group"),
            ("[ff02::1]:80", "a group"),
            ("127.0.0.1:8080", "door of the server"),
            ("127.0.0.2:8080", "door of the server"),
            ("localhost:8080", "door of the server"),
            ("LocalHost:8080", "door of the server"),
            ("[::1]:8080", "door of the server"),
            ("[::ffff:127.0.0.1]:8080", "door of the server"),
            ("192.0.2.1:80", "--nodes-from 192.0.2.1"),
            ("[2001:db8::1]:80", "--nodes-from 2001:db8::1"),
            ("metadata.google.internal:80", "has a name"),
            ("127.1:80", "has a name"),
            ("2130706433:80", "has a name"),
            ("0x7f.0.0.1:80", "has a name"),
            ("127.0.0.1", "neither"),
            ("unix:/etc/passwd", "does not lie in the folder"),
        ] {
            for networks in [&[][..], &["0.0.0.0/0", "::/0"]] {
                let refused = refusal(&places(networks), address);
                let told = reason.contains("--nodes-from") && !networks.is_empty();
                assert!(
                    if told { refused.is_empty() } else { refused.contains(reason) },
                    "{address}: {refused}"
                );
            }
        }
    }

    #[test]
    fn other_hosts_have_nodes_where_the_server_was_told_so() {
        let places = places(&["192.0.2.0/24", "2001:db8::/32"]);
        for address in ["192.0.2.1:80", "[::ffff:192.0.2.1]:80", "[2001:db8::1]:80"] {
            assert_eq!(refusal(&places, address), "");
        }
        assert!(refusal(&places, "192.0.3.1:80").contains("--nodes-from"));
    }

    #[test]
    fn a_network_beyond_this_machine_says_nothing_of_its_own_users() {
        let local: IpAddr = Ipv4Addr::LOCALHOST.into();
        for (network, told) in
            [("0.0.0.0/0", false), ("127.0.0.0/8", true), ("127.0.0.1/32", true), ("126.0.0.0/7", false)]
        {
            assert_eq!(places(&[network]).is_told(local, true), told, "{network}");
        }
    }

    #[test]
    fn a_socket_is_taken_only_from_the_folder_of_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let nodes = folder.path().join("nodes");
        fs::create_dir(&nodes).unwrap();
        let places = Places { folder: nodes.clone(), ..Places::default() };
        let _inside = UnixListener::bind(nodes.join("inside")).unwrap();
        let _outside = UnixListener::bind(folder.path().join("outside")).unwrap();
        fs::write(nodes.join("file"), "").unwrap();
        fs::create_dir(nodes.join("folder")).unwrap();
        symlink(folder.path().join("outside"), nodes.join("link")).unwrap();
        symlink(folder.path(), nodes.join("up")).unwrap();
        let at = |path: &str| refusal(&places, &format!("unix:{}/{path}", nodes.display()));
        assert_eq!(at("inside"), "");
        for (path, reason) in [
            ("../outside", "does not lie"),
            ("up/outside", "does not lie"),
            ("folder/../../outside", "does not lie"),
            ("inside/..", "does not lie"),
            ("link", "is not a socket"),
            ("file", "is not a socket"),
            ("folder", "is not a socket"),
            ("nothing", "is not there"),
        ] {
            assert!(at(path).contains(reason), "{path}: {}", at(path));
        }
    }

    #[tokio::test]
    async fn sockets_of_the_dead_are_swept_and_those_of_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { folder: folder.path().to_owned(), ..Places::default() };
        let _alive = UnixListener::bind(folder.path().join("alive")).unwrap();
        drop(UnixListener::bind(folder.path().join("dead")).unwrap());
        fs::write(folder.path().join("file"), "").unwrap();
        places.sweep().await.unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["alive", "file"]);
    }
}
