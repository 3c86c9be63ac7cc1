//! Entries that were read, kept in memory: the least recently used go once the cache is full. A hit
//! costs a lock and a copy of the key where the database costs a trip to another thread.
//!
//! It is never behind what a caller has seen, which needs the writer's help. The writer calls
//! [`Cache::begin`] before a transaction, which drops what the transaction touches, and lets its
//! [`Changing`] go after it. What is read from the database in between may be from before or after
//! the transaction, so it is not kept: a reader notes the [`Moment`] before it reads, and what it
//! read is kept only if no transaction touched that part of the cache since.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard},
};

use lru::LruCache;

use super::write::Name;
use crate::backend::{Entry, expiry};

/// Parts with a lock each.
const SHARDS: usize = 64;
/// Bytes the whole cache may have.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes a value may have to be kept.
const MAX_KEPT: usize = 64 * 1024;
/// Bytes an entry takes beside its key and its value, about.
const OVERHEAD: usize = 160;

/// The cache of a database. Clones share it.
#[derive(Clone)]
pub(super) struct Cache(Arc<Shards>);

struct Shards {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

struct Shard {
    /// By table, a zero byte (which no table has in its name) and key; none if there is no entry.
    kept: LruCache<Box<[u8]>, Option<Entry>>,
    bytes: usize,
    /// Odd while a transaction touches the shard, and another one after each.
    generation: u64,
}

/// When a read began.
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

/// A transaction that is under way; what it touches is not kept until this is dropped.
pub(super) struct Changing {
    cache: Cache,
    /// Which shards it touches, a bit each.
    shards: u64,
    /// What it dropped.
    dropped: HashSet<Box<[u8]>>,
}

/// What the cache knows of a key.
pub(super) enum Known {
    /// The entry, if there is one.
    Entry(Option<Entry>),
    /// Nothing; what is read from the database can be brought to [`Cache::keep`].
    Nothing(Moment),
}

impl Cache {
    pub(super) fn new() -> Self {
        const { assert!(SHARDS == u64::BITS as usize) };
        let shard = || Mutex::new(Shard { kept: LruCache::unbounded(), bytes: 0, generation: 0 });
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self(Arc::new(Shards { hasher: RandomState::new(), shards }))
    }

    /// What is known of a key, where what had expired at the time `now` is absent.
    pub(super) fn get(&self, name: Name<'_>, now: i64) -> Known {
        let key = joined(name);
        let mut shard = self.lock(self.place(&key));
        match shard.kept.get(&key) {
            Some(entry) => Known::Entry(entry.clone().filter(|entry| is_live(entry, now))),
            None => Known::Nothing(Moment(shard.generation)),
        }
    }

    /// Keeps what was read, unless a transaction touched its part of the cache since `moment`.
    pub(super) fn keep(&self, name: Name<'_>, entry: Option<&Entry>, moment: Moment) {
        if !is_small(entry) {
            return;
        }
        let key = joined(name);
        let mut shard = self.lock(self.place(&key));
        if shard.generation == moment.0 && shard.generation.is_multiple_of(2) {
            shard.insert(key, entry.cloned());
        }
    }

    /// Drops these keys before a transaction that changes them.
    pub(super) fn begin<'a>(&self, names: impl Iterator<Item = Name<'a>>) -> Changing {
        let (mut shards, mut dropped) = (0_u64, HashSet::new());
        for name in names {
            let key = joined(name);
            let place = self.place(&key);
            let mut shard = self.lock(place);
            if shards & (1 << place) == 0 {
                shards |= 1 << place;
                shard.generation += 1;
            }
            if shard.remove(&key) {
                dropped.insert(key);
            }
        }
        Changing { cache: self.clone(), shards, dropped }
    }

    /// Drops everything before a transaction that changes who knows what.
    pub(super) fn begin_all(&self) -> Changing {
        for place in 0..SHARDS {
            let mut shard = self.lock(place);
            shard.generation += 1;
            shard.kept.clear();
            shard.bytes = 0;
        }
        self.changing_all()
    }

    /// Drops what had expired at the time `now`, before a transaction that removes it: the clock may
    /// be set back, and it must not come back then.
    pub(super) fn begin_sweep(&self, now: i64) -> Changing {
        for place in 0..SHARDS {
            let mut shard = self.lock(place);
            shard.generation += 1;
            let expired = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| !is_live(entry, now));
            let keys: Vec<Box<[u8]>> =
                shard.kept.iter().filter(|(_, entry)| expired(entry)).map(|(key, _)| key.clone()).collect();
            for key in keys {
                shard.remove(&key);
            }
        }
        self.changing_all()
    }

    fn changing_all(&self) -> Changing {
        Changing { cache: self.clone(), shards: u64::MAX, dropped: HashSet::new() }
    }

    fn place(&self, key: &[u8]) -> usize {
        (self.0.hasher.hash_one(key) % SHARDS as u64) as usize
    }

    fn lock(&self, place: usize) -> MutexGuard<'_, Shard> {
        self.0.shards[place].lock().expect("nothing panics while it holds a part of the cache")
    }
}

impl Changing {
    /// Puts what was dropped back as it is after the transaction, which is on disk now: what was read
    /// before is likely to be read again. What nobody had read is left out, so that writing alone
    /// does not fill the cache.
    pub(super) fn refill<'a>(&self, outcomes: impl Iterator<Item = (Name<'a>, Option<Entry>)>) {
        if self.dropped.is_empty() {
            return;
        }
        for (name, entry) in outcomes {
            let key = joined(name);
            if self.dropped.contains(&key) && is_small(entry.as_ref()) {
                self.cache.lock(self.cache.place(&key)).insert(key, entry);
            }
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        for place in (0..SHARDS).filter(|place| self.shards & (1 << place) != 0) {
            self.cache.lock(place).generation += 1;
        }
    }
}

impl Shard {
    fn insert(&mut self, key: Box<[u8]>, entry: Option<Entry>) {
        self.bytes += size(&key, entry.as_ref());
        if let Some((key, old)) = self.kept.push(key, entry) {
            self.bytes -= size(&key, old.as_ref());
        }
        while self.bytes > MAX_BYTES / SHARDS
            && let Some((key, entry)) = self.kept.pop_lru()
        {
            self.bytes -= size(&key, entry.as_ref());
        }
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.kept.pop(key);
        if let Some(entry) = &removed {
            self.bytes -= size(key, entry.as_ref());
        }
        removed.is_some()
    }
}

fn size(key: &[u8], entry: Option<&Entry>) -> usize {
    OVERHEAD + key.len() + entry.map_or(0, |entry| entry.key.len() + entry.value.len())
}

fn is_small(entry: Option<&Entry>) -> bool {
    entry.is_none_or(|entry| entry.value.len() <= MAX_KEPT)
}

fn is_live(entry: &Entry, now: i64) -> bool {
    entry.expires_at.is_none_or(|expires_at| expiry::to_millis(expires_at) > now)
}

fn joined((table, key): Name<'_>) -> Box<[u8]> {
    [table.as_bytes(), &[0], key].concat().into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;

    const NAME: Name<'static> = ("t", b"k");

    fn entry(version: u64, bytes: usize) -> Entry {
        Entry { key: b"k".to_vec(), value: Bytes::from(vec![1; bytes]), version, expires_at: None }
    }

    fn moment(cache: &Cache, name: Name<'_>) -> Moment {
        let Known::Nothing(moment) = cache.get(name, 0) else { panic!("{name:?} is known") };
        moment
    }

    fn version(cache: &Cache) -> Option<u64> {
        match cache.get(NAME, 0) {
            Known::Entry(entry) => entry.map(|entry| entry.version),
            Known::Nothing(_) => None,
        }
    }

    #[test]
    fn what_was_read_before_or_during_a_change_is_not_kept() {
        let cache = Cache::new();
        let before = moment(&cache, NAME);
        let changing = cache.begin([NAME].into_iter());
        let during = moment(&cache, NAME);
        for early in [before, during] {
            cache.keep(NAME, Some(&entry(1, 1)), early);
            assert_eq!(version(&cache), None);
        }
        drop(changing);
        for early in [before, during] {
            cache.keep(NAME, Some(&entry(1, 1)), early);
            assert_eq!(version(&cache), None);
        }
        cache.keep(NAME, Some(&entry(2, 1)), moment(&cache, NAME));
        assert_eq!(version(&cache), Some(2));
    }

    #[test]
    fn a_change_drops_what_it_touches_and_refills_only_what_was_there() {
        let cache = Cache::new();
        let other: Name<'_> = ("t", b"other");
        cache.keep(NAME, Some(&entry(1, 1)), moment(&cache, NAME));
        let changing = cache.begin([NAME, other].into_iter());
        assert_eq!(version(&cache), None);
        let outcomes = [NAME, other].map(|name| (name, Some(entry(2, 1))));
        changing.refill(outcomes.into_iter());
        drop(changing);
        assert_eq!(version(&cache), Some(2));
        assert!(matches!(cache.get(other, 0), Known::Nothing(_)));
        drop(cache.begin_all());
        assert_eq!(version(&cache), None);
    }

    #[test]
    fn a_change_that_fails_leaves_nothing() {
        let cache = Cache::new();
        cache.keep(NAME, Some(&entry(1, 1)), moment(&cache, NAME));
        drop(cache.begin([NAME].into_iter()));
        assert_eq!(version(&cache), None);
    }

    #[test]
    fn that_there_is_no_entry_is_kept_too() {
        let cache = Cache::new();
        cache.keep(NAME, None, moment(&cache, NAME));
        assert!(matches!(cache.get(NAME, 0), Known::Entry(None)));
        drop(cache.begin([NAME].into_iter()));
        assert!(matches!(cache.get(NAME, 0), Known::Nothing(_)));
    }

    #[test]
    fn what_has_expired_is_absent_and_a_sweep_drops_it() {
        let cache = Cache::new();
        let mut timed = entry(1, 1);
        timed.expires_at = Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(10));
        cache.keep(NAME, Some(&timed), moment(&cache, NAME));
        assert!(matches!(cache.get(NAME, 9), Known::Entry(Some(_))));
        assert!(matches!(cache.get(NAME, 10), Known::Entry(None)));
        let early = cache.begin_sweep(9);
        drop(early);
        assert!(matches!(cache.get(NAME, 9), Known::Entry(Some(_))));
        drop(cache.begin_sweep(10));
        assert!(matches!(cache.get(NAME, 9), Known::Nothing(_)));
    }

    #[test]
    fn the_cache_stays_within_its_bytes() {
        let cache = Cache::new();
        for number in 0..20_000_u64 {
            let key = number.to_be_bytes();
            let name: Name<'_> = ("t", &key);
            cache.keep(name, Some(&entry(1, 4096)), moment(&cache, name));
        }
        let bytes: usize = (0..SHARDS).map(|place| cache.lock(place).bytes).sum();
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 2, "{bytes}");
        let name: Name<'_> = ("t", b"large");
        cache.keep(name, Some(&entry(1, MAX_KEPT + 1)), moment(&cache, name));
        assert!(matches!(cache.get(name, 0), Known::Nothing(_)));
    }
}
