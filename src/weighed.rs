//! A queue between two tasks that is bounded in number and in bytes: what waits in it may be of any size,
//! and its receiver may be slow.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;

/// The side that adds.
pub(crate) struct Sender<T> {
    queue: mpsc::Sender<(T, OwnedSemaphorePermit)>,
    /// A permit a byte that may wait.
    room: Arc<Semaphore>,
    bytes: usize,
}

/// The side that takes.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    queue: mpsc::Receiver<(T, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// Nobody takes anything any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// A queue for so many things of so many bytes in all. One that is larger waits alone.
pub(crate) fn queue<T>(count: usize, bytes: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(count);
    let room = Arc::new(Semaphore::new(bytes));
    (Sender { queue: sender, room: room.clone(), bytes }, Receiver { queue: receiver, room })
}

impl<T> Sender<T> {
    /// Adds something that weighs so many bytes, as soon as there is room.
    ///
    /// # Errors
    /// The receiver is gone.
    pub(crate) async fn send(&self, thing: T, weight: usize) -> Result<(), Gone> {
        // A semaphore has fewer permits than that, so no weight is cut off.
        let weight = u32::try_from(weight.min(self.bytes)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(weight).await.map_err(|_| Gone)?;
        self.queue.send((thing, room)).await.map_err(|_| Gone)
    }

    /// Waits until the receiver is gone.
    pub(crate) async fn closed(&self) {
        self.queue.closed().await;
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.queue.poll_recv(cx).map(|next| next.map(|(thing, _)| thing))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Who waits for room is told that nobody makes any.
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use tokio_stream::StreamExt as _;

    use super::*;

    /// Adds things of a weight until one has to wait; how many did not.
    async fn added(sender: &Sender<usize>, weight: usize) -> usize {
        let mut count = 0;
        while let Ok(sent) = timeout(Duration::ZERO, sender.send(weight, weight)).await {
            sent.unwrap();
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn so_much_waits_and_no_more() {
        for (weight, expected) in [(1, 4), (40, 2), (100, 1), (1000, 1)] {
            let (sender, mut receiver) = queue(4, 100);
            assert_eq!(added(&sender, weight).await, expected, "{weight}");
            assert_eq!(receiver.next().await, Some(weight));
            assert_eq!(added(&sender, weight).await, 1, "what is taken makes room");
        }
    }

    #[tokio::test]
    async fn who_waits_is_told_that_nobody_takes_anything() {
        let (sender, receiver) = queue(4, 100);
        sender.send(0, 100).await.unwrap();
        let (sent, ()) = tokio::join!(sender.send(0, 1), async { drop(receiver) });
        assert_eq!(sent, Err(Gone));
        sender.closed().await;
    }
}
