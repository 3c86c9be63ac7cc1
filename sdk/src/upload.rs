//! A call whose requests are a stream: sent as they come, answered once at the end.

use std::fmt;

use prost::Message;
use tokio::task::JoinHandle;

use crate::{Error, Result, Sender, kind::CLIENT};

/// Requests under way to one response; what a client returns for a method whose requests are a stream.
///
/// ```
/// # use micro_sdk::{Result, Upload, proto::store::{BlobWriteRequest, BlobWriteResponse}};
/// # async fn example(mut upload: Upload<BlobWriteRequest, BlobWriteResponse>, pieces: Vec<BlobWriteRequest>) -> Result<()> {
/// for piece in pieces {
///     upload.send(piece).await?;
/// }
/// let written = upload.finish().await?;
/// # Ok(())
/// # }
/// ```
///
/// Dropped before [`Upload::finish`], as by an early `?`, the other side gets an error, and never takes
/// what it has for all there is.
#[must_use = "the call fails where it is not finished"]
pub struct Upload<I: Message, O> {
    sender: Option<Sender<I>>,
    /// The call, which goes on by itself.
    response: JoinHandle<Result<O>>,
    /// An answer that came before the end of the requests.
    early: Option<Result<O>>,
}

impl<I: Message, O: Send + 'static> Upload<I, O> {
    /// The queue of the requests, and the call that empties it.
    pub(crate) fn new(sender: Sender<I>, response: impl Future<Output = Result<O>> + Send + 'static) -> Self {
        Self { sender: Some(sender), response: tokio::spawn(response), early: None }
    }

    /// Sends a request; waits while the other side is slow.
    ///
    /// # Errors
    /// What the other side answered before it had everything, or 499 where it had enough. Nothing can be sent
    /// after that, and [`Upload::finish`] has its answer, too.
    pub async fn send(&mut self, request: I) -> Result<()> {
        let sender = self.sender.as_ref().ok_or_else(over)?;
        let answered = tokio::select! {
            sent = sender.send(request) => match sent {
                Ok(()) => return Ok(()),
                // Why it has gone is in its answer.
                Err(_) => (&mut self.response).await,
            },
            answered = &mut self.response => answered,
        };
        self.abandon();
        let answered = answered.unwrap_or_else(|_| Err(over()));
        let told = answered.as_ref().err().cloned().unwrap_or_else(over);
        self.early = Some(answered);
        Err(told)
    }

    /// Ends the requests and returns the response.
    ///
    /// # Errors
    /// What the other side answered.
    pub async fn finish(mut self) -> Result<O> {
        if let Some(early) = self.early.take() {
            return early;
        }
        if self.sender.take().is_none() {
            return Err(over());
        }
        (&mut self.response).await.unwrap_or_else(|_| Err(over()))
    }
}

impl<I: Message, O> Upload<I, O> {
    fn abandon(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.abandon();
        }
    }
}

/// What a call is told that was answered already.
fn over() -> Error {
    Error::new(499, "the call has ended").with_id(CLIENT)
}

impl<I: Message, O> Drop for Upload<I, O> {
    fn drop(&mut self) {
        let is_under_way = self.sender.is_some();
        self.abandon();
        if is_under_way {
            self.response.abort();
        }
    }
}

impl<I: Message, O> fmt::Debug for Upload<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upload")
    }
}
