//! HTTP/2, by the HTTP library. It frames by itself; what is watched here is whether anything happens.

mod activity;

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use self::activity::{Activity, Turn};
use super::wire::Wire;
use super::{Answers, GOODBYE, RequestBody, closes};
use crate::head::RequestHead;

/// Serves requests until the connection is over or rests for too long.
pub(super) async fn serve<T, A>(wire: Wire<T>, service: A, idle_timeout: Duration, mut closing: watch::Receiver<bool>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Answers,
{
    let activity = Arc::<Activity>::default();
    let watched = Watched { io: wire.io, unread: wire.unread, activity: activity.clone() };
    let answer = service_fn(|request: Request<Incoming>| {
        let (turn, service) = (Turn::begin(activity.clone()), service.clone());
        // In a box, since the library's task for the stream keeps the place of what is in it until the last event.
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let response = service.answer(&RequestHead::of(&parts), RequestBody::http2(body)).await;
            Ok::<_, Infallible>(response.map(|body| turn.answer(body)))
        })
    });
    let mut connection = pin!(builder().serve_connection(TokioIo::new(watched), answer));
    let mut rest = pin!(activity.rest(idle_timeout));
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

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
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

/// A connection whose first bytes were read already, and what is written to which counts.
struct Watched<T> {
    io: T,
    unread: BytesMut,
    activity: Arc<Activity>,
}

impl<T> Watched<T> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.activity.wrote(*bytes);
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let passed = self.unread.len().min(buf.remaining());
        let first = self.unread.split_to(passed);
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        buf.put_slice(&first);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
