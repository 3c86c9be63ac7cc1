//! How many bytes of messages the server holds at once, over all calls: of requests that are not yet
//! dealt with, and of answers that are not yet read. What would go beyond is refused, never waited for.
//!
//! Nobody has it all: one address, user of this machine or account holds a quarter at most, a share is
//! kept for small messages, and another one for the owner's socket.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use micro_sdk::{Error, Result, proto::auth::Account};

use super::peer::Peer;

/// A message of up to so many bytes is small.
pub(super) const SMALL: usize = 64 << 10;
/// The least budget: of its quarter, what is not kept for small messages takes one of the largest.
pub(crate) const LEAST: usize = 96 << 20;
/// The budget of a server that is told none.
#[cfg(test)]
pub(super) const DEFAULT: usize = 128 << 20;
/// After how many holders those that hold nothing are forgotten.
const HOLDERS: usize = 1024;
/// When it makes sense to try again, in seconds.
const RETRY: u32 = 1;
/// The id of the errors that say so.
const ID: &str = "micro.server";

/// What an open call takes of the server beside its messages, in bytes.
pub(super) const CALL: usize = 16 << 10;
/// Once one part in so many of the budget is held, small messages count for their account too.
const PRESSED: usize = 8;

/// Who holds bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    /// The programs on the services' socket that have no account.
    Services,
    /// An address; of IPv6 the first 64 bits, which one subscriber has all of.
    Address(IpAddr),
    /// A user of this machine.
    User(u32),
    /// An account, by its namespace, type and id.
    Account(String, String, String),
}

/// Bytes that are counted for one holder, or for all.
type Counter = Arc<AtomicUsize>;

/// The budget of a server.
#[derive(Debug)]
pub(super) struct Budget {
    total: usize,
    all: Counter,
    holders: Mutex<HashMap<Holder, Counter>>,
}

impl Budget {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, all: Counter::default(), holders: Mutex::default() })
    }

    /// The most that one holder may have in messages that are not small.
    pub(super) fn share(&self) -> usize {
        let quarter = self.total / 4;
        quarter - quarter / 8
    }

    fn counter(&self, holder: Holder) -> Counter {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.len() >= HOLDERS {
            holders.retain(|_, counter| Arc::strong_count(counter) > 1);
        }
        holders.entry(holder).or_default().clone()
    }
}

/// A connection, as far as the budget is concerned.
#[derive(Debug)]
pub(super) struct Purse {
    budget: Arc<Budget>,
    peer: Peer,
    /// What its address, or the services' socket, holds; the owner has no such limit.
    place: Option<Counter>,
    /// The user of this machine behind it, once that was asked; none where it cannot be proven.
    uid: OnceLock<Option<u32>>,
    /// What that user holds.
    user: OnceLock<Counter>,
}

impl Purse {
    pub(super) fn new(budget: Arc<Budget>, peer: Peer) -> Arc<Self> {
        let holder = match peer {
            Peer::Owner => None,
            Peer::Service => Some(Holder::Services),
            Peer::Unknown => Some(Holder::Address(Ipv6Addr::UNSPECIFIED.into())),
            Peer::Program(ends) => Some(Holder::Address(network(ends.peer().ip()))),
        };
        let place = holder.map(|holder| budget.counter(holder));
        Arc::new(Self { budget, peer, place, uid: OnceLock::new(), user: OnceLock::new() })
    }

    /// Whether it matters by now which user of this machine is behind it: for a body that is announced
    /// not to be small, and once much is held by those who are not told apart.
    pub(super) fn is_to_be_identified(&self, announced: Option<usize>) -> bool {
        let Some(held) = &self.place else { return false };
        let is_large = announced.is_some_and(|bytes| bytes > SMALL);
        self.is_unidentified() && (is_large || held.load(Ordering::Relaxed) >= self.budget.share() / 8)
    }

    /// Whether it is of this machine, over TCP, and nobody has asked yet whose.
    pub(super) fn is_unidentified(&self) -> bool {
        matches!(self.peer, Peer::Program(ends) if ends.peer().ip().is_loopback()) && self.uid.get().is_none()
    }

    /// Finds out which user of this machine is behind it, so that users hold nothing for each other.
    pub(super) async fn identify(&self) {
        if let Peer::Program(ends) = self.peer {
            let uid = ends.caller_uid().await;
            if let Some(uid) = *self.uid.get_or_init(|| uid) {
                self.user.get_or_init(|| self.budget.counter(Holder::User(uid)));
            }
        }
    }

    /// The user of this machine behind it, as [`Purse::identify`] found.
    pub(super) fn uid(&self) -> Option<u32> {
        self.uid.get().copied().flatten()
    }

    /// What a message counts for, beside the server.
    fn counters(&self, account: Option<&Account>, large: bool) -> Vec<Counter> {
        let pressed = || self.budget.all.load(Ordering::Relaxed) >= self.budget.total / PRESSED;
        let place = self.user.get().or(self.place.as_ref());
        // Services share their socket; those with an account hold for that.
        let place = place.filter(|_| self.peer != Peer::Service || account.is_none()).cloned();
        let account = account.filter(|_| large || pressed()).map(|account| {
            let Account { issuer, r#type, id, .. } = account;
            self.budget.counter(Holder::Account(issuer.clone(), r#type.clone(), id.clone()))
        });
        place.into_iter().chain(account).collect()
    }
}

/// What counts as one address: all of 127.0.0.0/8 is this machine, and of IPv6 a subscriber has 64 bits.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
    }
}

/// Bytes that a call holds, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    purse: Arc<Purse>,
    account: Option<Arc<Account>>,
    /// What the bytes are counted for, beside the server.
    counters: Vec<Counter>,
    bytes: usize,
    /// Counted as what is not small.
    large: bool,
}

impl Hold {
    /// Nothing yet.
    pub(super) fn new(purse: Arc<Purse>, account: Option<Arc<Account>>) -> Self {
        Self { purse, account, counters: Vec::new(), bytes: 0, large: false }
    }

    /// Nothing yet, by the same peer and account.
    pub(super) fn another(&self) -> Self {
        Self::new(self.purse.clone(), self.account.clone())
    }

    /// Holds so many bytes more, of a message that is said to have so many in all: a large one takes
    /// nothing of the share that is kept for small ones, from its first byte on.
    ///
    /// # Errors
    /// As [`Hold::grow`].
    pub(super) fn grow_to(&mut self, bytes: usize, announced: usize) -> Result<()> {
        self.add(bytes, announced > SMALL)
    }

    /// Holds so many bytes more.
    ///
    /// # Errors
    /// 413 for more than anyone may hold, 503 for what may be held another time.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<()> {
        self.add(bytes, false)
    }

    fn add(&mut self, bytes: usize, large: bool) -> Result<()> {
        let budget = &self.purse.budget;
        let (after, share, quarter) = (self.bytes.saturating_add(bytes), budget.share(), budget.total / 4);
        if after > share {
            return Err(Error::too_large(format!(
                "the messages of a call take more than {share} bytes while they are dealt with, which is the limit"
            )));
        }
        let large = large || self.large || after > SMALL;
        let (all, one) = match (self.purse.peer, large) {
            (Peer::Owner, true) => (budget.total, share),
            (Peer::Owner, false) => (budget.total, quarter),
            (Peer::Service | Peer::Program(_) | Peer::Unknown, true) => (budget.total - quarter, share),
            (Peer::Service | Peer::Program(_) | Peer::Unknown, false) => {
                (budget.total - quarter / 2, quarter)
            }
        };
        add(std::slice::from_ref(&budget.all), bytes, all, "the server holds")?;
        let counted = if large == self.large && self.bytes > 0 {
            add(&self.counters, bytes, one, "who calls holds")
        } else {
            let counters = self.purse.counters(self.account.as_deref(), large);
            add(&counters, after, one, "who calls holds").map(|()| {
                subtract(&self.counters, self.bytes);
                self.counters = counters;
            })
        };
        if let Err(error) = counted {
            subtract(std::slice::from_ref(&budget.all), bytes);
            return Err(error);
        }
        (self.bytes, self.large) = (after, large);
        Ok(())
    }

    /// Holds so many bytes in all, which are more than before, or none, of a message that is said to have
    /// so many.
    ///
    /// # Errors
    /// As [`Hold::grow`].
    pub(super) fn reach(&mut self, bytes: usize, announced: usize) -> Result<()> {
        if bytes == 0 {
            self.release();
            return Ok(());
        }
        self.grow_to(bytes.saturating_sub(self.bytes), announced)
    }

    /// Gives back what is held.
    pub(super) fn release(&mut self) {
        if self.bytes > 0 {
            subtract(std::slice::from_ref(&self.purse.budget.all), self.bytes);
            subtract(&self.counters, self.bytes);
            self.counters.clear();
            (self.bytes, self.large) = (0, false);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

/// What goes beyond the budget, as clients of gRPC know it: something is used up.
pub(super) fn used_up(error: Error) -> Error {
    let Error { detail, retry_after, .. } = error;
    Error { retry_after, ..Error::new(429, detail) }
}

/// The same error for clients of gRPC, if it is one of the budget.
pub(super) fn for_grpc(error: Error) -> Error {
    if error.code == 503 && error.id == ID { used_up(error).with_id(ID) } else { error }
}

fn subtract(counters: &[Counter], bytes: usize) {
    for counter in counters {
        counter.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Counts bytes for each holder or, where one would have too many, for none.
fn add(counters: &[Counter], bytes: usize, most: usize, holder: &str) -> Result<()> {
    for (index, counter) in counters.iter().enumerate() {
        if counter.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > most {
            subtract(&counters[..=index], bytes);
            let text =
                format!("{holder} as many bytes of messages as are allowed at once; try again in a moment");
            return Err(Error::unavailable(text).with_id(ID).with_retry_after(RETRY));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets;

    const MIB: usize = 1 << 20;

    fn purse(budget: &Arc<Budget>, peer: &str) -> Arc<Purse> {
        let ends = sockets::Connection::new("127.0.0.1:9".parse().unwrap(), peer.parse().unwrap());
        Purse::new(budget.clone(), Peer::Program(ends))
    }

    fn account(id: &str) -> Arc<Account> {
        Arc::new(Account { id: id.into(), ..Account::default() })
    }

    fn code(result: Result<()>) -> i32 {
        result.map_or_else(|error| error.code, |()| 200)
    }

    #[test]
    fn one_address_holds_a_quarter_and_what_it_gives_back_counts_no_more() {
        let budget = Budget::new(DEFAULT);
        let mut first = Hold::new(purse(&budget, "10.0.0.1:1"), None);
        let mut second = Hold::new(purse(&budget, "10.0.0.1:2"), None);
        assert_eq!(code(first.grow(16 * MIB)), 200);
        assert_eq!(code(second.grow(16 * MIB)), 503);
        // Small messages go on, and others do.
        assert_eq!(code(second.grow(SMALL)), 200);
        assert_eq!(code(Hold::new(purse(&budget, "10.0.0.2:1"), None).grow(16 * MIB)), 200);
        drop(first);
        assert_eq!(code(second.grow(16 * MIB)), 200);
        drop(second);
        assert_eq!(budget.all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_account_holds_a_quarter_wherever_it_comes_from() {
        let budget = Budget::new(DEFAULT);
        let hold = |peer: &str, id| Hold::new(purse(&budget, peer), Some(account(id)));
        let mut first = hold("10.0.0.1:1", "a");
        assert_eq!(code(first.grow(20 * MIB)), 200);
        assert_eq!(code(hold("10.0.0.2:1", "a").grow(20 * MIB)), 503);
        assert_eq!(code(hold("10.0.0.2:1", "b").grow(20 * MIB)), 200);
        let owner = Purse::new(budget.clone(), Peer::Owner);
        assert_eq!(code(Hold::new(owner.clone(), Some(account("a"))).grow(20 * MIB)), 503);
        assert_eq!(code(Hold::new(owner, Some(account("c"))).grow(20 * MIB)), 200);
    }

    #[test]
    fn a_share_is_kept_for_small_messages_and_one_for_the_owner() {
        let budget = Budget::new(DEFAULT);
        let mut holds = Vec::new();
        for number in 0..1000 {
            let mut hold =
                Hold::new(purse(&budget, &format!("10.0.{}.{}:1", number / 250, number % 250)), None);
            if code(hold.grow(16 * MIB)) != 200 {
                break;
            }
            holds.push(hold);
        }
        assert_eq!(holds.len(), 6, "three quarters of 128 MiB");
        let mut small = Vec::new();
        let refused = loop {
            let mut hold = Hold::new(purse(&budget, "10.9.0.1:1"), None);
            match hold.grow(SMALL) {
                Ok(()) => small.push(hold),
                Err(error) => break error,
            }
        };
        assert_eq!((refused.code, refused.retry_after), (503, Some(RETRY)));
        assert_eq!(small.len() * SMALL, 16 * MIB, "an eighth");
        assert_eq!(code(Hold::new(Purse::new(budget.clone(), Peer::Owner), None).grow(16 * MIB)), 200);
    }

    #[test]
    fn large_messages_leave_the_share_of_small_ones_alone_while_they_come() {
        let budget = Budget::new(DEFAULT);
        let purse = || purse(&budget, "10.0.0.1:1");
        let mut first = Hold::new(purse(), None);
        assert_eq!(code(first.grow(16 * MIB)), 200);
        // Many of them begin.
        let mut begun: Vec<_> = (0..1000).map(|_| Hold::new(purse(), None)).collect();
        for hold in &mut begun {
            assert!(matches!(code(hold.grow_to(SMALL, MIB)), 200 | 503));
        }
        assert_eq!(code(Hold::new(purse(), None).grow(SMALL)), 200);
        // Also those of one account, for the owner who has the same.
        let account = || Some(account("a"));
        let mut other = Hold::new(self::purse(&budget, "10.0.0.2:1"), account());
        assert_eq!(code(other.grow_to(budget.share(), MIB)), 200);
        let owner = Purse::new(budget.clone(), Peer::Owner);
        assert_eq!(code(Hold::new(owner.clone(), account()).grow_to(SMALL, MIB)), 503);
        assert_eq!(code(Hold::new(owner, account()).grow(SMALL)), 200);
    }

    #[test]
    fn clients_of_grpc_are_told_that_it_is_used_up() {
        let error = used_up(Error::unavailable("a").with_retry_after(RETRY));
        assert_eq!((error.code, &*error.status), (429, "Too Many Requests"));
        assert_eq!((&*error.detail, error.retry_after), ("a", Some(RETRY)));
    }

    #[test]
    fn what_nobody_may_hold_is_too_large() {
        let budget = Budget::new(DEFAULT);
        let mut hold = Hold::new(Purse::new(budget.clone(), Peer::Owner), None);
        assert_eq!(code(hold.grow(budget.share() + 1)), 413);
        assert_eq!(code(hold.grow(usize::MAX)), 413);
        assert!(Budget::new(LEAST).share() > micro_sdk::MESSAGE_LIMIT);
    }

    #[test]
    fn neighbours_are_one_address() {
        for (one, other, same) in [
            ("127.0.0.1", "127.9.9.9", true),
            ("127.0.0.1", "::1", true),
            ("::ffff:127.0.0.1", "127.0.0.2", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            let network = |text: &str| network(text.parse().unwrap());
            assert_eq!(network(one) == network(other), same, "{one} {other}");
        }
    }

    #[test]
    fn holders_that_hold_nothing_are_forgotten() {
        let budget = Budget::new(DEFAULT);
        for number in 0..3 * u32::try_from(HOLDERS).unwrap() {
            drop(budget.counter(Holder::User(number)));
        }
        assert!(budget.holders.lock().unwrap().len() <= HOLDERS);
    }
}
