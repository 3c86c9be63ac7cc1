//! The tests of the edge, against one schema that has every kind of field.

mod bodies;
mod conformance;
mod numbers;
mod reading;
mod round_trips;
mod writing;

pub(crate) use super::schema::pool;

use super::{Invalid, schema::SCHEMA, to_protobuf};
use bytes::Bytes;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::sync::LazyLock;

/// With a bound that no test but one reaches.
fn to_json(message: &MessageDescriptor, protobuf: &[u8]) -> Result<Bytes, Invalid> {
    super::to_json(message, protobuf, 1 << 20)
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| pool(SCHEMA));

fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap()
}

fn order() -> MessageDescriptor {
    message("shop.Order")
}

/// What is left of a JSON order after a way through protobuf: the fields that are not at their defaults.
fn through(json: &str) -> Result<serde_json::Value, Invalid> {
    through_as(&order(), json)
}

fn through_as(message: &MessageDescriptor, json: &str) -> Result<serde_json::Value, Invalid> {
    let protobuf = to_protobuf(message, json.as_bytes())?;
    let mut written: serde_json::Value =
        serde_json::from_slice(&to_json(message, &protobuf).unwrap()).unwrap();
    prune(&mut written);
    Ok(written)
}

/// Drops what an empty order would say as well, below the first level too.
fn prune(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(fields) = value {
        fields.values_mut().for_each(prune);
        fields.retain(|name, field| {
            let default = match field {
                serde_json::Value::String(text) => text.is_empty() || text == "0" || text == "MOOD_UNKNOWN",
                serde_json::Value::Number(number) => number.as_f64() == Some(0.0),
                serde_json::Value::Bool(truth) => !*truth,
                serde_json::Value::Array(items) => items.is_empty(),
                serde_json::Value::Object(fields) => fields.is_empty(),
                serde_json::Value::Null => name == "null",
            };
            !default
        });
    }
}

fn refusal(json: &str) -> String {
    to_protobuf(&order(), json.as_bytes()).expect_err(json).0
}
