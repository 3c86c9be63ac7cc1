//! The parameters of a query or a form as the fields of a request. Their values are text; where the schema
//! of the endpoint is known it says what a name means: a repeated field collects every value, any other
//! takes the last. Without a schema the values are guessed, or those of a form joined by commas, as Micro
//! v4's gateway does.

use micro_sdk::{Error, Result};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::{names::shown, transcode::Form};

/// How deep the fields of a query may nest, as the JSON of a body.
const DEPTH: usize = 128;

/// What is known of the place that a name stands for.
#[derive(Clone)]
pub(super) enum Place {
    /// A message with these fields.
    Message(MessageDescriptor),
    /// A map with such values.
    Map(Kind),
    /// A list of such places.
    List(Box<Place>),
    /// One value of this type.
    Scalar(Kind),
    /// A time or a duration.
    Moment,
    /// The paths of fields, with commas between.
    Paths,
    /// A field that the schema does not have, which is refused by its name later, or one of a message in an
    /// `Any`, whose type stands in another parameter.
    Unknown,
    /// Any JSON, since no schema says more: what reads as JSON is meant as such.
    Guessed,
    /// Text, since no schema says more; of a name given twice, both with a comma between.
    Joined,
}

impl Place {
    /// A request of this type.
    pub(super) fn root(message: &MessageDescriptor) -> Self {
        Self::of(Kind::Message(message.clone()))
    }

    /// Whether parameters have names here.
    pub(super) fn has_members(&self) -> bool {
        matches!(self, Self::Message(_) | Self::Guessed | Self::Joined)
    }

    fn of(kind: Kind) -> Self {
        let Kind::Message(message) = kind else { return Self::Scalar(kind) };
        match Form::of(&message) {
            Form::Fields => Self::Message(message),
            Form::Free => Self::Guessed,
            Form::List => Self::List(Box::new(Self::Guessed)),
            Form::Paths => Self::Paths,
            Form::Scalar(kind) => Self::Scalar(kind),
            Form::Moment => Self::Moment,
        }
    }

    fn of_field(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry.map_entry_value_field().kind()),
            kind if field.is_list() => Self::List(Box::new(Self::of(kind))),
            kind => Self::of(kind),
        }
    }

    /// The member `name` here: what it is called in the request, and what is known of it. A field has two
    /// spellings, and one name.
    fn member(&self, name: &str) -> (String, Self) {
        let below = match self {
            Self::Message(message) => match field(message, name) {
                Some(field) => return (field.name().to_owned(), Self::of_field(&field)),
                None => Self::Unknown,
            },
            Self::Map(kind) => Self::of(kind.clone()),
            Self::List(element) => (**element).clone(),
            Self::Scalar(_) | Self::Moment | Self::Paths | Self::Unknown => Self::Unknown,
            Self::Guessed | Self::Joined => self.clone(),
        };
        (name.to_owned(), below)
    }

    /// The place at the end of a path.
    fn at(&self, path: &[String]) -> Self {
        path.iter().fold(self.clone(), |place, name| match place {
            place if name.is_empty() && !matches!(place, Self::List(_)) => place,
            place => place.member(name).1,
        })
    }

    /// Whether nothing at all is a value here. Elsewhere it says that there is none, since forms send the
    /// inputs that were left empty too.
    fn may_be_blank(&self) -> bool {
        match self {
            Self::Scalar(kind) => matches!(kind, Kind::String | Kind::Bytes),
            Self::List(element) => matches!(**element, Self::Scalar(Kind::String | Kind::Bytes)),
            Self::Message(_) | Self::Map(_) | Self::Moment | Self::Paths => false,
            Self::Unknown | Self::Guessed | Self::Joined => true,
        }
    }

    /// Whether one value here says that something is so or not.
    fn is_truth(&self) -> bool {
        match self {
            Self::List(element) => element.is_truth(),
            place => matches!(place, Self::Scalar(Kind::Bool)),
        }
    }

    /// A text that stands here, as JSON.
    fn value(&self, text: String) -> Value {
        match self {
            Self::Guessed => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Self::Message(_)
            | Self::Map(_)
            | Self::List(_)
            | Self::Scalar(_)
            | Self::Moment
            | Self::Paths
            | Self::Unknown
            | Self::Joined => Value::String(text),
        }
    }
}

fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// Whether there is any parameter at all.
pub(super) fn is_empty(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'&')
}

/// Adds `a=1&b.c=2&d[e]=3&f[]=4&g[0].h=5` to an object; when all are added, [`finish`] has to follow.
///
/// # Errors
/// 400 for what is malformed, or contradicts itself.
pub(super) fn add(fields: &mut Map<String, Value>, text: &[u8], place: &Place) -> Result<()> {
    // What is no text would become another one.
    if percent_encoding::percent_decode(text).decode_utf8().is_err() {
        return Err(Error::bad_request("the parameters are not UTF-8"));
    }
    for parameter in text.split(|byte| *byte == b'&') {
        let Some((name, value)) = form_urlencoded::parse(parameter).next() else { continue };
        if name.is_empty() && value.is_empty() {
            continue;
        }
        let (path, mut value) = (split(&name)?, value.into_owned());
        if value.is_empty() {
            let place = place.at(&path);
            if place.is_truth() && !parameter.contains(&b'=') {
                // A name alone says that it is so.
                value.push_str("true");
            } else if !place.may_be_blank() {
                continue;
            }
        }
        set(fields, &path, place, value).map_err(|wrong| wrong.said_of(&name))?;
    }
    Ok(())
}

/// Takes apart what was given as the only text of a list of free-form values.
pub(super) fn finish(value: &mut Value, place: &Place) {
    match (place, value) {
        (Place::List(element), value @ Value::String(_)) if matches!(**element, Place::Guessed) => {
            let Value::String(text) = value.take() else { return };
            *value = Value::Array(match serde_json::from_str(&text) {
                Ok(Value::Array(elements)) => elements,
                Ok(only) => vec![only],
                Err(_) => text.split(',').map(|part| Place::Guessed.value(part.to_owned())).collect(),
            });
        }
        (Place::List(element), Value::Array(values)) => {
            for value in values {
                finish(value, element);
            }
        }
        (Place::Message(_) | Place::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                finish(value, &place.member(name).1);
            }
        }
        _ => {}
    }
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
    let malformed = || Error::bad_request(format!("the parameter `{}` is malformed", shown(name)));
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
        return Err(Error::bad_request(format!("a parameter nests deeper than {DEPTH} levels")));
    }
    match path.iter().position(String::is_empty) {
        Some(index) if index + 1 < path.len() => Err(Error::bad_request(format!(
            "the parameter `{}` goes on behind `[]`: number the elements of the list, from `[0]` on",
            shown(name)
        ))),
        _ => Ok(path),
    }
}

/// Why a parameter cannot be added to those before it.
enum Wrong {
    /// It is given as one value and as several with names.
    Clash,
    /// The number of an element that a list of so many is not ready for.
    Index(usize),
    /// A part of the name stands for an element of a list, and is no number.
    NotANumber,
}

impl Wrong {
    fn said_of(&self, name: &str) -> Error {
        let name = shown(name);
        Error::bad_request(match self {
            Self::Clash => format!("the parameter `{name}` is given as a value and as a group"),
            Self::Index(next) => {
                format!("the parameter `{name}` skips elements of a list: the next one is `[{next}]`")
            }
            Self::NotANumber => {
                format!("the parameter `{name}` goes into a list: number its elements, from `[0]` on")
            }
        })
    }
}

fn set(
    fields: &mut Map<String, Value>,
    path: &[String],
    place: &Place,
    text: String,
) -> std::result::Result<(), Wrong> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    let (name, place) = place.member(name);
    if let Some(present) = fields.get_mut(&name) {
        return more(present, rest, &place, text);
    }
    fields.insert(name, first(rest, &place, text)?);
    Ok(())
}

/// What the first text makes of a place.
fn first(rest: &[String], place: &Place, text: String) -> std::result::Result<Value, Wrong> {
    Ok(match (rest, place) {
        // The only value of a list may be a list itself, such as `a,b`: the schema takes it apart.
        ([], place) => place.value(text),
        ([last], Place::Paths) if last.is_empty() => Value::String(text),
        ([last], Place::List(element)) if last.is_empty() => Value::Array(vec![element.value(text)]),
        ([last], place) if last.is_empty() => Value::Array(vec![place.value(text)]),
        ([index, rest @ ..], Place::List(element)) => match number(index)? {
            0 => Value::Array(vec![first(rest, element, text)?]),
            _ => return Err(Wrong::Index(0)),
        },
        (rest, place) => {
            let mut inner = Map::new();
            set(&mut inner, rest, place, text)?;
            Value::Object(inner)
        }
    })
}

/// Adds a text to what is there already.
fn more(present: &mut Value, rest: &[String], place: &Place, text: String) -> std::result::Result<(), Wrong> {
    match (rest, place, present) {
        ([], _, Value::Object(_)) => return Err(Wrong::Clash),
        ([], Place::List(element), present) => append(present, element, text),
        ([], Place::Unknown, present) => append(present, place, text),
        ([], Place::Joined | Place::Paths, Value::String(present)) => join(present, &text),
        ([], place, present) => *present = place.value(text),
        ([last], Place::Paths, Value::String(present)) if last.is_empty() => join(present, &text),
        ([last], Place::List(element), present @ (Value::Array(_) | Value::String(_))) if last.is_empty() => {
            append(present, element, text);
        }
        ([last], place, Value::Array(values)) if last.is_empty() => values.push(place.value(text)),
        ([last], ..) if last.is_empty() => return Err(Wrong::Clash),
        ([index, rest @ ..], Place::List(element), Value::Array(values)) => {
            let index = number(index)?;
            let next = values.len();
            match values.get_mut(index) {
                Some(present) => return more(present, rest, element, text),
                None if index == next => values.push(first(rest, element, text)?),
                None => return Err(Wrong::Index(next)),
            }
        }
        (rest, place, Value::Object(inner)) => return set(inner, rest, place, text),
        _ => return Err(Wrong::Clash),
    }
    Ok(())
}

fn number(index: &str) -> std::result::Result<usize, Wrong> {
    index.parse().map_err(|_| Wrong::NotANumber)
}

/// One more value of a list, of which the first may stand alone so far, as its text.
fn append(present: &mut Value, element: &Place, text: String) {
    if let Value::Array(values) = present {
        values.push(element.value(text));
        return;
    }
    let first = match present.take() {
        Value::String(first) => element.value(first),
        other => other,
    };
    *present = Value::Array(vec![first, element.value(text)]);
}

fn join(present: &mut String, text: &str) {
    present.push(',');
    present.push_str(text);
}
