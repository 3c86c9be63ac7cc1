//! What the processes of a service write: captured by line, kept in rotated files, read back exactly
//! and followed without polling.
//!
//! A line on disk is `2026-11-23T10:11:12.123Z stdout text`. Times are UTC, so a line's time can be
//! compared as text. The newest file is `current.log`; full ones are renamed to their number.
//!
//! - [`mod@capture`]: pipe → lines;
//! - [`journal`]: lines → files, and word to the followers;
//! - [`files`]: which file is which;
//! - [`place`]: where in the files the wanted lines begin;
//! - [`reader`]: files → lines.

mod capture;
mod files;
mod journal;
mod line;
mod place;
mod reader;

pub(super) use capture::{LastLines, capture};
pub(super) use files::Files;
pub(super) use journal::{Journal, Sink};
pub(crate) use line::{LogLine, Stream};
pub(crate) use reader::LogLines;
pub(super) use reader::read;

use jiff::Timestamp;

/// Which part of a log is wanted. Of two limits the narrower one counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tail {
    /// Not more than so many of the last lines.
    pub(crate) lines: Option<usize>,
    /// Nothing older than this.
    pub(crate) since: Option<Timestamp>,
    /// Go on with what is written later, until the service is removed.
    pub(crate) follow: bool,
}
