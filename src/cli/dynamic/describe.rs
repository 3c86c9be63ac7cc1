//! Types in words: for the help of a flag, and for the error about its value.

use super::names::kebab;
use super::schema::Kind;

const TIMESTAMP: &str = "google.protobuf.Timestamp";
const DURATION: &str = "google.protobuf.Duration";

/// What stands for the value in `--flag <VALUE>`.
pub(super) fn value_name(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "BOOL".to_owned(),
        Kind::Int32 => "INT32".to_owned(),
        Kind::Int64 => "INT64".to_owned(),
        Kind::Uint32 => "UINT32".to_owned(),
        Kind::Uint64 => "UINT64".to_owned(),
        Kind::Float => "FLOAT".to_owned(),
        Kind::Double => "DOUBLE".to_owned(),
        Kind::String => "STRING".to_owned(),
        Kind::Bytes => "BASE64|@FILE".to_owned(),
        Kind::Message { .. } => "JSON".to_owned(),
        Kind::Map { key, value } => format!("{}={}", value_name(key), value_name(value)),
        Kind::Enum { name, .. } | Kind::Unknown(name) => {
            let last = last_part(name);
            if last.is_empty() { "JSON".to_owned() } else { kebab(last).replace('-', "_").to_uppercase() }
        }
    }
}

/// What a value has to be.
pub(super) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int32 => "a whole number (int32)".to_owned(),
        Kind::Int64 => "a whole number (int64)".to_owned(),
        Kind::Uint32 => "a whole number from 0 (uint32)".to_owned(),
        Kind::Uint64 => "a whole number from 0 (uint64)".to_owned(),
        Kind::Float => "a number (float)".to_owned(),
        Kind::Double => "a number (double)".to_owned(),
        Kind::String => "text".to_owned(),
        Kind::Bytes => "base64 text, or a file as @FILE".to_owned(),
        Kind::Enum { values, .. } => format!("one of {}", values.join(", ")),
        Kind::Message { name, .. } => format!("a JSON object ({name})"),
        Kind::Map { key, value } if **key == Kind::String => {
            format!("KEY=VALUE, where VALUE is {}, or a JSON object", expected(value))
        }
        Kind::Map { key, value } => format!(
            "KEY=VALUE, where KEY is {} and VALUE is {}, or a JSON object",
            expected(key),
            expected(value)
        ),
        Kind::Unknown(name) => match name.as_str() {
            TIMESTAMP => "a time (RFC 3339)".to_owned(),
            DURATION => "a time in seconds, with an `s`".to_owned(),
            "google.protobuf.Struct" => "a JSON object (Struct)".to_owned(),
            "google.protobuf.ListValue" => "a JSON array (ListValue)".to_owned(),
            "google.protobuf.Any" => "a JSON object with `@type` (Any)".to_owned(),
            _ => format!("JSON or text ({})", last_part(name)),
        },
    }
}

/// What a value has to be, with the bounds of a number.
pub(super) fn expected_in_range(kind: &Kind) -> String {
    let from =
        |least: String, most: String, of: &str, name: &str| format!("{of} from {least} to {most} ({name})");
    let whole = "a whole number";
    match kind {
        Kind::Int32 => from(i32::MIN.to_string(), i32::MAX.to_string(), whole, "int32"),
        Kind::Int64 => from(i64::MIN.to_string(), i64::MAX.to_string(), whole, "int64"),
        Kind::Uint32 => from(u32::MIN.to_string(), u32::MAX.to_string(), whole, "uint32"),
        Kind::Uint64 => from(u64::MIN.to_string(), u64::MAX.to_string(), whole, "uint64"),
        Kind::Float => from(format!("{:e}", f32::MIN), format!("{:e}", f32::MAX), "a number", "float"),
        Kind::Double => from(format!("{:e}", f64::MIN), format!("{:e}", f64::MAX), "a number", "double"),
        Kind::Bool
        | Kind::String
        | Kind::Bytes
        | Kind::Enum { .. }
        | Kind::Message { .. }
        | Kind::Map { .. }
        | Kind::Unknown(_) => expected(kind),
    }
}

/// A value that would do, not quoted for a shell.
pub(super) fn example(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true".to_owned(),
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => "42".to_owned(),
        Kind::Float | Kind::Double => "1.5".to_owned(),
        Kind::String => "text".to_owned(),
        Kind::Bytes => "aGVsbG8=".to_owned(),
        Kind::Enum { values, .. } => values.first().cloned().unwrap_or_else(|| "0".to_owned()),
        Kind::Message { first, .. } if first.is_empty() => "{}".to_owned(),
        Kind::Message { first, .. } => format!(r#"{{"{first}": …}}"#),
        Kind::Map { key, value } if **key == Kind::String => format!("key={}", example(value)),
        Kind::Map { key, value } => format!("{}={}", example(key), example(value)),
        Kind::Unknown(name) => match name.as_str() {
            TIMESTAMP => "2026-01-31T12:00:00Z".to_owned(),
            DURATION => "1.5s".to_owned(),
            _ => r#"{"name": …}"#.to_owned(),
        },
    }
}

/// A flag with its value as a shell takes it.
pub(super) fn assignment(long: &str, value: &str) -> String {
    if value.contains([' ', '"', '{', '[', '|', '*', '$']) {
        format!("--{long}='{value}'")
    } else {
        format!("--{long}={value}")
    }
}

/// The first paragraph of a doc comment on one line, without a full stop.
pub(super) fn summary(about: &str) -> String {
    let paragraph = about.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_suffix('.').unwrap_or(&line).to_owned()
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}
