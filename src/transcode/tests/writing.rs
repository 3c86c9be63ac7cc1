use super::{message, order, to_json, to_protobuf};
use crate::transcode::write;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

fn written(name: &str, json: &str) -> String {
    let descriptor = message(name);
    let protobuf = to_protobuf(&descriptor, json.as_bytes()).unwrap();
    String::from_utf8(to_json(&descriptor, &protobuf).unwrap().to_vec()).unwrap()
}

#[test]
fn defaults_are_written_under_original_names() {
    assert_eq!(written("shop.Address", "{}"), r#"{"street":"","zip":0,"lines":[]}"#);
    let empty = written("shop.Order", "{}");
    let start =
        r#"{"name":"","is_paid":false,"small":0,"big":"0","count":0,"huge":"0","zigzag":"0","fixed":0,"#;
    assert!(empty.starts_with(start), "{empty}");
    assert!(empty.contains(r#""mood":"MOOD_UNKNOWN","tags":[],"ids":[]"#), "{empty}");
    assert!(!empty.contains("child") && !empty.contains("card") && !empty.contains("maybe"), "{empty}");
}

#[test]
fn angle_brackets_and_ampersands_stay_as_they_are() {
    assert_eq!(
        written("shop.Address", r#"{"street":"<a href=\"x\">&\u0001"}"#),
        r#"{"street":"<a href=\"x\">&\u0001","zip":0,"lines":[]}"#
    );
}

#[test]
fn bytes_that_are_no_such_message_are_refused() {
    let error = to_json(&order(), &[0xff]).unwrap_err();
    assert!(error.0.starts_with("not a valid `shop.Order`: "), "{error}");
    assert!(to_json(&order(), &[10, 200, 1]).is_err());
}

#[test]
fn fields_that_the_schema_does_not_know_are_left_out() {
    let with_unknown = [0xf8, 0x3f, 1];
    assert_eq!(to_json(&message("shop.Address"), &with_unknown).unwrap(), written("shop.Address", "{}"));
}

#[test]
fn json_stops_growing_at_the_limit() {
    let mut address = DynamicMessage::new(message("shop.Address"));
    address.set_field_by_name("street", Value::String("x".repeat(100)));
    let mut json = Vec::new();
    let failure = write::message(&message("shop.Address"), &address.encode_to_vec(), &mut json, 50);
    assert_eq!(failure.unwrap_err().to_string(), "larger than 50 bytes as JSON");
    assert!(json.len() <= 50);
}

/// An `Any` within an `Any`, so many times.
fn chain(levels: usize) -> Vec<u8> {
    let mut content = DynamicMessage::new(message("google.protobuf.Any"));
    content.set_field_by_name("type_url", Value::String("a/google.protobuf.Empty".to_owned()));
    let mut content = content.encode_to_vec();
    for _ in 0..levels {
        let mut any = DynamicMessage::new(message("google.protobuf.Any"));
        any.set_field_by_name("type_url", Value::String("a/google.protobuf.Any".to_owned()));
        any.set_field_by_name("value", Value::Bytes(content.into()));
        content = any.encode_to_vec();
    }
    content
}

#[test]
fn a_chain_of_packed_messages_is_followed_only_so_far() {
    let any = message("google.protobuf.Any");
    assert!(to_json(&any, &chain(50)).is_ok());
    let error = to_json(&any, &chain(5_000)).unwrap_err();
    assert_eq!(error.0, "not a valid `google.protobuf.Any`: nested deeper than 100 levels");
}

#[test]
fn the_deepest_messages_that_decode_are_written() {
    let mut bytes = Vec::new();
    let mut last = 0;
    for level in 1..200 {
        let mut outer = vec![0xd2, 0x01];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.append(&mut bytes);
        bytes = outer;
        if to_json(&order(), &bytes).is_ok() {
            last = level;
        }
    }
    assert_eq!(last, 100);
}

#[test]
fn what_is_read_at_the_deepest_can_be_decoded() {
    // What opens and closes each level of JSON, what stands at the innermost, and how many there may be.
    for (open, innermost, close, most) in [
        (r#"{"child":"#, "{}", "}", 100),
        (r#"{"orders":["#, "{}", "]}", 63),
        (r#"{"labelled":{"a":"#, "{}", "}}", 50),
        (r#"{"labelled":{"a":"#, r#"{"labels":{"a":"b"}}"#, "}}", 49),
    ] {
        let nested = |levels: usize| format!("{}{innermost}{}", open.repeat(levels), close.repeat(levels));
        for levels in [most / 2, most - 1, most] {
            let protobuf = to_protobuf(&order(), nested(levels).as_bytes()).unwrap();
            assert!(to_json(&order(), &protobuf).is_ok(), "{open} {levels}");
        }
        let refused = to_protobuf(&order(), nested(most + 1).as_bytes()).unwrap_err().0;
        // The parser of JSON has a bound too.
        let words = ["nested deeper than 100 levels", "nested deeper than 127 levels"];
        assert!(words.iter().any(|words| refused.contains(words)), "{open}: {refused}");
    }
}

#[test]
fn what_is_read_of_free_form_at_the_deepest_is_written() {
    // Each list takes two levels, each object three; what stands above counts too.
    for (above, open, innermost, close, most) in [
        (r#"{"value":"#, "[", "1", "]", 49),
        (r#"{"value":"#, "[", "[]", "]", 49),
        (r#"{"list":"#, "[", "1", "]", 50),
        (r#"{"value":"#, r#"{"a":"#, "1", "}", 33),
        (r#"{"value":"#, r#"{"a":"#, "[]", "}", 32),
        (r#"{"object":"#, r#"{"a":"#, "1", "}", 33),
        (r#"{"child":{"child":{"value":"#, "[", "1", "]", 48),
    ] {
        let nested = |levels: usize| {
            let ends = "}".repeat(above.matches('{').count());
            format!("{above}{}{innermost}{}{ends}", open.repeat(levels), close.repeat(levels))
        };
        for levels in [1, most - 1, most] {
            let protobuf = to_protobuf(&order(), nested(levels).as_bytes()).unwrap();
            let json = to_json(&order(), &protobuf).unwrap();
            assert_eq!(to_protobuf(&order(), &json).unwrap(), protobuf, "{above} {levels}");
        }
        let refused = to_protobuf(&order(), nested(most + 1).as_bytes()).unwrap_err().0;
        assert!(
            refused.ends_with(
                "nested deeper than 100 levels: a list in a free-form value takes 2 of them, an object 3"
            ),
            "{above}: {refused}"
        );
    }
}
