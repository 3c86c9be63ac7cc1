//! What can go wrong when the supervisor is asked for something. How a service fares is no error: it
//! stands in its [`Snapshot`](super::Snapshot).

use std::{
    io,
    path::{Path, PathBuf},
};

use super::spec::Id;
use crate::cargo;

/// Why the supervisor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The service is not known.
    #[error("there is no service `{0}`")]
    Unknown(Id),
    /// The service was never run, so it has no log.
    #[error("there are no logs of `{0}`")]
    NoLogs(Id),
    /// The supervisor is stopping and takes no more services.
    #[error("the server is stopping")]
    Stopping,
    /// The source cannot be built.
    #[error("{0}")]
    Source(String),
    /// A file of the supervisor's or of a source.
    #[error("cannot {doing} `{}`", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that starts processes.
    #[error("cannot start the thread that starts processes")]
    Thread(#[source] io::Error),
}

impl From<cargo::Error> for Error {
    fn from(error: cargo::Error) -> Self {
        match error {
            cargo::Error::File { path, source } => Self::File { doing: "read", path, source },
            other => Self::Source(other.to_string()),
        }
    }
}

impl Error {
    pub(super) fn file(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { doing, path: path.to_owned(), source }
    }

    pub(super) fn source(reason: String) -> Self {
        Self::Source(reason)
    }
}
