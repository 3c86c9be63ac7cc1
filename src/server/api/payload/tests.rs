//! What comes of a query and a body, with a schema and without.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::server::api;

const SCHEMA: &str = r#"
    syntax = "proto3";
    package shop;
    import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/empty.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
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
        bool gift = 15;
        repeated bool flags = 16;
        Mood mood = 17;
        google.protobuf.FieldMask mask = 18;
        repeated google.protobuf.FieldMask masks = 19;
        google.protobuf.ListValue list = 20;
        repeated google.protobuf.ListValue lists = 21;
        repeated google.protobuf.Value values = 22;
        repeated google.protobuf.Struct objects = 23;
        map<string, google.protobuf.Value> notes = 24;
        google.protobuf.Any packed = 25;
        repeated google.protobuf.Any parcels = 26;
        google.protobuf.StringValue title = 27;
        google.protobuf.Int64Value limit = 28;
        repeated google.protobuf.Int64Value limits = 29;
        google.protobuf.Duration wait = 30;
        google.protobuf.Empty empty = 31;
        oneof choice {
            google.protobuf.NullValue nothing = 32;
            string word = 33;
            bytes code = 34;
            bool sure = 35;
        }
        optional int32 count = 36;
        optional string note = 37;
        repeated google.protobuf.NullValue nothings = 38;
    }
"#;

fn message(name: &str) -> MessageDescriptor {
    transcode::tests::pool(SCHEMA).get_message_by_name(name).unwrap()
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
    let order = message("shop.Order");
    let mut read = read_as(&order, query, kind, body)?;
    let empty: Value = serde_json::from_slice(&transcode::to_json(&order, &[], 1 << 20).unwrap()).unwrap();
    read.as_object_mut().unwrap().retain(|name, value| empty.get(name) != Some(value));
    Ok(read)
}

/// The same for another request.
fn read_as(
    input: &MessageDescriptor,
    query: &str,
    kind: Form,
    body: &str,
) -> std::result::Result<Value, String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let protobuf = api::message(query, kind, &body, Some(input)).map_err(|error| error.detail)?;
    Ok(serde_json::from_slice(&transcode::to_json(input, &protobuf, 1 << 20).unwrap()).unwrap())
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
    assert_eq!(form("a=0&b=1", "a=1&a=2&c.d=3").unwrap(), json!({"a": "0,1,2", "b": "1", "c": {"d": "3"}}));
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
        ("tags=a&tags.b=c", "the parameter `tags.b` is given as a value and as a group"),
        ("home_address.zip=1&home_address=x", {
            "the parameter `home_address` is given as a value and as a group"
        }),
        ("tag=a", "unknown field `tag`, did you mean `tags`?"),
    ] {
        assert_eq!(read(query, Form::Json, ""), Err(words.to_owned()), "{query}");
    }
}

#[test]
fn the_elements_of_a_list_may_be_numbered() {
    for (query, expected) in [
        ("tags[0]=a&tags[1]=b", json!({"tags": ["a", "b"]})),
        ("tags.0=a&tags.1=b&tags.0=c", json!({"tags": ["c", "b"]})),
        ("tags[0]=a&tags[]=b&tags=c&tags[3]=d", json!({"tags": ["a", "b", "c", "d"]})),
        ("stops[0].street=a&stops[1][zip]=5&stops[0].line_names=x&stops[0].lineNames=y", {
            json!({"stops": [{"street": "a", "line_names": ["x", "y"], "zip": 0},
                             {"street": "", "line_names": [], "zip": 5}]})
        }),
        ("home_address.line_names[0]=a", {
            json!({"home_address": {"street": "", "line_names": ["a"], "zip": 0}})
        }),
        ("values[0]=1&values[1].a[]=x", json!({"values": [1, {"a": ["x"]}]})),
        ("list[0]=1&list[1]=b", json!({"list": [1, "b"]})),
        ("lists[0][0]=1&lists[0][1]=2&lists[1]=3", json!({"lists": [[1, 2], [3]]})),
    ] {
        assert_eq!(read(query, Form::Json, "").as_ref(), Ok(&expected), "{query}");
    }
    for (query, words) in [
        ("tags[1]=a", "the parameter `tags[1]` skips elements of a list: the next one is `[0]`"),
        ("tags[0]=a&tags[2]=a", "the parameter `tags[2]` skips elements of a list: the next one is `[1]`"),
        ("tags[99999999999999999999999]=a", {
            "the parameter `tags[99999999999999999999999]` goes into a list: number its elements, from `[0]` on"
        }),
        ("stops.zip=1", { "the parameter `stops.zip` goes into a list: number its elements, from `[0]` on" }),
        ("stops[].zip=1", {
            "the parameter `stops[].zip` goes on behind `[]`: number the elements of the list, from `[0]` on"
        }),
        ("tags=a&tags[1]=b", "the parameter `tags[1]` is given as a value and as a group"),
        ("tags[0].x=a", "field `tags[0]`: expected a string, got an object"),
    ] {
        assert_eq!(read(query, Form::Json, ""), Err(words.to_owned()), "{query}");
    }
    // Without a schema nothing says that it is a list.
    assert_eq!(guessed("a[0]=x&a[b]=y", "").unwrap(), json!({"a": {"0": "x", "b": "y"}}));
}

#[test]
fn what_has_a_form_of_its_own_collects_as_that_form_says() {
    for (query, expected) in [
        ("mask=name,tags", json!({"mask": "name,tags"})),
        ("mask=name&mask=tags,moods&mask[]=price", json!({"mask": "name,tags,moods,price"})),
        ("mask[]=name&mask[]=tags", json!({"mask": "name,tags"})),
        ("masks=name&masks=tags,moods", json!({"masks": ["name", "tags,moods"]})),
        ("list=1", json!({"list": [1]})),
        ("list=1&list=x&list={\"a\":[2]}", json!({"list": [1, "x", {"a": [2]}]})),
        ("list=[1,2]", json!({"list": [1, 2]})),
        ("list=[1,2]&list=3", json!({"list": [[1, 2], 3]})),
        ("lists=[1,2]&lists=[3]", json!({"lists": [[1, 2], [3]]})),
        ("values=1", json!({"values": [1]})),
        ("values=1,x", json!({"values": [1, "x"]})),
        ("values=1&values=x&values=null", json!({"values": [1, "x", null]})),
        ("values[]=1", json!({"values": [1]})),
        ("values={\"a\":1,\"b\":2}", json!({"values": [{"a": 1, "b": 2}]})),
        ("objects={\"a\":1,\"b\":2}", json!({"objects": [{"a": 1, "b": 2}]})),
        ("objects={\"a\":1}&objects={\"b\":2}", json!({"objects": [{"a": 1}, {"b": 2}]})),
        ("notes.a=1&notes[b]=x", json!({"notes": {"a": 1, "b": "x"}})),
        ("limit=5&limits=1&limits=2", json!({"limit": "5", "limits": ["1", "2"]})),
        ("packed.@type=a/shop.Address&packed.zip=5&packed.lineNames=a&packed.lineNames=b", {
            json!({"packed": {"@type": "a/shop.Address", "street": "", "line_names": ["a", "b"], "zip": 5}})
        }),
        ("parcels={\"@type\":\"a/shop.Address\",\"zip\":5}", {
            json!({"parcels": [{"@type": "a/shop.Address", "street": "", "line_names": [], "zip": 5}]})
        }),
    ] {
        assert_eq!(read(query, Form::Json, "").as_ref(), Ok(&expected), "{query}");
        assert_eq!(read("", Form::UrlEncoded, query).as_ref(), Ok(&expected), "a form: {query}");
    }
    let packed = "packed.@type=a/shop.Address&packed.zip=5&packed.zip=6";
    assert_eq!(
        read(packed, Form::Json, ""),
        Err("field `packed.zip`: expected an integer, got a list".to_owned())
    );
}

#[test]
fn an_input_that_was_left_empty_is_not_given_unless_it_is_text() {
    let blank = "at=&wait=&item_ids=&item_ids=&moods=&mood=&home_address=&stops=&counts=&free=&price=&gift=&flags=\
                 &mask=&masks=&list=&objects=&packed=&limit=&limits=&empty=&nothing=&sure=&count=&nothings=\
                 &home_address.zip=&stops[0].zip=";
    assert_eq!(read(blank, Form::Json, ""), Ok(json!({})));
    assert_eq!(read("", Form::UrlEncoded, blank), Ok(json!({})));
    for (query, expected) in [
        ("count=5&count=", json!({"count": 5})),
        ("item_ids=&item_ids=5&item_ids=", json!({"item_ids": ["5"]})),
        ("name=a&name=", json!({})),
        ("name&note&title&word=", json!({"note": "", "title": "", "word": ""})),
        ("code=", json!({"code": ""})),
        ("any=", json!({"any": ""})),
        ("tags=&tags=a&tags=", json!({"tags": ["", "a", ""]})),
        ("gift&flags&flags=off&sure", json!({"gift": true, "flags": [true, false], "sure": true})),
        ("gift=on", json!({"gift": true})),
        ("gift=on&gift=off", json!({})),
        ("nothing=null", json!({"nothing": null})),
        ("nothings=null&nothings=null", json!({"nothings": [null, null]})),
    ] {
        assert_eq!(read(query, Form::Json, "").as_ref(), Ok(&expected), "{query}");
    }
    assert!(read("tag=", Form::Json, "").is_err() && read("home_address.zpi=", Form::Json, "").is_err());
    assert_eq!(form("a=&a=1&b=", "").unwrap(), json!({"a": ",1", "b": ""}));
}

#[test]
fn digits_of_base64_are_never_lost() {
    for query in ["data=+/8=", "data=/8+", "data=+AAA", "data=%20AAAA", "data=AAAA%09", "data=a+b/"] {
        let refused = read(query, Form::Json, "").unwrap_err();
        assert!(refused.starts_with("field `data`: expected base64 text, got "), "{query}: {refused}");
        assert_eq!(refused.contains("%2B"), !query.contains("%09"), "{query}: {refused}");
    }
    assert_eq!(read("data=%2B/8%3D", Form::Json, ""), Ok(json!({"data": "+/8="})));
    assert_eq!(read("data=aGVs%0D%0AbG8=%0A", Form::Json, ""), Ok(json!({"data": "aGVsbG8="})));
}

#[test]
fn a_request_without_fields_is_the_body_whatever_json_it_is() {
    for (name, body, expected) in [
        ("Timestamp", r#""2026-11-26T10:00:00Z""#, json!("2026-11-26T10:00:00Z")),
        ("Duration", r#""1.5s""#, json!("1.500s")),
        ("FieldMask", r#""a,b""#, json!("a,b")),
        ("ListValue", "[1, null]", json!([1, null])),
        ("StringValue", r#""x""#, json!("x")),
        ("Int64Value", "5", json!("5")),
        ("BoolValue", "true", json!(true)),
        ("DoubleValue", "1.5", json!(1.5)),
        ("BytesValue", r#""aGk=""#, json!("aGk=")),
        ("Value", "null", Value::Null),
        ("Value", "[1]", json!([1])),
        ("Value", "5", json!(5)),
        ("Value", "{}", json!({})),
        ("Struct", r#"{"a":1}"#, json!({"a": 1})),
        ("Empty", "{}", json!({})),
    ] {
        let input = message(&format!("google.protobuf.{name}"));
        for kind in [Form::Json, Form::UrlEncoded] {
            if kind == Form::UrlEncoded && ["Value", "Struct"].contains(&name) && !body.starts_with('{') {
                continue;
            }
            assert_eq!(read_as(&input, "", kind, body), Ok(expected.clone()), "{name} {body}");
        }
    }
    for (name, expected) in [
        ("Timestamp", json!("1970-01-01T00:00:00Z")),
        ("Duration", json!("0s")),
        ("FieldMask", json!("")),
        ("ListValue", json!([])),
        ("StringValue", json!("")),
        ("Value", Value::Null),
        ("Struct", json!({})),
        ("Empty", json!({})),
        ("Any", json!({})),
    ] {
        let input = message(&format!("google.protobuf.{name}"));
        for body in ["", " \n", "null"] {
            assert_eq!(read_as(&input, "", Form::Json, body), Ok(expected.clone()), "{name} {body:?}");
        }
        // What is sent by those who know nothing of the type.
        let expected = if name == "Value" { json!({}) } else { expected };
        assert_eq!(read_as(&input, "", Form::Json, "{ }"), Ok(expected), "{name}");
    }
    let free = message("google.protobuf.Struct");
    assert_eq!(
        read_as(&free, "a=1&b=x&c.d[]=true", Form::Json, ""),
        Ok(json!({"a": 1, "b": "x", "c": {"d": [true]}}))
    );
    assert_eq!(
        read_as(&message("google.protobuf.Value"), "a=1", Form::Json, r#"{"b":2}"#),
        Ok(json!({"a": 1, "b": 2}))
    );
    for (name, query, body, words) in [
        ("google.protobuf.Timestamp", "value=2026", "", "send it as the JSON body"),
        ("google.protobuf.ListValue", "a=1", "[1]", "send it as the JSON body"),
        ("google.protobuf.Value", "a=1", "[1]", "the body is not a JSON object"),
        ("google.protobuf.Empty", "a=1", "", "unknown field `a` of `Empty`, which has none"),
        ("google.protobuf.Timestamp", "", "noon", "not valid JSON"),
        ("shop.Order", "", "[1]", "expected an object, got a list"),
        ("shop.Order", "name=a", "5", "the body is not a JSON object"),
    ] {
        let refused = read_as(&message(name), query, Form::Json, body).unwrap_err();
        assert!(refused.contains(words), "{name} {query} {body}: {refused}");
    }
}

#[test]
fn content_types_are_read_in_any_case_and_codings_refused() {
    let of = |name: &'static str, value: &'static str| {
        Form::of(&HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]))
    };
    for (text, form) in [
        ("Application/X-WWW-Form-Urlencoded; charset=UTF-8", Form::UrlEncoded),
        ("APPLICATION/PROTOBUF", Form::Protobuf),
        ("Application/JSON", Form::Json),
        ("text/plain", Form::Json),
        ("application/json; charset=utf-8", Form::Json),
        ("application/json;Charset=\"UTF-8\"", Form::Json),
        ("application/json; profile=\"a;charset=latin1\"; charset=US-ASCII", Form::Json),
        ("application/protobuf; charset=latin1", Form::Protobuf),
    ] {
        assert_eq!(of("content-type", text).unwrap(), form, "{text}");
    }
    for refused in [
        "application/json; charset=latin1",
        "application/json;CHARSET=\"ISO-8859-1\"",
        "application/x-www-form-urlencoded; charset=windows-1252",
        "application/json; profile=\"a;charset=utf-8\"; charset=utf-16",
    ] {
        let error = of("content-type", refused).unwrap_err();
        assert_eq!(error.code, 415, "{refused}");
        assert!(error.detail.contains("send it in UTF-8"), "{error}");
    }
    assert_eq!(of("content-type", "Multipart/Form-Data; boundary=x").unwrap_err().code, 415);
    for coding in ["gzip", "GZIP", "identity, br", "x"] {
        assert_eq!(of("content-encoding", coding).unwrap_err().code, 415, "{coding}");
    }
    assert_eq!(of("content-encoding", "Identity").unwrap(), Form::Json);
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
