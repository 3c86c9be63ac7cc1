//! The body of an answer on its way out: a large message is given out in pieces. What is not tiny is
//! counted in the budget of the server until its reader has taken the last piece.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use micro_sdk::Error;

use super::{
    budget::{Hold, SMALL},
    connection::{Connection, Reading},
};

/// A chunk of up to so many bytes is tiny: it is not counted, and as much as that may wait in a stream of
/// HTTP/2 before the next chunk is asked for.
pub(super) const TINY: usize = 4 << 10;

/// What an answer begins with: a frame, or its end.
enum First<E> {
    Frame(Result<Frame<Bytes>, E>),
    End,
}

/// The body of an answer that counts what it holds.
pub(super) struct Outbound<B: HttpBody> {
    body: B,
    hold: Hold,
    connection: Option<Arc<Connection>>,
    /// What is left of a large chunk, while its reader takes it.
    rest: Option<(Bytes, Option<Reading>)>,
    /// What was taken before anybody asked for it.
    first: Option<First<B::Error>>,
    /// How the answer ends when the server cannot hold it.
    refuse: fn(Error) -> Frame<Bytes>,
    ended: bool,
}

impl<B: HttpBody> Outbound<B> {
    /// Counts for a hold, and watches over its reader at the other end of a connection.
    pub(super) fn new(
        body: B,
        hold: Hold,
        connection: Option<Arc<Connection>>,
        refuse: fn(Error) -> Frame<Bytes>,
    ) -> Self {
        Self { body, hold, connection, rest: None, first: None, refuse, ended: false }
    }

    /// Takes what is there of the answer already, so that it is counted also where its reader takes
    /// nothing of it.
    pub(super) fn begun(mut self) -> Self
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Unpin,
    {
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(first) = Pin::new(&mut self).poll_frame(&mut nobody) {
            self.first = Some(first.map_or(First::End, First::Frame));
        }
        self
    }

    /// A whole answer, for which the hold has grown already.
    pub(super) fn whole(answer: Bytes, hold: Hold, connection: Arc<Connection>) -> Self
    where
        B: Default,
    {
        let mut body = Self::new(B::default(), hold, Some(connection.clone()), |_| Frame::data(Bytes::new()));
        body.rest = Some((answer, Some(Reading::new(connection))));
        body
    }

    /// The next piece of a large chunk.
    fn piece(&mut self) -> Option<Frame<Bytes>> {
        let (rest, reading) = self.rest.as_mut()?;
        if rest.is_empty() {
            self.rest = None;
            self.hold.release();
            return None;
        }
        if let Some(reading) = reading {
            reading.goes_on();
        }
        Some(Frame::data(rest.split_to(rest.len().min(SMALL))))
    }
}

impl<B> HttpBody for Outbound<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let me = &mut *self;
        if let Some(first) = me.first.take() {
            return Poll::Ready(match first {
                First::Frame(frame) => Some(frame),
                First::End => None,
            });
        }
        if let Some(piece) = me.piece() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if me.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(Pin::new(&mut me.body).poll_frame(cx));
        let Some(Ok(frame)) = polled else {
            me.ended = true;
            return Poll::Ready(polled);
        };
        match frame.into_data() {
            Ok(chunk) if chunk.len() > TINY => {
                if let Err(error) = me.hold.grow(chunk.len()) {
                    me.ended = true;
                    return Poll::Ready(Some(Ok((me.refuse)(error))));
                }
                let reading = me.connection.clone().filter(|_| chunk.len() > SMALL).map(Reading::new);
                me.rest = Some((chunk, reading));
                Poll::Ready(me.piece().map(Ok))
            }
            Ok(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Err(frame) => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let first = match &self.first {
            Some(First::Frame(Ok(frame))) => frame.data_ref(),
            _ => None,
        };
        let rest = self.rest.as_ref().map_or(0, |(rest, _)| rest.len()) + first.map_or(0, Bytes::len);
        let rest = rest as u64;
        let inner = if self.ended { SizeHint::with_exact(0) } else { self.body.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.saturating_add(inner.lower()));
        if let Some(upper) = inner.upper() {
            hint.set_upper(rest.saturating_add(upper));
        }
        hint
    }
}
