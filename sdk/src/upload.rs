//! A call whose requests are a stream: sent as they come, answered once at the end.

use std::{fmt, pin::Pin};

use prost::Message;

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
#[must_use = "nothing is sent before `send` or `finish`"]
pub struct Upload<I: Message, O> {
    sender: Option<Sender<I>>,
    response: Pin<Box<dyn Future<Output = Result<O>> + Send>>,
}

impl<I: Message, O> Upload<I, O> {
    /// The queue of the requests, and the call that empties it.
    pub(crate) fn new(sender: Sender<I>, response: impl Future<Output = Result<O>> + Send + 'static) -> Self {
        Self { sender: Some(sender), response: Box::pin(response) }
    }

    /// Sends a request; waits while the other side is slow.
    ///
    /// # Errors
    /// What the other side answered before it had everything. Nothing can be sent after that.
    pub async fn send(&mut self, request: I) -> Result<()> {
        let sender = self.sender.as_ref().ok_or_else(over)?;
        let answered = tokio::select! {
            sent = sender.send(request) => match sent {
                Ok(()) => return Ok(()),
                // Why it has gone is in its answer.
                Err(_) => self.response.as_mut().await,
            },
            answered = self.response.as_mut() => answered,
        };
        // A response is not to be awaited twice.
        self.abandon();
        answered.and(Err(Error::internal("the answer came before the end of what was sent")))
    }

    /// Ends the requests and returns the response.
    ///
    /// # Errors
    /// What the other side answered.
    pub async fn finish(mut self) -> Result<O> {
        if self.sender.take().is_none() {
            return Err(over());
        }
        self.response.as_mut().await
    }

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
        self.abandon();
    }
}

impl<I: Message, O> fmt::Debug for Upload<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upload")
    }
}
