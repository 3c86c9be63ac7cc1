//! The two ends of a stream of messages, the same for handlers and for callers.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Status, Streaming};

use crate::{Error, Result, handler::Guard};

/// How many messages may wait between a sender and the connection.
const WAITING: usize = 16;

/// Decodes a message, or says that the other side sent something else.
pub(crate) fn decode<T: Message + Default>(bytes: Bytes) -> Result<T> {
    T::decode(bytes).map_err(|e| Error::bad_request(format!("cannot read the message: {e}")))
}

/// Reading more bytes at once would keep other calls waiting.
const LARGE: usize = 256 << 10;

/// Does work on so many bytes; where they are many, apart from the other calls and two at a time.
///
/// # Errors
/// What the work fails with, or 500 when it panics.
pub async fn apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    static PLACES: Semaphore = Semaphore::const_new(2);
    if bytes <= LARGE {
        return work();
    }
    // The semaphore is never closed.
    let _place = PLACES.acquire().await;
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::internal("a message could not be read or written; the log says why")))
}

/// Decodes a message that the guard of its call, if there is one, has nothing against.
pub(crate) async fn take<T: Message + Default + 'static>(bytes: Bytes, guard: Option<&Guard>) -> Result<T> {
    let guard = guard.cloned();
    let look = move |bytes: Bytes| {
        guard.map_or(Ok(()), |guard| guard.check(&bytes))?;
        decode(bytes)
    };
    apart(bytes.len(), move || look(bytes)).await
}

/// Encodes a message.
pub(crate) fn encode<T: Message>(message: &T) -> Bytes {
    message.encode_to_vec().into()
}

/// Where messages are sent. The stream ends when the sender, and each clone of it, is dropped.
pub struct Sender<T> {
    queue: mpsc::Sender<Result<Bytes, Status>>,
    abandoned: Arc<AtomicBool>,
    of: PhantomData<fn(T)>,
}

impl<T: Message> Sender<T> {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Result<Bytes, Status>>) {
        let (queue, receiver) = mpsc::channel(WAITING);
        (Self { queue, abandoned: Arc::default(), of: PhantomData }, receiver)
    }

    /// Sends a message; waits while the other side is slow.
    ///
    /// # Errors
    /// 499 when the other side has gone.
    pub async fn send(&self, message: T) -> Result<()> {
        let gone = |_| Error::new(499, "the other side of the stream has gone");
        self.queue.send(Ok(encode(&message))).await.map_err(gone)
    }

    /// Ends the stream as one that is not whole: the other side gets an error where dropping the
    /// sender would have said that this was all. For callers; a handler returns an error instead.
    pub fn abandon(self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Tells, once the queue has ended, whether the stream was abandoned.
    pub(crate) fn abandoned(&self) -> Arc<AtomicBool> {
        self.abandoned.clone()
    }

    /// Completes when the other side has gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), abandoned: self.abandoned.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// Where messages arrive.
pub struct Receiver<T> {
    frames: Streaming<Bytes>,
    guard: Option<Guard>,
    of: PhantomData<fn() -> T>,
}

impl<T: Message + Default + 'static> Receiver<T> {
    pub(crate) fn new(frames: Streaming<Bytes>) -> Self {
        Self::guarded(frames, None)
    }

    /// A guard looks at each message first.
    pub(crate) fn guarded(frames: Streaming<Bytes>, guard: Option<Guard>) -> Self {
        Self { frames, guard, of: PhantomData }
    }

    /// The next message, or none when the other side has finished.
    ///
    /// # Errors
    /// What the other side failed with, or 400 for a message of another type. After an error
    /// nothing more arrives.
    pub async fn next(&mut self) -> Result<Option<T>> {
        match self.frames.message().await? {
            Some(message) => take(message, self.guard.as_ref()).await.map(Some),
            None => Ok(None),
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
