//! The life of one connection. What it takes to serve a request is there while one is served, and neither before the first
//! one, nor between two that are far apart, nor while an answer waits for more to say.

mod aside;
mod body;
mod date;
mod http1;
mod http2;
mod wire;
mod writer;

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use self::http1::Left;
use self::wire::Wire;
use crate::head::RequestHead;

pub(crate) use self::body::RequestBody;

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

/// What answers the requests of connections. Cheap to clone.
pub(crate) trait Answers: Clone + Send + Sync + 'static {
    /// What an answer says.
    type Body: AnswerBody;

    /// Whether they may come by HTTP/2 too.
    const HAS_HTTP2: bool = true;

    /// Answers the request that begins with `head`. It is dropped when its client hangs up.
    fn answer(&self, head: &RequestHead<'_>, body: RequestBody) -> impl Future<Output = Response<Self::Body>> + Send;

    /// What is said to who sends what is no request: the status, and why.
    fn refuse(&self, status: u16, why: &str) -> Response<Self::Body>;
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

/// Serves one connection, HTTP/1 or HTTP/2, with what `service` says to each request, until either side ends it, it rests for
/// too long, or the server is `closing`.
///
/// An answer in HTTP/1.1 that has to wait for what it says costs no more than the socket and its body meanwhile.
pub(crate) async fn attend<T, A>(io: T, service: A, patience: Patience, mut closing: watch::Receiver<bool>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Answers,
{
    let mut wire = Wire::new(io);
    match version(&mut wire, patience.head_timeout, &mut closing).await {
        Some(Version::Http2) if A::HAS_HTTP2 => {
            return Box::pin(http2::serve(wire, service, patience.idle_timeout, closing)).await;
        }
        Some(Version::Http1 | Version::Http2) => {}
        None => return end(wire).await,
    }
    loop {
        let served = Box::pin(http1::serve(&mut wire, &service, patience, &mut closing)).await;
        let is_open = match served {
            Left::Resting => true,
            Left::Answering(writer) => match writer.finish(&mut wire, patience.idle_timeout).await {
                Ok(keeps_alive) => keeps_alive,
                Err(error) => return broken(&error),
            },
            Left::Finished => false,
            Left::Broken(error) => return broken(&error),
        };
        if !is_open || !rest(&mut wire, patience.idle_timeout, &mut closing).await {
            return end(wire).await;
        }
    }
}

/// How a peer speaks.
enum Version {
    Http1,
    Http2,
}

/// Waits for the first bytes, until they tell in which version the peer speaks: `None` if it does not say.
async fn version<T>(wire: &mut Wire<T>, head_timeout: Duration, closing: &mut watch::Receiver<bool>) -> Option<Version>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let by = Instant::now() + head_timeout;
    wire.first_by = Some(by);
    while wire.unread.is_empty() || wire.may_become_http2() {
        if !wait(wire, by, closing).await {
            // What begins as a head is told why it is none.
            return (!wire.unread.is_empty()).then_some(Version::Http1);
        }
    }
    if wire.is_http2() { Some(Version::Http2) } else { Some(Version::Http1) }
}

/// Waits for the next request with nothing but the socket; whether there is one.
async fn rest<T>(wire: &mut Wire<T>, timeout: Duration, closing: &mut watch::Receiver<bool>) -> bool
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    wire.spare();
    !wire.unread.is_empty() || wait(wire, Instant::now() + timeout, closing).await
}

/// Waits for some bytes; whether they came.
async fn wait<T>(wire: &mut Wire<T>, by: Instant, closing: &mut watch::Receiver<bool>) -> bool
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        biased;
        more = wire.more() => more.unwrap_or_else(|error| { broken(&error); false }),
        () = closes(closing) => false,
        () = tokio::time::sleep_until(by) => false,
    }
}

/// Says the last of a connection.
async fn end<T>(mut wire: Wire<T>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    if let Err(error) = wire.close().await {
        broken(&error);
    }
}

fn broken(error: &io::Error) {
    tracing::debug!(%error, "connection ended");
}

pub(crate) async fn closes(closing: &mut watch::Receiver<bool>) {
    // Nobody is left who could say it: that is the end too.
    drop(closing.wait_for(|is_closing| *is_closing).await);
}

#[cfg(test)]
mod tests;
