//! A guard for `google.protobuf.Any`: its content is bytes, so that the bound which protobuf decoders
//! put on nesting starts anew in each, and a small message can hide a chain of any length.

use super::depth::{MOST_LEVELS, too_deep};
use prost_reflect::{DynamicMessage, ReflectMessage, Value};

const ANY: &str = "google.protobuf.Any";

/// Whether the message, with what is packed into it, stays within the bound on nesting. What cannot
/// be unpacked counts as content without depth: writing it will fail by itself.
pub(super) fn check(message: &DynamicMessage) -> Result<(), String> {
    let possible = message.descriptor().parent_pool().get_message_by_name(ANY).is_some();
    if possible && !is_shallow(message, MOST_LEVELS) { Err(too_deep()) } else { Ok(()) }
}

fn is_shallow(message: &DynamicMessage, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else { return false };
    let content = (message.descriptor().full_name() == ANY).then(|| unpack(message)).flatten();
    content.is_none_or(|content| is_shallow(&content, levels))
        && message.fields().all(|(_, value)| is_value_shallow(value, levels))
}

fn is_value_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Message(message) => is_shallow(message, levels),
        Value::List(items) => items.iter().all(|item| is_value_shallow(item, levels)),
        Value::Map(entries) => entries.values().all(|entry| is_value_shallow(entry, levels)),
        _ => true,
    }
}

fn unpack(any: &DynamicMessage) -> Option<DynamicMessage> {
    let url = any.get_field_by_name("type_url")?;
    let content = any.get_field_by_name("value")?;
    let (_, name) = url.as_str()?.rsplit_once('/')?;
    let descriptor = any.descriptor().parent_pool().get_message_by_name(name)?;
    DynamicMessage::decode(descriptor, content.as_bytes()?.clone()).ok()
}
