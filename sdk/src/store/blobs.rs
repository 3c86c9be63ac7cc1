//! Content of any size, streamed.

use std::fmt;

use bytes::Bytes;
use micro_proto::store::{
    BlobDeleteRequest, BlobInfo, BlobListOptions, BlobListRequest, BlobOptions, BlobReadRequest,
    BlobReadResponse, BlobWriteRequest, BlobWriteResponse,
};

use crate::{Client, Receiver, Result, Upload, blocks::store::BlobStoreClient};

/// Bytes that are sent at once.
const PIECE: usize = 64 * 1024;
/// Keys that are asked for at once.
const PAGE: u64 = 1000;

/// The blobs of a namespace. Cheap to clone; made by [`super::Store`].
///
/// A key is any text of at most 1,024 bytes without NUL, the name of the service included.
#[derive(Clone)]
pub struct Blobs {
    client: BlobStoreClient,
    namespace: String,
}

impl Blobs {
    pub(super) fn new(client: Client, namespace: String) -> Self {
        Self { client: BlobStoreClient::new(client), namespace }
    }

    /// The content of a key, piece by piece, if it is there.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn read(&self, key: &str) -> Result<Option<BlobReader>> {
        let request = BlobReadRequest { key: key.to_owned(), options: self.options("") };
        let first = match self.client.read(request).await {
            Ok(mut pieces) => pieces.next().await.map(|first| (first, pieces)),
            Err(error) => Err(error),
        };
        let (first, pieces) = match first {
            Ok((first, pieces)) => (first.unwrap_or_default(), pieces),
            Err(error) if error.code == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        let info = first.info.unwrap_or_default();
        Ok(Some(BlobReader { info, first: Some(first.blob), pieces }))
    }

    /// All of the content of a key at once, if it is there. For what is known to be small.
    ///
    /// # Errors
    /// As [`Blobs::read`].
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut reader) = self.read(key).await? else { return Ok(None) };
        let mut content = Vec::new();
        while let Some(piece) = reader.next().await? {
            content.extend_from_slice(&piece);
        }
        Ok(Some(content))
    }

    /// Begins to write content. The key has its old content, or none, until [`BlobWriter::finish`].
    #[must_use]
    pub fn write(&self, key: &str) -> BlobWriter {
        self.write_as(key, "")
    }

    /// As [`Blobs::write`], with the media type, such as `image/png`.
    #[must_use]
    pub fn write_as(&self, key: &str, content_type: &str) -> BlobWriter {
        let (key, options) = (key.to_owned(), self.options(content_type));
        let first = BlobWriteRequest { key, options, blob: Vec::new() };
        BlobWriter { upload: self.client.write(), first: Some(first) }
    }

    /// Sets the content of a key at once.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn put(&self, key: &str, content: impl Into<Bytes>) -> Result<BlobInfo> {
        let mut writer = self.write(key);
        writer.write(content).await?;
        writer.finish().await
    }

    /// Removes a key; false if it was not there.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn delete(&self, key: &str) -> Result<bool> {
        let request = BlobDeleteRequest { key: key.to_owned(), options: self.options("") };
        Ok(self.client.delete(request).await?.existed)
    }

    /// A page of the blobs whose keys begin with `prefix` and follow the key `after`, in the order of
    /// their keys; an empty `after` is the beginning, and an empty page the end.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn list(&self, prefix: &str, after: &str) -> Result<Vec<BlobInfo>> {
        let options = BlobListOptions {
            namespace: self.namespace.clone(),
            prefix: prefix.to_owned(),
            limit: PAGE,
            after: after.to_owned(),
        };
        Ok(self.client.list(BlobListRequest { options: Some(options) }).await?.blobs)
    }

    #[expect(clippy::unnecessary_wraps, reason = "as every request has it")]
    fn options(&self, content_type: &str) -> Option<BlobOptions> {
        let content_type = content_type.to_owned();
        Some(BlobOptions { namespace: self.namespace.clone(), public: false, content_type })
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Content that is being read.
#[derive(Debug)]
pub struct BlobReader {
    info: BlobInfo,
    first: Option<Vec<u8>>,
    pieces: Receiver<BlobReadResponse>,
}

impl BlobReader {
    /// What the blob is: its size, SHA-256 and media type.
    #[must_use]
    pub fn info(&self) -> &BlobInfo {
        &self.info
    }

    /// The next piece, or none after the last. Only then is it known that all of it is what was
    /// written.
    ///
    /// # Errors
    /// What the store answers, or 500 for content that is damaged.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Ok(Some(first));
        }
        Ok(self.pieces.next().await?.map(|piece| piece.blob))
    }
}

/// Content that is being written. Dropped before [`BlobWriter::finish`], nothing is written.
#[derive(Debug)]
pub struct BlobWriter {
    upload: Upload<BlobWriteRequest, BlobWriteResponse>,
    /// What the first message says beside its bytes.
    first: Option<BlobWriteRequest>,
}

impl BlobWriter {
    /// Writes the next bytes; waits while the store is slow.
    ///
    /// # Errors
    /// What the store answers. Nothing was written then.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        let mut bytes: Bytes = bytes.into();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.send(piece.into()).await?;
        }
        Ok(())
    }

    /// Puts the content under its key.
    ///
    /// # Errors
    /// What the store answers. Nothing was written then.
    pub async fn finish(mut self) -> Result<BlobInfo> {
        if self.first.is_some() {
            self.send(Vec::new()).await?;
        }
        Ok(self.upload.finish().await?.info.unwrap_or_default())
    }

    async fn send(&mut self, blob: Vec<u8>) -> Result<()> {
        let first = self.first.take().unwrap_or_default();
        self.upload.send(BlobWriteRequest { blob, ..first }).await
    }
}
