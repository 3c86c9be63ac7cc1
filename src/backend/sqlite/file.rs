//! The files around a database, before `SQLite` opens them: the lock, the permissions and what the
//! first bytes tell. It reads the database, and changes nothing in it.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use crate::{backend::Error, private};

/// The header of an `SQLite` file, <https://www.sqlite.org/fileformat2.html#the_database_header>.
const HEADER: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What is found where a database should be.
pub(super) enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A file that looks like a database.
    Database {
        /// Its size, without what is in the write-ahead log.
        bytes: u64,
        /// Whether it was left in the middle of being made: `SQLite` undoes that by itself, which is
        /// a change to the file.
        half_made: bool,
    },
}

/// Takes the database for this process until the returned file is dropped. The lock is a file of
/// its own, because `SQLite` loses its locks when any other handle to a database is closed.
pub(super) fn lock(path: &Path) -> Result<File, Error> {
    let lock_path = beside(path, "-lock");
    let lock = private::open_file(&lock_path).map_err(|error| failed("create", &lock_path, &error))?;
    match private::try_lock(&lock) {
        Ok(()) => {
            // Only for commands that look who has it; one that cannot be told is found by other means.
            drop(lock.set_len(0).and_then(|()| writeln!(&lock, "{}", std::process::id())));
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &lock_path, &error)),
    }
}

/// Takes the lock again where its file was removed or replaced.
pub(super) fn keep_lock(path: &Path, held: &mut File) -> Result<(), Error> {
    let lock_path = beside(path, "-lock");
    if !private::is_named(held, &lock_path) {
        // The one that is held is let go when the other is.
        *held = lock(path)?;
    }
    Ok(())
}

/// Looks at the database without `SQLite`; an obviously damaged one is refused.
pub(super) fn look(path: &Path) -> Result<Found, Error> {
    let corrupt = |detail: String| Error::Corrupt { path: path.to_path_buf(), detail };
    let log = fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    let (header, bytes) = match read_header(path) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), 0),
        Err(error) => return Err(failed("read", path, &error)),
    };
    if bytes == 0 {
        // SQLite would throw the log away, and with it what was acknowledged.
        return if log == 0 {
            Ok(Found::Nothing)
        } else {
            Err(corrupt("it is empty although its log is not".into()))
        };
    }
    // Only before a database has its write-ahead log does a transaction keep a journal, from which what
    // stands in the file can be undone, whatever that is.
    if fs::metadata(beside(path, "-journal")).is_ok_and(|journal| journal.len() > 0) {
        return Ok(Found::Database { bytes, half_made: true });
    }
    if header.len() < HEADER || !header.starts_with(MAGIC) {
        return Err(corrupt("it is not an SQLite database".into()));
    }
    let expected = size_in_header(&header);
    if log == 0 && expected.is_some_and(|expected| expected > bytes) {
        return Err(corrupt(format!("it is cut short at {bytes} bytes")));
    }
    Ok(Found::Database { bytes, half_made: false })
}

/// Makes the database an empty file if it is not there, and private in either case; the files
/// `SQLite` puts beside it take over its permissions.
pub(super) fn make_private(path: &Path) -> Result<(), Error> {
    private::open_file(path).map(drop).map_err(|error| failed("write", path, &error))
}

/// Makes an empty private file in place of whatever is there.
pub(super) fn make_empty(path: &Path) -> Result<(), Error> {
    private::open_file(path).and_then(|file| file.set_len(0)).map_err(|error| failed("write", path, &error))
}

/// Gives a finished file its name; both survive a power cut once this returns.
pub(super) fn publish(from: &Path, to: &Path) -> Result<(), Error> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(from)
        .and_then(|()| fs::rename(from, to))
        .and_then(|()| to.parent().map_or(Ok(()), sync))
        .map_err(|error| failed("write", to, &error))
}

/// The path with `suffix` put behind its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn read_header(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut header = Vec::with_capacity(HEADER);
    file.take(HEADER as u64).read_to_end(&mut header)?;
    Ok((header, bytes))
}

/// The size the header states; none if an old program left it out of date.
fn size_in_header(header: &[u8]) -> Option<u64> {
    let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        page => u64::from(page),
    };
    let (pages, changes, valid_for) = (number(28), number(24), number(92));
    (changes == valid_for).then(|| u64::from(pages) * page)
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Error {
    Error::Storage(format!("cannot {action} `{}`: {error}", path.display()))
}
