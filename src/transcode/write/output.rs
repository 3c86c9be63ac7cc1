//! The JSON text itself: scalars and punctuation, appended to a buffer that refuses to grow beyond a bound.

use crate::transcode::number::not_finite;
use base64::{display::Base64Display, prelude::BASE64_STANDARD};
use std::{fmt::Display, io, io::Write as _};

/// The text is as long as it may be.
pub(super) struct Full;

type Result = std::result::Result<(), Full>;

/// Nothing but the bound makes this fail.
impl From<io::Error> for Full {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<serde_json::Error> for Full {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// A buffer of JSON.
pub(super) struct Output<'a> {
    json: &'a mut Vec<u8>,
    most: usize,
}

impl<'a> Output<'a> {
    /// Appends to `json`, at most `limit` bytes.
    pub(super) fn new(json: &'a mut Vec<u8>, limit: usize) -> Self {
        let most = json.len().saturating_add(limit);
        Self { json, most }
    }

    /// Punctuation, or a value that is spelt out already.
    pub(super) fn raw(&mut self, text: &str) -> Result {
        Ok(self.write_all(text.as_bytes())?)
    }

    /// A number, or what else is shown as itself.
    pub(super) fn display(&mut self, value: &impl Display) -> Result {
        Ok(write!(self, "{value}")?)
    }

    /// What holds nothing that would have to be escaped, as a text.
    pub(super) fn quoted(&mut self, value: &impl Display) -> Result {
        Ok(write!(self, "\"{value}\"")?)
    }

    /// A text, with what JSON wants escaped and nothing else.
    pub(super) fn text(&mut self, text: &str) -> Result {
        Ok(serde_json::to_writer(self, text)?)
    }

    /// Bytes as base64 of the standard alphabet, padded.
    pub(super) fn base64(&mut self, bytes: &[u8]) -> Result {
        self.quoted(&Base64Display::new(bytes, &BASE64_STANDARD))
    }

    /// A 32-bit floating-point number in the fewest digits that read back as the same one.
    pub(super) fn float(&mut self, number: f32) -> Result {
        if !number.is_finite() {
            return self.quoted(&not_finite(number.into()));
        }
        serde_json::to_writer(&mut *self, &number)?;
        self.without_zero_fraction();
        Ok(())
    }

    /// A 64-bit one.
    pub(super) fn double(&mut self, number: f64) -> Result {
        if !number.is_finite() {
            return self.quoted(&not_finite(number));
        }
        serde_json::to_writer(&mut *self, &number)?;
        self.without_zero_fraction();
        Ok(())
    }

    /// The number just written, `2` instead of `2.0`.
    fn without_zero_fraction(&mut self) {
        if self.json.ends_with(b".0") {
            self.json.truncate(self.json.len() - 2);
        }
    }
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.json.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.json.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
