use super::{message, order, refusal, through};
use crate::transcode::{to_protobuf, value_to_protobuf};
use serde_json::{Value, json};

/// Each input, with what it comes to.
fn reads(cases: &[(&str, Value)]) {
    for (given, meant) in cases {
        assert_eq!(through(given).as_ref(), Ok(meant), "{given}");
    }
}

/// Each input, with the error text for it.
fn refuses(cases: &[(&str, &str)]) {
    for (given, text) in cases {
        assert_eq!(refusal(given), *text, "{given}");
    }
}

#[test]
fn blank_input_and_null_are_the_empty_message() {
    for blank in [
        "",
        "  \n",
        "null",
        "{}",
        "\u{feff}",
        "\u{feff}{}",
        r#"{"name":null,"ids":null,"address":null,"labels":null}"#,
    ] {
        assert!(to_protobuf(&order(), blank.as_bytes()).unwrap().is_empty(), "{blank}");
    }
    assert!(value_to_protobuf(&order(), Value::Null).unwrap().is_empty());
}

#[test]
fn both_name_styles_are_read() {
    reads(&[
        (r#"{"is_paid":true}"#, json!({"is_paid": true})),
        (r#"{"isPaid":true}"#, json!({"is_paid": true})),
        (r#"{"renamed":"a"}"#, json!({"customName": "a"})),
        (r#"{"customName":"a"}"#, json!({"customName": "a"})),
    ]);
}

#[test]
fn text_and_numbers_stand_for_each_other() {
    reads(&[
        (r#"{"is_paid":"T"}"#, json!({"is_paid": true})),
        (r#"{"is_paid":1}"#, json!({"is_paid": true})),
        (r#"{"is_paid":"FALSE"}"#, json!({})),
        (r#"{"small":"-5","count":5.0,"huge":"7.00"}"#, json!({"small": -5, "count": 5, "huge": "7"})),
        (r#"{"big":"0x1f","small":"0b11","count":"1e3"}"#, json!({"big": "31", "small": 3, "count": 1000})),
        (r#"{"price":"1.5","ratio":"0.25"}"#, json!({"price": 1.5, "ratio": 0.25})),
        (r#"{"price":"-Infinity"}"#, json!({"price": "-Infinity"})),
        (r#"{"name":5}"#, json!({"name": "5"})),
        (r#"{"name":true}"#, json!({"name": "true"})),
        (r#"{"name":1.5}"#, json!({"name": "1.5"})),
        (r#"{"name":1e3}"#, json!({"name": "1000"})),
        (r#"{"big":"1e18","huge":"1.8446744073709551615e19"}"#, {
            json!({"big": "1000000000000000000", "huge": "18446744073709551615"})
        }),
        (r#"{"small":"-2.50e2","big":"90071992547409930e-1","count":"0e99999","zigzag":".5e1"}"#, {
            json!({"small": -250, "big": "9007199254740993", "zigzag": "5"})
        }),
        (r#"{"data":"-_8"}"#, json!({"data": "+/8="})),
        (r#"{"data":"aGk"}"#, json!({"data": "aGk="})),
        (r#"{"data":1234}"#, json!({"data": "1234"})),
        (r#"{"wrapped":"5","wrapped_text":5}"#, json!({"wrapped": "5", "wrapped_text": "5"})),
    ]);
}

#[test]
fn large_integers_keep_every_digit() {
    reads(&[
        (r#"{"big":9223372036854775807}"#, json!({"big": "9223372036854775807"})),
        (r#"{"big":-9223372036854775808}"#, json!({"big": "-9223372036854775808"})),
        (r#"{"huge":18446744073709551615}"#, json!({"huge": "18446744073709551615"})),
        (r#"{"huge":"18446744073709551615"}"#, json!({"huge": "18446744073709551615"})),
        (r#"{"big":"9007199254740993.0"}"#, json!({"big": "9007199254740993"})),
        (r#"{"name":9007199254740993}"#, json!({"name": "9007199254740993"})),
        (r#"{"ids":["9007199254740993",9007199254740993]}"#, {
            json!({"ids": ["9007199254740993", "9007199254740993"]})
        }),
    ]);
}

#[test]
fn an_integer_out_of_range_is_told_the_range() {
    refuses(&[
        (r#"{"small":2147483648}"#, {
            "field `small`: `2147483648` is out of range, -2147483648 to 2147483647"
        }),
        (r#"{"count":-1}"#, "field `count`: `-1` is out of range, 0 to 4294967295"),
        (r#"{"fixed":1e10}"#, "field `fixed`: `10000000000.0` is out of range, 0 to 4294967295"),
        (r#"{"huge":"99999999999999999999999999999999999999999999"}"#, {
            "field `huge`: `99999999999999999999999999999999999999999999` is out of range, \
             0 to 18446744073709551615"
        }),
        (r#"{"huge":18446744073709551616}"#, {
            "field `huge`: `1.8446744073709552e19` is out of range, 0 to 18446744073709551615"
        }),
        (r#"{"big":9007199254740993.0}"#, {
            "field `big`: `9007199254740992` has lost digits, write all of them, \
             -9223372036854775808 to 9223372036854775807"
        }),
        (r#"{"big":1e18}"#, {
            "field `big`: `1000000000000000000` has lost digits, write all of them, \
             -9223372036854775808 to 9223372036854775807"
        }),
        (r#"{"small":"1e10"}"#, "field `small`: `1e10` is out of range, -2147483648 to 2147483647"),
        (r#"{"big":"-1e99999999999"}"#, {
            "field `big`: `-1e99999999999` is out of range, -9223372036854775808 to 9223372036854775807"
        }),
        (r#"{"big":"15e-1"}"#, "field `big`: expected an integer, got `15e-1`"),
        (r#"{"big":"1e"}"#, "field `big`: expected an integer, got `1e`"),
        (r#"{"big":"e5"}"#, "field `big`: expected an integer, got `e5`"),
        (r#"{"ratio":1e39}"#, "field `ratio`: `1e39` is out of range, -3.4028235e38 to 3.4028235e38"),
        (r#"{"ratio":"1e39"}"#, "field `ratio`: `1e39` is out of range, -3.4028235e38 to 3.4028235e38"),
    ]);
    assert!(refusal(r#"{"price":"1e400"}"#).contains("out of range"));
    assert!(refusal(r#"{"big":-9223372036854775809}"#).contains("-9223372036854775808 to"));
}

#[test]
fn an_enum_is_read_by_name_in_any_case_or_number() {
    reads(&[
        (r#"{"mood":"HAPPY"}"#, json!({"mood": "HAPPY"})),
        (r#"{"mood":"happy"}"#, json!({"mood": "HAPPY"})),
        (r#"{"mood":1}"#, json!({"mood": "HAPPY"})),
        (r#"{"mood":"-2"}"#, json!({"mood": "SAD"})),
        (r#"{"mood":77}"#, json!({"mood": 77})),
        (r#"{"moods":"HAPPY,sad"}"#, json!({"moods": ["HAPPY", "SAD"]})),
    ]);
    refuses(&[
        (r#"{"mood":"hapy"}"#, "field `mood`: `hapy` is not a `Mood`, did you mean `HAPPY`?"),
        (r#"{"mood":"elated"}"#, {
            "field `mood`: expected one of `SAD`, `MOOD_UNKNOWN`, `HAPPY`, got `elated`"
        }),
    ]);
}

#[test]
fn lists_maps_and_messages_are_read_from_text() {
    reads(&[
        (r#"{"tags":"a,b"}"#, json!({"tags": ["a", "b"]})),
        (r#"{"tags":"[\"a,b\",\"c\"]"}"#, json!({"tags": ["a,b", "c"]})),
        (r#"{"tags":"[urgent],x"}"#, json!({"tags": ["[urgent]", "x"]})),
        (r#"{"tags":""}"#, json!({})),
        (r#"{"tags":["a,b"]}"#, json!({"tags": ["a,b"]})),
        (r#"{"ids":"[1,2]"}"#, json!({"ids": ["1", "2"]})),
        (r#"{"ids":"1, 2"}"#, json!({"ids": ["1", "2"]})),
        (r#"{"ids":7}"#, json!({"ids": ["7"]})),
        (r#"{"weights":"1.5,2"}"#, json!({"weights": [1.5, 2]})),
        (r#"{"address":"{\"zip\":\"5\"}"}"#, json!({"address": {"zip": 5}})),
        (r#"{"address":""}"#, json!({})),
        (r#"{"stops":"[{\"zip\":1}]"}"#, json!({"stops": [{"street": "", "zip": 1, "lines": []}]})),
        (r#"{"stops":"{\"zip\":1}"}"#, json!({"stops": [{"street": "", "zip": 1, "lines": []}]})),
        (r#"{"labels":"{\"a\":1}"}"#, json!({"labels": {"a": "1"}})),
        (r#"{"object":"{\"a\":[1]}"}"#, json!({"object": {"a": [1]}})),
        (r#"{"anys":"{\"@type\":\"a/shop.Address\",\"zip\":5}"}"#, {
            json!({"anys": [{"@type": "a/shop.Address", "street": "", "zip": 5, "lines": []}]})
        }),
        (r#"{"limits":5}"#, json!({"limits": ["5"]})),
        (r#"{"null":"null"}"#, json!({})),
        (r#"{"nothing":"{}"}"#, json!({})),
        (r#"{"times":"2006-01-02T15:04:05Z,2007-01-02T15:04:05Z"}"#, {
            json!({"times": ["2006-01-02T15:04:05Z", "2007-01-02T15:04:05Z"]})
        }),
    ]);
}

#[test]
fn map_keys_are_read_as_their_type() {
    reads(&[
        (r#"{"places":{"-1":{"zip":2}}}"#, json!({"places": {"-1": {"zip": 2}}})),
        (r#"{"votes":{"true":"3"}}"#, json!({"votes": {"true": "3"}})),
        (r#"{"labels":{"a":"b","c":null}}"#, json!({"labels": {"a": "b"}})),
    ]);
    refuses(&[
        (r#"{"places":{"x":{}}}"#, "field `places[\"x\"]`: key: expected an integer, got `x`"),
        (r#"{"places":{"1":{"zip":[]}}}"#, "field `places[\"1\"].zip`: expected an integer, got a list"),
    ]);
}

#[test]
fn an_error_names_the_path_of_the_field() {
    refuses(&[
        (r#"{"address":{"zip":"abc"}}"#, "field `address.zip`: expected an integer, got `abc`"),
        (r#"{"stops":[{},{"lines":["a",{}]}]}"#, {
            "field `stops[1].lines[1]`: expected a string, got an object"
        }),
        (r#"{"address":"{\"zip\":\"abc\"}"}"#, "field `address.zip`: expected an integer, got `abc`"),
        (r#"{"address":5}"#, "field `address`: expected an object, got `5`"),
        (r#"{"address":"5"}"#, "field `address`: expected an object, got `5`"),
        (r#"{"address":[]}"#, "field `address`: expected an object, got a list"),
        (r#"{"tags":["a",null]}"#, "field `tags[1]`: a list cannot hold `null`"),
        (r#"{"tags":{}}"#, "field `tags`: expected a list, got an object"),
        (r#"{"labels":[]}"#, "field `labels`: expected an object, got a list"),
        (r#"{"is_paid":2}"#, "field `is_paid`: expected `true` or `false`, got `2`"),
        (r#"{"small":1.5}"#, "field `small`: expected an integer, got `1.5`"),
        (r#"{"small":true}"#, "field `small`: expected an integer, got `true`"),
        (r#"{"data":"%"}"#, "field `data`: expected base64 text, got `%`"),
        (r#"{"name":123456789012345678901}"#, {
            "field `name`: expected a string, got the number `123456789012345680000`, put it in quotes"
        }),
        ("[]", "expected an object, got a list"),
        ("5", "expected an object, got `5`"),
        (r#"{"nothing":{"a":1}}"#, "field `nothing`: unknown field `a` of `Empty`, which has none"),
        (r#""abc""#, "expected an object, got `abc`"),
    ]);
}

#[test]
fn an_unknown_field_is_refused_with_a_suggestion() {
    refuses(&[
        (r#"{"nmae":1}"#, "unknown field `nmae`, did you mean `name`?"),
        (r#"{"address":{"zpi":1}}"#, "unknown field `address.zpi`, did you mean `zip`?"),
        (r#"{"stops":[{"city":1}]}"#, "unknown field `stops[0].city` of `Address`"),
    ]);
    assert!(refusal(&format!(r#"{{"{}":1}}"#, "x".repeat(10_000))).len() < 200);
}

#[test]
fn two_members_of_a_oneof_are_refused() {
    refuses(&[(r#"{"card":"a","cash":1}"#, "field `cash`: only one of `cash` and `card` may be set")]);
    reads(&[
        (r#"{"card":"a","cash":null}"#, json!({"card": "a"})),
        (r#"{"card":"a","card":"b"}"#, json!({"card": "b"})),
    ]);
}

#[test]
fn of_a_name_given_twice_the_last_counts() {
    reads(&[
        (r#"{"small":1,"small":2}"#, json!({"small": 2})),
        (r#"{"small":1,"small":null}"#, json!({})),
        (r#"{"is_paid":true,"isPaid":false}"#, json!({})),
        (r#"{"address":{"zip":1},"address":{"street":"a"}}"#, json!({"address": {"street": "a"}})),
        (r#"{"labels":{"a":"1","a":"2"}}"#, json!({"labels": {"a": "2"}})),
    ]);
}

#[test]
fn well_known_types_have_their_own_forms() {
    reads(&[
        (r#"{"at":"2006-01-02T15:04:05.5Z"}"#, json!({"at": "2006-01-02T15:04:05.500Z"})),
        (r#"{"took":"1.5s"}"#, json!({"took": "1.500s"})),
        (r#"{"mask":"user.displayName,photo"}"#, json!({"mask": "user.displayName,photo"})),
        (r#"{"value":[1,"a",null]}"#, json!({"value": [1, "a", null]})),
        (r#"{"value":null}"#, json!({"value": null})),
        (r#"{"list":[true]}"#, json!({"list": [true]})),
        (r#"{"wrapped_bytes":"aGk="}"#, json!({"wrapped_bytes": "aGk="})),
        (r#"{"any":{"@type":"type.googleapis.com/shop.Address","zip":5}}"#, {
            json!({"any": {"@type": "type.googleapis.com/shop.Address", "zip": 5}})
        }),
    ]);
    refuses(&[
        (r#"{"at":"yesterday"}"#, {
            "field `at`: expected a time such as `2006-01-02T15:04:05Z`, got `yesterday`"
        }),
        (r#"{"took":5}"#, "field `took`: expected a duration such as `1.5s`, got `5`"),
        (r#"{"object":[1]}"#, "field `object`: expected an object, got a list"),
        (r#"{"wrapped":"x"}"#, "field `wrapped`: expected an integer, got `x`"),
        (r#"{"times":["x"]}"#, {
            "field `times[0]`: expected a time such as `2006-01-02T15:04:05Z`, got `x`"
        }),
        (r#"{"any":{"@type":"a/shop.Nothing"}}"#, {
            "field `any`: expected an object with `@type`: message 'shop.Nothing' not found; of a type that is \
             not known here only the bytes can be passed on, as base64 under `@value`"
        }),
    ]);
    let time = message("google.protobuf.Timestamp");
    assert!(!to_protobuf(&time, br#""2006-01-02T15:04:05Z""#).unwrap().is_empty());
    assert_eq!(&to_protobuf(&message("google.protobuf.Int64Value"), b"5").unwrap()[..], [8, 5]);
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        r#"{"name":"\ud800"}"#,
        r#"{"price":NaN}"#,
        r#"{"price":1e400}"#,
        "{} {}",
        r#"{"name":"a"} x"#,
        r#"{"name":"a""#,
        r"{'name':1}",
        r#"{"small":01}"#,
        "{,}",
    ] {
        assert!(refusal(text).starts_with("not valid JSON: "), "{text}: {}", refusal(text));
    }
    assert!(to_protobuf(&order(), b"{\"name\":\"\xff\"}").is_err());
    let inner = refusal(r#"{"address":"{zip}"}"#);
    assert!(inner.starts_with("field `address`: not valid JSON in the text: "), "{inner}");
}

#[test]
fn nesting_without_end_is_refused() {
    const LEVELS: usize = 100_000;
    for (open, close) in [
        (r#"{"child":"#, "}"),
        ("[", "]"),
        (r#"{"value":["#, "]}"),
        (r#"{"object":{"a":"#, "}}"),
        (r#"{"any":{"@type":"a/shop.Order","child":"#, "}}"),
    ] {
        assert!(to_protobuf(&order(), open.repeat(LEVELS).as_bytes()).is_err());
        let whole = format!("{}{{}}{}", open.repeat(LEVELS), close.repeat(LEVELS));
        assert!(to_protobuf(&order(), whole.as_bytes()).is_err());
    }
    for open in ["", r#"{"value":"#, r#"{"list":"#] {
        let brackets = format!("{open}{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
        assert!(to_protobuf(&order(), brackets.as_bytes()).is_err());
    }
    let deep = format!("{}{}", r#"{"child":"#.repeat(110), "}".repeat(110));
    assert_eq!(refusal(&deep.replace(":}", ":{}}")), "nested deeper than 100 levels");
}

#[test]
fn a_value_without_end_is_refused_and_freed() {
    for name in ["child", "value", "object", "unknown"] {
        let deep = (0..100_000).fold(json!({}), |inner, _| {
            let mut object = serde_json::Map::new();
            object.insert(name.to_owned(), inner);
            Value::Object(object)
        });
        assert_eq!(value_to_protobuf(&order(), deep).unwrap_err().0, "nested deeper than 100 levels");
    }
}

#[test]
fn text_within_text_counts_as_nesting() {
    let mut json = r#"{"name":"innermost"}"#.to_owned();
    for _ in 0..8 {
        json = json!({ "child": json }).to_string();
    }
    assert!(to_protobuf(&order(), json.as_bytes()).is_ok());
    let mut json = format!("{}{{}}{}", r#"{"child":"#.repeat(60), "}".repeat(60));
    json = format!("{}{}{}", r#"{"child":"#.repeat(60), json!(json), "}".repeat(60));
    assert_eq!(refusal(&json), "nested deeper than 100 levels");
}

#[test]
fn a_value_reads_as_its_text_does() {
    let json = json!({"isPaid": "true", "ids": "1,2", "address": {"zip": "7"}, "labels": {"a": 1}});
    assert_eq!(
        value_to_protobuf(&order(), json.clone()).unwrap(),
        to_protobuf(&order(), json.to_string().as_bytes()).unwrap()
    );
    let refused = value_to_protobuf(&order(), json!({"address": {"zip": {}}})).unwrap_err();
    assert_eq!(refused.0, "field `address.zip`: expected an integer, got an object");
}
