//! Counts the allocations of one echo call in process, and the calls per second of four threads: from the HTTP request as
//! the server library hands it over, to the last byte of the answer's body.
//!
//! `cargo run --release -p andon-bench --bin allocs [-- --json]`. With `--only andon --era legacy --calls 20000` it does
//! nothing but these calls, one after the other, for a profiler to watch.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use andon::http::{HttpOptions, HttpService};
use andon::prelude::{Server, tool};
use andon_bench::Error;
use andon_bench::peer::{Floor, Peer, read, rmcp_sessions, rmcp_stateless};
use andon_bench::wire::{self, Era, InProcess, Numbered};
use bytes::Bytes;
use clap::Parser as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use mimalloc::MiMalloc;

/// Calls before counting, so that pools and maps have their size.
const WARM_UP_CALLS: usize = 1_000;
/// Calls that are counted.
const CALLS: usize = 10_000;
/// Calls between two looks at the clock.
const BATCH_CALLS: usize = 100;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// How often this thread asked for memory, and for how many bytes. Each counts for itself: a counter that all threads
    /// share would be what slows them.
    static ASKED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The allocator of the command `andon`, which counts how often it is asked for memory.
struct Counting;

impl Counting {
    fn note(bytes: usize) {
        let (count, sum) = ASKED.get();
        ASKED.set((count + 1, sum + bytes as u64));
    }
}

#[allow(unsafe_code, reason = "counting needs an allocator, and this one only passes on what it is given")]
// SAFETY: every call goes to another allocator unchanged, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

/// Say the message again.
#[tool]
async fn echo(
    /// What to say.
    message: String,
) -> String {
    message
}

/// Counts allocations per echo call in process, and calls per second.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Writes JSON.
    #[arg(long)]
    json: bool,
    /// These servers only.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Peer>,
    /// This workload only.
    #[arg(long)]
    era: Option<Era>,
    /// Makes so many calls, one after the other, and measures nothing.
    #[arg(long)]
    calls: Option<usize>,
    /// Threads that call at once.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// For how long they do.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

fn main() -> Result<(), Error> {
    let options = Options::parse();
    let mut counted = Vec::new();
    for peer in Peer::IN_PROCESS.into_iter().filter(|peer| options.only.is_empty() || options.only.contains(peer)) {
        for &era in peer.eras().iter().filter(|era| options.era.is_none_or(|only| only == **era)) {
            counted.extend(match peer {
                Peer::Floor => {
                    let floor = Arc::new(Floor::default());
                    measure(&options, peer, era, |request| floor.clone().answer(request))?
                }
                Peer::RmcpSessions => {
                    let service = rmcp_sessions();
                    measure(&options, peer, era, |request| service.handle(request))?
                }
                Peer::RmcpStateless => {
                    let service = rmcp_stateless();
                    measure(&options, peer, era, |request| service.handle(request))?
                }
                Peer::Andon => {
                    let host = Server::new("allocs", env!("CARGO_PKG_VERSION")).with(echo).build()?;
                    let service = HttpService::new(host, HttpOptions::default());
                    measure(&options, peer, era, |request| service.handle(request))?
                }
                _ => None,
            });
        }
    }
    if options.json {
        println!("{}", serde_json::to_string(&counted)?);
    }
    Ok(())
}

/// What the calls of `handler` cost, unless it is a profiler that looks.
fn measure<H, F, B>(options: &Options, peer: Peer, era: Era, handler: H) -> Result<Option<InProcess>, Error>
where
    H: Fn(Request<Full<Bytes>>) -> F + Sync,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(calls) = options.calls {
        runtime.block_on(async { Caller::open(&handler, era).await?.call(calls).await })?;
        return Ok(None);
    }
    let (count, bytes) = runtime.block_on(async {
        let mut caller = Caller::open(&handler, era).await?;
        caller.call(WARM_UP_CALLS).await?;
        caller.call(CALLS).await
    })?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (allocations, bytes) = (count as f64 / CALLS as f64, bytes as f64 / CALLS as f64);
    let threads = options.threads;
    let calls_per_s = speed(&handler, era, threads, Duration::try_from_secs_f64(options.seconds)?)?;
    if !options.json {
        let (name, era) = (peer.name(), era.name());
        println!(
            "{name:14} {era:6} {allocations:>6.1} allocations, {bytes:>7.0} bytes, {calls_per_s:>9.0} calls/s on {threads} threads",
        );
    }
    Ok(Some(InProcess { peer, era, allocations, bytes, calls_per_s, threads }))
}

/// Calls per second of `threads` threads, with a session each. What making and checking the requests takes is in it.
fn speed<H, F, B>(handler: &H, era: Era, threads: usize, window: Duration) -> Result<f64, Error>
where
    H: Fn(Request<Full<Bytes>>) -> F + Sync,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let until = Instant::now() + window;
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut caller = Caller::open(handler, era).await?;
            let mut calls = 0_usize;
            while Instant::now() < until {
                caller.call(BATCH_CALLS).await?;
                calls += BATCH_CALLS;
            }
            Ok::<_, Error>(calls)
        })
    };
    let calls = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("invariant: a worker returns its errors"));
        ended.sum::<Result<usize, Error>>()
    })?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(calls as f64 / window.as_secs_f64())
}

/// One client of a server in process.
struct Caller<'a, H> {
    handler: &'a H,
    era: Era,
    session_id: Option<String>,
    body: Numbered,
}

impl<'a, H, F, B> Caller<'a, H>
where
    H: Fn(Request<Full<Bytes>>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    /// Opens a session, where there are any.
    async fn open(handler: &'a H, era: Era) -> Result<Self, Error> {
        let session_id = match era {
            Era::Legacy => open(handler).await?,
            Era::Modern => None,
        };
        Ok(Self { handler, era, session_id, body: Numbered::new(wire::call_body(era).to_owned()) })
    }

    /// Calls so often, and says what was allocated meanwhile: how often, and how many bytes.
    async fn call(&mut self, calls: usize) -> Result<(u64, u64), Error> {
        // Requests are made beforehand: what they cost is the HTTP library's.
        let mut requests = Vec::with_capacity(calls);
        for _ in 0..calls {
            let (bytes, number) = self.body.advance();
            let text = String::from_utf8(bytes.to_vec())?;
            requests.push((wire::http_request(self.era, self.session_id.as_deref(), &text), number));
        }
        let mut used = (0, 0);
        for (request, number) in requests {
            let before = ASKED.get();
            let response = (self.handler)(request).await;
            let is_events = response.headers().get("content-type").is_some_and(|media| media == "text/event-stream");
            let body = read(response.into_body()).await.map_err(|error| error.to_string())?;
            // Tasks that end after their answer belong to the call as well.
            tokio::task::yield_now().await;
            let after = ASKED.get();
            used.0 += after.0 - before.0;
            used.1 += after.1 - before.1;
            wire::check(&body, is_events, number)?;
        }
        Ok(used)
    }
}

/// Opens a session, if the server has any.
async fn open<H, F, B>(handler: &H) -> Result<Option<String>, Error>
where
    H: Fn(Request<Full<Bytes>>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let response = handler(wire::http_request(Era::Legacy, None, wire::INITIALIZE)).await;
    let session_id = response.headers().get("mcp-session-id").map(|id| id.to_str().map(str::to_owned)).transpose()?;
    read(response.into_body()).await.map_err(|error| error.to_string())?;
    handler(wire::http_request(Era::Legacy, session_id.as_deref(), wire::INITIALIZED)).await;
    Ok(session_id)
}
