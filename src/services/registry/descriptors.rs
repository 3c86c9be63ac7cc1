//! The schemas of services, stored by their hash and decoded when somebody needs them.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use lru::LruCache;
use micro_sdk::{Error, Result};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use sha2::{Digest as _, Sha256};

use crate::backend::{Commit, Kv, Range};

/// The table they are stored in.
const TABLE: &str = "descriptors";
/// The largest set that is accepted, in bytes.
pub(crate) const MAX_SIZE: usize = 4 << 20;
/// How many decoded sets are kept.
const DECODED: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

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
    /// 400 when it is not a valid set of descriptors.
    pub(crate) fn decode(set: &[u8]) -> Result<Self> {
        let pool = DescriptorPool::decode(set)
            .map_err(|e| Error::bad_request(format!("invalid descriptors: {e}")))?;
        let mut schema = Self { methods: HashMap::new(), folded: HashMap::new(), packages: HashMap::new() };
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let endpoint = format!("{}.{}", method.parent_service().name(), method.name());
            let package = method.parent_service().package_name().to_owned();
            schema.packages.insert((package, fold(&endpoint)), method.clone());
            schema.folded.insert(fold(&endpoint), endpoint.clone());
            schema.methods.insert(endpoint, method);
        }
        Ok(schema)
    }

    /// The method of an endpoint `Handler.Method`; upper and lower case, `-` and `_` may differ.
    pub(crate) fn method(&self, endpoint: &str) -> Option<&MethodDescriptor> {
        self.methods.get(endpoint).or_else(|| self.methods.get(self.folded.get(&fold(endpoint))?))
    }

    /// The method of an endpoint in one package, where several have handlers of the same name.
    pub(crate) fn method_in(&self, package: &str, endpoint: &str) -> Option<&MethodDescriptor> {
        self.packages.get(&(package.to_owned(), fold(endpoint)))
    }
}

fn fold(endpoint: &str) -> String {
    endpoint.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// All known schemas.
pub(crate) struct Descriptors {
    kv: Arc<dyn Kv>,
    known: RwLock<HashSet<String>>,
    decoded: Mutex<LruCache<String, Arc<Schema>>>,
}

impl Descriptors {
    /// Opens the stored ones.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn open(kv: Arc<dyn Kv>) -> Result<Self> {
        let mut known = HashSet::new();
        let mut range = Range::all().keys_only();
        loop {
            let page = kv.list(TABLE, &range).await?;
            let Some(last) = page.last() else { break };
            range = range.after(last.key.clone());
            known.extend(page.into_iter().filter_map(|entry| String::from_utf8(entry.key).ok()));
        }
        Ok(Self { kv, known: RwLock::new(known), decoded: Mutex::new(LruCache::new(DECODED)) })
    }

    /// Whether the set with this hash is here.
    pub(crate) fn has(&self, hash: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    /// Stores a set under its hash.
    ///
    /// # Errors
    /// 400 when the hash is not that of the set, or the set is none; 413 when it is too large.
    pub(crate) async fn put(&self, hash: &str, set: Vec<u8>) -> Result<()> {
        if set.len() > MAX_SIZE {
            return Err(Error::too_large(format!(
                "descriptors of {} bytes; at most {MAX_SIZE} are accepted",
                set.len()
            )));
        }
        let actual = hex::encode(Sha256::digest(&set));
        if actual != hash {
            return Err(Error::bad_request(format!("the descriptors have hash {actual}, not {hash}")));
        }
        let schema = Schema::decode(&set)?;
        self.kv.commit(Commit::new().put(TABLE, hash.as_bytes(), set)).await?;
        self.keep(hash, schema);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(hash.to_owned());
        Ok(())
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
        if let Some(schema) = self.decoded().get(hash) {
            return Ok(schema.clone());
        }
        let set = self.bytes(hash).await?;
        Ok(self.keep(hash, Schema::decode(&set)?))
    }

    fn keep(&self, hash: &str, schema: Schema) -> Arc<Schema> {
        let schema = Arc::new(schema);
        self.decoded().put(hash.to_owned(), schema.clone());
        schema
    }

    fn decoded(&self) -> std::sync::MutexGuard<'_, LruCache<String, Arc<Schema>>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
