//! HTTP/1.1 without TLS, spoken by the very task that waits for the answer: nobody else is woken on the way, and little is
//! executed, which at a server that is near takes longer than all the rest.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon_auth::net::first_cause;
use andon_core::client::Loss;
use andon_h1::response::Head;
use andon_h1::{Body, Malformed, Piece, push_field, request};
use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service as _;

use super::refused;
use super::send::Headers;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a peer that says nothing is asked whether it is there, and how often in vain.
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;
/// Bytes that are read at once.
const READ_BYTES: usize = 8 << 10;

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
    target: String,
    /// The line that says of which host, for requests that do not.
    host: Vec<u8>,
}

impl Place {
    pub(super) fn of(url: &url::Url) -> Result<Self, Loss> {
        let bad = || refused(None, "a URL that no request can carry");
        let whole: Uri = url.as_str().parse().map_err(|_| bad())?;
        let authority = whole.authority().ok_or_else(bad)?;
        let name = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
        let mut host = Vec::new();
        push_field(&mut host, &HOST, &name);
        let target = whole.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let shelf = lock(&SHELVES).entry(authority.clone()).or_default().clone();
        Ok(Self { whole, shelf, target, host })
    }
}

/// Sends a request to `place`, over a connection that is there already if one is. Its server may be closing it at that very
/// moment: what `repeats` is then sent anew, what might do its work twice is lost (RFC 9112, 9.3.1).
pub(super) async fn send(
    method: &Method,
    place: &Place,
    headers: &Headers,
    body: &[u8],
    repeats: bool,
) -> Result<Answer, Loss> {
    let lines = |head: &mut Vec<u8>| headers.push_to(head, &place.host);
    let head = request::write(method, &place.target, lines, body.len());
    loop {
        let (mut connection, is_first) = match place.shelf.take() {
            Some(connection) => (connection, false),
            // Boxed, since nearly every request finds one.
            None => (Box::pin(Connection::open(place)).await?, true),
        };
        match connection.exchange(&head, body).await {
            Ok(head) => return Ok(Answer::new(place.shelf.clone(), connection, (head, is_first))),
            Err(_) if repeats && !is_first => {}
            Err(error) => return Err(lost(&error)),
        }
    }
}

/// A connection, and what was read of it and not looked at yet.
struct Connection {
    stream: TcpStream,
    read: BytesMut,
    /// The whole request was sent.
    is_sent: bool,
}

impl Connection {
    async fn open(place: &Place) -> Result<Self, Loss> {
        let connected = CONNECTOR.clone().call(place.whole.clone()).await;
        let stream = connected.map_err(|error| Loss::Unreachable(cause(&error)))?.into_inner();
        Ok(Self { stream, read: BytesMut::new(), is_sent: true })
    }

    /// Sends a request and waits for the head of its answer.
    async fn exchange(&mut self, head: &[u8], body: &[u8]) -> io::Result<Head> {
        self.is_sent = self.write(head, body).await?;
        loop {
            if !self.read.is_empty()
                && let Some(head) = Head::take(&mut self.read).map_err(no_http)?
            {
                return Ok(head);
            }
            if self.fill().await? == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }

    /// Writes both, or as much as the server takes before it answers: it may refuse what is too large for it. Whether it was all.
    async fn write(&mut self, mut head: &[u8], mut body: &[u8]) -> io::Result<bool> {
        loop {
            match self.stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(written) => {
                    let of_head = written.min(head.len());
                    (head, body) = (&head[of_head..], &body[written - of_head..]);
                    if head.is_empty() && body.is_empty() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
                    self.read.reserve(READ_BYTES);
                    match self.stream.try_read_buf(&mut self.read) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                        // Also at its end: nothing follows, and that is found out next.
                        Ok(_) => return Ok(false),
                    }
                }
                // The answer may be there all the same.
                Err(_) => return Ok(false),
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.read.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.read).await
    }

    /// Whether a request could follow: nothing came that nobody asked for, and the server has not closed it. The system is
    /// asked, since the runtime may not have heard of either yet.
    fn is_good(&self) -> bool {
        let would_wait = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
        let mut byte = [MaybeUninit::uninit()];
        self.read.is_empty() && SockRef::from(&self.stream).peek(&mut byte).as_ref().is_err_and(would_wait)
    }
}

/// An answer whose body is still to be read. Dropped before its end, it closes its connection.
pub(crate) struct Answer {
    head: Head,
    /// No answer came over its connection before.
    is_first: bool,
    shelf: Arc<Shelf>,
    /// None when the body is over.
    connection: Option<Connection>,
}

impl Answer {
    fn new(shelf: Arc<Shelf>, connection: Connection, (head, is_first): (Head, bool)) -> Self {
        let mut answer = Self { head, is_first, shelf, connection: Some(connection) };
        answer.rest_at_end();
        answer
    }

    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The value of the first header with this name.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.fields.first(name)
    }

    pub(super) fn headers(&self) -> HeaderMap {
        self.head.fields.to_map()
    }

    /// Whether no answer came over its connection before.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Bytes that are left of the body, where that is known.
    pub(super) fn content_length(&self) -> Option<u64> {
        match self.head.body {
            Body::Sized(bytes) => Some(bytes),
            Body::Chunked(_) | Body::UntilEnd => None,
        }
    }

    /// The next piece of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Loss> {
        let piece = self.piece().await;
        if piece.is_err() {
            self.connection = None;
        }
        piece.map_err(|error| lost(&error))
    }

    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(connection) = &mut self.connection {
            match self.head.body.take(&mut connection.read).map_err(no_http)? {
                Piece::Data(data) => {
                    self.rest_at_end();
                    return Ok(Some(data));
                }
                Piece::Over => self.rest_at_end(),
                Piece::Wanting => {
                    if connection.fill().await? == 0 {
                        self.head.body.end().map_err(no_http)?;
                        self.connection = None;
                    }
                }
            }
        }
        Ok(None)
    }

    /// At the end of the body its connection is not used any more, for now.
    fn rest_at_end(&mut self) {
        if self.head.body.is_over()
            && let Some(connection) = self.connection.take()
            && self.head.keeps_alive
            && connection.is_sent
        {
            self.shelf.put(connection);
        }
    }
}

/// Connections to one place that nobody uses, and since when.
#[derive(Default)]
struct Shelf(Mutex<Vec<(Instant, Connection)>>);

impl Shelf {
    fn take(&self) -> Option<Connection> {
        let mut resting = lock(&self.0);
        loop {
            let (since, connection) = resting.pop()?;
            if since.elapsed() < IDLE && connection.is_good() {
                return Some(connection);
            }
        }
    }

    fn put(&self, connection: Connection) {
        lock(&self.0).push((Instant::now(), connection));
        if !IS_SWEPT.load(Ordering::SeqCst) {
            sweep_soon();
        }
    }

    /// Closes those that rest for too long, and those that their servers have closed. Whether any are left.
    fn sweep(&self) -> bool {
        let mut resting = lock(&self.0);
        resting.retain(|(since, connection)| since.elapsed() < IDLE && connection.is_good());
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

fn no_http(malformed: Malformed) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the server does not speak HTTP/1.1: {}", malformed.0))
}

fn lost(error: &io::Error) -> Loss {
    Loss::Disconnected(cause(error))
}

/// The last of the chain of causes says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    first_cause(error).unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests;
