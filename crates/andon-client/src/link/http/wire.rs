//! HTTP/1.1 without TLS, spoken by the very task that waits for the answer: nobody else is woken on the way, which at a
//! server that is near takes longer than all the rest.

use std::collections::HashMap;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon_auth::net::first_cause;
use andon_core::client::Loss;
use andon_core::turns::Turns;
use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection as Carrier, SendRequest, handshake};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service as _;

use super::refused;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a peer that says nothing is asked whether it is there, and how often in vain.
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("andon/", env!("CARGO_PKG_VERSION")));

/// All shelves of this process.
static SHELVES: LazyLock<Mutex<HashMap<Authority, Arc<Shelf>>>> = LazyLock::new(Mutex::default);

/// There is somebody who sweeps them.
static IS_SWEPT: AtomicBool = AtomicBool::new(false);

static CONNECTOR: LazyLock<HttpConnector> = LazyLock::new(|| {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(PROBE));
    connector.set_keepalive_interval(Some(PROBE));
    connector.set_keepalive_retries(Some(PROBES));
    connector
});

/// Where requests go.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// All of it, which connections are made to.
    whole: Uri,
    /// Where its connections rest.
    shelf: Arc<Shelf>,
    /// What stands in requests.
    target: Uri,
    host: HeaderValue,
}

impl Place {
    pub(super) fn of(url: &url::Url) -> Result<Self, Loss> {
        let bad = || refused(None, "a URL that no request can carry");
        let whole: Uri = url.as_str().parse().map_err(|_| bad())?;
        let authority = whole.authority().ok_or_else(bad)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
        let target = whole.path_and_query().cloned().map_or(Uri::from_static("/"), Uri::from);
        let shelf = lock(&SHELVES).entry(authority.clone()).or_default().clone();
        Ok(Self { whole, shelf, target, host })
    }
}

/// Sends a request to `place`, over a connection that is there already if one is. Its server may be closing it at that very
/// moment: what `repeats` is then sent anew, what might do its work twice is lost (RFC 9112, 9.3.1).
pub(super) async fn send(
    method: Method,
    place: &Place,
    mut headers: HeaderMap,
    body: Bytes,
    repeats: bool,
) -> Result<Answer, Loss> {
    headers.entry(HOST).or_insert_with(|| place.host.clone());
    headers.entry(USER_AGENT).or_insert(AGENT);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = place.target.clone();
    *request.headers_mut() = headers;
    loop {
        let (mut connection, is_new) = match place.shelf.take() {
            Some(connection) => (connection, false),
            // Boxed, since nearly every request finds one.
            None => (Box::new(Box::pin(Connection::open(place)).await?), true),
        };
        let spare = (repeats && !is_new).then(|| request.clone());
        let mut answering = pin!(connection.sender.try_send_request(request));
        let answered = std::future::poll_fn(|cx| connection.poll(cx, |cx| answering.as_mut().poll(cx))).await;
        match answered {
            Ok(response) => return Ok(Answer::new(place.shelf.clone(), (connection, is_new), response)),
            Err(mut error) => match error.take_message().or(spare) {
                Some(unsent) if !is_new => request = unsent,
                _ => return Err(lost(error.error())),
            },
        }
    }
}

/// A connection, which does something only while it is polled.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// None when it is over.
    carrier: Option<Carrier<TokioIo<TcpStream>, Full<Bytes>>>,
    turns: Turns,
}

impl Connection {
    async fn open(place: &Place) -> Result<Self, Loss> {
        let connected = CONNECTOR.clone().call(place.whole.clone()).await;
        let stream = connected.map_err(|error| Loss::Unreachable(cause(&error)))?;
        let (sender, carrier) = handshake(stream).await.map_err(|error| lost(&error))?;
        Ok(Self { sender, carrier: Some(carrier), turns: Turns::default() })
    }

    /// Polls `what`, and the connection that brings it, until both wait for the peer.
    fn poll<T>(&mut self, cx: &mut Context<'_>, mut what: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let Self { turns, carrier, .. } = self;
        turns.poll(cx, |cx| {
            if carrier.as_mut().is_some_and(|carrier| Pin::new(carrier).poll(cx).is_ready()) {
                *carrier = None;
            }
            what(cx)
        })
    }

    /// Whether it could take a request now.
    fn is_ready(&mut self) -> bool {
        let _pending = self.poll(&mut Context::from_waker(Waker::noop()), |_| Poll::<()>::Pending);
        self.carrier.is_some() && self.sender.is_ready()
    }
}

/// An answer whose body is still to be read. Dropped before its end, it closes its connection.
pub(crate) struct Answer {
    head: response::Parts,
    body: Incoming,
    /// It is the first one on its connection.
    is_first: bool,
    shelf: Arc<Shelf>,
    /// None when the body is over.
    connection: Option<Box<Connection>>,
}

impl Answer {
    fn new(
        shelf: Arc<Shelf>,
        (connection, is_first): (Box<Connection>, bool),
        response: http::Response<Incoming>,
    ) -> Self {
        let (head, body) = response.into_parts();
        let mut answer = Self { head, body, is_first, shelf, connection: Some(connection) };
        if answer.body.is_end_stream() {
            answer.rest();
        }
        answer
    }

    pub(super) fn head(&self) -> &response::Parts {
        &self.head
    }

    /// Whether no answer came over its connection before.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next piece of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Loss> {
        while let Some(connection) = &mut self.connection {
            let body = &mut self.body;
            let polled = std::future::poll_fn(|cx| connection.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx))).await;
            match polled {
                Some(Ok(frame)) => {
                    if self.body.is_end_stream() {
                        self.rest();
                    }
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    self.connection = None;
                    return Err(lost(&error));
                }
                None => self.rest(),
            }
        }
        Ok(None)
    }

    /// Its connection is not used any more, for now.
    fn rest(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.shelf.put(connection);
        }
    }
}

/// Connections to one place that nobody uses, and since when.
#[derive(Default)]
struct Shelf(Mutex<Vec<(Instant, Box<Connection>)>>);

impl Shelf {
    /// One that its server may have closed meanwhile: whoever sends something over it finds that out before.
    fn take(&self) -> Option<Box<Connection>> {
        let mut resting = lock(&self.0);
        loop {
            let (since, connection) = resting.pop()?;
            if since.elapsed() < IDLE {
                return Some(connection);
            }
        }
    }

    fn put(&self, mut connection: Box<Connection>) {
        if !connection.is_ready() {
            return;
        }
        // Of the task that used it nothing is to be kept.
        connection.turns.rest();
        lock(&self.0).push((Instant::now(), connection));
        if !IS_SWEPT.load(Ordering::SeqCst) {
            sweep_soon();
        }
    }

    /// Closes those that rest for too long, and those that their servers have closed. Whether any are left.
    fn sweep(&self) -> bool {
        let mut resting = lock(&self.0);
        resting.retain_mut(|(since, connection)| since.elapsed() < IDLE && connection.is_ready());
        if resting.is_empty() {
            resting.shrink_to_fit();
        }
        !resting.is_empty()
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shelf").field(&lock(&self.0).len()).finish()
    }
}

/// Whether anything rests on any shelf. Those that nobody has, and where nothing rests, are forgotten.
fn sweep_all() -> bool {
    let mut is_anything_left = false;
    lock(&SHELVES).retain(|_, shelf| {
        let is_used = shelf.sweep();
        is_anything_left |= is_used;
        is_used || Arc::strong_count(shelf) > 1
    });
    is_anything_left
}

/// Makes sure that there is somebody who sweeps.
fn sweep_soon() {
    if let Ok(runtime) = tokio::runtime::Handle::try_current()
        && !IS_SWEPT.swap(true, Ordering::SeqCst)
    {
        runtime.spawn(sweep(Sweeper));
    }
}

async fn sweep(_sweeper: Sweeper) {
    loop {
        tokio::time::sleep(IDLE / 4).await;
        // Before it is looked: who puts something back after that starts another.
        IS_SWEPT.store(false, Ordering::SeqCst);
        if !sweep_all() || IS_SWEPT.swap(true, Ordering::SeqCst) {
            return;
        }
    }
}

/// Held by the task that sweeps. Should its runtime end, the next one to put something back starts another.
struct Sweeper;

impl Drop for Sweeper {
    fn drop(&mut self) {
        IS_SWEPT.store(false, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost(error: &hyper::Error) -> Loss {
    Loss::Disconnected(cause(error))
}

/// The last of the chain of causes says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    first_cause(error).unwrap_or_else(|| error.to_string())
}
