//! Background work with an owner and a known end: everything that outlives a call is spawned
//! here, is told to stop by one token, and is waited for.

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A group of tasks that end together, and before them the streams that would not end by themselves. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    token: CancellationToken,
    streams: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Runs a future in the background. It has to end soon after [`Tasks::token`] is cancelled.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(future)
    }

    /// Cancelled when the group stops.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs a future until it ends or the group stops; none if it was stopped.
    pub(crate) async fn until_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }

    /// Runs a step of a stream that follows changes until it ends, or all streams do; none if they did.
    pub(crate) async fn until_streams_end<F: Future>(&self, step: F) -> Option<F::Output> {
        self.streams.run_until_cancelled(step).await
    }

    /// Ends the streams that follow changes: the calls they belong to would never end by themselves.
    pub(crate) fn end_streams(&self) {
        self.streams.cancel();
    }

    /// Ends the streams, tells every task to stop and waits for them, `limit` at most; false if some are left.
    pub(crate) async fn stop(&self, limit: Duration) -> bool {
        self.streams.cancel();
        self.token.cancel();
        self.tracker.close();
        timeout(limit, self.tracker.wait()).await.is_ok()
    }
}
