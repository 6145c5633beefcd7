//! A process that holds connections of clients for another one, which answers them.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use crate::body::ResponseBody;
use crate::budget::Budget;
use crate::connection::{Answers, Patience, RequestBody};
use crate::head::RequestHead;
use crate::link::{REPORT_INTERVAL, Relay, RelayedBody, Unanswered};
use crate::listener::attend_all;
use crate::options::HttpOptions;
use crate::service::{read, refused};

/// Files that a worker needs for itself.
const FILES_RESERVED: u64 = 64;
/// Where the system has no limit of files.
const CONNECTIONS_MAX: usize = 1 << 20;
/// Bytes of a body that is read before anybody asked whether the request may come in: one question less for most.
const UNASKED_BYTES_MAX: u64 = 64 << 10;
/// How long the clients of a worker may take to read that the server is gone.
const GOODBYE: Duration = Duration::from_millis(250);
/// How long a question after the server's health waits for its answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes connections from a port that others take some from too, and passes their requests on by a link.
#[derive(Debug)]
pub struct Worker {
    listener: std::net::TcpListener,
    link: std::os::unix::net::UnixStream,
}

impl Worker {
    /// A worker with what the process gave it that started it: the port is its standard input, the link its standard output.
    ///
    /// # Errors
    /// When they are not that.
    pub fn from_standard_io() -> io::Result<Self> {
        let listener: std::net::TcpListener = io::stdin().as_fd().try_clone_to_owned()?.into();
        let link: std::os::unix::net::UnixStream = io::stdout().as_fd().try_clone_to_owned()?.into();
        listener.local_addr()?;
        link.peer_addr()?;
        Ok(Self { listener, link })
    }

    /// Holds connections until the other end of the link is gone, or until `stop`: then it takes no more, and ends with the last
    /// one. At most `connections_max` at once; without it as many as this process may open files. Of `options` it heeds the
    /// bounds of bodies and times; the rest is the other end's.
    ///
    /// # Errors
    /// When the port or the link cannot be used.
    pub async fn run(
        self,
        options: HttpOptions,
        connections_max: Option<usize>,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        self.link.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.listener)?;
        let (relay, link) = (Relay::default(), UnixStream::from_std(self.link)?);
        let connections_max = connections_max.unwrap_or(usize::MAX).min(files()).min(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(connections_max));
        let patience = Patience { head_timeout: options.head_timeout, idle_timeout: options.idle_timeout };
        let bodies = Budget::new(options.bodies_bytes_max);
        let desk = Desk(Arc::new(Inner { relay: relay.clone(), bodies, options }));
        let (closing, watcher) = watch::channel(false);
        let mut linked = tokio::spawn({
            let relay = relay.clone();
            async move { relay.run(link).await }
        });
        let ended = tokio::select! {
            ended = &mut linked => Some(ended),
            () = attend_all(&listener, &slots, desk, patience, watcher) => None,
            () = report(&relay, &slots, connections_max) => None,
            () = stop => None,
        };
        drop(listener);
        closing.send_replace(true);
        let ended = match ended {
            Some(ended) => {
                let _ = tokio::time::timeout(GOODBYE, closing.closed()).await;
                ended
            }
            None => tokio::select! {
                ended = linked => ended,
                () = closing.closed() => return Ok(()),
            },
        };
        ended.map_err(io::Error::other)?
    }
}

/// How many connections this process may hold, which is all that it may open but for a few; as many as it is allowed to allow
/// itself.
fn files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let left = files.map_or(u64::MAX, |files| files.saturating_sub(FILES_RESERVED).max(1));
    usize::try_from(left).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

/// Says how many connections there are, again and again.
async fn report(relay: &Relay, slots: &Semaphore, connections_max: usize) {
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        relay.say_connections(u32::try_from(connections_max - slots.available_permits()).unwrap_or(u32::MAX));
    }
}

/// Where requests of clients go on to the link.
#[derive(Clone)]
struct Desk(Arc<Inner>);

struct Inner {
    relay: Relay,
    options: HttpOptions,
    bodies: Arc<Budget>,
}

impl Answers for Desk {
    type Body = WorkerBody;

    async fn answer(&self, head: &RequestHead<'_>, body: RequestBody) -> Response<WorkerBody> {
        let Inner { relay, options, bodies } = &*self.0;
        // Who may not come in sends no large body first.
        if body.size_hint().exact().is_none_or(|bytes| bytes > UNASKED_BYTES_MAX) {
            match relay.ask(head).await {
                Ok(None) => {}
                Ok(Some(refused)) => return refused.map(WorkerBody::Relayed),
                Err(why) => return self.unanswered(why),
            }
        }
        let (body, _share) = match read(&head.headers, body, options.body_bytes_max, bodies).await {
            Ok(read) => read,
            Err((status, why)) => return self.refuse(status, &why),
        };
        let is_health = matches!(head.target.path, "/healthz" | "/readyz");
        let answered = relay.send(head, &body);
        let answered = if is_health {
            match tokio::time::timeout(HEALTH_TIMEOUT, answered).await {
                Ok(answered) => answered,
                Err(_) => return self.refuse(503, "the server is there and does not answer"),
            }
        } else {
            answered.await
        };
        match answered {
            Ok(response) => response.map(WorkerBody::Relayed),
            Err(why) => self.unanswered(why),
        }
    }

    fn refuse(&self, status: u16, why: &str) -> Response<WorkerBody> {
        refused(status, why, &self.0.options).map(WorkerBody::Own)
    }
}

impl Desk {
    fn unanswered(&self, why: Unanswered) -> Response<WorkerBody> {
        match why {
            Unanswered::Full => self.refuse(503, "too many requests wait: try again later"),
            Unanswered::Gone => {
                self.refuse(502, "the server went away before it answered: what was asked may have been done or not")
            }
        }
    }
}

/// The body of an answer: the link's, or this process's own.
pub(crate) enum WorkerBody {
    Own(ResponseBody),
    Relayed(RelayedBody),
}

impl Body for WorkerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Relayed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Relayed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests;
