//! Measures what sessions cost, in process and in one run: memory of idle ones, opening them, a ping in one of few and of many,
//! letting them expire, and a start beside many. `cargo run --release -p andon-bench --bin sessions [-- --sessions 1000000 --directory DIR]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use andon::prelude::{Server, Sessions};
use andon::server::host::{Answer, Head, Host, Inbound};
use andon::server::options::HostOptions;
use andon::server::principal::Principal;
use andon_bench::Error;
use andon_bench::histogram::Histogram;
use andon_store::Durability;
use bytes::Bytes;
use clap::Parser as _;
use tokio::task::JoinSet;

/// Measures what sessions cost.
#[derive(clap::Parser)]
struct Options {
    /// Idle sessions in memory.
    #[arg(long, default_value_t = 1_000_000)]
    sessions: usize,
    /// Sessions that expire, and that a start finds on disk.
    #[arg(long, default_value_t = 100_000)]
    expiring: usize,
    /// How long sessions are opened on disk, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Where to write; a new directory in it is made and removed. Default: the system's for temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// Sessions of which one is pinged.
const FEW: usize = 1_000;
/// The same, when there are many.
const MANY: usize = 100_000;
/// How often one is.
const PINGS: usize = 1_000_000;
/// Tasks that open sessions at once.
const TASKS: usize = 100;
/// How long it takes until all sessions were looked at.
const SWEEP: Duration = Duration::from_secs(4);
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"roots":{"listChanged":true}},"clientInfo":{"name":"bench","version":"1.0.0"}}}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build();
    let place = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let place = place.join(format!("andon-sessions-{}", std::process::id()));
    let measured = runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(measure(&options, &place)));
    // What is left of a failed run is in the way of nobody.
    drop(std::fs::remove_dir_all(&place));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sessions: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options, place: &Path) -> Result<(), Error> {
    // First, while nothing is left of what was measured before.
    for sessions in [options.expiring, options.sessions] {
        expire(sessions).await?;
    }
    idle(options.sessions).await?;
    for sessions in [FEW, MANY] {
        ping_each(sessions).await?;
    }
    for (name, tasks) in [("one after the other", 1), ("from 100 tasks", TASKS)] {
        let host = host(Sessions::disk(place.join(name)).max(usize::MAX))?;
        let opened = AtomicU64::new(0);
        let began_at = Instant::now();
        open_for(&host, tasks, Duration::from_secs_f64(options.seconds), &opened).await?;
        let rate = opened.load(Ordering::Relaxed) as f64 / began_at.elapsed().as_secs_f64();
        println!("opened on disk, {name:20} {rate:>10.0}/s");
        host.drain(Duration::from_secs(10)).await;
    }
    start(options.expiring, place).await
}

/// What idle sessions take of memory.
async fn idle(sessions: usize) -> Result<(), Error> {
    let host = host(Sessions::memory().max(usize::MAX))?;
    open(&host).await?;
    let (before, began_at) = (resident_bytes()?, Instant::now());
    for _ in 1..sessions {
        open(&host).await?;
    }
    let took = began_at.elapsed();
    // What they needed while they were opened is given back by the next sweep.
    tokio::time::sleep(SWEEP).await;
    let taken = resident_bytes()?.saturating_sub(before);
    println!("idle sessions in memory          {sessions:>10}");
    println!("opened in memory, one by one     {:>10.0}/s", sessions as f64 / took.as_secs_f64());
    println!("resident bytes of each           {:>10}", taken / sessions);
    println!("resident MB of all               {:>10}", taken / 1_000_000);
    Ok(())
}

/// How long a ping takes in one session of so many, each time in another one.
async fn ping_each(sessions: usize) -> Result<(), Error> {
    let host = host(Sessions::memory().max(usize::MAX))?;
    let mut ids = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        ids.push(open(&host).await?);
    }
    // Not in the order in which they were made, in which they are beside each other in memory: ids are random.
    ids.sort();
    // What opening them needed is given back by then.
    tokio::time::sleep(SWEEP).await;
    let mut times = Histogram::default();
    for id in ids.iter().cycle().take(PINGS) {
        let began_at = Instant::now();
        ping(&host, id).await?;
        times.record(began_at.elapsed());
    }
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| times.quantile_us(quantile));
    println!("ping in one of {sessions:>7}           {p50:>10.2} us, p99 {p99:.2} us, p99.9 {p999:.2} us");
    Ok(())
}

/// How long it takes until expired sessions are gone, and what is left of their memory.
async fn expire(sessions: usize) -> Result<(), Error> {
    // Long enough that all are there before the first of them goes.
    let idle = Duration::from_secs(5 + sessions as u64 / 50_000);
    let host = host(Sessions::memory().max(usize::MAX).idle_timeout(idle))?;
    open(&host).await?;
    let before = resident_bytes()?;
    for _ in 1..sessions {
        open(&host).await?;
    }
    let (last_at, full) = (Instant::now(), resident_bytes()?);
    while host.session_count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = last_at.elapsed().saturating_sub(idle);
    // The sweep that takes the last ones goes on to give back the tables that had them.
    tokio::time::sleep(SWEEP).await;
    println!("expired sessions swept           {sessions:>10}");
    println!("gone after their time by         {:>10.2} s", took.as_secs_f64());
    let (grown, left) = (full.saturating_sub(before), resident_bytes()?.saturating_sub(before));
    println!("MB that they took, and left      {:>6} {:>6}", grown / 1_000_000, left / 1_000_000);
    Ok(())
}

/// How long a start takes that finds many sessions, and the first request to one of them.
async fn start(sessions: usize, place: &Path) -> Result<(), Error> {
    let directory = place.join("start");
    let first = host(Sessions::disk(&directory).durability(Durability::Memory).max(usize::MAX))?;
    let mut last = String::new();
    for _ in 0..sessions {
        last = open(&first).await?;
    }
    first.drain(Duration::from_secs(60)).await;
    drop(first);
    // The directory is free when the last task of the first host is gone.
    let since = Instant::now();
    let second = loop {
        let began_at = Instant::now();
        match host(Sessions::disk(&directory).max(usize::MAX)) {
            Ok(second) => {
                let found = second.recover().await.map_err(|error| Error::from(error.to_string()))?;
                println!(
                    "found at a start                 {:>10} in {:.2} s",
                    found.sessions,
                    began_at.elapsed().as_secs_f64()
                );
                break second;
            }
            Err(error) if since.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let asked_at = Instant::now();
    ping(&second, &last).await?;
    println!("first request to one of them     {:>10.2} ms", asked_at.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn host(sessions: Sessions) -> Result<Arc<Host>, Error> {
    let options = HostOptions { rest_after: Duration::from_secs(3600), ..HostOptions::default() };
    let server = Server::new("bench", "1").options(options).sessions(sessions);
    server.build().map_err(|error| Error::from(error.to_string()))
}

async fn open_for(host: &Arc<Host>, tasks: usize, time: Duration, opened: &AtomicU64) -> Result<(), Error> {
    let (until, mut set, counts) = (Instant::now() + time, JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for _ in 0..tasks {
        let (host, counts) = (host.clone(), counts.clone());
        set.spawn(async move {
            while Instant::now() < until {
                let Answer::Ready { status: 200, .. } = post(&host, INITIALIZE, None).await else { return false };
                counts.fetch_add(1, Ordering::Relaxed);
            }
            true
        });
    }
    while let Some(ended) = set.join_next().await {
        if !ended.unwrap_or(false) {
            return Err(Error::from("a session was not opened".to_owned()));
        }
    }
    opened.store(counts.load(Ordering::Relaxed), Ordering::Relaxed);
    Ok(())
}

/// Opens a session, handshake and all; its id.
async fn open(host: &Arc<Host>) -> Result<String, Error> {
    let Answer::Ready { session_id: Some(id), .. } = post(host, INITIALIZE, None).await else {
        return Err(Error::from("a session was not opened".to_owned()));
    };
    post(host, INITIALIZED, Some(&id)).await;
    Ok(id)
}

async fn ping(host: &Arc<Host>, session_id: &str) -> Result<(), Error> {
    match post(host, PING, Some(session_id)).await {
        Answer::Ready { status: 200, .. } => Ok(()),
        answer => Err(Error::from(format!("{answer:?}"))),
    }
}

async fn post(host: &Arc<Host>, body: &'static str, session_id: Option<&str>) -> Answer {
    let head = Head { session_id, ..Head::default() };
    host.post(Inbound { head, body: Bytes::from_static(body.as_bytes()), principal: Principal::anonymous() }).await
}

fn resident_bytes() -> Result<usize, Error> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages
        .map(|pages| pages * 4096)
        .ok_or_else(|| Error::from("this system does not say how much memory is used".to_owned()))
}
