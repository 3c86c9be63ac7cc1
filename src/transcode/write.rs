//! Protobuf to JSON, within a bound on its size: an empty element takes two bytes in protobuf and, with
//! its defaults written out, any number in JSON.

use super::any;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use std::io;

const OPTIONS: SerializeOptions = SerializeOptions::new()
    .use_proto_field_name(true)
    .skip_default_fields(false)
    .stringify_64_bit_integers(true);

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritable {
    /// The JSON is larger than the bound, in bytes.
    #[error("larger than {0} bytes as JSON")]
    TooLarge(usize),
    /// The bytes are no message of the type, or hold a value that JSON has no form for.
    #[error("not a valid `{0}`: {1}")]
    Malformed(String, String),
}

/// Appends the message to `json`, which may grow by `limit` bytes; after an error `json` holds a part.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    protobuf: &[u8],
    json: &mut Vec<u8>,
    limit: usize,
) -> Result<(), Unwritable> {
    let malformed = |what: String| Unwritable::Malformed(descriptor.full_name().to_owned(), what);
    let message =
        DynamicMessage::decode(descriptor.clone(), protobuf).map_err(|error| malformed(error.to_string()))?;
    any::check(&message).map_err(malformed)?;
    let most = json.len().saturating_add(limit);
    let mut serializer = serde_json::Serializer::new(Bounded { json, most });
    message.serialize_with_options(&mut serializer, &OPTIONS).map_err(|error| {
        if error.is_io() { Unwritable::TooLarge(limit) } else { malformed(error.to_string()) }
    })
}

/// A buffer that refuses to grow beyond `most` bytes.
struct Bounded<'a> {
    json: &'a mut Vec<u8>,
    most: usize,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.json.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.json.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
