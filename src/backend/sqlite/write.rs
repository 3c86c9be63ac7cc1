//! A write as it waits for the writer.

use bytes::Bytes;

use crate::backend::Commit;

/// Bytes up to which a value travels in the one statement of a batch; hexadecimal text costs more
/// than a statement of its own from about here.
pub(super) const MAX_INLINE: usize = 64 * 1024;

/// A table and a key in it.
pub(super) type Name<'a> = (&'a str, &'a [u8]);

/// A change that shares its transaction with others, but not their fate. What it is answered is a
/// version for a commit, and an offset of the log for the others.
pub(super) enum Write {
    Commit(Commit),
    Append { log: String, records: Vec<Bytes> },
    Trim { log: String, below: u64 },
}

impl Write {
    /// The bytes of its keys and values.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Commit(commit) => commit.bytes(),
            Self::Append { records, .. } => records.iter().map(Bytes::len).sum(),
            Self::Trim { .. } => 0,
        }
    }
}
