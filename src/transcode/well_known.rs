//! The types of `google.protobuf` that JSON writes in a form of their own: times, durations, wrappers,
//! free-form values. `prost-reflect` knows how most are read; here stand which types these are, the
//! leniency and the error texts. A type that only has such a name in the descriptors of a service,
//! is an ordinary message.

use super::{depth, place::shorten};
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

const STRICT: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(true);

/// A type with a form of its own.
pub(super) enum WellKnown {
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    ListValue,
    Value,
    Empty,
    Any,
    /// A wrapper such as `Int64Value`, which JSON writes bare, with the field inside.
    Wrapper(FieldDescriptor),
}

impl WellKnown {
    /// Which one a message is; `None` for every other message.
    pub(super) fn of(descriptor: &MessageDescriptor) -> Option<Self> {
        let name = descriptor.full_name().strip_prefix("google.protobuf.")?;
        let field = |name: &str| descriptor.get_field_by_name(name);
        let single = |name: &str, kind: &Kind| {
            field(name).is_some_and(|field| !field.is_list() && field.kind() == *kind)
        };
        let seconds = || single("seconds", &Kind::Int64) && single("nanos", &Kind::Int32);
        match name {
            "Timestamp" => seconds().then_some(Self::Timestamp),
            "Duration" => seconds().then_some(Self::Duration),
            "FieldMask" => {
                let paths = field("paths").filter(|paths| paths.is_list() && paths.kind() == Kind::String);
                paths.map(|_| Self::FieldMask)
            }
            "Struct" => field("fields").filter(FieldDescriptor::is_map).map(|_| Self::Struct),
            "ListValue" => field("values").filter(FieldDescriptor::is_list).map(|_| Self::ListValue),
            "Value" => Some(Self::Value),
            "Empty" => Some(Self::Empty),
            "Any" => {
                (single("type_url", &Kind::String) && single("value", &Kind::Bytes)).then_some(Self::Any)
            }
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
            | "BoolValue" | "StringValue" | "BytesValue" => {
                let value = field("value")?;
                let scalar = !value.is_list() && !matches!(value.kind(), Kind::Message(_));
                scalar.then_some(Self::Wrapper(value))
            }
            _ => None,
        }
    }

    /// What JSON has to hold; `None` for a wrapper, where that is up to the field.
    pub(super) fn wanted(&self) -> Option<&'static str> {
        Some(match self {
            Self::Timestamp => "a time such as `2006-01-02T15:04:05Z`",
            Self::Duration => "a duration such as `1.5s`",
            Self::FieldMask => "field paths such as `user.displayName,photo`",
            Self::Struct => "an object",
            Self::ListValue => "a list",
            Self::Value => "a JSON value",
            Self::Empty => "an empty object",
            Self::Any => "an object with `@type`",
            Self::Wrapper(_) => return None,
        })
    }

    /// How many levels the JSON of a type of free form takes below it.
    pub(super) fn levels(&self, json: &Value) -> Option<usize> {
        let below_value = || depth::levels_of_free_form(json);
        match self {
            Self::Value => Some(below_value()),
            Self::Struct | Self::ListValue => Some(below_value().saturating_sub(1)),
            Self::Timestamp
            | Self::Duration
            | Self::FieldMask
            | Self::Empty
            | Self::Any
            | Self::Wrapper(_) => None,
        }
    }

    /// The JSON of such a type, taken out of a text where it stands in one; `None` where it is unset.
    pub(super) fn unpack(&self, wanted: &str, json: Value) -> Result<Option<Value>, String> {
        let json = match (self, json) {
            // `null` is a value of the type, not its absence.
            (Self::Value, json) => json,
            (_, Value::Null) => return Ok(None),
            (Self::Struct | Self::ListValue | Self::Empty | Self::Any, Value::String(text)) => {
                if text.trim().is_empty() {
                    return Ok(None);
                }
                serde_json::from_str(&text)
                    .map_err(|_| format!("expected {wanted}, got `{}`", shorten(&text)))?
            }
            (_, json) => json,
        };
        if depth::is_too_deep(&json) { Err(depth::too_deep()) } else { Ok(Some(json)) }
    }
}

/// A message of such a type, other than `Any` and the wrappers, from its JSON. The error says what was
/// expected and what came.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    form: &WellKnown,
    wanted: &str,
    json: Value,
) -> Result<DynamicMessage, String> {
    if let (WellKnown::Empty, Some((name, _))) =
        (form, json.as_object().and_then(|object| object.iter().next()))
    {
        return Err(format!("unknown field `{}` of `Empty`, which has none", shorten(name)));
    }
    let refused = format!("expected {wanted}, got {}", describe(&json));
    let moment = matches!(form, WellKnown::Timestamp | WellKnown::Duration);
    if moment && json.as_str().is_some_and(|text| !is_exact(text)) {
        return Err(refused);
    }
    DynamicMessage::deserialize_with_options(descriptor.clone(), json, &STRICT).map_err(|_| refused)
}

/// Whether the text of a time or a duration is read as it stands: the parser takes a 60th second for the
/// next minute, and drops what is finer than nanoseconds.
fn is_exact(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let leaps = text.as_bytes().get(10) == Some(&b'T') && text.get(17..19) == Some("60");
    digits <= 9 && !leaps
}

/// A JSON value for an error: a scalar as it is, anything larger by its kind.
pub(super) fn describe(json: &Value) -> String {
    match json {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("`{}`", shorten(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => format!("`{json}`"),
    }
}
