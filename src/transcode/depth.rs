//! The bound on nesting, in one place: deeper input could exhaust the stack here, and a receiver of
//! protobuf refuses it anyway. Nothing in this file recurses.

use serde_json::Value;

/// Levels of lists, maps and messages that are followed; the decoders of protobuf stop at the same.
pub(super) const MOST_LEVELS: usize = 100;

/// The error text for input beyond the bound.
pub(super) fn too_deep() -> String {
    format!("nested deeper than {MOST_LEVELS} levels")
}

/// Whether a value goes deeper than the bound.
pub(super) fn is_too_deep(value: &Value) -> bool {
    let mut open = vec![(value, 0)];
    while let Some((value, level)) = open.pop() {
        if level > MOST_LEVELS {
            return true;
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(fields) => open.extend(fields.values().map(|field| (field, level + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    false
}

/// Frees a value of any depth, which its own recursive drop could not.
pub(super) fn dismantle(value: Value) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.into_iter().map(|(_, field)| field)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
