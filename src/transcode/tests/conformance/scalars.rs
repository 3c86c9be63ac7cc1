//! The cases of the suite for numbers, truth values, texts, bytes and enums.

use super::{all, reads, refuses, to_json};
use serde_json::{Value, json};

#[test]
fn integers() {
    let int32 = |number: i32| json!({"optional_int32": number});
    let int64 = |number: i64| json!({"optional_int64": number.to_string()});
    let uint64 = |number: u64| json!({"optional_uint64": number.to_string()});
    reads(&[
        ("Int32FieldMaxValue", r#""optionalInt32":2147483647"#, int32(i32::MAX)),
        ("Int32FieldMinValue", r#""optionalInt32":-2147483648"#, int32(i32::MIN)),
        ("Uint32FieldMaxValue", r#""optionalUint32":4294967295"#, json!({"optional_uint32": u32::MAX})),
        ("Int64FieldMaxValue", r#""optionalInt64":"9223372036854775807""#, int64(i64::MAX)),
        ("Int64FieldMinValue", r#""optionalInt64":"-9223372036854775808""#, int64(i64::MIN)),
        ("Uint64FieldMaxValue", r#""optionalUint64":"18446744073709551615""#, uint64(u64::MAX)),
        (
            "Int64FieldMaxValueNotQuoted",
            r#""optionalInt64":9223372036854774784"#,
            int64(9_223_372_036_854_774_784),
        ),
        ("Int64FieldMinValueNotQuoted", r#""optionalInt64":-9223372036854775808"#, int64(i64::MIN)),
        ("Uint64FieldMaxValueNotQuoted", r#""optionalUint64":18446744073709549568"#, {
            uint64(18_446_744_073_709_549_568)
        }),
        ("Int32FieldStringValue", r#""optionalInt32":"2147483647""#, int32(i32::MAX)),
        ("Int32FieldStringValueEscaped", r#""optionalInt32":"2\u003147483647""#, int32(i32::MAX)),
        ("Int32FieldStringValueZero", r#""optionalInt32":"0""#, json!({})),
        ("Int32FieldQuotedExponentialValue", r#""optionalInt32":"1e5""#, int32(100_000)),
        ("Int32FieldFloatTrailingZero", r#""optionalInt32":100000.000"#, int32(100_000)),
        ("Int32FieldExponentialFormat", r#""optionalInt32":1e5"#, int32(100_000)),
        ("Int32FieldMaxFloatValue", r#""optionalInt32":2.147483647e9"#, int32(i32::MAX)),
        ("Int32FieldMinFloatValue", r#""optionalInt32":-2.147483648e9"#, int32(i32::MIN)),
        (
            "Uint32FieldMaxFloatValue",
            r#""optionalUint32":4.294967295e9"#,
            json!({"optional_uint32": u32::MAX}),
        ),
        ("Int64FieldBeString", r#""optionalInt64":1"#, json!({"optional_int64": "1"})),
        ("Uint64FieldBeString", r#""optionalUint64":1"#, json!({"optional_uint64": "1"})),
    ]);
    refuses(&[
        ("Int32FieldTooLarge", r#""optionalInt32":2147483648"#),
        ("Int32FieldTooSmall", r#""optionalInt32":-2147483649"#),
        ("Uint32FieldTooLarge", r#""optionalUint32":4294967296"#),
        ("Int64FieldTooLarge", r#""optionalInt64":"9223372036854775808""#),
        ("Int64FieldTooSmall", r#""optionalInt64":"-9223372036854775809""#),
        ("Uint64FieldTooLarge", r#""optionalUint64":"18446744073709551616""#),
        ("Uint64QuotedExponentFieldTooLarge", r#""optionalUint64":"1e536870000""#),
        ("Int32FieldNotInteger", r#""optionalInt32":0.5"#),
        ("Int64FieldNotInteger", r#""optionalInt64":"0.5""#),
        ("Int32FieldTrueValue", r#""optionalInt32":true"#),
        ("Int32FieldStringValuePartiallyNumeric", r#""optionalInt32":"12abc""#),
        ("Int32FieldStringValuePartiallyNumericSpace", r#""optionalInt32":"12 34""#),
        ("Int32FieldStringValuePartiallyNumericComma", r#""optionalInt32":"12,34""#),
        ("Int32FieldStringValuePartiallyNumericUnicode", r#""optionalInt32":"12谷歌34""#),
        ("Int32FieldStringValueNonNumeric", r#""optionalInt32":"abc""#),
        ("Int32FieldEmptyString", r#""optionalInt32":"""#),
        ("Uint64FieldEmptyString", r#""optionalUint64":"""#),
        ("Int32FieldNotNumber", r#""optionalInt32":"3x3""#),
        ("Int32FieldPlusSign", r#""optionalInt32":+1"#),
        ("Int32FieldLeadingZero", r#""optionalInt32":01"#),
        ("Int32FieldNegativeWithLeadingZero", r#""optionalInt32":-01"#),
    ]);
}

#[test]
fn floating_point_numbers() {
    let float = |number: f32| json!({"optional_float": number});
    let double = |number: f64| json!({"optional_double": number});
    reads(&[
        ("FloatFieldMinPositiveValue", r#""optionalFloat":1.175494e-38"#, {
            serde_json::from_str(r#"{"optional_float":1.175494e-38}"#).unwrap()
        }),
        ("FloatFieldMaxPositiveValue", r#""optionalFloat":3.402823e+38"#, {
            serde_json::from_str(r#"{"optional_float":3.402823e38}"#).unwrap()
        }),
        ("FloatFieldQuotedValue", r#""optionalFloat":"1""#, json!({"optional_float": 1})),
        ("FloatFieldNan", r#""optionalFloat":"NaN""#, json!({"optional_float": "NaN"})),
        ("FloatFieldInfinity", r#""optionalFloat":"Infinity""#, json!({"optional_float": "Infinity"})),
        ("FloatFieldNegativeInfinity", r#""optionalFloat":"-Infinity""#, {
            json!({"optional_float": "-Infinity"})
        }),
        ("FloatField", r#""optionalFloat":0.5"#, float(0.5)),
        ("DoubleFieldMinPositiveValue", r#""optionalDouble":2.22507e-308"#, double(2.22507e-308)),
        ("DoubleFieldMaxPositiveValue", r#""optionalDouble":1.79769e+308"#, double(1.79769e308)),
        ("DoubleFieldMinNegativeValue", r#""optionalDouble":-1.79769e+308"#, double(-1.79769e308)),
        ("DoubleFieldQuotedExponentialValue", r#""optionalDouble":"2.22507e-308""#, double(2.22507e-308)),
        ("DoubleFieldNan", r#""optionalDouble":"NaN""#, json!({"optional_double": "NaN"})),
        ("DoubleFieldInfinity", r#""optionalDouble":"Infinity""#, json!({"optional_double": "Infinity"})),
    ]);
    refuses(&[
        ("FloatFieldNanNotQuoted", r#""optionalFloat":NaN"#),
        ("FloatFieldInfinityNotQuoted", r#""optionalFloat":Infinity"#),
        ("FloatFieldNegativeInfinityNotQuoted", r#""optionalFloat":-Infinity"#),
        ("FloatFieldTooSmall", r#""optionalFloat":-3.502823e+38"#),
        ("FloatFieldTooLarge", r#""optionalFloat":3.502823e+38"#),
        ("FloatFieldEmptyString", r#""optionalFloat":"""#),
        ("FloatFieldStringValuePartiallyNumeric", r#""optionalFloat":"12abc""#),
        ("FloatFieldStringValuePartiallyNumericSpace", r#""optionalFloat":"12 34""#),
        ("FloatFieldStringValuePartiallyNumericComma", r#""optionalFloat":"12,34""#),
        ("FloatFieldTrueValue", r#""optionalFloat":true"#),
        ("DoubleFieldNanNotQuoted", r#""optionalDouble":NaN"#),
        ("DoubleFieldTooSmall", r#""optionalDouble":-1.89769e+308"#),
        ("DoubleFieldTooLarge", r#""optionalDouble":1.89769e+308"#),
        ("DoubleFieldEmptyString", r#""optionalDouble":"""#),
        ("DoubleFieldStringValueNonNumeric", r#""optionalDouble":"abc""#),
        ("DoubleFieldFalseValue", r#""optionalDouble":false"#),
    ]);
    for (case, bytes, text) in [
        (
            "FloatFieldNormalizeQuietNan",
            [&b"\x5d"[..], &0x7FA1_2345_u32.to_le_bytes()].concat(),
            "optional_float",
        ),
        (
            "DoubleFieldNormalizeSignalingNan",
            { [&b"\x61"[..], &0xFFFB_CBA9_8765_4321_u64.to_le_bytes()].concat() },
            "optional_double",
        ),
    ] {
        let written: Value = serde_json::from_slice(&to_json(&all(), &bytes).unwrap()).unwrap();
        assert_eq!(written[text], json!("NaN"), "{case}");
    }
}

#[test]
fn truth_values_texts_bytes_and_enums() {
    let text = |text: &str| json!({"optional_string": text});
    let value = |name: &str| json!({"optional_nested_enum": name});
    reads(&[
        ("BoolFieldTrue", r#""optionalBool":true"#, json!({"optional_bool": true})),
        ("BoolFieldFalse", r#""optionalBool":false"#, json!({})),
        ("StringFieldUnicode", r#""optionalString":"谷歌""#, text("谷歌")),
        ("StringFieldEscape", r#""optionalString":"\"\\\/\b\f\n\r\t""#, text("\"\\/\u{8}\u{c}\n\r\t")),
        ("StringFieldUnicodeEscape", r#""optionalString":"\u8C37\u6B4C""#, text("谷歌")),
        ("StringFieldSurrogatePair", r#""optionalString":"\uD83D\uDE01""#, text("\u{1F601}")),
        ("StringFieldEmbeddedNull", r#""optionalString":"Hello\u0000world!""#, text("Hello\0world!")),
        ("BytesField", r#""optionalBytes":"AQI=""#, json!({"optional_bytes": "AQI="})),
        ("BytesFieldBase64Url", r#""optionalBytes":"-_""#, json!({"optional_bytes": "+w=="})),
        ("EnumField", r#""optionalNestedEnum":"BAR""#, value("BAR")),
        ("EnumFieldNumericValueZero", r#""optionalNestedEnum":0"#, json!({})),
        ("EnumFieldNumericValueNonZero", r#""optionalNestedEnum":1"#, value("BAR")),
        ("EnumFieldUnknownValue", r#""optionalNestedEnum":123"#, json!({"optional_nested_enum": 123})),
        (
            "EnumFieldWithAlias",
            r#""optionalAliasedEnum":"ALIAS_BAZ""#,
            json!({"optional_aliased_enum": "ALIAS_BAZ"}),
        ),
        (
            "EnumFieldWithAliasUseAlias",
            r#""optionalAliasedEnum":"MOO""#,
            json!({"optional_aliased_enum": "ALIAS_BAZ"}),
        ),
        (
            "EnumFieldWithAliasLowerCase",
            r#""optionalAliasedEnum":"moo""#,
            json!({"optional_aliased_enum": "ALIAS_BAZ"}),
        ),
        (
            "EnumFieldWithAliasDifferentCase",
            r#""optionalAliasedEnum":"bAz""#,
            json!({"optional_aliased_enum": "ALIAS_BAZ"}),
        ),
    ]);
    refuses(&[
        ("BoolFieldCamelCaseTrue", r#""optionalBool":True"#),
        ("BoolFieldAllCapitalFalse", r#""optionalBool":FALSE"#),
        ("StringFieldUppercaseEscapeLetter", r#""optionalString":"\U8C37""#),
        ("StringFieldInvalidEscape", r#""optionalString":"\uXXXX\u6B4C""#),
        ("StringFieldUnterminatedEscape", r#""optionalString":"\u8C3""#),
        ("StringFieldUnpairedHighSurrogate", r#""optionalString":"\uD800""#),
        ("StringFieldUnpairedLowSurrogate", r#""optionalString":"\uDC00""#),
        ("StringFieldSurrogateInWrongOrder", r#""optionalString":"\uDE01\uD83D""#),
        ("EnumFieldNotQuoted", r#""optionalNestedEnum":FOO"#),
        ("EnumFieldSingleElementArrayEnumName", r#""optionalNestedEnum":["FOO"]"#),
        ("EnumFieldTrueValue", r#""optionalNestedEnum":true"#),
        ("RejectUnknownEnumStringValueInOptionalField", r#""optional_nested_enum":"UNKNOWN_ENUM_VALUE""#),
        ("RejectUnknownEnumStringValueInRepeatedField", r#""repeated_nested_enum":["UNKNOWN_ENUM_VALUE"]"#),
        (
            "RejectUnknownEnumStringValueInMapValue",
            r#""map_string_nested_enum":{"key":"UNKNOWN_ENUM_VALUE"}"#,
        ),
    ]);
}
