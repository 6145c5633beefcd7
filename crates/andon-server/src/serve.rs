//! Where a server is served: one transport, or several at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::error::Error;
use crate::host::Host;
use crate::server::Server;

/// How long calls in flight may take to finish after a shutdown was asked for.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How many sockets a thread asks about at a time. It has room for 256 tasks of its own; those beyond them go to a queue that all
/// threads share and seldom look into: of a thousand busy connections some would wait fifty times as long as most.
const EVENTS_AT_ONCE: usize = 32;
/// Every second task that a thread takes is from that queue, if there is one: calls wait there that are many on few connections of
/// HTTP/2. With 1 a thread would come to its own tasks only when that queue is empty.
const SHARED_EVERY: u32 = 2;

/// A transport, or a tuple of transports.
///
/// When `shutdown` is requested a transport takes no more connections, writes what is still answered, and ends when
/// the host is drained.
pub trait Serve: Send + Sized + 'static {
    /// Serves `host` until `shutdown` says so or the transport ends by itself, as stdio does with its input.
    ///
    /// # Errors
    /// When the transport cannot work at all. The failure of one connection is no error.
    fn serve(self, host: Arc<Host>, shutdown: Shutdown) -> BoxFuture<'static, Result<(), Error>>;
}

/// Says that it is time to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Asks for the shutdown of everything that holds its [`Shutdown`]. Dropping it asks too.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl Shutdown {
    /// A shutdown and what triggers it.
    pub fn new() -> (ShutdownTrigger, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Returns when it is time to stop.
    pub async fn requested(&mut self) {
        // An error says that the trigger is gone, which asks too.
        let _ = self.0.wait_for(|asked| *asked).await;
    }

    /// Whether it is time to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl ShutdownTrigger {
    /// Asks for the shutdown.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Serves on `transports`, one or a tuple, until all of them ended, or until SIGTERM or Ctrl-C: then it stops taking
    /// requests, finishes those in flight for at most [`DRAIN_TIMEOUT`], tells streams that it is the end, and returns.
    ///
    /// In a runtime with tokio's defaults some of a thousand busy connections wait much longer than others; in that of
    /// [`Server::run`], which [`runtime`] makes too, they do not.
    ///
    /// # Errors
    /// When the server is wrong (see [`Server::build`]) or a transport cannot work.
    pub async fn serve(self, transports: impl Serve) -> Result<(), Error> {
        let host = self.build()?;
        serve_until(host, transports, terminated()).await
    }

    /// The same, in a runtime of its own: for programs that have none.
    ///
    /// # Errors
    /// As [`Server::serve`], and when the runtime cannot start.
    pub fn run(self, transports: impl Serve) -> Result<(), Error> {
        let runtime = runtime()?;
        let served = runtime.block_on(self.serve(transports));
        // A read of standard input cannot be cancelled, and would be waited for.
        runtime.shutdown_background();
        served
    }

    /// The same until `stop` is ready, without an ear for signals.
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub async fn serve_until(self, transports: impl Serve, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let host = self.build()?;
        serve_until(host, transports, stop).await
    }
}

/// The runtime of [`Server::run`], with a thread for each core, in which of a thousand calls at once none waits many times as long as
/// most. Where standard input is served, end it with [`Runtime::shutdown_background`], since a read of that cannot be cancelled.
///
/// # Errors
/// The operating system refuses the threads or the poll.
pub fn runtime() -> Result<Runtime, Error> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().max_io_events_per_tick(EVENTS_AT_ONCE).global_queue_interval(SHARED_EVERY);
    builder.build().map_err(|error| Error::io("cannot start a runtime", error))
}

/// Serves a host that was built already; see [`Server::serve`].
///
/// # Errors
/// When a transport cannot work, or when the sessions that were kept cannot be read.
pub async fn serve_until(
    host: Arc<Host>,
    transports: impl Serve,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let found = host.recover().await;
    let found = found.map_err(|error| Error::misuse(format!("the sessions that were kept cannot be read: {error}")))?;
    if host.is_durable() {
        tracing::info!(
            sessions = found.sessions,
            took_ms = u64::try_from(found.took.as_millis()).unwrap_or(u64::MAX),
            "sessions found"
        );
    }
    let (trigger, shutdown) = Shutdown::new();
    let mut serving = transports.serve(Arc::clone(&host), shutdown);
    tokio::select! {
        ended = &mut serving => {
            host.drain(DRAIN_TIMEOUT).await;
            return ended;
        }
        () = stop => {}
    }
    trigger.request();
    // Transports still write what calls in flight answer.
    let (_, ended) = tokio::join!(host.drain(DRAIN_TIMEOUT), serving);
    ended
}

/// Returns when the process is asked to end: by SIGTERM, or by Ctrl-C.
pub async fn terminated() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt => {}
            }
            return;
        }
    }
    // A process that cannot hear signals is ended by its transports.
    if interrupt.await.is_err() {
        std::future::pending::<()>().await;
    }
}

macro_rules! serve_tuple {
    ($($transport:ident),+) => {
        impl<$($transport: Serve),+> Serve for ($($transport,)+) {
            #[allow(non_snake_case, reason = "the variables are named like their types")]
            fn serve(self, host: Arc<Host>, shutdown: Shutdown) -> BoxFuture<'static, Result<(), Error>> {
                let ($($transport,)+) = self;
                Box::pin(async move {
                    // One that fails takes the others with it: a server that is half there helps nobody.
                    tokio::try_join!($($transport.serve(Arc::clone(&host), shutdown.clone())),+)?;
                    Ok(())
                })
            }
        }
    };
}

serve_tuple!(A);
serve_tuple!(A, B);
serve_tuple!(A, B, C);
serve_tuple!(A, B, C, D);

#[cfg(test)]
mod tests;
