//! The schemas of services, stored by their hash and decoded when somebody needs them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use lru::LruCache;
use micro_sdk::{Error, Result, prost::encoding::decode_varint};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinError;

use crate::{
    backend::{Commit, Kv, Range},
    editions,
    names::{self, folded},
};

/// The table they are stored in.
const TABLE: &str = "descriptors";
/// The largest set that is accepted, in bytes.
pub(crate) const MAX_SIZE: usize = 4 << 20;
/// What all decoded sets that are kept weigh together at most, in bytes of memory.
const DECODED: usize = 96 << 20;
/// What a byte and an element of a set weigh when they are decoded, as measured.
const PER_BYTE: usize = 2;
const PER_ELEMENT: usize = 400;
/// How deep messages are nested, at most (as prost reads them).
const DEPTH: usize = 100;
/// How many sets are remembered as unusable; of the others it is found out again.
const UNUSABLE: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
/// Characters of the reason why a set cannot be used that are remembered.
const REASON: usize = 512;
/// How long a set is kept that no service has.
const KEPT_FOR: Duration = Duration::from_hours(24);
/// How many bytes of such sets are kept, of those that came since the start.
const KEPT_BYTES: usize = 32 << 20;
/// How many bytes the sets of a service have together.
pub(super) const STORED_OF_SERVICE: usize = 32 << 20;
/// How many bytes those of all services of a namespace have.
pub(super) const STORED_OF_NAMESPACE: usize = 128 << 20;

/// A decoded schema: its methods by `Handler.Method`. Not `Debug`: printing a recursive descriptor
/// would not end.
pub(crate) struct Schema {
    methods: HashMap<String, MethodDescriptor>,
    folded: HashMap<String, String>,
    packages: HashMap<(String, String), MethodDescriptor>,
}

impl Schema {
    /// Decodes a set.
    ///
    /// # Errors
    /// 400 when it is not a valid set of descriptors, or one of a later edition of protobuf.
    pub(crate) fn decode(set: &[u8]) -> Result<Self> {
        if let Some((file, syntax)) = editions::unsupported(set).map_err(invalid)? {
            let (file, syntax) = (names::shown(&file), names::shown(&syntax));
            return Err(invalid(format!("`{file}` has the syntax `{syntax}`: {}", editions::ADVICE)));
        }
        let pool = DescriptorPool::decode(set).map_err(invalid)?;
        let mut schema = Self { methods: HashMap::new(), folded: HashMap::new(), packages: HashMap::new() };
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let endpoint = format!("{}.{}", method.parent_service().name(), method.name());
            let package = method.parent_service().package_name().to_owned();
            schema.packages.insert((package, folded(&endpoint)), method.clone());
            schema.folded.insert(folded(&endpoint), endpoint.clone());
            schema.methods.insert(endpoint, method);
        }
        Ok(schema)
    }

    /// The method of an endpoint `Handler.Method`; upper and lower case, `-` and `_` may differ.
    pub(crate) fn method(&self, endpoint: &str) -> Option<&MethodDescriptor> {
        self.methods.get(endpoint).or_else(|| self.methods.get(self.folded.get(&folded(endpoint))?))
    }

    /// The method of an endpoint in one package, where several have handlers of the same name.
    pub(crate) fn method_in(&self, package: &str, endpoint: &str) -> Option<&MethodDescriptor> {
        self.packages.get(&(package.to_owned(), folded(endpoint)))
    }
}

fn invalid(why: impl fmt::Display) -> Error {
    Error::bad_request(format!("invalid descriptors: {why}"))
}

/// A stored schema.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Since when no service has it.
    unused_since: Option<Instant>,
    /// Its size; 0 for one that was there when the server started, until somebody asks.
    bytes: usize,
}

/// All known schemas.
pub(crate) struct Descriptors {
    kv: Arc<dyn Kv>,
    /// The stored ones, by their hashes.
    known: RwLock<HashMap<String, Known>>,
    decoded: Mutex<Decoded>,
    /// The hashes of sets that were handed over and cannot be used, with the reasons.
    unusable: Mutex<LruCache<String, Arc<str>>>,
    /// Held by who decodes one: several at once would need the memory of all of them.
    decoding: tokio::sync::Mutex<()>,
}

/// The schemas that were needed last, with their weights.
struct Decoded {
    kept: LruCache<String, (Arc<Schema>, usize)>,
    weight: usize,
}

impl Decoded {
    fn put(&mut self, hash: &str, schema: Arc<Schema>, weight: usize) {
        if let Some((_, before)) = self.kept.put(hash.to_owned(), (schema, weight)) {
            self.weight -= before;
        }
        self.weight += weight;
        while self.weight > DECODED {
            let Some((_, (_, weight))) = self.kept.pop_lru() else { return };
            self.weight -= weight;
        }
    }

    fn forget(&mut self, hash: &str) {
        self.weight -= self.kept.pop(hash).map_or(0, |(_, weight)| weight);
    }
}

impl Descriptors {
    /// Opens the stored ones.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn open(kv: Arc<dyn Kv>) -> Result<Self> {
        let mut known = HashMap::new();
        let mut range = Range::all().keys_only();
        loop {
            let page = kv.list(TABLE, &range).await?;
            let Some(last) = page.last() else { break };
            range = range.after(last.key.clone());
            let hashes = page.into_iter().filter_map(|entry| String::from_utf8(entry.key).ok());
            known.extend(hashes.map(|hash| (hash, Known::default())));
        }
        let decoded = Decoded { kept: LruCache::unbounded(), weight: 0 };
        Ok(Self {
            kv,
            known: RwLock::new(known),
            decoded: Mutex::new(decoded),
            unusable: Mutex::new(LruCache::new(UNUSABLE)),
            decoding: tokio::sync::Mutex::default(),
        })
    }

    /// Whether the set with this hash is here.
    pub(crate) fn has(&self, hash: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(hash)
    }

    /// Why the set with this hash, which was handed over, cannot be used and need not come again; none of
    /// any other.
    pub(crate) fn unusable(&self, hash: &str) -> Option<Arc<str>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// Stores a set under its hash. One that cannot be used is remembered as such.
    ///
    /// # Errors
    /// 400 when the hash is not that of the set, or the set is none; 413 when it is too large.
    pub(crate) async fn put(&self, hash: &str, set: Vec<u8>) -> Result<()> {
        let actual = hex::encode(Sha256::digest(&set));
        if actual != hash {
            let hash = names::shown(hash);
            return Err(Error::bad_request(format!("the descriptors have hash {actual}, not {hash}")));
        }
        let stored = self.store(hash, set).await;
        if let Err(error) = &stored
            && matches!(error.code, 400 | 413)
        {
            let why: String = error.detail.chars().take(REASON).collect();
            let mut unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
            unusable.put(hash.to_owned(), why.into());
        }
        stored
    }

    async fn store(&self, hash: &str, set: Vec<u8>) -> Result<()> {
        if set.len() > MAX_SIZE {
            return Err(Error::too_large(format!(
                "descriptors of {} bytes; at most {MAX_SIZE} are accepted",
                set.len()
            )));
        }
        let (weight, bytes) = (weight(&set)?, set.len());
        let _decoding = self.decoding.lock().await;
        let decoded = decode(set.clone().into()).await?;
        self.kv.commit(Commit::new().put(TABLE, hash.as_bytes(), set)).await?;
        self.decoded().put(hash, decoded, weight);
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(hash.to_owned(), Known { unused_since: None, bytes });
        Ok(())
    }

    /// Removes the stored sets that no service has had for a while, and the oldest ones where they are too
    /// much together: a service may replace its schema as often as it likes.
    ///
    /// # Errors
    /// The store cannot be changed.
    pub(super) async fn sweep(&self, promised: &HashSet<String>, now: Instant) -> Result<()> {
        let mut forgotten = Vec::new();
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let mut unused = Vec::new();
            for (hash, known) in known.iter_mut() {
                if promised.contains(hash) {
                    known.unused_since = None;
                } else {
                    unused.push((*known.unused_since.get_or_insert(now), known.bytes, hash.clone()));
                }
            }
            unused.sort();
            let mut bytes: usize = unused.iter().map(|(_, bytes, _)| bytes).sum();
            for (since, size, hash) in unused {
                let old = now.saturating_duration_since(since) >= KEPT_FOR;
                if old || (size > 0 && bytes > KEPT_BYTES) {
                    bytes -= size;
                    known.remove(&hash);
                    forgotten.push(hash);
                }
            }
        }
        for hash in forgotten {
            self.decoded().forget(&hash);
            self.kv.commit(Commit::new().delete(TABLE, hash.as_bytes())).await?;
        }
        Ok(())
    }

    /// Refuses one more set where a holder, such as a namespace, would have more than `most` bytes of them.
    ///
    /// # Errors
    /// 507 with words.
    pub(super) async fn check_room(
        &self,
        holder: &str,
        held: &HashSet<String>,
        (hash, bytes): (&str, usize),
        most: usize,
    ) -> Result<()> {
        let mut all = bytes;
        for other in held.iter().filter(|other| *other != hash) {
            all += self.size(other).await?;
        }
        if all > most {
            let text = format!(
                "the descriptors of {holder} would have {all} bytes together, at most {most} are stored: \
                 stop a service, or a version of one, first"
            );
            return Err(Error::new(507, text));
        }
        Ok(())
    }

    /// How many bytes the stored set with this hash has; none for one that is not here.
    pub(super) async fn size(&self, hash: &str) -> Result<usize> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(hash).copied();
        match known {
            None => Ok(0),
            Some(Known { bytes: 0, .. }) => {
                let bytes = self.bytes(hash).await?.len();
                let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(known) = all.get_mut(hash) {
                    known.bytes = bytes;
                }
                Ok(bytes)
            }
            Some(Known { bytes, .. }) => Ok(bytes),
        }
    }

    /// The stored set with this hash.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) async fn bytes(&self, hash: &str) -> Result<Bytes> {
        let entry = self.kv.get(TABLE, hash.as_bytes()).await?;
        Ok(entry.ok_or_else(|| Error::not_found(format!("no descriptors with hash {hash}")))?.value)
    }

    /// The decoded set with this hash.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) async fn schema(&self, hash: &str) -> Result<Arc<Schema>> {
        if let Some((schema, _)) = self.decoded().kept.get(hash) {
            return Ok(schema.clone());
        }
        let _decoding = self.decoding.lock().await;
        // Somebody else may have needed it at the same time.
        if let Some((schema, _)) = self.decoded().kept.get(hash) {
            return Ok(schema.clone());
        }
        let set = self.bytes(hash).await?;
        let weight = weight(&set)?;
        let schema = decode(set).await?;
        self.decoded().put(hash, schema.clone(), weight);
        Ok(schema)
    }

    fn decoded(&self) -> std::sync::MutexGuard<'_, Decoded> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decodes a set away from the threads that serve calls: a large one takes some time.
async fn decode(set: Bytes) -> Result<Arc<Schema>> {
    let decoded = tokio::task::spawn_blocking(move || Schema::decode(&set)).await;
    // It only computes: what makes it panic is the set.
    let broken = |error: JoinError| {
        if error.is_panic() {
            invalid("they contradict themselves in a way that is not understood")
        } else {
            Error::unavailable(error.to_string())
        }
    };
    decoded.map_err(broken).flatten().map(Arc::new)
}

/// What a set weighs when it is decoded, in bytes of memory. What is small on the wire may be large
/// in memory: an empty message takes two bytes there.
///
/// # Errors
/// 400 for what is no set, 413 for one that would weigh too much.
fn weight(set: &[u8]) -> Result<usize> {
    let weight = PER_BYTE * set.len() + PER_ELEMENT * elements(set)?;
    if weight > DECODED {
        let text =
            format!("the descriptors would take {weight} bytes of memory; at most {DECODED} are taken");
        return Err(Error::too_large(text));
    }
    Ok(weight)
}

/// How many fields with a length there are, at every level: each may be an element of the schema.
/// Text that could be read as fields counts as such.
///
/// # Errors
/// 400 for what is no protobuf.
fn elements(set: &[u8]) -> Result<usize> {
    within(set, DEPTH).ok_or_else(|| Error::bad_request("invalid descriptors: they are no protobuf"))
}

/// The same of the fields of one message; none for what is none.
fn within(mut fields: &[u8], depth: usize) -> Option<usize> {
    let mut count = 0;
    while fields.has_remaining() {
        let key = decode_varint(&mut fields).ok()?;
        let skipped = match key & 7 {
            0 => decode_varint(&mut fields).ok().map(|_| 0)?,
            1 => 8,
            2 => {
                let length = usize::try_from(decode_varint(&mut fields).ok()?).ok()?;
                let below = depth.checked_sub(1).and_then(|depth| within(fields.get(..length)?, depth));
                count += 1 + below.unwrap_or(0);
                length
            }
            // The ends of a group, whose fields stand between them.
            3 | 4 => 0,
            5 => 4,
            _ => return None,
        };
        fields = fields.get(skipped..)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests;
