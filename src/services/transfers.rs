//! How many calls may be under way at once that hold a file, such as those that send or read a blob: each
//! takes a file descriptor for as long as its caller likes. One account has a quarter of the places, the
//! accounts of one namespace half, and a quarter of all is kept for the owner of the home.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use micro_sdk::{Error, Result};

use super::auth::{Caller, Holder};

/// The most blobs, restores and logs that are under way at once, and the part of the file descriptors that
/// they may take.
const FILES: (usize, usize) = (512, 8);
/// When it makes sense to try again, in seconds.
const RETRY: u32 = 10;

/// The places, and who has them.
#[derive(Debug)]
pub(crate) struct Transfers {
    most: usize,
    /// What is counted, as errors name it.
    what: &'static str,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Holder, usize>,
}

/// A place, until this is dropped.
#[derive(Debug)]
pub(crate) struct Transfer {
    transfers: Arc<Transfers>,
    holders: Vec<Holder>,
}

impl Transfers {
    /// So many places for `what`, such as "snapshots".
    pub(crate) fn new(most: usize, what: &'static str) -> Arc<Self> {
        Arc::new(Self { most, what, taken: Mutex::default() })
    }

    /// Those for blobs, restores and logs, in a process that may have so many file descriptors.
    pub(crate) fn of_files(descriptors: usize) -> Arc<Self> {
        let (most, part) = FILES;
        Self::new((descriptors / part).min(most), "blobs, restores and logs")
    }

    /// A place for a caller.
    ///
    /// # Errors
    /// 429 where there is none, or the caller has too many.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller) -> Result<Transfer> {
        let holders = if caller.owner { Vec::new() } else { caller.holders() };
        let reserved = if caller.owner { 0 } else { self.most.div_ceil(4) };
        let mut taken = self.taken();
        for (holder, part) in holders.iter().zip([4, 2]) {
            let most = (self.most / part).max(1);
            if taken.by.get(holder).is_some_and(|held| *held >= most) {
                return Err(self.full(most, &format!(" of {holder}")));
            }
        }
        let most = (self.most - reserved).max(1);
        if taken.all >= most {
            return Err(self.full(most, ""));
        }
        taken.all += 1;
        for holder in &holders {
            *taken.by.entry(holder.clone()).or_default() += 1;
        }
        Ok(Transfer { transfers: self.clone(), holders })
    }

    fn full(&self, most: usize, of: &str) -> Error {
        let what = self.what;
        let text =
            format!("{most} {what}{of} are under way, which is the limit; try again when one has ended");
        Error::too_many(text).with_retry_after(RETRY)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut taken = self.transfers.taken();
        taken.all -= 1;
        for holder in &self.holders {
            if let Some(held) = taken.by.get_mut(holder) {
                *held -= 1;
                if *held == 0 {
                    taken.by.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use micro_sdk::proto::auth::Account;

    use super::*;

    fn account(namespace: &str, id: &str) -> Caller {
        let account = Account { id: id.into(), issuer: namespace.into(), ..Account::default() };
        Caller { account: Some(Arc::new(account)), ..Caller::default() }
    }

    /// Takes places until none is given, and why it is not.
    fn all(transfers: &Arc<Transfers>, caller: &Caller) -> (Vec<Transfer>, String) {
        let mut taken = Vec::new();
        loop {
            match transfers.take(caller) {
                Ok(transfer) => taken.push(transfer),
                Err(error) => return (taken, error.detail),
            }
        }
    }

    #[test]
    fn nobody_takes_the_places_of_others_or_of_the_owner() {
        let transfers = Transfers::new(16, "uploads");
        let mut held = Vec::new();
        for (caller, places, refused) in [
            (account("shop", "a"), 4, "4 uploads of account a are"),
            (account("shop", "b"), 4, "4 uploads of account b are"),
            (account("shop", "c"), 0, "8 uploads of namespace shop are"),
            (Caller::default(), 4, "4 uploads of callers without an account are"),
            (account("other", "a"), 0, "12 uploads are"),
            (Caller::owner(), 4, "16 uploads are"),
        ] {
            let (taken, why) = all(&transfers, &caller);
            assert!(taken.len() == places && why.starts_with(refused), "{} {why}", taken.len());
            held.push(taken);
        }
        // What is given back is there again, for who has not his share.
        held.remove(0);
        assert_eq!(all(&transfers, &account("other", "a")).0.len(), 0, "the owner has too many for that");
        held.pop();
        let later = [account("shop", "b"), account("other", "a")].map(|caller| all(&transfers, &caller).0);
        assert_eq!(later.each_ref().map(Vec::len), [0, 4]);
        drop((held, later));
        let taken = transfers.taken();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }

    #[test]
    fn where_there_are_few_everybody_may_have_one() {
        let transfers = Transfers::new(1, "uploads");
        assert_eq!(all(&transfers, &account("shop", "a")).0.len(), 1);
    }
}
