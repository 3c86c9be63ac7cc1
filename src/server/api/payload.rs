//! From the body and the query of an HTTP request to the JSON of a call.

use http::{HeaderMap, header::CONTENT_TYPE};
use micro_sdk::{Error, Result};
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value};

use super::parameters::{self, Place};
use crate::transcode;

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

/// The request of a call: the query, with the body on top. `schema` is the message that the endpoint
/// takes, if that is known.
///
/// # Errors
/// 400 for a body that is not JSON, or not an object although there is a query.
pub(super) fn request(
    query: &str,
    form: Form,
    body: &[u8],
    schema: Option<&MessageDescriptor>,
) -> Result<Value> {
    let body = transcode::without_mark(body);
    // `curl -d '{…}'` says that it sends a form.
    let is_form = form == Form::UrlEncoded && body.trim_ascii_start().first() != Some(&b'{');
    let place = match schema {
        Some(message) => Place::Message(message.clone()),
        None if is_form => Place::Joined,
        None => Place::Guessed,
    };
    let mut fields = Map::new();
    parameters::add(&mut fields, query.as_bytes(), &place)?;
    if is_form {
        parameters::add(&mut fields, body, &place)?;
        return Ok(Value::Object(fields));
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(fields));
    }
    let value = serde_json::from_slice(body)
        .map_err(|e| Error::bad_request(format!("the body is not valid JSON: {e}")))?;
    match value {
        Value::Object(body) if fields.is_empty() => Ok(Value::Object(body)),
        Value::Object(body) => {
            parameters::merge(&mut fields, body, &place);
            Ok(Value::Object(fields))
        }
        Value::Null => Ok(Value::Object(fields)),
        _ => Err(Error::bad_request("the body is not a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = r#"
        syntax = "proto3";
        package shop;
        import "google/protobuf/struct.proto";
        import "google/protobuf/timestamp.proto";
        enum Mood { UNKNOWN = 0; HAPPY = 1; SAD = 2; }
        message Address { string street = 1; repeated string line_names = 2; int32 zip = 3; }
        message Order {
            string name = 1;
            repeated string tags = 2;
            repeated int64 item_ids = 3;
            Address home_address = 4;
            repeated Address stops = 5;
            map<string, int32> counts = 6;
            map<string, Address> places = 7;
            repeated Mood moods = 8;
            bytes data = 9;
            google.protobuf.Timestamp at = 10;
            repeated google.protobuf.Timestamp times = 11;
            google.protobuf.Struct free = 12;
            google.protobuf.Value any = 13;
            double price = 14;
        }
    "#;

    fn order() -> MessageDescriptor {
        transcode::tests::pool(SCHEMA).get_message_by_name("shop.Order").unwrap()
    }

    /// Without a schema.
    fn guessed(query: &str, body: &str) -> Result<Value> {
        request(query, Form::Json, body.as_bytes(), None)
    }

    fn form(query: &str, body: &str) -> Result<Value> {
        request(query, Form::UrlEncoded, body.as_bytes(), None)
    }

    /// With a schema: the fields that the endpoint reads, or the words of the refusal.
    fn read(query: &str, kind: Form, body: &str) -> std::result::Result<Value, String> {
        let order = order();
        let value =
            request(query, kind, body.as_bytes(), Some(&order)).map_err(|error| error.detail.clone())?;
        let protobuf = transcode::value_to_protobuf(&order, value).map_err(|invalid| invalid.0)?;
        let json = transcode::to_json(&order, &protobuf, 1 << 20).unwrap();
        let mut read: Value = serde_json::from_slice(&json).unwrap();
        let empty: Value =
            serde_json::from_slice(&transcode::to_json(&order, &[], 1 << 20).unwrap()).unwrap();
        read.as_object_mut().unwrap().retain(|name, value| empty.get(name) != Some(value));
        Ok(read)
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
            assert_eq!(guessed(query, "").unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn a_form_without_a_schema_is_text_joined_by_commas() {
        assert_eq!(
            form("a=0&b=1", "a=1&a=2&c.d=3").unwrap(),
            json!({"a": "0,1,2", "b": "1", "c": {"d": "3"}})
        );
        assert_eq!(form("a=1", r#"{"a":2}"#).unwrap(), json!({"a": 2}));
    }

    #[test]
    fn a_repeated_field_collects_every_value_and_any_other_takes_the_last() {
        let addresses =
            json!([{"street": "a", "line_names": [], "zip": 0}, {"street": "b", "line_names": [], "zip": 0}]);
        for (query, expected) in [
            ("tags=a&tags=b&tags=c", json!({"tags": ["a", "b", "c"]})),
            ("tags=a", json!({"tags": ["a"]})),
            ("tags=a,b", json!({"tags": ["a", "b"]})),
            ("tags=a,b&tags=c", json!({"tags": ["a,b", "c"]})),
            ("tags[]=a,b", json!({"tags": ["a,b"]})),
            ("tags[]=a&tags[]=b", json!({"tags": ["a", "b"]})),
            ("tags=a&tags[]=b&tags=c", json!({"tags": ["a", "b", "c"]})),
            ("itemIds=1&item_ids=2", json!({"item_ids": ["1", "2"]})),
            ("name=a&name=b", json!({"name": "b"})),
            ("name=1&price=1e3&data=-_8", json!({"name": "1", "price": 1000, "data": "+/8="})),
            ("home_address.zip=1&homeAddress.street=a&home_address.zip=2", {
                json!({"home_address": {"street": "a", "line_names": [], "zip": 2}})
            }),
            ("homeAddress[lineNames]=a&home_address.line_names=b", {
                json!({"home_address": {"street": "", "line_names": ["a", "b"], "zip": 0}})
            }),
            (r#"stops={"street":"a"}&stops={"street":"b"}"#, json!({ "stops": addresses })),
            ("counts[a]=1&counts.b=2&counts.a=3", json!({"counts": {"a": 3, "b": 2}})),
            ("places.x.line_names=a&places.x.lineNames=b", {
                json!({"places": {"x": {"street": "", "line_names": ["a", "b"], "zip": 0}}})
            }),
            ("moods=happy&moods=2", json!({"moods": ["HAPPY", "SAD"]})),
            ("at=2026-11-26T10:00:00Z", json!({"at": "2026-11-26T10:00:00Z"})),
            ("times=2026-11-26T10:00:00Z&times=2026-11-26T10:00:00.5%2B01:00", {
                json!({"times": ["2026-11-26T10:00:00Z", "2026-11-26T09:00:00.500Z"]})
            }),
            ("free.a=1&free.b[]=x&free.c=true", json!({"free": {"a": 1, "b": ["x"], "c": true}})),
            ("any=5", json!({"any": 5})),
            ("any.a=b", json!({"any": {"a": "b"}})),
        ] {
            assert_eq!(read(query, Form::Json, "").as_ref(), Ok(&expected), "{query}");
            assert_eq!(read("", Form::UrlEncoded, query).as_ref(), Ok(&expected), "a form: {query}");
        }
        let both = read("tags=a&name=a", Form::UrlEncoded, "tags=b&name=b");
        assert_eq!(both, Ok(json!({"tags": ["a", "b"], "name": "b"})));
        for (query, words) in [
            ("name[]=a", "field `name`: expected a string, got a list"),
            ("tags=a&tags.b=c", "the query parameter `tags` is given as a value and as a group"),
            ("home_address.zip=1&home_address=x", {
                "the query parameter `home_address` is given as a value and as a group"
            }),
            ("tag=a", "unknown field `tag`, did you mean `tags`?"),
        ] {
            assert_eq!(read(query, Form::Json, ""), Err(words.to_owned()), "{query}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused_rather_than_replaced() {
        for query in ["a=%ff", "%fe=1", "a=%c3&b=%a9", "a=1&b=%e2%82"] {
            assert_eq!(guessed(query, "").unwrap_err().code, 400, "{query}");
        }
        assert_eq!(request("", Form::UrlEncoded, b"a=\xff", None).unwrap_err().code, 400);
        assert_eq!(guessed("a=%c3%a9", "").unwrap(), json!({"a": "é"}));
    }

    #[test]
    fn the_body_wins_over_the_query() {
        assert_eq!(
            guessed("a=1&b.c=2", r#"{"a":3,"b":{"d":4}}"#).unwrap(),
            json!({"a": 3, "b": {"c": 2, "d": 4}})
        );
        assert_eq!(guessed("a=1", "\u{feff}{\"a\":3}").unwrap(), json!({"a": 3}));
        let body = r#"{"homeAddress":{"street":"a"},"tags":["x"],"name":"b"}"#;
        assert_eq!(
            read("home_address.zip=5&tags=y&tags=z&name=a", Form::Json, body),
            Ok(json!({"name": "b", "tags": ["x"],
                "home_address": {"street": "a", "line_names": [], "zip": 5}}))
        );
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
            ("a.b=2&a=1", ""),
            ("a=1&a[]=2", ""),
            ("a[][b]=1", ""),
            (".=1", ""),
        ] {
            assert_eq!(guessed(query, body).unwrap_err().code, 400, "{query} {body}");
        }
    }
}
