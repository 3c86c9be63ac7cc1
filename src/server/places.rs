//! How many connections a door, or all doors of a kind together, may have open. Where all places are
//! taken, those that have had no calls for longest make room; and nobody, be it a
//! user of this machine or another machine, has more than half of them. So who holds connections, also
//! with calls that never end, keeps nobody out.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::join_all;
use tokio::sync::{Mutex as Turn, Notify};

use super::{budget::network, connection::Connection, peer::Peer};

/// The most places there are, however many descriptors the system allows: an idle connection takes
/// 19 KB of memory.
const MOST: usize = 16_384;

/// Room is made for this part of the places at once.
const AT_ONCE: usize = 32;

/// Who has places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    /// A user of this machine, or nobody knows which.
    User(Option<u32>),
    /// Another machine.
    Address(IpAddr),
}

/// The places of a door.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: Mutex<Taken>,
    /// One newcomer at a time makes room, and takes it.
    turn: Turn<()>,
    left: Notify,
}

/// The places that are taken, and their holders, so that a newcomer looks through all of them only where one has
/// to leave.
#[derive(Debug, Default)]
struct Taken {
    connections: HashMap<u64, (Arc<Connection>, Option<Holder>)>,
    held: HashMap<Holder, usize>,
    /// Those of which it may not be known yet which user has them.
    unidentified: HashSet<u64>,
}

impl Taken {
    fn insert(&mut self, number: u64, connection: &Arc<Connection>) {
        if connection.purse.is_unidentified() {
            self.unidentified.insert(number);
        }
        let holder = holder_of(connection);
        self.connections.insert(number, (connection.clone(), holder));
        self.count(holder);
    }

    fn remove(&mut self, number: u64) {
        self.unidentified.remove(&number);
        if let Some((_, holder)) = self.connections.remove(&number) {
            self.discount(holder);
        }
    }

    /// Counts a connection for the user who has been found out.
    fn identified(&mut self, number: u64) {
        self.unidentified.remove(&number);
        let Some((connection, holder)) = self.connections.get_mut(&number) else { return };
        let after = holder_of(connection);
        let before = std::mem::replace(holder, after);
        self.discount(before);
        self.count(after);
    }

    fn count(&mut self, holder: Option<Holder>) {
        if let Some(holder) = holder {
            *self.held.entry(holder).or_default() += 1;
        }
    }

    fn discount(&mut self, holder: Option<Holder>) {
        if let Some(holder) = holder
            && let Some(held) = self.held.get_mut(&holder)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&holder);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Connection>> + Clone {
        self.connections.values().map(|(connection, _)| connection)
    }

    fn of(&self, holder: Holder) -> impl Iterator<Item = &Arc<Connection>> + Clone {
        self.connections.values().filter(move |(_, of)| *of == Some(holder)).map(|(connection, _)| connection)
    }
}

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// Its holder has too many.
    Holder,
    /// All are taken; one is about to be given up, or has to be.
    All,
}

/// The place of a connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    /// So many places.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let limit = limit.min(MOST);
        Arc::new(Self { limit, taken: Mutex::default(), turn: Turn::default(), left: Notify::new() })
    }

    /// A place for a connection, as soon as there is one; none where who has it has too many.
    pub(super) async fn take(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<Place> {
        self.identify(connection).await;
        let _turn = self.turn.lock().await;
        loop {
            let left = self.left.notified();
            match self.try_take(connection) {
                Ok(place) => return Some(place),
                Err(Full::Holder) => return None,
                Err(Full::All) => left.await,
            }
        }
    }

    /// Once half of the places are taken, it matters which user of this machine has them.
    async fn identify(&self, newcomer: &Arc<Connection>) {
        if self.taken().connections.len() < self.limit / 2 {
            return;
        }
        if newcomer.purse.is_unidentified() {
            newcomer.purse.identify().await;
        }
        // The others are found out by one newcomer, while the next ones wait.
        let _turn = self.turn.lock().await;
        let unidentified: Vec<_> = {
            let taken = self.taken();
            let known = taken.unidentified.iter();
            known.filter_map(|number| Some((*number, taken.connections.get(number)?.0.clone()))).collect()
        };
        join_all(unidentified.iter().map(|(_, connection)| connection.purse.identify())).await;
        let mut taken = self.taken();
        for (number, _) in unidentified {
            taken.identified(number);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(self: &Arc<Self>, connection: &Arc<Connection>) -> Result<Place, Full> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut taken = self.taken();
        let half = self.limit / 2;
        if taken.connections.len() >= half
            && let Some(holder) = holder_of(connection)
            && taken.held.get(&holder).is_some_and(|held| *held >= half)
        {
            // Those who are told to leave are on their way.
            let leaving = taken.of(holder).any(|other| other.unwanted.is_cancelled());
            if leaving || evict(taken.of(holder), self.limit).is_some() {
                return Err(Full::All);
            }
            return Err(Full::Holder);
        }
        if taken.connections.len() >= self.limit {
            if !taken.all().any(|other| other.unwanted.is_cancelled()) {
                evict(taken.all(), self.limit).or_else(|| displace(&taken, connection));
            }
            return Err(Full::All);
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        taken.insert(number, connection);
        Ok(Place { places: self.clone(), number })
    }
}

/// Who has a connection; none for the local sockets, which have places of their own.
fn holder_of(connection: &Connection) -> Option<Holder> {
    match connection.peer {
        Peer::Program(ends) => Some(match network(ends.peer().ip()) {
            address if address.is_loopback() => Holder::User(connection.purse.uid()),
            address => Holder::Address(address),
        }),
        Peer::Unknown => Some(Holder::Address(Ipv6Addr::UNSPECIFIED.into())),
        Peer::Owner | Peer::Service => None,
    }
}

/// Tells connections that have had no calls for longest to leave: so many that a crowd of newcomers does
/// not look through all of them each time.
fn evict<'a>(taken: impl Iterator<Item = &'a Arc<Connection>>, limit: usize) -> Option<()> {
    let idle = taken.filter_map(|connection| Some((connection.idle_since()?, connection)));
    let mut idle: Vec<_> = idle.collect();
    idle.sort_unstable_by_key(|(since, _)| *since);
    idle.truncate((limit / AT_ONCE).max(1));
    for (_, connection) in &idle {
        connection.unwanted.cancel();
    }
    (!idle.is_empty()).then_some(())
}

/// Tells the oldest connection of the holder of most places to leave, in favour of one who has less than
/// half as many.
fn displace(taken: &Taken, newcomer: &Connection) -> Option<()> {
    let own = taken.held.get(&holder_of(newcomer)?).copied().unwrap_or_default();
    let more = taken.held.iter().filter(|(_, places)| own < **places / 2);
    let (most, _) = more.max_by_key(|(_, places)| **places)?;
    let theirs = taken.connections.iter().filter(|(_, (_, holder))| *holder == Some(*most));
    let (_, (oldest, _)) = theirs.min_by_key(|(number, _)| **number)?;
    oldest.unwanted.cancel();
    Some(())
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(self.number);
        self.places.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        server::budget::{self, Budget},
        sockets,
    };

    fn connection(peer: &str) -> Arc<Connection> {
        let ends = sockets::Connection::new("127.0.0.1:9".parse().unwrap(), peer.parse().unwrap());
        Connection::new(Budget::new(budget::DEFAULT), Peer::Program(ends))
    }

    fn with_call(connection: &Arc<Connection>) -> crate::server::connection::Open {
        crate::server::connection::Open::new(connection)
    }

    #[test]
    fn who_has_waited_longest_without_a_call_makes_room() {
        let places = Places::new(4);
        let all: Vec<_> = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"].map(connection).into();
        let mut taken: Vec<_> = all.iter().map(|connection| places.try_take(connection).unwrap()).collect();
        let newcomer = connection("10.0.0.5:1");
        let _busy = with_call(&all[0]);
        for _ in 0..2 {
            // Asked again, nobody else has to leave.
            assert_eq!(places.try_take(&newcomer).unwrap_err(), Full::All);
            let leaving: Vec<bool> = all.iter().map(|other| other.unwanted.is_cancelled()).collect();
            assert_eq!(leaving, [false, true, false, false]);
        }
        // The place is free once the connection is closed.
        drop(taken.remove(1));
        let place = places.try_take(&newcomer).unwrap();
        assert_eq!(places.taken().connections.len(), 4);
        drop(place);
        assert_eq!(places.taken().connections.len(), 3);
    }

    #[test]
    fn nobody_has_more_than_half_of_the_places_also_with_calls() {
        let places = Places::new(4);
        let theirs: Vec<_> = ["10.0.0.1:1", "10.0.0.1:2"].map(connection).into();
        let _taken: Vec<_> = theirs.iter().map(|connection| places.try_take(connection).unwrap()).collect();
        let _calls: Vec<_> = theirs.iter().map(with_call).collect();
        assert_eq!(places.try_take(&connection("10.0.0.1:3")).unwrap_err(), Full::Holder);
        assert!(places.try_take(&connection("127.0.0.1:1")).is_ok());
        assert!(!theirs.iter().any(|other| other.unwanted.is_cancelled()));
    }

    #[test]
    fn where_all_have_calls_the_holder_of_most_makes_room_for_one_with_few() {
        let places = Places::new(8);
        let names = ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:4", "10.0.0.2:1", "10.0.0.2:2"];
        let all: Vec<_> = names.into_iter().chain(["10.0.0.3:1", "10.0.0.4:1"]).map(connection).collect();
        let _taken: Vec<_> = all.iter().map(|connection| places.try_take(connection).unwrap()).collect();
        let _calls: Vec<_> = all.iter().map(with_call).collect();
        let gone = || all.iter().position(|other| other.unwanted.is_cancelled());
        assert_eq!(places.try_take(&connection("10.0.0.2:3")).unwrap_err(), Full::All);
        assert_eq!(gone(), None, "two are not less than half of four");
        assert_eq!(places.try_take(&connection("10.0.0.5:1")).unwrap_err(), Full::All);
        assert_eq!(gone(), Some(0));
    }

    #[test]
    fn who_is_found_out_later_is_counted_as_who_he_is() {
        let places = Places::new(8);
        let known = connection("10.0.0.1:1");
        let unknown = connection("127.0.0.1:1");
        let taken = [&known, &unknown].map(|connection| places.try_take(connection).unwrap());
        assert_eq!(places.taken().unidentified.len(), 1);
        // The system knows of no such connection, which is known from then on.
        let number = taken[1].number;
        places.taken().identified(number);
        assert!(places.taken().unidentified.is_empty());
        assert_eq!(places.taken().held[&Holder::User(None)], 1);
        drop(taken);
        let taken = places.taken();
        assert!(taken.held.is_empty() && taken.connections.is_empty());
    }
}
