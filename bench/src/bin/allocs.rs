//! Counts the allocations of one echo call in process: from the HTTP request as the server library hands it over,
//! to the last byte of the answer's body. `cargo run --release -p andon-bench --bin allocs [-- --json]`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use andon::http::{HttpOptions, HttpService};
use andon::prelude::{Server, tool};
use andon_bench::Error;
use andon_bench::peer::{Floor, Peer, read, rmcp_sessions, rmcp_stateless};
use andon_bench::wire::{self, Allocations, Era, Numbered};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;

/// Calls before counting, so that pools and maps have their size.
const WARM_UP_CALLS: usize = 1_000;
/// Calls that are counted.
const CALLS: usize = 10_000;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, which counts how often it is asked for memory.
struct Counting;

impl Counting {
    fn note(bytes: usize) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[allow(unsafe_code, reason = "counting needs an allocator, and this one only passes on what it is given")]
// SAFETY: every call goes to the system's allocator unchanged, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
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

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counted = runtime.block_on(count_all())?;
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::to_string(&counted)?);
        return Ok(());
    }
    for Allocations { peer, era, per_call, bytes_per_call } in counted {
        println!("{:14} {:6} {per_call:>6.1} allocations, {bytes_per_call:>7.0} bytes", peer.name(), era.name());
    }
    Ok(())
}

async fn count_all() -> Result<Vec<Allocations>, Error> {
    let mut counted = Vec::new();
    for peer in Peer::IN_PROCESS {
        for &era in peer.eras() {
            let (per_call, bytes_per_call) = match peer {
                Peer::Floor => {
                    let floor = Arc::new(Floor::default());
                    count(era, |request| floor.clone().answer(request)).await?
                }
                Peer::RmcpSessions => {
                    let service = rmcp_sessions();
                    count(era, |request| service.handle(request)).await?
                }
                Peer::RmcpStateless => {
                    let service = rmcp_stateless();
                    count(era, |request| service.handle(request)).await?
                }
                Peer::Andon => {
                    let host = Server::new("allocs", env!("CARGO_PKG_VERSION")).with(echo).build()?;
                    let service = HttpService::new(host, HttpOptions::default());
                    count(era, |request| service.handle(request)).await?
                }
                _ => continue,
            };
            counted.push(Allocations { peer, era, per_call, bytes_per_call });
        }
    }
    Ok(counted)
}

/// Allocations and bytes per call of `handler`.
async fn count<H, F, B>(era: Era, handler: H) -> Result<(f64, f64), Error>
where
    H: Fn(Request<Full<Bytes>>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let session_id = match era {
        Era::Legacy => open(&handler).await?,
        Era::Modern => None,
    };
    let mut body = Numbered::new(wire::call_body(era).to_owned());
    let mut call = async |calls: usize| -> Result<(u64, u64), Error> {
        // Requests are made beforehand: what they cost is the HTTP library's.
        let mut requests = Vec::with_capacity(calls);
        for _ in 0..calls {
            let (bytes, number) = body.advance();
            let text = String::from_utf8(bytes.to_vec())?;
            requests.push((wire::http_request(era, session_id.as_deref(), &text), number));
        }
        let mut used = (0, 0);
        for (request, number) in requests {
            let before = (COUNT.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
            let response = handler(request).await;
            let is_events = response.headers().get("content-type").is_some_and(|media| media == "text/event-stream");
            let body = read(response.into_body()).await.map_err(|error| error.to_string())?;
            // Tasks that end after their answer belong to the call as well.
            tokio::task::yield_now().await;
            used.0 += COUNT.load(Ordering::Relaxed) - before.0;
            used.1 += BYTES.load(Ordering::Relaxed) - before.1;
            wire::check(&body, is_events, number)?;
        }
        Ok(used)
    };
    call(WARM_UP_CALLS).await?;
    let (count, bytes) = call(CALLS).await?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let per_call = |sum: u64| sum as f64 / CALLS as f64;
    Ok((per_call(count), per_call(bytes)))
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
