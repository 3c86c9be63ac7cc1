//! From the body and the query of an HTTP request to the JSON of a call. Values of a query are
//! text; what they become is decided by the schema of the endpoint, or guessed where there is none.

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use micro_sdk::{Error, Result};
use serde_json::{Map, Value};

use crate::transcode;

/// How deep the fields of a query may nest, as the JSON of a body.
const DEPTH: usize = 128;

/// How the body of a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    UrlEncoded,
    /// The message itself, in protobuf.
    Protobuf,
}

impl Form {
    /// Reads the content type; what is missing or unknown is JSON.
    ///
    /// # Errors
    /// 415 for forms that are not supported.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match text.split(';').next().unwrap_or_default().trim() {
            "application/x-www-form-urlencoded" => Ok(Self::UrlEncoded),
            "application/proto"
            | "application/protobuf"
            | "application/octet-stream"
            | "application/grpc+proto" => Ok(Self::Protobuf),
            refused @ ("multipart/form-data" | "application/json-rpc" | "application/proto-rpc") => Err(
                Error::new(415, format!("{refused} is not supported in this version of micro; send JSON")),
            ),
            _ => Ok(Self::Json),
        }
    }
}

/// The request of a call: the query, with the body on top.
///
/// # Errors
/// 400 for a body that is not JSON, or not an object although there is a query.
pub(super) fn request(query: &str, form: Form, body: &Bytes, guess: bool) -> Result<Value> {
    let body = transcode::without_mark(body);
    let mut fields = Map::new();
    add_pairs(&mut fields, query.as_bytes(), guess)?;
    // `curl -d '{…}'` says that it sends a form.
    if form == Form::UrlEncoded && body.trim_ascii_start().first() != Some(&b'{') {
        add_pairs(&mut fields, body, guess)?;
        return Ok(Value::Object(fields));
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(fields));
    }
    let value = serde_json::from_slice(body)
        .map_err(|e| Error::bad_request(format!("the body is not valid JSON: {e}")))?;
    match value {
        Value::Object(body) => {
            merge(&mut fields, body);
            Ok(Value::Object(fields))
        }
        Value::Null => Ok(Value::Object(fields)),
        _ => Err(Error::bad_request("the body is not a JSON object")),
    }
}

/// Adds `a=1&b.c=2&d[e]=3&f[]=4` to an object.
fn add_pairs(fields: &mut Map<String, Value>, text: &[u8], guess: bool) -> Result<()> {
    // What is no text would become another one.
    if percent_encoding::percent_decode(text).decode_utf8().is_err() {
        return Err(Error::bad_request("the query parameters or the form are not UTF-8"));
    }
    for (name, value) in form_urlencoded::parse(text) {
        if name.is_empty() && value.is_empty() {
            continue;
        }
        let path = split(&name)?;
        let value = match serde_json::from_str(&value) {
            Ok(guessed) if guess => guessed,
            _ => Value::String(value.into_owned()),
        };
        set(fields, &path, value)?;
    }
    Ok(())
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

fn set(fields: &mut Map<String, Value>, path: &[String], value: Value) -> Result<()> {
    let clash = |name: &str| {
        Error::bad_request(format!("the query parameter `{name}` is given as a value and as a group"))
    };
    match path {
        [] => {}
        [name] => {
            fields.insert(name.clone(), value);
        }
        [name, list] if list.is_empty() => {
            match fields.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(values) => values.push(value),
                _ => return Err(clash(name)),
            }
        }
        [name, rest @ ..] => match fields.entry(name.clone()).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(inner) => set(inner, rest, value)?,
            _ => return Err(clash(name)),
        },
    }
    Ok(())
}

/// JSON merge-patch (RFC 7396), except that `null` stays for the schema to judge.
fn merge(fields: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match (fields.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(patch)) => merge(inner, patch),
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(query: &str, body: &str, guess: bool) -> Result<Value> {
        request(query, Form::Json, &Bytes::copy_from_slice(body.as_bytes()), guess)
    }

    #[test]
    fn queries_nest_and_repeat_as_in_the_reference() {
        for (query, expected) in [
            ("a=xyz&b[c]=456", json!({"a": "xyz", "b": {"c": 456}})),
            ("cat=1&cat=2", json!({"cat": 2})),
            ("cat[]=1&cat[]=34", json!({"cat": [1, 34]})),
            ("bar[one][two]=2&bar[one][red]=112", json!({"bar": {"one": {"two": 2, "red": 112}}})),
            (
                "filter=parent%3Dflow%26request%3Dreq&meta.limit=20",
                json!({"filter": "parent=flow&request=req", "meta": {"limit": 20}}),
            ),
            ("", json!({})),
            ("flag", json!({"flag": ""})),
        ] {
            assert_eq!(of(query, "", true).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused_rather_than_replaced() {
        for query in ["a=%ff", "%fe=1", "a=%c3&b=%a9", "a=1&b=%e2%82"] {
            assert_eq!(of(query, "", true).unwrap_err().code, 400, "{query}");
        }
        let form = Bytes::from_static(b"a=\xff");
        assert_eq!(request("", Form::UrlEncoded, &form, true).unwrap_err().code, 400);
        assert_eq!(of("a=%c3%a9", "", true).unwrap(), json!({"a": "é"}));
    }

    #[test]
    fn a_query_is_text_where_a_schema_decides() {
        assert_eq!(
            of("name=1&big=9007199254740993", "", false).unwrap(),
            json!({"name": "1", "big": "9007199254740993"})
        );
    }

    #[test]
    fn the_body_wins_over_the_query() {
        assert_eq!(
            of("a=1&b.c=2", r#"{"a":3,"b":{"d":4}}"#, true).unwrap(),
            json!({"a": 3, "b": {"c": 2, "d": 4}})
        );
        assert_eq!(of("a=1", "\u{feff}{\"a\":3}", true).unwrap(), json!({"a": 3}));
    }

    #[test]
    fn bad_input_is_a_bad_request() {
        for (query, body) in [
            ("", "{"),
            ("", "[1]"),
            ("", "1 2"),
            ("a[=1", ""),
            ("a[]x=1", ""),
            ("a=1&a.b=2", ""),
            ("a[][b]=1", ""),
            (".=1", ""),
        ] {
            assert_eq!(of(query, body, false).unwrap_err().code, 400, "{query} {body}");
        }
    }
}
