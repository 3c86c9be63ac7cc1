//! The text of a flag as the JSON of its field's type. Numbers are kept exact; names of enums, base64 and the like
//! are checked here, so that an error names the flag before anything is sent.

use super::describe::{assignment, example, expected};
use super::names::fold;
use super::schema::{Field, Kind};
use super::{Error, ReadFile};
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::{Map, Number, Value};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Converts the values of one flag.
pub(super) struct Converter<'a> {
    /// The flag's name without `--`, for errors.
    pub(super) long: &'a str,
    /// How `@FILE` is read.
    pub(super) read_file: &'a ReadFile<'a>,
}

impl Converter<'_> {
    /// The JSON of `field`, given once or several times. Each text of a list is split at commas.
    pub(super) fn field(&self, field: &Field, texts: &[String]) -> Result<Value, Error> {
        match (&field.kind, field.repeated, texts) {
            (Kind::Map { key, value }, false, texts) => self.map(&field.kind, key, value, texts),
            (kind, true, texts) => {
                let mut elements = Vec::new();
                for text in texts {
                    elements.append(&mut self.list(kind, text)?);
                }
                Ok(Value::Array(elements))
            }
            (kind, false, texts) => self.one(kind, texts.last().map_or("", String::as_str)),
        }
    }

    /// What one occurrence of a list's flag means, whether there are others or not.
    fn list(&self, kind: &Kind, text: &str) -> Result<Vec<Value>, Error> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if let Ok(Value::Array(elements)) = serde_json::from_str(text)
            && (*kind != Kind::String || elements.iter().all(Value::is_string))
        {
            return elements.into_iter().map(|element| self.element(kind, element)).collect();
        }
        // Of an unknown type, `a,b` is a list of names, such as those of an enum.
        let single =
            kind.is_structured() && (!matches!(kind, Kind::Unknown(_)) || text.starts_with(['{', '"']));
        if single {
            return Ok(vec![self.one(kind, text)?]);
        }
        text.split(',').map(|part| self.one(kind, part)).collect()
    }

    fn element(&self, kind: &Kind, element: Value) -> Result<Value, Error> {
        if matches!(kind, Kind::Unknown(_)) {
            return Ok(element);
        }
        match element {
            Value::String(text) => self.one(kind, &text),
            other => self.one(kind, &other.to_string()),
        }
    }

    fn map(&self, whole: &Kind, key: &Kind, value: &Kind, texts: &[String]) -> Result<Value, Error> {
        let mut map = Map::new();
        for text in texts {
            if text.trim_start().starts_with('{') {
                let Ok(Value::Object(object)) = serde_json::from_str(text) else {
                    return Err(self.invalid(whole, text));
                };
                for (name, element) in object {
                    map.insert(self.key(key, &name)?, self.element(value, element)?);
                }
                continue;
            }
            let parts: Vec<&str> = text.split(',').collect();
            // A comma may as well belong to a value.
            let pairs = if parts.iter().all(|part| part.contains('=')) { parts } else { vec![text.as_str()] };
            for pair in pairs.into_iter().filter(|pair| !pair.is_empty()) {
                let (name, element) = pair.split_once('=').ok_or_else(|| self.invalid(whole, pair))?;
                map.insert(self.key(key, name)?, self.one(value, element)?);
            }
        }
        Ok(Value::Object(map))
    }

    fn key(&self, kind: &Kind, text: &str) -> Result<String, Error> {
        Ok(match self.one(kind, text)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    fn one(&self, kind: &Kind, text: &str) -> Result<Value, Error> {
        let converted = match kind {
            Kind::Bool => boolean(text).map(Value::Bool),
            Kind::Int32 => integer(text).and_then(|number| i32::try_from(number).ok()).map(Value::from),
            Kind::Int64 => integer(text).and_then(|number| i64::try_from(number).ok()).map(Value::from),
            Kind::Uint32 => integer(text).and_then(|number| u32::try_from(number).ok()).map(Value::from),
            Kind::Uint64 => integer(text).and_then(|number| u64::try_from(number).ok()).map(Value::from),
            Kind::Float => float(text, f64::from(f32::MAX)),
            Kind::Double => float(text, f64::MAX),
            Kind::String => Some(Value::from(text)),
            Kind::Bytes => self.bytes(text)?,
            Kind::Enum { values, .. } => enumeration(values, text),
            Kind::Message { .. } | Kind::Map { .. } => {
                serde_json::from_str(text).ok().filter(Value::is_object)
            }
            Kind::Unknown(_) => Some(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        };
        converted.ok_or_else(|| self.invalid(kind, text))
    }

    fn bytes(&self, text: &str) -> Result<Option<Value>, Error> {
        let bytes = if let Some(path) = text.strip_prefix('@') {
            let read = (self.read_file)(path);
            Some(read.map_err(|source| Error::Read { path: path.to_owned(), source })?)
        } else {
            STANDARD_ALPHABET.decode(text).or_else(|_| URL_SAFE_ALPHABET.decode(text)).ok()
        };
        Ok(bytes.map(|bytes| Value::from(STANDARD.encode(bytes))))
    }

    fn invalid(&self, kind: &Kind, text: &str) -> Error {
        Error::usage(
            format!("`--{}` expects {}, not `{text}`", self.long, expected(kind)),
            format!("for example {}", assignment(self.long, &example(kind))),
        )
    }
}

/// The forms of Go's `strconv.ParseBool`, and nothing at all for true.
fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A decimal number, or one with `0x`, `0o` or `0b`; `_` may stand between digits.
fn integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let with_prefix = prefixes.iter().find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)));
    // As in Go, an underscore may follow the prefix.
    let (digits, radix) = with_prefix
        .map_or((lower.as_str(), 10), |(rest, radix)| (rest.strip_prefix('_').unwrap_or(rest), radix));
    if digits.split('_').any(|group| group.is_empty() || !group.chars().all(|digit| digit.is_digit(radix))) {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(if negative { -number } else { number })
}

/// A number no larger than `most`, or the JSON names that protobuf gives the numbers JSON cannot write.
fn float(text: &str, most: f64) -> Option<Value> {
    let text = text.trim();
    let number: f64 = text.parse().ok()?;
    if number.is_nan() {
        return Some(Value::from("NaN"));
    }
    if text.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("inf") {
        return Some(Value::from(if number > 0.0 { "Infinity" } else { "-Infinity" }));
    }
    if number.abs() > most { None } else { Number::from_f64(number).map(Value::Number) }
}

/// A value by its name in any case, or by its number.
fn enumeration(values: &[String], text: &str) -> Option<Value> {
    let exact = values.iter().find(|value| *value == text);
    let folded = fold(text);
    if let Some(value) = exact.or_else(|| values.iter().find(|value| fold(value) == folded)) {
        return Some(Value::from(value.as_str()));
    }
    integer(text).and_then(|number| i32::try_from(number).ok()).map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_have_a_prefix_and_underscores() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-42", Some(-42)),
            ("+7", Some(7)),
            ("0x1F", Some(31)),
            ("-0xff", Some(-255)),
            ("0o17", Some(15)),
            ("0b101", Some(5)),
            ("0x_ff", Some(255)),
            ("1_000_000", Some(1_000_000)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("", None),
            ("-", None),
            ("--1", None),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("0x", None),
            ("1.5", None),
            ("abc", None),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_that_json_cannot_write_have_names() {
        assert_eq!(float("-inf", f64::MAX), Some(Value::from("-Infinity")));
        assert_eq!(float("NaN", f64::MAX), Some(Value::from("NaN")));
        assert_eq!(float("1e400", f64::MAX), None);
        assert_eq!(float("1e39", f64::from(f32::MAX)), None);
        assert_eq!(float("-2.5e3", f64::MAX), Some(Value::from(-2500.0)));
    }

    #[test]
    fn booleans_are_those_of_go() {
        for text in ["1", "t", "T", "TRUE", "true", "True", ""] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        assert_eq!(boolean("yes"), None);
    }
}
