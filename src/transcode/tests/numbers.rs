//! Numbers, bytes and maps, to the last bit: what a way through JSON must not change.

use super::{message, order, pool, to_json, to_protobuf};
use crate::transcode::{enum_name, scalar, value_to_protobuf};
use prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};
use serde_json::json;

fn written(name: &str, json: &str) -> String {
    let descriptor = message(name);
    let protobuf = to_protobuf(&descriptor, json.as_bytes()).unwrap();
    String::from_utf8(to_json(&descriptor, &protobuf).unwrap().to_vec()).unwrap()
}

/// The value of one field of an order as it comes back.
fn back(field: &str, json: &str) -> serde_json::Value {
    let whole = written("shop.Order", &format!(r#"{{"{field}":{json}}}"#));
    serde_json::from_str::<serde_json::Value>(&whole).unwrap()[field].clone()
}

#[test]
fn what_json_has_no_number_for_is_written_by_name_everywhere() {
    for name in ["NaN", "Infinity", "-Infinity"] {
        let text = format!("{name:?}");
        assert_eq!(written("google.protobuf.DoubleValue", &text), text);
        assert_eq!(written("google.protobuf.FloatValue", &text), text);
        assert_eq!(back("price", &text), json!(name));
        assert_eq!(back("ratio", &text), json!(name));
        assert_eq!(back("weights", &format!("[{text}]")), json!([name]));
        assert_eq!(back("wrapped_price", &text), json!(name));
        assert_eq!(back("rates", &format!(r#"{{"a":{text}}}"#)), json!({"a": name}));
        let packed = format!(r#"{{"@type":"a/google.protobuf.DoubleValue","value":{text}}}"#);
        assert_eq!(back("any", &packed)["value"], json!(name));
    }
}

#[test]
fn a_whole_number_is_written_without_a_fraction() {
    for (name, given, text) in [
        ("google.protobuf.DoubleValue", "2", "2"),
        ("google.protobuf.DoubleValue", "2.50", "2.5"),
        ("google.protobuf.DoubleValue", "-0", "-0"),
        ("google.protobuf.DoubleValue", "1e16", "1e+16"),
        ("google.protobuf.DoubleValue", "1e300", "1e+300"),
        ("google.protobuf.DoubleValue", "0.1", "0.1"),
        ("google.protobuf.FloatValue", "3", "3"),
        ("google.protobuf.FloatValue", "0.1", "0.1"),
        ("google.protobuf.FloatValue", "16777216", "16777216"),
        ("google.protobuf.Value", "1", "1"),
        ("google.protobuf.Value", "9007199254740991", "9007199254740991"),
        ("google.protobuf.Struct", r#"{"a":1,"b":[2.0,{"c":-3}]}"#, r#"{"a":1,"b":[2,{"c":-3}]}"#),
        ("google.protobuf.ListValue", "[1.0,10,100.5]", "[1,10,100.5]"),
        ("google.protobuf.StringValue", r#""1.0""#, r#""1.0""#),
    ] {
        assert_eq!(written(name, given), text, "{name} {given}");
    }
}

#[test]
fn negative_zero_is_kept_wherever_it_stands() {
    let sign = |value: &Value| match value {
        Value::F64(number) => number.is_sign_negative(),
        Value::F32(number) => number.is_sign_negative(),
        other => panic!("{other:?} is no floating-point number"),
    };
    for text in ["-0", "-0.0", "-0e5", r#""-0""#] {
        let json = format!(
            r#"{{"price":{text},"ratio":{text},"weights":[{text}],"wrapped_price":{text},"rates":{{"a":{text}}},
                "child":{{"price":{text}}},"value":-0.0,
                "any":{{"@type":"a/shop.Order","price":{text}}}}}"#
        );
        let bytes = to_protobuf(&order(), json.as_bytes()).unwrap();
        let read = DynamicMessage::decode(order(), bytes.clone()).unwrap();
        assert!(sign(&read.get_field_by_name("price").unwrap()), "{text}");
        assert!(sign(&read.get_field_by_name("ratio").unwrap()), "{text}");
        let value = value_to_protobuf(&order(), serde_json::from_str(&json).unwrap()).unwrap();
        assert!(bytes == value, "{text}");
        let back = String::from_utf8(to_json(&order(), &bytes).unwrap().to_vec()).unwrap();
        for part in [
            r#""price":-0,"#,
            r#""ratio":-0,"#,
            r#""weights":[-0]"#,
            r#""wrapped_price":-0"#,
            r#""rates":{"a":-0}"#,
            r#""value":-0,"#,
        ] {
            assert!(back.contains(part), "{text}: {part} in {back}");
        }
        assert_eq!(back.matches(r#""price":-0,"#).count(), 3, "{back}");
    }
    assert!(to_protobuf(&order(), br#"{"price":0,"ratio":0.0,"child":null}"#).unwrap().is_empty());
}

#[test]
fn base64_is_read_on_several_lines_in_either_alphabet() {
    for text in ["+/8=", "-_8=", "-_8", "+/8", "+_8", "+/\\r\\n8=", "-\\n_8\\n", "\\n+/\\n\\n8=\\r"] {
        assert_eq!(back("data", &format!("\"{text}\"")), json!("+/8="), "{text}");
        assert_eq!(written("google.protobuf.BytesValue", &format!("\"{text}\"")), "\"+/8=\"", "{text}");
    }
    let refused = to_protobuf(&order(), br#"{"data":"+/ 8"}"#).unwrap_err();
    assert_eq!(
        refused.0,
        "field `data`: expected base64 text, got `+/ 8` (in a query, `+` is written `%2B`)"
    );
    // What was a digit must not be taken for a blank.
    for text in [" /8=", "+/8= ", "-_8\\n ", "\\n  +/8=", "+/\\t8="] {
        let refused = to_protobuf(&order(), format!(r#"{{"data":"{text}"}}"#).as_bytes()).unwrap_err().0;
        assert!(refused.starts_with("field `data`: expected base64 text, got "), "{text}: {refused}");
    }
    assert!(to_protobuf(&order(), br#"{"data":"a%"}"#).is_err());
}

#[test]
fn maps_come_in_the_order_of_their_keys() {
    let labels: String = (0..50).rev().map(|n| format!(r#""k{n:02}":"","#)).collect();
    let json = format!(r#"{{"labels":{{{labels}"z":""}},"places":{{"10":{{}},"-1":{{}},"9":{{}}}}}}"#);
    let first = to_protobuf(&order(), json.as_bytes()).unwrap();
    let text = String::from_utf8(to_json(&order(), &first).unwrap().to_vec()).unwrap();
    let keys: Vec<_> = (0..50).map(|n| text.find(&format!("k{n:02}")).unwrap()).collect();
    assert!(keys.is_sorted());
    let place = |key: &str| text.find(&format!("\"{key}\":{{\"street")).unwrap();
    assert!(place("-1") < place("9") && place("9") < place("10"), "{text}");
    for _ in 0..5 {
        assert!(to_protobuf(&order(), json.as_bytes()).unwrap() == first);
    }
    assert_eq!(
        written("google.protobuf.Struct", r#"{"b":1,"a":{"d":1,"c":2}}"#),
        r#"{"a":{"c":2,"d":1},"b":1}"#
    );
}

#[test]
fn an_any_of_nothing_or_of_an_unknown_type_does_not_spoil_an_answer() {
    let any = message("google.protobuf.Any");
    assert_eq!(to_json(&any, b"").unwrap(), "{}");
    assert!(to_protobuf(&any, b"{}").unwrap().is_empty());
    let mut order_with_nothing = DynamicMessage::new(order());
    order_with_nothing.set_field_by_name("any", Value::Message(DynamicMessage::new(any.clone())));
    let json = to_json(&order(), &prost::Message::encode_to_vec(&order_with_nothing)).unwrap();
    assert!(std::str::from_utf8(&json).unwrap().contains(r#""any":{}"#));

    let empty = br#"{"@type":"type.googleapis.com/google.protobuf.Empty"}"#;
    let with_value = br#"{"@type":"type.googleapis.com/google.protobuf.Empty","value":{}}"#;
    let packed = to_protobuf(&any, empty).unwrap();
    assert_eq!(packed, to_protobuf(&any, with_value).unwrap());
    assert_eq!(to_json(&any, &packed).unwrap(), &with_value[..]);

    let mut unknown = DynamicMessage::new(any.clone());
    unknown.set_field_by_name("type_url", Value::String("a/b.Unknown".to_owned()));
    unknown.set_field_by_name("value", Value::Bytes(b"\x08\x01".to_vec().into()));
    let unknown = prost::Message::encode_to_vec(&unknown);
    let json = to_json(&any, &unknown).unwrap();
    assert_eq!(json, r#"{"@type":"a/b.Unknown","@value":"CAE="}"#);
    assert_eq!(to_protobuf(&any, &json).unwrap(), unknown);
}

#[test]
fn what_is_packed_is_read_as_leniently_as_the_rest_and_named_in_errors() {
    let any = message("google.protobuf.Any");
    let read = |json: &str| to_protobuf(&any, json.as_bytes());
    let strict = read(r#"{"@type":"a/shop.Address","zip":5,"lines":["a","b"]}"#).unwrap();
    assert_eq!(read(r#"{"zip":"5","lines":"a,b","@type":"a/shop.Address"}"#).unwrap(), strict);
    for (json, text) in [
        (r#"{"@type":"a/shop.Address","zpi":5}"#, "unknown field `zpi`, did you mean `zip`?"),
        (r#"{"@type":"a/shop.Address","zip":"x"}"#, "field `zip`: expected an integer, got `x`"),
        (r#"{"zip":5}"#, "expected an object with `@type`: there is none"),
        (
            r#"{"@type":""}"#,
            "expected an object with `@type`: the type `` is not of the form `type.googleapis.com/NAME`",
        ),
        (r#"{"@type":5}"#, "expected an object with `@type`: the type is `5`"),
        (r#"{"@type":"a/google.protobuf.Duration"}"#, "a `Duration` stands under `value`"),
        (r#"{"@type":"a/google.protobuf.Duration","value":"1s","x":1}"#, "unknown field `x`"),
        (
            r#"{"@type":"a/google.protobuf.Duration","value":"1"}"#,
            "field `value`: expected a duration such as `1.5s`, got `1`",
        ),
        (r#"{"@type":"a/b.Unknown","@value":"%"}"#, "field `@value`: expected base64 text, got `%`"),
        ("[]", "expected an object with `@type`, got a list"),
    ] {
        assert_eq!(read(json).unwrap_err().0, text, "{json}");
    }
    let nested = r#"{"any":{"@type":"a/shop.Order","address":{"zip":"x"}}}"#;
    let refused = to_protobuf(&order(), nested.as_bytes()).unwrap_err();
    assert_eq!(refused.0, "field `any.address.zip`: expected an integer, got `x`");
}

#[test]
fn what_cannot_be_written_says_where_it_stands() {
    let mut time = DynamicMessage::new(message("google.protobuf.Timestamp"));
    time.set_field_by_name("nanos", Value::I32(-1));
    let mut inner = DynamicMessage::new(order());
    inner.set_field_by_name("times", Value::List(vec![Value::Message(time)]));
    let mut outer = DynamicMessage::new(order());
    outer.set_field_by_name("child", Value::Message(inner));
    let error = to_json(&order(), &prost::Message::encode_to_vec(&outer)).unwrap_err();
    assert_eq!(
        error.0,
        "not a valid `shop.Order`: field `child.times[0]`: 0 seconds and -1 nanoseconds are no time in the \
         years 1 to 9999"
    );
}

/// Descriptors come from services: what only has the name of a well-known type is an ordinary message.
#[test]
fn a_type_with_a_well_known_name_only_is_an_ordinary_message() {
    const FAKES: &str = r#"
        syntax = "proto3";
        package google.protobuf;
        message Int64Value { Int64Value value = 1; }
        message Timestamp { string seconds = 1; }
        message Any { int32 type_url = 1; }
        message Struct { Struct fields = 1; }
        message Value { Value kind = 1; }
        message Empty { int32 more = 1; }
        message ListValue { int32 values = 1; }
        message FieldMask { string paths = 1; }
    "#;
    let fakes = pool(FAKES);
    for (name, json) in [
        ("Int64Value", r#"{"value":{}}"#),
        ("Timestamp", r#"{"seconds":"a"}"#),
        ("Any", r#"{"type_url":5}"#),
        ("Struct", r#"{"fields":{}}"#),
        ("ListValue", r#"{"values":5}"#),
        ("FieldMask", r#"{"paths":"a"}"#),
    ] {
        let descriptor = fakes.get_message_by_name(&format!("google.protobuf.{name}")).unwrap();
        let bytes = to_protobuf(&descriptor, json.as_bytes()).unwrap();
        assert_eq!(to_json(&descriptor, &bytes).unwrap(), json, "{name}");
    }
    for descriptor in fakes.all_messages() {
        for json in ["{}", "5", "[]", "\"a\"", "null", r#"{"value":{"value":{}}}"#, r#"{"a":1}"#] {
            if let Ok(bytes) = to_protobuf(&descriptor, json.as_bytes()) {
                drop(to_json(&descriptor, &bytes));
            }
        }
        for bytes in [&b"\x0a\x00"[..], b"\x0a\x02\x0a\x00", b"\x08\x01", b"\x19\0\0\0\0\0\0\xf0\x7f"] {
            drop(to_json(&descriptor, bytes));
        }
        assert_eq!(DynamicMessage::new(descriptor.clone()).descriptor(), descriptor);
    }
}

#[test]
fn proto2_groups_and_extensions_survive() {
    const OLD: &str = r#"
        syntax = "proto2";
        package old;
        message Thing {
            optional group Part = 1 { optional int32 a = 1; }
            repeated group Parts = 2 { optional string b = 1; }
            repeated int32 loose = 3;
            repeated int32 tight = 4 [packed = true];
            optional double price = 5 [default = 1.5];
            extensions 100 to 199;
        }
        extend Thing { optional int32 more = 100; repeated string many = 101; }
    "#;
    let thing = pool(OLD).get_message_by_name("old.Thing").unwrap();
    for json in [
        r#"{"part":{"a":5},"parts":[{"b":"x"},{"b":"y"}],"loose":[1,2],"tight":[3,-4],"price":-0}"#,
        r#"{"parts":[],"loose":[],"tight":[],"[old.more]":7,"[old.many]":["a","b"]}"#,
    ] {
        let bytes = to_protobuf(&thing, json.as_bytes()).unwrap();
        let back = to_json(&thing, &bytes).unwrap();
        assert_eq!(back, json);
    }
    let cleared = to_protobuf(&thing, br#"{"[old.more]":7,"[old.more]":null}"#).unwrap();
    assert!(cleared.is_empty());
    assert!(to_protobuf(&thing, br#"{"[old.less]":7}"#).is_err());
}

#[test]
fn the_text_of_a_flag_is_read_as_text_in_json_is() {
    for (kind, text, expected) in [
        (Kind::Int64, " -0x1F ", Some(json!(-31))),
        (Kind::Uint64, "18446744073709551615", Some(json!(u64::MAX))),
        (Kind::Uint64, "-1", None),
        (Kind::Int32, "1e3", Some(json!(1000))),
        (Kind::Int32, "1_000", None),
        (Kind::Int32, "0x_f", None),
        (Kind::Int32, "", None),
        (Kind::Float, "4.9", Some(json!(4.9))),
        (Kind::Float, "1e39", None),
        (Kind::Double, "-inf", Some(json!("-Infinity"))),
        (Kind::Double, "nan", Some(json!("NaN"))),
        (Kind::Bool, "F", Some(json!(false))),
        (Kind::Bool, "", None),
        (Kind::String, " a ", Some(json!(" a "))),
        (Kind::Bytes, "_-8", Some(json!("/+8="))),
    ] {
        assert_eq!(scalar(&kind, text).ok(), expected, "{kind:?} {text}");
    }
    let names = ["DARK_RED", "DARKRED", "dark_red"];
    for (text, name) in [
        ("dark-red", Some("DARK_RED")),
        ("dark_red", Some("dark_red")),
        ("DarkRed", Some("DARKRED")),
        ("red", None),
    ] {
        assert_eq!(enum_name(names.into_iter(), text), name);
    }
}
