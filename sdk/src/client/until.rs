//! Until when a call may go on.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use crate::{Error, Result, kind::CLIENT};

/// What stands for a time that nobody lives to see the end of.
const LONG: Duration = Duration::from_hours(24 * 365);

/// The end of a call, and how long that was from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    pub(crate) at: Instant,
    limit: Duration,
}

impl Until {
    /// The earlier of a time from now and a deadline.
    pub(super) fn first(limit: Option<Duration>, deadline: Option<Instant>) -> Option<Self> {
        let begun = Instant::now();
        let own = limit.map(|limit| Self { at: begun.checked_add(limit).unwrap_or(begun + LONG), limit });
        let deadline = deadline.map(|at| Self { at, limit: at.saturating_duration_since(begun) });
        [own, deadline].into_iter().flatten().min_by_key(|until| until.at)
    }

    /// How much of it is left.
    pub(super) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// What a call is told that has no answer by then.
    pub(super) fn late(self, service: &str) -> Error {
        Error::timeout(format!("no answer from `{service}` within {:?}", self.limit)).with_id(CLIENT)
    }

    /// What a stream is told that has not ended by then.
    pub(crate) fn unfinished(self, service: &str) -> Error {
        Error::timeout(format!("the answers of `{service}` did not end within {:?}", self.limit))
            .with_id(CLIENT)
    }
}

/// Awaits a part of a call, no longer than the call may go on.
///
/// # Errors
/// 408 when it is not ready by then, or what it fails with.
pub(super) async fn within<T>(
    until: Option<Until>,
    service: &str,
    part: impl Future<Output = Result<T>>,
) -> Result<T> {
    match until {
        Some(until) => timeout_at(until.at.into(), part).await.unwrap_or_else(|_| Err(until.late(service))),
        None => part.await,
    }
}
