//! Bodies of answers: a text, or a stream of events.

use std::convert::Infallible;
use std::future::Future as _;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_server::host::{self, ResponseStream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::budget::Share;

/// The body of an answer.
pub struct ResponseBody {
    inner: Inner,
    /// What the request still takes, as long as it is answered.
    share: Option<Share>,
}

enum Inner {
    Text(Option<Bytes>),
    Events(Box<Events>),
}

struct Events {
    stream: ResponseStream,
    /// What each message's event begins with.
    prefix: &'static str,
    /// An event that is no message, before all others.
    opening: Option<String>,
    keep_alive_interval: Duration,
    keep_alive: Pin<Box<Sleep>>,
    is_over: bool,
}

impl ResponseBody {
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self { inner: Inner::Text((!text.is_empty()).then_some(text)), share: None }
    }

    /// What `stream` brings, as events.
    pub(crate) fn events(stream: ResponseStream, keep_alive_interval: Duration) -> Self {
        Self::stream(stream, "", None, keep_alive_interval)
    }

    /// The event `opening`, and then what `stream` brings, by events that are named as 2024-11-05 has it.
    pub(crate) fn named_events(stream: ResponseStream, opening: String, keep_alive_interval: Duration) -> Self {
        Self::stream(stream, "event: message\n", Some(opening), keep_alive_interval)
    }

    fn stream(
        stream: ResponseStream,
        prefix: &'static str,
        opening: Option<String>,
        keep_alive_interval: Duration,
    ) -> Self {
        let keep_alive = Box::pin(tokio::time::sleep(keep_alive_interval));
        let is_over = false;
        let inner =
            Inner::Events(Box::new(Events { stream, prefix, opening, keep_alive_interval, keep_alive, is_over }));
        Self { inner, share: None }
    }

    /// Holds the share of its request until it is written or dropped.
    pub(crate) fn hold(&mut self, share: Share) {
        self.share = Some(share);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.inner {
            Inner::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Inner::Events(events) => events.poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.inner, Inner::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Inner::Events(_) => SizeHint::default(),
        }
    }
}

/// Events that are ready at once leave in one piece of at most about this size.
const PIECE_BYTES: usize = 16 << 10;

impl Events {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut text = self.opening.take().map_or_else(Vec::new, String::into_bytes);
        while !self.is_over && text.len() < PIECE_BYTES {
            match self.stream.poll_next(cx) {
                Poll::Ready(Some(frame)) => {
                    self.is_over = frame.last;
                    write(&mut text, self.prefix, &frame);
                }
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending => break,
            }
        }
        if !text.is_empty() {
            self.keep_alive.as_mut().reset(Instant::now() + self.keep_alive_interval);
            return Poll::Ready(Some(text.into()));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.keep_alive.as_mut().poll(cx).is_ready() {
            self.keep_alive.as_mut().reset(Instant::now() + self.keep_alive_interval);
            // The timer has to be polled once more to be heard of again.
            let _pending = self.keep_alive.as_mut().poll(cx);
            return Poll::Ready(Some(Bytes::from_static(b":\n\n")));
        }
        Poll::Pending
    }
}

/// One event. A message is one line: JSON has no raw line ends outside strings, and none inside them.
fn write(text: &mut Vec<u8>, prefix: &str, frame: &host::Frame) {
    text.extend_from_slice(prefix.as_bytes());
    // Nothing that is written to a vector fails.
    if let Some(id) = frame.id {
        let _ = writeln!(text, "id: {id}");
    }
    if let Some(retry_ms) = frame.retry_ms {
        let _ = writeln!(text, "retry: {retry_ms}");
    }
    match &frame.text {
        Some(data) => {
            text.extend_from_slice(b"data: ");
            // There may be line ends between tokens, as a handler's own JSON has them.
            data.as_bytes().split(|byte| matches!(byte, b'\n' | b'\r')).for_each(|line| text.extend_from_slice(line));
            text.push(b'\n');
        }
        None if frame.id.is_some() => text.extend_from_slice(b"data: \n"),
        None => {}
    }
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use andon_server::host::{EventId, Frame};

    use super::write;

    fn written(id: Option<&str>, data: Option<&str>, retry_ms: Option<u32>) -> String {
        let mut text = Vec::new();
        let (id, data) = (id.and_then(EventId::parse), data.map(Into::into));
        write(&mut text, "", &Frame { id, text: data, retry_ms, last: false, status: 200 });
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn e8_a_message_is_one_event_and_one_line() {
        assert_eq!(written(Some("1-1-1"), Some("{}"), None), "id: 1-1-1\ndata: {}\n\n");
        assert_eq!(written(Some("1-1-0"), None, None), "id: 1-1-0\ndata: \n\n");
        assert_eq!(written(None, None, Some(500)), "retry: 500\n\n");
        assert_eq!(written(None, Some("{\n\"a\":\r\n1}"), None), "data: {\"a\":1}\n\n");
        let hostile = serde_json::json!({ "text": "\n\ndata: x\r\u{2028}\u{feff}" }).to_string();
        assert_eq!(written(None, Some(&hostile), None).matches('\n').count(), 2);
    }
}
