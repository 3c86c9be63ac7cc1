//! The types of `google.protobuf` that JSON writes in a form of their own: times, durations, wrappers,
//! free-form values. `prost-reflect` knows the forms; here stand the leniency and the error texts.

use super::{depth, place::shorten};
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor};
use serde_json::Value;

const STRICT: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(true);

/// The short name of a type of `google.protobuf`.
fn short_name(descriptor: &MessageDescriptor) -> Option<&str> {
    descriptor.full_name().strip_prefix("google.protobuf.")
}

/// The field inside a wrapper such as `Int64Value`, which JSON writes bare.
pub(super) fn wrapped(descriptor: &MessageDescriptor) -> Option<FieldDescriptor> {
    match short_name(descriptor)? {
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
        | "BoolValue" | "StringValue" | "BytesValue" => descriptor.get_field_by_name("value"),
        _ => None,
    }
}

/// What JSON has to hold for a type with a form of its own; `None` for every other message.
pub(super) fn wanted(descriptor: &MessageDescriptor) -> Option<&'static str> {
    Some(match short_name(descriptor)? {
        "Timestamp" => "a time such as `2006-01-02T15:04:05Z`",
        "Duration" => "a duration such as `1.5s`",
        "FieldMask" => "field paths such as `user.displayName,photo`",
        "Struct" => "an object",
        "ListValue" => "a list",
        "Value" => "a JSON value",
        "Empty" => "an empty object",
        "Any" => "an object with `@type`",
        _ => return None,
    })
}

/// Whether `null` is a value of the type, not its absence.
pub(super) fn takes_null(descriptor: &MessageDescriptor) -> bool {
    short_name(descriptor) == Some("Value")
}

/// A message of such a type from its JSON; `None` where it is unset. The error says what was
/// expected and what came.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    wanted: &str,
    json: Value,
) -> Result<Option<DynamicMessage>, String> {
    let json = match (short_name(descriptor), json) {
        (_, Value::Null) if !takes_null(descriptor) => return Ok(None),
        (Some("Struct" | "ListValue" | "Empty" | "Any"), Value::String(text)) => {
            if text.trim().is_empty() {
                return Ok(None);
            }
            serde_json::from_str(&text).map_err(|_| format!("expected {wanted}, got `{}`", shorten(&text)))?
        }
        (_, json) => json,
    };
    if depth::is_too_deep(&json) {
        return Err(depth::too_deep());
    }
    let given = describe(&json);
    match DynamicMessage::deserialize_with_options(descriptor.clone(), json, &STRICT) {
        Ok(message) => Ok(Some(message)),
        Err(error) if short_name(descriptor) == Some("Any") => Err(format!("expected {wanted}: {error}")),
        Err(_) => Err(format!("expected {wanted}, got {given}")),
    }
}

/// A JSON value for an error: a scalar as it is, anything larger by its kind.
fn describe(json: &Value) -> String {
    match json {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("`{}`", shorten(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => format!("`{json}`"),
    }
}
