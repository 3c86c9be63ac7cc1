//! Content that is gone with the process, by the same rules as the files.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use sha2::{Digest as _, Sha256};

use super::{Blobs, Content, Digest, Draft, Error, PIECE, Sealed};

/// Content in memory.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<BTreeMap<Digest, Bytes>>>);

impl Memory {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        self.0.lock().expect("nothing panics while it holds the content")
    }
}

#[async_trait]
impl Blobs for Memory {
    async fn begin(&self) -> Result<Box<dyn Draft>, Error> {
        Ok(Box::new(InMemory { memory: self.clone(), bytes: BytesMut::new() }))
    }

    async fn read(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let Some(mut rest) = self.all().get(digest).cloned() else { return Ok(None) };
        let pieces = std::iter::from_fn(move || {
            let piece = rest.split_to(rest.len().min(PIECE));
            (!piece.is_empty()).then_some(Ok(piece))
        });
        Ok(Some(stream::iter(pieces).boxed()))
    }

    async fn remove(&self, digest: &Digest) -> Result<(), Error> {
        self.all().remove(digest);
        Ok(())
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<Digest, Error>>, Error> {
        let digests: Vec<_> = self.all().keys().copied().map(Ok).collect();
        Ok(stream::iter(digests).boxed())
    }
}

struct InMemory {
    memory: Memory,
    bytes: BytesMut,
}

impl InMemory {
    fn digest(&self) -> Digest {
        Digest::of(Sha256::new_with_prefix(&self.bytes))
    }
}

#[async_trait]
impl Draft for InMemory {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn seal(&mut self) -> Result<Sealed, Error> {
        Ok(Sealed { digest: self.digest(), size: self.bytes.len() as u64 })
    }

    async fn keep(self: Box<Self>) -> Result<(), Error> {
        let digest = self.digest();
        self.memory.all().insert(digest, self.bytes.freeze());
        Ok(())
    }
}
