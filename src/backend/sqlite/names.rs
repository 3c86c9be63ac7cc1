//! Whether the files of an open database still have their names. `SQLite` goes on writing to files that
//! were deleted or replaced, and all of that is gone with the process: so it is looked after each commit,
//! before that is acknowledged. What was lost once is not trusted again until the next start: a
//! connection that was opened meanwhile may see other files than the writer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::file::beside;
use crate::{backend::Error, private::Identity};

/// The files of a database: itself, its log, and what its connections share.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// The names of the files of a database. Clones share what became of them.
#[derive(Clone)]
pub(super) struct Names(Arc<Inner>);

struct Inner {
    path: PathBuf,
    files: Vec<(PathBuf, Option<Identity>)>,
    lost: OnceLock<Error>,
}

/// Whether nothing is there, or what a connection has made anew that was opened a moment too late.
fn is_gone(file: &Path) -> bool {
    fs::metadata(file).map_or(true, |found| found.len() == 0)
}

impl Names {
    /// Of a database that was opened and read, after which all files are there.
    pub(super) fn of(path: &Path) -> Self {
        let files = SUFFIXES.map(|suffix| {
            let file = beside(path, suffix);
            let identity = Identity::of(&file);
            (file, identity)
        });
        Self(Arc::new(Inner { path: path.to_owned(), files: files.into(), lost: OnceLock::new() }))
    }

    /// Looks whether all files are what they were.
    ///
    /// # Errors
    /// [`Error::Lost`], now or before.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.certain()?;
        let lost = |(file, was): &&(PathBuf, Option<Identity>)| was.is_some() && Identity::of(file) != *was;
        let Some((file, _)) = self.0.files.iter().find(lost) else { return Ok(()) };
        let found = if is_gone(file) { "deleted or moved" } else { "replaced" };
        let lost = Error::Lost { path: self.0.path.clone(), file: file.clone(), found };
        Err(self.0.lost.get_or_init(|| lost).clone())
    }

    /// Whether the log alone was deleted: what stands in it can still be moved to the database. Not where
    /// another one is in its place, which the next start would read on top of that.
    pub(super) fn lacks_only_the_log(&self) -> bool {
        let is_there = |(file, was): &(PathBuf, Option<Identity>)| Identity::of(file) == *was;
        match self.0.files.as_slice() {
            [database, (log, _), ..] => is_there(database) && is_gone(log),
            _ => false,
        }
    }

    /// Whether all files were what they are whenever it was looked.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub(super) fn certain(&self) -> Result<(), Error> {
        self.0.lost.get().map_or(Ok(()), |lost| Err(lost.clone()))
    }
}
