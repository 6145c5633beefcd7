//! Connections are taken, and questions after the server's health answered, on a thread of its own: when there are more calls
//! than the others can serve, a new connection there would wait behind all of them, twice.
//!
//! The thread looks at the first bytes of a connection without taking them. All but questions after health it hands on at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::body::ResponseBody;
use crate::connection::{Answers, Patience, RequestBody, attend, closes};
use crate::head::RequestHead;
use crate::listener::accept;
use crate::service::{HttpService, refused};

/// How questions after health begin.
const HEALTH: [&[u8]; 2] = [b"GET /healthz ", b"GET /readyz "];
const LONGEST: usize = HEALTH[0].len();
/// How often the runtime of all other connections shows that it does something.
const BEAT_INTERVAL: Duration = Duration::from_millis(500);
/// After so long without, the server is not well.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Where connections come in.
#[derive(Clone)]
pub(crate) struct Porch {
    pub(crate) service: HttpService,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) patience: Patience,
    pub(crate) closing: watch::Receiver<bool>,
}

impl Porch {
    /// Takes the connections of `listener` until the server is closing; called in the runtime that serves them. Waits until
    /// then.
    ///
    /// # Errors
    /// When there is no thread for it, or it ends by itself.
    pub(crate) async fn run(self, listener: std::net::TcpListener) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let within = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(within);
        let beats = Arc::new(Beats { begun_at: Instant::now(), last_ms: AtomicU64::new(0) });
        let (alive, ended) = oneshot::channel::<()>();
        let (inside, seen) = (Handle::current(), beats.clone());
        std::thread::Builder::new().name("andon-porch".to_owned()).spawn(move || {
            runtime.block_on(self.take(listener, &inside, &seen));
            drop(alive);
        })?;
        tokio::select! {
            () = beats.beat() => {}
            _ = ended => {}
        }
        Err(io::Error::other("the thread that takes connections ended"))
    }

    async fn take(self, listener: TcpListener, inside: &Handle, beats: &Arc<Beats>) {
        let mut closing = self.closing.clone();
        let take = async {
            loop {
                let (socket, slot) = accept(&listener, &self.slots).await;
                tokio::spawn(self.clone().meet(socket, slot, inside.clone(), beats.clone()));
            }
        };
        tokio::select! {
            () = take => {}
            () = closes(&mut closing) => {}
        }
        // Before anybody hears that this is over.
        drop(listener);
    }

    async fn meet(mut self, socket: TcpStream, slot: OwnedSemaphorePermit, inside: Handle, beats: Arc<Beats>) {
        let mut first = [0; LONGEST];
        let looked = tokio::select! {
            looked = timeout(self.patience.head_timeout, socket.peek(&mut first)) => looked,
            () = closes(&mut self.closing) => return,
        };
        let Ok(Ok(length)) = looked else { return };
        if HEALTH.iter().any(|health| first[..length].starts_with(health)) {
            attend(socket, Health { service: self.service, beats }, self.patience, self.closing).await;
            return drop(slot);
        }
        let Ok(socket) = socket.into_std() else { return };
        // What it needs as long as it lasts is allocated by a thread of that runtime, which finds it again when it is freed there.
        inside.spawn(async move { drop(tokio::spawn(self.serve(socket, slot))) });
    }

    async fn serve(self, socket: std::net::TcpStream, slot: OwnedSemaphorePermit) {
        let Self { service, patience, closing, .. } = self;
        match TcpStream::from_std(socket) {
            Ok(socket) => attend(socket, service, patience, closing).await,
            Err(error) => tracing::debug!(%error, "a connection was gone before it was served"),
        }
        drop(slot);
    }
}

/// Answers questions after health.
#[derive(Clone)]
struct Health {
    service: HttpService,
    beats: Arc<Beats>,
}

impl Answers for Health {
    type Body = ResponseBody;

    async fn answer(&self, head: &RequestHead<'_>, body: RequestBody) -> Response<ResponseBody> {
        let mut response = match self.beats.is_heard() {
            true => self.service.take(head, body).await,
            false => self.refuse(503, "the server is there and does not answer"),
        };
        // One question a connection: what else it asks is for the other threads.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn refuse(&self, status: u16, why: &str) -> Response<ResponseBody> {
        refused(status, why, self.service.options())
    }
}

/// Whether the runtime of all other connections does anything.
struct Beats {
    begun_at: Instant,
    /// Since `begun_at`.
    last_ms: AtomicU64,
}

impl Beats {
    /// Shows it, for ever.
    async fn beat(&self) {
        loop {
            self.last_ms.store(self.now_ms(), Ordering::Relaxed);
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    }

    fn is_heard(&self) -> bool {
        let silence_ms = self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed));
        u128::from(silence_ms) <= SILENCE_MAX.as_millis()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
