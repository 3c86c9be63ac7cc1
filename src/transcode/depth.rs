//! The bounds on nesting, in one place: deeper input could exhaust the stack here, and a receiver of
//! protobuf refuses it anyway. What is read and what is written has the same bound. Nothing in this file
//! recurses.

use serde_json::Value;

/// How many messages, groups and entries of maps may stand one within the other below the message that
/// travels: the decoders of protobuf stop at the same. What is packed into an `Any` counts on.
pub(super) const MOST_LEVELS: usize = 100;

/// How many objects and lists may stand one within the other in JSON: the parser of JSON stops at the same.
pub(super) const MOST_JSON_LEVELS: usize = 128;

/// The error text for input beyond the bound.
pub(super) fn too_deep() -> String {
    format!("nested deeper than {MOST_LEVELS} levels")
}

/// The same for a value of free form, where levels are not what one sees.
pub(super) fn too_deep_of_free_form() -> String {
    format!("{}: a list in a free-form value takes 2 of them, an object 3", too_deep())
}

/// Whether a value goes deeper than JSON may.
pub(super) fn is_too_deep(value: &Value) -> bool {
    deepest(value, [1, 1], MOST_JSON_LEVELS) > MOST_JSON_LEVELS
}

/// The levels below a `google.protobuf.Value` that holds this one, or so many that there are too many. A list
/// is a `ListValue` of values, an object a `Struct` with entries that have values.
pub(super) fn levels_of_free_form(value: &Value) -> usize {
    deepest(value, [2, 3], MOST_LEVELS)
}

/// The level of the innermost value where what stands in a list is so many levels further down, and what stands
/// in an object so many; without looking further once that is beyond `most`. A list or object itself takes one.
fn deepest(value: &Value, [list, object]: [usize; 2], most: usize) -> usize {
    let (mut open, mut deepest) = (vec![(value, 0)], 0);
    while let Some((value, level)) = open.pop() {
        let own = match value {
            Value::Array(items) => {
                open.extend(items.iter().map(|item| (item, level + list)));
                level + 1
            }
            Value::Object(fields) => {
                open.extend(fields.values().map(|field| (field, level + object)));
                level + 1
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => level,
        };
        deepest = deepest.max(own);
        if deepest > most {
            break;
        }
    }
    deepest
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
