//! From the body and the query of an HTTP request to the JSON of a call.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use micro_sdk::{Error, Result};
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value};

use super::parameters::{self, Place};
use crate::{json, names::shown, transcode};

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
    /// 415 for forms and character sets that are not supported, and for bodies that are compressed.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        if let Some(coding) = headers.get_all(CONTENT_ENCODING).iter().find_map(coding) {
            return Err(Error::new(
                415,
                format!("the body is compressed (content-encoding `{}`): send it as it is", shown(&coding)),
            ));
        }
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let form = match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Ok(Self::UrlEncoded),
            "application/proto"
            | "application/protobuf"
            | "application/octet-stream"
            | "application/grpc+proto" => Ok(Self::Protobuf),
            refused @ ("multipart/form-data" | "application/json-rpc" | "application/proto-rpc") => Err(
                Error::new(415, format!("{refused} is not supported in this version of micro; send JSON")),
            ),
            _ => Ok(Self::Json),
        }?;
        match charset(text) {
            Some(charset) if form != Self::Protobuf && !is_utf8(&charset) => {
                Err(Error::new(415, format!("the body is in `{}`: send it in UTF-8", shown(&charset))))
            }
            _ => Ok(form),
        }
    }
}

/// The character set that a content type names (RFC 9110, section 8.3).
fn charset(content_type: &str) -> Option<String> {
    let mut quoted = false;
    let mut parameters = content_type.split(|c: char| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').trim().to_owned())
    })
}

/// Whether text in a character set is UTF-8, as US-ASCII is.
fn is_utf8(charset: &str) -> bool {
    ["", "utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
}

/// What was done to a body on the way, other than nothing (RFC 9110, section 8.4).
fn coding(value: &HeaderValue) -> Option<String> {
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let mut codings = text.split(',').map(str::trim).filter(|coding| !matches!(*coding, "" | "identity"));
    codings.next().map(str::to_owned)
}

/// The request of a call: the query, with the body on top. `schema` is the message that the endpoint
/// takes, if that is known: without parameters it judges whatever JSON there is, and `null` where there is none.
///
/// # Errors
/// 400 for a body that is not JSON, or not an object although there are parameters.
pub(super) fn request(
    query: &str,
    form: Form,
    body: &[u8],
    schema: Option<&MessageDescriptor>,
) -> Result<Value> {
    let body = transcode::without_mark(body);
    let place = schema.map(Place::root);
    let has_members = place.as_ref().is_none_or(Place::has_members);
    // `curl -d '{…}'` says that it sends a form.
    let is_form = form == Form::UrlEncoded && has_members && body.trim_ascii_start().first() != Some(&b'{');
    let place = place.unwrap_or(if is_form { Place::Joined } else { Place::Guessed });
    if !has_members && !parameters::is_empty(query.as_bytes()) {
        return Err(Error::bad_request(
            "the request of this endpoint has no fields that parameters could stand for: send it as the JSON body",
        ));
    }
    let mut fields = Map::new();
    parameters::add(&mut fields, query.as_bytes(), &place)?;
    if is_form {
        parameters::add(&mut fields, body, &place)?;
    }
    let nothing = fields.is_empty();
    let mut request = Value::Object(fields);
    parameters::finish(&mut request, &place);
    let text = if is_form { &[] } else { body.trim_ascii() };
    let body = match text {
        [] => Value::Null,
        text => serde_json::from_slice(text)
            .map_err(|e| Error::bad_request(format!("not valid JSON: {}", json::fault(&e))))?,
    };
    match (&mut request, body) {
        (_, body) if nothing && schema.is_some() => return Ok(body),
        (Value::Object(fields), Value::Object(body)) => parameters::merge(fields, body, &place),
        (_, Value::Null) => {}
        (_, Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Object(_)) => {
            return Err(Error::bad_request("the body is not a JSON object"));
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests;
