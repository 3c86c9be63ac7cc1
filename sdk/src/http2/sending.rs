//! The body of a request on its way out.

use std::{
    error::Error as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;
use tokio::sync::oneshot;
use tonic::{Status, body::Body};

/// The body of a request on its way. It ends by itself, when the other side wants no more of it, or when
/// nobody waits for the response any more, which breaks the call off.
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    body: Body,
    /// Read and not sent, for want of room.
    chunk: Option<Bytes>,
    /// The first chunk was sent, or did not come together with the head.
    begun: bool,
    /// Resolves when nobody waits for the response; none while the head is being sent.
    unwanted: Option<oneshot::Receiver<()>>,
}

impl Future for Sending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        if let Some(unwanted) = &mut me.unwanted {
            if Pin::new(unwanted).poll(cx).is_ready() {
                me.stream.send_reset(Reason::CANCEL);
                return Poll::Ready(());
            }
            if me.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        // What went wrong shows in the response too.
        if let Err(reason) = ready!(me.send(cx)) {
            me.stream.send_reset(reason);
        }
        Poll::Ready(())
    }
}

/// Why a stream is reset whose body failed: for what the stream was reset that the body came by, if it was.
fn reason(error: &Status) -> Reason {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return reason;
        }
        source = error.source();
    }
    Reason::INTERNAL_ERROR
}

impl Sending {
    pub(super) fn new(stream: SendStream<Bytes>, body: Body) -> Self {
        Self { stream, body, chunk: None, begun: false, unwanted: None }
    }

    /// Breaks off when this resolves: nobody waits for the response any more.
    pub(super) fn unless(self, unwanted: oneshot::Receiver<()>) -> Self {
        Self { unwanted: Some(unwanted), ..self }
    }

    /// Sends the body. An error is the reason for which the stream is to be reset.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let refused = |_: h2::Error| Reason::INTERNAL_ERROR;
        loop {
            if let Some(chunk) = self.chunk.take() {
                // The first chunk is handed to `h2` whatever the window is, to leave together with the head.
                let fits = !self.begun || chunk.is_empty() || self.has_room(cx)?;
                if !fits {
                    self.chunk = Some(chunk);
                    return Poll::Pending;
                }
                self.begun = true;
                let is_last = self.body.is_end_stream();
                self.stream.send_data(chunk, is_last).map_err(refused)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            self.begun |= polled.is_pending();
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => self.chunk = Some(chunk),
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        self.stream.reserve_capacity(0);
                        self.stream.send_trailers(trailers).map_err(refused)?;
                        return Poll::Ready(Ok(()));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(reason(&error))),
                None => {
                    self.stream.send_data(Bytes::new(), true).map_err(refused)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Whether more can be sent. Only a byte is asked for: a claim on all of a chunk would keep the window of
    /// the connection from other streams while it waits. An error is as that of [`Self::send`].
    fn has_room(&mut self, cx: &mut Context<'_>) -> Result<bool, Reason> {
        self.stream.reserve_capacity(1);
        loop {
            if self.stream.capacity() > 0 {
                return Ok(true);
            }
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Err(Reason::INTERNAL_ERROR),
                Poll::Pending => return Ok(false),
            }
        }
    }
}
