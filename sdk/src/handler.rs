//! The border between generated code and this crate: a handler takes a method name and bytes, and
//! returns bytes. What is generic in a message type stays in the service and is small.

use std::{
    any::Any,
    fmt,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use prost::Message;
use tokio::time::sleep_until;
use tokio_stream::{Stream, once};
use tonic::{Status, Streaming};

use crate::{
    Context, Error, Receiver, Result, Sender, log,
    message::{Queue, encode, take},
};

pub use crate::message::apart;

/// The answers to a call, encoded.
pub type Replies = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
/// A call being answered.
pub type Reply = Pin<Box<dyn Future<Output = Result<Replies>> + Send>>;

/// A group of methods under one name; generated from a `service` of a .proto file.
pub trait Handler: Send + Sync + 'static {
    /// The name in `Handler.Method`.
    fn name(&self) -> &'static str;

    /// The encoded `FileDescriptorSet` its schema stands in.
    fn descriptor(&self) -> &'static [u8];

    /// Starts to answer a call; none when there is no such method.
    fn handle(&self, method: &str, call: Call) -> Option<Reply>;
}

/// What looks at each message of a call before it is decoded. An outer layer of a server attaches it to
/// the extensions of a request.
#[derive(Clone)]
pub struct Guard(Arc<Check>);

/// Refuses a message, or does not.
type Check = dyn Fn(&[u8]) -> Result<()> + Send + Sync;

impl Guard {
    /// A guard that asks `check`, which may refuse a message.
    pub fn new(check: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn check(&self, message: &[u8]) -> Result<()> {
        (self.0)(message)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// A call that has arrived.
#[derive(Debug)]
pub struct Call {
    pub(crate) context: Context,
    pub(crate) requests: Streaming<Bytes>,
}

impl Call {
    /// What is known of the call: its caller, its endpoint, its deadline.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// One request, one response.
    pub fn unary<I, O, F, R>(self, handler: F) -> Reply
    where
        I: Message + Default + 'static,
        O: Message,
        F: FnOnce(Context, I) -> R + Send + 'static,
        R: Future<Output = Result<O>> + Send,
    {
        Box::pin(async move {
            let (context, request) = self.first().await?;
            single(&context.clone(), handler(context, request)).await
        })
    }

    /// One request, a stream of responses.
    pub fn server_stream<I, O, F, R>(self, handler: F) -> Reply
    where
        I: Message + Default + 'static,
        O: Message + 'static,
        F: FnOnce(Context, I, Sender<O>) -> R + Send + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        Box::pin(async move {
            let (context, request) = self.first().await?;
            Ok(driven(&context.clone(), |replies| handler(context, request, replies)))
        })
    }

    /// A stream of requests, one response.
    pub fn client_stream<I, O, F, R>(self, handler: F) -> Reply
    where
        I: Message + Default + 'static,
        O: Message,
        F: FnOnce(Context, Receiver<I>) -> R + Send + 'static,
        R: Future<Output = Result<O>> + Send,
    {
        Box::pin(async move {
            let requests = Receiver::guarded(self.requests, self.context.extension().cloned());
            single(&self.context.clone(), handler(self.context, requests)).await
        })
    }

    /// Streams in both directions.
    pub fn stream<I, O, F, R>(self, handler: F) -> Reply
    where
        I: Message + Default + 'static,
        O: Message + 'static,
        F: FnOnce(Context, Receiver<I>, Sender<O>) -> R + Send + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        Box::pin(async move {
            let requests = Receiver::guarded(self.requests, self.context.extension().cloned());
            Ok(driven(&self.context.clone(), |replies| handler(self.context, requests, replies)))
        })
    }

    /// The one request of a call. A Go client does not half-close, so the end is not awaited.
    async fn first<I: Message + Default + 'static>(mut self) -> Result<(Context, I)> {
        let missing = || Error::bad_request("the call has no request");
        let request = self.requests.message().await?.ok_or_else(missing)?;
        let request = take(request, self.context.extension()).await?;
        Ok((self.context, request))
    }
}

fn late() -> Error {
    Error::timeout("the deadline of the call passed")
}

/// Awaits the beginning of an answer, until the deadline, and not after the end of the service.
pub(crate) async fn begun(
    context: &Context,
    answer: impl Future<Output = Result<Replies>>,
) -> Result<Replies> {
    let answer = async {
        tokio::select! {
            // Most are ready when they are first asked, and wait for nothing else.
            biased;
            answer = answer => answer,
            error = context.end().cutting() => Err(error),
        }
    };
    match context.deadline() {
        Some(at) => tokio::time::timeout_at(at.into(), answer).await.unwrap_or_else(|_| Err(late())),
        None => answer.await,
    }
}

/// Awaits the only response.
async fn single<O: Message>(context: &Context, response: impl Future<Output = Result<O>>) -> Result<Replies> {
    let response = CatchPanic { handler: Box::pin(response), context: context.clone() }.await?;
    Ok(Box::pin(once(Ok(encode(&response)))))
}

/// Runs a handler as its replies are read, so that it stops when nobody reads any more.
fn driven<O, R>(context: &Context, start: impl FnOnce(Sender<O>) -> R) -> Replies
where
    O: Message + 'static,
    R: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, queue) = Sender::new();
    let (deadline, end) = (context.deadline(), context.end().clone());
    Box::pin(Driven {
        handler: Some(CatchPanic { handler: Box::pin(start(sender)), context: context.clone() }),
        queue,
        failure: None,
        cut: Some(Box::pin(async move {
            let late = async {
                match deadline {
                    Some(at) => sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = late => self::late(),
                error = end.cutting() => error,
            }
        })),
    })
}

struct Driven<R> {
    handler: Option<CatchPanic<R>>,
    queue: Queue,
    failure: Option<Status>,
    /// Ends the call before the handler does.
    cut: Option<Pin<Box<dyn Future<Output = Error> + Send>>>,
}

impl<R: Future<Output = Result<()>>> Stream for Driven<R> {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // First, since a handler may send faster than somebody reads.
            if let Some(cut) = &mut self.cut
                && let Poll::Ready(error) = cut.as_mut().poll(cx)
            {
                (self.handler, self.cut) = (None, None);
                self.queue.close();
                self.failure = Some(error.into());
            }
            // What the handler sent before it ended or failed is delivered first.
            match Pin::new(&mut self.queue).poll_next(cx) {
                Poll::Ready(Some(item)) => return Poll::Ready(Some(item)),
                Poll::Ready(None) if self.handler.is_none() => {
                    return Poll::Ready(self.failure.take().map(Err));
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            let Some(handler) = &mut self.handler else {
                return Poll::Pending;
            };
            match Pin::new(handler).poll(cx) {
                Poll::Ready(result) => {
                    self.handler = None;
                    self.failure = result.err().map(Status::from);
                }
                // The runtime may hold back what the queue has, to give other tasks their turn (its
                // cooperative budget): to go round again until it gives would be to go round for ever.
                Poll::Pending => {
                    return self.queue.try_next().map_or(Poll::Pending, |item| Poll::Ready(Some(Ok(item))));
                }
            }
        }
    }
}

/// A panic in a handler is that call's failure, not the connection's.
struct CatchPanic<R> {
    handler: Pin<Box<R>>,
    context: Context,
}

impl<T, R: Future<Output = Result<T>>> Future for CatchPanic<R> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Result<T>> {
        catch_unwind(AssertUnwindSafe(|| self.handler.as_mut().poll(cx))).unwrap_or_else(|panic| {
            let endpoint = self.context.endpoint();
            log::line(format_args!("the handler of {endpoint} panicked: {}", text_of(panic.as_ref())));
            Poll::Ready(Err(Error::internal(format!("the handler of {endpoint} panicked; its log says why"))))
        })
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
