//! The JSON request of an endpoint from what clap matched: `--json` first, then each flag on top of it.

use super::command::{HEADER, JSON};
use super::convert::Converter;
use super::flags::flags;
use super::names::camel;
use super::schema::Endpoint;
use super::{Error, ReadFile};
use crate::{cli::given, json, transcode};
use clap::ArgMatches;
use serde_json::{Map, Value};

/// A request to send, and what is to be said about how it was given.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) message: Value,
    pub(crate) notes: Vec<String>,
}

/// The request to send: an object, unless the type of the request has no fields and `--json` gives another
/// value, as for a `google.protobuf.Timestamp`. `matches` are those of the endpoint's own command; `read_file` is asked for
/// the path of `@FILE`, and for `-` when standard input is to be read.
pub(crate) fn request(
    endpoint: &Endpoint,
    matches: &ArgMatches,
    read_file: &ReadFile<'_>,
) -> Result<Request, Error> {
    let mut notes = Vec::new();
    let mut request = match whole(matches, read_file)? {
        Value::Object(request) => request,
        other if endpoint.fields.is_empty() => return Ok(Request { message: other, notes }),
        other => return Err(wrong(&format!("found `{other}`"))),
    };
    for flag in flags(endpoint) {
        let Ok(Some(occurrences)) = matches.try_get_occurrences::<String>(&flag.id()) else { continue };
        // clap has split lists at commas; whether that was right is known only now.
        let texts: Vec<String> =
            occurrences.map(|values| values.map(String::as_str).collect::<Vec<_>>().join(",")).collect();
        let value =
            Converter { long: &flag.long, field: flag.field, read_file }.convert(&texts, &mut notes)?;
        set(&mut request, &flag.path, value);
    }
    Ok(Request { message: Value::Object(request), notes })
}

/// Whether the request was given as a whole, whatever it is.
pub(crate) fn is_given(matches: &ArgMatches) -> bool {
    matches!(matches.try_get_one::<String>(JSON), Ok(Some(_)))
}

/// The headers to send, NAME=VALUE each, in the order given.
pub(crate) fn headers(matches: &ArgMatches) -> Vec<String> {
    let Ok(Some(headers)) = matches.try_get_many::<String>(HEADER) else { return Vec::new() };
    headers.cloned().collect()
}

fn whole(matches: &ArgMatches, read_file: &ReadFile<'_>) -> Result<Value, Error> {
    let Ok(Some(json)) = matches.try_get_one::<String>(JSON) else { return Ok(Value::Object(Map::new())) };
    let path = given::place(json);
    let parsed = match path {
        Some(path) => {
            let bytes = read_file(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
            serde_json::from_slice(transcode::without_mark(&bytes))
        }
        None => serde_json::from_str(json),
    };
    parsed.map_err(|error| {
        let place = path.map_or_else(String::new, |path| format!(" in {}", given::name(path)));
        wrong(&format!("{}{place}", json::fault(&error)))
    })
}

fn wrong(reason: &str) -> Error {
    Error::usage(
        format!("`--json` expects a JSON object: {reason}"),
        r#"for example --json='{"name": "Jane"}', or --json=@request.json"#.to_owned(),
    )
}

fn set(message: &mut Map<String, Value>, path: &[&str], value: Value) {
    let [name, below @ ..] = path else { return };
    // The request given as a whole may use the JSON names of protobuf; one field must not stand there twice.
    let json_name = camel(name);
    let key = if !message.contains_key(*name) && message.contains_key(&json_name) {
        json_name
    } else {
        (*name).to_owned()
    };
    if below.is_empty() {
        message.insert(key, value);
        return;
    }
    let nested = message.entry(key).or_insert(Value::Null);
    if !nested.is_object() {
        *nested = Value::Object(Map::new());
    }
    if let Value::Object(nested) = nested {
        set(nested, below, value);
    }
}
