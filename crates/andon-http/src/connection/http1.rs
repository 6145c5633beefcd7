//! HTTP/1: one request after the other (RFC 9112).

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use andon_h1::request::{self, Fault, Scan};
use andon_h1::{Body, Piece};
use bytes::{Buf as _, Bytes};
use http::header::CONNECTION;
use http::{HeaderMap, Method, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::aside::Aside;
use super::body::Hatch;
use super::wire::Wire;
use super::writer::{Allowed, Writer};
use super::{Answers, Patience, RequestBody, closes};
use crate::head::{RequestHead, Target};
use crate::headers::{Field, Headers, Source};

/// After so long without anything to do, or up to twice that, a connection gives back what it needs for requests; sooner if
/// it may not rest for long.
const MOMENT: Duration = Duration::from_millis(500);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How serving left a connection.
pub(super) enum Left<B> {
    /// With nothing to do for a moment.
    Resting,
    /// With an answer that waits: for the client, or for what it says.
    Answering(Writer<B>),
    /// With nothing more to say or to hear.
    Finished,
    /// In the middle.
    Broken(io::Error),
}

/// Why a request has no answer of the service's.
enum Failure {
    /// It is none: the status that says so, and why.
    Refused(u16, String),
    /// The client is gone.
    Broken(io::Error),
}

/// What is to be written.
struct Answer<B> {
    response: Response<B>,
    allowed: Allowed,
}

/// Serves requests until there is nothing to do for a moment, or an answer waits.
pub(super) async fn serve<T, A>(
    wire: &mut Wire<T>,
    service: &A,
    patience: Patience,
    closing: &mut watch::Receiver<bool>,
) -> Left<A::Body>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
    A: Answers,
{
    let moment = MOMENT.min(patience.idle_timeout / 8).max(Duration::from_millis(1));
    let tick = pin!(sleep(moment));
    let closes = pin!(closes(closing));
    let mut beside = Beside::new(moment, tick, closes);
    // Of a head, and of an answer.
    let (mut text, mut room) = (Vec::new(), Vec::new());
    loop {
        let answered = match head(wire, &mut text, patience.head_timeout, &mut beside).await {
            Ok(Next::Request) => answer(wire, service, &text, &mut beside).await,
            Ok(Next::Rest) => return Left::Resting,
            Ok(Next::End) => return Left::Finished,
            Err(failure) => Err(failure),
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(Failure::Broken(error)) => return Left::Broken(error),
            Err(Failure::Refused(status, why)) => {
                wire.is_refusing = true;
                let allowed = Allowed { body: true, chunks: false, keeps_alive: false };
                Answer { response: service.refuse(status, &why), allowed }
            }
        };
        let mut writer = Writer::new(answer.response, answer.allowed, room);
        match poll_fn(|cx| Poll::Ready(writer.poll(wire, cx))).await {
            Poll::Pending => return Left::Answering(writer),
            Poll::Ready(Err(error)) => return Left::Broken(error),
            Poll::Ready(Ok(())) => {}
        }
        let keeps_alive;
        (keeps_alive, room) = writer.into_parts();
        if !keeps_alive {
            return Left::Finished;
        }
    }
}

/// What a connection comes to between requests.
enum Next {
    Request,
    /// There was nothing to do for a moment.
    Rest,
    /// Either side wants no more.
    End,
}

/// Waits for a head, by whose text `text` is replaced.
async fn head<T, C>(
    wire: &mut Wire<T>,
    text: &mut Vec<u8>,
    head_timeout: Duration,
    beside: &mut Beside<'_, C>,
) -> Result<Next, Failure>
where
    T: AsyncRead + Unpin,
    C: Future<Output = ()>,
{
    let (mut scan, first_by) = (Scan::default(), wire.first_by.take());
    let mut late: Option<Pin<Box<Sleep>>> = None;
    beside.is_quiet = false;
    poll_fn(|cx| {
        loop {
            if !wire.unread.is_empty() && scan.take(&mut wire.unread, text).map_err(refused)? {
                return Poll::Ready(Ok(Next::Request));
            }
            match wire.poll_fill(cx).map_err(Failure::Broken)? {
                Poll::Ready(0) if wire.unread.is_empty() => return Poll::Ready(Ok(Next::End)),
                Poll::Ready(0) => return Poll::Ready(Err(Failure::Broken(ErrorKind::UnexpectedEof.into()))),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        let has_begun = !wire.unread.is_empty() || first_by.is_some();
        let is_quiet = beside.is_quiet(cx, has_begun);
        if beside.is_closing {
            return Poll::Ready(Ok(Next::End));
        }
        if has_begun {
            let begin = || Box::pin(sleep_until(first_by.unwrap_or_else(|| Instant::now() + head_timeout)));
            ready!(late.get_or_insert_with(begin).as_mut().poll(cx));
            return Poll::Ready(Err(Failure::Refused(408, "the head comes too slowly".to_owned())));
        }
        if is_quiet { Poll::Ready(Ok(Next::Rest)) } else { Poll::Pending }
    })
    .await
}

fn refused(fault: Fault) -> Failure {
    let (status, why) = match fault {
        Fault::Malformed(why) => (400, why.to_owned()),
        Fault::TargetTooLong => (414, "the target is too long".to_owned()),
        Fault::TooLarge => (431, "too many headers, or too long ones".to_owned()),
    };
    Failure::Refused(status, why)
}

/// Has the service answer the request whose head is `text`.
async fn answer<T, A, C>(
    wire: &mut Wire<T>,
    service: &A,
    text: &[u8],
    beside: &mut Beside<'_, C>,
) -> Result<Answer<A::Body>, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
    A: Answers,
    C: Future<Output = ()>,
{
    let bad = |why: &str| Failure::Refused(400, why.to_owned());
    let mut headers = Headers::new(Source::Text(text));
    let read = request::read(text, |name, value| headers.add(name, value)).map_err(refused)?;
    let method = Method::from_bytes(read.method.as_bytes()).map_err(|_| bad("the method is none"))?;
    let target = Target::parse(&method, read.target).ok_or_else(|| bad("the target is neither a path nor a URL"))?;
    let head = RequestHead { method, target, headers };
    let expects = !read.is_old && head.headers.contains(Field::Expect);
    let (mut coming, body) = Coming::begin(wire, read.body, expects);
    let mut answering = pin!(service.answer(&head, body));
    let answered = poll_fn(|cx| {
        loop {
            if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            if coming.is_wanted() {
                ready!(coming.poll_feed(wire, cx));
                continue;
            }
            // One read, and no more: what else comes is held back by the system until it is this request's turn.
            return match wire.unread.is_empty() {
                true => match ready!(wire.poll_fill(cx))? {
                    0 => Poll::Ready(Err(io::Error::from(ErrorKind::UnexpectedEof))),
                    _ => Poll::Pending,
                },
                false => Poll::Pending,
            };
        }
    });
    let response = answered.await.map_err(Failure::Broken)?;
    if coming.is_in_the_middle() {
        return Err(Failure::Broken(ErrorKind::WriteZero.into()));
    }
    let is_whole = coming.skip(wire);
    wire.is_refusing = !is_whole;
    poll_fn(|cx| Poll::Ready(beside.look(cx, true))).await;
    let keeps_alive = read.keeps_alive && is_whole && !beside.is_closing && !says_close(response.headers());
    let allowed = Allowed { body: head.method != Method::HEAD, chunks: !read.is_old, keeps_alive };
    Ok(Answer { response, allowed })
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| andon_h1::lists(value.as_bytes(), "close"))
}

/// What is still to come of the body of a request.
struct Coming {
    body: Body,
    /// Where it goes; none if all of it was there.
    hatch: Option<Arc<Hatch>>,
    /// What is left to write before the client sends it.
    owed: &'static [u8],
}

impl Coming {
    /// The body of a request whose head was read, and what is to come of it.
    fn begin<T>(wire: &mut Wire<T>, body: Body, expects: bool) -> (Self, RequestBody) {
        let length = if let Body::Sized(bytes) = body { Some(bytes) } else { None };
        let there = length.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes <= wire.unread.len());
        if let Some(bytes) = there {
            let whole = Bytes::copy_from_slice(&wire.unread[..bytes]);
            wire.unread.advance(bytes);
            return (Self { body: Body::Sized(0), hatch: None, owed: b"" }, RequestBody::whole(whole));
        }
        let hatch = Arc::<Hatch>::default();
        let owed = if expects { CONTINUE } else { b"" };
        (Self { body, hatch: Some(hatch.clone()), owed }, RequestBody::coming(hatch, length))
    }

    fn is_wanted(&self) -> bool {
        self.hatch.as_ref().is_some_and(|hatch| hatch.is_wanted())
    }

    /// Hands in some more of it, or that there is none.
    fn poll_feed<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(hatch) = self.hatch.clone() else { return Poll::Ready(()) };
        loop {
            if self.is_in_the_middle() || (!self.owed.is_empty() && wire.unread.is_empty()) {
                match ready!(Pin::new(&mut wire.io).poll_write(cx, self.owed)) {
                    Ok(written @ 1..) => self.owed = &self.owed[written..],
                    _ => break hatch.end(false),
                }
                continue;
            }
            // Who sends it already does not wait to be asked.
            self.owed = b"";
            match self.body.take(&mut wire.unread) {
                Ok(Piece::Data(data)) => break hatch.give(data, self.body.is_over()),
                Ok(Piece::Over) => break hatch.end(true),
                Ok(Piece::Wanting) => {}
                Err(_) => break hatch.end(false),
            }
            if !ready!(wire.poll_fill(cx)).is_ok_and(|bytes| bytes > 0) {
                break hatch.end(false);
            }
        }
        Poll::Ready(())
    }

    /// Whether a part of what was owed was written, and a part was not.
    fn is_in_the_middle(&self) -> bool {
        (1..CONTINUE.len()).contains(&self.owed.len())
    }

    /// Passes over what is there of it and was not wanted; whether that was all.
    fn skip<T>(&mut self, wire: &mut Wire<T>) -> bool {
        while !self.body.is_over() {
            match self.body.take(&mut wire.unread) {
                Ok(Piece::Data(_)) => {}
                Ok(Piece::Over) => break,
                Ok(Piece::Wanting) | Err(_) => return false,
            }
        }
        true
    }
}

/// What happens beside the requests: time passes, and the server closes.
struct Beside<'a, C> {
    aside: Aside,
    moment: Duration,
    tick: Pin<&'a mut Sleep>,
    closes: Pin<&'a mut C>,
    is_closing: bool,
    /// Nothing happened since the last tick.
    is_quiet: bool,
}

impl<'a, C: Future<Output = ()>> Beside<'a, C> {
    fn new(moment: Duration, tick: Pin<&'a mut Sleep>, closes: Pin<&'a mut C>) -> Self {
        Self { aside: Aside::default(), moment, tick, closes, is_closing: false, is_quiet: false }
    }

    /// Whether there was nothing to do for a moment. Who has begun a head does not rest, and the clock is not wound again: of a slow
    /// head it would wake this more often than the bytes do.
    fn is_quiet(&mut self, cx: &mut Context<'_>, has_begun: bool) -> bool {
        self.look(cx, !has_begun) && std::mem::replace(&mut self.is_quiet, true)
    }

    /// Whether a moment has passed since the last time, if the clock is looked at.
    fn look(&mut self, cx: &mut Context<'_>, sees_clock: bool) -> bool {
        let Self { aside, moment, tick, closes, is_closing, .. } = self;
        let mut has_ticked = false;
        let _pending: Poll<()> = aside.poll(cx, |cx| {
            *is_closing = *is_closing || closes.as_mut().poll(cx).is_ready();
            while sees_clock && tick.as_mut().poll(cx).is_ready() {
                has_ticked = true;
                tick.as_mut().reset(Instant::now() + *moment);
            }
            Poll::Pending
        });
        if !sees_clock {
            // If it was the clock that rang, that is for the next look.
            aside.ring();
        }
        has_ticked
    }
}
