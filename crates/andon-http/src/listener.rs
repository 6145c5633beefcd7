//! Listens on a TCP port and serves the endpoint over HTTP/1.1 and HTTP/2.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use andon_server::error::Error;
use andon_server::host::Host;
use andon_server::serve::{Serve, Shutdown};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::activity::{Activity, Turn};
use crate::options::HttpOptions;
use crate::service::HttpService;
use crate::strict::Strict;

/// How long a connection may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(1);

/// A bound port, and how to serve on it.
pub struct Http {
    listener: std::net::TcpListener,
    address: SocketAddr,
    options: HttpOptions,
}

/// Why a port could not be bound.
#[derive(Debug)]
pub enum BindError {
    /// The address is reachable from other machines, and nobody said that this is meant.
    NotLoopback(SocketAddr),
    /// The system refused.
    Io(std::io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoopback(address) => write!(
                f,
                "{address} is reachable from other machines: bind 127.0.0.1, or say that it is meant \
                 (Http::bind_public, --public) and put authentication in front"
            ),
            Self::Io(error) => write!(f, "cannot listen: {error}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotLoopback(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

impl Http {
    /// Binds a loopback address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError::NotLoopback`] for any other address, and what the system says.
    pub fn bind(address: impl AsRef<str>) -> Result<Self, BindError> {
        let address = resolve(address.as_ref())?;
        if !address.ip().is_loopback() {
            return Err(BindError::NotLoopback(address));
        }
        Self::listen(address)
    }

    /// Binds an address that other machines reach. Name the hosts under which they do with [`Http::allow_host`], and
    /// check tokens or put something in front that does.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind_public(address: impl AsRef<str>) -> Result<Self, BindError> {
        Self::listen(resolve(address.as_ref())?)
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint's URL, for people.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.options.path)
    }

    /// Another name under which the server is reached.
    #[must_use]
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.options.hosts.push(name.into());
        self
    }

    /// An origin whose web pages may call the server.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.options.origins.push(origin.into());
        self
    }

    /// Changes any setting.
    #[must_use]
    pub fn with_options(mut self, change: impl FnOnce(&mut HttpOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Serves `host` until `shutdown`; then takes no more connections, lets calls finish, and tells streams.
    ///
    /// # Errors
    /// When the port cannot be used with the runtime.
    pub async fn run(self, host: Arc<Host>, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.listener)?;
        let slots = Arc::new(Semaphore::new(self.options.connections_max));
        let drain_timeout = self.options.drain_timeout;
        let service = HttpService::new(host.clone(), self.options);
        let builder = Arc::new(builder());
        let (closing, watcher) = watch::channel(());
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            let (socket, slot) = accepted;
            let (builder, service, watcher) = (builder.clone(), service.clone(), watcher.clone());
            tokio::spawn(async move {
                attend(&builder, service, socket, watcher).await;
                drop(slot);
            });
        }
        drop((watcher, closing.send(())));
        drop(listener);
        host.drain(drain_timeout).await;
        // Connections end by themselves once their streams have.
        if tokio::time::timeout(GOODBYE, closing.closed()).await.is_err() {
            tracing::debug!("connections were still open at the end");
        }
        Ok(())
    }

    fn listen(address: SocketAddr) -> Result<Self, BindError> {
        let listener = std::net::TcpListener::bind(address).map_err(BindError::Io)?;
        let address = listener.local_addr().map_err(BindError::Io)?;
        Ok(Self { listener, address, options: HttpOptions::default() })
    }
}

impl Serve for Http {
    fn serve(self, host: Arc<Host>, mut shutdown: Shutdown) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move { self.run(host, shutdown.requested()).await.map_err(|error| Error::io("HTTP", error)) })
    }
}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Io(error) => Error::io("cannot listen", error),
            refused @ BindError::NotLoopback(_) => Error::misuse(refused.to_string()),
        }
    }
}

pub(crate) fn resolve(address: &str) -> Result<SocketAddr, BindError> {
    use std::net::ToSocketAddrs as _;
    let refuse = |why: String| {
        let why = format!("{address:?} is not HOST:PORT that can be found: {why}");
        BindError::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, why))
    };
    let mut known = address.to_socket_addrs().map_err(|error| refuse(error.to_string()))?;
    known.next().ok_or_else(|| refuse("it has no address".to_owned()))
}

/// The next connection, with its slot. When the process is out of files it waits for some to be closed.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((socket, _)) => {
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "a connection was gone before it was served");
                    continue;
                }
                return (socket, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections now; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection until either side ends it, it rests for too long, or the server is `closing`.
async fn attend(
    builder: &Builder<TokioExecutor>,
    service: HttpService,
    socket: TcpStream,
    mut closing: watch::Receiver<()>,
) {
    let (head_timeout, idle_timeout) = (service.options().head_timeout, service.options().idle_timeout);
    let activity = Arc::new(Activity::default());
    let mut rest = std::pin::pin!(activity.rest(idle_timeout));
    let io = TokioIo::new(Strict::new(socket, head_timeout, activity.clone()));
    let serve = service_fn(|request: http::Request<Incoming>| {
        let service = service.clone();
        let turn = Turn::begin(activity.clone());
        async move { Ok::<_, std::convert::Infallible>(service.handle(request).await.map(|body| turn.answer(body))) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(io, serve));
    let mut is_closing = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => break Some(ended),
            () = &mut rest => break None,
            _ = closing.changed(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // HTTP/2 says so. A peer that takes nothing is not waited for.
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without `pipeline_flush`: it holds back the 400 of a bad head as long as more bytes of it are there.
    builder
        .http1()
        // The guard limits how long a head may take, and `attend` how long a connection may rest.
        .header_read_timeout(None::<Duration>)
        .max_headers(64)
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(32 << 10)
        .max_pending_accept_reset_streams(Some(32))
        .max_local_error_reset_streams(Some(128))
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
