//! Which entries of a table a listing returns: a stretch of keys in bytewise order, its direction
//! and how many. It knows nothing of how a backend walks them.

use super::{MAX_PAGE, MAX_PAGE_BYTES};

/// A stretch of keys. Start with [`Range::all`] or [`Range::prefix`].
#[derive(Debug, Clone)]
pub(crate) struct Range {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    limit: usize,
    descending: bool,
    keys_only: bool,
}

/// A range resolved to its bounds: `start` is in it, `end` is not; no `end` is the end of the table.
pub(super) struct Bounds {
    pub(super) start: Vec<u8>,
    pub(super) end: Option<Vec<u8>>,
}

impl Range {
    /// Every key of the table.
    pub(crate) fn all() -> Self {
        Self::prefix(b"")
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        Self {
            start: prefix.to_vec(),
            end: successor(prefix),
            after: None,
            limit: MAX_PAGE,
            descending: false,
            keys_only: false,
        }
    }

    /// Only what follows `key` in the direction of the listing; the last key of a page leads to
    /// the next page.
    pub(crate) fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// At most this many entries, and never more than [`MAX_PAGE`].
    pub(crate) fn limit(mut self, entries: usize) -> Self {
        self.limit = entries.min(MAX_PAGE);
        self
    }

    /// From the last key to the first.
    pub(crate) fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Leave the values out: every entry comes with an empty one.
    pub(crate) fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    pub(super) fn bounds(&self) -> Bounds {
        let (mut start, mut end) = (self.start.clone(), self.end.clone());
        let Some(after) = &self.after else {
            return Bounds { start, end };
        };
        if self.descending {
            if end.as_ref().is_none_or(|end| after < end) {
                end = Some(after.clone());
            }
        } else if *after >= start {
            start.clone_from(after);
            start.push(0);
        }
        Bounds { start, end }
    }

    pub(super) fn entries(&self) -> usize {
        self.limit
    }

    pub(super) fn is_descending(&self) -> bool {
        self.descending
    }

    pub(super) fn is_keys_only(&self) -> bool {
        self.keys_only
    }
}

/// Counts what a page holds, so that a page of large values ends early.
pub(super) struct Page {
    entries: usize,
    bytes: usize,
}

impl Page {
    pub(super) fn new(range: &Range) -> Self {
        Self::of(range.entries())
    }

    /// A page of at most this many entries.
    pub(super) fn of(entries: usize) -> Self {
        Self { entries, bytes: MAX_PAGE_BYTES }
    }

    /// Accounts for an entry of this many bytes; false once the page is full.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.entries > 0 && self.bytes > 0
    }
}

/// The smallest key after every key that begins with `prefix`, if there is one.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

/// The names that begin with `prefix`, as bounds: the first is in it, the second, if there is one, is
/// not. The order of UTF-8 is that of its characters.
pub(super) fn names(prefix: &str) -> (&str, Option<String>) {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // Between U+D7FF and U+E000 there are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            end.push(next);
            return (prefix, Some(end));
        }
    }
    (prefix, None)
}

/// A key for a person to read.
pub(super) fn printable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}
