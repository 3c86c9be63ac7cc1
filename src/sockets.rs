//! Whose sockets those of this machine are, as far as the system tells. Only Linux does, in the
//! tables of proc(5).

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The tables of the kernel.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// States of sockets.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// A line of a table.
struct Socket<'a> {
    local: SocketAddr,
    state: &'a str,
    uid: u32,
    inode: &'a str,
}

/// The program and process that listen on this TCP port, such as "`nginx` (pid 42)".
pub(crate) fn owner_of_port(port: u16) -> Option<String> {
    let inode = TABLES.iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        let listens = |socket: &Socket<'_>| socket.state == LISTEN && socket.local.port() == port;
        sockets(&text).find(listens).map(|socket| socket.inode.to_owned())
    })?;
    let socket = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        let holds = |path| fs::read_link(path).is_ok_and(|target| target.as_os_str() == socket.as_str());
        if descriptors.flatten().any(|descriptor| holds(descriptor.path())) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("`{}` (pid {pid})", name.trim()));
        }
    }
    Some("another user's program".to_owned())
}

/// Whether a connection that comes from this address of this machine is one of another user's
/// processes; false where the system does not tell.
pub(crate) fn is_of_another_user(client: SocketAddr, own: u32) -> bool {
    let mut tables = TABLES.iter().filter_map(|table| fs::read_to_string(table).ok());
    tables.any(|table| has_another_user(&table, client, own))
}

fn has_another_user(table: &str, client: SocketAddr, own: u32) -> bool {
    let client = (client.ip().to_canonical(), client.port());
    sockets(table).any(|socket| {
        let local = (socket.local.ip().to_canonical(), socket.local.port());
        socket.state == ESTABLISHED && local == client && socket.uid != own
    })
}

fn sockets(table: &str) -> impl Iterator<Item = Socket<'_>> {
    table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = columns.get(1)?.rsplit_once(':')?;
        Some(Socket {
            local: SocketAddr::new(address_of(address)?, u16::from_str_radix(port, 16).ok()?),
            state: columns.get(3)?,
            uid: columns.get(7)?.parse().ok()?,
            inode: columns.get(9)?,
        })
    })
}

/// An address as the kernel prints it: words of 32 bits in the order of bytes of the machine.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (part, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                part.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 12 1 0
   2: 0100007F:C351 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 13 1 0
   3: 0100007F:C352 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   4: 0000000000000000FFFF00000100007F:C353 0000000000000000FFFF00000100007F:1F90 01 0:0 00:0 0 1001 0 14
   5: 00000000000000000000000001000000:C354 00000000000000000000000001000000:1F90 01 0:0 00:0 0 1000 0 15
garbage
";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_connection_is_traced_to_its_user() {
        for (client, another) in [
            ("127.0.0.1:50000", false),
            ("127.0.0.1:50001", true),
            ("127.0.0.1:50002", false),
            ("127.0.0.1:50003", true),
            ("[::1]:50004", false),
            ("[::1]:50001", false),
        ] {
            assert_eq!(has_another_user(TABLE, client.parse().unwrap(), 1000), another, "{client}");
        }
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_connection_of_ours_is_ours() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        let own = rustix::process::getuid().as_raw();
        let from = client.local_addr().unwrap();
        assert!(!is_of_another_user(from, own));
        assert!(is_of_another_user(from, own + 1));
        assert!(owner_of_port(address.port()).unwrap().contains(&format!("pid {}", std::process::id())));
    }
}
