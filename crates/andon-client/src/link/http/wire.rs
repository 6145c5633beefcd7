//! HTTP/1.1 without TLS, spoken by the very task that waits for the answer: nobody else is woken on the way, which at a
//! server that is near takes longer than all the rest.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
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

/// Connections of this process that nobody uses.
static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

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
    authority: Authority,
    /// What stands in requests.
    target: Uri,
    host: HeaderValue,
}

impl Place {
    pub(super) fn of(url: &url::Url) -> Result<Self, Loss> {
        let bad = || refused(None, "a URL that no request can carry");
        let whole: Uri = url.as_str().parse().map_err(|_| bad())?;
        let authority = whole.authority().cloned().ok_or_else(bad)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
        let target = whole.path_and_query().cloned().map_or(Uri::from_static("/"), Uri::from);
        Ok(Self { whole, authority, target, host })
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
        let (mut connection, is_new) = match POOL.take(&place.authority) {
            Some(connection) => (connection, false),
            // Boxed, since nearly every request finds one.
            None => (Box::pin(Connection::open(place)).await?, true),
        };
        let spare = (repeats && !is_new).then(|| request.clone());
        let mut answering = pin!(connection.sender.try_send_request(request));
        let answered = std::future::poll_fn(|cx| connection.poll(cx, |cx| answering.as_mut().poll(cx))).await;
        match answered {
            Ok(response) => return Ok(Answer::new(connection, response)),
            Err(mut error) => match error.take_message().or(spare) {
                Some(unsent) if !is_new => request = unsent,
                _ => return Err(lost(error.error())),
            },
        }
    }
}

/// A connection, which does something only while it is polled.
struct Connection {
    place: Authority,
    ends: Option<(SocketAddr, SocketAddr)>,
    sender: SendRequest<Full<Bytes>>,
    /// None when it is over.
    carrier: Option<Carrier<TokioIo<TcpStream>, Full<Bytes>>>,
    turns: Turns,
}

impl Connection {
    async fn open(place: &Place) -> Result<Self, Loss> {
        let connected = CONNECTOR.clone().call(place.whole.clone()).await;
        let stream = connected.map_err(|error| Loss::Unreachable(cause(&error)))?;
        let (local, remote) = (stream.inner().local_addr(), stream.inner().peer_addr());
        let (sender, carrier) = handshake(stream).await.map_err(|error| lost(&error))?;
        let (ends, carrier) = (local.ok().zip(remote.ok()), Some(carrier));
        Ok(Self { place: place.authority.clone(), ends, sender, carrier, turns: Turns::default() })
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

    /// It is not used any more, for now.
    fn rest(mut self) {
        if self.is_ready() {
            POOL.put(self);
        }
    }
}

/// An answer whose body is still to be read. Dropped before its end, it closes its connection.
pub(crate) struct Answer {
    head: response::Parts,
    body: Incoming,
    ends: Option<(SocketAddr, SocketAddr)>,
    /// None when the body is over.
    connection: Option<Connection>,
}

impl Answer {
    fn new(connection: Connection, response: http::Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let mut answer = Self { head, body, ends: connection.ends, connection: Some(connection) };
        answer.rest_at_end();
        answer
    }

    pub(super) fn head(&self) -> &response::Parts {
        &self.head
    }

    /// Our end of the connection and the server's.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.ends
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
                    self.rest_at_end();
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    self.connection = None;
                    return Err(lost(&error));
                }
                None => self.connection.take().into_iter().for_each(Connection::rest),
            }
        }
        Ok(None)
    }

    fn rest_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.connection.take().into_iter().for_each(Connection::rest);
        }
    }
}

/// Connections that rest, by where they lead to.
#[derive(Default)]
struct Pool(Mutex<Resting>);

#[derive(Default)]
struct Resting {
    connections: HashMap<Authority, Vec<(Instant, Connection)>>,
    /// There is somebody who closes those that rest for too long.
    is_swept: bool,
}

impl Pool {
    fn take(&self, place: &Authority) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.resting().connections.get_mut(place)?.pop()?;
            if since.elapsed() < IDLE && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn put(&self, connection: Connection) {
        // Of the task that used it nothing is to be kept.
        connection.turns.rest();
        let mut resting = self.resting();
        match resting.connections.get_mut(&connection.place) {
            Some(others) => others.push((Instant::now(), connection)),
            None => drop(resting.connections.insert(connection.place.clone(), vec![(Instant::now(), connection)])),
        }
        if let (false, Ok(runtime)) = (resting.is_swept, tokio::runtime::Handle::try_current()) {
            resting.is_swept = true;
            runtime.spawn(sweep(Sweeper));
        }
    }

    /// Closes those that rest for too long, and those that their servers have closed. Whether any are left.
    fn sweep(&self) -> bool {
        let mut resting = self.resting();
        resting.connections.retain(|_, known| {
            known.retain_mut(|(since, connection)| since.elapsed() < IDLE && connection.is_ready());
            !known.is_empty()
        });
        resting.is_swept = !resting.connections.is_empty();
        resting.is_swept
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(_sweeper: Sweeper) {
    loop {
        tokio::time::sleep(IDLE / 4).await;
        if !POOL.sweep() {
            return;
        }
    }
}

/// Held by the task that sweeps. Should its runtime end, the next one to put something back starts another.
struct Sweeper;

impl Drop for Sweeper {
    fn drop(&mut self) {
        POOL.resting().is_swept = false;
    }
}

fn lost(error: &hyper::Error) -> Loss {
    Loss::Disconnected(cause(error))
}

/// The last of the chain of causes says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    first_cause(error).unwrap_or_else(|| error.to_string())
}
