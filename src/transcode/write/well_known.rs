//! The types of `google.protobuf` in their own forms. What is outside the range of its type is an error:
//! no reader would take it.

use super::{Failure, Writer, Written};
use crate::transcode::{any, well_known::WellKnown};
use prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};
use std::{borrow::Cow, ops::RangeInclusive};

/// The seconds from the year 1 to the end of the year 9999.
const TIMES: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// The seconds in 10,000 years, either way.
const DURATIONS: RangeInclusive<i64> = -315_576_000_000..=315_576_000_000;
const SECOND: i32 = 1_000_000_000;

impl Writer<'_> {
    pub(super) fn well_known(&mut self, form: &WellKnown, message: &DynamicMessage) -> Written {
        match form {
            WellKnown::Timestamp => self.timestamp(message),
            WellKnown::Duration => self.duration(message),
            WellKnown::FieldMask => self.field_mask(message),
            WellKnown::Struct => self.own_field("fields", message),
            WellKnown::ListValue => self.own_field("values", message),
            WellKnown::Value => self.value(message),
            WellKnown::Empty => Ok(self.out.raw("{}")?),
            WellKnown::Any => self.any(message),
            WellKnown::Wrapper(field) => self.one(&field.kind(), &message.get_field(field)),
        }
    }

    fn timestamp(&mut self, message: &DynamicMessage) -> Written {
        let (seconds, nanos) = seconds_of(message);
        if !TIMES.contains(&seconds) || !(0..SECOND).contains(&nanos) {
            return Err(Failure::value(format!(
                "{seconds} seconds and {nanos} nanoseconds are no time in the years 1 to 9999"
            )));
        }
        Ok(self.out.quoted(&prost_types::Timestamp { seconds, nanos })?)
    }

    fn duration(&mut self, message: &DynamicMessage) -> Written {
        let (seconds, nanos) = seconds_of(message);
        let signs = i64::from(nanos.signum()) * seconds.signum();
        if !DURATIONS.contains(&seconds) || nanos.abs() >= SECOND || signs < 0 {
            return Err(Failure::value(format!(
                "{seconds} seconds and {nanos} nanoseconds are no duration within 10,000 years"
            )));
        }
        Ok(self.out.quoted(&prost_types::Duration { seconds, nanos })?)
    }

    /// Paths with commas between, each name of a field in the style of JSON.
    fn field_mask(&mut self, message: &DynamicMessage) -> Written {
        let paths = field(message, "paths");
        let mut text = String::new();
        for path in paths.as_list().unwrap_or_default().iter().filter_map(Value::as_str) {
            if !text.is_empty() {
                text.push(',');
            }
            camel(path, &mut text).ok_or_else(|| {
                Failure::value(format!("the path `{path}` would be read back as another one"))
            })?;
        }
        Ok(self.out.text(&text)?)
    }

    /// The only field of a message that JSON writes in place of the message.
    fn own_field(&mut self, name: &str, message: &DynamicMessage) -> Written {
        let kind = message.descriptor().get_field_by_name(name).map(|field| field.kind());
        self.field(&kind.unwrap_or(Kind::Bool), &field(message, name))
    }

    /// Any JSON value: whichever member is set, or `null`.
    fn value(&mut self, message: &DynamicMessage) -> Written {
        let Some((field, value)) = message.fields().next() else { return Ok(self.out.raw("null")?) };
        match value {
            Value::F64(number) if !number.is_finite() => {
                Err(Failure::value(format!("{number} is no number that a free-form value can hold")))
            }
            value => self.one(&field.kind(), value),
        }
    }

    fn any(&mut self, message: &DynamicMessage) -> Written {
        let (url, content) = (field(message, "type_url"), field(message, "value"));
        let url = url.as_str().unwrap_or_default();
        let content = content.as_bytes().cloned().unwrap_or_default();
        if url.is_empty() && content.is_empty() {
            return Ok(self.out.raw("{}")?);
        }
        let inner = any::named(&message.descriptor(), url).map_err(Failure::value)?;
        let mut first = true;
        self.out.raw("{")?;
        self.name(any::TYPE, &mut first)?;
        self.out.text(url)?;
        match inner {
            None => {
                self.name(any::BYTES, &mut first)?;
                self.out.base64(&content)?;
            }
            Some(inner) => {
                let own_form = WellKnown::of(&inner).is_some();
                let unpacked = DynamicMessage::decode(inner, content)
                    .map_err(|error| Failure::value(format!("not a valid `{url}`: {error}")))?;
                if own_form {
                    self.name("value", &mut first)?;
                    self.message(&unpacked)?;
                } else {
                    self.members(&unpacked, first)?;
                }
            }
        }
        Ok(self.out.raw("}")?)
    }
}

fn field<'m>(message: &'m DynamicMessage, name: &str) -> Cow<'m, Value> {
    message.get_field_by_name(name).unwrap_or(Cow::Owned(Value::Bool(false)))
}

fn seconds_of(message: &DynamicMessage) -> (i64, i32) {
    let seconds = field(message, "seconds").as_i64().unwrap_or_default();
    (seconds, field(message, "nanos").as_i32().unwrap_or_default())
}

/// `display_name` as `displayName`; `None` where the way back would lead elsewhere.
fn camel(path: &str, out: &mut String) -> Option<()> {
    let mut raise = false;
    for character in path.chars() {
        match character {
            'A'..='Z' => return None,
            '_' if raise => return None,
            '_' => raise = true,
            'a'..='z' if raise => {
                out.push(character.to_ascii_uppercase());
                raise = false;
            }
            _ if raise => return None,
            other => out.push(other),
        }
    }
    (!raise).then_some(())
}
