//! JSON at the edge: services speak protobuf only, and what people and other languages send as JSON
//! is turned into protobuf here, message by message, from the descriptors alone.
//!
//! Reading is lenient, as the reference is: both name styles, scalars as text, lists as `a,b`. What is
//! still wrong is said with the path of the field. Writing is exact: original names, defaults present,
//! 64-bit integers as text. This module routes nothing and knows no service.

mod any;
mod body;
mod depth;
mod encode;
mod frames;
mod lenient;
mod number;
mod place;
mod read;
mod scalar;
mod weight;
mod well_known;
mod write;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(any(test, fuzzing))]
mod schema;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use body::{Refusal, request_body, response};
pub(crate) use frames::Frames;
pub(crate) use lenient::{enum_name, scalar};
pub(crate) use weight::{Weights, check_json, check_parameters};

use crate::json;
use bytes::Bytes;
use place::{Fault, Place};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};
use serde::de::DeserializeSeed;
use serde_json::error::Category;
use well_known::WellKnown;

/// What is wrong with a message, naming the field; the text is for a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

/// JSON text to protobuf bytes. Blank input and `null` are the empty message.
pub(crate) fn to_protobuf(message: &MessageDescriptor, json: &[u8]) -> Result<Bytes, Invalid> {
    from_json(message, json).map(|message| encode::message(&message).into())
}

/// A JSON value to protobuf bytes. `null` and `{}` are the empty message.
pub(crate) fn value_to_protobuf(
    message: &MessageDescriptor,
    value: serde_json::Value,
) -> Result<Bytes, Invalid> {
    if depth::is_too_deep(&value) {
        depth::dismantle(value);
        return Err(Invalid(depth::too_deep()));
    }
    if is_empty_object(message, value.as_object().is_some_and(serde_json::Map::is_empty)) {
        return Ok(Bytes::new());
    }
    let fault = Fault::default();
    let root = read::Slot::root(message, Place::root(&fault));
    let read = root.deserialize(value).map_err(|error| explain(&fault, &error))?;
    Ok(encode::message(&read::message_of(message, read)).into())
}

/// Protobuf bytes to compact JSON: original field names, defaults written, 64-bit integers as text,
/// enums by name, bytes as base64, `<>&` as they are. Fails where the bytes are no such message.
/// Fails too where the JSON would be larger than `limit` bytes.
pub(crate) fn to_json(message: &MessageDescriptor, protobuf: &[u8], limit: usize) -> Result<Bytes, Invalid> {
    let mut json = Vec::with_capacity((2 * protobuf.len()).clamp(64, 64 << 10));
    write::message(message, protobuf, &mut json, limit).map_err(|failure| Invalid(failure.to_string()))?;
    Ok(json.into())
}

/// How a message is written in JSON.
pub(crate) enum Form {
    /// As an object with its fields.
    Fields,
    /// As any object, or any value at all.
    Free,
    /// As a list of any values.
    List,
    /// As text, with commas between the paths of fields.
    Paths,
    /// As the scalar that it holds.
    Scalar(Kind),
    /// As text that is a time or a duration.
    Moment,
}

impl Form {
    /// That of a type.
    pub(crate) fn of(message: &MessageDescriptor) -> Self {
        match WellKnown::of(message) {
            None | Some(WellKnown::Empty | WellKnown::Any) => Self::Fields,
            Some(WellKnown::Struct | WellKnown::Value) => Self::Free,
            Some(WellKnown::ListValue) => Self::List,
            Some(WellKnown::FieldMask) => Self::Paths,
            Some(WellKnown::Wrapper(field)) => Self::Scalar(field.kind()),
            Some(WellKnown::Timestamp | WellKnown::Duration) => Self::Moment,
        }
    }
}

/// JSON without the byte order mark that some editors and libraries put before it.
pub(crate) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// JSON text to a message that is yet to be encoded.
fn from_json(message: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, Invalid> {
    let json = without_mark(json);
    let braces = json.trim_ascii().strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    if json.trim_ascii().is_empty()
        || is_empty_object(message, braces.is_some_and(|within| within.trim_ascii().is_empty()))
    {
        return Ok(DynamicMessage::new(message.clone()));
    }
    let fault = Fault::default();
    let mut input = serde_json::Deserializer::from_slice(json);
    let read = read::Slot::root(message, Place::root(&fault))
        .deserialize(&mut input)
        .and_then(|read| input.end().map(|()| read))
        .map_err(|error| explain(&fault, &error))?;
    Ok(read::message_of(message, read))
}

/// Whether a request is an empty object that stands for the empty message. It does so for every type, since
/// callers send it who know nothing of the type, except for one of which it is a value.
fn is_empty_object(message: &MessageDescriptor, given: bool) -> bool {
    given && !matches!(WellKnown::of(message), Some(WellKnown::Value))
}

/// The fault that was noted on the way down or, without one, what the JSON parser says.
fn explain(fault: &Fault, error: &serde_json::Error) -> Invalid {
    fault.take().unwrap_or_else(|| match error.classify() {
        Category::Syntax | Category::Eof => Invalid(format!("not valid JSON: {}", json::fault(error))),
        Category::Data | Category::Io => Invalid(error.to_string()),
    })
}
