//! The load generator: one task per connection, one call at a time on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::connection::Connection;
use andon_bench::machine;
use andon_bench::wire::{self, Era, Numbered};
use serde::Serialize;
use tokio::task::JoinSet;

/// How much load, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Before measuring.
    pub(crate) warm_up: Duration,
    /// Of measuring.
    pub(crate) window: Duration,
}

/// What one server did under load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// Calls answered per second of processor time that the server used.
    pub(crate) calls_per_cpu_second: f64,
    /// Calls answered per second.
    pub(crate) calls_per_second: f64,
    /// The median of the times to an answer, in microseconds.
    pub p50_us: f64,
    /// Of a hundred answers one took longer, in microseconds.
    pub p99_us: f64,
    /// The server's resident memory at the end, in KiB.
    pub(crate) resident_kib: u64,
}

/// Before the window, in it, after it.
const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// Loads the server at `address`, which is the process `pid`.
pub(crate) async fn run(address: SocketAddr, pid: u32, era: Era, load: Load) -> Result<Sample, Error> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let mut callers = JoinSet::new();
    for _ in 0..load.connections {
        let caller = open(address, era).await?;
        callers.spawn(caller.run(Arc::clone(&phase)));
    }
    wait(load.warm_up, &mut callers).await?;
    let (began_at, cpu_before) = (Instant::now(), machine::cpu_time(pid)?);
    phase.store(MEASURE, Ordering::Relaxed);
    wait(load.window, &mut callers).await?;
    phase.store(STOP, Ordering::Relaxed);
    let (wall, cpu) = (began_at.elapsed(), machine::cpu_time(pid)? - cpu_before);
    let resident_kib = machine::resident_kib(pid)?;

    let mut latencies_ns = Vec::new();
    while let Some(ended) = callers.join_next().await {
        latencies_ns.append(&mut ended??);
    }
    latencies_ns.sort_unstable();
    if latencies_ns.is_empty() || cpu.is_zero() {
        return Err("the window was too short to measure anything".into());
    }
    let quantile = |percent: usize| f64::from(latencies_ns[(latencies_ns.len() - 1) * percent / 100]) / 1e3;
    #[allow(clippy::cast_precision_loss, reason = "the calls of a run are far below 2^52")]
    let calls = latencies_ns.len() as f64;
    Ok(Sample {
        calls_per_cpu_second: calls / cpu.as_secs_f64(),
        calls_per_second: calls / wall.as_secs_f64(),
        p50_us: quantile(50),
        p99_us: quantile(99),
        resident_kib,
    })
}

/// Waits, unless a caller ends before its time: then something is wrong with the server.
async fn wait(duration: Duration, callers: &mut JoinSet<Result<Vec<u32>, Error>>) -> Result<(), Error> {
    match tokio::time::timeout(duration, callers.join_next()).await {
        Err(_) => Ok(()),
        Ok(ended) => Err(match ended.transpose()? {
            Some(Err(error)) => error,
            _ => "there are no connections".into(),
        }),
    }
}

/// One connection that is ready for calls.
struct Caller {
    connection: Connection,
    request: Numbered,
}

async fn open(address: SocketAddr, era: Era) -> Result<Caller, Error> {
    let mut connection = Connection::open(address).await?;
    let authority = address.to_string();
    let mut session_id = None;
    if era == Era::Legacy {
        let answer = connection.exchange(wire::request(&authority, era, None, wire::INITIALIZE).as_bytes()).await?;
        if answer.status != 200 {
            return Err(format!("initialize was answered with {}", answer.status).into());
        }
        session_id = answer.session_id;
        let initialized = wire::request(&authority, era, session_id.as_deref(), wire::INITIALIZED);
        let answer = connection.exchange(initialized.as_bytes()).await?;
        if answer.status != 202 {
            return Err(format!("initialized was answered with {}", answer.status).into());
        }
    }
    let text = wire::request(&authority, era, session_id.as_deref(), wire::call_body(era));
    Ok(Caller { connection, request: Numbered::new(text) })
}

impl Caller {
    /// Calls until it is told to stop. The result is the nanoseconds of each call in the window.
    async fn run(mut self, phase: Arc<AtomicU8>) -> Result<Vec<u32>, Error> {
        let mut latencies_ns = Vec::with_capacity(1 << 16);
        loop {
            let (request, number) = self.request.advance();
            let began_at = Instant::now();
            let answer = self.connection.exchange(request).await?;
            let elapsed = began_at.elapsed();
            if answer.status != 200 {
                let body = String::from_utf8_lossy(self.connection.body());
                return Err(format!("a call was answered with {}: {body}", answer.status).into());
            }
            wire::check(self.connection.body(), answer.is_events, number)?;
            match phase.load(Ordering::Relaxed) {
                WARM_UP => {}
                MEASURE => latencies_ns.push(u32::try_from(elapsed.as_nanos()).unwrap_or(u32::MAX)),
                _ => return Ok(latencies_ns),
            }
        }
    }
}
