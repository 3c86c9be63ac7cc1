//! A body that passes another one on, and looks at what passes: the one place that knows when a body
//! is at its end. What is done to the frames is the business of its hook.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// A frame, or why there are no more.
pub(super) type Passed = Result<Frame<Bytes>, Status>;

/// What comes next of a body.
pub(super) enum Next {
    /// What the body gave: a frame, its error, or its end.
    Pass(Option<Passed>),
    /// The last frame, or an error in its place; the body is not asked again.
    Last(Passed),
}

/// What is done to the frames of a body.
pub(super) trait Hook<B> {
    /// Asks the body for what comes next.
    fn poll_next(&mut self, body: &mut B, cx: &mut Context<'_>) -> Poll<Next>;

    /// Whether something comes although the body is at its end.
    fn has_more(&self) -> bool {
        false
    }
}

/// A body with a hook.
pub(super) struct Hooked<B, H> {
    /// None once it has ended: where it came from is let go of.
    body: Option<B>,
    hook: H,
}

impl<B, H> Hooked<B, H> {
    pub(super) fn new(body: B, hook: H) -> Self {
        Self { body: Some(body), hook }
    }
}

impl<B: Body<Data = Bytes> + Unpin, H: Hook<B> + Unpin> Body for Hooked<B, H> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Passed>> {
        let me = &mut *self;
        let Some(body) = &mut me.body else { return Poll::Ready(None) };
        let next = ready!(me.hook.poll_next(body, cx));
        if matches!(next, Next::Pass(None) | Next::Last(_)) {
            me.body = None;
        }
        Poll::Ready(match next {
            Next::Pass(passed) => passed,
            Next::Last(last) => Some(last),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| !self.hook.has_more() && body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
