//! A connection on its way to the library that answers it. Of HTTP/1 each head is held back until it is
//! whole and has been looked at; what is refused gets its answer here. A client of HTTP/2 has to say
//! something before a deadline, and nothing more is read from one that does not take what is sent to it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use micro_sdk::{Error, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    budget::Hold,
    connection::{Connection, Reading},
    frames::Frames,
    heads::{Heads, Limits, Part},
    plain,
};

/// The start of the HTTP/2 preface.
const PREFACE: &[u8] = b"PRI ";
/// How much a client says at least: the preface and the settings frame that must follow it (RFC 9113,
/// section 3.4).
const PREFACE_BYTES: usize = 24 + 9;
/// How much is read at once.
const PIECE: usize = 4 << 10;
/// How long a client that was refused may still send: closed before that, it might not see the answer.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// How much it may still send.
const PARTING_BYTES: usize = 4 << 20;

/// A stream whose heads are looked at.
pub(super) struct Reader<S> {
    stream: S,
    heads: Heads,
    /// What has come and was not passed on; so much of it may be.
    buffer: BytesMut,
    passing: usize,
    /// Counts the head that is not whole yet.
    hold: Hold,
    held: usize,
    /// By when the first head, or the preface of HTTP/2, has to come; none once it has.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many bytes of the preface of HTTP/2 have not come.
    missing: usize,
    /// What is counted of the frames of HTTP/2; none for HTTP/1.
    frames: Option<Frames>,
    ended: bool,
    refusal: Option<Bytes>,
    /// Once the answer to what was refused is on its way: when it is given up, and what came since.
    parting: Option<(Pin<Box<Sleep>>, usize)>,
    shut: bool,
    connection: Arc<Connection>,
    /// While the client takes nothing of what is sent to it.
    unread: Option<Reading>,
    /// Who waits for more to read, until the client has taken some.
    waiting: Option<Waker>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    pub(super) fn new(stream: S, limits: Limits, connection: Arc<Connection>, deadline: Instant) -> Self {
        let hold = Hold::new(connection.purse.clone(), None);
        Self {
            stream,
            heads: Heads::new(limits),
            buffer: BytesMut::new(),
            passing: 0,
            hold,
            held: 0,
            deadline: Some(Box::pin(sleep_until(deadline))),
            missing: 0,
            frames: None,
            ended: false,
            refusal: None,
            parting: None,
            shut: false,
            connection,
            unread: None,
            waiting: None,
        }
    }

    /// Notes whether the client took something of what is sent to it.
    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_ready() {
            self.unread = None;
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        } else if self.unread.is_none() {
            self.unread = Some(Reading::new(self.connection.clone()));
        }
        written
    }

    /// Passes on what may be.
    fn pass(&mut self, out: &mut ReadBuf<'_>) {
        let some = self.passing.min(out.remaining());
        out.put_slice(&self.buffer.split_to(some));
        self.passing -= some;
        if self.passing == 0 && self.buffer.is_empty() {
            // An idle connection keeps no memory.
            self.buffer = BytesMut::new();
        }
    }

    /// Reads past what need not be looked at as a head.
    fn through(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, out);
        let new = &out.filled()[before..];
        if self.missing > 0 {
            self.missing = self.missing.saturating_sub(new.len());
            if self.missing == 0 {
                self.deadline = None;
            } else if polled.is_pending() {
                return self.late(cx);
            }
        }
        if let Some(frames) = &mut self.frames {
            let unfinished = frames.follow(new);
            if let Err(error) = self.count(unfinished) {
                return Poll::Ready(Err(io::Error::other(error)));
            }
            return polled;
        }
        let taken = self.heads.body(new);
        if taken < new.len() {
            self.buffer.extend_from_slice(&new[taken..]);
            out.set_filled(before + taken);
        }
        polled
    }

    fn late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let late = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if late { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }

    /// Looks at what may be a head, and reads more of it.
    fn collect(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deadline.is_some() && self.buffer.starts_with(PREFACE) {
            self.heads.leave();
            let mut frames = Frames::new();
            frames.follow(&self.buffer);
            self.frames = Some(frames);
            self.missing = PREFACE_BYTES.saturating_sub(self.buffer.len());
            if self.missing == 0 {
                self.deadline = None;
            }
            self.passing = self.buffer.len();
            return Poll::Ready(Ok(()));
        }
        match self.heads.head(&self.buffer) {
            Ok(Some(length)) => {
                self.passing = length + self.heads.body(&self.buffer[length..]);
                self.deadline = None;
                self.release();
                return Poll::Ready(Ok(()));
            }
            Ok(None) => {}
            Err(error) => {
                self.refuse(error);
                return Poll::Ready(Ok(()));
            }
        }
        if let Err(error) = self.count(self.buffer.len()) {
            self.refuse(error);
            return Poll::Ready(Ok(()));
        }
        let mut piece = [std::mem::MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        match Pin::new(&mut self.stream).poll_read(cx, &mut piece) {
            Poll::Pending => self.late(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                self.ended = piece.filled().is_empty();
                self.buffer.extend_from_slice(piece.filled());
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Reads no more, and answers when what was asked before has been answered.
    fn refuse(&mut self, error: Error) {
        tracing::debug!(%error, "a request is refused");
        self.refusal = Some(answer(&error.with_id("micro.server")));
        self.buffer = BytesMut::new();
        self.release();
    }

    /// Counts a head that is not whole yet and has so many bytes.
    fn count(&mut self, bytes: usize) -> Result<()> {
        if bytes < self.held {
            self.release();
        }
        if bytes > self.held {
            self.hold.grow(bytes - self.held)?;
            self.held = bytes;
        }
        Ok(())
    }

    fn release(&mut self) {
        self.held = 0;
        self.hold.release();
    }

    /// Writes the answer to what was refused, and reads what the client still sends.
    fn part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = || (Box::pin(sleep_until(Instant::now() + PARTING_TIME)), 0);
        if self.parting.get_or_insert_with(deadline).0.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while let Some(refusal) = self.refusal.as_mut().filter(|refusal| !refusal.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            refusal.advance(written);
        }
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
        }
        let mut piece = [std::mem::MaybeUninit::uninit(); PIECE];
        loop {
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
            let came = piece.filled().len();
            let Some((_, read)) = &mut self.parting else { return Poll::Ready(Ok(())) };
            *read += came;
            if came == 0 || *read > PARTING_BYTES {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The response of HTTP/1 to a request that was refused before it was read.
fn answer(error: &Error) -> Bytes {
    let status = plain::status(error);
    let reason = status.canonical_reason().unwrap_or_default();
    let body = error.to_json() + "\n";
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    let date = date.map(|date| format!("date: {date}\r\n")).unwrap_or_default();
    let retry = error.retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
    let (code, length) = (status.as_str(), body.len());
    Bytes::from(format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\n{retry}{date}\r\n{body}"
    ))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Reader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.unread.is_some() && me.frames.is_some() {
            // What it still asks for would only be held for it.
            me.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = out.filled().len();
        loop {
            if me.passing > 0 {
                me.pass(out);
                return Poll::Ready(Ok(()));
            }
            if me.ended || me.refusal.is_some() || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if *me.heads.part() == Part::Head {
                ready!(me.collect(cx))?;
                continue;
            }
            ready!(me.through(cx, out))?;
            // What came may all belong to the next head; none is the end.
            if out.filled().len() > before || me.buffer.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Reader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refusal.is_some() { self.part(cx) } else { Pin::new(&mut self.stream).poll_shutdown(cx) }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }
}
