//! The state layer: what building blocks keep, as bytes in and bytes out behind [`Kv`], what
//! is only ever added behind [`Log`], and what is too large for both behind [`Blobs`]. A backend is chosen by the scheme of its address ([`open`])
//! and passes the one conformance suite.
//!
//! No building block knows SQL, and nothing here knows a building block: names of tables and keys
//! are data, values are opaque. Who may read or write what is decided above.

mod blob;
mod clock;
mod commit;
mod error;
mod expiry;
mod log;
mod memory;
mod range;
mod sqlite;

#[cfg(test)]
mod conformance;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub(crate) use self::{
    blob::{Blobs, Content, Digest, Draft, PIECE, Sealed, open_blobs},
    commit::Commit,
    error::Error,
    log::{Bounds, Log, Record},
    range::Range,
};

/// Bytes the name of a table may have; it is text without zero bytes and not empty.
pub(crate) const MAX_TABLE: usize = 1024;
/// Bytes a key may have; it may be empty.
pub(crate) const MAX_KEY: usize = 4096;
/// Bytes a value may have: what fits in a message, with room for what a service adds to it.
pub(crate) const MAX_VALUE: usize = 32 * 1024 * 1024;
/// Changes and preconditions one commit may have.
pub(crate) const MAX_OPERATIONS: usize = 4096;
/// Bytes the keys and values one commit writes may have together.
pub(crate) const MAX_COMMIT_BYTES: usize = 64 * 1024 * 1024;
/// Entries a page of a listing has at most.
pub(crate) const MAX_PAGE: usize = 1000;
/// Bytes of keys and values after which a page of a listing ends early.
pub(crate) const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Tables of keys and values, both any bytes.
///
/// What has expired (by the [`clock`] as it is set) is absent for every method. What the disk changed
/// after it was written is [`Error::DamagedEntry`] to calls that read it or require something of it,
/// until it is written anew. After [`Kv::close`], every method fails with
/// [`Error::Closed`].
#[async_trait]
pub(crate) trait Kv: Send + Sync + 'static {
    /// The entry of a key, if there is one.
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Entry>, Error>;

    /// Entries of a table in bytewise order of their keys, one page: it ends at the limit of the
    /// range or after [`MAX_PAGE_BYTES`], whichever comes first. Only an empty page says that
    /// there is no more; the next one begins [`Range::after`] the last key.
    async fn list(&self, table: &str, range: &Range) -> Result<Vec<Entry>, Error>;

    /// All or nothing: when this returns `Ok`, every precondition held, every change is on disk
    /// (where the backend has one) and every later read sees it. Returns the version its puts got;
    /// one that changes nothing, the last version given out.
    ///
    /// Once begun, a commit is carried out even if nobody waits for the answer any more.
    async fn commit(&self, commit: Commit) -> Result<u64, Error>;

    /// The names of the tables that begin with `prefix` and have entries, in bytewise order.
    async fn tables(&self, prefix: &str) -> Result<Vec<String>, Error>;

    /// Every entry of the tables whose names begin with `prefix`, with the name of its table, as
    /// all of them are at this moment, whatever is committed while they are read. In the order of
    /// tables and keys.
    async fn scan(&self, prefix: &str) -> Result<Scan, Error>;

    /// Puts these entries, with their tables, in the place of every entry of the tables whose names
    /// begin with `prefix`: all or nothing, also when one of them is an error, which is returned.
    /// They get a new version, which is returned with their number; what has expired is left out.
    /// Commits wait meanwhile, so the entries must be at hand.
    async fn replace(&self, prefix: &str, entries: Scan) -> Result<(u64, u64), Error>;

    /// Why nothing can be relied on any more, if that is so: then every method fails with this.
    fn trouble(&self) -> Option<Error> {
        None
    }

    /// Takes no more commits, returns when those accepted before are done and everything is
    /// tidied up. May be called again.
    async fn close(&self);
}

/// Entries with the names of their tables.
pub(crate) type Scan = BoxStream<'static, Result<(String, Entry), Error>>;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: Vec<u8>,
    /// The value.
    pub(crate) value: Bytes,
    /// Positive and larger with every commit to the backend; the puts of one commit share it. No
    /// version is given twice, not even after a restart.
    pub(crate) version: u64,
    /// When it will be gone, in whole milliseconds; none if never.
    pub(crate) expires_at: Option<SystemTime>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Tables and logs that are kept together: what is written to both shares its way to the disk, and
/// [`Kv::close`] ends both.
pub(crate) trait Database: Kv + Log {}

impl<T: Kv + Log> Database for T {}

/// The address of what a backend keeps at a path, which may be any bytes.
pub(crate) fn address(scheme: &str, path: &Path) -> OsString {
    let mut address = OsString::from(format!("{scheme}:"));
    address.push(path);
    address
}

/// The scheme of an address and what follows it.
fn parts(address: &OsStr) -> Option<(&[u8], &Path)> {
    let bytes = address.as_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    Some((&bytes[..colon], Path::new(OsStr::from_bytes(&bytes[colon + 1..]))))
}

/// Opens the state at an address: `sqlite:<path>` (made if it is not there; its folder must be)
/// or `memory:` (gone with the process).
pub(crate) async fn open(address: impl AsRef<OsStr>) -> Result<Arc<dyn Database>, Error> {
    let address = address.as_ref();
    match parts(address) {
        Some((b"sqlite", path)) if path != Path::new("") => Ok(Arc::new(sqlite::Sqlite::open(path).await?)),
        Some((b"memory", path)) if path == Path::new("") => Ok(Arc::new(memory::Memory::default())),
        _ => Err(Error::Invalid(format!(
            "`{}` is no address of a state: it is `sqlite:<path>` or `memory:`",
            address.display()
        ))),
    }
}
