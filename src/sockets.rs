//! Whose the TCP sockets of this machine are. Only Linux tells, in the tables of proc(5). What the
//! tables do not prove is not known: callers trust nobody without a proof.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use tokio::{sync::Mutex, time::Instant};

/// The tables of the kernel, of sockets for IPv4 and for IPv6.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// States of sockets.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";
/// An end that has closed its sending side and goes on to read (`FIN_WAIT1` and `FIN_WAIT2`).
const HALF_CLOSED: [&str; 2] = ["04", "05"];
/// The tables are read in pieces, between which the kernel may move a row: one that is looked for
/// and not found is looked for again, so often in all.
const READS: usize = 3;

/// A line of a table.
struct Row<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'a str,
    uid: u32,
    /// `0` for a socket that no process has: its own has ended, or has not accepted it yet.
    inode: &'a str,
}

/// A TCP connection between a socket of this process and one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    ours: SocketAddr,
    peer: SocketAddr,
}

impl Connection {
    /// The connection with these ends. IPv4 addresses that are written as IPv6 are the same.
    pub(crate) fn new(ours: SocketAddr, peer: SocketAddr) -> Self {
        Self { ours: canonical(ours), peer: canonical(peer) }
    }

    /// One of which nothing is known, and nothing can be proven.
    pub(crate) fn unknown() -> Self {
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Self::new(nowhere, nowhere)
    }

    /// The address of the other end.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The user who made this connection to one of our ports, also where he has closed his sending side. This
    /// tells users apart; for trust there is [`Connection::proven_caller_uid`].
    pub(crate) async fn caller_uid(self) -> Option<u32> {
        find(move |sockets| sockets.holder(self).or_else(|| sockets.reader(self))).await
    }

    /// The user who made this connection to one of our ports, if it is proven: both ends are
    /// established, and a process of this machine holds the other one.
    pub(crate) async fn proven_caller_uid(self) -> Option<u32> {
        find(move |sockets| sockets.holder(self)).await
    }

    /// The user who takes this connection that we made, if it is proven: who holds its other end,
    /// or, until it is accepted, who listens there.
    pub(crate) async fn listener_uid(self) -> Option<u32> {
        find(move |sockets| sockets.taker(self)).await
    }
}

/// What the tables said at one moment.
#[derive(Debug)]
struct Sockets {
    /// When the reading began.
    since: Instant,
    /// The user of each established one, and whether a process holds it, by its own end and the
    /// other one.
    established: HashMap<(SocketAddr, SocketAddr), (u32, bool)>,
    /// The same of those that have closed their sending side.
    half_closed: HashMap<(SocketAddr, SocketAddr), (u32, bool)>,
    /// Who listens, and where.
    listening: Vec<(SocketAddr, u32)>,
}

impl Sockets {
    fn parse(text: &str, since: Instant) -> Self {
        let (established, half_closed) = (HashMap::new(), HashMap::new());
        let mut sockets = Self { since, established, half_closed, listening: Vec::new() };
        for row in rows(text) {
            let (ends, user) = ((row.local, row.remote), (row.uid, row.inode != "0"));
            match row.state {
                ESTABLISHED => {
                    sockets.established.insert(ends, user);
                }
                state if HALF_CLOSED.contains(&state) => {
                    sockets.half_closed.insert(ends, user);
                }
                LISTEN => sockets.listening.push((row.local, row.uid)),
                _ => {}
            }
        }
        sockets
    }

    /// Who has the other end of a connection.
    fn holder(&self, connection: Connection) -> Option<u32> {
        let (uid, held) = self.established.get(&(connection.peer, connection.ours))?;
        held.then_some(*uid)
    }

    /// Who has the other end of a connection, whose sending side is closed.
    fn reader(&self, connection: Connection) -> Option<u32> {
        let (uid, held) = self.half_closed.get(&(connection.peer, connection.ours))?;
        held.then_some(*uid)
    }

    /// The holder, or who listens there while it waits to be accepted. Sockets of several users that
    /// would take it prove nothing.
    fn taker(&self, connection: Connection) -> Option<u32> {
        let (uid, held) = self.established.get(&(connection.peer, connection.ours))?;
        if *held {
            return Some(*uid);
        }
        let takes = |address: SocketAddr| {
            address.port() == connection.peer.port()
                && (address.ip() == connection.peer.ip() || address.ip().is_unspecified())
        };
        let mut uids = self.listening.iter().filter(|(address, _)| takes(*address)).map(|(_, uid)| *uid);
        let first = uids.next()?;
        uids.all(|uid| uid == first).then_some(first)
    }
}

/// The tables, held open so that they can be read when the process has no descriptor left, and what
/// they said last.
#[derive(Default)]
struct Tables {
    files: Option<[File; 2]>,
    last: Option<Arc<Sockets>>,
}

static HELD: Mutex<Tables> = Mutex::const_new(Tables { files: None, last: None });

/// Opens the tables for as long as this process lives. Without it the first question does, which
/// may come when no descriptor is left.
pub(crate) async fn open_tables() {
    // Where there are none, nothing is ever proven.
    drop(HELD.lock().await.open());
}

impl Tables {
    fn open(&mut self) -> io::Result<&mut [File; 2]> {
        match &mut self.files {
            Some(files) => Ok(files),
            none => {
                let [four, six] = TABLES;
                // A machine may do without IPv6. Any other reason, such as too many open files,
                // hides rows that may be there.
                let six = match File::open(six) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(four),
                    opened => opened,
                };
                Ok(none.insert([File::open(four)?, six?]))
            }
        }
    }

    /// What the tables said last, if they were not read before `asked`. Who asks while they are read waits
    /// for the next reading, which then serves all who wait.
    fn known(&self, asked: Instant) -> Option<Arc<Sockets>> {
        self.last.clone().filter(|last| last.since >= asked)
    }

    /// What the tables say.
    fn read(&mut self) -> io::Result<Arc<Sockets>> {
        let since = Instant::now();
        let mut text = String::new();
        for file in self.open()? {
            file.rewind()?;
            file.read_to_string(&mut text)?;
        }
        Ok(self.last.insert(Arc::new(Sockets::parse(&text, since))).clone())
    }
}

async fn find(look: impl Fn(&Sockets) -> Option<u32>) -> Option<u32> {
    for _ in 0..READS {
        let asked = Instant::now();
        let mut held = HELD.lock().await;
        let read = match held.known(asked) {
            Some(known) => known,
            None => tokio::task::spawn_blocking(move || held.read()).await.ok()?.ok()?,
        };
        if let Some(uid) = look(&read) {
            return Some(uid);
        }
    }
    None
}

/// The program and process that listen on this TCP address, or on all of the machine, such as
/// "`nginx` (pid 42)".
pub(crate) fn listener(address: SocketAddr) -> Option<String> {
    let inode = TABLES.iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let meets = |other: IpAddr| other == ip || other.is_unspecified() || ip.is_unspecified();
        let listens =
            |row: &Row<'_>| row.state == LISTEN && row.local.port() == port && meets(row.local.ip());
        rows(&text).find(listens).map(|row| row.inode.to_owned())
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

/// The rows of a table, or of several that follow one another. What is none is left out.
fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    table.lines().filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let (local, remote) = (columns.nth(1)?, columns.next()?);
        let state = columns.next()?;
        let (uid, inode) = (columns.nth(3)?, columns.nth(1)?);
        Some(Row { local: end_of(local)?, remote: end_of(remote)?, state, uid: uid.parse().ok()?, inode })
    })
}

/// One end as the kernel prints it: the address in words of 32 bits in the order of bytes of the
/// machine, the port as a number.
fn end_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (part, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                part.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?)))
}

/// The same address, as IPv4 where it is one; without the scope that the tables do not tell.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 12 1 0
   2: 0100007F:C351 0100007F:1F90 05 00000000:00000000 00:00000000 00000000  1001        0 13 1 0
   3: 0100007F:C352 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   4: 0000000000000000FFFF00000100007F:C353 0000000000000000FFFF00000100007F:1F90 01 0:0 00:0 0 1002 0 14
   5: 00000000000000000000000001000000:C354 00000000000000000000000001000000:1F90 01 0:0 00:0 0 1003 0 15
   6: 0100007F:C355 0100007F:1F91 01 00000000:00000000 00:00000000 00000000  1001        0 16 1 0
   7: 0100007F:1F90 0100007F:D000 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0
   8: 0100007F:1F90 0100007F:D001 01 00000000:00000000 00:00000000 00000000  1004        0 17 1 0
   9: 00000000:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 18 1 0
  10: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1005 0 19
  11: 0100007F:1F92 0100007F:D002 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0
  12: 0100007F:C356 0100007F:1F90 01 00000000:00000000
  13: 0100007F:C357 0100007F:1F90 05 00000000:00000000 00:00000000 00000000     0        0 0 3 0
  14: 0100007F:C358 0100007F:1F90 04 00000000:00000000 00:00000000 00000000  1001        0 20 1 0
  15: 0100007F:C359 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
garbage
";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_an_established_row_with_both_ends_proves_who_calls() {
        let sockets = Sockets::parse(TABLE, Instant::now());
        for (peer, ours, proven) in [
            ("127.0.0.1:50000", "127.0.0.1:8080", Some(1001)),
            ("127.0.0.1:50000", "[::ffff:127.0.0.1]:8080", Some(1001)),
            // Half closed; without a process; another machine's; to another door; a torn row.
            ("127.0.0.1:50001", "127.0.0.1:8080", None),
            ("127.0.0.1:50002", "127.0.0.1:8080", None),
            ("127.0.0.1:50009", "127.0.0.1:8080", None),
            ("127.0.0.1:50005", "127.0.0.1:8080", None),
            ("127.0.0.1:50006", "127.0.0.1:8080", None),
            ("127.0.0.1:50003", "127.0.0.1:8080", Some(1002)),
            ("[::ffff:127.0.0.1]:50003", "[::ffff:127.0.0.1]:8080", Some(1002)),
            ("[::1]:50004", "[::1]:8080", Some(1003)),
            ("[::1]:50000", "[::1]:8080", None),
        ] {
            let connection = Connection::new(ours.parse().unwrap(), peer.parse().unwrap());
            assert_eq!(sockets.holder(connection), proven, "{peer} {ours}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_end_that_only_reads_tells_whose_it_is_as_long_as_a_process_has_it() {
        let sockets = Sockets::parse(TABLE, Instant::now());
        for (port, user) in [
            (50001, Some(1001)),
            (50008, Some(1001)),
            // Established, closed by its process, and over.
            (50000, None),
            (50007, None),
            (50009, None),
        ] {
            let peer = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            let connection = Connection::new("127.0.0.1:8080".parse().unwrap(), peer);
            assert_eq!(sockets.reader(connection), user, "{port}");
            assert!(port == 50000 || sockets.holder(connection).is_none(), "{port}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_connection_that_waits_is_taken_by_who_listens() {
        let sockets = Sockets::parse(TABLE, Instant::now());
        for (peer, ours, proven) in [
            // Waits to be accepted; is accepted, by another than who listens; is no connection;
            // waits where sockets of two users listen.
            ("127.0.0.1:8080", "127.0.0.1:53248", Some(1000)),
            ("127.0.0.1:8080", "127.0.0.1:53249", Some(1004)),
            ("127.0.0.1:8080", "127.0.0.1:53255", None),
            ("127.0.0.1:8082", "127.0.0.1:53250", None),
        ] {
            let connection = Connection::new(ours.parse().unwrap(), peer.parse().unwrap());
            assert_eq!(sockets.taker(connection), proven, "{peer} {ours}");
        }
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_connection_of_ours_is_ours_and_proven_until_it_is_half_closed() {
        let own = Some(rustix::process::getuid().as_raw());
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(address).await else { continue };
            let address = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(address).unwrap();
            let out = Connection::new(client.local_addr().unwrap(), address);
            assert_eq!(out.listener_uid().await, own, "before it is accepted");
            let (accepted, from) = listener.accept().await.unwrap();
            assert_eq!(out.listener_uid().await, own, "after it");
            let come = Connection::new(accepted.local_addr().unwrap(), from);
            assert_eq!((come.caller_uid().await, come.proven_caller_uid().await), (own, own));
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!((come.caller_uid().await, come.proven_caller_uid().await), (own, None));
            assert!(super::listener(address).unwrap().contains(&format!("pid {}", std::process::id())));
        }
    }
}
