//! The messages inside a gRPC body: a flag byte, four bytes of length, the message. This takes bodies
//! apart; it neither reads a body nor knows what a message means.

use bytes::{Buf, Bytes, BytesMut};
use micro_sdk::Error;

/// The flag and the length before each message, in bytes.
pub(super) const HEAD: usize = 5;

/// Collects chunks of a body and gives out whole messages.
pub(crate) struct Frames {
    pending: BytesMut,
    limit: usize,
}

impl Frames {
    /// Takes messages of up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { pending: BytesMut::new(), limit }
    }

    /// The next chunk of the body. The first of a message is kept without a copy where nobody else
    /// holds it.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.pending.is_empty() {
            self.pending = chunk.into();
        } else {
            self.pending.extend_from_slice(&chunk);
        }
    }

    /// The next whole message; `None` until more has come. Compression is not supported (501), a
    /// message over the limit is refused by its head (413).
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some([flag, length @ ..]) = self.pending.first_chunk::<HEAD>() else { return Ok(None) };
        match flag {
            0 => {}
            1 => return Err(Error::not_implemented("compressed messages cannot be turned to or from JSON")),
            other => return Err(Error::bad_request(format!("not a gRPC message: flag {other} before it"))),
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(Error::too_large(format!(
                "message of {length} bytes, the limit is {} bytes",
                self.limit
            )));
        }
        if self.pending.len() < HEAD + length {
            return Ok(None);
        }
        self.pending.advance(HEAD);
        Ok(Some(self.pending.split_to(length).freeze()))
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_partial(&self) -> bool {
        !self.pending.is_empty()
    }
}
