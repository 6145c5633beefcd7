//! The end of a link where requests are answered.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame as BodyFrame};
use http_body_util::Full;
use socket2::SockRef;
use tokio::net::UnixStream;

use super::frame::{self, Frames, Kind, put_bare, put_data, put_response};
use super::outbox::{Lane, Outbox};
use super::{CREDIT_BYTES, REPORT_INTERVAL};
use crate::body::ResponseBody;
use crate::head::RequestHead;
use crate::service::HttpService;

/// What the system takes before the worker has read it; it counts twice as much, for its own structures.
const SEND_BUFFER_BYTES: usize = 16 << 10;
/// A worker that says nothing for so long is looked at more closely.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The link to one worker, seen from the process that answers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Link(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    out: Outbox,
    streams: Mutex<HashMap<u32, Arc<Stream>>>,
    connections: AtomicU32,
    /// Frames that the worker has sent.
    heard: AtomicU32,
}

impl Link {
    /// Answers by `service` what the worker at the other end of `socket` passes on, until the worker is gone. Then its clients
    /// are too.
    ///
    /// # Errors
    /// What the socket says, and when what it brings is no frame of this program's.
    pub async fn serve(&self, service: HttpService, socket: UnixStream) -> io::Result<()> {
        // What the system has taken nothing overtakes.
        SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES)?;
        let (reader, writer) = socket.into_split();
        let out = self.clone();
        tokio::spawn(async move {
            if let Err(error) = out.0.out.write_to(writer).await {
                tracing::debug!(%error, "a link cannot be written to");
            }
        });
        let ended = self.read(&service, Frames::new(reader)).await;
        self.0.out.close();
        let streams = std::mem::take(&mut *self.0.streams());
        streams.values().for_each(|stream| stream.change(|state| state.is_gone = true));
        ended
    }

    /// Waits until the worker has said nothing at all for several seconds, although it should each second: it hangs. One that has
    /// more to do than it can says something.
    pub async fn hangs(&self) {
        loop {
            let heard = self.0.heard.load(Ordering::Relaxed);
            tokio::time::sleep(SILENCE_MAX).await;
            if heard == self.0.heard.load(Ordering::Relaxed) {
                // It may be this process that stood still. Then what the worker said meanwhile is read now.
                tokio::time::sleep(REPORT_INTERVAL * 2).await;
            }
            if heard == self.0.heard.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Connections that the worker holds, as it said within the last second.
    pub fn connections(&self) -> u32 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Requests that are not answered to their end, streams of events among them.
    pub fn streams(&self) -> usize {
        self.0.streams().len()
    }

    async fn read<T>(&self, service: &HttpService, mut frames: Frames<T>) -> io::Result<()>
    where
        T: tokio::io::AsyncRead + Unpin,
    {
        while let Some(frame) = frames.next().await? {
            self.0.heard.fetch_add(1, Ordering::Relaxed);
            let stream = || self.0.streams().get(&frame.stream).cloned();
            match frame.kind {
                Kind::Request | Kind::Question => {
                    let open = self.open(frame.stream);
                    let request = match frame::request(frame.payload) {
                        Ok(request) => request.map(Full::new),
                        // Its client's fault: the others go on.
                        Err(error) if error.kind() == io::ErrorKind::InvalidInput => continue,
                        Err(error) => return Err(error),
                    };
                    match frame.kind {
                        Kind::Question => drop(tokio::spawn(admit(service.clone(), request, open))),
                        _ => drop(tokio::spawn(answer(service.clone(), request, open))),
                    }
                }
                Kind::Cancel => {
                    if let Some(stream) = stream() {
                        stream.change(|state| state.is_gone = true);
                    }
                }
                Kind::Credit => {
                    let bytes = frame::number(frame.payload)?;
                    if let Some(stream) = stream() {
                        stream.change(|state| state.credit += i64::from(bytes));
                    }
                }
                Kind::Connections => self.0.connections.store(frame::number(frame.payload)?, Ordering::Relaxed),
                Kind::Response | Kind::Data | Kind::Broken => return Err(frame::malformed()),
            }
        }
        Ok(())
    }

    fn open(&self, number: u32) -> Open {
        let stream = Arc::<Stream>::default();
        self.0.streams().insert(number, stream.clone());
        Open { shared: self.0.clone(), stream, number, is_finished: false }
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, HashMap<u32, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the worker says of one of its requests.
#[derive(Debug)]
struct Stream(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Below zero when a piece was larger than what was left.
    credit: i64,
    is_gone: bool,
    waker: Option<Waker>,
}

impl Default for Stream {
    fn default() -> Self {
        Self(Mutex::new(State { credit: CREDIT_BYTES.into(), is_gone: false, waker: None }))
    }
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// The credit that is left, or `None` when the client is gone. Whoever asks hears when it changes.
    fn credit(&self, cx: &Context<'_>) -> Option<i64> {
        let mut state = self.state();
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        (!state.is_gone).then_some(state.credit)
    }
}

/// A stream that is answered. When this is dropped the worker knows that it is over.
struct Open {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    number: u32,
    is_finished: bool,
}

impl Open {
    /// A piece of so many bytes was sent.
    fn sent(&mut self, bytes: usize, is_last: bool) {
        self.is_finished |= is_last;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // Nobody has to hear of it: only this stream's own task waits for credit.
        self.stream.state().credit -= bytes;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut streams = self.shared.streams();
        if streams.get(&self.number).is_some_and(|stream| Arc::ptr_eq(stream, &self.stream)) {
            streams.remove(&self.number);
        }
        if streams.is_empty() {
            // What ten thousand clients needed that hung up at once is given back.
            streams.shrink_to(64);
        }
        drop(streams);
        if !self.is_finished {
            self.shared.out.push(Lane::Second, |out| put_bare(out, Kind::Broken, self.number));
        }
    }
}

/// Answers one request, until it is answered or its client is gone.
async fn answer(service: HttpService, request: Request<Full<Bytes>>, mut open: Open) {
    let Some(response) = respond(&open.stream, service, request).await else { return };
    let Some(mut body) = head(&mut open, response) else { return };
    loop {
        open.shared.out.room().await;
        let next = poll_fn(|cx| match open.stream.credit(cx) {
            None => Poll::Ready(None),
            Some(credit) if credit <= 0 => Poll::Pending,
            Some(_) => poll_data(&mut body, cx).map(Some),
        });
        let Some((data, is_last)) = next.await else { return };
        let number = open.number;
        open.shared.out.push(Lane::Second, |out| put_data(out, number, &data, is_last));
        open.sent(data.len(), is_last);
        if is_last {
            return;
        }
    }
}

/// Says whether a request may come in whose body the worker has not read.
async fn admit(service: HttpService, question: Request<Full<Bytes>>, mut open: Open) {
    let response = match service.admit(&RequestHead::of(&question.into_parts().0)).await {
        Ok(()) => {
            let mut may_come = Response::new(ResponseBody::text(Bytes::new()));
            *may_come.status_mut() = StatusCode::CONTINUE;
            may_come
        }
        Err(refused) => refused,
    };
    // It is all there.
    head(&mut open, response);
}

/// The answer, or `None` when nobody waits for it any more. What making it takes is gone afterwards: a stream may last.
fn respond<'a>(
    stream: &'a Stream,
    service: HttpService,
    request: Request<Full<Bytes>>,
) -> Pin<Box<dyn Future<Output = Option<Response<ResponseBody>>> + Send + 'a>> {
    Box::pin(async move {
        let mut answered = pin!(service.handle(request));
        let is_here = |cx: &Context<'_>| stream.credit(cx).is_some();
        poll_fn(|cx| if is_here(cx) { answered.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) }).await
    })
}

/// Sends the head and what there is of the body already. The body, unless that was all.
fn head(open: &mut Open, response: Response<ResponseBody>) -> Option<ResponseBody> {
    let (head, mut body) = response.into_parts();
    // Who polls next is the one who hears.
    let (data, is_last) = match poll_data(&mut body, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => (Bytes::new(), false),
    };
    let number = open.number;
    open.shared.out.push(Lane::First, |out| put_response(out, number, &head, &data, is_last));
    open.sent(data.len(), is_last);
    (!is_last).then_some(body)
}

/// More of a body, and whether that was the last of it.
fn poll_data(body: &mut ResponseBody, cx: &mut Context<'_>) -> Poll<(Bytes, bool)> {
    Pin::new(&mut *body).poll_frame(cx).map(|frame| match frame {
        None => (Bytes::new(), true),
        Some(frame) => {
            let frame = frame.unwrap_or_else(|never| match never {});
            let data = BodyFrame::into_data(frame).unwrap_or_default();
            (data, body.is_end_stream())
        }
    })
}
