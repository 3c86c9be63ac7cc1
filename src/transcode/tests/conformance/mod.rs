//! The cases of protobuf's conformance suite for JSON, under its names, over a schema with the fields that
//! they use. Where the answer differs from the suite's, the case stands under `LENIENT`, or in the test of
//! what is written differently; docs/wire.md lists the reasons.

mod scalars;
mod well_known;

use super::{Invalid, pool, to_json, to_protobuf};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use std::sync::LazyLock;

const SCHEMA: &str = r#"
    syntax = "proto3";
    package suite;
    import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";

    message All {
        message Nested { int32 a = 1; }
        enum NestedEnum { FOO = 0; BAR = 1; BAZ = 2; NEG = -1; }
        enum Aliased { option allow_alias = true; ALIAS_FOO = 0; ALIAS_BAR = 1; ALIAS_BAZ = 2; MOO = 2; moo = 2; bAz = 2; }

        int32 optional_int32 = 1;
        int64 optional_int64 = 2;
        uint32 optional_uint32 = 3;
        uint64 optional_uint64 = 4;
        float optional_float = 11;
        double optional_double = 12;
        bool optional_bool = 13;
        string optional_string = 14;
        bytes optional_bytes = 15;
        Nested optional_nested_message = 18;
        NestedEnum optional_nested_enum = 21;
        Aliased optional_aliased_enum = 23;
        repeated int32 repeated_int32 = 31;
        repeated string repeated_string = 44;
        repeated bytes repeated_bytes = 45;
        repeated Nested repeated_nested_message = 48;
        repeated NestedEnum repeated_nested_enum = 51;
        map<int32, int32> map_int32_int32 = 56;
        map<uint32, uint32> map_uint32_uint32 = 57;
        map<int64, int64> map_int64_int64 = 58;
        map<uint64, uint64> map_uint64_uint64 = 59;
        map<bool, bool> map_bool_bool = 68;
        map<string, Nested> map_string_nested_message = 71;
        map<string, NestedEnum> map_string_nested_enum = 73;
        oneof oneof_field {
            uint32 oneof_uint32 = 111;
            Nested oneof_nested_message = 112;
            string oneof_string = 113;
            bytes oneof_bytes = 114;
            bool oneof_bool = 115;
            uint64 oneof_uint64 = 116;
            float oneof_float = 117;
            double oneof_double = 118;
            NestedEnum oneof_enum = 119;
            google.protobuf.NullValue oneof_null_value = 120;
        }
        google.protobuf.BoolValue optional_bool_wrapper = 201;
        google.protobuf.Int32Value optional_int32_wrapper = 202;
        google.protobuf.Int64Value optional_int64_wrapper = 203;
        google.protobuf.UInt32Value optional_uint32_wrapper = 204;
        google.protobuf.UInt64Value optional_uint64_wrapper = 205;
        google.protobuf.FloatValue optional_float_wrapper = 206;
        google.protobuf.DoubleValue optional_double_wrapper = 207;
        google.protobuf.StringValue optional_string_wrapper = 208;
        google.protobuf.BytesValue optional_bytes_wrapper = 209;
        repeated google.protobuf.BoolValue repeated_bool_wrapper = 211;
        repeated google.protobuf.Int64Value repeated_int64_wrapper = 213;
        repeated google.protobuf.DoubleValue repeated_double_wrapper = 217;
        repeated google.protobuf.StringValue repeated_string_wrapper = 218;
        repeated google.protobuf.BytesValue repeated_bytes_wrapper = 219;
        google.protobuf.Duration optional_duration = 301;
        google.protobuf.Timestamp optional_timestamp = 302;
        google.protobuf.FieldMask optional_field_mask = 303;
        google.protobuf.Struct optional_struct = 304;
        google.protobuf.Any optional_any = 305;
        google.protobuf.Value optional_value = 306;
        google.protobuf.NullValue optional_null_value = 307;
        repeated google.protobuf.Duration repeated_duration = 311;
        repeated google.protobuf.Timestamp repeated_timestamp = 312;
        repeated google.protobuf.Value repeated_value = 316;
        repeated google.protobuf.ListValue repeated_list_value = 317;
        int32 fieldname1 = 401;
        int32 field_name2 = 402;
        int32 _field_name3 = 403;
        int32 field__name4_ = 404;
        int32 field0name5 = 405;
        int32 field_0_name6 = 406;
        int32 fieldName7 = 407;
        int32 FieldName8 = 408;
        int32 field_Name9 = 409;
        int32 Field_Name10 = 410;
        int32 FIELD_NAME11 = 411;
        int32 FIELD_name12 = 412;
        int32 __field_name13 = 413;
        int32 __Field_name14 = 414;
        int32 field__name15 = 415;
        int32 field__Name16 = 416;
        int32 field_name17__ = 417;
        int32 Field_name18__ = 418;
        reserved "reserved_field";
    }
"#;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| pool(SCHEMA));

fn all() -> MessageDescriptor {
    POOL.get_message_by_name("suite.All").unwrap()
}

/// The fields that are set after reading `json`, in JSON again.
fn set(json: &str) -> Result<Value, Invalid> {
    let protobuf = to_protobuf(&all(), json.as_bytes())?;
    let message = DynamicMessage::decode(all(), protobuf.clone()).unwrap();
    let mut written: Value = serde_json::from_slice(&to_json(&all(), &protobuf)?).unwrap();
    let fields = written.as_object_mut().unwrap();
    fields.retain(|name, _| message.has_field_by_name(name));
    Ok(written)
}

/// Reads each object whose members are `members`.
fn reads(cases: &[(&str, &str, Value)]) {
    for (case, members, meant) in cases {
        let json = format!("{{{members}}}");
        assert_eq!(set(&json).as_ref(), Ok(meant), "{case}: {json}");
    }
}

fn refuses(cases: &[(&str, &str)]) {
    for (case, members) in cases {
        let json = format!("{{{members}}}");
        assert!(to_protobuf(&all(), json.as_bytes()).is_err(), "{case}: {json}");
    }
}

#[test]
fn names_are_read_in_both_styles() {
    reads(&[
        ("HelloWorld", r#""optionalString":"Hello, World!""#, json!({"optional_string": "Hello, World!"})),
        ("FieldNameInSnakeCase", r#""fieldname1":1,"fieldName2":2,"FieldName3":3,"fieldName4":4"#, {
            json!({"fieldname1": 1, "field_name2": 2, "_field_name3": 3, "field__name4_": 4})
        }),
        ("FieldNameWithNumbers", r#""field0name5":5,"field0Name6":6"#, {
            json!({"field0name5": 5, "field_0_name6": 6})
        }),
        (
            "FieldNameWithMixedCases",
            r#""fieldName7":7,"FieldName8":8,"fieldName9":9,"FieldName10":10,"FIELDNAME11":11,"FIELDName12":12"#,
            json!({"fieldName7": 7, "FieldName8": 8, "field_Name9": 9, "Field_Name10": 10,
                "FIELD_NAME11": 11, "FIELD_name12": 12}),
        ),
        (
            "FieldNameWithDoubleUnderscores",
            r#""FieldName13":13,"FieldName14":14,"fieldName15":15,"fieldName16":16,"fieldName17":17,"FieldName18":18"#,
            json!({"__field_name13": 13, "__Field_name14": 14, "field__name15": 15, "field__Name16": 16,
                "field_name17__": 17, "Field_name18__": 18}),
        ),
        ("OriginalProtoFieldName", r#""__field_name13":13,"FIELD_name12":12,"field__name4_":4"#, {
            json!({"field__name4_": 4, "FIELD_name12": 12, "__field_name13": 13})
        }),
        ("FieldNameEscaped", r#""fieldn\u0061me1":1"#, json!({"fieldname1": 1})),
        ("OneLineWithSpaces", r#" "optionalInt32" : 1 , "optionalInt64" : 2 "#, {
            json!({"optional_int32": 1, "optional_int64": "2"})
        }),
        ("MultilineNoSpaces", "\n\"optionalInt32\"\n:\n1\n,\n\"optionalInt64\"\n:\n2\n", {
            json!({"optional_int32": 1, "optional_int64": "2"})
        }),
        ("FieldNameDuplicate", r#""optionalNestedMessage":{"a":1},"optionalNestedMessage":{}"#, {
            json!({"optional_nested_message": {"a": 0}})
        }),
        (
            "FieldNameDuplicateDifferentCasing1",
            { r#""optional_nested_message":{"a":1},"optionalNestedMessage":{}"# },
            json!({"optional_nested_message": {"a": 0}}),
        ),
    ]);
    refuses(&[
        ("StringEndsWithEscapeChar", r#""optionalString":"abc\"#),
        ("FieldNameNotQuoted", "fieldname1: 1"),
        ("TrailingCommaInAnObject", r#""fieldname1":1,"#),
        ("TrailingCommaInAnObjectWithSpaceCommaSpace", r#""fieldname1":1 , "#),
        ("JsonWithComments", "// Comment.\n\"fieldname1\": 1"),
        ("MissingCommaOneLine", r#""optionalInt32": 1 "optionalInt64": 2"#),
        ("RejectReservedFieldName", r#""reserved_field":1"#),
        ("StringFieldSingleQuoteKey", r#"'optionalString': "a""#),
        ("StringFieldSingleQuoteValue", r#""optionalString": 'a'"#),
    ]);
}

#[test]
fn messages_oneofs_maps_and_lists() {
    reads(&[
        (
            "MessageField",
            r#""optionalNestedMessage":{"a":1234}"#,
            json!({"optional_nested_message": {"a": 1234}}),
        ),
        (
            "OneofFieldNullFirst",
            r#""oneofUint32":null,"oneofString":"test""#,
            json!({"oneof_string": "test"}),
        ),
        (
            "OneofFieldNullSecond",
            r#""oneofString":"test","oneofUint32":null"#,
            json!({"oneof_string": "test"}),
        ),
        ("OneofZeroUint32", r#""oneofUint32":0"#, json!({"oneof_uint32": 0})),
        ("OneofZeroMessage", r#""oneofNestedMessage":{}"#, json!({"oneof_nested_message": {"a": 0}})),
        ("OneofZeroString", r#""oneofString":"""#, json!({"oneof_string": ""})),
        ("OneofZeroBytes", r#""oneofBytes":"""#, json!({"oneof_bytes": ""})),
        ("OneofZeroBool", r#""oneofBool":false"#, json!({"oneof_bool": false})),
        ("OneofZeroUint64", r#""oneofUint64":0"#, json!({"oneof_uint64": "0"})),
        ("OneofZeroFloat", r#""oneofFloat":0.0"#, json!({"oneof_float": 0})),
        ("OneofZeroDouble", r#""oneofDouble":0.0"#, json!({"oneof_double": 0})),
        ("OneofZeroEnum", r#""oneofEnum":"FOO""#, json!({"oneof_enum": "FOO"})),
        (
            "NullValueInOtherOneofOldFormat",
            r#""oneofNullValue":"NULL_VALUE""#,
            json!({"oneof_null_value": null}),
        ),
        ("NullValueInOtherOneofNewFormat", r#""oneofNullValue":null"#, json!({"oneof_null_value": null})),
        ("NullValueInNormalMessage", r#""optionalNullValue":null"#, json!({})),
        ("Int32MapField", r#""mapInt32Int32":{"1":2,"3":4}"#, json!({"map_int32_int32": {"1": 2, "3": 4}})),
        (
            "Uint64MapField",
            r#""mapUint64Uint64":{"1":2,"3":4}"#,
            json!({"map_uint64_uint64": {"1": "2", "3": "4"}}),
        ),
        ("BoolMapField", r#""mapBoolBool":{"true":true,"false":false}"#, {
            json!({"map_bool_bool": {"false": false, "true": true}})
        }),
        ("MessageMapField", r#""mapStringNestedMessage":{"hello":{"a":1234},"world":{"a":5678}}"#, {
            json!({"map_string_nested_message": {"hello": {"a": 1234}, "world": {"a": 5678}}})
        }),
        ("Int32MapEscapedKey", r#""mapInt32Int32":{"\u0031":2}"#, json!({"map_int32_int32": {"1": 2}})),
        (
            "BoolMapEscapedKey",
            r#""mapBoolBool":{"tr\u0075e":true}"#,
            json!({"map_bool_bool": {"true": true}}),
        ),
        ("PrimitiveRepeatedField", r#""repeatedInt32":[1,2,3,4]"#, json!({"repeated_int32": [1, 2, 3, 4]})),
        ("EnumRepeatedField", r#""repeatedNestedEnum":["FOO","BAR","BAZ"]"#, {
            json!({"repeated_nested_enum": ["FOO", "BAR", "BAZ"]})
        }),
        (
            "StringRepeatedField",
            r#""repeatedString":["Hello","world"]"#,
            json!({"repeated_string": ["Hello", "world"]}),
        ),
        (
            "BytesRepeatedField",
            r#""repeatedBytes":["AAEC","AQI="]"#,
            json!({"repeated_bytes": ["AAEC", "AQI="]}),
        ),
        ("MessageRepeatedField", r#""repeatedNestedMessage":[{"a":1234},{"a":5678}]"#, {
            json!({"repeated_nested_message": [{"a": 1234}, {"a": 5678}]})
        }),
    ]);
    let every: String = all()
        .fields()
        .filter(|field| field.name() != "optional_value" && field.name() != "oneof_null_value")
        .map(|field| format!("{:?}:null,", field.json_name()))
        .collect();
    reads(&[("AllFieldAcceptNull", every.trim_end_matches(','), json!({}))]);
    refuses(&[
        ("Int32MapFieldKeyNotQuoted", r#""mapInt32Int32":{1:2,3:4}"#),
        ("BoolMapFieldKeyNotQuoted", r#""mapBoolBool":{true:true}"#),
        ("MapFieldKeyIsNull", r#""mapInt32Int32":{null:1}"#),
        ("OneofFieldDuplicate", r#""oneofUint32":1,"oneofString":"test""#),
        ("RepeatedFieldWrongElementTypeExpectingIntegersGotBool", r#""repeatedInt32":[1,false,3]"#),
        ("RepeatedFieldWrongElementTypeExpectingIntegersGotString", r#""repeatedInt32":[1,"name"]"#),
        ("RepeatedFieldWrongElementTypeExpectingIntegersGotMessage", r#""repeatedInt32":[1,{"a":4}]"#),
        ("RepeatedFieldWrongElementTypeExpectingStringsGotMessage", r#""repeatedString":["1",{"a":4}]"#),
        ("RepeatedFieldWrongElementTypeExpectingMessagesGotInt", r#""repeatedNestedMessage":[{"a":1},2]"#),
        (
            "RepeatedFieldWrongElementTypeExpectingMessagesGotBool",
            r#""repeatedNestedMessage":[{"a":1},false]"#,
        ),
        (
            "RepeatedFieldWrongElementTypeExpectingMessagesGotString",
            r#""repeatedNestedMessage":[{"a":1},"2"]"#,
        ),
        ("SingleValueForRepeatedFieldMessage", r#""repeatedNestedMessage":{"a":1}"#),
        ("RepeatedFieldTrailingComma", r#""repeatedInt32":[1,2,]"#),
        ("RepeatedFieldPrimitiveElementIsNull", r#""repeatedInt32":[1,null,2]"#),
        ("RepeatedFieldMessageElementIsNull", r#""repeatedNestedMessage":[{"a":1},null]"#),
    ]);
}

/// What the suite wants refused and we read: text for any scalar, scalars for text, one value for a list.
#[test]
fn what_is_read_more_leniently_than_the_suite_asks() {
    reads(&[
        ("RejectTopLevelNull", "", json!({})),
        ("StringFieldNotAString", r#""optionalString":12345"#, json!({"optional_string": "12345"})),
        ("BoolFieldIntegerZero", r#""optionalBool":0"#, json!({})),
        ("BoolFieldIntegerOne", r#""optionalBool":1"#, json!({"optional_bool": true})),
        ("BoolFieldDoubleQuotedTrue", r#""optionalBool":"true""#, json!({"optional_bool": true})),
        ("Int32FieldLeadingSpace", r#""optionalInt32":" 1""#, json!({"optional_int32": 1})),
        ("Int32FieldTrailingSpace", r#""optionalInt32":"1 ""#, json!({"optional_int32": 1})),
        ("RepeatedFieldWrongElementTypeExpectingStringsGotInt", r#""repeatedString":["1",2]"#, {
            json!({"repeated_string": ["1", "2"]})
        }),
        ("RepeatedFieldWrongElementTypeExpectingStringsGotBool", r#""repeatedString":["1",false]"#, {
            json!({"repeated_string": ["1", "false"]})
        }),
        ("SingleValueForRepeatedFieldInt32", r#""repeatedInt32":1"#, json!({"repeated_int32": [1]})),
        ("MapFieldValueIsNull", r#""mapInt32Int32":{"0":null}"#, json!({})),
    ]);
    assert!(to_protobuf(&all(), b"null").unwrap().is_empty());
}

/// What we write otherwise: original names, and fields at their defaults.
#[test]
fn what_is_written_otherwise_than_the_suite_asks() {
    let json = to_json(&all(), &to_protobuf(&all(), br#"{"FieldName13":0}"#).unwrap()).unwrap();
    let written: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(written["__field_name13"], json!(0), "FieldNameInLowerCamelCase, SkipsDefaultPrimitive");
    assert!(written.get("FieldName13").is_none());
    let refused = to_protobuf(&all(), br#"{"unknown":1}"#).unwrap_err();
    assert_eq!(refused.0, "unknown field `unknown` of `All`", "IgnoreUnknownJsonNumber");
}
