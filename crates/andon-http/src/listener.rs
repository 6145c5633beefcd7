//! Listens on a TCP port and serves the endpoint over HTTP/1.1 and HTTP/2.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use andon_server::error::Error;
use andon_server::host::Host;
use andon_server::serve::{Serve, Shutdown};
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::connection::{Answers, GOODBYE, Patience, attend};
use crate::options::HttpOptions;
use crate::porch::Porch;
use crate::service::HttpService;

/// A bound port, and how to serve on it.
pub struct Http {
    listener: std::net::TcpListener,
    address: SocketAddr,
    options: HttpOptions,
    taker: Taker,
}

/// Who takes connections.
enum Taker {
    /// The runtime that serves them.
    Runtime,
    /// A thread of its own.
    Thread,
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

/// Connections that the system lets wait until they are accepted, unless it allows fewer.
const BACKLOG: i32 = 4096;

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

    /// Takes connections on a thread of its own, which also says whether the server is well (`/healthz`, `/readyz`), on a
    /// connection for each time: so that is known even when there is more to do than can be done. Not well is a server whose
    /// runtime has done nothing for three seconds.
    #[must_use]
    pub fn take_on_thread(mut self) -> Self {
        self.taker = Taker::Thread;
        self
    }

    /// Serves `host` until `shutdown`; then takes no more connections, lets calls finish, and tells streams.
    ///
    /// # Errors
    /// When the port cannot be used with the runtime.
    pub async fn run(self, host: Arc<Host>, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let slots = Arc::new(Semaphore::new(self.options.connections_max));
        let drain_timeout = self.options.drain_timeout;
        let patience = Patience { head_timeout: self.options.head_timeout, idle_timeout: self.options.idle_timeout };
        let service = HttpService::new(host.clone(), self.options);
        let (closing, watcher) = watch::channel(false);
        let taken = async {
            match self.taker {
                Taker::Thread => Porch { service, slots, patience, closing: watcher }.run(self.listener).await,
                Taker::Runtime => {
                    let listener = TcpListener::from_std(self.listener)?;
                    attend_all(&listener, &slots, service, patience, watcher).await;
                    Ok(())
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            taken = taken => taken?,
        }
        closing.send_replace(true);
        host.drain(drain_timeout).await;
        // Connections end by themselves once their streams have.
        if tokio::time::timeout(GOODBYE, closing.closed()).await.is_err() {
            tracing::debug!("connections were still open at the end");
        }
        Ok(())
    }

    /// The port and the settings, for a program whose workers serve it.
    pub fn into_parts(self) -> (std::net::TcpListener, HttpOptions) {
        (self.listener, self.options)
    }

    fn listen(address: SocketAddr) -> Result<Self, BindError> {
        let listener = std::net::TcpListener::bind(address).map_err(BindError::Io)?;
        // The standard library lets 128 wait, fewer than come at once when many come back: the others would try again only
        // after a second.
        socket2::SockRef::from(&listener).listen(BACKLOG).map_err(BindError::Io)?;
        limit_unread(&listener).map_err(BindError::Io)?;
        limit_unsent(&listener).map_err(BindError::Io)?;
        let address = listener.local_addr().map_err(BindError::Io)?;
        Ok(Self { listener, address, options: HttpOptions::default(), taker: Taker::Runtime })
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

/// Has the system keep no more of what nobody reads yet. Linux lets it grow to 6 or 32 MB, by its version: ten thousand peers
/// that ask faster than they take their answers would have all memory that TCP may use, and others none. The price: a peer sends
/// no more in each round trip. Connections inherit it.
fn limit_unread(listener: &std::net::TcpListener) -> std::io::Result<()> {
    const UNREAD_BYTES_MAX: usize = 64 << 10;
    socket2::SockRef::from(listener).set_recv_buffer_size(UNREAD_BYTES_MAX)
}

/// Has the system take no more of an answer than a connection can send now, and this much: without, it takes 4 MB for a peer
/// that does not read. What is on its way is not counted, so that fast peers are not slowed. Connections inherit it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn limit_unsent(listener: &std::net::TcpListener) -> std::io::Result<()> {
    const UNSENT_BYTES_MAX: u32 = 32 << 10;
    socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

/// Other systems have no such limit, or bounds of their own.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn limit_unsent(_listener: &std::net::TcpListener) -> std::io::Result<()> {
    Ok(())
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

/// Serves connections, as many at once as there are slots, with what `service` says to each request; for ever.
pub(crate) async fn attend_all(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    service: impl Answers,
    patience: Patience,
    closing: watch::Receiver<bool>,
) {
    loop {
        let (socket, slot) = accept(listener, slots).await;
        let (service, closing) = (service.clone(), closing.clone());
        tokio::spawn(async move {
            attend(socket, service, patience, closing).await;
            drop(slot);
        });
        // Another process that shares the port may take the next one.
        tokio::task::yield_now().await;
    }
}

/// The next connection, with its slot. When the process is out of files it waits for some to be closed.
pub(crate) async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
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

#[cfg(test)]
mod tests;
