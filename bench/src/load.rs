//! The load generator: one task per connection or stream of HTTP/2, one call at a time on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::histogram::Histogram;
use crate::machine::CpuClock;
use crate::wire::{self, Era, Http, Numbered};
use crate::{Error, peer};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// The tool `echo`.
    Echo,
    /// The tool `steps`, which reports its progress ten times.
    Steps,
}

/// How much load, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What is called.
    pub call: Call,
    /// In which era.
    pub era: Era,
    /// Over which version of HTTP.
    pub http: Http,
    /// Calls at once: each on a connection of its own, or a hundred on one over HTTP/2.
    pub connections: usize,
    /// Before measuring.
    pub warm_up: Duration,
    /// Of measuring.
    pub window: Duration,
    /// Calls per second, over all connections. None: each connection calls again as soon as it is answered.
    pub rate: Option<f64>,
}

/// What a server did under load.
pub struct Measured {
    /// Calls that were answered.
    pub calls: u64,
    /// How long they took: from when they were due, if there is a rate. Nothing where that is not known.
    pub times: Histogram,
    /// How long it was measured.
    pub wall: Duration,
    /// Processor time that the server used meanwhile.
    pub cpu: Duration,
}

impl Measured {
    /// Calls per second.
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.wall.as_secs_f64()
    }
}

/// Calls at once on one connection of HTTP/2. Servers allow a hundred at least.
const STREAMS_MAX: usize = 100;

/// Before the window, in it, after it.
const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// Loads the server at `address`, which is the process `pid` and those that it started.
///
/// # Errors
/// A call is not answered as it should be.
pub async fn run(address: SocketAddr, pid: u32, load: Load) -> Result<Measured, Error> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let (mut callers, mut due) = (JoinSet::new(), Vec::new());
    for caller in open(address, load).await? {
        let phase = phase.clone();
        if load.rate.is_some() {
            let (sender, receiver) = mpsc::unbounded_channel();
            due.push(sender);
            callers.spawn(caller.run_paced(receiver, phase));
        } else {
            callers.spawn(caller.run(phase));
        }
    }
    let pacer = load.rate.map(|rate| pace(rate, due, phase.clone()));
    wait(load.warm_up, &mut callers).await?;
    let clock = CpuClock::of(pid)?;
    let (began_at, cpu_before) = (Instant::now(), clock.time()?);
    phase.store(MEASURE, Ordering::Relaxed);
    wait(load.window, &mut callers).await?;
    phase.store(STOP, Ordering::Relaxed);
    let (wall, cpu) = (began_at.elapsed(), clock.since(cpu_before)?);

    let (mut times, mut calls) = (Histogram::default(), 0);
    while let Some(ended) = callers.join_next().await {
        let (more, answered) = ended??;
        times.add(&more);
        calls += answered;
    }
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| "the thread that paces panicked")?;
    }
    if calls == 0 || cpu.is_zero() {
        return Err("the window was too short to measure anything".into());
    }
    Ok(Measured { calls, times, wall, cpu })
}

/// Waits, unless a caller ends before its time: then something is wrong with the server.
async fn wait(duration: Duration, callers: &mut JoinSet<Result<(Histogram, u64), Error>>) -> Result<(), Error> {
    match tokio::time::timeout(duration, callers.join_next()).await {
        Err(_) => Ok(()),
        Ok(ended) => Err(match ended.transpose()? {
            Some(Err(error)) => error,
            _ => "there are no connections".into(),
        }),
    }
}

/// Says when calls are due, one connection after the other, whatever became of the calls before. A thread of its own,
/// since it sleeps more exactly than the runtime.
fn pace(rate: f64, due: Vec<UnboundedSender<Instant>>, phase: Arc<AtomicU8>) -> JoinHandle<()> {
    let (began_at, interval) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
    thread::spawn(move || {
        let mut next_at = began_at;
        for caller in due.iter().cycle() {
            if phase.load(Ordering::Relaxed) == STOP {
                return;
            }
            thread::sleep(next_at.saturating_duration_since(Instant::now()));
            // A caller that has failed is found by those who wait for it.
            let _ = caller.send(next_at);
            next_at += interval;
        }
    })
}

/// One connection, or one stream of HTTP/2, that is ready for calls.
struct Caller {
    call: Call,
    way: Way,
    request: Numbered,
}

enum Way {
    One(Connection),
    Two(Box<(SendRequest<Full<Bytes>>, Request<()>)>),
}

async fn open(address: SocketAddr, load: Load) -> Result<Vec<Caller>, Error> {
    let body = match load.call {
        Call::Echo => wire::call_body(load.era).to_owned(),
        Call::Steps => wire::steps_body(load.era),
    };
    let mut callers = Vec::with_capacity(load.connections);
    let mut shared = None;
    for index in 0..load.connections {
        // A session is opened over HTTP/1.1 where calls are made over it, so that no request is of another kind.
        let caller = match load.http {
            Http::One => {
                let mut connection = Connection::open(address).await?;
                let authority = address.to_string();
                let session = connection.session(&authority, load.era).await?;
                let text = wire::request(&authority, load.era, session.as_deref(), &body);
                Caller { call: load.call, way: Way::One(connection), request: Numbered::new(text) }
            }
            Http::Two => {
                if index % STREAMS_MAX == 0 {
                    shared = Some(connect(address).await?);
                }
                let sender = shared.as_mut().ok_or("invariant: the first index opens a connection")?;
                let session = session_over(sender, address, load.era).await?;
                let head = head(address, load.era, session.as_deref(), &body)?;
                let way = Way::Two(Box::new((sender.clone(), head)));
                Caller { call: load.call, way, request: Numbered::new(body.clone()) }
            }
        };
        callers.push(caller);
    }
    Ok(callers)
}

impl Caller {
    /// Calls until it is told to stop. The result is the time of each call in the window.
    async fn run(mut self, phase: Arc<AtomicU8>) -> Result<(Histogram, u64), Error> {
        let mut times = Histogram::default();
        loop {
            let began_at = Instant::now();
            self.call().await?;
            let elapsed = began_at.elapsed();
            match phase.load(Ordering::Relaxed) {
                WARM_UP => {}
                MEASURE => times.record(elapsed),
                _ => {
                    let calls = times.count();
                    return Ok((times, calls));
                }
            }
        }
    }

    /// Calls when it is due, or late if the call before is not answered yet. What is due at the end is not called any more, but
    /// its time so far counts.
    async fn run_paced(
        mut self,
        mut due: UnboundedReceiver<Instant>,
        phase: Arc<AtomicU8>,
    ) -> Result<(Histogram, u64), Error> {
        let (mut times, mut calls) = (Histogram::default(), 0);
        while let Some(due_at) = due.recv().await {
            if phase.load(Ordering::Relaxed) != STOP {
                self.call().await?;
            }
            let now = phase.load(Ordering::Relaxed);
            calls += u64::from(now == MEASURE);
            if now != WARM_UP {
                times.record(due_at.elapsed());
            }
        }
        Ok((times, calls))
    }

    async fn call(&mut self) -> Result<(), Error> {
        let (request, number) = self.request.advance();
        match &mut self.way {
            Way::One(connection) => {
                let answer = connection.exchange(request).await?;
                check(self.call, answer.status, connection.body(), answer.is_events, number)
            }
            Way::Two(way) => {
                let (sender, head) = &mut **way;
                let (status, body, is_events) = exchange(sender, head, Bytes::copy_from_slice(request)).await?;
                check(self.call, status, &body, is_events, number)
            }
        }
    }
}

fn check(call: Call, status: u16, body: &[u8], is_events: bool, number: u64) -> Result<(), Error> {
    if status != 200 {
        return Err(format!("a call was answered with {status}: {}", String::from_utf8_lossy(body)).into());
    }
    Ok(match call {
        Call::Echo => wire::check(body, is_events, number),
        Call::Steps => wire::check_steps(body, is_events, number),
    }?)
}

/// A connection of HTTP/2 in clear text.
async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Its end is the end of the calls on it, which say so.
    tokio::spawn(connection);
    Ok(sender)
}

fn head(address: SocketAddr, era: Era, session_id: Option<&str>, body: &str) -> Result<Request<()>, Error> {
    let uri: Uri = format!("http://{address}/mcp").parse()?;
    let mut request = Request::post(uri);
    for (name, value) in wire::headers(era, session_id, body) {
        request = request.header(name, value);
    }
    Ok(request.body(())?)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    head: &Request<()>,
    body: Bytes,
) -> Result<(u16, Bytes, bool), Error> {
    sender.ready().await?;
    let request = head.clone().map(|()| Full::new(body));
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let media = response.headers().get("content-type");
    let is_events = media.is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"));
    Ok((status, peer::read(response.into_body()).await?, is_events))
}

/// Opens a session over HTTP/2, if the era has any.
async fn session_over(
    sender: &mut SendRequest<Full<Bytes>>,
    address: SocketAddr,
    era: Era,
) -> Result<Option<String>, Error> {
    if era == Era::Modern {
        return Ok(None);
    }
    sender.ready().await?;
    let request = head(address, era, None, wire::INITIALIZE)?;
    let response = sender.send_request(request.map(|()| Full::from(wire::INITIALIZE))).await?;
    let id = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    peer::read(response.into_body()).await?;
    let request = head(address, era, id.as_deref(), wire::INITIALIZED)?;
    let (status, ..) = exchange(sender, &request, Bytes::from_static(wire::INITIALIZED.as_bytes())).await?;
    if status == 202 { Ok(id) } else { Err(format!("initialized was answered with {status}").into()) }
}
