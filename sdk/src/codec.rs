//! The gRPC codec of this crate: messages cross its border as bytes, so that framing, HTTP/2 and
//! everything else generic is compiled once, here, and not again in each service.

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Passes the bytes of a message through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

/// As [`Raw`], for a stream of requests that may break off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breakable;

impl Codec for Breakable {
    type Encode = Result<Bytes, Status>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Raw;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Breakable {
    type Item = Result<Bytes, Status>;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item?);
        Ok(())
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
