//! The one place where errors of the lower layers become errors on the wire: the caller's fault
//! is 4xx and says what to do; ours is 5xx, logged whole and told briefly.

use std::io;

use micro_sdk::Error;

use crate::{backend, private, supervisor};

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        match error {
            backend::Error::Conflict { .. } => Self::precondition_failed(error.to_string()),
            backend::Error::Trimmed { .. } => Self::not_found(error.to_string()),
            backend::Error::Full { .. } => Self::new(507, error.to_string()),
            // The log is told by what looks after the files.
            backend::Error::Lost { .. } => Self::internal(error.to_string()),
            backend::Error::Damaged(text) => {
                tracing::error!(error = text, "a file is damaged");
                Self::internal("it is damaged on the server's disk; the log of the server says which file")
            }
            // The backend has told the log.
            backend::Error::DamagedEntry { .. } | backend::Error::DamagedLog { .. } => {
                Self::internal(format!("{error}: restore a snapshot, or write it anew"))
            }
            backend::Error::Closed => Self::unavailable("the server is stopping"),
            other => {
                tracing::error!(error = %other, "the database failed");
                Self::internal("the server cannot use its database; its log says why")
            }
        }
    }
}

/// What a file that cannot be read or written means to a caller.
pub(crate) fn of_file(error: &anyhow::Error) -> Error {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    if cause.is_some_and(private::is_full) {
        return Error::new(507, format!("{error:#}: free some disk space"));
    }
    Error::internal(format!("{error:#}"))
}

impl From<supervisor::Error> for Error {
    fn from(error: supervisor::Error) -> Self {
        match error {
            supervisor::Error::Unknown(_) | supervisor::Error::NoLogs(_) => {
                Self::not_found(error.to_string())
            }
            supervisor::Error::Source(_) => Self::bad_request(error.to_string()),
            supervisor::Error::Stopping => Self::unavailable(error.to_string()),
            supervisor::Error::File { .. } | supervisor::Error::Thread(_) => {
                let text = format!(
                    "{error}: {}",
                    std::error::Error::source(&error).map_or_else(String::new, ToString::to_string)
                );
                tracing::error!(error = text, "the supervisor failed");
                let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
                if cause.is_some_and(private::is_full) {
                    return Self::new(507, format!("{text}: free some disk space"));
                }
                Self::internal(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_entry_is_named_with_the_way_out() {
        let damaged = backend::Error::DamagedEntry { table: "t".into(), key: b"k".into() };
        let error = Error::from(damaged);
        assert_eq!(error.code, 500);
        assert!(error.detail.starts_with("`k` in table `t` is damaged"), "{}", error.detail);
        assert!(error.detail.contains("restore a snapshot"), "{}", error.detail);
    }
}
