//! What can go wrong in the state layer. Messages a person may meet at start say which file is
//! meant and the way out; the mapping to wire codes is the services' business.

use std::path::PathBuf;

use super::range::printable;

/// Why an operation on the state failed. Nothing was changed by an operation that failed, but for one:
/// what fails with [`Error::Storage`] may yet be found on the disk after a crash, until another write
/// has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A precondition of a commit did not hold; names the first one that failed.
    #[error("`{}` in table `{table}` was changed meanwhile", printable(.key))]
    Conflict {
        /// The table of the precondition.
        table: String,
        /// The key of the precondition.
        key: Vec<u8>,
    },
    /// The records asked for are not in the log any more.
    #[error("the log `{log}` begins at offset {first} now: what was before was deleted")]
    Trimmed {
        /// The log.
        log: String,
        /// The offset of its oldest record.
        first: u64,
    },
    /// The request itself is wrong: beyond a limit, or an address nobody knows.
    #[error("{0}")]
    Invalid(String),
    /// The database was written by a newer program; it was left as it is.
    #[error(
        "`{}` was written by a newer micro (format {found}, this one knows up to {supported}): \
         upgrade micro, or put back `{}.backup-{supported}`, if that micro wrote one before it \
         converted the file", .path.display(), .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The number of the last migration it has seen.
        found: u32,
        /// The number of the last migration this program knows.
        supported: u32,
    },
    /// The file is damaged or is no database of ours; it was left as it is.
    #[error(
        "`{}` cannot be used: {detail}; restore it from a backup, or move it and `{}-wal` aside \
         to start empty", .path.display(), .path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Another process holds the database.
    #[error(
        "`{}` is in use by another server: stop that one, or choose another file", .path.display()
    )]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// A file of the database was deleted or replaced while it is open.
    #[error(
        "`{}`, a file of the database, was {found} while the server uses it: nothing is read or written any more, \
         since it would not last; put `{}` back from a backup, then run `micro server restart`",
        .file.display(), .path.display()
    )]
    Lost {
        /// The database.
        path: PathBuf,
        /// Which of its files.
        file: PathBuf,
        /// What became of it.
        found: &'static str,
    },
    /// There is no room to write.
    #[error("no room left to write `{}`: free some disk space", .path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// A file does not contain any more what was written to it.
    #[error("{0}")]
    Damaged(String),
    /// An entry is not what was written: the disk changed it. Writing it anew heals it.
    #[error("`{}` in table `{table}` is damaged on the disk", printable(.key))]
    DamagedEntry {
        /// The table of the entry.
        table: String,
        /// Its key, as far as it can be told.
        key: Vec<u8>,
    },
    /// A record of a log, or what is known of the log, is not what was written: the disk changed it.
    #[error("{} of the log `{log}` is damaged on the disk", part(*.offset))]
    DamagedLog {
        /// The log.
        log: String,
        /// The offset of the record; none if the bounds of the log are damaged.
        offset: Option<u64>,
    },
    /// The backend was closed, before or during the operation.
    #[error("the state is closed: the server is stopping")]
    Closed,
    /// Any other failure of the storage below, with the path in the text.
    #[error("{0}")]
    Storage(String),
}

fn part(offset: Option<u64>) -> String {
    offset.map_or_else(|| "the index".into(), |offset| format!("the record at offset {offset}"))
}
