//! Which content stands under which keys. Content is kept once however many keys have it, and goes
//! with the last of them.
//!
//! An index has the keys of each namespace, and a table of references says which keys have some
//! content; both change in one commit. Content and its references change together under a lock, one
//! for each digest: it is kept before it gets its first reference, and removed after the last one is
//! gone. A crash between leaves content without references, which a sweep after the start removes.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use micro_sdk::{Error, Result, proto::store::BlobInfo};
use prost::Message;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    backend::{self, Blobs, Commit, Digest, Draft, Entry, Kv, Range, Sealed},
    tasks::Tasks,
};

/// What the names of the tables of keys begin with, one for each namespace.
const INDEX: &str = "blobs/";
/// The table of references: the digest, the namespace, a slash, the key.
const REFERENCES: &str = "blob-references";
/// Digests that are locked at once are unlikely to share one of so many locks.
const LOCKS: usize = 64;
/// The code of an error that says that the disk is full.
const NO_ROOM: i32 = 507;

/// What stands in the index under a key.
#[derive(Clone, PartialEq, Message)]
struct Indexed {
    #[prost(bytes = "bytes", tag = "1")]
    digest: Bytes,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(string, tag = "3")]
    content_type: String,
}

impl Indexed {
    fn digest(&self) -> Result<Digest> {
        let bytes: Option<[u8; 32]> = self.digest.as_ref().try_into().ok();
        bytes.map(Digest::from).ok_or_else(|| Error::internal("the index of blobs is damaged"))
    }

    fn info(self, key: &str) -> Result<BlobInfo> {
        let digest = self.digest()?.to_string();
        Ok(BlobInfo { key: key.to_owned(), size: self.size, digest, content_type: self.content_type })
    }
}

/// The keys and their content. Cheap to clone.
#[derive(Clone)]
pub(super) struct Contents(Arc<Inner>);

struct Inner {
    kv: Arc<dyn Kv>,
    blobs: Arc<dyn Blobs>,
    locks: [Mutex<()>; LOCKS],
    tasks: Tasks,
}

impl Contents {
    /// Opens them, and begins to remove what a crash left without a key.
    pub(super) fn open(kv: Arc<dyn Kv>, blobs: Arc<dyn Blobs>, tasks: &Tasks) -> Self {
        let locks = std::array::from_fn(|_| Mutex::default());
        let contents = Self(Arc::new(Inner { kv, blobs, locks, tasks: tasks.clone() }));
        let (sweeping, stopped) = (contents.clone(), tasks.token().clone());
        tasks.spawn(async move {
            match stopped.run_until_cancelled(sweeping.sweep()).await {
                Some(Ok(0)) | None => {}
                Some(Ok(swept)) => tracing::info!(swept, "removed blobs that nobody has"),
                Some(Err(error)) => tracing::error!(%error, "cannot remove blobs that nobody has"),
            }
        });
        contents
    }

    /// Begins to take content in.
    pub(super) async fn begin(&self) -> Result<Box<dyn Draft>> {
        Ok(self.0.blobs.begin().await?)
    }

    /// Puts content that was sealed under a key, in the place of what was there.
    pub(super) async fn put(
        &self,
        namespace: &str,
        key: &str,
        draft: Box<dyn Draft>,
        sealed: Sealed,
        content_type: &str,
    ) -> Result<BlobInfo> {
        let digest = Bytes::copy_from_slice(sealed.digest.as_bytes());
        let indexed = Indexed { digest, size: sealed.size, content_type: content_type.to_owned() };
        let named = Named::new(namespace, key);
        let (inner, entry) = (self.0.clone(), indexed.clone());
        self.0.whole(async move { inner.put(&named, draft, sealed.digest, entry).await }).await?;
        indexed.info(key)
    }

    /// Removes a key; false if it was not there.
    pub(super) async fn delete(&self, namespace: &str, key: &str) -> Result<bool> {
        let (inner, named) = (self.0.clone(), Named::new(namespace, key));
        self.0.whole(async move { inner.delete(&named).await }).await
    }

    /// What stands under a key, and its content.
    pub(super) async fn read(
        &self,
        namespace: &str,
        key: &str,
    ) -> Result<Option<(BlobInfo, backend::Content)>> {
        let named = Named::new(namespace, key);
        let mut missing = None;
        loop {
            let Some((entry, indexed)) = self.0.indexed(&named).await? else { return Ok(None) };
            let digest = indexed.digest()?;
            if let Some(content) = self.0.blobs.read(&digest).await? {
                return Ok(Some((indexed.info(key)?, content)));
            }
            // The key may have got other content since it was looked up, or else its content is lost.
            if missing == Some(entry.version) {
                let text = format!("the content {digest} of blob `{key}` is missing");
                return Err(backend::Error::Damaged(text).into());
            }
            missing = Some(entry.version);
        }
    }

    /// A page of the keys that begin with `prefix`, after a key; an empty one is the end.
    pub(super) async fn page(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<BlobInfo>> {
        let range = Range::prefix(prefix);
        let range = match after {
            Some(after) => range.after(after),
            None => range,
        };
        let entries = self.0.kv.list(&Named::new(namespace, "").table, &range).await?;
        let info = |entry: Entry| {
            let indexed = decode(&entry)?;
            indexed.info(&super::record::key(entry.key)?)
        };
        entries.into_iter().map(info).collect()
    }

    /// Removes content without references; returns how much of it.
    async fn sweep(&self) -> Result<u64> {
        let mut digests = self.0.blobs.list().await?;
        let mut swept = 0;
        while let Some(digest) = digests.try_next().await? {
            let _alone = self.0.lock(&digest).await;
            swept += u64::from(self.0.collect(&digest).await?);
        }
        Ok(swept)
    }
}

/// A key of a namespace.
struct Named {
    table: String,
    namespace: String,
    key: String,
}

impl Named {
    fn new(namespace: &str, key: &str) -> Self {
        let table = format!("{INDEX}{namespace}");
        Self { table, namespace: namespace.to_owned(), key: key.to_owned() }
    }

    /// The key in the table of references.
    fn reference(&self, digest: &Digest) -> Vec<u8> {
        [digest.as_bytes(), self.namespace.as_bytes(), b"/", self.key.as_bytes()].concat()
    }
}

impl Inner {
    /// Carries out what must not end halfway, even if nobody waits for it any more.
    async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.tasks.spawn(work).await.map_err(|_| Error::unavailable("the server is stopping"))?
    }

    async fn lock(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.locks[usize::from(digest.as_bytes()[0]) % LOCKS].lock().await
    }

    async fn indexed(&self, named: &Named) -> Result<Option<(Entry, Indexed)>> {
        let Some(entry) = self.kv.get(&named.table, named.key.as_bytes()).await? else { return Ok(None) };
        let indexed = decode(&entry)?;
        Ok(Some((entry, indexed)))
    }

    async fn put(&self, named: &Named, draft: Box<dyn Draft>, digest: Digest, entry: Indexed) -> Result<()> {
        let replaced = {
            let _alone = self.lock(&digest).await;
            draft.keep().await?;
            match self.refer(named, &digest, &entry).await {
                Ok(replaced) => replaced,
                Err(error) => {
                    // Without room nothing of the commit has reached the disk. After any other failure what
                    // it left may yet be found there, and then the key means this: the content stays, and
                    // the sweep of the next start takes it away if it does not.
                    if error.code == NO_ROOM {
                        drop(self.collect(&digest).await);
                    }
                    return Err(error);
                }
            }
        };
        let Some(replaced) = replaced.filter(|replaced| *replaced != digest) else { return Ok(()) };
        self.lose(&replaced).await;
        Ok(())
    }

    /// Points a key to some content; returns what it pointed to.
    async fn refer(&self, named: &Named, digest: &Digest, entry: &Indexed) -> Result<Option<Digest>> {
        loop {
            let present = self.indexed(named).await?;
            let commit = Commit::new();
            let (commit, replaced) = match &present {
                None => (commit.require_absent(named.table.as_str(), named.key.as_str()), None),
                Some((entry, indexed)) => {
                    let replaced = indexed.digest()?;
                    let table = named.table.as_str();
                    let commit = commit.require_version(table, named.key.as_str(), entry.version);
                    (commit.delete(REFERENCES, named.reference(&replaced)), Some(replaced))
                }
            };
            let commit = commit.put(named.table.as_str(), named.key.as_str(), entry.encode_to_vec()).put(
                REFERENCES,
                named.reference(digest),
                "",
            );
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(replaced),
                // Somebody put something there meanwhile.
                Err(backend::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn delete(&self, named: &Named) -> Result<bool> {
        loop {
            let Some((entry, indexed)) = self.indexed(named).await? else { return Ok(false) };
            let digest = indexed.digest()?;
            let commit = Commit::new()
                .require_version(named.table.as_str(), named.key.as_str(), entry.version)
                .delete(named.table.as_str(), named.key.as_str())
                .delete(REFERENCES, named.reference(&digest));
            match self.kv.commit(commit).await {
                Ok(_) => {
                    self.lose(&digest).await;
                    return Ok(true);
                }
                Err(backend::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A reference to this content is gone.
    async fn lose(&self, digest: &Digest) {
        let _alone = self.lock(digest).await;
        if let Err(error) = self.collect(digest).await {
            tracing::warn!(%error, %digest, "cannot remove a blob that nobody has; the next start does");
        }
    }

    /// Removes content if there is no reference to it. Its lock must be held.
    async fn collect(&self, digest: &Digest) -> Result<bool> {
        let references = Range::prefix(digest.as_bytes()).limit(1).keys_only();
        if !self.kv.list(REFERENCES, &references).await?.is_empty() {
            return Ok(false);
        }
        self.blobs.remove(digest).await?;
        Ok(true)
    }
}

fn decode(entry: &Entry) -> Result<Indexed> {
    Indexed::decode(entry.value.clone()).map_err(|_| Error::internal("the index of blobs is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{open, open_blobs};

    async fn contents() -> (Contents, Tasks) {
        let (kv, blobs, tasks) =
            (open("memory:").await.unwrap(), open_blobs("memory:").await.unwrap(), Tasks::default());
        (Contents::open(kv, blobs, &tasks), tasks)
    }

    async fn put(contents: &Contents, namespace: &str, key: &str, content: &'static str) -> BlobInfo {
        let mut draft = contents.begin().await.unwrap();
        draft.write(Bytes::from_static(content.as_bytes())).await.unwrap();
        let sealed = draft.seal().await.unwrap();
        contents.put(namespace, key, draft, sealed, "text/plain").await.unwrap()
    }

    async fn read(contents: &Contents, namespace: &str, key: &str) -> Option<String> {
        let (info, content) = contents.read(namespace, key).await.unwrap()?;
        let content: Vec<Bytes> = content.try_collect().await.unwrap();
        assert_eq!(info.size as usize, content.concat().len());
        Some(String::from_utf8(content.concat()).unwrap())
    }

    async fn kept(contents: &Contents) -> usize {
        contents.0.blobs.list().await.unwrap().try_collect::<Vec<_>>().await.unwrap().len()
    }

    #[tokio::test]
    async fn content_stays_when_it_is_not_known_whether_a_key_means_it() {
        let (contents, _tasks) = contents().await;
        put(&contents, "a", "one", "old").await;
        let mut draft = contents.begin().await.unwrap();
        draft.write(Bytes::from_static(b"new")).await.unwrap();
        let sealed = draft.seal().await.unwrap();
        contents.0.kv.close().await;
        contents.put("a", "one", draft, sealed, "text/plain").await.unwrap_err();
        assert_eq!(kept(&contents).await, 2);
    }

    #[tokio::test]
    async fn content_goes_with_its_last_key() {
        let (contents, _tasks) = contents().await;
        put(&contents, "a", "one", "same").await;
        put(&contents, "a", "two", "same").await;
        put(&contents, "b", "one", "same").await;
        assert_eq!(kept(&contents).await, 1);
        assert!(contents.delete("a", "one").await.unwrap());
        put(&contents, "a", "two", "other").await;
        assert_eq!((kept(&contents).await, read(&contents, "b", "one").await.as_deref()), (2, Some("same")));
        assert!(contents.delete("b", "one").await.unwrap());
        assert_eq!((kept(&contents).await, read(&contents, "b", "one").await), (1, None));
        assert!(!contents.delete("b", "one").await.unwrap());
        assert_eq!(read(&contents, "a", "two").await.as_deref(), Some("other"));
    }

    #[tokio::test]
    async fn the_same_content_again_stays() {
        let (contents, _tasks) = contents().await;
        for _ in 0..2 {
            let info = put(&contents, "a", "k", "same").await;
            assert_eq!((info.key.as_str(), info.size, info.content_type.as_str()), ("k", 4, "text/plain"));
        }
        assert_eq!(read(&contents, "a", "k").await.as_deref(), Some("same"));
    }

    #[tokio::test]
    async fn a_key_is_never_without_its_content_however_it_is_fought_over() {
        let (contents, _tasks) = contents().await;
        let writers = (0..8_usize).map(|number| {
            let contents = contents.clone();
            tokio::spawn(async move {
                for round in 0..50 {
                    let key = ["x", "y"][(number + round) % 2];
                    match (number + round) % 3 {
                        0 => drop(contents.delete("a", key).await.unwrap()),
                        1 => drop(put(&contents, "a", key, "same").await),
                        _ => drop(put(&contents, "a", key, "other").await),
                    }
                    if let Some(content) = read(&contents, "a", key).await {
                        assert!(["same", "other"].contains(&content.as_str()));
                    }
                }
            })
        });
        for writer in futures::future::join_all(writers).await {
            writer.unwrap();
        }
        for key in ["x", "y"] {
            contents.delete("a", key).await.unwrap();
        }
        assert_eq!(kept(&contents).await, 0);
    }

    #[tokio::test]
    async fn what_a_crash_left_is_swept_and_what_is_wanted_is_not() {
        let (contents, tasks) = contents().await;
        let wanted = put(&contents, "a", "k", "wanted").await;
        let mut draft = contents.begin().await.unwrap();
        draft.write(Bytes::from_static(b"unwanted")).await.unwrap();
        draft.seal().await.unwrap();
        draft.keep().await.unwrap();
        assert_eq!(kept(&contents).await, 2);
        let again = Contents::open(contents.0.kv.clone(), contents.0.blobs.clone(), &tasks);
        assert!(contents.sweep().await.unwrap() + again.sweep().await.unwrap() <= 1);
        assert_eq!(kept(&contents).await, 1);
        assert!(contents.0.blobs.read(&Digest::parse(&wanted.digest).unwrap()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn content_that_is_lost_is_told_as_our_failure() {
        let (contents, _tasks) = contents().await;
        let info = put(&contents, "a", "k", "content").await;
        contents.0.blobs.remove(&Digest::parse(&info.digest).unwrap()).await.unwrap();
        assert_eq!(contents.read("a", "k").await.err().unwrap().code, 500);
    }
}
