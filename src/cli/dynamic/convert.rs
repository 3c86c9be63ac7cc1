//! The text of a flag as the JSON of its field's type, by the rules of the transcoder. It is checked here too, so
//! that an error names the flag before anything is sent.

use super::describe::{assignment, example, expected, expected_in_range};
use super::schema::{Field, Kind};
use super::{Error, ReadFile};
use crate::{cli::pairs, json, transcode};
use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use prost_reflect::Kind as Scalar;
use serde_json::{Map, Value};

/// Converts the values of one flag.
pub(super) struct Converter<'a> {
    /// The flag's name without `--`, for errors.
    pub(super) long: &'a str,
    /// What it is the flag of.
    pub(super) field: &'a Field,
    /// How `@FILE` is read.
    pub(super) read_file: &'a ReadFile<'a>,
}

impl Converter<'_> {
    /// The JSON of the field, given once or several times. Each text of a list is split at commas; each text of a
    /// map is one entry, or a JSON object. What is to be said about the values is added to `notes`.
    pub(super) fn convert(&self, texts: &[String], notes: &mut Vec<String>) -> Result<Value, Error> {
        match (&self.field.kind, self.field.repeated, texts) {
            (whole @ Kind::Map { key, value }, false, texts) => self.map(whole, key, value, texts, notes),
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

    fn map(
        &self,
        whole: &Kind,
        key: &Kind,
        value: &Kind,
        texts: &[String],
        notes: &mut Vec<String>,
    ) -> Result<Value, Error> {
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
            if text.is_empty() {
                continue;
            }
            let (name, element) = text.split_once('=').ok_or_else(|| self.invalid(whole, text))?;
            let converted = self.one(value, element).map_err(|error| self.of_entry(error, name, element))?;
            if !value.is_structured() {
                notes.extend(pairs::note(self.long, "entry", name, element));
            }
            map.insert(self.key(key, name)?, converted);
        }
        Ok(Value::Object(map))
    }

    /// The error about the value of an entry, with the hint to repeat the flag where the value looks like several
    /// entries.
    fn of_entry(&self, error: Error, name: &str, element: &str) -> Error {
        let (Error::Usage { message, .. }, Some(rest)) = (&error, pairs::another(element)) else {
            return error;
        };
        let first = element.strip_suffix(rest).and_then(|first| first.strip_suffix(',')).unwrap_or(element);
        let entries = [format!("{name}={first}"), rest.to_owned()].map(|entry| assignment(self.long, &entry));
        Error::usage(message.clone(), format!("each entry needs a flag of its own: {}", entries.join(" ")))
    }

    fn key(&self, kind: &Kind, text: &str) -> Result<String, Error> {
        Ok(match self.one(kind, text)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    fn one(&self, kind: &Kind, text: &str) -> Result<Value, Error> {
        let scalar = |scalar| transcode::scalar(&scalar, text).ok();
        let converted = match kind {
            Kind::Bool => scalar(Scalar::Bool),
            Kind::Int32 => scalar(Scalar::Int32),
            Kind::Int64 => scalar(Scalar::Int64),
            Kind::Uint32 => scalar(Scalar::Uint32),
            Kind::Uint64 => scalar(Scalar::Uint64),
            Kind::Float => scalar(Scalar::Float),
            Kind::Double => scalar(Scalar::Double),
            Kind::String => scalar(Scalar::String),
            Kind::Bytes => match text.strip_prefix('@') {
                Some(path) => Some(Value::from(STANDARD.encode(self.file(path)?))),
                None => scalar(Scalar::Bytes),
            },
            Kind::Enum { values, .. } => {
                match transcode::enum_name(values.iter().map(String::as_str), text) {
                    Some(name) => Some(Value::from(name)),
                    None => scalar(Scalar::Int32),
                }
            }
            Kind::Message { .. } | Kind::Map { .. } => self.json(text)?.filter(Value::is_object),
            Kind::Unknown(_) => Some(self.json(text)?.unwrap_or_else(|| Value::from(text))),
        };
        converted.ok_or_else(|| self.invalid(kind, text))
    }

    /// A value in JSON; none for what is no JSON.
    fn json(&self, text: &str) -> Result<Option<Value>, Error> {
        match serde_json::from_str(text) {
            Err(error) if json::is_too_deep(&error) => {
                let message = format!("the value of `--{}`: {}", self.long, json::fault(&error));
                Err(Error::Usage { message, hint: None })
            }
            parsed => Ok(parsed.ok()),
        }
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, Error> {
        (self.read_file)(path).map_err(|source| Error::Read { path: path.to_owned(), source })
    }

    fn invalid(&self, kind: &Kind, text: &str) -> Error {
        // Of what is a number, the range is of interest.
        let digits = text.trim().trim_start_matches(['-', '+']);
        let is_number = digits.starts_with(|first: char| first.is_ascii_digit());
        let wanted = if is_number { expected_in_range(kind) } else { expected(kind) };
        Error::usage(
            format!("`--{}` expects {wanted}, not `{text}`", self.long),
            format!("for example {}", assignment(self.long, &example(&self.field.kind))),
        )
    }
}
