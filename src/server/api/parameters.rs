//! The parameters of a query or a form as the fields of a request. Their values are text; where the schema
//! of the endpoint is known it says what a name means: a repeated field collects every value, any other
//! takes the last. Without a schema the values are guessed, or those of a form joined by commas, as Micro
//! v4's gateway does.

use micro_sdk::{Error, Result};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::transcode;

/// How deep the fields of a query may nest, as the JSON of a body.
const DEPTH: usize = 128;

/// What is known of the place that a name stands for.
#[derive(Clone)]
pub(super) enum Place {
    /// A message with these fields.
    Message(MessageDescriptor),
    /// A map with such values.
    Map(Kind),
    /// One value.
    One,
    /// A list of values.
    List,
    /// Any JSON, since no schema says more: what reads as JSON is meant as such.
    Guessed,
    /// Text, since no schema says more; of a name given twice, both with a comma between.
    Joined,
}

impl Place {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Message(message) if transcode::is_free_form(&message) => Self::Guessed,
            Kind::Message(message) => Self::Message(message),
            _ => Self::One,
        }
    }

    fn of_field(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry.map_entry_value_field().kind()),
            _ if field.is_list() => Self::List,
            kind => Self::of(kind),
        }
    }

    /// The member `name` here: what it is called in the request, and what is known of it. A field has two
    /// spellings, and one name.
    fn member(&self, name: &str) -> (String, Self) {
        match self {
            Self::Message(message) => match field(message, name) {
                Some(field) => (field.name().to_owned(), Self::of_field(&field)),
                // It is refused by its name later.
                None => (name.to_owned(), Self::One),
            },
            Self::Map(kind) => (name.to_owned(), Self::of(kind.clone())),
            Self::One | Self::List => (name.to_owned(), Self::One),
            Self::Guessed | Self::Joined => (name.to_owned(), self.clone()),
        }
    }

    fn value(&self, text: String) -> Value {
        match self {
            Self::Guessed => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Self::Message(_) | Self::Map(_) | Self::One | Self::List | Self::Joined => Value::String(text),
        }
    }
}

fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// Adds `a=1&b.c=2&d[e]=3&f[]=4` to an object.
///
/// # Errors
/// 400 for what is malformed, or contradicts itself.
pub(super) fn add(fields: &mut Map<String, Value>, text: &[u8], place: &Place) -> Result<()> {
    // What is no text would become another one.
    if percent_encoding::percent_decode(text).decode_utf8().is_err() {
        return Err(Error::bad_request("the query parameters or the form are not UTF-8"));
    }
    for (name, value) in form_urlencoded::parse(text) {
        if name.is_empty() && value.is_empty() {
            continue;
        }
        set(fields, &split(&name)?, place, value.into_owned())?;
    }
    Ok(())
}

/// Puts a body on top of parameters: JSON merge-patch (RFC 7396), except that `null` stays for the schema
/// to judge, and that both spellings of a field are the same one.
pub(super) fn merge(fields: &mut Map<String, Value>, patch: Map<String, Value>, place: &Place) {
    for (name, value) in patch {
        let (name, below) = place.member(&name);
        match (fields.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(patch)) => merge(inner, patch, &below),
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
}

/// `a.b[c][]` as `a`, `b`, `c`, and an empty last part for a list.
fn split(name: &str) -> Result<Vec<String>> {
    let malformed = || Error::bad_request(format!("the query parameter `{name}` is malformed"));
    let mut path = Vec::new();
    for dotted in name.split('.') {
        let (first, mut rest) = dotted.split_at(dotted.find('[').unwrap_or(dotted.len()));
        if first.is_empty() {
            return Err(malformed());
        }
        path.push(first.to_owned());
        while let Some(inner) = rest.strip_prefix('[') {
            let (part, after) = inner.split_once(']').ok_or_else(malformed)?;
            path.push(part.to_owned());
            rest = after;
        }
        if !rest.is_empty() {
            return Err(malformed());
        }
    }
    if path.len() > DEPTH {
        return Err(Error::bad_request(format!("a query parameter nests deeper than {DEPTH} levels")));
    }
    match path.iter().position(String::is_empty) {
        Some(index) if index + 1 < path.len() => Err(malformed()),
        _ => Ok(path),
    }
}

fn set(fields: &mut Map<String, Value>, path: &[String], place: &Place, text: String) -> Result<()> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    let clash =
        || Error::bad_request(format!("the query parameter `{name}` is given as a value and as a group"));
    let (name, place) = place.member(name);
    let present = fields.get_mut(&name);
    let value = match (rest, present) {
        ([], Some(Value::Object(_))) => return Err(clash()),
        ([], Some(present)) => match (&place, present) {
            (Place::List, present) => return append(present, Value::String(text)).ok_or_else(clash),
            (Place::Joined, Value::String(present)) => {
                present.push(',');
                present.push_str(&text);
                return Ok(());
            }
            _ => place.value(text),
        },
        // The only value of a list may be a list itself, such as `a,b`: the schema takes it apart.
        ([], None) => place.value(text),
        ([last], present) if last.is_empty() => match present {
            Some(present @ Value::Array(_)) => return append(present, place.value(text)).ok_or_else(clash),
            Some(present) if matches!(place, Place::List) => {
                return append(present, place.value(text)).ok_or_else(clash);
            }
            Some(_) => return Err(clash()),
            None => Value::Array(vec![place.value(text)]),
        },
        (rest, Some(Value::Object(inner))) => return set(inner, rest, &place, text),
        (_, Some(_)) => return Err(clash()),
        (rest, None) => {
            let mut inner = Map::new();
            set(&mut inner, rest, &place, text)?;
            Value::Object(inner)
        }
    };
    fields.insert(name, value);
    Ok(())
}

/// One more value of a list, of which the first may stand alone so far.
fn append(present: &mut Value, value: Value) -> Option<()> {
    match present {
        Value::Array(values) => values.push(value),
        Value::Object(_) => return None,
        first => *first = Value::Array(vec![first.take(), value]),
    }
    Some(())
}
