//! Content of any size, named by what it is: the SHA-256 of its bytes. It comes and goes in pieces,
//! so that none of it has to fit in memory. A backend is chosen by the scheme of its address
//! ([`open_blobs`]) and passes the one conformance suite.
//!
//! Which content is still wanted, and under which names, is the business of the caller.

mod files;
mod memory;

#[cfg(test)]
mod conformance;

use std::{ffi::OsStr, fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use sha2::Sha256;

use super::Error;

/// Bytes a piece of content has when it is read; the last one may have fewer.
pub(crate) const PIECE: usize = 64 * 1024;

/// Content, by its digest. The same bytes are kept once.
#[async_trait]
pub(crate) trait Blobs: Send + Sync + 'static {
    /// Begins to take content in.
    async fn begin(&self) -> Result<Box<dyn Draft>, Error>;

    /// The content with this digest in pieces, if it is there. It is verified while it is read:
    /// content that is not what it was ends with [`Error::Damaged`]. It can be read to its end also
    /// when it is removed meanwhile.
    async fn read(&self, digest: &Digest) -> Result<Option<Content>, Error>;

    /// Removes content; no matter if it is not there.
    async fn remove(&self, digest: &Digest) -> Result<(), Error>;

    /// The digests of all content.
    async fn list(&self) -> Result<BoxStream<'static, Result<Digest, Error>>, Error>;
}

/// Content that is being taken in. Dropped before [`Draft::keep`] it leaves nothing behind. Taking it
/// in and keeping it are apart, so that a caller that counts references can do both, keep and count, in one
/// moment.
#[async_trait]
pub(crate) trait Draft: Send {
    /// Adds the next bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Puts what was written on disk (where the backend has one), and says what it is. Nothing can
    /// be written after that.
    async fn seal(&mut self) -> Result<Sealed, Error>;

    /// Keeps what was sealed: when this returns it is there for good, unless it is removed.
    async fn keep(self: Box<Self>) -> Result<(), Error>;
}

/// The pieces of some content.
pub(crate) type Content = BoxStream<'static, Result<Bytes, Error>>;

/// What content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Its name.
    pub(crate) digest: Digest,
    /// Bytes it has.
    pub(crate) size: u64,
}

/// The SHA-256 of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits in lower case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let digest = Self(bytes);
        (digest.to_string() == text).then_some(digest)
    }

    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(hash: Sha256) -> Self {
        Self(sha2::Digest::finalize(hash).into())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Opens the content at an address: `files:<folder>` (made if it is not there) or `memory:` (gone
/// with the process). A folder is used by one process at a time; who opens it sees to that.
pub(crate) async fn open_blobs(address: impl AsRef<OsStr>) -> Result<Arc<dyn Blobs>, Error> {
    let address = address.as_ref();
    match super::parts(address) {
        Some((b"files", folder)) if folder != Path::new("") => {
            Ok(Arc::new(files::Files::open(folder).await?))
        }
        Some((b"memory", path)) if path == Path::new("") => Ok(Arc::new(memory::Memory::default())),
        _ => Err(Error::Invalid(format!(
            "`{}` is no address of blobs: it is `files:<folder>` or `memory:`",
            address.display()
        ))),
    }
}
