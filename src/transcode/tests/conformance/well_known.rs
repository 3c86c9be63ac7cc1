//! The cases of the suite for the types that JSON writes in a form of their own.

use super::{all, reads, refuses, to_json};
use prost::Message as _;
use serde_json::{Value, json};

#[test]
fn wrappers_and_durations() {
    let duration = |text: &str| json!({"optional_duration": text});
    reads(&[
        ("OptionalBoolWrapper", r#""optionalBoolWrapper":false"#, json!({"optional_bool_wrapper": false})),
        ("OptionalInt32Wrapper", r#""optionalInt32Wrapper":0"#, json!({"optional_int32_wrapper": 0})),
        ("OptionalUint64Wrapper", r#""optionalUint64Wrapper":0"#, json!({"optional_uint64_wrapper": "0"})),
        ("OptionalFloatWrapper", r#""optionalFloatWrapper":0"#, json!({"optional_float_wrapper": 0})),
        ("OptionalDoubleWrapper", r#""optionalDoubleWrapper":0"#, json!({"optional_double_wrapper": 0})),
        ("OptionalStringWrapper", r#""optionalStringWrapper":"""#, json!({"optional_string_wrapper": ""})),
        (
            "OptionalBytesWrapper",
            r#""optionalBytesWrapper":"AQI=""#,
            json!({"optional_bytes_wrapper": "AQI="}),
        ),
        (
            "RepeatedBoolWrapper",
            r#""repeatedBoolWrapper":[true,false]"#,
            json!({"repeated_bool_wrapper": [true, false]}),
        ),
        (
            "RepeatedInt64Wrapper",
            r#""repeatedInt64Wrapper":[0,1]"#,
            json!({"repeated_int64_wrapper": ["0", "1"]}),
        ),
        (
            "RepeatedDoubleWrapper",
            r#""repeatedDoubleWrapper":[0,1]"#,
            json!({"repeated_double_wrapper": [0, 1]}),
        ),
        ("RepeatedStringWrapper", r#""repeatedStringWrapper":["","AQI="]"#, {
            json!({"repeated_string_wrapper": ["", "AQI="]})
        }),
        (
            "DurationMinValue",
            r#""optionalDuration":"-315576000000.999999999s""#,
            duration("-315576000000.999999999s"),
        ),
        (
            "DurationMaxValue",
            r#""optionalDuration":"315576000000.999999999s""#,
            duration("315576000000.999999999s"),
        ),
        ("DurationRepeatedValue", r#""repeatedDuration":["1.5s","-1.5s"]"#, {
            json!({"repeated_duration": ["1.500s", "-1.500s"]})
        }),
        ("DurationNegativeSeconds", r#""optionalDuration":"-5s""#, duration("-5s")),
        ("DurationNegativeNanos", r#""optionalDuration":"-0.5s""#, duration("-0.500s")),
        ("DurationHasZeroFractionalDigit", r#""optionalDuration":"1.000000000s""#, duration("1s")),
        ("DurationHas3FractionalDigits", r#""optionalDuration":"1.010000000s""#, duration("1.010s")),
        ("DurationHas6FractionalDigits", r#""optionalDuration":"1.000010000s""#, duration("1.000010s")),
        ("DurationHas9FractionalDigits", r#""optionalDuration":"1.000000010s""#, duration("1.000000010s")),
    ]);
    refuses(&[
        ("DurationMissingS", r#""optionalDuration":"1""#),
        ("DurationJsonInputTooSmall", r#""optionalDuration":"-315576000001.000000000s""#),
        ("DurationJsonInputTooLarge", r#""optionalDuration":"315576000001.000000000s""#),
    ]);
}

#[test]
fn times_and_masks() {
    let time = |text: &str| json!({"optional_timestamp": text});
    reads(&[
        ("TimestampMinValue", r#""optionalTimestamp":"0001-01-01T00:00:00Z""#, time("0001-01-01T00:00:00Z")),
        ("TimestampMaxValue", r#""optionalTimestamp":"9999-12-31T23:59:59.999999999Z""#, {
            time("9999-12-31T23:59:59.999999999Z")
        }),
        (
            "TimestampEpochValue",
            r#""optionalTimestamp":"1970-01-01T00:00:00.000Z""#,
            time("1970-01-01T00:00:00Z"),
        ),
        ("TimestampLittleBeforeEpochValue", r#""optionalTimestamp":"1969-12-31T23:59:58.999999999Z""#, {
            time("1969-12-31T23:59:58.999999999Z")
        }),
        (
            "TimestampTenAndHalfSecondsBeforeEpochValue",
            r#""optionalTimestamp":"1969-12-31T23:59:49.500Z""#,
            { time("1969-12-31T23:59:49.500Z") },
        ),
        (
            "TimestampWithPositiveOffset",
            r#""optionalTimestamp":"1970-01-01T08:00:01+08:00""#,
            time("1970-01-01T00:00:01Z"),
        ),
        (
            "TimestampWithNegativeOffset",
            r#""optionalTimestamp":"1969-12-31T16:00:01-08:00""#,
            time("1970-01-01T00:00:01Z"),
        ),
        ("TimestampHas3FractionalDigits", r#""optionalTimestamp":"1970-01-01T00:00:00.010000000Z""#, {
            time("1970-01-01T00:00:00.010Z")
        }),
        ("TimestampHas6FractionalDigits", r#""optionalTimestamp":"1970-01-01T00:00:00.000010000Z""#, {
            time("1970-01-01T00:00:00.000010Z")
        }),
        (
            "TimestampJsonInputLeapFeb29",
            r#""optionalTimestamp":"2000-02-29T00:00:00Z""#,
            time("2000-02-29T00:00:00Z"),
        ),
        (
            "TimestampWithOffsetShiftsDay",
            r#""optionalTimestamp":"1970-01-02T01:00:00+02:00""#,
            time("1970-01-01T23:00:00Z"),
        ),
        ("TimestampWithOffsetBoundaryInBoundsMin", r#""optionalTimestamp":"0001-01-01T00:00:00-00:01""#, {
            time("0001-01-01T00:01:00Z")
        }),
        (
            "TimestampWithComplexOffset",
            r#""optionalTimestamp":"1970-01-01T00:00:00-11:30""#,
            time("1970-01-01T11:30:00Z"),
        ),
        ("FieldMask", r#""optionalFieldMask":"foo,barBaz""#, json!({"optional_field_mask": "foo,barBaz"})),
        ("EmptyFieldMask", r#""optionalFieldMask":"""#, json!({"optional_field_mask": ""})),
    ]);
    refuses(&[
        ("TimestampJsonInputTooSmall", r#""optionalTimestamp":"0000-01-01T00:00:00Z""#),
        ("TimestampJsonInputTooLarge", r#""optionalTimestamp":"10000-01-01T00:00:00Z""#),
        ("TimestampJsonInputMissingZ", r#""optionalTimestamp":"0001-01-01T00:00:00""#),
        ("TimestampJsonInputMissingT", r#""optionalTimestamp":"0001-01-01 00:00:00Z""#),
        ("TimestampJsonInputLowercaseZ", r#""optionalTimestamp":"0001-01-01T00:00:00z""#),
        ("TimestampJsonInputLowercaseT", r#""optionalTimestamp":"0001-01-01t00:00:00Z""#),
        ("TimestampWithMissingColonInOffset", r#""optionalTimestamp":"1970-01-01T08:00:01+0800""#),
        ("TimestampJsonInputMonthTooLarge", r#""optionalTimestamp":"1970-13-01T00:00:00Z""#),
        ("TimestampJsonInputDayZero", r#""optionalTimestamp":"1970-01-00T00:00:00Z""#),
        ("TimestampJsonInputHourTooLarge", r#""optionalTimestamp":"1970-01-01T24:00:00Z""#),
        ("TimestampJsonInputMinuteTooLarge", r#""optionalTimestamp":"1970-01-01T00:60:00Z""#),
        ("TimestampJsonInputSecondTooLarge", r#""optionalTimestamp":"1970-01-01T00:00:60Z""#),
        ("TimestampJsonInputInvalidOffsetHour", r#""optionalTimestamp":"1970-01-01T00:00:00+24:00""#),
        ("TimestampJsonInputInvalidOffsetMinute", r#""optionalTimestamp":"1970-01-01T00:00:00+00:60""#),
        ("TimestampJsonInputOffsetBoundaryUnderflow", r#""optionalTimestamp":"0001-01-01T00:00:00+00:01""#),
        ("TimestampJsonInputOffsetBoundaryOverflow", r#""optionalTimestamp":"9999-12-31T23:59:59-00:01""#),
        ("TimestampJsonInputInvalidNanos", r#""optionalTimestamp":"1970-01-01T00:00:00.1234567890Z""#),
        ("TimestampJsonInputInvalidCharsInNanos", r#""optionalTimestamp":"1970-01-01T00:00:00.123aZ""#),
        ("TimestampJsonInputYearTooShort", r#""optionalTimestamp":"999-01-01T00:00:00Z""#),
        ("TimestampJsonInputMonthTooShort", r#""optionalTimestamp":"1970-1-01T00:00:00Z""#),
        ("TimestampJsonInputNonLeapFeb29", r#""optionalTimestamp":"2001-02-29T00:00:00Z""#),
        ("FieldMaskInvalidCharacter", r#""optionalFieldMask":"foo,bar_bar""#),
    ]);
}

#[test]
fn free_form_values_and_packed_messages() {
    let deep =
        |open: &str, levels: usize, close: &str| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let whole = r#""nullValue":null,"intValue":1234,"boolValue":true,"doubleValue":1234.5678,"stringValue":"Hello world!","listValue":[1234,"5678"],"objectValue":{"value":0}"#;
    let structure: Value = serde_json::from_str(&format!("{{{whole}}}")).unwrap();
    let any = |name: &str, value: &str| {
        format!(r#""optionalAny":{{"@type":"type.googleapis.com/google.protobuf.{name}","value":{value}}}"#)
    };
    let packed = |name: &str, value: Value| json!({"optional_any": {"@type": format!("type.googleapis.com/google.protobuf.{name}"), "value": value}});
    reads(&[
        ("Struct", &format!(r#""optionalStruct":{{{whole}}}"#), json!({"optional_struct": structure})),
        ("StructWithEmptyListValue", r#""optionalStruct":{"listValue":[]}"#, {
            json!({"optional_struct": {"listValue": []}})
        }),
        ("ValueAcceptInteger", r#""optionalValue":1"#, json!({"optional_value": 1})),
        ("ValueAcceptFloat", r#""optionalValue":1.5"#, json!({"optional_value": 1.5})),
        ("ValueAcceptBool", r#""optionalValue":false"#, json!({"optional_value": false})),
        ("ValueAcceptNull", r#""optionalValue":null"#, json!({"optional_value": null})),
        ("ValueAcceptString", r#""optionalValue":"hello""#, json!({"optional_value": "hello"})),
        ("ValueAcceptList", r#""optionalValue":[0,"hello"]"#, json!({"optional_value": [0, "hello"]})),
        ("ValueAcceptObject", r#""optionalValue":{"value":1}"#, json!({"optional_value": {"value": 1}})),
        ("RepeatedValue", r#""repeatedValue":[["a"]]"#, json!({"repeated_value": [["a"]]})),
        ("RepeatedListValue", r#""repeatedListValue":[["a"]]"#, json!({"repeated_list_value": [["a"]]})),
        ("ListValueDeepNesting25", &format!(r#""optionalValue":{}"#, deep("[", 25, "]")), {
            let nested: Value = serde_json::from_str(&deep("[", 25, "]")).unwrap();
            json!({"optional_value": nested})
        }),
        ("StructDeepNesting25", &format!(r#""optionalStruct":{}"#, deep(r#"{"n":"#, 25, "}")), {
            let nested: Value = serde_json::from_str(&deep(r#"{"n":"#, 25, "}")).unwrap();
            json!({"optional_struct": nested})
        }),
        ("AnyNested", &any("Any", r#"{"@type":"type.googleapis.com/suite.All.Nested","a":12345}"#), {
            packed("Any", json!({"@type": "type.googleapis.com/suite.All.Nested", "a": 12345}))
        }),
        (
            "AnyUnorderedTypeTag",
            r#""optionalAny":{"a":12345,"@type":"type.googleapis.com/suite.All.Nested"}"#,
            { json!({"optional_any": {"@type": "type.googleapis.com/suite.All.Nested", "a": 12345}}) },
        ),
        ("AnyWithInt32ValueWrapper", &any("Int32Value", "12345"), packed("Int32Value", json!(12345))),
        ("AnyWithDuration", &any("Duration", r#""1.5s""#), packed("Duration", json!("1.500s"))),
        ("AnyWithTimestamp", &any("Timestamp", r#""1970-01-01T00:00:00Z""#), {
            packed("Timestamp", json!("1970-01-01T00:00:00Z"))
        }),
        ("AnyWithFieldMask", &any("FieldMask", r#""foo,barBaz""#), packed("FieldMask", json!("foo,barBaz"))),
        ("AnyWithStruct", &any("Struct", r#"{"foo":1}"#), packed("Struct", json!({"foo": 1}))),
        ("AnyWithValueForJsonObject", &any("Value", r#"{"foo":1}"#), packed("Value", json!({"foo": 1}))),
        ("AnyWithValueForInteger", &any("Value", "1"), packed("Value", json!(1))),
        ("AnyWithNoType", r#""optionalAny":{}"#, json!({"optional_any": {}})),
        ("AnyNull", r#""optionalAny":null"#, json!({})),
    ]);
    refuses(&[
        ("StructDeepNesting200", &format!(r#""optionalStruct":{}"#, deep(r#"{"n":"#, 200, "}"))),
        ("ListValueDeepNesting200", &format!(r#""optionalValue":{}"#, deep("[", 200, "]"))),
        ("AnyWktRepresentationWithEmptyTypeAndValue", r#""optionalAny":{"@type":"","value":""}"#),
        ("AnyWktRepresentationWithBadType", r#""optionalAny":{"@type":"not_a_url","value":""}"#),
    ]);
}

/// A message with one field of type Timestamp, Duration, `FieldMask` or Value.
fn with(field: &str, content: &[u8]) -> Vec<u8> {
    let number = all().get_field_by_name(field).unwrap().number();
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(number, &content.to_vec(), &mut bytes);
    bytes
}

#[test]
fn what_has_no_json_is_refused_when_it_is_written() {
    let seconds = |seconds: i64, nanos: i32| prost_types::Timestamp { seconds, nanos }.encode_to_vec();
    let mask = |path: &str| prost_types::FieldMask { paths: vec![path.to_owned()] }.encode_to_vec();
    let number = |number: f64| {
        prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(number)) }.encode_to_vec()
    };
    for (case, field, content) in [
        ("DurationProtoInputTooSmall", "optional_duration", seconds(-315_576_000_001, 0)),
        ("DurationProtoInputTooLarge", "optional_duration", seconds(315_576_000_001, 0)),
        ("DurationProtoNanosWrongSign", "optional_duration", seconds(1, -1)),
        ("DurationProtoNanosWrongSignNegativeSecs", "optional_duration", seconds(-1, 1)),
        ("DurationProtoNanosTooSmall", "optional_duration", seconds(-1, -1_000_000_000)),
        ("DurationProtoNanosTooLarge", "optional_duration", seconds(1, 1_000_000_000)),
        ("TimestampProtoInputTooSmall", "optional_timestamp", seconds(-62_135_596_801, 0)),
        ("TimestampProtoInputTooLarge", "optional_timestamp", seconds(253_402_300_800, 0)),
        ("TimestampProtoNegativeNanos", "optional_timestamp", seconds(5000, -1)),
        ("TimestampProtoNanoTooLarge", "optional_timestamp", seconds(5000, 1_000_000_000)),
        ("FieldMaskPathsDontRoundTrip", "optional_field_mask", mask("fooBar")),
        ("FieldMaskNumbersDontRoundTrip", "optional_field_mask", mask("foo_3_bar")),
        ("FieldMaskTooManyUnderscore", "optional_field_mask", mask("foo__bar")),
        ("ValueRejectNanNumberValue", "optional_value", number(f64::NAN)),
        ("ValueRejectInfNumberValue", "optional_value", number(f64::INFINITY)),
    ] {
        let refused = to_json(&all(), &with(field, &content)).unwrap_err();
        assert!(refused.0.contains(&format!("field `{field}`")), "{case}: {refused}");
    }
}
