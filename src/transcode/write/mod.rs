//! Protobuf to JSON, within a bound on its size: an empty element takes two bytes in protobuf and, with
//! its defaults written out, any number in JSON. And within a bound on nesting: what is packed into an
//! `Any` is bytes, so that the bound of the decoder starts anew in each, and a small message can hide a
//! chain of any length.

mod output;
mod well_known;

use super::{
    depth::{MOST_LEVELS, too_deep},
    lenient,
    well_known::WellKnown,
};
use output::{Full, Output};
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};

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
    let mut writer = Writer { out: Output::new(json, limit), levels: MOST_LEVELS + 1 };
    writer.message(&message).map_err(|failure| match failure {
        Failure::Full => Unwritable::TooLarge(limit),
        Failure::Value { path, what } if path.is_empty() => malformed(what),
        Failure::Value { path, what } => {
            malformed(format!("field `{}`: {what}", path.trim_start_matches('.')))
        }
    })
}

/// What stops the writing. The path of the field is put together on the way up.
enum Failure {
    Full,
    Value { path: String, what: String },
}

impl Failure {
    fn value(what: impl Into<String>) -> Self {
        Self::Value { path: String::new(), what: what.into() }
    }

    /// The same, said one level further up.
    fn below(self, step: &str) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::Value { path, what } => Self::Value { path: format!("{step}{path}"), what },
        }
    }
}

impl From<Full> for Failure {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

type Written = Result<(), Failure>;

struct Writer<'a> {
    out: Output<'a>,
    /// How many messages and entries of maps may still be opened, one within the other.
    levels: usize,
}

impl Writer<'_> {
    fn message(&mut self, message: &DynamicMessage) -> Written {
        self.descend()?;
        if let Some(form) = WellKnown::of(&message.descriptor()) {
            self.well_known(&form, message)?;
        } else {
            self.out.raw("{")?;
            self.members(message, true)?;
            self.out.raw("}")?;
        }
        self.levels += 1;
        Ok(())
    }

    /// One level further down; adding 1 to the levels is the way back.
    fn descend(&mut self) -> Written {
        self.levels = self.levels.checked_sub(1).ok_or_else(|| Failure::value(too_deep()))?;
        Ok(())
    }

    /// The fields of a message as members of the object that is open: those without presence always.
    fn members(&mut self, message: &DynamicMessage, mut first: bool) -> Written {
        let descriptor = message.descriptor();
        let shown =
            descriptor.fields().filter(|field| !field.supports_presence() || message.has_field(field));
        for field in shown {
            self.name(field.name(), &mut first)?;
            self.field(&field.kind(), &message.get_field(&field))
                .map_err(|failure| failure.below(&format!(".{}", field.name())))?;
        }
        for (extension, value) in message.extensions() {
            self.name(extension.json_name(), &mut first)?;
            self.field(&extension.kind(), value)
                .map_err(|failure| failure.below(&format!(".{}", extension.json_name())))?;
        }
        Ok(())
    }

    fn name(&mut self, name: &str, first: &mut bool) -> Written {
        self.separate(first)?;
        self.out.text(name)?;
        Ok(self.out.raw(":")?)
    }

    fn separate(&mut self, first: &mut bool) -> Written {
        if !std::mem::take(first) {
            self.out.raw(",")?;
        }
        Ok(())
    }

    fn field(&mut self, kind: &Kind, value: &Value) -> Written {
        match (value, kind) {
            (Value::List(items), _) => self.list(kind, items),
            (Value::Map(entries), _) if entries.is_empty() => Ok(self.out.raw("{}")?),
            (Value::Map(entries), Kind::Message(entry)) => {
                let kind = entry.map_entry_value_field().kind();
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let mut first = true;
                self.descend()?;
                self.out.raw("{")?;
                for (key, value) in entries {
                    let key = key_text(key);
                    self.name(&key, &mut first)?;
                    self.one(&kind, value).map_err(|failure| failure.below(&format!("[{key:?}]")))?;
                }
                self.levels += 1;
                Ok(self.out.raw("}")?)
            }
            (value, _) => self.one(kind, value),
        }
    }

    fn list(&mut self, kind: &Kind, items: &[Value]) -> Written {
        let mut first = true;
        self.out.raw("[")?;
        for (index, item) in items.iter().enumerate() {
            self.separate(&mut first)?;
            self.one(kind, item).map_err(|failure| failure.below(&format!("[{index}]")))?;
        }
        Ok(self.out.raw("]")?)
    }

    fn one(&mut self, kind: &Kind, value: &Value) -> Written {
        match value {
            Value::Bool(truth) => self.out.raw(if *truth { "true" } else { "false" })?,
            Value::I32(number) => self.out.display(number)?,
            Value::U32(number) => self.out.display(number)?,
            // Readers of JSON that know only 64-bit floating-point numbers would round them.
            Value::I64(number) => self.out.quoted(number)?,
            Value::U64(number) => self.out.quoted(number)?,
            Value::F32(number) => self.out.float(*number)?,
            Value::F64(number) => self.out.double(*number)?,
            Value::String(text) => self.out.text(text)?,
            Value::Bytes(bytes) => self.out.base64(bytes)?,
            Value::EnumNumber(number) => self.enumeration(kind, *number)?,
            Value::Message(message) => self.message(message)?,
            Value::List(_) | Value::Map(_) => {
                return Err(Failure::value("a list or a map stands where a single value has to"));
            }
        }
        Ok(())
    }

    fn enumeration(&mut self, kind: &Kind, number: i32) -> Written {
        let known = match kind {
            Kind::Enum(names) if lenient::is_null(names) => {
                return Ok(self.out.raw("null")?);
            }
            Kind::Enum(names) => names.get_value(number),
            _ => None,
        };
        match known {
            Some(value) => Ok(self.out.text(value.name())?),
            None => Ok(self.out.display(&number)?),
        }
    }
}

/// The key of a map as the name of a member.
fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
