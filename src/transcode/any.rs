//! `google.protobuf.Any`, a message packed with the name of its type: which type that is, and how its JSON
//! is read. A type that the descriptors do not have stands as its bytes under `@value`, so that an answer
//! is not lost for it.

use super::{
    encode, lenient,
    place::{Place, shorten},
    read::{Slot, message_of},
    well_known::{WellKnown, describe},
};
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use serde::de::{DeserializeSeed, Error};
use serde_json::{Map, Value as Json};

/// The member with the name of the type.
pub(super) const TYPE: &str = "@type";
/// The member with the bytes of a message whose type is not known.
pub(super) const BYTES: &str = "@value";

/// The type that a URL such as `type.googleapis.com/shop.Address` names, if the descriptors have it; the
/// error is for a text that names none.
pub(super) fn named(any: &MessageDescriptor, url: &str) -> Result<Option<MessageDescriptor>, String> {
    match url.rsplit_once('/') {
        Some((_, name)) if !name.is_empty() => Ok(any.parent_pool().get_message_by_name(name)),
        _ => Err(format!("the type `{}` is not of the form `type.googleapis.com/NAME`", shorten(url))),
    }
}

/// An `Any` from its JSON: an object with `@type` and the fields of the message, or its JSON under `value`
/// where that has a form of its own. An empty object is an `Any` of nothing.
pub(super) fn read<E: Error>(
    descriptor: &MessageDescriptor,
    place: &Place,
    json: Json,
) -> Result<DynamicMessage, E> {
    let wrong = |what: &str| place.fail(format_args!("expected an object with `{TYPE}`: {what}"));
    let Json::Object(mut members) = json else {
        return Err(place.fail(format_args!("expected an object with `{TYPE}`, got {}", describe(&json))));
    };
    let mut any = DynamicMessage::new(descriptor.clone());
    if members.is_empty() {
        return Ok(any);
    }
    let url = match members.shift_remove(TYPE) {
        Some(Json::String(url)) => url,
        Some(other) => return Err(wrong(&format!("the type is {}", describe(&other)))),
        None => return Err(wrong("there is none")),
    };
    let content = if let Some(inner) = named(descriptor, &url).map_err(|what| wrong(&what))? {
        encode::message(&unpacked(&inner, place, members)?)
    } else {
        let (Some(Json::String(base64)), true) = (members.shift_remove(BYTES), members.is_empty()) else {
            let name = url.rsplit('/').next().unwrap_or_default();
            return Err(wrong(&format!(
                "message '{}' not found; of a type that is not known here only the bytes can be passed on, as base64 \
                 under `{BYTES}`",
                shorten(name)
            )));
        };
        lenient::base64(&base64).map_err(|what| place.field(BYTES).fail(what))?
    };
    any.set_field_by_name("type_url", Value::String(url));
    any.set_field_by_name("value", Value::Bytes(content.into()));
    Ok(any)
}

/// The packed message, from the members beside `@type`.
fn unpacked<E: Error>(
    inner: &MessageDescriptor,
    place: &Place,
    mut members: Map<String, Json>,
) -> Result<DynamicMessage, E> {
    let Some(form) = WellKnown::of(inner) else { return content(inner, *place, Json::Object(members)) };
    let value = match (members.shift_remove("value"), form) {
        (Some(value), _) => value,
        (None, WellKnown::Empty) => Json::Object(Map::new()),
        (None, _) => return Err(place.fail(format_args!("a `{}` stands under `value`", inner.name()))),
    };
    match members.keys().next() {
        Some(name) => Err(place.fail_as(format!("unknown field `{}`", place.field(name)))),
        None => content(inner, place.field("value"), value),
    }
}

fn content<E: Error>(inner: &MessageDescriptor, place: Place, json: Json) -> Result<DynamicMessage, E> {
    Slot::root(inner, place)
        .deserialize(json)
        .map(|read| message_of(inner, read))
        // What was wrong is noted with its place already.
        .map_err(E::custom)
}
