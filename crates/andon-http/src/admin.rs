//! The endpoint for operators, apart from the one for clients: a Unix socket for one user, or a loopback port with a token.
//!
//! JSON over HTTP/1.1, one request a connection, under `/v1/`: `GET /v1/sessions`, `GET` and `DELETE /v1/sessions/NAME`,
//! `GET /v1/status`, and what else a program has to show ([`Admin::with`]). What it says has no secrets, no session ids and
//! nothing of what clients and servers say to each other.

mod door;
mod resource;
mod sessions;
mod token;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use andon_server::error::Error;
use andon_server::host::Host;
use andon_server::serve::{DRAIN_TIMEOUT, Serve, Shutdown};
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::door::Door;
use self::sessions::{SessionsResource, StatusResource};
use crate::connection::{self, Answers, Patience, RequestBody};
use crate::gate;
use crate::head::RequestHead;
use crate::headers::{Field, Headers};
use crate::options::HttpOptions;

pub use resource::{Ask, Refusal, Resource};
pub use token::AdminToken;

/// How long one request may take, from its connection to the end of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long its head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once, each door.
const CONNECTIONS_MAX: usize = 32;
/// What paths begin with.
const VERSION: &str = "v1";

/// Where operators come in, and what they find. A transport like others: `server.serve((http, admin))`.
///
/// ```no_run
/// # use andon_http::{Admin, Http};
/// # use andon_server::server::Server;
/// # async fn run(server: Server) -> Result<(), Box<dyn std::error::Error>> {
/// server.serve((Http::bind("127.0.0.1:8080")?, Admin::new().socket("data/admin.sock")?)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Admin {
    doors: Vec<Door>,
    resources: Resources,
}

type Resources = BTreeMap<String, Arc<dyn Resource>>;

impl Admin {
    /// Without a door: nobody comes in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on a Unix socket at `path`, which only this user and root can use; in whose place a socket may be that nobody
    /// listens on any more. It is removed at the end.
    ///
    /// # Errors
    /// When somebody listens there already, something else is in its place, or the system refuses.
    #[cfg(unix)]
    pub fn socket(mut self, path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        self.doors.push(Door::socket(path.as_ref())?);
        Ok(self)
    }

    /// Listens on a loopback address, such as `127.0.0.1:9090`; port 0 takes a free one. Each request has to bring `token`
    /// (`Authorization: Bearer`).
    ///
    /// # Errors
    /// When the address is not a loopback one, or the system refuses.
    pub fn address(mut self, address: impl AsRef<str>, token: AdminToken) -> Result<Self, Error> {
        self.doors.push(Door::address(address.as_ref(), token)?);
        Ok(self)
    }

    /// Shows `resource` under `/v1/NAME` and `/v1/NAME/ITEM`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, resource: impl Resource) -> Self {
        self.resources.insert(name.into(), Arc::new(resource));
        self
    }

    /// The addresses that it listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter_map(Door::bound_to).collect()
    }

    /// Answers operators until `shutdown`, and while the host is drained, so that they see what it still waits for.
    ///
    /// # Errors
    /// When a door cannot be used with the runtime.
    pub async fn run(self, host: Arc<Host>, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        let mut resources = self.resources;
        resources.insert("sessions".to_owned(), Arc::new(SessionsResource(host.clone())));
        resources.insert("status".to_owned(), Arc::new(StatusResource(host.clone())));
        let resources = Arc::new(resources);
        let doors: Vec<_> = self.doors.into_iter().map(Door::open).collect::<Result<_, _>>()?;
        let attended = join_all(doors.iter().map(|door| door.attend(&resources)));
        let ended = async {
            shutdown.await;
            host.drain(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            () = ended => {}
            // Doors never close by themselves; without one this is ready at once.
            () = async { attended.await; std::future::pending().await } => {}
        }
        Ok(())
    }
}

impl Serve for Admin {
    fn serve(self, host: Arc<Host>, mut shutdown: Shutdown) -> BoxFuture<'static, Result<(), Error>> {
        let run = async move { self.run(host, shutdown.requested()).await };
        Box::pin(async move { run.await.map_err(|error| Error::io("the endpoint for operators", error)) })
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("doors", &self.doors.len()).finish_non_exhaustive()
    }
}

/// What whoever comes in by a door has to show.
#[derive(Clone)]
enum Pass {
    /// Nothing: the system says who it is.
    Known,
    /// The system says that it is somebody else.
    Stranger,
    /// The token.
    Token(Arc<AdminToken>),
}

/// Serves one request on a connection.
async fn attend<T>(io: T, pass: Pass, resources: Arc<Resources>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = Patience { head_timeout: HEAD_TIMEOUT, idle_timeout: REQUEST_TIMEOUT };
    let (_open, never) = watch::channel(false);
    let served = connection::attend(io, Operators { pass, resources }, patience, never);
    if tokio::time::timeout(REQUEST_TIMEOUT, served).await.is_err() {
        tracing::debug!("an operator's request took too long");
    }
}

/// Answers whoever came in by a door.
#[derive(Clone)]
struct Operators {
    pass: Pass,
    resources: Arc<Resources>,
}

impl Answers for Operators {
    type Body = Full<Bytes>;

    const HAS_HTTP2: bool = false;

    async fn answer(&self, head: &RequestHead<'_>, _body: RequestBody) -> Response<Full<Bytes>> {
        match answer(head, &self.pass, &self.resources).await {
            Ok(value) => respond(200, &value),
            Err(refusal) => refuse(&refusal),
        }
    }

    fn refuse(&self, status: u16, why: &str) -> Response<Full<Bytes>> {
        refuse(&Refusal::Status(status, why.to_owned()))
    }
}

async fn answer(head: &RequestHead<'_>, pass: &Pass, resources: &Resources) -> Result<Value, Refusal> {
    // The names of the loopback addresses only. Web pages have no business here, whatever their origin.
    let headers = &head.headers;
    gate::check(head, &HttpOptions::default()).map_err(|(status, why)| Refusal::Status(status, why))?;
    if headers.contains(Field::Origin) {
        return Err(Refusal::Status(403, "web pages may not call this endpoint".to_owned()));
    }
    admit(headers, pass)?;
    let mut segments = head.target.path.trim_start_matches('/').split('/');
    let (version, resource, item) = (segments.next(), segments.next().unwrap_or_default(), segments.next());
    let known = || resources.keys().map(|name| format!("/{VERSION}/{name}")).collect::<Vec<_>>().join(", ");
    let no_path = || Refusal::NotFound(format!("no such path; there are: {}", known()));
    if version != Some(VERSION) || segments.next().is_some() || item == Some("") {
        return Err(no_path());
    }
    let resource = resources.get(resource).ok_or_else(no_path)?;
    let ask = Ask::new(head.method.clone(), item, head.target.query.unwrap_or_default());
    resource.answer(ask).await
}

fn admit(headers: &Headers<'_>, pass: &Pass) -> Result<(), Refusal> {
    match pass {
        Pass::Known => Ok(()),
        Pass::Stranger => Err(Refusal::Status(403, "this socket is another user's".to_owned())),
        Pass::Token(token) => {
            let sent = headers.single(Field::Authorization).map_err(|bad| Refusal::BadRequest(bad.0))?;
            let sent = sent.and_then(|value| value.split_once(' '));
            let bearer = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, sent)| sent);
            if bearer.is_some_and(|sent| token.is(sent)) { Ok(()) } else { Err(Refusal::Unauthorized) }
        }
    }
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut response = respond(refusal.status(), &json!({ "error": refusal.to_string() }));
    match refusal {
        Refusal::NotAllowed(methods) => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        Refusal::Unauthorized => {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

fn respond(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
