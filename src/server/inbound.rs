//! The body of a request on its way in, a stream of gRPC messages: each message has its limit, is counted
//! in the budget of the server while it is dealt with, and has to come at some rate once it has begun.
//! Between two messages a stream may be idle for as long as it likes.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use micro_sdk::{Error, MESSAGE_LIMIT, Result, handler::Guard, proto::auth::Account};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Status, codegen::StdError};

use super::{
    budget::{self, CALL, Hold, Purse},
    hooked::{Hook, Next},
    target::Target,
};
use crate::transcode::Weights;

/// How long a message may be waited for until [`RATE_BYTES`] more of it have come.
const RATE_TIME: Duration = Duration::from_secs(10);
/// How many bytes of a message have to come in each [`RATE_TIME`] of waiting.
const RATE_BYTES: usize = 64 << 10;
/// How long a message may be waited for altogether.
const LONGEST: Duration = Duration::from_mins(2);
/// The bytes before a message: a flag and its length.
const HEAD: usize = 5;

/// How many times its size a message of a building block may take in memory.
const WEIGHT_FACTOR: usize = 8;
/// How many bytes it may take however small it is.
const WEIGHT_FLOOR: usize = 4 << 20;
/// Messages of fewer bytes are not weighed: they become less than that.
const WEIGHED: usize = 1 << 10;

/// How the sender of a message gets on with it. Only time in which it is waited for counts.
#[derive(Debug, Default)]
pub(super) struct Progress {
    waiting_since: Option<Instant>,
    /// Before now, in this measure of time and altogether.
    waited: (Duration, Duration),
    bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Progress {
    /// So many bytes have come.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes += bytes;
        if let Some(since) = self.waiting_since.take() {
            self.waited.0 += since.elapsed();
            self.waited.1 += since.elapsed();
        }
        if self.bytes >= RATE_BYTES {
            (self.bytes, self.waited.0) = (0, Duration::ZERO);
        }
    }

    /// Waits until it has taken too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let now = Instant::now();
        let since = *self.waiting_since.get_or_insert(now);
        let left = (RATE_TIME.saturating_sub(self.waited.0)).min(LONGEST.saturating_sub(self.waited.1));
        let at = since + left;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Error::timeout(format!(
            "the message did not come in time: at least {} bytes are expected in {} s, and all of it in {} s",
            RATE_BYTES,
            RATE_TIME.as_secs(),
            LONGEST.as_secs(),
        )))
    }
}

/// What a call holds of the budget, shared by its request, its answer and its handler.
#[derive(Debug)]
pub(super) struct Meter {
    /// What every call takes beside its messages, held until it ends.
    _call: Hold,
    /// For its messages.
    hold: Mutex<Hold>,
    /// What [`Meter::keep`] holds until the call ends.
    kept: Mutex<Option<Hold>>,
    /// Why the request was broken off.
    refused: OnceLock<Error>,
}

impl Meter {
    /// The meter of a call by who has this purse and account, with a head of so many bytes.
    ///
    /// # Errors
    /// 503 where too many calls are open already.
    pub(super) fn new(purse: &Arc<Purse>, account: Option<Arc<Account>>, head: usize) -> Result<Arc<Self>> {
        let mut call = Hold::new(purse.clone(), account);
        call.grow(CALL + head)?;
        let hold = Mutex::new(call.another());
        Ok(Arc::new(Self { _call: call, hold, kept: Mutex::default(), refused: OnceLock::new() }))
    }

    /// Holds so many bytes more, until the call ends.
    ///
    /// # Errors
    /// 413 or 503, as [`Hold::grow`].
    pub(super) fn grow(&self, bytes: usize) -> Result<()> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes)
    }

    /// Holds so many bytes more of a message that is said to have so many, until the call ends.
    ///
    /// # Errors
    /// 413 or 503, as [`Hold::grow`].
    pub(super) fn grow_to(&self, bytes: usize, announced: usize) -> Result<()> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).grow_to(bytes, announced)
    }

    /// Holds so many bytes in all, for a message of so many that is passed on while it comes.
    ///
    /// # Errors
    /// 413 or 503, as [`Hold::grow`].
    fn reach(&self, bytes: usize, announced: usize) -> Result<()> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).reach(bytes, announced)
    }

    /// Another hold, for what does not end with the call.
    pub(super) fn another(&self) -> Hold {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).another()
    }

    /// Holds so many bytes more until the call ends, whatever it gives back before.
    ///
    /// # Errors
    /// 413 or 503, as [`Hold::grow`].
    pub(super) fn keep(&self, bytes: usize) -> Result<()> {
        let mut hold = self.another();
        hold.grow(bytes)?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
        Ok(())
    }

    /// Gives back what is held: the messages are dealt with.
    pub(super) fn release(&self) {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).release();
    }

    /// Why the request was broken off, if it was.
    pub(super) fn refused(&self) -> Option<&Error> {
        self.refused.get()
    }

    fn refuse(&self, error: Error) -> Status {
        let error = if error.code == 503 { budget::used_up(error) } else { error };
        self.refused.get_or_init(|| error.with_id("micro.server")).clone().into()
    }
}

/// Looks at the messages for a building block before they are decoded: what would become too large is
/// refused, and what it takes is counted.
pub(super) fn guard(weights: &Arc<Weights>, number: usize, target: &Target, meter: &Arc<Meter>) -> Guard {
    let (weights, meter) = (weights.clone(), meter.clone());
    let called = format!("{}.{}", target.service, target.endpoint);
    Guard::new(move |message| {
        if message.len() < WEIGHED {
            return Ok(());
        }
        let most = WEIGHT_FLOOR.max(WEIGHT_FACTOR * message.len());
        let weight = weights.weigh(number, message, most);
        let weight = weight.map_err(|invalid| Error::bad_request(invalid.0))?;
        if weight > most {
            return Err(Error::too_large(format!(
                "the message for {called} has so many parts that it would take more than {most} bytes of memory, \
                 which is the limit"
            )));
        }
        meter.grow(weight.saturating_sub(message.len()))
    })
}

/// What a request is held to.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// The largest message, in bytes.
    pub(super) limit: usize,
    /// Messages are collected here, so they count until they are dealt with. Others are collected by
    /// the service, and count until they are whole.
    pub(super) kept: bool,
    /// The first message has to come without being waited for.
    pub(super) prompt: bool,
    /// Messages may be compressed: the receiver is told how, and reads them itself.
    pub(super) compressed: bool,
}

/// Holds the body of a request to its terms.
pub(super) struct Inbound {
    terms: Terms,
    meter: Arc<Meter>,
    head: [u8; HEAD],
    /// How many bytes of the head of a message have come.
    had: usize,
    /// How many bytes of the message are missing.
    missing: usize,
    progress: Option<Progress>,
}

impl Inbound {
    pub(super) fn new(terms: Terms, meter: Arc<Meter>) -> Self {
        let progress = terms.prompt.then(Progress::default);
        Self { terms, meter, head: [0; HEAD], had: 0, missing: 0, progress }
    }

    /// Follows the messages through the bytes of a chunk.
    fn follow(&mut self, mut chunk: &[u8]) -> Result<()> {
        let bytes = chunk.len();
        while !chunk.is_empty() {
            if self.had == HEAD {
                let taken = self.missing.min(chunk.len());
                (self.missing, chunk) = (self.missing - taken, &chunk[taken..]);
            } else {
                if self.had == 0 && self.terms.kept {
                    // What came before is dealt with: a receiver takes one message after the other.
                    self.meter.release();
                }
                let taken = (HEAD - self.had).min(chunk.len());
                self.head[self.had..self.had + taken].copy_from_slice(&chunk[..taken]);
                (self.had, chunk) = (self.had + taken, &chunk[taken..]);
                if self.had < HEAD {
                    break;
                }
                match self.head[0] {
                    0 => {}
                    1 if self.terms.compressed => {}
                    1 => {
                        return Err(Error::not_implemented(
                            "a compressed message: send it as it is, nothing else is read here",
                        ));
                    }
                    flag => {
                        return Err(Error::bad_request(format!("not a gRPC message: flag {flag} before it")));
                    }
                }
                self.missing = self.announced();
                if self.missing > self.terms.limit {
                    return Err(Error::too_large(format!(
                        "a message of {} bytes; the limit is {} bytes",
                        self.missing, self.terms.limit
                    )));
                }
            }
            if self.had == HEAD && self.missing == 0 {
                (self.had, self.progress) = (0, None);
            }
        }
        if self.had > 0 {
            self.progress.get_or_insert_default().came(bytes);
        }
        let announced = if self.had < HEAD { 0 } else { self.announced() };
        if self.terms.kept {
            self.meter.grow_to(bytes, announced)
        } else {
            // A service may take larger ones than the server does: that is its own affair.
            let come = announced.saturating_sub(self.missing).min(MESSAGE_LIMIT);
            self.meter.reach(come, announced)
        }
    }

    /// How many bytes the message has whose head has come.
    fn announced(&self) -> usize {
        let [_, length @ ..] = self.head;
        usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
    }

    /// Breaks off.
    fn fail(&self, error: Error) -> Next {
        Next::Last(Err(self.meter.refuse(error)))
    }
}

impl<B> Hook<B> for Inbound
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    fn poll_next(&mut self, body: &mut B, cx: &mut Context<'_>) -> Poll<Next> {
        let Poll::Ready(polled) = Pin::new(body).poll_frame(cx) else {
            let Some(progress) = &mut self.progress else { return Poll::Pending };
            let late = ready!(progress.poll(cx));
            return Poll::Ready(self.fail(late));
        };
        if let Some(Ok(frame)) = &polled
            && let Some(chunk) = frame.data_ref()
            && let Err(error) = self.follow(chunk)
        {
            return Poll::Ready(self.fail(error));
        }
        let polled = polled.map(|frame| frame.map_err(|error| Status::from_error(error.into())));
        // A request of gRPC has no trailers; as headers they would go past what is looked at.
        let ends = polled.as_ref().is_none_or(|polled| polled.as_ref().is_ok_and(Frame::is_trailers));
        Poll::Ready(Next::Pass(if ends { None } else { polled }))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::body::Body;

    use super::*;
    use crate::server::{
        budget::{Budget, Purse},
        hooked::Hooked,
        peer::Peer,
    };

    fn inbound(frames: Vec<Frame<Bytes>>, compressed: bool) -> Hooked<Body, Inbound> {
        let purse = Purse::new(Budget::new(1 << 20), Peer::Unknown);
        let frames = futures::stream::iter(frames.into_iter().map(Ok::<_, Status>));
        let terms = Terms { limit: 100, kept: true, prompt: false, compressed };
        let meter = Meter::new(&purse, None, 0).unwrap();
        Hooked::new(Body::new(StreamBody::new(frames)), Inbound::new(terms, meter))
    }

    #[tokio::test]
    async fn trailers_of_a_request_end_here() {
        let mut trailers = HeaderMap::new();
        trailers.insert("micro-account", "evil".parse().unwrap());
        let data = Bytes::from_static(b"\0\0\0\0\x01x");
        let mut body = inbound(vec![Frame::data(data.clone()), Frame::trailers(trailers)], false);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), data);
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    #[tokio::test]
    async fn flags_that_cannot_be_read_are_the_fault_of_who_sends_them() {
        for (flag, compressed, code) in [
            (0, false, None),
            (1, true, None),
            (1, false, Some(501)),
            (2, true, Some(400)),
            (7, false, Some(400)),
        ] {
            let data = Bytes::from(vec![flag, 0, 0, 0, 0]);
            let refused = inbound(vec![Frame::data(data)], compressed).frame().await.unwrap().err();
            assert_eq!(refused.map(|status| Error::from(status).code), code, "{flag} {compressed}");
        }
    }
}
