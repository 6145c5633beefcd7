//! `andon serve --workers N`: the connections of clients are held by processes of their own, so that there may be more than
//! one process may open files. This one keeps the sessions and all that answers.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use andon::Error;
use andon::http::{Ask, Http, HttpOptions, HttpService, Link, Refusal, Resource};
use andon::serde_json::{Value, json};
use andon::server::host::Host;
use andon::server::serve::{Serve, Shutdown, terminated};
use andon_gateway::{Intensity, Next, Restarts};
use clap::Args;
use futures_util::future::{BoxFuture, join_all};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Workers of one server.
const WORKERS_MAX: u16 = 64;
/// How long a worker may take to end after its last client was told.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often a worker may fall before it is left alone, and for how long: clients need it.
const INTENSITY: Intensity = Intensity { most: 5, within: Duration::from_secs(60), park: Duration::from_secs(30) };

/// What `--workers` may be.
///
/// # Errors
/// What it may be.
pub(crate) fn count(word: &str) -> Result<u16, String> {
    let cores =
        || std::thread::available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX));
    let count = if word == "auto" { cores().min(WORKERS_MAX) } else { word.parse().unwrap_or(0) };
    if (1..=WORKERS_MAX).contains(&count) { Ok(count) } else { Err(format!("1 to {WORKERS_MAX}, or auto")) }
}

/// `andon worker`, which nobody types.
#[derive(Args)]
pub(crate) struct Worker {
    /// Connections at once. Default: as many as this process may open.
    #[arg(long)]
    connections_max: Option<usize>,
}

impl Worker {
    pub(crate) fn run(self) -> andon::Result {
        let worker = andon::http::Worker::from_standard_io();
        let worker = worker.map_err(|error| Error::io("a worker is started by andon serve --workers", error))?;
        // One thread: there are as many workers as the machine has cores for them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("cannot start", error))?;
        runtime.spawn(crate::memory::give_back());
        let served = runtime.block_on(worker.run(HttpOptions::default(), self.connections_max, terminated()));
        served.map_err(|error| Error::io("the link", error))
    }
}

/// A port whose connections are held by workers.
pub(crate) struct Workers {
    listener: TcpListener,
    options: HttpOptions,
    /// What each is started with.
    words: Vec<String>,
    states: Arc<[State]>,
}

/// One worker, as operators see it.
#[derive(Default)]
struct State(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    pid: Option<u32>,
    link: Link,
    starts: u32,
}

impl Workers {
    /// `count` workers for the port of `http`, with `connections_max` connections in all, which log as `logs` says.
    pub(crate) fn new(http: Http, count: u16, connections_max: Option<u32>, logs: &[String]) -> Self {
        let (listener, options) = http.into_parts();
        let mut words = logs.to_vec();
        if let Some(connections_max) = connections_max {
            words.extend(["--connections-max".to_owned(), connections_max.div_ceil(count.into()).to_string()]);
        }
        let states = (0..count).map(|_| State::default()).collect();
        Self { listener, options, words, states }
    }

    /// What operators see of them.
    pub(crate) fn shown(&self) -> Shown {
        Shown(self.states.clone())
    }
}

impl Serve for Workers {
    fn serve(self, host: Arc<Host>, shutdown: Shutdown) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            let drain_timeout = self.options.drain_timeout;
            let service = HttpService::new(host.clone(), self.options);
            let nursery = Nursery { listener: self.listener, words: self.words, service };
            // One that cannot be started at all says so to whoever typed the command.
            let started = self.states.iter().map(|state| nursery.start(state));
            let started = started.collect::<Result<Vec<_>, _>>();
            let started = started.map_err(|error| Error::io("cannot start a worker", error))?;
            let kept = self.states.iter().zip(started).zip(1..);
            let kept = kept.map(|((state, running), number)| {
                let drained = drained(&host, drain_timeout);
                nursery.keep(number, state, running, shutdown.clone(), drained)
            });
            join_all(kept).await;
            Ok(())
        })
    }
}

async fn drained(host: &Host, timeout: Duration) {
    host.drain(timeout).await;
}

/// What every worker gets.
struct Nursery {
    listener: TcpListener,
    words: Vec<String>,
    service: HttpService,
}

/// A worker, and this side of its link.
struct Running {
    child: Child,
    link: Link,
    socket: tokio::net::UnixStream,
    began_at: Instant,
}

impl Nursery {
    fn start(&self, state: &State) -> std::io::Result<Running> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(program()?);
        command.arg0("andon").arg("worker").args(&self.words).env_clear();
        command.stdin(OwnedFd::from(self.listener.try_clone()?)).stdout(OwnedFd::from(theirs)).stderr(Stdio::inherit());
        // Ctrl-C at a terminal is for this process, which tells its workers.
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn()?;
        let (link, socket) = (Link::default(), tokio::net::UnixStream::from_std(ours)?);
        let mut seen = state.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.pid = child.id();
        seen.link = link.clone();
        seen.starts += 1;
        Ok(Running { child, link, socket, began_at: Instant::now() })
    }

    /// Keeps one worker running until the shutdown, and then until it ended, which it does when the host is `drained`.
    async fn keep(
        &self,
        number: usize,
        state: &State,
        first: Running,
        mut shutdown: Shutdown,
        drained: impl Future<Output = ()>,
    ) {
        let mut restarts = Restarts::new(INTENSITY);
        let mut next = Ok(first);
        loop {
            let ran = match next {
                Ok(running) => match attend(number, running, &self.service, &mut shutdown).await {
                    Left::Fallen(ran) => Some(ran),
                    Left::Stopping(mut child) => {
                        drained.await;
                        if tokio::time::timeout(GOODBYE, child.wait()).await.is_err() {
                            tracing::debug!(worker = number, "a worker still had connections at the end");
                            drop(child.kill().await);
                        }
                        return;
                    }
                },
                Err(error) => {
                    tracing::error!(worker = number, %error, "a worker cannot be started");
                    None
                }
            };
            state.0.lock().unwrap_or_else(PoisonError::into_inner).pid = None;
            let wait = match restarts.ended(Instant::now(), ran, fastrand::f64()) {
                Next::Start(wait) => wait,
                Next::Park(wait) => {
                    tracing::error!(worker = number, "a worker falls again and again, and is left alone for a while");
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.requested() => return,
            }
            next = self.start(state);
        }
    }
}

/// How a worker was left.
enum Left {
    /// It ended by itself, after so long.
    Fallen(Duration),
    /// It was told to stop.
    Stopping(Child),
}

/// Answers what a worker passes on, until it ends or is told to.
async fn attend(number: usize, running: Running, service: &HttpService, shutdown: &mut Shutdown) -> Left {
    let Running { mut child, link, socket, began_at } = running;
    let pid = child.id();
    tracing::debug!(worker = number, pid, "a worker began");
    let linked = tokio::spawn({
        let (link, service) = (link.clone(), service.clone());
        async move { link.serve(service, socket).await }
    });
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = link.hangs() => {
            tracing::error!(worker = number, pid, "a worker hangs, and is killed");
            drop(child.start_kill());
            child.wait().await
        }
        () = shutdown.requested() => {
            terminate(pid);
            return Left::Stopping(child);
        }
    };
    let status = ended.as_ref().map(ExitStatus::to_string).unwrap_or_default();
    // Both ends of the link are gone: this one sees it soon.
    match linked.await {
        Ok(Err(error)) => tracing::warn!(worker = number, pid, status, %error, "a worker ended, and is started again"),
        _ => tracing::warn!(worker = number, pid, status, "a worker ended, and is started again"),
    }
    Left::Fallen(began_at.elapsed())
}

/// Tells a process to end that was not waited for yet, so that the number is still its own.
fn terminate(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
        tracing::debug!(%error, "a worker was gone before it was told");
    }
}

/// The very program that runs, even if another one took its place on disk since.
pub(crate) fn program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// What operators see of the workers.
pub(crate) struct Shown(Arc<[State]>);

impl Resource for Shown {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Value, Refusal>> {
        let answer = match (ask.method().as_str(), ask.item()) {
            ("GET", None) => Ok(self.0.iter().map(State::shown).collect()),
            ("GET", Some(_)) => Err(Refusal::NotFound("workers are shown together".to_owned())),
            _ => Err(Refusal::NotAllowed("GET")),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl State {
    fn shown(&self) -> Value {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "pid": seen.pid,
            "connections": if seen.pid.is_some() { seen.link.connections() } else { 0 },
            "streams": seen.link.streams(),
            "starts": seen.starts,
        })
    }
}
