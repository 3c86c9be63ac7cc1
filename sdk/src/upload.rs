//! A call whose requests are a stream: sent as they come, answered once at the end.

use std::{fmt, future::Future, pin::Pin};

use prost::Message;

use crate::{Error, Result, Sender};

/// Requests under way to one response. Dropped before [`Upload::finish`], the other side gets an
/// error, and never takes what it has for all there is.
pub struct Upload<I: Message, O> {
    sender: Option<Sender<I>>,
    response: Pin<Box<dyn Future<Output = Result<O>> + Send>>,
}

impl<I: Message, O> Upload<I, O> {
    /// Begins with what a client returns for such a call.
    pub fn new(call: (Sender<I>, impl Future<Output = Result<O>> + Send + 'static)) -> Self {
        Self { sender: Some(call.0), response: Box::pin(call.1) }
    }

    /// Sends a request; waits while the other side is slow.
    ///
    /// # Errors
    /// What the other side answered before it had everything. Nothing can be sent after that.
    pub async fn send(&mut self, request: I) -> Result<()> {
        let gone = || Error::new(499, "the call has ended");
        let sender = self.sender.as_ref().ok_or_else(gone)?;
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
            return Err(Error::new(499, "the call has ended"));
        }
        self.response.as_mut().await
    }

    fn abandon(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.abandon();
        }
    }
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
