//! The life of one connection. What the HTTP library needs for it, some 15 KiB in HTTP/1, is there while a request is
//! served, and neither before the first one, nor between two that are far apart, nor while a stream waits for events.

mod aside;
mod events;
mod wire;

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use self::aside::Aside;
use self::events::Left;
use self::wire::Wire;
use crate::activity::{Activity, Followed, Handover, Pause, RequestBody, Turn};
use crate::strict::Strict;
use crate::turns::Turns;

/// How long a connection may take to end by itself.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);

/// How long a peer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until a head is complete that has begun, and until the first one is.
    pub(crate) head_timeout: Duration,
    /// While nothing happens at all, or the peer takes nothing of an answer.
    pub(crate) idle_timeout: Duration,
}

/// An answer's body that a connection can write.
pub(crate) trait AnswerBody: Body<Data = Bytes, Error = Self::Failure> + Send + Unpin + 'static {
    /// Why it ends before its end.
    type Failure: Into<Box<dyn Error + Send + Sync>> + Send;
}

impl<B> AnswerBody for B
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Failure = B::Error;
}

/// Serves one connection, HTTP/1 or HTTP/2, with what `answer` says to each request, until either side ends it, it rests for
/// too long, or the server is `closing`.
///
/// An answer in HTTP/1.1 of the media type `text/event-stream` that has to wait for its events costs no more than the socket
/// and its body meanwhile.
pub(crate) async fn attend<T, A, F, B>(io: T, answer: A, patience: Patience, mut closing: watch::Receiver<bool>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: AnswerBody,
{
    let activity = Arc::new(Activity::default());
    let mut wire = Wire::new(Strict::new(io, patience.head_timeout, activity.clone()));
    let mut is_first = true;
    while rest(&mut wire, is_first, patience.idle_timeout, &mut closing).await {
        if is_first && wire.is_http2() {
            return Box::pin(serve_http2(wire, answer, activity, patience.idle_timeout, closing)).await;
        }
        is_first = false;
        let served = Box::pin(serve_http1(wire, answer.clone(), &activity, patience.idle_timeout, &mut closing)).await;
        let Some((back, handover)) = served else { return };
        wire = back;
        let Some(handover) = handover else { continue };
        let left = events::write(&mut wire, handover, patience.idle_timeout).await;
        match left {
            Left::Open if !*closing.borrow() => {}
            Left::Open | Left::Finished => break,
            Left::Broken => return,
        }
    }
    if let Err(error) = wire.shutdown().await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Waits for the next request without anything of the library's; whether there is one. From the `first` bytes on it is
/// known in which version the peer speaks.
async fn rest<T>(wire: &mut Wire<T>, is_first: bool, timeout: Duration, closing: &mut watch::Receiver<bool>) -> bool
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    wire.spare();
    let more = async {
        while wire.unread().is_empty() || (is_first && wire.may_become_http2()) {
            match poll_fn(|cx| wire.poll_more(cx)).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(%error, "connection ended");
                    return false;
                }
            }
        }
        !wire.unread().is_empty()
    };
    tokio::select! {
        biased;
        has_more = more => has_more,
        () = closes(closing) => false,
        () = tokio::time::sleep(timeout) => false,
    }
}

/// Serves requests by HTTP/1 until the connection is over, or there is nothing to do for a moment, or an answer is a stream
/// that waits: then the connection comes back.
async fn serve_http1<T, A, F, B>(
    wire: Wire<T>,
    answer: A,
    activity: &Arc<Activity>,
    idle_timeout: Duration,
    closing: &mut watch::Receiver<bool>,
) -> Option<(Wire<T>, Option<Followed<B>>)>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<B>>,
    B: AnswerBody,
{
    let handover = &Handover::new();
    let service = service_fn(|request: Request<Incoming>| {
        let keeps = keeps(&request);
        let turn = Turn::begin(activity.clone());
        let answered = answer(request.map(|body| RequestBody::new(body, activity.clone())));
        answered.map(move |response| {
            let place = keeps.filter(|_| is_event_stream(&response)).map(|keeps_alive| {
                let keeps_alive = keeps_alive && !says_close(response.headers());
                handover.place(keeps_alive)
            });
            Ok::<_, Infallible>(response.map(|body| turn.answer(body, place)))
        })
    });
    let mut connection = http1_builder().serve_connection(TokioIo::new(wire), service);
    let mut pause = std::pin::pin!(activity.pause(idle_timeout));
    let (turns, mut aside) = (Turns::default(), Aside::default());
    let mut closes = std::pin::pin!(closes(closing).fuse());
    let ended = loop {
        let step = poll_fn(|cx| {
            // The library may have flushed before it came to the body that waits: then it is asked once more.
            for _ in 0..2 {
                if let Poll::Ready(ended) = turns.poll(cx, |cx| Pin::new(&mut connection).poll(cx)) {
                    return Poll::Ready(Step::Ended(ended));
                }
                match (handover.is_filled(), activity.is_flushed()) {
                    (true, true) => return Poll::Ready(Step::Paused(Pause::Spare)),
                    (true, false) => {}
                    (false, _) => break,
                }
            }
            aside.poll(cx, |cx| match pause.as_mut().poll(cx) {
                Poll::Ready(pause) => Poll::Ready(Step::Paused(pause)),
                Poll::Pending => closes.as_mut().poll(cx).map(|()| Step::Closing),
            })
        });
        match step.await {
            Step::Ended(ended) => break Some(ended),
            Step::Paused(Pause::Spare) => break None,
            Step::Paused(Pause::Stuck) => break Some(Ok(())),
            Step::Closing => Pin::new(&mut connection).graceful_shutdown(),
        }
    };
    match ended {
        None => {
            let parts = connection.into_parts();
            Some((parts.io.into_inner().put_back(&parts.read_buf), handover.take()))
        }
        Some(ended) => {
            log(ended);
            None
        }
    }
}

/// What a connection in HTTP/1 comes to.
enum Step {
    /// The library is done with it.
    Ended(hyper::Result<()>),
    /// It does nothing, or nothing that needs the library.
    Paused(Pause),
    /// The server wants it to end.
    Closing,
}

/// Serves requests by HTTP/2 until the connection is over or rests for too long.
async fn serve_http2<T, A, F, B>(
    wire: Wire<T>,
    answer: A,
    activity: Arc<Activity>,
    idle_timeout: Duration,
    mut closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: AnswerBody,
{
    let service = service_fn(|request: Request<Incoming>| {
        let turn = Turn::begin(activity.clone());
        // In a box, since the library's task for the stream keeps the place of what is in it until the last event.
        let answered = Box::pin(answer(request.map(|body| RequestBody::new(body, activity.clone()))));
        answered.map(|response| Ok::<_, Infallible>(response.map(|body| turn.answer(body, None))))
    });
    let mut connection = std::pin::pin!(http2_builder().serve_connection(TokioIo::new(wire), service));
    let mut rest = std::pin::pin!(activity.rest(idle_timeout));
    let mut is_closing = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => return log(ended),
            () = &mut rest => break,
            () = closes(&mut closing), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    // It is told. A peer that takes nothing is not waited for.
    connection.as_mut().graceful_shutdown();
    log(tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(())));
}

pub(crate) async fn closes(closing: &mut watch::Receiver<bool>) {
    // Nobody is left who could say it: that is the end too.
    drop(closing.wait_for(|is_closing| *is_closing).await);
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Whether the connection goes on after the answer to `request`, if that may be written without the library: it has to be in
/// chunks, which HTTP/1.0 does not have.
fn keeps<B>(request: &Request<B>) -> Option<bool> {
    let is_chunked = request.version() == Version::HTTP_11 && request.method() != Method::HEAD;
    is_chunked.then(|| !says_close(request.headers()))
}

fn is_event_stream<B: Body>(response: &Response<B>) -> bool {
    let has_length = response.body().is_end_stream() || response.body().size_hint().exact().is_some();
    let headers = response.headers();
    let media_type = || headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(EVENT_STREAM));
    !has_length && media_type() && !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING)
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

fn says_close(headers: &HeaderMap) -> bool {
    let says = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    headers.get_all(CONNECTION).iter().any(says)
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Without `pipeline_flush`: it holds back the 400 of a bad head as long as more bytes of it are there.
    builder
        // The guard limits how long a head may take, and `pause` how long a connection may rest.
        .header_read_timeout(None::<Duration>)
        // The gate bounds the number of headers. The library's own bound stays at 100, for which its tables lie ready: for
        // another one it makes them elsewhere and moves them, 6 KiB for each request.
        .max_buf_size(64 << 10);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(32 << 10)
        .max_pending_accept_reset_streams(Some(32))
        .max_local_error_reset_streams(Some(128))
        // A stream holds so much, and the rest of one piece of its body, for a peer that does not read.
        .max_send_buf_size(32 << 10)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests;
