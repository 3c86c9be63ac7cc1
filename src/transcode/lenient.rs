//! One scalar of JSON for one scalar field, generously: forms, query strings and flags know only text,
//! so text stands for any scalar, and a number or a truth value for its text. Nothing here knows of
//! places: the error texts say what was expected and what came.

use super::{
    number::{double, float, integer, not_finite},
    place::shorten,
    scalar::Scalar,
};
use crate::similar::similar;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost_reflect::{EnumDescriptor, Kind, Value};
use serde_json::{Number, Value as Json};
use std::borrow::Cow;

/// More names than this of an enum do not help in an error.
const MOST_NAMES: usize = 8;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// What a field of this kind wants, for an error.
pub(super) fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "a number",
        Kind::Bool => "`true` or `false`",
        Kind::String => "a string",
        Kind::Bytes => "base64 text",
        Kind::Message(_) => "an object",
        Kind::Enum(_) => "the name of an enum value",
        Kind::Int32
        | Kind::Sint32
        | Kind::Sfixed32
        | Kind::Uint32
        | Kind::Fixed32
        | Kind::Int64
        | Kind::Sint64
        | Kind::Sfixed64
        | Kind::Uint64
        | Kind::Fixed64 => "an integer",
    }
}

/// The scalar as a value of `kind`; the error says what was expected and what came.
pub(super) fn convert(kind: &Kind, given: Scalar) -> Result<Value, String> {
    Ok(match kind {
        Kind::Double => Value::F64(double(&given)?),
        Kind::Float => Value::F32(float(&given)?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer(&given, i32::MIN..=i32::MAX)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer(&given, i64::MIN..=i64::MAX)?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(integer(&given, u32::MIN..=u32::MAX)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(integer(&given, u64::MIN..=u64::MAX)?),
        Kind::Bool => Value::Bool(truth(&given)?),
        Kind::String => Value::String(text(given)?),
        Kind::Bytes => Value::Bytes(bytes(given)?.into()),
        Kind::Enum(names) => Value::EnumNumber(enum_number(names, &given)?),
        Kind::Message(_) => return Err(format!("expected an object, got {given}")),
    })
}

/// A text, such as that of a flag, as the JSON of a scalar: checked, and in the form that protobuf gives it.
///
/// # Errors
/// What was expected and what came.
pub(crate) fn scalar(kind: &Kind, text: &str) -> Result<Json, String> {
    let float = |number| Number::from_f64(number).map_or_else(|| not_finite(number).into(), Json::Number);
    Ok(match convert(kind, Scalar::Text(Cow::Borrowed(text)))? {
        Value::Bool(truth) => truth.into(),
        Value::I32(number) | Value::EnumNumber(number) => number.into(),
        Value::I64(number) => number.into(),
        Value::U32(number) => number.into(),
        Value::U64(number) => number.into(),
        // In the fewest digits that are the same number in 32 bits.
        Value::F32(number) => float(number.to_string().parse().unwrap_or(number.into())),
        Value::F64(number) => float(number),
        Value::String(text) => text.into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Message(_) | Value::List(_) | Value::Map(_) => {
            return Err(format!("expected {}, got `{}`", wanted(kind), shorten(text)));
        }
    })
}

/// The forms that Go's `ParseBool` takes, the numbers 0 and 1, and what the checkbox of a form sends.
fn truth(given: &Scalar) -> Result<bool, String> {
    match given {
        Scalar::Bool(truth) => Some(*truth),
        Scalar::Unsigned(number @ (0 | 1)) => Some(*number == 1),
        Scalar::Signed(number @ (0 | 1)) => Some(*number == 1),
        Scalar::Text(text) => match text.trim() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" | "on" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" | "off" => Some(false),
            _ => None,
        },
        Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Float(_) => None,
    }
    .ok_or_else(|| format!("expected `true` or `false`, got {given}"))
}

fn text(given: Scalar) -> Result<String, String> {
    Ok(match given {
        Scalar::Text(text) => text.into_owned(),
        Scalar::Bool(truth) => truth.to_string(),
        Scalar::Signed(number) => number.to_string(),
        Scalar::Unsigned(number) => number.to_string(),
        // More digits than a floating-point number holds were rounded on arrival.
        Scalar::Float(number) if number.abs() >= 1e15 => {
            return Err(format!("expected a string, got the number `{number}`, put it in quotes"));
        }
        Scalar::Float(number) => number.to_string(),
    })
}

fn bytes(given: Scalar) -> Result<Vec<u8>, String> {
    base64(&text(given)?)
}

/// Bytes from base64 of either alphabet, padded or not, on one line or several. A blank is refused wherever
/// it stands: in a query it was a `+`, which is one of the digits.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, String> {
    let standard: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    STANDARD.decode(standard).map_err(|_| {
        let hint = if text.contains(' ') { " (in a query, `+` is written `%2B`)" } else { "" };
        format!("expected base64 text, got `{}`{hint}", shorten(text))
    })
}

fn enum_number(descriptor: &EnumDescriptor, given: &Scalar) -> Result<i32, String> {
    let Scalar::Text(text) = given else {
        return match given {
            Scalar::Bool(_) => Err(no_such_name(descriptor, given)),
            _ => integer(given, i32::MIN..=i32::MAX),
        };
    };
    if text.trim() == "null" && is_null(descriptor) {
        return Ok(0);
    }
    let values: Vec<_> = descriptor.values().collect();
    let names = values.iter().map(prost_reflect::EnumValueDescriptor::name);
    if let Some(value) = enum_name(names, text).and_then(|name| descriptor.get_value_by_name(name)) {
        return Ok(value.number());
    }
    if text.trim().starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+')) {
        return integer(given, i32::MIN..=i32::MAX);
    }
    Err(no_such_name(descriptor, given))
}

/// The name of an enum's value that a text means: `DARK_BLUE` is also `dark-blue`.
pub(crate) fn enum_name<'n>(names: impl Iterator<Item = &'n str>, text: &str) -> Option<&'n str> {
    let text = text.trim();
    let folded = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let meant = folded(text);
    let mut alike = None;
    for name in names {
        if name == text {
            return Some(name);
        }
        if alike.is_none() && folded(name) == meant {
            alike = Some(name);
        }
    }
    alike
}

/// Whether an enum is `google.protobuf.NullValue`, which JSON writes as `null`.
pub(super) fn is_null(descriptor: &EnumDescriptor) -> bool {
    descriptor.full_name() == "google.protobuf.NullValue"
}

fn no_such_name(descriptor: &EnumDescriptor, given: &Scalar) -> String {
    let values: Vec<_> = descriptor.values().collect();
    let names = || values.iter().map(prost_reflect::EnumValueDescriptor::name);
    if let Scalar::Text(text) = given
        && let Some(name) = similar(text.trim(), names()).first()
    {
        return format!("{given} is not a `{}`, did you mean `{name}`?", descriptor.name());
    }
    let listed: Vec<_> = names().take(MOST_NAMES).map(|name| format!("`{name}`")).collect();
    let more = if values.len() > MOST_NAMES { ", …" } else { "" };
    format!("expected one of {}{more}, got {given}", listed.join(", "))
}
