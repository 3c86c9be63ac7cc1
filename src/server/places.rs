//! How many connections a door, or all doors of a kind together, may have open. Where all places are
//! taken, a new connection takes that of the one that has had no calls for longest: who only holds
//! connections keeps nobody out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{budget::network, connection::Connection, listen::Peer};

/// The places of a door.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: Mutex<HashMap<u64, Arc<Connection>>>,
    left: Notify,
}

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// Of this address, which is not this machine, there are too many.
    Address,
    /// All are taken by connections with calls.
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
        Arc::new(Self { limit, taken: Mutex::default(), left: Notify::new() })
    }

    /// A place for a connection, as soon as there is one; none where its address has too many.
    pub(super) async fn take(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<Place> {
        loop {
            let left = self.left.notified();
            match self.try_take(connection) {
                Ok(place) => return Some(place),
                Err(Full::Address) => return None,
                Err(Full::All) => left.await,
            }
        }
    }

    fn try_take(self: &Arc<Self>, connection: &Arc<Connection>) -> Result<Place, Full> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // One address has half of the places at most. What comes from this machine has one address,
        // whoever it is.
        let address = address_of(connection);
        if taken.len() >= self.limit / 2
            && let Some(address) = address
            && taken.values().filter(|other| address_of(other) == Some(address)).count() >= self.limit / 2
        {
            evict(&mut taken, |other| address_of(other) == Some(address)).ok_or(Full::Address)?;
        }
        if taken.len() >= self.limit {
            evict(&mut taken, |_| true).ok_or(Full::All)?;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        taken.insert(number, connection.clone());
        Ok(Place { places: self.clone(), number })
    }
}

/// The address of another machine.
fn address_of(connection: &Connection) -> Option<IpAddr> {
    match connection.peer {
        Peer::Program(ends) => Some(network(ends.peer().ip())).filter(|address| !address.is_loopback()),
        Peer::Owner | Peer::Service | Peer::Unknown => None,
    }
}

/// Takes the place of the connection that has had no calls for longest.
fn evict(taken: &mut HashMap<u64, Arc<Connection>>, may: impl Fn(&Connection) -> bool) -> Option<()> {
    let idle = taken.iter().filter(|(_, connection)| may(connection));
    let idle = idle.filter_map(|(number, connection)| Some((connection.idle()?, *number)));
    let (_, number) = idle.max()?;
    taken.remove(&number)?.unwanted.cancel();
    Some(())
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
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

    #[test]
    fn who_has_waited_longest_without_a_call_makes_room() {
        let places = Places::new(2);
        let (first, second, third) =
            (connection("127.0.0.1:1"), connection("127.0.0.1:2"), connection("127.0.0.1:3"));
        let _first = places.try_take(&first).unwrap();
        let _second = places.try_take(&second).unwrap();
        let third_place = places.try_take(&third).unwrap();
        assert!(first.unwanted.is_cancelled() && !second.unwanted.is_cancelled());
        drop(third_place);
        assert_eq!(places.taken.lock().unwrap().len(), 1);
    }

    #[test]
    fn another_machine_has_half_of_the_places_and_this_one_all() {
        let places = Places::new(4);
        let all: Vec<_> = ["10.0.0.1:1", "10.0.0.1:2", "127.0.0.1:1", "10.0.0.1:3"].map(connection).into();
        let taken: Vec<_> = all.iter().map(|connection| places.try_take(connection).unwrap()).collect();
        assert_eq!(taken.len(), 4);
        let gone: Vec<bool> = all.iter().map(|connection| connection.unwanted.is_cancelled()).collect();
        assert_eq!(gone, [true, false, false, false]);
    }
}
