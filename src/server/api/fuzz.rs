//! What must hold of any path, any query, any form and any body of a request to the HTTP API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{path, payload};
use crate::{server::target::Target, transcode};

/// Any text as a path, here and of a gRPC call: the endpoint that it means has one spelling, which means
/// the same.
pub(crate) fn path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let versioned = path::without_version(text);
    let means = [path::target(text).ok().flatten(), versioned, Target::parse(text).ok()];
    for target in means.into_iter().flatten() {
        let spelling = target.path();
        let again = Target::parse(&spelling).unwrap_or_else(|error| panic!("{target:?}: {error:?}"));
        assert_eq!(again, target, "{spelling}");
        assert!(
            spelling.parse::<http::uri::PathAndQuery>().is_ok_and(|uri| uri.path() == spelling),
            "{spelling}"
        );
        let (handler, method) =
            target.endpoint.split_once('.').expect("an endpoint is a handler and a method");
        assert!(!handler.is_empty() && !method.is_empty() && !method.contains(['.', '/']), "{target:?}");
    }
}

/// Any query and any body, as JSON or as a form, with a schema and without: no answer but a request or a
/// refusal, and what is simple means what it says.
pub(crate) fn parameters(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (query, body) = (String::from_utf8_lossy(&rest[..end]), rest.get(end + 1..).unwrap_or_default());
    let form = if first & 1 == 0 { payload::Form::Json } else { payload::Form::UrlEncoded };
    let message = transcode::fuzz::message_of(first >> 1);
    let schema = (first & 0x80 == 0).then_some(message);
    let Ok(request) = payload::request(&query, form, body, schema) else { return };
    // With a schema it is judged later, whatever JSON it is.
    assert!(schema.is_some() || request.is_object(), "{request}");
    // Whatever it is, it is judged and nothing breaks.
    let read = transcode::value_to_protobuf(message, request.clone());
    if let (Some(message), Ok(protobuf)) = (schema, read) {
        assert!(prost_reflect::DynamicMessage::decode(message.clone(), &protobuf[..]).is_ok());
    }
    let body = transcode::without_mark(body);
    let is_form = form == payload::Form::UrlEncoded && body.trim_ascii_start().first() != Some(&b'{');
    if schema.is_none() && is_form {
        joined(&query, body, &request);
    }
}

/// Without a schema the values of one name are joined by commas.
fn joined(query: &str, form: &[u8], request: &Value) {
    let pairs = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(form));
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in pairs.filter(|(name, value)| !(name.is_empty() && value.is_empty())) {
        if name.contains(['.', '[', ']']) {
            return;
        }
        expected
            .entry(name.into_owned())
            .and_modify(|present| {
                present.push(',');
                present.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    assert_eq!(*request, serde_json::json!(expected));
}
