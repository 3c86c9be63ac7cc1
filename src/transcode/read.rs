//! JSON read straight into a dynamic message, in one pass over any serde input: the descriptor says at
//! each point what is wanted, the place says where it is. Scalars are left to [`super::lenient`].

use super::{
    any, depth, lenient,
    place::{Place, shorten},
    scalar::Scalar,
    well_known::{self, WellKnown},
};
use crate::similar::similar;
use prost_reflect::{DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, collections::HashMap, fmt};

/// How many values a slot takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    List,
    Map,
}

/// A field, an element or the whole message, waiting for its JSON. It reads `None` for `null`, and for
/// a blank text where a message is wanted: unset.
pub(super) struct Slot<'a> {
    kind: Kind,
    shape: Shape,
    place: Place<'a>,
}

/// The message read into a root slot; the empty one if it was unset.
pub(super) fn message_of(descriptor: &MessageDescriptor, read: Option<Value>) -> DynamicMessage {
    match read {
        Some(Value::Message(message)) => message,
        Some(_) | None => DynamicMessage::new(descriptor.clone()),
    }
}

impl<'a> Slot<'a> {
    /// The slot of a whole message.
    pub(super) fn root(descriptor: &MessageDescriptor, place: Place<'a>) -> Self {
        Self::one(Kind::Message(descriptor.clone()), place)
    }

    fn one(kind: Kind, place: Place<'a>) -> Self {
        Self { kind, shape: Shape::One, place }
    }

    fn of_field(field: &FieldDescriptor, place: Place<'a>) -> Self {
        let shape = match (field.is_map(), field.is_list()) {
            (true, _) => Shape::Map,
            (false, true) => Shape::List,
            (false, false) => Shape::One,
        };
        Self { kind: field.kind(), shape, place }
    }

    fn of_extension(field: &ExtensionDescriptor, place: Place<'a>) -> Self {
        let shape = if field.is_list() { Shape::List } else { Shape::One };
        Self { kind: field.kind(), shape, place }
    }

    fn wanted(&self) -> &'static str {
        match self.shape {
            Shape::One => lenient::wanted(&self.kind),
            Shape::List => "a list",
            Shape::Map => "an object",
        }
    }

    fn scalar<E: Error>(self, given: Scalar) -> Result<Option<Value>, E> {
        match (self.shape, given) {
            (Shape::One, given) => {
                lenient::convert(&self.kind, given).map(Some).map_err(|what| self.place.fail(what))
            }
            (Shape::List, Scalar::Text(text)) => self.list_of_text(&text),
            // A query with one value cannot tell that it is a list.
            (Shape::List, given) => {
                let item = Slot::one(self.kind, self.place.item(0));
                let only = match given {
                    Scalar::Bool(truth) => item.deserialize(truth.into_deserializer()),
                    Scalar::Signed(number) => item.deserialize(number.into_deserializer()),
                    Scalar::Unsigned(number) => item.deserialize(number.into_deserializer()),
                    Scalar::Float(number) => item.deserialize(number.into_deserializer()),
                    Scalar::Text(text) => item.deserialize(text.into_deserializer()),
                };
                Ok(Some(Value::List(only?.into_iter().collect())))
            }
            (Shape::Map, given) => Err(self.place.fail(format_args!("expected an object, got {given}"))),
        }
    }

    fn text<E: Error>(self, text: Cow<str>) -> Result<Option<Value>, E> {
        let structured =
            self.shape == Shape::Map || (self.shape == Shape::One && matches!(self.kind, Kind::Message(_)));
        match text.trim_start().as_bytes().first() {
            None if structured => Ok(None),
            Some(b'{') if structured => self.json(&text),
            _ => self.scalar(Scalar::Text(text)),
        }
    }

    /// A list in one text: JSON, or elements with commas between.
    fn list_of_text<E: Error>(self, text: &str) -> Result<Option<Value>, E> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(Some(Value::List(Vec::new())));
        }
        let message = match &self.kind {
            // In an object the commas stand between its members.
            Kind::Message(inner) => WellKnown::of(inner).is_none() || trimmed.starts_with('{'),
            _ => false,
        };
        let valid = || serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok();
        if trimmed.starts_with('[') && (message || valid()) {
            return self.json(trimmed);
        }
        let place = self.place;
        let parts = if message { vec![trimmed] } else { text.split(',').collect() };
        let mut list = Vec::with_capacity(parts.len());
        for (index, part) in parts.into_iter().enumerate() {
            let part: serde::de::value::StrDeserializer<E> = part.into_deserializer();
            list.extend(Slot::one(self.kind.clone(), place.item(index)).deserialize(part)?);
        }
        Ok(Some(Value::List(list)))
    }

    /// A value from JSON that stood in a string.
    fn json<E: Error>(self, text: &str) -> Result<Option<Value>, E> {
        let place = self.place;
        let mut inner = serde_json::Deserializer::from_str(text);
        self.deserialize(&mut inner).and_then(|value| inner.end().map(|()| value)).map_err(|error| {
            place.fail(format_args!("not valid JSON in the text: {}", crate::json::fault(&error)))
        })
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        if matches!(self.kind, Kind::Message(_)) && self.place.is_too_deep(0) {
            return Err(self.place.fail_as(depth::too_deep()));
        }
        let (Shape::One, Kind::Message(descriptor)) = (self.shape, &self.kind) else {
            return input.deserialize_any(self);
        };
        let Some(form) = WellKnown::of(descriptor) else { return input.deserialize_any(self) };
        if let WellKnown::Wrapper(field) = &form {
            let inner = Slot::one(field.kind(), self.place).deserialize(input)?;
            return Ok(inner.map(|value| {
                let mut wrapper = DynamicMessage::new(descriptor.clone());
                wrapper.set_field(field, value);
                Value::Message(wrapper)
            }));
        }
        let wanted = form.wanted().unwrap_or_default();
        let json = serde::Deserialize::deserialize(input)?;
        let Some(json) = form.unpack(wanted, json).map_err(|what| self.place.fail(what))? else {
            return Ok(None);
        };
        if let Some(levels) = form.levels(&json)
            && self.place.is_too_deep(levels)
        {
            return Err(self.place.fail(depth::too_deep_of_free_form()));
        }
        let message = match form {
            WellKnown::Any => any::read(descriptor, &self.place, json)?,
            _ => well_known::read(descriptor, &form, wanted, json).map_err(|what| self.place.fail(what))?,
        };
        Ok(Some(Value::Message(message)))
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted())
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        match (self.shape, &self.kind) {
            (Shape::One, Kind::Enum(names)) if lenient::is_null(names) => Ok(Some(Value::EnumNumber(0))),
            _ => Ok(None),
        }
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Self::Value, E> {
        self.scalar(Scalar::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.scalar(Scalar::Signed(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.scalar(Scalar::Unsigned(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        self.scalar(Scalar::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        self.text(Cow::Owned(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        if self.shape != Shape::List {
            return Err(self.place.fail(format_args!("expected {}, got a list", self.wanted())));
        }
        let mut list = Vec::new();
        let mut index = 0;
        while let Some(item) =
            items.next_element_seed(Slot::one(self.kind.clone(), self.place.item(index)))?
        {
            let missing = || self.place.item(index).fail("a list cannot hold `null`");
            list.push(item.ok_or_else(missing)?);
            index += 1;
        }
        Ok(Some(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        match (self.shape, &self.kind) {
            (Shape::One, Kind::Message(descriptor)) => {
                fields(descriptor, &self.place, members).map(|message| Some(Value::Message(message)))
            }
            (Shape::Map, Kind::Message(entry)) => {
                entries(entry, &self.place, members).map(|map| Some(Value::Map(map)))
            }
            _ => Err(self.place.fail(format_args!("expected {}, got an object", self.wanted()))),
        }
    }
}

/// The members of a JSON object as the fields of a message. Of a name given twice the last counts.
fn fields<'de, A: MapAccess<'de>>(
    descriptor: &MessageDescriptor,
    place: &Place,
    mut members: A,
) -> Result<DynamicMessage, A::Error> {
    let mut message = DynamicMessage::new(descriptor.clone());
    while let Some(name) = members.next_key::<Cow<str>>()? {
        let Some(field) =
            descriptor.get_field_by_name(&name).or_else(|| descriptor.get_field_by_json_name(&name))
        else {
            let Some(extension) = descriptor.get_extension_by_json_name(&name) else {
                return Err(place.fail_as(unknown_field(descriptor, place, &name)));
            };
            match members.next_value_seed(Slot::of_extension(&extension, place.field(&name)))? {
                Some(value) => message.set_extension(&extension, value),
                None => message.clear_extension(&extension),
            }
            continue;
        };
        let here = place.field(field.name());
        let Some(value) = members.next_value_seed(Slot::of_field(&field, here))? else {
            message.clear_field(&field);
            continue;
        };
        if let Some(rival) = rival(&message, &field) {
            return Err(here.fail(format_args!("only one of `{}` and `{rival}` may be set", field.name())));
        }
        message.set_field(&field, value);
    }
    Ok(message)
}

fn unknown_field(descriptor: &MessageDescriptor, place: &Place, name: &str) -> String {
    let known: Vec<_> = descriptor.fields().collect();
    let unknown = format!("unknown field `{}`", place.field(name));
    match similar(name, known.iter().map(FieldDescriptor::name)).first() {
        Some(close) => format!("{unknown}, did you mean `{close}`?"),
        None => format!("{unknown} of `{}`", shorten(descriptor.name())),
    }
}

/// The name of another member of the same oneof that is set already.
fn rival(message: &DynamicMessage, field: &FieldDescriptor) -> Option<String> {
    let members = field.containing_oneof()?;
    let rival = members.fields().find(|member| member != field && message.has_field(member))?;
    Some(rival.name().to_owned())
}

/// The members of a JSON object as the entries of a map field.
fn entries<'de, A: MapAccess<'de>>(
    entry: &MessageDescriptor,
    place: &Place,
    mut members: A,
) -> Result<HashMap<prost_reflect::MapKey, Value>, A::Error> {
    let key_kind = entry.map_entry_key_field().kind();
    let value_kind = entry.map_entry_value_field().kind();
    let mut map = HashMap::new();
    while let Some(name) = members.next_key::<Cow<str>>()? {
        let here = place.entry(&name);
        let key = lenient::convert(&key_kind, Scalar::Text(Cow::Borrowed(&name)))
            .map_err(|what| here.fail(format_args!("key: {what}")))?;
        let key = key.into_map_key().ok_or_else(|| here.fail("not a type for a key"))?;
        match members.next_value_seed(Slot::one(value_kind.clone(), here))? {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
    Ok(map)
}
