//! The two ends of a stream of messages, the same for handlers and for callers.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Sleep, sleep_until},
};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::{
    Error, Result,
    client::{self, Until},
    handler::Guard,
    kind::CLIENT,
};

/// How many messages may wait between a sender and the connection.
const MOST_WAITING: usize = 16;
/// How many bytes of them may wait: a message that is larger waits alone.
const WAITING_BYTES: usize = 128 << 10;

/// Decodes a message, or says that the other side sent something else.
pub(crate) fn decode<T: Message + Default>(bytes: Bytes) -> Result<T> {
    T::decode(bytes).map_err(|e| Error::bad_request(format!("cannot read the message: {e}")))
}

/// The same for an answer, of which the caller's request is not to blame.
pub(crate) fn decode_answer<T: Message + Default>(bytes: Bytes) -> Result<T> {
    decode(bytes).map_err(unreadable)
}

/// What is said of an answer that cannot be read.
fn unreadable(error: Error) -> Error {
    Error::internal(error.detail).with_id(CLIENT)
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
    apart(bytes.len(), move || look(bytes, guard.as_ref())).await
}

/// The same at once.
fn look<T: Message + Default>(bytes: Bytes, guard: Option<&Guard>) -> Result<T> {
    guard.map_or(Ok(()), |guard| guard.check(&bytes))?;
    decode(bytes)
}

/// Encodes a message.
pub(crate) fn encode<T: Message>(message: &T) -> Bytes {
    message.encode_to_vec().into()
}

/// Where messages are sent. The stream ends when the sender, and each clone of it, is dropped.
pub struct Sender<T> {
    queue: mpsc::Sender<Waiting>,
    /// A permit a byte that may wait.
    room: Arc<Semaphore>,
    abandoned: Arc<AtomicBool>,
    of: PhantomData<fn(T)>,
}

impl<T: Message> Sender<T> {
    pub(crate) fn new() -> (Self, Queue) {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let room = Arc::new(Semaphore::new(WAITING_BYTES));
        let sender = Self { queue, room: room.clone(), abandoned: Arc::default(), of: PhantomData };
        (sender, Queue { waiting, room })
    }

    /// Sends a message; waits while the other side is slow.
    ///
    /// # Errors
    /// 499 when the other side has gone.
    pub async fn send(&self, message: T) -> Result<()> {
        let gone = || Error::new(499, "the other side of the stream has gone");
        let message = encode(&message);
        let room = message.len().min(WAITING_BYTES) as u32;
        let room = self.room.clone().acquire_many_owned(room).await.map_err(|_| gone())?;
        self.queue.send(Waiting { message, _room: room }).await.map_err(|_| gone())
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
        let (queue, room) = (self.queue.clone(), self.room.clone());
        Self { queue, room, abandoned: self.abandoned.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// A message that waits for the connection.
struct Waiting {
    message: Bytes,
    _room: OwnedSemaphorePermit,
}

/// What a sender has sent and the connection has not taken.
pub(crate) struct Queue {
    waiting: mpsc::Receiver<Waiting>,
    room: Arc<Semaphore>,
}

impl Queue {
    /// The next message that is there already.
    pub(crate) fn try_next(&mut self) -> Option<Bytes> {
        self.waiting.try_recv().ok().map(|waiting| waiting.message)
    }

    /// Takes nothing more.
    pub(crate) fn close(&mut self) {
        self.waiting.close();
        self.room.close();
    }
}

impl Stream for Queue {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.waiting.poll_recv(cx).map(|waiting| Some(Ok(waiting?.message)))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Who waits for room is told that nobody makes any.
        self.room.close();
    }
}

/// Encoded messages as they arrive.
pub(crate) struct Frames {
    frames: Streaming<Bytes>,
    /// The service that answers, for those of callers.
    service: Option<Arc<str>>,
    /// When the call has to have ended.
    deadline: Option<(Pin<Box<Sleep>>, Until)>,
    ended: bool,
}

impl Frames {
    /// The answers of a service, which end at a time.
    pub(crate) fn of_call(frames: Streaming<Bytes>, service: Arc<str>, until: Option<Until>) -> Self {
        let deadline = until.map(|until| (Box::pin(sleep_until(until.at.into())), until));
        Self { frames, service: Some(service), deadline, ended: false }
    }
}

impl Stream for Frames {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // First, since a service may send faster than somebody reads.
        let late = self.deadline.as_mut().and_then(|(sleep, until)| match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Some(*until),
            Poll::Pending => None,
        });
        let next = if let Some(until) = late {
            Some(Err(until.unfinished(self.service.as_deref().unwrap_or_default())))
        } else {
            let next = ready!(Pin::new(&mut self.frames).poll_next(cx));
            next.map(|frame| {
                frame.map_err(|status| match &self.service {
                    Some(service) => client::attributed(status.into(), service),
                    None => status.into(),
                })
            })
        };
        self.ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

/// Where messages arrive. It is a [`Stream`], too, of results.
pub struct Receiver<T> {
    frames: Frames,
    guard: Option<Guard>,
    /// A large message that is being decoded apart from other calls.
    decoding: Option<Decoding<T>>,
    ended: bool,
}

/// A message on its way from bytes.
type Decoding<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

impl<T: Message + Default + 'static> Receiver<T> {
    /// The answers of a service, which end at a time.
    pub(crate) fn of_call(frames: Streaming<Bytes>, service: Arc<str>, until: Option<Until>) -> Self {
        let frames = Frames::of_call(frames, service, until);
        Self { frames, guard: None, decoding: None, ended: false }
    }

    /// The requests of a call. A guard looks at each message first.
    pub(crate) fn guarded(frames: Streaming<Bytes>, guard: Option<Guard>) -> Self {
        let frames = Frames { frames, service: None, deadline: None, ended: false };
        Self { frames, guard, decoding: None, ended: false }
    }

    /// The next message, or none when the other side has finished. May be dropped before it is ready, as
    /// in `select!`, without losing a message.
    ///
    /// # Errors
    /// What the other side failed with, 408 when the deadline passes, or 400 for a request of another
    /// type, 500 for an answer of another type. After an error nothing more arrives.
    pub async fn next(&mut self) -> Result<Option<T>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await.transpose()
    }

    /// A message that could not be read is the fault of who sent it.
    fn blamed(&self, message: Result<T>) -> Result<T> {
        if self.frames.service.is_some() { message.map_err(unreadable) } else { message }
    }
}

impl<T: Message + Default + 'static> Stream for Receiver<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let result = loop {
            if let Some(decoding) = &mut self.decoding {
                let result = ready!(decoding.as_mut().poll(cx));
                self.decoding = None;
                break Some(self.blamed(result));
            }
            match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
                Some(Ok(bytes)) if bytes.len() <= LARGE => {
                    break Some(self.blamed(look(bytes, self.guard.as_ref())));
                }
                Some(Ok(bytes)) => {
                    let guard = self.guard.clone();
                    self.decoding = Some(Box::pin(async move { take(bytes, guard.as_ref()).await }));
                }
                Some(Err(error)) => break Some(Err(error)),
                None => break None,
            }
        };
        self.ended = !matches!(result, Some(Ok(_)));
        Poll::Ready(result)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    /// Sends messages of a size until one has to wait; how many did not.
    async fn sent(sender: &Sender<Vec<u8>>, bytes: usize) -> usize {
        let mut count = 0;
        while let Ok(sent) =
            tokio::time::timeout(std::time::Duration::ZERO, sender.send(vec![1; bytes])).await
        {
            sent.unwrap();
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn so_many_bytes_wait_and_no_more() {
        for (bytes, expected) in [(10, MOST_WAITING), (WAITING_BYTES / 4, 3), (16 << 20, 1)] {
            let (sender, mut queue) = Sender::new();
            assert_eq!(sent(&sender, bytes).await, expected, "{bytes}");
            assert!(queue.next().await.unwrap().unwrap().len() >= bytes);
            assert_eq!(sent(&sender, bytes).await, 1, "what is taken makes room");
        }
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told_that_the_other_side_has_gone() {
        let (sender, queue) = Sender::new();
        sender.send(vec![1; WAITING_BYTES]).await.unwrap();
        let message = vec![1; 10];
        let (sent, ()) = tokio::join!(sender.send(message), async { drop(queue) });
        assert_eq!(sent.unwrap_err().code, 499);
    }
}
