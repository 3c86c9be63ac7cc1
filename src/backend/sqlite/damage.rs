//! What was found damaged: an error to each reader of it, and in the log once.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::backend::Error;

/// Damages the log is told of one by one; more are as good as a broken disk.
const MAX_REPORTED: usize = 1000;

/// The damages of a database the log has been told of. Clones share them.
#[derive(Clone)]
pub(super) struct Damage {
    path: Arc<Path>,
    reported: Arc<Mutex<HashSet<String>>>,
}

impl Damage {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), reported: Arc::default() }
    }

    /// The error for an entry that is not what was written.
    pub(super) fn entry(&self, table: &str, key: &[u8]) -> Error {
        self.report(Error::DamagedEntry { table: table.to_owned(), key: key.to_vec() })
    }

    /// The error for a record that is not what was written, or for the bounds of a log.
    pub(super) fn log(&self, log: &str, offset: Option<u64>) -> Error {
        self.report(Error::DamagedLog { log: log.to_owned(), offset })
    }

    fn report(&self, error: Error) -> Error {
        let mut reported = self.reported.lock().expect("nothing panics while it holds the reports");
        if reported.len() < MAX_REPORTED && reported.insert(error.to_string()) {
            tracing::error!(
                %error,
                database = %self.path.display(),
                "the disk changed what was written: look after the disk, and restore a snapshot \
                 (`micro store restore`) or write this anew"
            );
        }
        error
    }
}
